use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use switchyard_tests::{
    api::text,
    broker::{shared_url, until},
    hub::Hub,
};

use super::{Place, delivery, field};

/// Whether a message carries the signature that a secret makes.
fn is_signed(message: &lapin::message::Delivery, secret: &str) -> bool {
    let (id, stamp) =
        (field(message, "webhook-id").expect("an id"), field(message, "webhook-timestamp").expect("a time"));
    let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key of any length");
    mac.update(format!("{id}.{stamp}.").as_bytes());
    mac.update(&message.data);
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    field(message, "webhook-signature").expect("a signature").split(' ').any(|signature| signature == expected)
}

#[tokio::test]
async fn an_event_is_published_persistent_and_signed_as_over_http() {
    let (hub, place) = (Hub::start().await, Place::new().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = place.endpoint(&tenant, &["order.placed"], json!({"headers": {"X-Team": "billing"}})).await;
    let event = json!({"type": "order.placed", "data": {"n": 1}, "correlation_id": "cor-1"});
    let id = text(&tenant.publish(&event).await, "id");
    let message = place.client.next(&place.queue).await;
    assert_eq!(message.routing_key.as_str(), "order.placed");
    assert!(is_signed(&message, &text(&endpoint, "secret")));
    let properties = &message.properties;
    let shown = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string);
    assert_eq!(properties.delivery_mode(), &Some(2));
    assert_eq!(shown(properties.content_type()).as_deref(), Some("application/cloudevents+json"));
    assert_eq!(shown(properties.message_id()).as_deref(), Some(id.as_str()));
    assert_eq!(shown(properties.correlation_id()).as_deref(), Some("cor-1"));
    assert_eq!(shown(properties.kind()).as_deref(), Some("order.placed"));
    for (name, expected) in [("webhook-id", id.as_str()), ("x-correlation-id", "cor-1"), ("x-team", "billing")] {
        assert_eq!(field(&message, name).as_deref(), Some(expected), "{name}");
    }
    assert!(field(&message, "traceparent").is_some_and(|value| value.starts_with("00-")));
    let body: Value = serde_json::from_slice(&message.data).unwrap();
    assert_eq!((&body["type"], &body["data"]), (&json!("order.placed"), &json!({"n": 1})));
    let done = delivery(&tenant, &endpoint, "delivered").await;
    assert_eq!(done["attempts"].as_array().map(Vec::len), Some(1), "{done}");
    place.clear().await;
}

#[tokio::test]
async fn filters_keys_rotation_pause_test_and_replay_work_as_over_http() {
    let (hub, place) = (Hub::start().await, Place::bound("fixed").await);
    let tenant = hub.tenant("acme").await;
    let more = json!({"routing_key": "fixed", "filter": "data.n > 1", "format": "standard"});
    let made = place.endpoint(&tenant, &["a.*"], more).await;
    let (id, old) = (text(&made, "id"), text(&made, "secret"));
    let _ = tenant.publish(&json!({"type": "a.b", "data": {"n": 1}})).await;
    let wanted = tenant.publish(&json!({"type": "a.b", "data": {"n": 2}})).await;
    let message = place.client.next(&place.queue).await;
    assert_eq!(field(&message, "webhook-id"), wanted["id"].as_str().map(str::to_owned), "the filter lets one pass");
    let body: Value = serde_json::from_slice(&message.data).unwrap();
    assert_eq!(body["data"], json!({"n": 2}));

    let rotated = tenant.post(&format!("/endpoints/{id}/rotate-secret"), &json!({"grace_s": 60})).await.expect(200);
    let _ = tenant.post(&format!("/endpoints/{id}/test"), &json!({})).await.expect(202);
    let message = place.client.next(&place.queue).await;
    assert!(is_signed(&message, &old) && is_signed(&message, &text(&rotated, "secret")));

    let _ = tenant.post(&format!("/endpoints/{id}/pause"), &json!({})).await.expect(200);
    let held = tenant.publish(&json!({"type": "a.b", "data": {"n": 3}})).await;
    let _ = tenant.delivery(&id, "held", |delivery| delivery["state"] == "held").await;
    assert!(place.client.take(&place.queue).await.is_none(), "a paused endpoint gets nothing");
    let _ = tenant.post(&format!("/endpoints/{id}/resume"), &json!({})).await.expect(200);
    let message = place.client.next(&place.queue).await;
    assert_eq!(field(&message, "webhook-id"), held["id"].as_str().map(str::to_owned));

    let all = json!({"from": "2020-01-01T00:00:00Z", "include_delivered": true});
    let _ = tenant.post(&format!("/endpoints/{id}/replay"), &all).await.expect(202);
    let mut again = Vec::new();
    for _ in 0..3 {
        again.push(field(&place.client.next(&place.queue).await, "webhook-id"));
    }
    assert!(again.contains(&Some(text(&wanted, "id"))), "a replay is the same message again: {again:?}");
    place.clear().await;
}

