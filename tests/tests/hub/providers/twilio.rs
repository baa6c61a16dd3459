use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use switchyard_simulators::{
    clock::{SystemClock, TimeFactor},
    twilio::{CallEvent, CallStatus, InboundCall, Input, Options, Person, SharedKey, Twilio, signature::Algorithm},
};
use switchyard_tests::{
    api::{Tenant, text, until},
    hub::{Builder, Hub},
    world::{ACCOUNT_SID, bundled},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Calls that people make.
mod calls_in;

/// Calls that are asked for, each once.
mod calls_out;

/// Opt-outs, shared keys, repetitions.
mod senders;

const TOKEN: &str = "00112233445566778899aabbccddeeff";
const NUMBER: &str = "+4570000001";
const PERSON: &str = "+4520123456";
const PLUGIN: &str = "plugin:twilio";
const SHARED_KEY: &str = "webhooks_sharedkey_00000000000000000000000001";
const SHARED_SECRET: &str = "a-shared-key-of-the-tests-0001";

/// A hub with the plugin on for one tenant, and a Twilio that calls it.
struct Stage {
    hub: Hub,
    twilio: switchyard_simulators::twilio::Handle,
    tenant: Tenant,
}

impl Stage {
    async fn new() -> Self {
        Self::on(Hub::builder()).await
    }

    async fn on(hub: Builder) -> Self {
        let mut options = Options::new(ACCOUNT_SID, TOKEN, Arc::new(SystemClock));
        options.time_factor = TimeFactor::new(60);
        options.shared_key = Some(SharedKey {
            id: SHARED_KEY.to_owned(),
            secret: SHARED_SECRET.to_owned(),
            algorithm: Algorithm::HmacSha256,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let twilio = Twilio::start(listener, options, CancellationToken::new()).expect("a Twilio");
        let hub = hub.start().await;
        let _ = hub.push(bundled("twilio")).await.expect(201);
        let tenant = hub.tenant("acme").await;
        let account = json!({"provider": "twilio", "name": "twilio", "kind": "basic", "base_url": twilio.base_url(),
            "secret": {"username": ACCOUNT_SID, "password": TOKEN}});
        let account = tenant.connection(&account).await;
        let shared =
            json!({"provider": "twilio", "name": "shared", "kind": "hmac", "secret": {"secret": SHARED_SECRET}});
        let shared = tenant.connection(&shared).await;
        let wanted = json!({"config": config(), "connections": {"twilio": account, "sharedkey": shared}});
        let installed = tenant.install("twilio", &wanted).await;
        until("the plugin to be ready", async || {
            let seen = tenant.get("/plugins/twilio").await.expect(200);
            if seen["state"] == "ready" { Ok(()) } else { Err(seen.to_string()) }
        })
        .await;
        let url = text(&installed["sources"][0], "url");
        twilio.set_sms_url(url.as_str(), None);
        twilio.set_voice_url(format!("{url}/voice"), Some(format!("{url}/voice/fallback")));
        let all = [CallEvent::Initiated, CallEvent::Ringing, CallEvent::Answered, CallEvent::Completed];
        twilio.set_voice_status_url(format!("{url}/call-status"), &all);
        Self { hub, twilio, tenant }
    }

    /// The data of all events of a type.
    async fn events(&self, event_type: &str) -> Vec<Value> {
        let mut all = Vec::new();
        for event in self.tenant.list(&format!("/events?type={event_type}&limit=200")).await {
            let whole = self.tenant.get(&format!("/events/{}", text(&event, "id"))).await.expect(200);
            all.push(whole["data"].clone());
        }
        all
    }

    /// The data of the first event of a type that is as wanted.
    async fn event(&self, event_type: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(&format!("a {event_type}"), async || {
            let all = self.events(event_type).await;
            all.iter().find(|data| wanted(data)).cloned().ok_or_else(|| json!(all).to_string())
        })
        .await
    }

    /// What is told at the end of a call.
    async fn end_of(&self, call_id: &str) -> Value {
        self.event("call.state_changed", |data| data["call_id"] == call_id && data["state"] == "ended").await
    }

    /// Waits until nothing is under way.
    async fn drained(&self) {
        until("everything to be done", async || {
            let all = self.tenant.all("/deliveries").await;
            let live: Vec<_> = all
                .iter()
                .filter(|row| !["delivered", "dead", "cancelled"].contains(&text(row, "state").as_str()))
                .collect();
            if live.is_empty() { Ok(()) } else { Err(json!(live).to_string()) }
        })
        .await;
    }

    /// What is told of a call, checked to be each transition once, and none back.
    async fn transitions(&self, call_id: &str) -> Vec<String> {
        const STATES: [&str; 5] = ["initiated", "active", "transfer", "voicemail", "ended"];
        let rank = |name: &Value| STATES.iter().position(|known| name == known).expect("a state");
        let mut told: Vec<_> =
            self.events("call.state_changed").await.into_iter().filter(|data| data["call_id"] == call_id).collect();
        for data in told.iter().filter(|data| !data["previous"].is_null()) {
            assert!(rank(&data["previous"]) <= rank(&data["state"]), "it went back: {data}");
        }
        told.sort_by_key(|data| rank(&data["state"]));
        let names: Vec<String> =
            told.iter().map(|data| format!("{} {}", text(data, "state"), text(data, "status"))).collect();
        let mut once = names.clone();
        once.dedup();
        assert_eq!(names, once, "a transition was told twice");
        names
    }
}

/// What callers meet in these tests.
fn config() -> Value {
    json!({
        "account_sid": ACCOUNT_SID,
        "from": NUMBER,
        "shared_keys": [{"id": SHARED_KEY, "algorithm": "HMAC_SHA256"}],
        "voice": {
            "language": "da-DK",
            "greeting": "Velkommen, {caller_name}.",
            "menu": {"prompt": "Tryk 1 for akut.", "choices": [{"digits": "1", "say": "Vi stiller om.", "then": "forward"}]},
            "forward": {"numbers": ["+4511111111", "+4522222222"]},
            "voicemail": {"prompt": "Læg en besked."},
            "goodbye": "Farvel."
        }
    })
}

/// A customer who presses 1, reaches nobody and leaves a message.
fn customer() -> InboundCall {
    let person = Person {
        inputs: vec![Some(Input::Digits("1".to_owned()))],
        dials: vec![CallStatus::NoAnswer],
        speaks_s: 7,
        hangs_up_after: None,
    };
    let (to, from) = (NUMBER.to_owned(), PERSON.to_owned());
    InboundCall { to, from, caller_name: Some("VVS & <Søn>".to_owned()), person, ..InboundCall::default() }
}

/// What such a call sounds like.
const TRANSCRIPT: [&str; 9] = [
    "say Velkommen, VVS & <Søn>.",
    "say Tryk 1 for akut.",
    "gather 1",
    "say Vi stiller om.",
    "dial +4511111111 +4522222222 no-answer",
    "say Læg en besked.",
    "record 7",
    "say Farvel.",
    "hang up",
];

/// How long a provider may keep a hub waiting.
const PATIENTLY: Duration = Duration::from_secs(90);
