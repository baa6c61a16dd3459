use serde_json::{Value, json};
use switchyard_tests::{
    api::{Reply, Tenant, faulty, text},
    hub::Hub,
    world::bundled,
};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn send(tenant: &Tenant, body: impl Into<bytes::Bytes>) -> Reply {
    tenant.api.raw("POST", &tenant.path("/events"), &[JSON], body).await
}

fn detail(problem: &Value) -> &str {
    problem["detail"].as_str().unwrap_or_default()
}

/// The hub still takes what is right, and holds nothing of what was not.
async fn nothing_was_stored(tenant: &Tenant) {
    assert!(tenant.list("/events").await.is_empty(), "a refused body made an event");
    let _ = tenant.publish(&json!({"type": "order.placed", "data": {}})).await;
    assert_eq!(tenant.list("/events").await.len(), 1);
}

#[tokio::test]
async fn malformed_json_is_refused_with_its_line_and_column() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    for (body, place) in [
        ("{\"type\": \"a.b\",\n \"data\": {,}}", "line 2 column"),
        ("{\"type\": \"a.b\", \"data\": {}", "line 1 column"),
        ("", "line 1 column"),
        ("{\"type\": \"a.b\", \"data\": {}} {}", "line 1 column"),
    ] {
        let problem = send(&tenant, body).await.problem(400, "invalid_json");
        assert!(detail(&problem).contains(place), "{body}: {problem}");
    }
    let not_utf8 = send(&tenant, b"{\"type\":\"a.b\",\"data\":\"\xff\"}".to_vec()).await;
    let _ = not_utf8.problem(400, "invalid_json");
    nothing_was_stored(&tenant).await;
}

#[tokio::test]
async fn deep_wide_and_huge_json_is_refused_with_the_limit() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let with = |data: &str| format!("{{\"type\":\"a.b\",\"data\":{data}}}");
    let deep = with(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)));
    let problem = send(&tenant, deep).await.problem(400, "invalid_json");
    assert!(detail(&problem).contains("64"), "{problem}");
    let wide = with(&format!("[{}0]", "0,".repeat(20_000)));
    let problem = send(&tenant, wide).await.problem(400, "invalid_json");
    assert!(detail(&problem).contains("10000") || detail(&problem).contains("10,000"), "{problem}");
    let huge = with(&format!("\"{}\"", "x".repeat(2 << 20)));
    let problem = send(&tenant, huge).await.problem(413, "body_too_large");
    assert!(detail(&problem).contains("1048576"), "{problem}");
    nothing_was_stored(&tenant).await;
}

#[tokio::test]
async fn a_body_of_another_form_is_refused_with_the_field_named() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    for (body, field) in [
        (json!({"type": "a.b", "data": {}, "urgncy": "emergency"}), "urgncy"),
        (json!({"data": {}}), "type"),
        (json!({"type": "a.b"}), "data"),
        (json!({"type": 7, "data": {}}), "type"),
        (json!({"type": "no dots", "data": {}}), "type"),
        (json!({"type": "_private.thing", "data": {}}), "type"),
        (json!({"type": "a.b", "data": {}, "id": "with spaces"}), "id"),
        (json!({"type": "a.b", "data": {}, "time": "yesterday"}), "time"),
        (json!({"type": "a.b", "data": {}, "correlation_id": "ø"}), "correlation_id"),
        (json!("a.b"), "body"),
    ] {
        let problem = tenant.post("/events", &body).await.problem(400, "invalid_request");
        assert!(detail(&problem).contains(field), "`{field}` is not named: {problem}");
    }
    let endpoint = json!({"url": "https://example.com/", "event_types": ["a.b"], "retry_schedule": [0, "soon"]});
    let problem = tenant.post("/endpoints", &endpoint).await.problem(400, "invalid_request");
    assert_eq!(faulty(&problem), ["retry_schedule[1]"]);
    let other = tenant.api.raw("POST", &tenant.path("/events"), &[("content-type", "text/plain")], "hello").await;
    let _ = other.problem(415, "unsupported_media_type");
    nothing_was_stored(&tenant).await;
}