#[tokio::test]
async fn many_events_share_one_connection_which_ends_with_its_endpoint() {
    let (hub, place) = (Hub::start().await, Place::new().await);
    let tenant = hub.tenant("acme").await;
    let made = place.endpoint(&tenant, &["a.b"], json!({"concurrency": 16})).await;
    for n in 0..50 {
        let _ = tenant.publish(&json!({"type": "a.b", "data": {"n": n}})).await;
    }
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let body: Value = serde_json::from_slice(&place.client.next(&place.queue).await.data).unwrap();
        seen.insert(body["data"]["n"].as_u64().unwrap());
    }
    assert_eq!(seen.len(), 50);
    assert_eq!(connections_of(&hub), 1, "all attempts share one");
    let _ = tenant.api.delete(&tenant.path(&format!("/endpoints/{}", text(&made, "id")))).await.expect(204);
    until("its connection ends", std::time::Duration::from_secs(20), async || connections_of(&hub) == 0).await;
    place.clear().await;
}

/// How many connections to brokers a hub has: the library has a thread for each.
fn connections_of(hub: &Hub) -> usize {
    let tasks =
        std::fs::read_dir(format!("/proc/{}/task", hub.pid())).expect("the process has tasks").filter_map(Result::ok);
    let names = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
    names.filter(|name| name.starts_with("lapin-io-loop")).count()
}

#[tokio::test]
async fn what_an_endpoint_shows_holds_no_credential_and_a_changed_one_publishes_elsewhere() {
    let (hub, here, there) = (Hub::start().await, Place::new().await, Place::new().await);
    let tenant = hub.tenant("acme").await;
    let made = here.endpoint(&tenant, &["a.b"], json!({})).await;
    let id = text(&made, "id");
    assert_eq!((&made["kind"], &made["exchange"]), (&json!("amqp"), &json!(here.exchange)));
    assert!(text(&made, "url").starts_with("amqp://127.0.0.1:") && !text(&made, "url").contains('@'), "{made}");
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let _ = here.client.next(&here.queue).await;
    let path = tenant.path(&format!("/endpoints/{id}"));
    let changed = tenant.api.patch(&path, &json!({"exchange": there.exchange, "routing_key": "k"})).await.expect(200);
    assert_eq!((&changed["exchange"], &changed["routing_key"]), (&json!(there.exchange), &json!("k")));
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    assert_eq!(there.client.next(&there.queue).await.routing_key.as_str(), "k");
    // With its address again, it is the same endpoint still.
    let changed = tenant.api.patch(&path, &json!({"url": shared_url(), "routing_key": null})).await.expect(200);
    assert_eq!(changed["routing_key"], Value::Null);
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    assert_eq!(there.client.next(&there.queue).await.routing_key.as_str(), "a.b");
    let audit = tenant.get("/audit").await.expect(200).to_string();
    assert!(audit.contains(&there.exchange) && !audit.contains("guest"), "{audit}");
    here.clear().await;
    there.clear().await;
}
