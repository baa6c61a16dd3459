use std::collections::BTreeMap;

use serde_json::{Value, json};
use switchyard_simulators::{
    faults::Fault,
    twilio::{CallStatus, InboundCall, SentWebhook, Signing},
};
use switchyard_tests::{
    api::{SOON, text},
    hub::Hub,
};

use super::{NUMBER, PERSON, PLUGIN, SHARED_KEY, Stage, TRANSCRIPT, customer};

const MESSAGE: &str = "Hej fra os";

impl Stage {
    /// Sends a message; answers its delivery once it is in a state.
    async fn send(&self, state: &str) -> Value {
        let event = self.tenant.publish(&json!({"type": "sms.send", "data": {"to": PERSON, "body": MESSAGE}})).await;
        let ours = |row: &Value| row["event_id"] == event["id"] && row["state"] == state;
        self.tenant.delivery(PLUGIN, state, ours).await
    }

    fn asked_to_send(&self) -> u64 {
        self.twilio.counts().get("messages.create").map_or(0, |count| count.received)
    }
}

#[tokio::test]
async fn whoever_texted_stop_gets_nothing_until_they_text_start() {
    let stage = Stage::new().await;
    assert_eq!(stage.twilio.send_sms(NUMBER, PERSON, "Stop!").await.expect("it is sent").status, Some(200));
    let out = stage.event("sms.opt_out", |_| true).await;
    assert_eq!((&out["from"], &out["reason"]), (&PERSON.into(), &"keyword".into()));
    stage.drained().await;
    let dead = stage.send("dead").await;
    assert_eq!((&dead["reason"], &dead["code"]), (&json!("policy"), &json!("opted_out")), "{dead:#}");
    assert_eq!(stage.asked_to_send(), 0, "Twilio was not asked");
    let _ = stage.twilio.send_sms(NUMBER, PERSON, "start").await.expect("it is sent");
    let _ = stage.event("sms.opt_in", |_| true).await;
    stage.drained().await;
    let _ = stage.send("delivered").await;
    assert_eq!(stage.asked_to_send(), 1);
}

#[tokio::test]
async fn an_opt_out_that_only_twilio_knows_is_told_once_and_then_remembered() {
    let stage = Stage::new().await;
    // The hub never believes this message; Twilio does.
    stage.twilio.faults().arm("webhook.sms", Fault::WrongSignature, 1);
    assert_eq!(stage.twilio.send_sms(NUMBER, PERSON, "STOP").await.expect("it is sent").status, Some(401));
    let _ = stage.send("delivered").await;
    let out = stage.event("sms.opt_out", |_| true).await;
    assert_eq!(out["reason"], "21610");
    assert_eq!(stage.event("sms.failed", |_| true).await["code"], "21610");
    let dead = stage.send("dead").await;
    assert_eq!((&dead["reason"], &dead["code"]), (&json!("policy"), &json!("opted_out")), "{dead:#}");
    assert_eq!(stage.asked_to_send(), 1);
    assert_eq!(stage.events("sms.opt_out").await.len(), 1);
}

