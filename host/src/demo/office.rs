//! The rest of the day: mail, appointments, another tenant's books, and the telephone.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use switchyard_simulators::{
    gmail::{Subscription, TOPIC},
    oauth::Client,
    quickbooks::{BANK_ACCOUNT, ITEM, TAX_25},
    subscriber::{Received, Verdict},
    twilio::{CallStatus, InboundCall},
};

use super::{
    providers::{CALENDAR, MAILBOX, PUSHER, REALM},
    report::Report,
    stage::{NUMBER, Stage, TENANT, id_of, source_url},
    story::{APPLICATION, CUSTOMER, SOON, invoice_command, is_verified},
};
use crate::clock::{SystemClock, Timestamp};

/// The second tenant, which keeps its books elsewhere.
const BOOKKEEPER: &str = "nordic";

/// Where the second tenant's application listens.
const LEDGER: &str = "/ledger";

impl Stage {
    /// Registers the operator at Google, and gives the tenant its mailbox, its calendar and its subscriptions.
    pub(super) async fn open_office(&self) -> anyhow::Result<()> {
        let app = self.app("google", None, &self.providers.google_client).await?;
        let login = |account: &str, scopes: &[&str]| {
            let token = self.providers.google_login(account, scopes);
            json!({"app": app, "refresh_token": token})
        };
        let mail = json!({"provider": "google", "name": "mailbox", "kind": "oauth2",
            "secret": login(MAILBOX, &["gmail.modify", "gmail.send"])});
        let mail = self.connection(&mail).await?;
        let config = json!({"mailbox": MAILBOX, "push": {"topic": TOPIC, "service_account": PUSHER}});
        let installed = self.install("gmail", &json!({"config": config, "connections": {"gmail": mail}})).await?;
        self.providers.gmail.subscribe(Subscription::new(source_url(&installed)?, PUSHER));
        // Its API has the same host as Google's keys, so that its address is named here.
        let agenda = json!({"provider": "google", "name": "agenda", "kind": "oauth2",
            "base_url": format!("{}/calendar/v3", self.providers.calendar.base_url()),
            "secret": login(CALENDAR, &["calendar.events", "calendar.freebusy"])});
        let agenda = self.connection(&agenda).await?;
        let channel = json!({"provider": "google", "name": "channel", "kind": "generated", "secret": {}});
        let channel = self.connection(&channel).await?;
        let config = json!({"calendars": [{"id": CALENDAR}], "time_zone": "Europe/Copenhagen"});
        let wanted = json!({"config": config, "connections": {"calendar": agenda, "channel": channel}});
        self.install("calendar", &wanted).await?;
        let secret = json!({"provider": "stripe", "name": "signing", "kind": "hmac",
            "secret": {"secret": self.providers.stripe_secret}});
        let secret = self.connection(&secret).await?;
        let installed = self.install("stripe", &json!({"config": {}, "connections": {"signing": secret}})).await?;
        self.providers.stripe.set_url(source_url(&installed)?);
        Ok(())
    }

    /// Makes the tenant that has QuickBooks.
    pub(super) async fn make_bookkeeper(&self) -> anyhow::Result<()> {
        self.fresh_tenant(BOOKKEEPER, "Nordic Bogføring").await?;
        let app = self.app("quickbooks", Some("quickbooks"), &self.providers.intuit_client).await?;
        let token = self.providers.quickbooks.logged_in().refresh_token;
        let books = json!({"provider": "quickbooks", "name": "books", "kind": "oauth2", "account": REALM,
            "secret": {"app": app, "refresh_token": token}});
        let books = self.connection_of(BOOKKEEPER, &books).await?;
        let verifier = json!({"provider": "quickbooks", "name": "verifier", "kind": "hmac",
            "secret": {"secret": self.providers.verifier}});
        let verifier = self.connection_of(BOOKKEEPER, &verifier).await?;
        let config =
            json!({"realm_id": REALM, "item_id": ITEM, "tax_code": TAX_25, "deposit_account_id": BANK_ACCOUNT});
        let wanted = json!({"config": config, "connections": {"quickbooks": books, "webhook": verifier}});
        let installed = self.install_for(BOOKKEEPER, "quickbooks", &wanted).await?;
        self.providers.quickbooks.set_webhook_url(source_url(&installed)?);
        self.endpoint_of(BOOKKEEPER, LEDGER, &["invoice.*"], &json!({})).await?;
        Ok(())
    }

