use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use switchyard_simulators::{
    calendar,
    clock::{Clock as _, SystemClock, TimeFactor},
    faults::Faults,
    google,
};
use switchyard_tests::{
    api::{Tenant, text},
    hub::Builder,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Side,
    google::{connect, share},
    looked, patient,
    rows::{Row, Where},
};

/// The calendar that a new account has.
pub const CALENDAR: &str = "owner@customer.example";

/// So many appointments from each side.
const APPOINTMENTS: u32 = 3;

/// Google Calendar, and a tenant that makes appointments beside the calendar's owner.
pub struct Agenda {
    handle: calendar::Handle,
}

/// A calendar whose tokens come from `google`.
pub async fn start(google: &google::Handle, time_factor: u32) -> calendar::Handle {
    let mut options = calendar::Options::new(google.grants(), Arc::new(SystemClock));
    options.time_factor = TimeFactor::new(time_factor);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    calendar::Calendar::start(listener, options, CancellationToken::new()).expect("a calendar")
}

/// Switches the plugin on for a tenant and waits until it has looked at the calendar, so that what comes now is news.
pub async fn install(google: &google::Handle, handle: &calendar::Handle, tenant: &Tenant) {
    let base = format!("{}/calendar/v3", handle.base_url());
    let scopes = ["calendar.events", "calendar.freebusy"];
    let connection = connect(google, tenant, CALENDAR, &base, &scopes).await;
    let channel = json!({"provider": "google", "name": "channel", "kind": "generated", "secret": {}});
    let channel = tenant.connection(&channel).await;
    let config = json!({"calendars": [{"id": CALENDAR}], "time_zone": "Europe/Copenhagen"});
    let connections = json!({"calendar": connection, "channel": channel});
    let wanted = json!({"config": config, "connections": connections, "retry_schedule": patient()});
    let _ = tenant.install("calendar", &wanted).await;
    looked(tenant, "calendar", || !handle.live_channels().is_empty()).await;
}

/// A day from now on, at an hour in UTC.
pub fn at(days: u32, hour: u32) -> String {
    let ms = SystemClock.now_ms() + i64::from(days) * 86_400_000;
    let day = jiff::Timestamp::from_millisecond(ms).expect("a moment").strftime("%Y-%m-%d");
    format!("{day}T{hour:02}:00:00Z")
}

/// An order of an appointment under a title, on a day of its own.
pub fn appointment(title: &str, days: u32) -> Value {
    json!({"type": "appointment.create", "id": title,
        "data": {"title": title, "start": at(days, 9), "duration_minutes": 60, "key": title}})
}

#[async_trait]
impl Side for Agenda {
    const PLUGIN: &'static str = "calendar";

    fn words(status: u16) -> Option<&'static str> {
        Some(if status == 429 { "Rate Limit Exceeded" } else { "Backend Error" })
    }

    type Shared = google::Handle;

    async fn share(hub: Builder) -> (google::Handle, Builder) {
        share(hub).await
    }

    async fn join(google: &google::Handle, tenant: &Tenant) -> Self {
        let handle = start(google, 60).await;
        install(google, &handle, tenant).await;
        Self { handle }
    }

    fn faults(&self) -> &Faults {
        self.handle.faults()
    }

    fn set_clock_offset_ms(&self, offset_ms: i64) {
        self.handle.set_clock_offset_ms(offset_ms);
    }

    fn operations(&self, sort: Where) -> &'static [&'static str] {
        match sort {
            Where::Nowhere => &[],
            Where::Writes => &["events.insert"],
            Where::Reads => &["events.list", "events.get", "freebusy.query"],
            Where::Tokens => &["events.insert", "events.list"],
            Where::Webhooks => &["webhook.notification"],
        }
    }

    fn commands(&self) -> Vec<Value> {
        (0..APPOINTMENTS).map(|n| appointment(&format!("c-{n}"), 2 + n)).collect()
    }

    fn asked(&self, command: &Value) -> (String, Vec<String>) {
        let title = text(command, "id");
        (title.clone(), vec![format!("appointment.created {title}")])
    }

    /// The owner makes appointments too.
    async fn happen(&self, _row: &Row) -> Vec<String> {
        let make = |n| {
            let title = format!("owner-{n}");
            let event = json!({"summary": title, "start": {"dateTime": at(10 + n, 12)},
                "end": {"dateTime": at(10 + n, 13)}});
            let _ = self.handle.make(CALENDAR, &event).expect("it is an event");
            format!("appointment.created {title}")
        };
        (0..APPOINTMENTS).map(make).collect()
    }

    fn effects(&self) -> Vec<String> {
        let events = self.handle.live_events(CALENDAR).into_iter();
        let titles = events.map(|event| text(&event, "summary"));
        titles.filter(|title| title.starts_with("c-")).collect()
    }

    fn name(&self, event: &Value) -> Option<String> {
        let kind = event["type"].as_str().filter(|kind| *kind == "appointment.created")?;
        Some(format!("{kind} {}", text(&event["data"], "title")))
    }
}
