//! Pushes of Pub/Sub: whose they are, and what they ask for.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gmail::{Gmail, push};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use switchyard_sdk::testing::{MockHost, NOON};
use switchyard_sdk::{InboundRequest, PluginError, Received};

mod support;
use support::{MAILBOX, PUSHER, TOPIC, config, pushed};

const URL: &str = "https://hub.test/in/src_0";

fn claims() -> Value {
    let now = NOON / 1000;
    json!({
        "iss": "https://accounts.google.com", "aud": URL, "email": PUSHER, "email_verified": true,
        "iat": now - 60, "exp": now + 3540, "sub": "1"
    })
}

fn envelope(data: &str) -> String {
    json!({ "message": { "data": STANDARD.encode(data), "messageId": "1", "message_id": "1" }, "subscription": "s" })
        .to_string()
}

fn request(body: &str) -> InboundRequest {
    InboundRequest::new("POST", URL).with_header("Authorization", "Bearer a.b.c").with_body(body).at(NOON)
}

fn receive(claims: Value, request: InboundRequest) -> Result<Received, PluginError> {
    MockHost::new().token("a.b.c", Ok(claims)).receive::<Gmail>(pushed(), request)
}

fn news() -> String {
    envelope(&json!({ "emailAddress": MAILBOX, "historyId": "123" }).to_string())
}

fn is_poll(received: &Received) -> bool {
    matches!(received, Received::Accepted { events, reply, poll_now }
        if events.is_empty() && reply.as_ref().unwrap().status == 204 && poll_now == &["sync"])
}

#[test]
fn an_authentic_push_makes_the_poll_due_and_is_acknowledged() {
    assert!(is_poll(&receive(claims(), request(&news())).unwrap()));
    // The id is a number in live traffic, and the address is not written as we write it.
    let odd = envelope(&json!({ "emailAddress": "Office@Firma.test", "historyId": 123 }).to_string());
    assert!(is_poll(&receive(claims(), request(&odd)).unwrap()));
}

#[test]
fn a_push_that_cannot_be_read_is_acknowledged_and_the_mailbox_is_looked_at() {
    for body in ["", "{", "[]", "null", "{\"message\":1}", "{\"message\":{\"data\":\"%%%\"}}", &envelope("no json")] {
        assert!(is_poll(&receive(claims(), request(body)).unwrap()), "{body}");
    }
}

#[test]
fn a_push_for_another_mailbox_is_acknowledged_and_ignored() {
    let other = envelope(&json!({ "emailAddress": "other@firma.test", "historyId": "1" }).to_string());
    let received = receive(claims(), request(&other)).unwrap();
    assert!(matches!(&received, Received::Handled(reply) if reply.status == 204), "{received:?}");
}

#[test]
fn every_claim_must_be_as_it_must_be() {
    let now = NOON / 1000;
    for (name, value) in [
        ("iss", json!("https://accounts.example.test")),
        ("aud", json!("https://hub.test/in/src_1")),
        ("aud", json!([URL])),
        ("exp", json!(now - 10)),
        ("exp", json!("never")),
        ("exp", Value::Null),
        ("iat", json!(now + 11)),
        ("iat", Value::Null),
        ("email", json!("someone@other.iam.gserviceaccount.com")),
        ("email", json!(PUSHER.to_uppercase())),
        ("email", Value::Null),
        ("email_verified", json!(false)),
        ("email_verified", json!("true")),
        ("email_verified", Value::Null),
    ] {
        let mut claims = claims();
        claims[name] = value.clone();
        let received = receive(claims, request(&news())).unwrap();
        assert!(matches!(received, Received::Unauthenticated(_)), "{name} = {value}: {received:?}");
    }
    let mut at_the_edge = claims();
    (at_the_edge["exp"], at_the_edge["iat"]) = (json!(now - 9), json!(now + 10));
    assert!(is_poll(&receive(at_the_edge, request(&news())).unwrap()));
}

#[test]
fn without_one_good_token_a_push_is_unauthenticated() {
    let bare = InboundRequest::new("POST", URL).with_body(news()).at(NOON);
    for request in [
        bare.clone(),
        bare.clone().with_header("authorization", "a.b.c"),
        bare.clone().with_header("authorization", "Basic a.b.c"),
        bare.clone().with_header("authorization", "Bearer "),
        bare.clone().with_header("authorization", "Bearer x.y.z"),
        bare.clone().with_header("authorization", "Bearer a.b.c").with_header("authorization", "Bearer a.b.c"),
    ] {
        let received = receive(claims(), request).unwrap();
        assert!(matches!(received, Received::Unauthenticated(_)), "{received:?}");
    }
    let lower = bare.with_header("authorization", "bearer a.b.c");
    assert!(is_poll(&receive(claims(), lower).unwrap()));
}

