//! Keys, scopes, tenants and the routes themselves.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::{Value, json};

use super::{Api, assert_problem};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_valid_key_nothing_is_answered_but_health() {
    let api = Api::start().await;
    for (path, key) in [("/v1/tenants", ""), ("/v1/tenants", "swk_wrong"), ("/v1/keys", "some-other-key-of-24-chars")] {
        let reply = api.with_key(key).call("GET", path, Value::Null).await;
        assert_problem(&reply, 401, "unauthenticated");
        assert_eq!(reply.headers["www-authenticate"], "Bearer");
    }
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"] {
        let reply = api.send(Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(reply.status, StatusCode::OK, "{path}");
        assert!(reply.headers.contains_key("x-correlation-id"), "{path}");
    }
    assert_problem(&api.get("/v1/nothing").await, 404, "no_such_route");
    assert_problem(&api.call("PUT", "/v1/tenants", json!({})).await, 405, "method_not_allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_described_route_is_served() {
    let api = Api::start().await;
    let document = api.get("/openapi.json").await.body;
    let mut count = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let filled = path.replace("{tenant}", "nobody").replace("{id}", "x").replace("{name}", "x");
            let filled = filled.replace("{version}", "1.0.0").replace("{correlation_id}", "x");
            let reply = api.with_key("").call(&method.to_uppercase(), &filled, Value::Null).await;
            let code = reply.body["code"].as_str().unwrap_or_default();
            assert!(code != "no_such_route" && code != "method_not_allowed", "{method} {path}");
            count += 1;
        }
    }
    assert!(count > 50, "{count} routes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_made_changed_listed_and_removed() {
    let api = Api::start().await.with_tenant("acme").await;
    assert_problem(&api.call("POST", "/v1/tenants", json!({"id": "acme"})).await, 409, "conflict");
    for (body, field) in [
        (json!({"id": "Acme!"}), "id"),
        (json!({"id": "b", "time_zone": "Europe/Atlantis"}), "time_zone"),
        (json!({"id": "b", "command_handlers": {"Invoice": "billy"}}), "command_handlers.Invoice"),
        (json!({"id": "b", "nmae": "B"}), "nmae"),
    ] {
        let reply = api.call("POST", "/v1/tenants", body).await;
        assert_problem(&reply, 400, "invalid_request");
        assert!(reply.body["detail"].as_str().unwrap().contains(field), "{}", reply.body);
    }
    let change = json!({"name": "Acme A/S", "time_zone": "Europe/Copenhagen", "lockdown": true});
    let changed = api.call("PATCH", "/v1/tenants/acme", change).await;
    assert_eq!((&changed.body["name"], &changed.body["lockdown"]), (&json!("Acme A/S"), &json!(true)));
    assert!(changed.body["lockdown_since"].is_string());
    assert_eq!(api.get("/v1/tenants").await.body["data"].as_array().unwrap().len(), 1);
    assert_eq!(api.call("DELETE", "/v1/tenants/acme", Value::Null).await.status, StatusCode::NO_CONTENT);
    assert_problem(&api.get("/v1/tenants/acme").await, 404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_may_not_see_looks_as_if_it_were_not_there() {
    let api = Api::start().await.with_tenant("acme").await.with_tenant("other").await;
    let admin = api.key_for("acme", "admin").await;
    let admin = api.with_key(&admin);
    let theirs = admin.call("GET", "/v1/tenants/other/endpoints", Value::Null).await;
    let missing = admin.call("GET", "/v1/tenants/nobody/endpoints", Value::Null).await;
    assert_problem(&theirs, 404, "not_found");
    assert_eq!(theirs.body, missing.body);
    let listed = admin.call("GET", "/v1/tenants", Value::Null).await;
    assert_eq!(listed.body["data"].as_array().unwrap().len(), 1);
    assert_problem(&admin.call("POST", "/v1/tenants", json!({"id": "x"})).await, 403, "forbidden");
    assert_problem(
        &admin.call("POST", "/v1/keys", json!({"tenant": "other", "scope": "reader"})).await,
        400,
        "invalid_request",
    );
    assert_problem(&admin.call("POST", "/v1/keys", json!({"scope": "operator"})).await, 403, "forbidden");
    let reader = api.key_for("acme", "reader").await;
    let publish =
        api.with_key(&reader).call("POST", "/v1/tenants/acme/events", json!({"type": "a.b", "data": 1})).await;
    assert_problem(&publish, 403, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_rotated_and_revoked() {
    let api = Api::start().await.with_tenant("acme").await;
    let made = api.call("POST", "/v1/keys", json!({"tenant": "acme", "scope": "reader", "name": "console"})).await;
    let (id, text) = (made.body["id"].as_str().unwrap(), made.body["key"].as_str().unwrap());
    let works = async |text: &str| api.with_key(text).call("GET", "/v1/tenants/acme", Value::Null).await.status;
    assert_eq!(works(text).await, StatusCode::OK);
    let listed = api.get("/v1/keys").await.body.to_string();
    assert!(!listed.contains(text) && listed.contains("console"));
    let rotated = api.call("POST", &format!("/v1/keys/{id}/rotate"), Value::Null).await;
    let newer = rotated.body["key"].as_str().unwrap();
    assert_eq!((works(text).await, works(newer).await), (StatusCode::UNAUTHORIZED, StatusCode::OK));
    assert_eq!(api.call("DELETE", &format!("/v1/keys/{id}"), Value::Null).await.status, StatusCode::NO_CONTENT);
    assert_eq!(works(newer).await, StatusCode::UNAUTHORIZED);
    let past = json!({"tenant": "acme", "scope": "reader", "expires_at": "2020-01-01T00:00:00Z"});
    assert_problem(&api.call("POST", "/v1/keys", past).await, 400, "invalid_request");
}