    /// The operator's registration at a provider. A playground that was used before has older ones, so each has a name
    /// of its own.
    async fn app(&self, provider: &str, plugin: Option<&str>, client: &Client) -> anyhow::Result<String> {
        let name = format!("{provider} {}", &client.secret[..8]);
        let mut app = json!({"provider": provider, "name": name, "client_id": client.id,
            "client_secret": client.secret});
        if let Some(plugin) = plugin {
            app["plugin"] = plugin.into();
        }
        id_of(&self.post(&["v1", "apps"], &app).await?)
    }
}

/// Plays steps 8 to 11.
pub(super) async fn play(stage: &Stage, report: &mut Report) {
    report.step("8 e-mail", "Gmail announces it, the hub fetches it: email.received", mail(stage)).await;
    report
        .step("9 appointment", "made, moved and cancelled in Google Calendar, an event for each", appointment(stage))
        .await;
    report
        .step(
            "10 another tenant",
            "the same invoice.create goes to QuickBooks, and nobody else hears of it",
            books(stage),
        )
        .await;
    report
        .step("11 telephone", "an inbound call is answered by TwiML and followed to its last state", telephone(stage))
        .await;
}

async fn mail(stage: &Stage) -> anyhow::Result<String> {
    let gmail = &stage.providers.gmail;
    stage.until("the mailbox to be watched", SOON, async || Ok(gmail.is_watched().then_some(()))).await?;
    let raw = format!(
        "From: =?utf-8?Q?S=C3=B8ren?= <soren@kunde.test>\r\nTo: {MAILBOX}\r\n\
         Subject: =?utf-8?Q?Vand_i_k=C3=A6lderen?=\r\nMessage-ID: <demo-1@kunde.test>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\nKan I komme i dag?\r\n"
    );
    let id = gmail.receive(raw);
    let ours =
        |received: &Received| is_verified(received, "email.received") && received.json()["data"]["message_id"] == id;
    let arrived = stage.providers.subscriber.wait_for_where(1, SOON, ours).await;
    let body = arrived.context("email.received did not arrive")?.remove(0).json();
    let data = &body["data"];
    ensure!(data["subject"] == "Vand i kælderen" && data["from"] == "soren@kunde.test", "the event says {data}");
    let pushes = gmail.pushes().len();
    Ok(format!("\"{}\" from {}, {pushes} signed pushes", text(data, "subject"), text(data, "from")))
}

/// A time of day some days from now.
fn at(days: i64, hour: u32) -> anyhow::Result<String> {
    let Timestamp(now) = SystemClock::shared().now();
    let day = jiff::Timestamp::from_millisecond(now + days * 86_400_000)?.strftime("%Y-%m-%d");
    Ok(format!("{day}T{hour:02}:00:00Z"))
}

/// The verified event of a type about the appointment of a title. Google's notification may overtake the command's own
/// end, so that a poll tells of it first, under its own correlation id.
async fn told(stage: &Stage, event_type: &str, title: &str) -> anyhow::Result<Value> {
    let ours = |received: &Received| is_verified(received, event_type) && received.json()["data"]["title"] == title;
    let arrived = stage.providers.subscriber.wait_for_where(1, SOON, ours).await;
    Ok(arrived.with_context(|| format!("{event_type} did not arrive"))?.remove(0).json())
}