#[test]
fn without_settings_for_pushes_none_is_believed() {
    let host = MockHost::new().token("a.b.c", Ok(claims()));
    let received = host.receive::<Gmail>(config(), request(&news())).unwrap();
    assert!(matches!(received, Received::Unauthenticated(_)), "{received:?}");
}

#[test]
fn the_configured_audience_stands_in_for_the_source() {
    let mut claims = claims();
    claims["aud"] = json!("gmail-pushes");
    let host = MockHost::new().token("a.b.c", Ok(claims));
    let settings = json!({
        "mailbox": MAILBOX, "push": { "topic": TOPIC, "service_account": PUSHER, "audience": "gmail-pushes" }
    });
    assert!(is_poll(&host.receive::<Gmail>(settings, request(&news())).unwrap()));
}

fn vectors() -> Vec<Value> {
    serde_json::from_str(include_str!("../../../tests/data/vectors.json")).unwrap()
}

/// The host's half of the check, as the contract describes it: algorithm, key, signature, issuer and audience, with a
/// minute of leeway for the times.
fn host_verifies(token: &str, keys: &JwkSet, config: &Value, now: i64) -> Result<Value, String> {
    let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
    let key = header.kid.and_then(|id| keys.find(&id).cloned()).ok_or("unknown key")?;
    let mut validation = Validation::new(Algorithm::RS256);
    (validation.validate_exp, validation.validate_aud) = (false, true);
    validation.set_audience(&[config["expected_audience"].as_str().unwrap()]);
    validation.set_issuer(&["https://accounts.google.com", "accounts.google.com"]);
    let key = DecodingKey::from_jwk(&key).map_err(|error| error.to_string())?;
    let claims = jsonwebtoken::decode::<Value>(token, &key, &validation).map_err(|error| error.to_string())?.claims;
    let expired = claims["exp"].as_i64().is_none_or(|exp| exp + 60 < now);
    if expired { Err("expired".to_owned()) } else { Ok(claims) }
}

#[test]
fn every_recorded_token_is_judged_as_it_must_be() {
    let vectors = vectors();
    let keys = vectors.iter().find(|vector| vector["id"] == "google-oidc-00-keys").unwrap();
    let keys: JwkSet = serde_json::from_value(keys["expected"]["jwks"].clone()).unwrap();
    let mut judged = 0;
    for vector in vectors.iter().filter(|vector| vector["scheme"] == "oidc-bearer-rs256") {
        let inputs = &vector["inputs"];
        let (now, config) = (inputs["now_unix"].as_u64().unwrap(), &inputs["config"]);
        let header = inputs["headers"]["Authorization"].as_str().unwrap();
        let token = header.strip_prefix("Bearer ").unwrap();
        let claims = host_verifies(token, &keys, config, i64::try_from(now).unwrap());
        let host = MockHost::new().token(token, claims);
        let settings = json!({ "mailbox": MAILBOX, "push": {
            "topic": TOPIC, "service_account": config["expected_email"], "audience": config["expected_audience"] } });
        let request =
            InboundRequest::new("POST", URL).with_header("authorization", header).with_body(news()).at(now * 1000);
        let received = host.receive::<Gmail>(settings, request).unwrap();
        let valid = vector["expected"]["valid"] == true;
        assert_eq!(is_poll(&received), valid, "{}: {received:?}", vector["id"]);
        judged += 1;
    }
    assert_eq!(judged, 8);
}

#[test]
fn the_recorded_notification_is_read_in_every_spelling_of_base64() {
    let vectors = vectors();
    let vector = vectors.iter().find(|vector| vector["scheme"] == "pubsub-data-base64url-json").unwrap();
    let data = vector["inputs"]["message_data"].as_str().unwrap();
    for data in [data.to_owned(), data.trim_end_matches('=').to_owned(), data.replace('-', "+").replace('_', "/")] {
        let body = json!({ "message": { "data": data } }).to_string();
        let read = push::notification(body.as_bytes()).unwrap();
        assert_eq!(read.mailbox, vector["expected"]["json"]["emailAddress"].as_str().unwrap());
        assert_eq!(read.history_id.to_string(), vector["expected"]["json"]["historyId"].as_str().unwrap());
    }
}
