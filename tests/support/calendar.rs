//! Simulated calendars with the Google that knows their owner, and what a tenant needs to use them.

use std::sync::Arc;

use serde_json::{Value, json};
use switchyard_simulators::{
    calendar::{self, Calendar},
    clock::{SystemClock, TimeFactor},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::{Api, Tenant, until},
    google,
    hub::{Builder, Hub},
    world::listener,
};

/// The owner, and the id of the first calendar.
pub const OWNER: &str = "owner@customer.example";

/// The second calendar.
pub const VAN: &str = "van@customer.example";

const CLIENT: &str = "client-2.apps.googleusercontent.com";
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/calendar.events", "https://www.googleapis.com/auth/calendar.freebusy"];

/// Calendars and Google's accounts; they live as long as the test's runtime.
pub struct Calendars {
    /// Who issues tokens.
    pub google: switchyard_simulators::google::Handle,
    /// The calendars.
    pub calendar: calendar::Handle,
}

impl Calendars {
    /// Empty calendars whose channels live this much shorter than in life.
    pub async fn start(time_factor: u32) -> Self {
        let google = google::start(CLIENT).await;
        let mut options = calendar::Options::new(google.grants(), Arc::new(SystemClock));
        options.calendars.push((VAN.to_owned(), "Europe/Copenhagen".to_owned()));
        options.time_factor = TimeFactor::new(time_factor);
        let calendar = Calendar::start(listener().await, options, CancellationToken::new()).expect("calendars");
        Self { google, calendar }
    }

    /// A hub for which Google is here.
    #[must_use]
    pub fn hub(&self) -> Builder {
        Hub::builder().set("SWITCHYARD_PROVIDER_ORIGINS", &google::origins(&self.google).join(","))
    }

    /// The connection to the calendars, as if their owner had consented.
    pub async fn connection(&self, api: &Api, tenant: &Tenant) -> String {
        let app = google::app(api, CLIENT, &format!("google of {}", tenant.id)).await;
        let secret = google::secret(&self.google, CLIENT, &app, OWNER, &SCOPES);
        let wanted = json!({"provider": "google", "name": "calendars", "kind": "oauth2",
            "base_url": format!("{}/calendar/v3", self.calendar.base_url()), "secret": secret});
        tenant.connection(&wanted).await
    }

    /// Switches the plugin on with more settings than the least, and waits until it has looked at the calendars.
    pub async fn install(&self, api: &Api, tenant: &Tenant, more: Value) {
        let connection = self.connection(api, tenant).await;
        let channel = json!({"provider": "google", "name": "channel", "kind": "generated", "secret": {}});
        let channel = tenant.connection(&channel).await;
        let mut config = json!({"calendars": [{"id": "primary"}], "time_zone": "Europe/Copenhagen"});
        config.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        let wanted = json!({"config": config, "connections": {"calendar": connection, "channel": channel}});
        let _ = tenant.install("calendar", &wanted).await;
        until("the first polls of the calendars", async || {
            let ready = tenant.get("/plugins/calendar").await.expect(200);
            let polls = tenant.list("/deliveries?target=plugin:calendar&limit=200").await;
            let due: Vec<_> = polls.iter().filter(|poll| poll["event_type"] == "_poll.due").collect();
            let ended = due.iter().filter(|poll| poll["state"] == "delivered").count();
            if ready["state"] == "ready" && ended >= 2 && ended == due.len() {
                Ok(())
            } else {
                Err(format!("{ready} {polls:?}"))
            }
        })
        .await;
    }
}
