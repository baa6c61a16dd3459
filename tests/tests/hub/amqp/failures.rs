use serde_json::{Value, json};
use switchyard_tests::{
    api::text,
    broker::{Client, shared_url},
    hub::Hub,
};

use super::{Place, delivery};

/// Publishes one event to an endpoint that tries once, and answers how it died.
async fn died(hub: &Hub, name: &str, endpoint: Value) -> Value {
    let tenant = hub.tenant(name).await;
    let made = tenant.post("/endpoints", &endpoint).await.expect(201);
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let mut dead = delivery(&tenant, &made, "dead").await;
    dead["attempts"][0].take()
}

fn endpoint(url: &str, exchange: &str) -> Value {
    json!({"kind": "amqp", "url": url, "exchange": exchange, "event_types": ["a.b"], "retry_schedule": [0],
        "timeout_ms": 3000})
}

#[tokio::test]
async fn every_way_of_not_being_taken_has_a_code_of_its_own() {
    let (hub, place) = (Hub::start().await, Place::bound("something.else").await);
    let (url, port) = (shared_url(), shared_url().rsplit(':').next().unwrap_or_default().to_owned());
    let unlucky = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("it").port();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent_port = silent.local_addr().expect("it").port();
    for (name, endpoint, code) in [
        ("unroutable", endpoint(&url, &place.exchange), "amqp_unroutable"),
        ("no-exchange", endpoint(&url, "no-such-exchange"), "amqp_no_exchange"),
        ("refused", endpoint(&format!("amqp://127.0.0.1:{unlucky}"), "x"), "connect_refused"),
        ("silent", endpoint(&format!("amqp://127.0.0.1:{silent_port}"), "x"), "connect_timeout"),
        ("password", endpoint(&format!("amqp://guest:MARKER-password@127.0.0.1:{port}"), "x"), "amqp_login_refused"),
    ] {
        let attempt = died(&hub, name, endpoint).await;
        assert_eq!((&attempt["code"], &attempt["reason"]), (&json!(code), &json!("subscriber")), "{name}: {attempt}");
        assert!(attempt["message"].as_str().is_some_and(|text| text.starts_with("Delivery failed: ")), "{attempt}");
    }
    assert!(!hub.log().contains("MARKER-password"));
    place.clear().await;
}

#[tokio::test]
async fn a_message_that_nobody_took_is_tried_again_and_delivered_once_somebody_does() {
    let hub = Hub::start().await;
    let client = Client::shared().await;
    let tenant = hub.tenant("acme").await;
    let queue = switchyard_tests::broker::own_name("queue");
    let wanted = json!({"kind": "amqp", "url": shared_url(), "exchange": "", "routing_key": queue,
        "event_types": ["a.b"], "retry_schedule": [0, 30, 30, 30]});
    let made = tenant.post("/endpoints", &wanted).await.expect(201);
    let sent = tenant.publish(&json!({"type": "a.b", "data": {"n": 7}})).await;
    let _ = delivery(&tenant, &made, "waiting").await;
    client.declare_queue(&queue, lapin::types::FieldTable::default()).await;
    let message = client.next(&queue).await;
    assert_eq!(super::field(&message, "webhook-id"), Some(text(&sent, "id")));
    let done = delivery(&tenant, &made, "delivered").await;
    assert!(done["attempts"].as_array().is_some_and(|attempts| attempts.len() >= 2), "{done}");
    client.clear(&[&queue], &[]).await;
}

#[tokio::test]
async fn an_address_that_is_not_public_is_refused_when_it_is_dialled() {
    // The name was good when the endpoint was saved: it resolves to this machine, which the operator does not allow now.
    let mut hub = Hub::builder().set("SWITCHYARD_EGRESS_ALLOW", "127.0.0.0/8,::1/128").start().await;
    let tenant = hub.tenant("acme").await;
    let port = shared_url().rsplit(':').next().unwrap_or_default().split('/').next().unwrap_or_default().to_owned();
    let made =
        tenant.post("/endpoints", &endpoint(&format!("amqp://guest:guest@localhost:{port}"), "x")).await.expect(201);
    assert!(hub.stop().await.success());
    hub.set("SWITCHYARD_EGRESS_ALLOW", "10.99.0.0/16");
    hub.restart().await;
    let tenant = switchyard_tests::api::Tenant { api: (*hub).clone(), id: "acme".to_owned() };
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let dead = delivery(&tenant, &made, "dead").await;
    let attempt = &dead["attempts"][0];
    assert_eq!((&attempt["code"], &attempt["reason"]), (&json!("blocked_address"), &json!("config")), "{attempt}");
}
