//! U+0000, which not every database stores as text: refused alike on both, or kept where it is JSON.

use serde_json::{Value, json};
use switchyard_tests::{
    api::{SOON, faulty},
    place::Place,
    world::{guest, subscriber},
};

switchyard_tests::on_both_databases! {
    a_payload_with_u0000_is_kept_found_and_delivered_as_it_was_given,
    u0000_in_any_text_of_an_event_or_a_setting_is_refused_and_its_field_named,
    u0000_in_an_address_finds_nothing_and_breaks_nothing,
    u0000_from_a_plugin_ends_one_attempt_and_its_key_is_no_key,
}

async fn a_payload_with_u0000_is_kept_found_and_delivered_as_it_was_given(place: &Place) {
    let (hub, at) = (place.builder().start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    // A filter looks into it as well.
    let more = json!({"filter": "data.text == 'a\\u0000b'"});
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], more).await;
    let data = json!({"text": "a\0b", "\0": ["\0"]});
    let _ = tenant.publish(&json!({"type": "a.b", "id": "e-1", "subject": "s", "data": data})).await;
    let again = tenant.publish(&json!({"type": "a.b", "id": "e-1", "subject": "s", "data": data})).await;
    assert_eq!(again["duplicate"], true, "{again}");
    let arrived = at.wait_for("/hook", 1, SOON).await.expect("it arrives").remove(0);
    assert_eq!((arrived.status, &arrived.json()["data"]), (Some(200), &data));
    assert_eq!(tenant.get("/events/e-1").await.expect(200)["data"], data);
    assert_eq!(tenant.list("/events?subject=s").await.len(), 1);
    assert_eq!(tenant.delivery_in(&endpoint, "delivered").await["tries"], 1);
    let structured =
        json!({"specversion": "1.0", "id": "e-2", "source": "s", "type": "a.b", "own": "x\0y", "data": data});
    let headers = [("content-type", "application/cloudevents+json")];
    let _ = hub.raw("POST", &tenant.path("/events"), &headers, structured.to_string()).await.expect(202);
    assert_eq!(tenant.get("/events/e-2").await.expect(200)["extensions"]["own"], "x\0y");
}

async fn u0000_in_any_text_of_an_event_or_a_setting_is_refused_and_its_field_named(place: &Place) {
    let hub = place.builder().start().await;
    let tenant = hub.tenant("acme").await;
    let refused = |reply: switchyard_tests::api::Reply, field: &str| {
        let problem = reply.problem(400, "invalid_request");
        assert_eq!(faulty(&problem), [field], "{problem}");
    };
    for field in ["subject", "ordering_key", "id", "correlation_id"] {
        let mut event = json!({"type": "a.b", "data": {}});
        event[field] = json!("a\0b");
        refused(tenant.post("/events", &event).await, field);
    }
    let event = json!({"specversion": "1.0", "id": "e", "source": "a\0b", "type": "a.b", "data": {}});
    let headers = [("content-type", "application/cloudevents+json")];
    refused(hub.raw("POST", &tenant.path("/events"), &headers, event.to_string()).await, "source");
    let endpoint = |name: &str, value: Value| {
        let mut wanted = json!({"url": "https://example.com/hook", "event_types": ["a.b"]});
        wanted[name] = value;
        wanted
    };
    refused(tenant.post("/endpoints", &endpoint("description", json!("a\0"))).await, "description");
    refused(tenant.post("/endpoints", &endpoint("headers", json!({"X-Own": "a\0"}))).await, "headers.X-Own");
    refused(tenant.post("/endpoints", &endpoint("event_types", json!(["a.b", "a.\0"]))).await, "event_types[1]");
    refused(hub.post("/v1/tenants", &json!({"id": "other", "name": "O\0"})).await, "name");
    let connection = json!({"provider": "p", "name": "n", "kind": "bearer", "secret": {"token": "a\0b"}});
    refused(tenant.post("/connections", &connection).await, "secret.token");
    refused(hub.post("/v1/keys", &json!({"tenant": "acme", "scope": "reader", "name": "\0"})).await, "name");
    assert!(tenant.list("/events").await.is_empty() && tenant.list("/endpoints").await.is_empty());
    assert!(!hub.log().contains("0x00"), "the database was asked: {}", hub.log());
}

async fn u0000_in_an_address_finds_nothing_and_breaks_nothing(place: &Place) {
    let hub = place.builder().start().await;
    let tenant = hub.tenant("acme").await;
    for path in ["/events/e%00", "/deliveries/dlv_%00", "/plugins/a%00", "/traces/%00"] {
        let _ = tenant.get(path).await.problem(404, "not_found");
    }
    for (path, field) in
        [("/events?subject=a%00", "subject"), ("/events?type=%00", "type"), ("/deliveries?target=%00", "target")]
    {
        let problem = tenant.get(path).await.problem(400, "invalid_request");
        assert_eq!(faulty(&problem), [field], "{problem}");
    }
    let back = hub.without_key().get("/oauth/callback?state=a%00&code=b").await;
    assert_eq!(back.status, 400, "{}", back.text);
    assert!(!hub.log().contains("0x00"), "the database was asked: {}", hub.log());
}

async fn u0000_from_a_plugin_ends_one_attempt_and_its_key_is_no_key(place: &Place) {
    let hub = place.builder().start().await;
    let tenant = hub.tenant("acme").await;
    let _ = hub.push(guest("misbehave")).await.expect(201);
    let _ = tenant.install("misbehave", &json!({"grants": ["emits:*"], "retry_schedule": [0]})).await;
    let emit = json!({"do": "emit", "type": "test.done", "dedupe_key": "a\0b"});
    let _ = tenant.publish(&json!({"type": "test.do", "id": "emits", "data": emit})).await;
    let dead =
        tenant.delivery("plugin:misbehave", "dead", |row| row["event_id"] == "emits" && row["state"] == "dead").await;
    assert_eq!(dead["reason"], "plugin_bug", "{dead}");
    assert!(dead["message"].as_str().is_some_and(|text| text.contains("dedupe-key")), "{dead}");
    for (ask, said) in [
        (json!({"do": "keep", "key": "a\0b", "value": "v"}), "InvalidKey"),
        (json!({"do": "keep", "key": "k", "value": "a\0b"}), "ok"),
    ] {
        let id = format!("keeps-{said}");
        let _ = tenant.publish(&json!({"type": "test.do", "id": id, "data": ask})).await;
        let done = |row: &Value| row["event_id"] == id.as_str() && row["state"] == "delivered";
        let _ = tenant.delivery("plugin:misbehave", "delivered", done).await;
        let told = tenant.list("/events?type=test.done").await;
        assert!(
            told.iter().any(|event| event["data"]["set"].as_str().is_some_and(|text| text.contains(said))),
            "{told:?}"
        );
    }
    // The next run is as good as ever.
    let _ = tenant.publish(&json!({"type": "test.do", "id": "good", "data": {"do": "ok"}})).await;
    let is_good = |row: &Value| row["event_id"] == "good" && row["state"] == "delivered";
    let _ = tenant.delivery("plugin:misbehave", "delivered", is_good).await;
    assert!(!hub.log().contains("0x00"), "the database was asked: {}", hub.log());
}
