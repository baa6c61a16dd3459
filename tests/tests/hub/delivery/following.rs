use serde_json::{Value, json};
use switchyard_tests::{
    api::{SOON, text},
    hub::Hub,
    world::{bundled, guest, sender_config, sender_connection, sender_signature, subscriber},
};

fn kinds(trace: &Value) -> Vec<&str> {
    let entries = trace["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    entries.iter().filter_map(|entry| entry["kind"].as_str()).collect()
}

/// Whether every entry belongs to one that is there, but for the first.
fn is_one_tree(trace: &Value) -> bool {
    let entries = trace["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let known = |id: &Value| entries.iter().any(|entry| entry["id"] == *id);
    entries.iter().skip(1).all(|entry| known(&entry["parent"]))
}

#[tokio::test]
async fn a_trace_shows_request_event_delivery_and_every_attempt() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let _ = hub.push(bundled("webhook")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/orders", &["order.*"], json!({"retry_schedule": [0, 1, 1]})).await;
    at.set_script("/orders", switchyard_simulators::subscriber::Script::statuses(&[500, 200]));
    let connection = tenant.connection(&sender_connection()).await;
    let wanted =
        json!({"config": sender_config("order.placed"), "connections": {"inbound": connection}, "grants": ["emits:*"]});
    let url = text(&tenant.install("webhook", &wanted).await["sources"][0], "url");
    let body = "{\"order\":1}";
    let signature = sender_signature(body.as_bytes());
    let reply =
        hub.without_key().raw("POST", &format!("{url}/path?token=MARKER"), &[("x-signature", &signature)], body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let correlation = reply.header("x-correlation-id").to_owned();
    let delivered = tenant.delivery_in(&endpoint, "delivered").await;
    assert_eq!(delivered["correlation_id"], correlation.as_str());
    let trace = tenant.get(&format!("/traces/{correlation}")).await.expect(200);
    assert_eq!(kinds(&trace), ["request", "event", "delivery", "attempt", "attempt"], "{trace:#}");
    assert!(is_one_tree(&trace), "{trace:#}");
    assert!(!trace.to_string().contains("MARKER"), "the query of a request is shown: {trace:#}");
    for arrived in at.requests("/orders") {
        assert_eq!(arrived.header("x-correlation-id"), Some(correlation.as_str()));
    }
    // The same bytes again are the same event.
    let again = hub.without_key().raw("POST", &url, &[("x-signature", &signature)], body).await;
    assert_eq!(again.status, 200, "{}", again.text);
    assert_eq!(tenant.list("/events?type=order.placed").await.len(), 1);
}

#[tokio::test]
async fn what_a_plugin_emits_shares_the_correlation_id_and_the_trace_of_its_cause() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let _ = hub.push(guest("hello_plugin")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    let _ = tenant.endpoint(&at, "/greetings", &["greeting.made"], json!({})).await;
    let _ = tenant.install("hello", &json!({"config": {"greeting": "Hej"}})).await;
    let event =
        json!({"type": "greeting.requested", "data": {"name": "Ida"}, "correlation_id": "from-the-shop-7"}).to_string();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("content-type", "application/json"), ("traceparent", parent)];
    let _ = tenant.api.raw("POST", &tenant.path("/events"), &headers, event).await.expect(202);
    let arrived = at.wait_for("/greetings", 1, SOON).await.expect("the plugin greets").remove(0);
    assert_eq!(arrived.json()["data"]["text"], "Hej, Ida!");
    assert_eq!(arrived.header("x-correlation-id"), Some("from-the-shop-7"));
    let sent = arrived.header("traceparent").expect("every call out has a traceparent");
    let parts: Vec<_> = sent.split('-').collect();
    assert_eq!((parts.len(), parts[0], parts[1]), (4, "00", "0af7651916cd43dd8448eb211c80319c"), "{sent}");
    let trace = tenant.get("/traces/from-the-shop-7").await.expect(200);
    assert!(is_one_tree(&trace), "{trace:#}");
    assert_eq!(kinds(&trace).iter().filter(|kind| **kind == "event").count(), 2, "{trace:#}");
}

#[tokio::test]
async fn every_answer_carries_a_correlation_id_and_keeps_a_good_one_that_was_offered() {
    let hub = Hub::start().await;
    let made = hub.get("/v1/status").await;
    assert_eq!(made.header("x-correlation-id").len(), 32);
    let kept = hub.raw("GET", "/v1/status", &[("x-correlation-id", "mine-1")], "").await;
    assert_eq!(kept.header("x-correlation-id"), "mine-1");
    let replaced = hub.raw("GET", "/v1/nothing", &[("x-correlation-id", "no spaces")], "").await;
    assert_eq!((replaced.status, replaced.header("x-correlation-id").len()), (404, 32));
}
