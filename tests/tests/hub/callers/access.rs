use serde_json::{Value, json};
use switchyard_tests::{
    api::text,
    hub::{ADMIN_KEY, Hub},
    world::guest,
};

use super::{
    senders::{Sender, push_plugins},
    wire::{exchange, status, talk},
};

#[tokio::test]
async fn g77_a_page_of_another_origin_gets_no_leave_and_a_browser_has_no_credential_to_lend() {
    let hub = Hub::start().await;
    let _ = hub.tenant("acme").await;
    let origin = ("Origin", "https://evil.test");
    for (method, path) in
        [("OPTIONS", "/v1/tenants"), ("GET", "/v1/tenants/acme"), ("POST", "/v1/tenants"), ("GET", "/healthz")]
    {
        let preflight =
            [origin, ("Access-Control-Request-Method", "DELETE"), ("Access-Control-Request-Headers", "authorization")];
        for fields in [&preflight[..1], &preflight[..]] {
            let said = exchange(&hub, method, path, fields, b"").await.to_lowercase();
            assert!(!said.contains("access-control-allow"), "{method} {path}: {said}");
            assert!(!said.contains("set-cookie"), "{method} {path}: {said}");
        }
    }
    // What a form of a page can send without asking: no key, and of a type that is not JSON.
    for media in ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"] {
        let fields = [origin, ("Content-Type", media), ("Cookie", &format!("key={ADMIN_KEY}; session={ADMIN_KEY}"))];
        let said = exchange(&hub, "POST", "/v1/tenants", &fields, br#"{"id":"evil"}"#).await;
        assert_eq!(status(&said), 401, "{media}: {said}");
        let with_key = [("Content-Type", media), ("Authorization", &format!("Bearer {ADMIN_KEY}"))];
        let said = exchange(&hub, "POST", "/v1/tenants", &with_key, br#"{"id":"evil"}"#).await;
        assert_eq!(status(&said), 415, "{media}: {said}");
    }
    // A key counts in its header alone.
    let asked = format!("/v1/tenants?key={ADMIN_KEY}&access_token={ADMIN_KEY}&api_key={ADMIN_KEY}");
    assert_eq!(status(&exchange(&hub, "GET", &asked, &[], b"").await), 401);
    assert!(!hub.log().contains(ADMIN_KEY), "a key from a URL is in the log");
    let _ = hub.get("/v1/tenants/evil").await.problem(404, "not_found");
}

#[tokio::test]
async fn g77_another_hosts_name_changes_no_url_and_reaches_nothing_else() {
    let hub = Hub::start().await;
    push_plugins(&hub).await;
    let sender = Sender::plain(&hub, "acme").await;
    let key = format!("Authorization: Bearer {ADMIN_KEY}\r\n");
    let path = sender.tenant.path("/plugins/webhook");
    for head in [
        format!("GET {path} HTTP/1.1\r\nHost: evil.test\r\n"),
        format!("GET {path} HTTP/1.1\r\nHost: evil.test:80@hub.test\r\n"),
        format!("GET {path} HTTP/1.1\r\nHost: hub.test\r\nX-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: https\r\n"),
        format!(
            "GET {path} HTTP/1.1\r\nHost: hub.test\r\nForwarded: host=evil.test;proto=https\r\nX-Original-URL: /v1/status\r\n"
        ),
        format!("GET http://evil.test{path} HTTP/1.1\r\nHost: hub.test\r\n"),
    ] {
        let said = talk(&hub, format!("{head}{key}Connection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(status(&said), 200, "{head}: {said}");
        assert!(said.contains(&sender.url) && !said.contains("evil.test"), "{head}: {said}");
    }
    for method in ["CONNECT evil.test:443", "CONNECT 127.0.0.1:22", "TRACE /healthz", "GET evil.test:80", "OPTIONS *"] {
        let said =
            talk(&hub, format!("{method} HTTP/1.1\r\nHost: hub.test\r\n{key}Connection: close\r\n\r\n").as_bytes())
                .await;
        assert!((400..500).contains(&status(&said)), "{method}: {said}");
        assert!(!said.contains(ADMIN_KEY), "{method}: {said}");
    }
    // A stranger's word about his own address is not believed.
    let lied = [("X-Forwarded-For", "203.0.113.9"), ("X-Real-IP", "203.0.113.9"), ("Forwarded", "for=203.0.113.9")];
    assert_eq!(status(&exchange(&hub, "POST", &sender.path, &lied, b"{}").await), 401);
    let rejection = sender.tenant.list("/rejections").await[0].clone();
    assert!(!rejection.to_string().contains("203.0.113.9"), "{rejection}");
}

#[tokio::test]
async fn g77_paths_that_climb_or_hide_lead_nowhere() {
    let hub = Hub::start().await;
    push_plugins(&hub).await;
    let (sender, other) = (Sender::plain(&hub, "acme").await, hub.tenant("other").await);
    let theirs = hub.key(&json!({"tenant": "other", "scope": "admin"})).await;
    let bearer = format!("Bearer {theirs}");
    for path in [
        "/v1/tenants/other/../acme/events",
        "/v1/tenants/other/..%2facme/events",
        "/v1/tenants/other%2f..%2facme/events",
        "/v1/tenants/other/%2e%2e/acme/events",
        "/v1/tenants/other//events",
        "/v1//tenants/acme/events",
        "//v1/tenants/acme/events",
        "/v1/tenants/acme;a=b/events",
        "/v1/tenants/acme%00/events",
        "/v1/tenants/ACME/events",
        "/v1/tenants/other/events/../../acme/events",
        "/v1/tenants/other/../../../etc/passwd",
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..\\..\\etc\\passwd",
        "/docs/../v1/tenants/acme",
        "/static/..%5c..%5cswitchyard.toml",
        "/hub.db",
        "/.env",
        "/v1/tenants/%ff%fe/events",
        "/v1/tenants/*/events",
        "/v1/tenants/other'%20or%20'1'='1/events",
    ] {
        let said = exchange(&hub, "GET", path, &[("Authorization", &bearer)], b"").await;
        assert!(matches!(status(&said), 400 | 404), "{path}: {said}");
        assert!(!said.contains("root:") && !said.contains("acme\""), "{path}: {said}");
    }
    // The path of a request to a source is the sender's, and signed or refused as it is: it is never resolved.
    let source = &sender.path;
    let id = source.trim_start_matches("/in/");
    for path in [
        format!("{source}/../{id}"),
        format!("{source}/%2e%2e/x"),
        format!("{source}//"),
        format!("/in/./{id}"),
        format!("/in//{id}"),
        format!("/in/{id}%00"),
        format!("/in/{}", id.to_uppercase()),
        format!("/in/x/../{id}"),
    ] {
        let said = exchange(&hub, "POST", &path, &[], b"{}").await;
        assert!(matches!(status(&said), 401 | 404), "{path}: {said}");
    }
    assert_eq!(sender.tenant.list("/events").await.len() + other.list("/events").await.len(), 0);
}

/// What each thing may be made of; beside it, what callers would like to set.
fn makings(tenant: &str) -> Vec<(&'static str, String, Value)> {
    let at = |path: &str| format!("/v1/tenants/{tenant}{path}");
    let endpoint = json!({"url": "https://example.com/", "event_types": ["a.b"]});
    let connection = json!({"provider": "p", "name": "n", "kind": "generated"});
    vec![
        ("POST", "/v1/tenants".to_owned(), json!({"id": "new", "name": "New"})),
        ("PATCH", at(""), json!({"name": "Acme"})),
        ("POST", at("/events"), json!({"type": "a.b", "data": {}})),
        ("POST", at("/endpoints"), endpoint),
        ("POST", at("/connections"), connection),
        ("PUT", at("/plugins/hello"), json!({"config": {"greeting": "Hi"}})),
        ("POST", "/v1/keys".to_owned(), json!({"tenant": tenant, "scope": "reader"})),
        ("POST", at("/dead-letters/replay"), json!({})),
    ]
}

#[tokio::test]
async fn g77_a_field_that_a_caller_may_not_set_is_refused_by_its_name() {
    let hub = Hub::start().await;
    let _ = hub.push(guest("hello_plugin")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    for (method, path, body) in makings("acme") {
        for field in
            ["tenant_id", "created_at", "key", "hash", "disabled", "epoch", "is_admin", "__proto__", "$where", "Name"]
        {
            let mut body = body.clone();
            if body.get(field).is_some() {
                continue;
            }
            body[field] = json!("evil");
            let reply = hub.raw(method, &path, &[("content-type", "application/json")], body.to_string()).await;
            let problem = reply.problem(400, "invalid_request");
            assert!(text(&problem, "detail").contains(field), "`{field}` is not named: {problem}");
        }
    }
    // Nor through the query.
    let _ = hub.get("/v1/tenants?tenant=acme").await.problem(400, "invalid_request");
    assert!(tenant.list("/endpoints").await.is_empty() && tenant.list("/events").await.is_empty());
    assert!(tenant.list("/connections").await.is_empty() && tenant.list("/plugins").await.is_empty());
    let kept = hub.get("/v1/tenants/acme").await.expect(200);
    assert_eq!(kept["name"], "acme", "{kept}");
    // An admin's key gives itself nothing.
    let admin = hub.post("/v1/keys", &json!({"tenant": "acme", "scope": "admin"})).await.expect(201);
    let as_admin = hub.with_key(&text(&admin, "key"));
    for wanted in [
        json!({"scope": "operator"}),
        json!({"scope": "admin", "tenant": "other"}),
        json!({"scope": "admin", "emergency": true}),
        json!({"scope": "root"}),
        json!({"scope": ["admin", "operator"]}),
    ] {
        let reply = as_admin.post("/v1/keys", &wanted).await;
        assert!(matches!(reply.status, 400 | 403), "{wanted}: {}", reply.text);
    }
}
