//! The interface over a real store, through the router and without the network.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use crate::{
    app::{self, Start},
    clock::{SystemClock, TimeFactor},
    config::{Database, Settings},
    hub::Hub,
    lifecycle::Lifecycle,
};

const OPERATOR: &str = "an-operator-key-for-tests-only";

struct Api {
    hub: Arc<Hub>,
    router: Router,
    lifecycle: Lifecycle,
    key: String,
    _folder: TempDir,
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Api {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::defaults().unwrap();
        settings.database_url = Database::Sqlite(folder.path().join("hub.db"));
        settings.plugin_dir = Some(folder.path().to_owned());
        settings.admin_key = Some(OPERATOR.into());
        settings.pool.sandbox_instances = 4;
        let lifecycle = Lifecycle::new();
        let start = Start {
            settings,
            listener: tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(),
            time_factor: TimeFactor::REAL,
            clock: SystemClock::shared(),
            lifecycle: lifecycle.clone(),
        };
        let hub = app::start(start).await.unwrap().hub;
        let router = super::router(hub.clone());
        Self { hub, router, lifecycle, key: OPERATOR.to_owned(), _folder: folder }
    }

    /// The same hub, called with another key.
    fn with_key(&self, key: &str) -> Caller<'_> {
        Caller { api: self, key: key.to_owned() }
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 8 << 20).await.unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Reply { status: parts.status, headers: parts.headers, body }
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Reply {
        self.with_key(&self.key).call(method, path, body).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, Value::Null).await
    }

    async fn with_tenant(self, tenant: &str) -> Self {
        let made = self.call("POST", "/v1/tenants", json!({"id": tenant})).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        self
    }

    async fn key_for(&self, tenant: &str, scope: &str) -> String {
        let made = self.call("POST", "/v1/keys", json!({"tenant": tenant, "scope": scope})).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        made.body["key"].as_str().unwrap().to_owned()
    }

    async fn paused_endpoint(&self) -> String {
        let body = json!({"url": "https://example.com/hook", "event_types": ["*"]});
        let made = self.call("POST", "/v1/tenants/acme/endpoints", body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        let id = made.body["id"].as_str().unwrap().to_owned();
        let paused =
            self.call("POST", &format!("/v1/tenants/acme/endpoints/{id}/pause"), json!({"reason": "tests"})).await;
        assert_eq!(paused.body["state"], "paused");
        id
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.lifecycle.stop();
        self.hub.hard_stop.cancel();
    }
}

struct Caller<'a> {
    api: &'a Api,
    key: String,
}

impl Caller<'_> {
    async fn call(&self, method: &str, path: &str, body: Value) -> Reply {
        let request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        let request = request.header("authorization", format!("Bearer {}", self.key));
        let request = if body.is_null() {
            request.body(Body::empty())
        } else {
            request.header("content-type", "application/json").body(Body::from(body.to_string()))
        };
        self.api.send(request.unwrap()).await
    }
}

#[track_caller]
fn assert_problem(reply: &Reply, status: u16, code: &str) {
    assert_eq!((reply.status.as_u16(), reply.body["code"].as_str()), (status, Some(code)), "{}", reply.body);
    assert_eq!(reply.headers["content-type"], "application/problem+json");
    assert_eq!(reply.body["status"], status);
}

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
        (json!({"provider": "g", "name": "G", "kind": "oauth2", "secret": {}}), "not_offered"),
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
    assert_problem(&shadow, 400, "not_offered");
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

#[tokio::test(flavor = "multi_thread")]
async fn status_says_what_needs_a_person() {
    let api = Api::start().await.with_tenant("acme").await;
    assert_eq!(api.get("/v1/status").await.body["state"], "ok");
    let endpoint = api.paused_endpoint().await;
    let status = api.get("/v1/status").await.body;
    assert_eq!(status["state"], "attention");
    assert!(status["tenants"][0]["endpoints"][&endpoint].as_str().unwrap().contains("tests"), "{status}");
    assert!(api.get("/v1/event-types/endpoint.test").await.body["schema"].is_object());
    assert_eq!(api.get("/v1/event-types").await.body["data"].as_array().unwrap().len(), 9);
    for path in ["parked", "rejections", "dead-letters", "audit", "plugins", "connections"] {
        let reply = api.get(&format!("/v1/tenants/acme/{path}")).await;
        assert_eq!((reply.status, reply.body["data"].is_array()), (StatusCode::OK, true), "{path}");
    }
}
