//! What becomes of requests.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use switchyard_sdk::testing::{MockHost, NOON};
use switchyard_sdk::{Emit, InboundRequest, PluginError, Received};
use webhook::Webhook;

const KEY: &[u8] = b"a key of thirty-two bytes, random";

fn mac(text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn request(body: &str) -> InboundRequest {
    InboundRequest::new("POST", "https://hub.test/in/src_0").with_body(body).at(NOON)
}

fn standard(id: &str, stamp: u64, body: &str) -> InboundRequest {
    let signature = STANDARD.encode(mac(format!("{id}.{stamp}.{body}").as_bytes()));
    request(body)
        .with_header("webhook-id", id)
        .with_header("webhook-timestamp", &stamp.to_string())
        .with_header("webhook-signature", &format!("v1a,AAAA v1,{} v1,{signature}", STANDARD.encode([0; 32])))
}

fn plain(body: &str) -> InboundRequest {
    request(body).with_header("x-signature", &format!("sha256={}", hex::encode(mac(body.as_bytes()))))
}

fn receive(config: Value, request: InboundRequest) -> Result<Received, PluginError> {
    let host = MockHost::new().secret("inbound.secret", KEY).secret("inbound-base64.secret", KEY);
    host.receive::<Webhook>(config, request)
}

fn event(config: Value, request: InboundRequest) -> Emit {
    match receive(config, request).unwrap() {
        Received::Accepted { mut events, .. } => events.remove(0),
        other => panic!("not accepted: {other:?}"),
    }
}

fn refusal(config: Value, request: InboundRequest) -> String {
    match receive(config, request).unwrap() {
        Received::Unauthenticated(why) => why,
        other => panic!("not refused: {other:?}"),
    }
}

fn standard_config() -> Value {
    json!({
        "scheme": { "kind": "standard-webhooks" },
        "event": { "from": "body", "path": "type" }
    })
}

fn plain_config() -> Value {
    json!({
        "scheme": { "kind": "hmac", "header": "X-Signature", "prefix": "sha256=" },
        "event": { "from": "fixed", "type": "order.received" }
    })
}

const NOW: u64 = NOON / 1000;

#[test]
fn a_standard_webhook_becomes_an_event_of_its_own_type_and_id() {
    let body = r#"{"type":"contact.created","data":{"id":"c1"}}"#;
    let mut config = standard_config();
    config["subject_path"] = json!("data.id");
    let event = event(config, standard("msg_1", NOW, body));
    assert_eq!(event.event_type, "contact.created");
    assert_eq!(event.dedupe_key.as_deref(), Some("webhook:id:msg_1"));
    assert_eq!(event.subject.as_deref(), Some("c1"));
    assert_eq!(event.data, serde_json::from_str::<Value>(body).unwrap());
}

#[test]
fn a_standard_webhook_is_refused_outside_its_window_either_way() {
    let at = |stamp| standard("msg_1", stamp, "{}");
    assert_eq!(refusal(standard_config(), at(NOW - 301)), "the time stamp is too old");
    assert_eq!(refusal(standard_config(), at(NOW + 301)), "the time stamp lies in the future");
    for stamp in [NOW - 300, NOW + 300] {
        let mut config = standard_config();
        config["event"] = json!({ "from": "fixed", "type": "thing.happened" });
        assert_eq!(event(config, at(stamp)).event_type, "thing.happened");
    }
}

#[test]
fn the_same_bytes_divided_otherwise_are_refused() {
    let body = "1700000000.{}";
    let genuine = standard("msg_1", NOW, body);
    let mut moved = request("{}").with_header("webhook-id", &format!("msg_1.{NOW}"));
    moved = moved.with_header("webhook-timestamp", "1700000000");
    moved.headers.push(genuine.headers[2].clone());
    assert!(refusal(standard_config(), moved).contains("webhook-id"));
}

#[test]
fn no_more_than_sixteen_signatures_are_tried() {
    let mut late = standard("msg_1", NOW, "{}");
    let signature = STANDARD.encode(mac(format!("msg_1.{NOW}.{{}}").as_bytes()));
    let wrong = format!("v1,{}", STANDARD.encode([0; 32]));
    late.headers[2].value = format!("{} v1,{signature}", [wrong.as_str(); 16].join(" ")).into_bytes();
    assert!(refusal(standard_config(), late.clone()).contains("does not match"));
    late.headers[2].value = format!("{} v1,{signature}", [wrong.as_str(); 15].join(" ")).into_bytes();
    let mut config = standard_config();
    config["event"] = json!({ "from": "fixed", "type": "thing.happened" });
    assert_eq!(event(config, late).event_type, "thing.happened");
}

#[test]
fn a_repeated_or_missing_header_is_refused_by_name() {
    let twice = standard("msg_1", NOW, "{}").with_header("webhook-timestamp", "1");
    assert_eq!(refusal(standard_config(), twice), "there is not exactly one header webhook-timestamp");
    assert_eq!(refusal(plain_config(), request("{}")), "there is not exactly one header X-Signature");
}

#[test]
fn a_scheme_of_ones_own_signs_what_its_template_says() {
    let config = json!({
        "scheme": {
            "kind": "hmac", "header": "x-sig", "encoding": "base64", "signed": "{id}|{timestamp}|{url}|{body}",
            "timestamp_header": "x-time", "id_header": "x-id"
        },
        "event": { "from": "fixed", "type": "thing.happened" }
    });
    let signed = format!("e-1|{NOW}|https://hub.test/in/src_0|{{}}");
    let genuine = request("{}")
        .with_header("x-sig", &STANDARD.encode(mac(signed.as_bytes())))
        .with_header("x-time", &NOW.to_string())
        .with_header("x-id", "e-1");
    assert_eq!(event(config.clone(), genuine.clone()).dedupe_key.as_deref(), Some("webhook:id:e-1"));
    let mut elsewhere = genuine;
    elsewhere.url.push_str("?x=1");
    assert!(refusal(config, elsewhere).contains("does not match"));
}

#[test]
fn without_an_id_equal_requests_are_one_and_others_are_not() {
    let key = |body: &str| event(plain_config(), plain(body)).dedupe_key;
    assert_eq!(key(r#"{"a":1}"#), key(r#"{"a":1}"#));
    assert_ne!(key(r#"{"a":1}"#), key(r#"{"a":2}"#));
}

#[test]
fn an_id_in_the_body_is_kept_apart_by_source() {
    let mut config = plain_config();
    config["dedupe"] = json!({ "path": "order.id" });
    let event = event(config.clone(), plain(r#"{"order":{"id":17}}"#));
    assert_eq!(event.dedupe_key.as_deref(), Some("webhook:default:path:17"));
    let error = receive(config, plain("{}")).unwrap_err();
    assert!(matches!(&error, PluginError::Reject(detail) if detail.code == "no_dedupe_id"), "{error}");
}

#[test]
fn malformed_json_under_a_good_signature_is_rejected_and_under_a_bad_one_refused() {
    let error = receive(plain_config(), plain("{not json")).unwrap_err();
    assert!(matches!(&error, PluginError::Reject(detail) if detail.code == "malformed_json"), "{error}");
    let mut forged = plain("{not json");
    forged.body.push(b'!');
    assert!(refusal(plain_config(), forged).contains("does not match"));
}

#[test]
fn bodies_that_are_no_objects_still_become_data() {
    assert_eq!(event(plain_config(), plain("[1]")).data, json!({ "value": [1] }));
    let mut config = plain_config();
    config["body"] = json!("form");
    assert_eq!(event(config.clone(), plain("a=1&b=x+y&a=2")).data, json!({ "a": ["1", "2"], "b": "x y" }));
    config["body"] = json!("text");
    assert_eq!(event(config, plain("hej")).data, json!({ "body_text": "hej" }));
}

#[test]
fn a_type_from_a_header_is_made_only_when_allowed() {
    let mut config = plain_config();
    config["event"] = json!({ "from": "header", "name": "X-Topic", "prefix": "shop.", "allow": ["shop.orders.*"] });
    let with = |topic: &str| plain("{}").with_header("x-topic", topic);
    assert_eq!(event(config.clone(), with("Orders.Create-Now")).event_type, "shop.orders.create_now");
    let ignored = receive(config.clone(), with("customers.created")).unwrap();
    assert!(matches!(ignored, Received::Handled(reply) if reply.status == 200));
    let error = receive(config, plain("{}")).unwrap_err();
    assert!(matches!(&error, PluginError::Reject(detail) if detail.code == "no_event_type"), "{error}");
}

#[test]
fn no_sender_can_make_a_private_or_malformed_type() {
    let mut config = standard_config();
    config["event"] = json!({ "from": "body", "path": "type" });
    for body in [r#"{"type":"_poll.due"}"#, r#"{"type":"message"}"#, r#"{"type":"a..b"}"#, r#"{"type":"a._b"}"#] {
        let error = receive(config.clone(), standard("msg_1", NOW, body)).unwrap_err();
        assert!(matches!(&error, PluginError::Reject(detail) if detail.code == "bad_event_type"), "{body}: {error}");
    }
}

#[test]
fn slacks_question_is_answered_and_not_stored() {
    let body = r#"{"type":"url_verification","challenge":"3eZbrw1aB"}"#;
    let config = json!({ "scheme": { "kind": "slack" }, "event": { "from": "body", "path": "event.type" } });
    let tag = hex::encode(mac(format!("v0:{NOW}:{body}").as_bytes()));
    let asked = request(body)
        .with_header("x-slack-request-timestamp", &NOW.to_string())
        .with_header("x-slack-signature", &format!("v0={tag}"));
    let received = receive(config, asked).unwrap();
    assert!(matches!(received, Received::Handled(reply) if reply.body == b"3eZbrw1aB"));
}

#[test]
fn githubs_scheme_signs_the_body() {
    let config = json!({
        "scheme": { "kind": "github" },
        "event": { "from": "header", "name": "X-GitHub-Event", "prefix": "github.", "allow": ["github.*"] }
    });
    let body = r#"{"action":"opened"}"#;
    let pushed = request(body)
        .with_header("x-hub-signature-256", &format!("sha256={}", hex::encode(mac(body.as_bytes()))))
        .with_header("x-github-event", "pull_request");
    assert_eq!(event(config, pushed).event_type, "github.pull_request");
}

#[test]
fn a_config_that_would_prove_nothing_needs_attention_and_names_the_field() {
    for (change, field) in [
        (json!({ "signed": "{timestamp}.{body}" }), "scheme.timestamp_header"),
        (json!({ "timestamp_header": "x-time" }), "scheme.timestamp_header"),
        (json!({ "signed": "{timestamp}" }), "scheme.signed"),
    ] {
        let mut config = plain_config();
        for (name, value) in change.as_object().unwrap() {
            config["scheme"][name] = value.clone();
        }
        let error = receive(config, plain("{}")).unwrap_err();
        assert!(matches!(&error, PluginError::NeedsAttention(_)), "{error}");
        assert!(error.to_string().contains(&format!("`{field}`")), "{error}");
    }
}

#[test]
fn without_a_key_a_request_is_parked_and_not_refused() {
    let error = MockHost::new().receive::<Webhook>(plain_config(), plain("{}")).unwrap_err();
    assert!(matches!(error, PluginError::Retry { .. }), "{error}");
}

#[test]
fn the_config_schema_takes_what_the_plugin_takes() {
    let schema = switchyard_sdk::dispatch::describe::<Webhook>().config_schema.unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for config in [
        plain_config(),
        standard_config(),
        json!({ "scheme": { "kind": "github" }, "event": { "from": "fixed", "type": "a.b" } }),
    ] {
        assert!(validator.is_valid(&config), "{config}: {:?}", validator.iter_errors(&config).next());
    }
    assert!(
        !validator.is_valid(&json!({ "scheme": { "kind": "rot13" }, "event": { "from": "fixed", "type": "a.b" } }))
    );
    assert!(!validator.is_valid(&json!({ "scheme": { "kind": "hmac" }, "event": { "from": "fixed", "type": "a.b" } })));
}
