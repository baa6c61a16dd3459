use serde_json::{Value, json};
use switchyard_tests::{
    api::{Api, faulty, text},
    hub::Hub,
};

const EVENT: &str = r#"{"type":"order.placed","data":{}}"#;

fn event() -> Value {
    serde_json::from_str(EVENT).expect("JSON")
}

fn endpoint() -> Value {
    json!({"url": "https://example.com/", "event_types": ["a.b"]})
}

#[tokio::test]
async fn without_a_valid_key_everything_is_refused_alike() {
    let hub = Hub::start().await;
    let _ = hub.tenant("acme").await;
    let revoked = hub.post("/v1/keys", &json!({"tenant": "acme", "scope": "admin"})).await.expect(201);
    let _ = hub.delete(&format!("/v1/keys/{}", text(&revoked, "id"))).await;
    let no_key = hub.without_key().get("/v1/tenants/acme").await;
    assert_eq!(no_key.header("www-authenticate"), "Bearer");
    let _ = no_key.problem(401, "unauthenticated");
    let mut refusals = Vec::new();
    for key in ["x", "sk_not-a-key-of-this-hub-0123456789abcdef", &"k".repeat(5_000), &text(&revoked, "key")] {
        refusals.push(hub.with_key(key).get("/v1/tenants/acme").await.problem(401, "unauthenticated"));
    }
    assert!(refusals.iter().all(|problem| *problem == refusals[0]), "the causes can be told apart: {refusals:?}");
    let basic = hub.without_key().raw("GET", "/v1/tenants/acme", &[("authorization", "Basic eDp5")], "").await;
    let _ = basic.problem(401, "unauthenticated");
    // A tenant that does not exist is told to nobody without a key.
    let _ = hub.without_key().get("/v1/tenants/nobody").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_key_does_what_its_scope_allows_and_no_more() {
    let hub = Hub::start().await;
    let _ = hub.tenant("acme").await;
    let (events, endpoints) = ("/v1/tenants/acme/events", "/v1/tenants/acme/endpoints");
    let with = async |scope: &str| hub.with_key(&hub.key(&json!({"tenant": "acme", "scope": scope})).await);
    let forbidden = async |api: &Api, method: &str, path: &str, body: Value| {
        let reply = api.raw(method, path, &[("content-type", "application/json")], body.to_string()).await;
        let problem = reply.problem(403, "forbidden");
        assert!(text(&problem, "detail").contains("scope"), "{problem}");
    };
    let reader = with("reader").await;
    let _ = reader.get(events).await.expect(200);
    forbidden(&reader, "POST", events, event()).await;
    forbidden(&reader, "POST", endpoints, endpoint()).await;
    forbidden(&reader, "POST", "/v1/keys", json!({"scope": "reader"})).await;

    let publisher = with("publisher").await;
    let _ = publisher.post(events, &event()).await.expect(202);
    forbidden(&publisher, "POST", endpoints, endpoint()).await;
    forbidden(&publisher, "POST", "/v1/tenants/acme/dead-letters/replay", json!({})).await;
    forbidden(&publisher, "PATCH", "/v1/tenants/acme", json!({"lockdown": true})).await;

    let admin = with("admin").await;
    let _ = admin.post(endpoints, &endpoint()).await.expect(201);
    let _ = admin.post(events, &event()).await.expect(202);
    forbidden(&admin, "POST", "/v1/tenants", json!({"id": "other"})).await;
    forbidden(&admin, "POST", "/v1/keys", json!({"scope": "operator"})).await;
    let uploaded = admin.push(b"hello".to_vec()).await;
    let _ = uploaded.problem(403, "forbidden");
    let elsewhere = admin.post("/v1/keys", &json!({"scope": "reader", "tenant": "other"})).await;
    assert_eq!(faulty(&elsewhere.problem(400, "invalid_request")), ["tenant"]);
    assert_eq!(hub.get(endpoints).await.expect(200)["data"].as_array().map(Vec::len), Some(1));
    assert_eq!(hub.get("/v1/tenants").await.expect(200)["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn an_emergency_needs_a_key_that_was_granted_it() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let urgent = json!({"type": "order.placed", "data": {}, "urgency": "emergency"});
    let plain = tenant.with_key(&hub.key(&json!({"tenant": "acme", "scope": "publisher"})).await);
    let problem = plain.post("/events", &urgent).await.problem(403, "forbidden");
    assert_eq!(faulty(&problem), ["urgency"], "{problem}");
    assert!(tenant.list("/events").await.is_empty());
    let admin = tenant.with_key(&hub.key(&json!({"tenant": "acme", "scope": "admin"})).await);
    let grant = json!({"tenant": "acme", "scope": "publisher", "emergency": true});
    let problem = admin.api.post("/v1/keys", &grant).await.problem(403, "forbidden");
    assert_eq!(faulty(&problem), ["emergency"], "an admin without emergency granted it: {problem}");
    let granted = tenant.with_key(&hub.key(&grant).await);
    let _ = granted.publish(&urgent).await;
    let wrong = json!({"type": "order.placed", "data": {}, "urgency": "soon"});
    assert!(granted.post("/events", &wrong).await.problem(400, "invalid_request").to_string().contains("urgency"));
}

#[tokio::test]
async fn a_key_ends_when_it_is_rotated_or_expires() {
    let hub = Hub::start().await;
    let _ = hub.tenant("acme").await;
    let made = hub.post("/v1/keys", &json!({"tenant": "acme", "scope": "reader"})).await.expect(201);
    let old = hub.with_key(&text(&made, "key"));
    let _ = old.get("/v1/tenants/acme").await.expect(200);
    let rotated = hub.post(&format!("/v1/keys/{}/rotate", text(&made, "id")), &json!({})).await.expect(200);
    let _ = old.get("/v1/tenants/acme").await.problem(401, "unauthenticated");
    let _ = hub.with_key(&text(&rotated, "key")).get("/v1/tenants/acme").await.expect(200);
    let past = json!({"tenant": "acme", "scope": "reader", "expires_at": "2001-01-01T00:00:00Z"});
    assert_eq!(faulty(&hub.post("/v1/keys", &past).await.problem(400, "invalid_request")), ["expires_at"]);
}
