use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use switchyard_simulators::subscriber::Verdict;
use switchyard_tests::{
    api::{SOON, text},
    hub::Hub,
    world::subscriber,
};

#[tokio::test]
async fn both_body_formats_are_signed_so_that_a_standard_receiver_verifies_them() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let own = json!({"headers": {"X-Team": "billing"}});
    let _ = tenant.endpoint(&at, "/events", &["order.placed"], own).await;
    let _ = tenant.endpoint(&at, "/standard", &["order.placed"], json!({"format": "standard"})).await;
    let body = r#"{"type":"order.placed","data":{"price":1.500,"name":"Rørskade 🔧"},"subject":"order-7","time":"2026-01-02T03:04:05Z"}"#;
    let sent = tenant
        .api
        .raw("POST", &tenant.path("/events"), &[("content-type", "application/json")], body)
        .await
        .expect(202);
    let id = text(&sent, "id");

    let event = at.wait_for("/events", 1, SOON).await.expect("it arrives").remove(0);
    assert_eq!((event.verdict, event.webhook_id()), (Verdict::Verified, Some(id.as_str())));
    assert_eq!(event.header("content-type"), Some("application/cloudevents+json"));
    assert_eq!(event.header("x-team"), Some("billing"));
    assert!(String::from_utf8_lossy(&event.body).contains("1.500"), "a number lost its digits: {:?}", event.body);
    let shown = event.json();
    for (name, value) in [("specversion", "1.0"), ("id", &id), ("type", "order.placed"), ("subject", "order-7")] {
        assert_eq!(shown[name], value, "{shown}");
    }
    assert!(text(&shown, "time").starts_with("2026-01-02T03:04:05"), "{shown}");
    assert_eq!(shown["data"]["name"], "Rørskade 🔧");

    let standard = at.wait_for("/standard", 1, SOON).await.expect("it arrives").remove(0);
    assert_eq!((standard.verdict, standard.webhook_id()), (Verdict::Verified, Some(id.as_str())));
    assert_eq!(standard.header("content-type"), Some("application/json"));
    let shown = standard.json();
    let names: Vec<_> = shown.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, ["type", "timestamp", "data"]);
    assert_eq!((&shown["type"], &shown["data"]), (&json!("order.placed"), &event.json()["data"]));
}

#[tokio::test]
async fn a_rotated_secret_overlaps_with_the_old_one_until_its_time_is_over() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let made = tenant.post("/endpoints", &json!({"url": at.url("/hook"), "event_types": ["a.b"]})).await.expect(201);
    let (id, old) = (text(&made, "id"), text(&made, "secret"));
    let path = format!("/endpoints/{id}/rotate-secret");
    let rotated = tenant.post(&path, &json!({"grace_s": 3600})).await.expect(200);
    let new = text(&rotated, "secret");
    assert_ne!(old, new);
    assert_eq!(rotated["endpoint"]["active_secrets"], 2, "{rotated}");
    for (count, (trusted, signatures)) in [(&old, 2), (&new, 2)].into_iter().enumerate() {
        at.set_secrets("/hook", &[trusted]).expect("a secret");
        let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
        let arrived = at.wait_for("/hook", count + 1, SOON).await.expect("it arrives").pop().expect("one");
        assert_eq!(arrived.verdict, Verdict::Verified);
        assert_eq!(arrived.header("webhook-signature").map(|value| value.split(' ').count()), Some(signatures));
    }
    // Without grace the old secrets end at once.
    let last = tenant.post(&path, &json!({"grace_s": 0})).await.expect(200);
    at.set_secrets("/hook", &[&text(&last, "secret")]).expect("a secret");
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let arrived = at.wait_for("/hook", 3, SOON).await.expect("it arrives").pop().expect("one");
    assert_eq!(arrived.verdict, Verdict::Verified);
    assert_eq!(arrived.header("webhook-signature").map(|value| value.split(' ').count()), Some(1));
}

/// RFC 8032, test 1: the seed and its public key.
const SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

#[tokio::test]
async fn an_endpoint_with_a_key_pair_gets_signatures_that_the_public_key_verifies() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let both = hex::decode(format!("{SEED}{PUBLIC}")).expect("hex");
    let pair = format!("whsk_{}", STANDARD.encode(&both));
    let wanted = json!({"url": at.url("/hook"), "event_types": ["a.b"], "secret": pair});
    let _ = tenant.post("/endpoints", &wanted).await.expect(201);
    at.set_secrets("/hook", &[&format!("whpk_{}", STANDARD.encode(&both[32..]))]).expect("a public key");
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let arrived = at.wait_for("/hook", 1, SOON).await.expect("it arrives").remove(0);
    assert_eq!(arrived.verdict, Verdict::Verified);
    assert!(arrived.header("webhook-signature").is_some_and(|value| value.starts_with("v1a,")));
}

#[tokio::test]
async fn a_test_reaches_only_the_endpoint_that_is_tested() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let tested = tenant.endpoint(&at, "/tested", &["order.placed"], json!({})).await;
    let other = tenant.endpoint(&at, "/other", &["*"], json!({})).await;
    let _ = tenant.post(&format!("/endpoints/{tested}/test"), &json!({})).await.expect(202);
    let arrived = at.wait_for("/tested", 1, SOON).await.expect("it arrives").remove(0);
    assert_eq!((arrived.verdict, &arrived.json()["type"]), (Verdict::Verified, &json!("endpoint.test")));
    assert!(tenant.list(&format!("/deliveries?target={other}")).await.is_empty(), "the other endpoint was tested too");
}
