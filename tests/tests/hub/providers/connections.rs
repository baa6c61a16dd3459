//! Logins: OAuth, service accounts, refresh, and what happens when they end.

mod login;
mod nodes;
mod refresh;
mod service_account;
mod trouble;

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use switchyard_simulators::{
    clock::SystemClock,
    google::{self, Google},
    oauth::{Client, Consent, Decision, Grants, Rotation, Rules},
};
use switchyard_tests::{
    api::{SOON, Tenant, text, until, until_within},
    hub::{Builder, Hub},
    world::guest,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const CLIENT_ID: &str = "client-1.apps.example";
const CLIENT_SECRET: &str = "MARKER-client-secret-0001";
const SCOPE: &str = "https://www.googleapis.com/auth/gmail.modify";
const PLUGIN: &str = "plugin:caller";

/// Google with these rules; it lives as long as the test's runtime.
async fn google(change: impl FnOnce(&mut Rules)) -> google::Handle {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut options = google::Options::new(Arc::new(SystemClock));
    change(&mut options.rules);
    Google::start(listener, options, CancellationToken::new()).expect("a Google")
}

/// Rules under which every refresh replaces the refresh token, and a token that was replaced ends the grant.
fn rotating(rules: &mut Rules) {
    (rules.rotation, rules.reuse_ends_grant) = (Rotation::After(Duration::ZERO), true);
}

/// A hub that finds Google here.
fn hub_beside(google: &google::Handle) -> Builder {
    let origins = ["https://accounts.google.com", "https://oauth2.googleapis.com", "https://www.googleapis.com"];
    let origins: Vec<_> = origins.iter().map(|origin| format!("{origin}={}", google.base_url())).collect();
    Hub::builder().set("SWITCHYARD_PROVIDER_ORIGINS", &origins.join(","))
}

/// A hub with the caller, an app, and a tenant whose connection is not yet made.
struct World {
    hub: Hub,
    google: google::Handle,
    tenant: Tenant,
    app: String,
}

impl World {
    async fn start(google: google::Handle, builder: Builder) -> Self {
        let hub = builder.start().await;
        let _ = hub.push(guest("caller")).await.expect(201);
        let app = json!({"provider": "google", "name": "google", "plugin": "caller", "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET});
        let app = hub.post("/v1/apps", &app).await.expect(201);
        google.grants().register(Client {
            id: CLIENT_ID.to_owned(),
            secret: CLIENT_SECRET.to_owned(),
            redirect_uris: vec![text(&app, "redirect_uri")],
        });
        let tenant = hub.tenant("acme").await;
        Self { hub, google, tenant, app: text(&app, "id") }
    }

    /// One whose connection has a refresh token and whose plugin is on.
    async fn logged_in(google: google::Handle) -> (Self, String) {
        let builder = hub_beside(&google);
        let world = Self::start(google, builder).await;
        let refresh_token = world.consented();
        let connection = world.connection(json!({"refresh_token": refresh_token})).await;
        world.install(&connection).await;
        (world, connection)
    }

    fn grants(&self) -> Arc<Grants> {
        self.google.grants()
    }

    /// A refresh token, as if somebody had consented elsewhere.
    fn consented(&self) -> String {
        let consent = Consent { account: "owner@customer.example".to_owned(), realm: None, decision: Decision::Allow };
        self.grants().issue(CLIENT_ID, &consent, &[SCOPE]).refresh_token
    }

    /// A connection of kind oauth2.
    async fn connection(&self, more: Value) -> String {
        let mut secret = json!({"app": self.app});
        secret.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        let wanted = json!({"provider": "google", "name": "mail", "kind": "oauth2", "secret": secret});
        self.tenant.connection(&wanted).await
    }

    async fn install(&self, connection: &str) {
        let wanted = json!({"connections": {"provider": connection}, "grants": ["emits:*"],
            "retry_schedule": std::iter::once(0).chain([30; 49]).collect::<Vec<_>>()});
        let _ = self.tenant.install("caller", &wanted).await;
    }

    /// Asks for one call.
    async fn call(&self, id: &str) {
        self.call_by(id, "GET").await;
    }

    async fn call_by(&self, id: &str, method: &str) {
        let data = json!({"method": method, "path": "/oauth2/v3/userinfo"});
        let _ = self.tenant.publish(&json!({"type": "api.call", "id": id, "data": data})).await;
    }

    /// The delivery of a call, once it is in this state.
    async fn delivery(&self, id: &str, state: &str) -> Value {
        let is = |delivery: &Value| delivery["event_id"] == id && delivery["state"] == state;
        self.tenant.delivery(PLUGIN, state, is).await
    }

    /// Waits until so many calls were answered 200.
    async fn answered(&self, count: usize) -> Vec<Value> {
        // A time-out of the token endpoint may have to pass first.
        until_within(3 * SOON, "the calls to be answered", async || {
            let answers = self.told("api.answered").await;
            let well = answers.iter().filter(|event| event["data"]["status"] == 200).count();
            if well >= count { Ok(answers) } else { Err(format!("{well} of {count}")) }
        })
        .await
    }

    async fn shown(&self, connection: &str) -> Value {
        self.tenant.get(&format!("/connections/{connection}")).await.expect(200)
    }

    /// Waits until the connection is in this state.
    async fn state(&self, connection: &str, state: &str) -> Value {
        until(state, async || {
            let shown = self.shown(connection).await;
            if shown["state"] == state { Ok(shown) } else { Err(shown.to_string()) }
        })
        .await
    }

    /// How often the token endpoint was asked to refresh.
    fn refreshes(&self) -> u64 {
        self.google.counts().get("token.refresh").map_or(0, |count| count.received)
    }

    async fn told(&self, event_type: &str) -> Vec<Value> {
        let mut events = self.tenant.all("/events").await;
        events.retain(|event| event["type"] == event_type);
        events
    }
}
