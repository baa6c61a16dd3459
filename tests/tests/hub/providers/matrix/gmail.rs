use async_trait::async_trait;
use serde_json::{Value, json};
use switchyard_simulators::{
    faults::Faults,
    gmail::{Subscription, TOPIC},
    google,
};
use switchyard_tests::{
    api::{Tenant, text},
    gmail::{MAILBOX, Mailbox, PUSHER, mail},
    hub::Builder,
};

use super::{
    Side,
    google::{connect, share},
    looked, patient,
    rows::{Row, Where},
};

/// So many messages each way.
const MESSAGES: u32 = 3;

/// Gmail, and a tenant that sends and gets mail.
pub struct Mail {
    mailbox: Mailbox,
}

/// Switches the plugin on for a tenant, announced changes or not, and waits until it has looked at the mailbox, so that what
/// comes now is news.
pub async fn install(mailbox: &Mailbox, tenant: &Tenant, push: bool) {
    let base = mailbox.gmail.base_url();
    let connection = connect(&mailbox.google, tenant, MAILBOX, &base, &["gmail.modify", "gmail.send"]).await;
    let mut config = json!({"mailbox": MAILBOX});
    if push {
        config["push"] = json!({"topic": TOPIC, "service_account": PUSHER});
    }
    let wanted = json!({"config": config, "connections": {"gmail": connection}, "retry_schedule": patient()});
    let installed = tenant.install("gmail", &wanted).await;
    if push {
        mailbox.gmail.subscribe(Subscription::new(text(&installed["sources"][0], "url"), PUSHER));
    }
    looked(tenant, "gmail", || mailbox.gmail.is_watched() || !push).await;
}

#[async_trait]
impl Side for Mail {
    const PLUGIN: &'static str = "gmail";

    fn words(status: u16) -> Option<&'static str> {
        Some(if status == 429 { "User-rate limit exceeded." } else { "Internal error encountered." })
    }

    type Shared = google::Handle;

    async fn share(hub: Builder) -> (google::Handle, Builder) {
        share(hub).await
    }

    async fn join(google: &google::Handle, tenant: &Tenant) -> Self {
        let mailbox = Mailbox::beside(google.clone(), 60).await;
        install(&mailbox, tenant, true).await;
        Self { mailbox }
    }

    fn faults(&self) -> &Faults {
        self.mailbox.gmail.faults()
    }

    fn set_clock_offset_ms(&self, offset_ms: i64) {
        self.mailbox.gmail.set_clock_offset_ms(offset_ms);
    }

    fn operations(&self, sort: Where) -> &'static [&'static str] {
        match sort {
            Where::Nowhere => &[],
            Where::Writes => &["messages.send"],
            Where::Reads => &["messages.list", "messages.get", "history.list"],
            Where::Tokens => &["messages.send", "history.list"],
            Where::Webhooks => &["push"],
        }
    }

    fn commands(&self) -> Vec<Value> {
        let command = |n| {
            let id = format!("c-{n}");
            json!({"type": "email.send", "id": id, "data": {"to": ["kunde@example.test"], "subject": id, "text": "Hej"}})
        };
        (0..MESSAGES).map(command).collect()
    }

    fn asked(&self, command: &Value) -> (String, Vec<String>) {
        let subject = text(command, "id");
        (subject.clone(), vec![format!("email.sent {subject}")])
    }

    /// Messages arrive. A push that is refused comes again, and where none comes the poll finds them.
    async fn happen(&self, _row: &Row) -> Vec<String> {
        let arrive = |n| {
            let subject = format!("in-{n}");
            self.mailbox.gmail.receive(mail(&subject, &subject));
            format!("email.received {subject}")
        };
        (0..MESSAGES).map(arrive).collect()
    }

    fn effects(&self) -> Vec<String> {
        self.mailbox.gmail.sent().into_iter().map(|message| message.subject).collect()
    }

    fn name(&self, event: &Value) -> Option<String> {
        let kind = event["type"].as_str().filter(|kind| matches!(*kind, "email.sent" | "email.received"))?;
        Some(format!("{kind} {}", text(&event["data"], "subject")))
    }
}