async fn appointment(stage: &Stage) -> anyhow::Result<String> {
    let calendar = &stage.providers.calendar;
    let start = |event: &Value| event["start"]["dateTime"].as_str().unwrap_or_default().to_owned();
    let title = "Besøg hos Søren";
    let made = json!({"type": "appointment.create", "data": {"title": title, "start": at(3, 9)?,
        "duration_minutes": 60, "location": "Nygade 1, 8000 Aarhus"}});
    stage.publish(&made).await?;
    let created = told(stage, "appointment.created", title).await?;
    let id = text(&created["data"], "appointment_id");
    let first = calendar.live_events(CALENDAR);
    ensure!(first.len() == 1 && first[0]["id"] == id, "the calendar has {} appointments", first.len());
    let moved = json!({"type": "appointment.update", "data": {"appointment_id": id, "start": at(3, 12)?}});
    stage.publish(&moved).await?;
    let updated = told(stage, "appointment.updated", title).await?;
    let second = calendar.live_events(CALENDAR);
    ensure!(second.len() == 1 && start(&second[0]) != start(&first[0]), "it was not moved: {second:?}");
    let cancelled = json!({"type": "appointment.cancel", "data": {"appointment_id": id}});
    stage.publish(&cancelled).await?;
    told(stage, "appointment.cancelled", title).await?;
    let left = calendar.live_events(CALENDAR).len();
    ensure!(left == 0, "{left} appointments are left");
    let changed = &updated["data"]["changed"];
    Ok(format!("made for {}, moved ({changed}), cancelled; {} channels", start(&first[0]), calendar.channels().len()))
}

async fn books(stage: &Stage) -> anyhow::Result<String> {
    let at_billy = stage.providers.billy.invoices().len();
    let (_, correlation) = stage.publish_of(BOOKKEEPER, &invoice_command("Larsen & Co")).await?;
    let ours = |received: &Received| {
        received.path == LEDGER
            && received.verdict == Verdict::Verified
            && received.json()["type"] == "invoice.created"
            && received.header("x-correlation-id") == Some(correlation.as_str())
    };
    let arrived = stage.providers.subscriber.wait_for_where(1, SOON, ours).await;
    let body = arrived.context("invoice.created did not arrive")?.remove(0).json();
    let invoices = stage.providers.quickbooks.invoices();
    ensure!(invoices.len() == 1, "QuickBooks has {} invoices", invoices.len());
    ensure!(stage.providers.billy.invoices().len() == at_billy, "Billy has an invoice more");
    let elsewhere = |received: &Received| {
        received.path == APPLICATION && received.header("x-correlation-id") == Some(correlation.as_str())
    };
    ensure!(!stage.providers.subscriber.all_requests().iter().any(elsewhere), "{TENANT} was told of it");
    let total = &body["data"]["total"];
    ensure!(total["amount"] == "1000.00", "the total is {total}");
    Ok(format!("invoice {} of {} DKK at QuickBooks, none at Billy", invoices[0].number, text(total, "amount")))
}

async fn telephone(stage: &Stage) -> anyhow::Result<String> {
    let call = InboundCall { to: NUMBER.to_owned(), from: CUSTOMER.to_owned(), ..InboundCall::default() };
    let outcome = stage.providers.twilio.call(&call).await?;
    ensure!(outcome.errors.is_empty(), "Twilio could not carry it out: {:?}", outcome.errors);
    ensure!(outcome.status == CallStatus::Completed, "it ended as {:?}", outcome.status);
    let about = |event_type: &'static str, is: &'static str| {
        let sid = outcome.call_sid.clone();
        move |received: &Received| {
            let data = &received.json()["data"];
            let state = is.is_empty() || data["state"] == is;
            is_verified(received, event_type) && data["call_id"] == sid.as_str() && state
        }
    };
    let subscriber = &stage.providers.subscriber;
    let arrived = subscriber.wait_for_where(1, SOON, about("call.received", "")).await;
    arrived.context("call.received did not arrive")?;
    let ended = subscriber.wait_for_where(1, SOON, about("call.state_changed", "ended")).await;
    let ended = ended.context("the end of the call did not arrive")?.remove(0).json();
    ensure!(ended["data"]["outcome"] == "completed", "the end is {}", ended["data"]);
    Ok(format!("{}; call.received, then ended: {}", outcome.transcript.join(", "), text(&ended["data"], "outcome")))
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}
