//! What is published, and what becomes of it.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::{Value, json};

use super::{Api, OPERATOR, assert_problem};

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_to_a_paused_endpoint_is_held_with_its_reason() {
    let api = Api::start().await.with_tenant("acme").await;
    let endpoint = api.paused_endpoint().await;
    let event =
        json!({"type": "order.placed", "data": {"n": 1}, "id": "o-1", "subject": "s", "correlation_id": "trace-1"});
    let accepted = api.call("POST", "/v1/tenants/acme/events", event).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.body);
    assert_eq!(accepted.body, json!({"id": "o-1", "duplicate": false, "correlation_id": "trace-1"}));
    let held = api.get("/v1/tenants/acme/deliveries?state=held").await.body;
    let delivery = &held["data"][0];
    assert_eq!((&delivery["state"], &delivery["code"]), (&json!("held"), &json!("endpoint_paused")), "{held}");
    assert_eq!(api.get("/v1/tenants/acme/deliveries?state=queued,waiting").await.body["data"], json!([]));
    let detail = api.get("/v1/tenants/acme/events/o-1").await.body;
    assert_eq!((&detail["data"], &detail["deliveries"][0]["target"]), (&json!({"n": 1}), &json!(endpoint)));
    let trace = api.get("/v1/tenants/acme/traces/trace-1").await.body;
    let kinds: Vec<_> =
        trace["entries"].as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["event", "delivery"]);
    let id = delivery["id"].as_str().unwrap();
    let cancelled = api.call("POST", &format!("/v1/tenants/acme/deliveries/{id}/cancel"), Value::Null).await;
    assert_eq!(cancelled.body["state"], "cancelled", "{}", cancelled.body);
    assert_problem(
        &api.call("POST", &format!("/v1/tenants/acme/deliveries/{id}/retry"), Value::Null).await,
        409,
        "conflict",
    );
    assert_problem(&api.get("/v1/tenants/acme/deliveries?state=stuck").await, 400, "invalid_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_checked_deduplicated_and_searched() {
    let api = Api::start().await.with_tenant("acme").await;
    let path = "/v1/tenants/acme/events";
    let event = json!({"type": "order.placed", "data": {"n": 1}, "id": "o-1", "subject": "order-7"});
    assert_eq!(api.call("POST", path, event.clone()).await.body["duplicate"], false);
    assert_eq!(api.call("POST", path, event).await.body["duplicate"], true);
    let other = json!({"type": "order.placed", "data": {"n": 2}, "id": "o-1"});
    assert_problem(&api.call("POST", path, other).await, 409, "id_reused");
    let broken = json!({"type": "endpoint.test", "data": {"test": false}});
    let reply = api.call("POST", path, broken).await;
    assert_problem(&reply, 422, "schema_violation");
    assert!(reply.body["errors"][0]["field"].as_str().unwrap().starts_with("data"), "{}", reply.body);
    for (body, code) in [
        (json!({"type": "_private.x", "data": 1}), "invalid_request"),
        (json!({"type": "nodots", "data": 1}), "invalid_request"),
        (json!({"type": "a.b", "data": 1, "id": "spaces are bad"}), "invalid_request"),
        (json!({"type": "a.b"}), "invalid_request"),
    ] {
        assert_problem(&api.call("POST", path, body).await, 400, code);
    }
    for n in 0..3 {
        api.call("POST", path, json!({"type": "order.shipped", "data": n})).await;
    }
    let first = api.get(&format!("{path}?type=order.*&limit=2")).await.body;
    assert_eq!(first["data"].as_array().unwrap().len(), 2);
    let next = first["next"].as_str().unwrap();
    let second = api.get(&format!("{path}?type=order.*&limit=2&after={next}")).await.body;
    assert_eq!((second["data"].as_array().unwrap().len(), &second["next"]), (2, &Value::Null));
    assert_eq!(api.get(&format!("{path}?subject=order-7")).await.body["data"][0]["id"], "o-1");
    assert_problem(&api.get(&format!("{path}?typ=x")).await, 400, "invalid_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn cloudevents_are_taken_in_all_three_forms() {
    let api = Api::start().await.with_tenant("acme").await;
    let send = async |media: &str, headers: &[(&str, &str)], body: String| {
        let mut request =
            Request::post("/v1/tenants/acme/events").header("authorization", format!("Bearer {OPERATOR}"));
        request = request.header("content-type", media);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        api.send(request.body(Body::from(body)).unwrap()).await
    };
    let event =
        |id: &str| json!({"specversion": "1.0", "id": id, "source": "/shop", "type": "order.placed", "data": {"n": 1}});
    let structured = send("application/cloudevents+json", &[], event("s-1").to_string()).await;
    assert_eq!(
        (structured.status, &structured.body["id"]),
        (StatusCode::ACCEPTED, &json!("s-1")),
        "{}",
        structured.body
    );
    let headers = [("ce-specversion", "1.0"), ("ce-id", "b-1"), ("ce-source", "/shop"), ("ce-type", "order.placed")];
    let binary = send("application/json", &headers, json!({"n": 1}).to_string()).await;
    assert_eq!((binary.status, &binary.body["id"]), (StatusCode::ACCEPTED, &json!("b-1")), "{}", binary.body);
    let batch = json!([event("c-1"), {"specversion": "1.0", "id": "c-2"}]).to_string();
    let mixed = send("application/cloudevents-batch+json", &[], batch).await;
    assert_eq!(mixed.status, StatusCode::MULTI_STATUS, "{}", mixed.body);
    assert_eq!((&mixed.body["data"][0]["id"], &mixed.body["data"][1]["status"]), (&json!("c-1"), &json!(400)));
    assert_problem(&send("text/plain", &[], "x".to_owned()).await, 415, "unsupported_media_type");
    let stored = api.get("/v1/tenants/acme/events/b-1").await.body;
    assert_eq!((&stored["source"], &stored["data"]), (&json!("/shop"), &json!({"n": 1})));
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_bodies_are_refused_with_their_place() {
    let api = Api::start().await.with_tenant("acme").await;
    let post = async |body: String| {
        let request = Request::post("/v1/tenants/acme/events").header("authorization", format!("Bearer {OPERATOR}"));
        api.send(request.header("content-type", "application/json").body(Body::from(body)).unwrap()).await
    };
    let malformed = post("{\"type\": \"a.b\",\n \"data\": }".to_owned()).await;
    assert_problem(&malformed, 400, "invalid_json");
    assert!(malformed.body["detail"].as_str().unwrap().contains("line 2"), "{}", malformed.body);
    assert_problem(&post(format!("{{\"type\":\"a.b\",\"data\":{}", "[".repeat(10_000))).await, 400, "invalid_json");
    assert_problem(
        &post(format!("{{\"type\":\"a.b\",\"data\":[{}1]}}", "1,".repeat(20_000))).await,
        400,
        "invalid_json",
    );
    assert_problem(
        &post(format!("{{\"type\":\"a.b\",\"data\":\"{}\"}}", "x".repeat(2 << 20))).await,
        413,
        "body_too_large",
    );
}
