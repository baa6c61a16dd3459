//! Webhooks in: messages, keywords, status callbacks.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use switchyard_sdk::testing::MockHost;
use switchyard_sdk::{Emit, Event, InboundRequest, PluginError, Received};
use twilio::Twilio;

const URL: &str = "https://hub.test/in/src_0";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn config() -> Value {
    json!({ "account_sid": "AC1", "from": "+4570000001" })
}

fn form(url: &str, fields: &[(&str, &str)]) -> InboundRequest {
    let mut sorted = fields.to_vec();
    sorted.sort();
    let text: String = sorted.iter().flat_map(|(name, value)| [*name, *value]).collect();
    let mut mac = Hmac::<sha1::Sha1>::new_from_slice(TOKEN.as_bytes()).unwrap();
    mac.update(format!("{url}{text}").as_bytes());
    let signature = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    InboundRequest::new("POST", url)
        .with_header("content-type", "application/x-www-form-urlencoded")
        .with_header("x-twilio-signature", &signature)
        .with_header("i-twilio-idempotency-token", "not signed")
        .with_body(body)
}

fn sms(body: &str) -> Vec<(&str, &str)> {
    vec![
        ("MessageSid", "SM1"),
        ("AccountSid", "AC1"),
        ("From", "+4520123456"),
        ("To", "+4570000001"),
        ("Body", body),
        ("NumMedia", "0"),
        ("NumSegments", "1"),
        ("SmsStatus", "received"),
        ("ApiVersion", "2010-04-01"),
        ("SomethingNew", "1"),
    ]
}

fn host() -> MockHost {
    MockHost::new().secret("twilio.password", TOKEN)
}

fn events(received: Received) -> Vec<Emit> {
    match received {
        Received::Accepted { events, .. } => events,
        other => panic!("not accepted: {other:?}"),
    }
}

#[test]
fn a_message_becomes_an_event_and_an_empty_twiml_answer() {
    let received = host().receive::<Twilio>(config(), form(URL, &sms("Rørskade, vand overalt, ring nu!"))).unwrap();
    let Received::Accepted { events, reply: Some(reply), .. } = received else { panic!("{received:?}") };
    assert_eq!(reply.headers[0].value, b"text/xml");
    assert!(reply.body.ends_with(b"<Response/>"));
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event_type, "sms.received");
    assert_eq!(events[0].dedupe_key.as_deref(), Some("twilio:AC1:message:SM1:received"));
    assert_eq!(
        events[0].data,
        json!({
            "message_id": "SM1", "account": "AC1", "from": "+4520123456", "to": "+4570000001",
            "body": "Rørskade, vand overalt, ring nu!", "num_media": 0, "media": [], "num_segments": 1
        })
    );
}

#[test]
fn a_forged_message_is_refused_with_the_reason_for_the_admin() {
    let mut forged = form(URL, &sms("hej"));
    forged.body.extend_from_slice(b"&Body=other");
    let received = host().receive::<Twilio>(config(), forged).unwrap();
    let Received::Unauthenticated(why) = received else { panic!("{received:?}") };
    assert!(why.contains("does not match"), "{why}");
}

#[test]
fn media_keep_their_addresses_and_types() {
    let mut fields = sms("");
    fields.retain(|(name, _)| *name != "NumMedia");
    fields.extend([
        ("NumMedia", "2"),
        ("MediaUrl0", "https://m/0"),
        ("MediaContentType0", "image/png"),
        ("MediaUrl1", "https://m/1"),
    ]);
    let events = events(host().receive::<Twilio>(config(), form(URL, &fields)).unwrap());
    let expected = json!([{ "url": "https://m/0", "content_type": "image/png" }, { "url": "https://m/1" }]);
    assert_eq!(events[0].data["media"], expected);
}

#[test]
fn keywords_opt_out_and_in_beside_the_message_and_help_only_says_so() {
    for (body, opt, event) in [
        ("STOP", "STOP", Some("sms.opt_out")),
        (" optout ", "STOP", Some("sms.opt_out")),
        ("\"Stop!\"", "STOP", Some("sms.opt_out")),
        ("start", "START", Some("sms.opt_in")),
        ("Help", "HELP", None),
    ] {
        let events = events(host().receive::<Twilio>(config(), form(URL, &sms(body))).unwrap());
        assert_eq!(events[0].event_type, "sms.received");
        assert_eq!(events[0].data["opt_out"], opt, "{body}");
        assert_eq!(events.get(1).map(|event| event.event_type.as_str()), event, "{body}");
    }
    for other in ["please stop calling", "Yes!", "stop stop", "!", ""] {
        let events = events(host().receive::<Twilio>(config(), form(URL, &sms(other))).unwrap());
        assert_eq!(events.len(), 1, "{other}");
    }
}

#[test]
fn what_twilio_says_of_an_opt_out_wins_over_the_word() {
    let mut fields = sms("stop det nu tak");
    fields.push(("OptOutType", "STOP"));
    let events = events(host().receive::<Twilio>(config(), form(URL, &fields)).unwrap());
    assert_eq!(events[1].data["reason"], "opt_out_type");
    assert_eq!(events[1].dedupe_key.as_deref(), Some("twilio:AC1:optout:+4520123456:+4570000001:SM1"));
}

#[test]
fn a_signed_request_without_a_message_is_rejected() {
    let error = host().receive::<Twilio>(config(), form(URL, &[("AccountSid", "AC1")])).unwrap_err();
    assert!(matches!(error, PluginError::Reject(_)), "{error}");
}

fn callback(host: &MockHost, status: &str) -> Vec<Emit> {
    let url = format!("{URL}/status?ref={}", switchyard_sdk::testing::REFERENCE);
    let fields = [
        ("MessageSid", "SM9"),
        ("MessageStatus", status),
        ("SmsStatus", status),
        ("AccountSid", "AC1"),
        ("From", "+4570000001"),
        ("To", "+4520123456"),
    ];
    let private = events(host.receive::<Twilio>(config(), form(&url, &fields)).unwrap());
    assert_eq!(private[0].event_type, "_twilio.callback");
    assert_eq!(private[0].dedupe_key, Some(format!("twilio:AC1:callback:SM9:{status}")));
    let event = Event::new(&private[0].event_type, private[0].data.clone());
    host.handle::<Twilio>(config(), event).unwrap().events
}

#[test]
fn a_status_only_rises_however_the_callbacks_arrive() {
    let host = host();
    let emitted: Vec<String> =
        ["queued", "delivered", "sent", "sending", "undelivered", "delivered", "read", "brand_new"]
            .iter()
            .flat_map(|status| callback(&host, status))
            .map(|event| event.data["status"].as_str().unwrap().to_owned())
            .collect();
    assert_eq!(emitted, ["queued", "delivered", "read"]);
}

#[test]
fn a_status_event_names_message_person_and_reference() {
    let events = callback(&host(), "delivered");
    assert_eq!(events[0].event_type, "sms.status");
    assert_eq!(events[0].dedupe_key.as_deref(), Some("twilio:AC1:message:SM9:status:delivered"));
    assert_eq!(
        events[0].data,
        json!({
            "message_id": "SM9", "account": "AC1", "status": "delivered", "from": "+4570000001", "to": "+4520123456",
            "hub_ref": switchyard_sdk::testing::REFERENCE
        })
    );
}
