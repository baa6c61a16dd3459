//! What the cells of Google's services share: one Google that knows the owner and issues tokens.

use std::sync::Arc;

use serde_json::json;
use switchyard_simulators::{
    clock::SystemClock,
    google::{Google, Handle, Options},
    oauth::{Client, Consent, Decision},
};
use switchyard_tests::{
    api::{Tenant, text},
    hub::Builder,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const CLIENT: &str = "matrix.apps.googleusercontent.com";
const CLIENT_SECRET: &str = "the-client-secret-of-the-matrix";

/// A Google with one client, and a hub for which it is Google.
pub async fn share(hub: Builder) -> (Handle, Builder) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let google = Google::start(listener, Options::new(Arc::new(SystemClock)), CancellationToken::new());
    let google = google.expect("a Google");
    google.grants().register(Client {
        id: CLIENT.to_owned(),
        secret: CLIENT_SECRET.to_owned(),
        redirect_uris: Vec::new(),
    });
    let origins = ["https://accounts.google.com", "https://oauth2.googleapis.com", "https://www.googleapis.com"];
    let pairs: Vec<String> = origins.iter().map(|origin| format!("{origin}={}", google.base_url())).collect();
    let hub = hub.set("SWITCHYARD_PROVIDER_ORIGINS", &pairs.join(","));
    (google, hub)
}

/// A connection of the tenant to a service at `base_url`, by a consent of the account's owner.
pub async fn connect(google: &Handle, tenant: &Tenant, account: &str, base_url: &str, scopes: &[&str]) -> String {
    let app = json!({"provider": "google", "name": format!("google of {}", tenant.id), "client_id": CLIENT,
        "client_secret": CLIENT_SECRET});
    let app = text(&tenant.api.post("/v1/apps", &app).await.expect(201), "id");
    let scopes: Vec<String> = scopes.iter().map(|scope| format!("https://www.googleapis.com/auth/{scope}")).collect();
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let consent = Consent { account: account.to_owned(), realm: None, decision: Decision::Allow };
    let issued = google.grants().issue(CLIENT, &consent, &scopes);
    let connection = json!({"provider": "google", "name": "google", "kind": "oauth2", "base_url": base_url,
        "secret": {"app": app, "refresh_token": issued.refresh_token}});
    tenant.connection(&connection).await
}
