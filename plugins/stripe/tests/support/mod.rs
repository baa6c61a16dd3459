//! Webhooks as Stripe signs them, and a host that holds the secret.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use stripe::Stripe;
use switchyard_sdk::testing::{MockHost, NOON};
use switchyard_sdk::{Emit, Event, InboundRequest, PluginError, Received};

pub const SECRET: &str = "whsec_test_secret";

/// The second in which tests happen.
pub const NOW: u64 = NOON / 1000;

pub fn host() -> MockHost {
    MockHost::new().secret("signing.secret", SECRET)
}

pub fn tag(secret: &str, stamp: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(stamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// A request with this header, arrived now.
pub fn request(header: &str, body: impl Into<Vec<u8>>) -> InboundRequest {
    InboundRequest::new("POST", "https://hub.test/in/src_0")
        .with_header("Stripe-Signature", header)
        .with_header("Content-Type", "application/json; charset=utf-8")
        .with_body(body)
        .at(NOON)
}

/// A request signed now.
pub fn signed(body: impl Into<Vec<u8>>) -> InboundRequest {
    let body = body.into();
    request(&format!("t={NOW},v1={}", tag(SECRET, &NOW.to_string(), &body)), body)
}

/// An event about this object.
pub fn notice(id: &str, kind: &str, created: u64, object: Value) -> Value {
    json!({
        "id": id, "object": "event", "api_version": "2026-01-28", "created": created, "livemode": true,
        "type": kind, "data": { "object": object }, "pending_webhooks": 1
    })
}

/// A subscription in this state.
pub fn subscription(status: &str) -> Value {
    json!({
        "id": "sub_1", "object": "subscription", "customer": "cus_1", "status": status, "created": NOW,
        "trial_end": NOW + 1_209_600, "cancel_at_period_end": false, "cancel_at": null, "ended_at": null,
        "items": { "data": [{
            "current_period_end": NOW + 2_592_000,
            "price": { "id": "price_1", "lookup_key": "pro_monthly", "product": "prod_1" }
        }] }
    })
}

pub fn receive(host: &MockHost, body: &Value) -> Result<Received, PluginError> {
    host.receive::<Stripe>(json!({}), signed(body.to_string()))
}

/// The events of a request that must be accepted.
#[track_caller]
pub fn accepted(host: &MockHost, body: &Value) -> Vec<Emit> {
    match receive(host, body).unwrap() {
        Received::Accepted { events, .. } => events,
        other => panic!("accepted was expected, and it is {other:?}"),
    }
}

/// Takes a request in and lets the handler see what is for it, as the hub does; returns all that subscribers get.
#[track_caller]
pub fn take(host: &MockHost, body: &Value) -> Vec<Emit> {
    let (private, mut public): (Vec<Emit>, Vec<Emit>) =
        accepted(host, body).into_iter().partition(|event| event.event_type.starts_with('_'));
    for event in private {
        let event = Event::new(&event.event_type, event.data);
        public.extend(host.handle::<Stripe>(json!({}), event).unwrap().events);
    }
    public
}

pub fn types(events: &[Emit]) -> Vec<&str> {
    events.iter().map(|event| event.event_type.as_str()).collect()
}
