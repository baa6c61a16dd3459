//! A Google that knows one client, by which tests log in without a person.

use std::sync::Arc;

use serde_json::{Value, json};
use switchyard_simulators::{
    clock::SystemClock,
    google::{Google, Handle, Options},
    oauth::{Client, Consent, Decision},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{Api, text},
    world::listener,
};

const SECRET: &str = "a-client-secret-for-black-box-tests";

/// A Google with a client of this id; it lives as long as the test's runtime.
pub async fn start(client: &str) -> Handle {
    let google = Google::start(listener().await, Options::new(Arc::new(SystemClock)), CancellationToken::new());
    let google = google.expect("a Google");
    google.grants().register(Client { id: client.to_owned(), secret: SECRET.to_owned(), redirect_uris: Vec::new() });
    google
}

/// Pairs for `SWITCHYARD_PROVIDER_ORIGINS`, for a hub whose Google is here.
#[must_use]
pub fn origins(google: &Handle) -> Vec<String> {
    let origins = ["https://accounts.google.com", "https://oauth2.googleapis.com", "https://www.googleapis.com"];
    origins.iter().map(|origin| format!("{origin}={}", google.base_url())).collect()
}

/// The operator's registration of that client under a name of its own; answers its id.
pub async fn app(api: &Api, client: &str, name: &str) -> String {
    let wanted = json!({"provider": "google", "name": name, "client_id": client, "client_secret": SECRET});
    text(&api.post("/v1/apps", &wanted).await.expect(201), "id")
}

/// The secret of a connection through that app, as if the owner of the account had consented.
#[must_use]
pub fn secret(google: &Handle, client: &str, app: &str, account: &str, scopes: &[&str]) -> Value {
    let consent = Consent { account: account.to_owned(), realm: None, decision: Decision::Allow };
    let issued = google.grants().issue(client, &consent, scopes);
    json!({"app": app, "refresh_token": issued.refresh_token})
}