#[tokio::test]
async fn data_that_breaks_the_schema_of_its_type_is_refused_with_the_path_named() {
    let hub = Hub::start().await;
    let _ = hub.push(bundled("twilio")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    let wrong = json!({"type": "sms.send", "data": {"to": 5, "body": "hi"}});
    let problem = tenant.post("/events", &wrong).await.problem(422, "schema_violation");
    assert_eq!(faulty(&problem), ["data/to"], "{problem}");
    assert!(detail(&problem).starts_with("data/to: "), "{problem}");
    let problem =
        tenant.post("/events", &json!({"type": "sms.send", "data": "hi"})).await.problem(422, "schema_violation");
    assert_eq!(faulty(&problem), ["data"], "{problem}");
    nothing_was_stored(&tenant).await;
}

#[tokio::test]
async fn one_bad_event_of_a_batch_is_named_and_the_others_are_accepted() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let event = |id: &str, event_type: &str| json!({"specversion": "1.0", "id": id, "source": "shop", "type": event_type, "data": {}});
    let batch = json!([event("1", "a.b"), event("2", "no dots"), event("3", "a.c")]);
    let headers = [("content-type", "application/cloudevents-batch+json")];
    let said = tenant.api.raw("POST", &tenant.path("/events"), &headers, batch.to_string()).await.expect(207);
    let data = said["data"].as_array().expect("one answer each");
    assert_eq!((&data[0]["duplicate"], &data[2]["duplicate"]), (&json!(false), &json!(false)), "{said}");
    assert_eq!((&data[1]["status"], &data[1]["code"]), (&json!(400), &json!("invalid_request")), "{said}");
    assert_eq!(tenant.list("/events").await.len(), 2);
}

#[tokio::test]
async fn an_id_is_used_once_and_a_repetition_is_a_duplicate() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let event = json!({"type": "order.placed", "data": {"n": 1}, "id": "order-1"});
    let first = tenant.publish(&event).await;
    assert_eq!((&first["id"], &first["duplicate"]), (&json!("order-1"), &json!(false)));
    let again = tenant.publish(&event).await;
    assert_eq!((&again["id"], &again["duplicate"]), (&json!("order-1"), &json!(true)));
    for other in [
        json!({"type": "order.placed", "data": {"n": 2}, "id": "order-1"}),
        json!({"type": "order.changed", "data": {"n": 1}, "id": "order-1"}),
    ] {
        let problem = tenant.post("/events", &other).await.problem(409, "id_reused");
        assert!(detail(&problem).contains("order-1"), "{problem}");
    }
    assert_eq!(tenant.list("/events").await.len(), 1);
}

#[tokio::test]
async fn an_idempotency_key_gives_the_first_answer_again_and_only_for_the_same_request() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let path = tenant.path("/endpoints");
    let body = json!({"url": "https://example.com/", "event_types": ["a.b"]}).to_string();
    let keyed = [JSON, ("idempotency-key", "make-it-once")];
    let first = tenant.api.raw("POST", &path, &keyed, body.clone()).await;
    let again = tenant.api.raw("POST", &path, &keyed, body.clone()).await;
    assert_eq!((first.status, again.status), (201, 201), "{}", again.text);
    assert_eq!(first.text, again.text);
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    assert_eq!(tenant.list("/endpoints").await.len(), 1);
    let other = body.replace("a.b", "a.c");
    let _ = tenant.api.raw("POST", &path, &keyed, other).await.problem(422, "idempotency_key_reused");
    let endless = "k".repeat(300);
    let problem = tenant.api.raw("POST", &path, &[JSON, ("idempotency-key", &endless)], body).await;
    assert_eq!(faulty(&problem.problem(400, "invalid_request")), ["Idempotency-Key"]);
    assert_eq!(tenant.list("/endpoints").await.len(), 1);
    let id = text(&first.json(), "id");
    assert!(id.starts_with("ep_"), "{id}");
}

#[tokio::test]
async fn an_array_is_no_event_and_unsound_json_is_refused_whoever_would_look_at_it() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let path = tenant.path("/events");
    let headers = [("content-type", "application/json")];
    let by_place = hub.raw("POST", &path, &headers, r#"["a.b",{},null,null,null,null,null,"normal",null]"#).await;
    assert_eq!(by_place.status, 400, "{}", by_place.text);
    for unsound in [r#"{"type":"a.b","data":"\ud800"}"#, r#"{"type":"a.b","data":{"n":1e999}}"#] {
        let reply = hub.raw("POST", &path, &headers, unsound).await;
        assert!((400..500).contains(&reply.status), "{unsound} was answered {}: {}", reply.status, reply.text);
    }
    let events = hub.get(&path).await.expect(200);
    assert_eq!(events["data"], serde_json::json!([]), "{events}");
}
