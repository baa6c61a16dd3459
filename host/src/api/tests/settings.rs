//! What admins set up, and how it is shown.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::{Value, json};

use super::{Api, OPERATOR, assert_problem};

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_shows_its_secret_once_and_never_a_header_value() {
    let api = Api::start().await.with_tenant("acme").await;
    let body = json!({"url": "https://example.com/hook", "event_types": ["invoice.*"], "filter": "data.amount > 5",
        "headers": {"X-Token": "marker-secret"}, "retry_schedule": [0, 1], "rate_per_s": 5, "concurrency": 2, "ordered": true});
    let made = api.call("POST", "/v1/tenants/acme/endpoints", body).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    assert!(made.body["secret"].as_str().unwrap().starts_with("whsec_"));
    let id = made.body["id"].as_str().unwrap();
    let path = format!("/v1/tenants/acme/endpoints/{id}");
    let read = api.get(&path).await;
    assert!(read.body.get("secret").is_none() && !read.body.to_string().contains("marker-secret"));
    assert_eq!(read.body["headers"], json!(["X-Token"]));
    let changed = api.call("PATCH", &path, json!({"filter": null, "rate_per_s": 7})).await;
    assert_eq!(
        (&changed.body["filter"], &changed.body["rate_per_s"], &changed.body["concurrency"]),
        (&Value::Null, &json!(7), &json!(2))
    );
    let rotated = api.call("POST", &format!("{path}/rotate-secret"), json!({"grace_s": 60})).await;
    assert_ne!(rotated.body["secret"], made.body["secret"]);
    assert_eq!(rotated.body["endpoint"]["active_secrets"], 2);
    assert_eq!(api.call("DELETE", &path, Value::Null).await.status, StatusCode::NO_CONTENT);
    assert_problem(&api.get(&path).await, 404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_cannot_be_is_refused_with_the_field_named() {
    let api = Api::start().await.with_tenant("acme").await;
    for (change, field) in [
        (json!({"url": "http://127.0.0.1:9/x"}), "url"),
        (json!({"url": "https://169.254.169.254/latest"}), "url"),
        (json!({"url": "not a url"}), "url"),
        (json!({"event_types": ["Invoice.*"]}), "event_types[0]"),
        (json!({"filter": "data.items.exists(x, x > 1)"}), "filter"),
        (json!({"format": "xml"}), "format"),
        (json!({"secret": "plain"}), "secret"),
        (json!({"headers": {"Host": "x"}}), "headers.Host"),
        (json!({"retry_schedule": []}), "retry_schedule"),
        (json!({"timeout_ms": 1}), "timeout_ms"),
        (json!({"concurrency": 0}), "concurrency"),
    ] {
        let mut body = json!({"url": "https://example.com/hook", "event_types": ["*"]});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let reply = api.call("POST", "/v1/tenants/acme/endpoints", body).await;
        assert_problem(&reply, 400, "invalid_request");
        assert_eq!(reply.body["errors"][0]["field"], field, "{}", reply.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_gives_the_first_answer_again() {
    let api = Api::start().await.with_tenant("acme").await;
    let post = async |key: &str, body: Value| {
        let request = Request::post("/v1/tenants/acme/endpoints").header("authorization", format!("Bearer {OPERATOR}"));
        let request = request.header("content-type", "application/json").header("idempotency-key", key);
        api.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    let body = || json!({"url": "https://example.com/hook", "event_types": ["*"]});
    let (first, again) = (post("k-1", body()).await, post("k-1", body()).await);
    assert_eq!((first.status, &first.body), (again.status, &again.body));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_ne!(post("k-2", body()).await.body["id"], first.body["id"]);
    let other = json!({"url": "https://example.com/other", "event_types": ["*"]});
    assert_problem(&post("k-1", other.clone()).await, 422, "idempotency_key_reused");
    assert_problem(&post("k-3", json!({"url": "x"})).await, 400, "invalid_request");
    assert_eq!(post("k-3", other).await.status, StatusCode::CREATED, "a failure does not use up the key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_never_shows_its_secret() {
    let api = Api::start().await.with_tenant("acme").await;
    let path = "/v1/tenants/acme/connections";
    let body = json!({"provider": "billy", "name": "Main", "kind": "bearer", "secret": {"token": "marker-secret"}});
    let made = api.call("POST", path, body.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    assert_problem(&api.call("POST", path, body).await, 409, "conflict");
    let id = made.body["id"].as_str().unwrap();
    let rotation = json!({"secret": {"token": "marker-other"}, "overlap_s": 60});
    let rotated = api.call("POST", &format!("{path}/{id}/rotate"), rotation).await;
    assert_eq!(rotated.body["old_secrets_until"].as_array().unwrap().len(), 1, "{}", rotated.body);
    let checks = api.call("POST", &format!("{path}/{id}/test"), Value::Null).await;
    assert_eq!(checks.body["ok"], true, "{}", checks.body);
    for body in [
        made.body.clone(),
        rotated.body,
        checks.body,
        api.get(path).await.body,
        api.get("/v1/tenants/acme/audit").await.body,
    ] {
        assert!(!body.to_string().contains("marker-"), "{body}");
    }
    for (body, code) in [
        (json!({"provider": "g", "name": "G", "kind": "oauth2", "secret": {}}), "invalid_request"),
        (json!({"provider": "g", "name": "G", "kind": "oauth2", "secret": {"app": "app_1"}}), "invalid_request"),
        (json!({"provider": "g", "name": "G", "kind": "magic", "secret": {}}), "invalid_request"),
        (json!({"provider": "g", "name": "G", "kind": "basic", "secret": {"username": "u"}}), "invalid_request"),
    ] {
        assert_problem(&api.call("POST", path, body).await, 400, code);
    }
    assert_eq!(api.call("DELETE", &format!("{path}/{id}"), Value::Null).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_plugin_is_refused_and_unknown_ones_are_not_found() {
    let api = Api::start().await.with_tenant("acme").await;
    let upload = async |bytes: &'static [u8]| {
        let request = Request::post("/v1/plugins").header("authorization", format!("Bearer {OPERATOR}"));
        api.send(request.header("content-type", "application/wasm").body(Body::from(bytes)).unwrap()).await
    };
    assert_problem(&upload(b"not wasm").await, 422, "invalid_plugin");
    let module = upload(b"\0asm\x01\0\0\0").await;
    assert_problem(&module, 422, "invalid_plugin");
    assert!(module.body["detail"].as_str().unwrap().contains("wasm32-wasip2"), "{}", module.body);
    assert_problem(&api.get("/v1/plugins/billy").await, 404, "not_found");
    let install = api.call("PUT", "/v1/tenants/acme/plugins/billy", json!({})).await;
    assert_problem(&install, 404, "not_found");
    let shadow = api.call("PUT", "/v1/tenants/acme/plugins/billy", json!({"shadow_version": "1.0.0"})).await;
    assert_problem(&shadow, 404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_what_needs_a_person() {
    let api = Api::start().await.with_tenant("acme").await;
    assert_eq!(api.get("/v1/status").await.body["state"], "ok");
    let endpoint = api.paused_endpoint().await;
    let status = api.get("/v1/status").await.body;
    assert_eq!(status["state"], "attention");
    assert!(status["tenants"][0]["endpoints"][&endpoint].as_str().unwrap().contains("tests"), "{status}");
    assert!(api.get("/v1/event-types/endpoint.test").await.body["schema"].is_object());
    assert_eq!(api.get("/v1/event-types").await.body["data"].as_array().unwrap().len(), 10);
    for path in ["parked", "rejections", "dead-letters", "audit", "plugins", "connections"] {
        let reply = api.get(&format!("/v1/tenants/acme/{path}")).await;
        assert_eq!((reply.status, reply.body["data"].is_array()), (StatusCode::OK, true), "{path}");
    }
}