#[tokio::test]
async fn a_shared_key_signs_calls_and_callbacks_and_nothing_weaker_is_believed() {
    let stage = Stage::new().await;
    stage.twilio.set_signing(Signing { shared_key: true, ..Signing::default() });
    let outcome = stage.twilio.call(&customer()).await.expect("the call is carried out");
    assert_eq!((outcome.errors.len(), outcome.transcript), (0, TRANSCRIPT.map(str::to_owned).to_vec()));
    assert_eq!(stage.end_of(&outcome.call_sid).await["outcome"], "completed");
    let sent = stage.twilio.webhooks();
    let settings = format!("key={SHARED_KEY},algorithm=HMAC_SHA256");
    let named = |hook: &&SentWebhook| hook.headers.iter().any(|(_, value)| *value == settings);
    assert_eq!(sent.iter().filter(named).count(), sent.len(), "each names its key");
    // The header is not signed: a sender who names a weaker algorithm, another key or none is not believed.
    let genuine = &sent[0];
    let events = stage.tenant.all("/events").await.len();
    for settings in [
        Some(format!("key={SHARED_KEY},algorithm=HMAC_SHA1")),
        Some("key=webhooks_sharedkey_00000000000000000000000002,algorithm=HMAC_SHA256".to_owned()),
        Some(format!("key={SHARED_KEY},algorithm=none")),
        Some(format!("key={SHARED_KEY}")),
        None,
    ] {
        let mut headers: BTreeMap<&str, &str> =
            genuine.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        match &settings {
            Some(settings) => headers.insert("X-Twilio-Webhooks-Signature-Settings", settings),
            None => headers.remove("X-Twilio-Webhooks-Signature-Settings"),
        };
        let headers: Vec<_> = headers.into_iter().collect();
        let reply = stage.hub.without_key().raw("POST", &genuine.url, &headers, genuine.body.clone()).await;
        assert_eq!(reply.status, 401, "{settings:?}: {}", reply.text);
    }
    assert_eq!(stage.tenant.all("/events").await.len(), events, "no event was made");
}

#[tokio::test]
async fn a_studio_that_sends_json_is_believed_by_the_hash_in_the_address() {
    let stage = Stage::new().await;
    stage.twilio.set_signing(Signing { json: true, ..Signing::default() });
    let outcome = stage.twilio.call(&customer()).await.expect("the call is carried out");
    assert_eq!((outcome.errors.len(), outcome.status), (0, CallStatus::Completed), "{outcome:?}");
    assert_eq!(stage.end_of(&outcome.call_sid).await["outcome"], "completed");
}

#[tokio::test]
async fn everything_that_twilio_sends_fifty_times_in_any_order_is_the_same_as_once() {
    let hub = Hub::builder().set("SWITCHYARD_RATES__SOURCE_BURST", "5000").set("SWITCHYARD_RATES__IP_BURST", "5000");
    let stage = Stage::on(hub).await;
    let outcome = stage.twilio.call(&customer()).await.expect("the call is carried out");
    let other = InboundCall { from: "+4520999999".to_owned(), ..customer() };
    let second = stage.twilio.call(&other).await.expect("the call is carried out");
    let _ = stage.twilio.send_sms(NUMBER, PERSON, "Hej").await.expect("it is sent");
    for sid in [&outcome.call_sid, &second.call_sid] {
        let _ = stage.end_of(sid).await;
        assert!(stage.twilio.wait_for_webhooks(sid, 8, SOON).await);
    }
    stage.drained().await;
    let before = counted(&stage).await;
    let sent = stage.twilio.webhooks();
    for round in 0..50 {
        for at in 0..sent.len() {
            // Another order in each round: 7 and 11 walk through any number of them that is no multiple.
            let hook = &sent[(at * if sent.len() % 7 == 0 { 11 } else { 7 } + round) % sent.len()];
            let headers: Vec<_> = hook.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let reply = stage.hub.without_key().raw("POST", &hook.url, &headers, hook.body.clone()).await;
            assert!(matches!(reply.status, 200 | 204), "{}: {}", reply.status, reply.text);
        }
    }
    stage.drained().await;
    assert_eq!(counted(&stage).await, before);
    assert_eq!(before["call.received"], 2);
}

/// How many events of each type there are, but for polls.
async fn counted(stage: &Stage) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for event in stage.tenant.all("/events").await {
        let event_type = text(&event, "type");
        if event_type != "_poll.due" {
            *counts.entry(event_type).or_default() += 1;
        }
    }
    counts
}

#[tokio::test]
async fn the_connection_is_tried_by_a_look_at_the_account() {
    let stage = Stage::new().await;
    let all = stage.tenant.list("/connections").await;
    let account = text(all.iter().find(|one| one["kind"] == "basic").expect("the account"), "id");
    let tried = stage.tenant.post(&format!("/connections/{account}/test"), &Value::Null).await.expect(200);
    assert_eq!(tried["ok"], true, "{tried}");
    assert!(tried.to_string().contains(".json: status 200"), "{tried}");
}
