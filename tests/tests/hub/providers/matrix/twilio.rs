use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Value, json};
use switchyard_simulators::{
    clock::{SystemClock, TimeFactor},
    faults::{Fault, Faults},
    twilio,
};
use switchyard_tests::{
    api::{Tenant, text},
    hub::Builder,
    world::ACCOUNT_SID,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Side, patient,
    rows::{Row, Where},
};

const NUMBER: &str = "+4570000001";
const PERSON: &str = "+4520123456";
const TOKEN: &str = "the-auth-token-of-the-matrix";

/// So many messages each way.
const MESSAGES: u32 = 3;

/// Twilio, and a tenant that sends and gets text messages.
pub struct Sms {
    handle: twilio::Handle,
}

/// Starts a Twilio sixty times as fast as in life.
pub async fn start() -> twilio::Handle {
    let mut options = twilio::Options::new(ACCOUNT_SID, TOKEN, Arc::new(SystemClock));
    (options.time_factor, options.status_step) = (TimeFactor::new(60), Duration::from_secs(6));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    twilio::Twilio::start(listener, options, CancellationToken::new()).expect("a Twilio")
}

/// Switches the plugin on for a tenant; `more` goes into its config.
pub async fn install(handle: &twilio::Handle, tenant: &Tenant, status_callbacks: bool) {
    let connection = json!({"provider": "twilio", "name": "twilio", "kind": "basic", "base_url": handle.base_url(),
        "secret": {"username": ACCOUNT_SID, "password": TOKEN}});
    let connection = tenant.connection(&connection).await;
    let config = json!({"account_sid": ACCOUNT_SID, "from": NUMBER, "status_callbacks": status_callbacks});
    let wanted = json!({"config": config, "connections": {"twilio": connection}, "retry_schedule": patient()});
    let installed = tenant.install("twilio", &wanted).await;
    handle.set_sms_url(text(&installed["sources"][0], "url"), None);
}

#[async_trait]
impl Side for Sms {
    const PLUGIN: &'static str = "twilio";

    fn words(status: u16) -> Option<&'static str> {
        Some(if status == 429 { "Too Many Requests" } else { "Internal Server Error" })
    }

    type Shared = ();

    async fn share(hub: Builder) -> ((), Builder) {
        ((), hub)
    }

    async fn join((): &(), tenant: &Tenant) -> Self {
        let handle = start().await;
        install(&handle, tenant, true).await;
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
            Where::Nowhere | Where::Tokens => &[],
            Where::Writes => &["messages.create"],
            Where::Reads => &["messages.list", "messages.fetch"],
            Where::Webhooks => &["webhook.*"],
        }
    }

    fn commands(&self) -> Vec<Value> {
        let command = |n| json!({"type": "sms.send", "id": format!("c-{n}"), "data": {"to": PERSON, "body": format!("command {n}")}});
        (0..MESSAGES).map(command).collect()
    }

    fn asked(&self, command: &Value) -> (String, Vec<String>) {
        let body = text(&command["data"], "body");
        (body.clone(), vec![format!("sms.sent {body}"), format!("delivered {body}")])
    }

    async fn happen(&self, row: &Row) -> Vec<String> {
        let mut expected = Vec::new();
        for n in 0..MESSAGES {
            let forged = self.handle.faults().armed().iter().any(|armed| armed.fault == Fault::WrongSignature);
            let body = format!("from a person {n}");
            let outcome = self.handle.send_sms(NUMBER, PERSON, &body).await.expect("the SMS is sent");
            if forged && outcome.status == Some(401) {
                // Twilio does not send it again, so nothing of it may be here.
                continue;
            }
            assert_eq!(outcome.status, Some(200), "{}: {}", row.name, outcome.body);
            expected.push(format!("sms.received {body}"));
        }
        expected
    }

    fn effects(&self) -> Vec<String> {
        let messages = self.handle.messages().into_iter();
        messages.filter(|message| message.direction == "outbound-api").map(|message| message.body).collect()
    }

    fn name(&self, event: &Value) -> Option<String> {
        let data = &event["data"];
        match event["type"].as_str()? {
            kind @ ("sms.sent" | "sms.received") => Some(format!("{kind} {}", text(data, "body"))),
            "sms.status" if data["status"] == "delivered" => {
                let all = self.handle.messages();
                let message = all.iter().find(|message| data["message_id"] == message.sid.as_str());
                Some(format!("delivered {}", message.map_or("something unknown", |message| message.body.as_str())))
            }
            _ => None,
        }
    }
}
