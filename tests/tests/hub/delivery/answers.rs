use serde_json::json;
use switchyard_simulators::subscriber::{Script, Step};
use switchyard_tests::{
    api::{SOON, text, until},
    hub::Hub,
    world::subscriber,
};

#[tokio::test]
async fn a_paused_endpoint_holds_its_deliveries_with_the_reason_and_resumes_where_it_was() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    let paused =
        tenant.post(&format!("/endpoints/{endpoint}/pause"), &json!({"reason": "moving house"})).await.expect(200);
    assert_eq!((&paused["state"], &paused["reason"]), (&json!("paused"), &json!("moving house")));
    for _ in 0..3 {
        let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    }
    let held = tenant.list(&format!("/deliveries?state=held&target={endpoint}")).await;
    assert_eq!(held.len(), 3, "{held:?}");
    for delivery in &held {
        assert!(text(delivery, "message").contains("moving house"), "{delivery}");
        assert!(delivery["held_since"].is_string() && delivery["next_attempt_at"].is_null(), "{delivery}");
    }
    assert!(at.requests("/hook").is_empty(), "a paused endpoint was called");
    let _ = tenant.post(&format!("/endpoints/{endpoint}/resume"), &json!({})).await.expect(200);
    let _ = at.wait_for("/hook", 3, SOON).await.expect("what was held arrives");
    until("all to be delivered", async || {
        let held = tenant.list("/deliveries?state=queued,held,running,waiting").await;
        if held.is_empty() { Ok(()) } else { Err(json!(held).to_string()) }
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_disabled_and_loses_nothing() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    let _ = tenant.endpoint(&at, "/watcher", &["endpoint.*"], json!({})).await;
    at.set_script("/hook", Script::statuses(&[410]));
    let _ = tenant.publish(&json!({"type": "a.b", "data": {"n": 1}})).await;
    let told = at.wait_for("/watcher", 1, SOON).await.expect("the host says so").remove(0).json();
    assert_eq!((&told["type"], &told["data"]["endpoint_id"]), (&json!("endpoint.disabled"), &json!(endpoint)));
    let shown = tenant.get(&format!("/endpoints/{endpoint}")).await.expect(200);
    assert_eq!(shown["state"], "disabled", "{shown}");
    assert!(text(&shown, "reason").contains("410"), "{shown}");
    let _ = tenant.publish(&json!({"type": "a.b", "data": {"n": 2}})).await;
    let held = tenant.list(&format!("/deliveries?state=held&target={endpoint}")).await;
    assert_eq!(held.len(), 2, "{held:?}");
    assert_eq!(at.requests("/hook").len(), 1, "a disabled endpoint was called");
    at.set_script("/hook", Script::default());
    let _ = tenant.post(&format!("/endpoints/{endpoint}/resume"), &json!({})).await.expect(200);
    let _ = at.wait_for("/hook", 3, SOON).await.expect("both arrive");
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_never_followed() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({"retry_schedule": [0, 1]})).await;
    at.set_script("/hook", Script::always(Step::Redirect { to: at.url("/elsewhere") }));
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let dead = tenant.delivery_in(&endpoint, "dead").await;
    assert_eq!((&dead["reason"], &dead["code"]), (&json!("subscriber"), &json!("redirect")), "{dead}");
    assert_eq!(dead["attempts"].as_array().map(Vec::len), Some(2), "{dead}");
    assert_eq!((at.requests("/hook").len(), at.requests("/elsewhere").len()), (2, 0));
}

#[tokio::test]
async fn a_retry_after_is_waited_for_when_it_is_longer_than_the_table() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    for (path, status, reason) in [("/busy", 503, "subscriber"), ("/limited", 429, "rate_limited")] {
        let endpoint = tenant.endpoint(&at, path, &["a.b"], json!({})).await;
        let busy = Step::Status { status, retry_after: Some("7200".to_owned()), body: String::new() };
        at.set_script(path, Script::always(busy));
        let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
        let waiting = tenant.delivery_in(&endpoint, "waiting").await;
        assert_eq!(waiting["reason"], reason, "{waiting}");
        let at_time = |value: &serde_json::Value| value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        let due = at_time(&waiting["next_attempt_at"]).expect("a waiting delivery shows its time");
        let began = at_time(&waiting["attempts"][0]["started_at"]).expect("an attempt has a time");
        let wait = due.duration_since(began).as_secs();
        assert!((7199..=7300).contains(&wait), "it waits {wait} s: {waiting}");
        let path = format!("/endpoints/{endpoint}");
        let _ = tenant.api.delete(&tenant.path(&path)).await;
    }
}

#[tokio::test]
async fn hangs_resets_and_endless_bodies_end_one_attempt_each_with_their_reason() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let cases = [
        ("/hangs", Step::Hang, "timeout"),
        ("/drips", Step::Drip { bytes: 10_000, every_ms: 50 }, "body_too_slow"),
        ("/closes", Step::Close, "reset"),
        ("/resets", Step::Reset, "reset"),
    ];
    let mut endpoints = Vec::new();
    for (path, step, code) in cases {
        let more = json!({"retry_schedule": [0], "timeout_ms": 300});
        at.set_script(path, Script::always(step));
        endpoints.push((tenant.endpoint(&at, path, &["a.b"], more).await, code));
    }
    let huge = tenant.endpoint(&at, "/huge", &["a.b"], json!({"retry_schedule": [0]})).await;
    at.set_script("/huge", Script::always(Step::Huge { bytes: 64 << 20 }));
    let well = tenant.endpoint(&at, "/well", &["a.b"], json!({})).await;
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let _ = tenant.delivery_in(&well, "delivered").await;
    let _ = tenant.delivery_in(&huge, "delivered").await;
    for (endpoint, code) in endpoints {
        let dead = tenant.delivery_in(&endpoint, "dead").await;
        assert_eq!((&dead["reason"], &dead["code"]), (&json!("subscriber"), &json!(code)), "{dead}");
    }
}
