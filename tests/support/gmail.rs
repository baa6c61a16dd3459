//! A simulated mailbox with the Google that knows its owner, and what a tenant needs to use it.

use std::sync::Arc;

use serde_json::{Value, json};
use switchyard_simulators::{
    clock::{SystemClock, TimeFactor},
    gmail::{self, Gmail, Subscription, TOPIC},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{Api, Tenant, text, until},
    google,
    hub::{Builder, Hub},
    world::listener,
};

/// The mailbox's address.
pub const MAILBOX: &str = "office@firma.test";

/// The service account of the push subscription.
pub const PUSHER: &str = "push-sa@hub-test.iam.gserviceaccount.com";

const CLIENT: &str = "client-1.apps.googleusercontent.com";
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/gmail.modify", "https://www.googleapis.com/auth/gmail.send"];

/// Gmail and Google's accounts; they live as long as the test's runtime.
pub struct Mailbox {
    /// Who issues tokens and signs pushes.
    pub google: switchyard_simulators::google::Handle,
    /// The mailbox.
    pub gmail: gmail::Handle,
}

impl Mailbox {
    /// An empty mailbox whose watch and redelivery are this much faster than in life.
    pub async fn start(time_factor: u32) -> Self {
        Self::beside(google::start(CLIENT).await, time_factor).await
    }

    /// Another mailbox of this address, whose tokens come from the same Google.
    pub async fn beside(google: switchyard_simulators::google::Handle, time_factor: u32) -> Self {
        let clock = Arc::new(SystemClock);
        let mut options = gmail::Options::new(MAILBOX, google.grants(), google.signing_keys(), clock);
        options.time_factor = TimeFactor::new(time_factor);
        let gmail = Gmail::start(listener().await, options, CancellationToken::new()).expect("a Gmail");
        Self { google, gmail }
    }

    /// A hub for which Google is here.
    #[must_use]
    pub fn hub(&self) -> Builder {
        let mut pairs = google::origins(&self.google);
        pairs.push(format!("https://gmail.googleapis.com={}", self.gmail.base_url()));
        Hub::builder().set("SWITCHYARD_PROVIDER_ORIGINS", &pairs.join(","))
    }

    /// The operator's registration at Google; answers its id.
    pub async fn app(&self, api: &Api) -> String {
        self.app_named(api, "google").await
    }

    /// The same under a name of its own, where there are several.
    pub async fn app_named(&self, api: &Api, name: &str) -> String {
        google::app(api, CLIENT, name).await
    }

    /// The secret of a connection through that app.
    #[must_use]
    pub fn secret(&self, app: &str) -> Value {
        google::secret(&self.google, CLIENT, app, MAILBOX, &SCOPES)
    }

    /// Switches the plugin on and waits until it has looked at the mailbox; answers the app and the connection.
    pub async fn install(&self, api: &Api, tenant: &Tenant) -> (String, String) {
        let app = self.app_named(api, &format!("google of {}", tenant.id)).await;
        let connection = json!({"provider": "google", "name": "mail", "kind": "oauth2",
            "base_url": self.gmail.base_url(), "secret": self.secret(&app)});
        let connection = tenant.connection(&connection).await;
        let config = json!({"mailbox": MAILBOX, "push": {"topic": TOPIC, "service_account": PUSHER}});
        let wanted = json!({"config": config, "connections": {"gmail": connection}, "grants": ["emits:*"]});
        let installed = tenant.install("gmail", &wanted).await;
        self.gmail.subscribe(Subscription::new(text(&installed["sources"][0], "url"), PUSHER));
        looked(tenant).await;
        (app, connection)
    }
}

/// Waits until both polls have run once, so that what comes now is news.
async fn looked(tenant: &Tenant) {
    until("the first polls of the mailbox", async || {
        let ready = tenant.get("/plugins/gmail").await.expect(200);
        let polls = tenant.list("/deliveries?target=plugin:gmail").await;
        let ended = polls.iter().filter(|poll| poll["event_type"] == "_poll.due" && poll["state"] == "delivered");
        if ready["state"] == "ready" && ended.count() >= 2 { Ok(()) } else { Err(format!("{ready} {polls:?}")) }
    })
    .await;
}

/// A plain message from a customer.
#[must_use]
pub fn mail(subject: &str, id: &str) -> String {
    format!(
        "From: =?utf-8?Q?S=C3=B8ren?= <kunde@example.test>\r\nTo: {MAILBOX}\r\nSubject: {subject}\r\n\
         Message-ID: <{id}@mail.example.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
         Vand i k=E6lderen\r\n"
    )
}
