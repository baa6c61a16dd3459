use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use switchyard_tests::api::{Tenant, text};

use super::{Provider, command, done, hub, in_state, install, tenant};

const TOKEN: &str = "MARKER-header-token-0001";

fn call(method: &str, connection: &str, path: &str) -> Value {
    json!({"do": "call", "method": method, "connection": connection, "path": path})
}

async fn provided(tenant: &Tenant, provider: &Provider) {
    let connection = provider.connection(tenant, "header", json!({"name": "X-Token", "value": TOKEN})).await;
    install(tenant, json!({"connections": {"provider": connection}})).await;
}

#[track_caller]
fn is_denied(seen: &Value, what: &str, word: &str) {
    let error = seen["error"].as_str().unwrap_or_else(|| panic!("{what} was sent: {seen}"));
    assert!(error.contains(word), "{what}: `{word}` is not in {error}");
}

/// Row F61: whatever a plugin writes for a path, a field or a connection, it reaches only what it was granted.
#[tokio::test]
async fn f61_a_request_cannot_leave_its_connection() {
    let (hub, provider) = (hub().await, Provider::start().await);
    let tenant = tenant(&hub, "mallory", json!({})).await;
    provided(&tenant, &provider).await;
    let good = done(&tenant, call("GET", "provider", "/a/b?x=%2e%2e&y=//z")).await;
    assert_eq!(good["status"], 200, "{good}");
    let long = format!("/{}", "p".repeat(8_192));
    for (path, word) in [
        ("", "begin with a slash"),
        ("relative", "begin with a slash"),
        ("https://evil.example/", "begin with a slash"),
        ("@evil.example/", "begin with a slash"),
        ("//evil.example/", "one slash"),
        ("///evil.example/", "one slash"),
        ("/..", "`..`"),
        ("/a/../../b", "`..`"),
        ("/%2e%2e/b", "`..`"),
        ("/a/.%2E/b", "`..`"),
        ("/a%2f..%2fb", "`..`"),
        ("/a%5c..%5cb", "`..`"),
        ("/..;x=1/b", "`..`"),
        ("/a\\b", "backslash"),
        ("/a#fragment", "fragment"),
        ("/a b", "percent-encoded"),
        ("/a\r\nhost: evil", "percent-encoded"),
        ("/a\u{0}", "percent-encoded"),
        ("/a\u{7f}", "percent-encoded"),
        ("/æ", "percent-encoded"),
        (&long, "8192"),
    ] {
        is_denied(&done(&tenant, call("GET", "provider", path)).await, path, word);
    }
    for (order, word) in [
        (call("GET", "stranger", "/"), "the manifest has no connection `stranger`"),
        (call("GET", "unbound", "/"), "NeedsLogin"),
        (call("DELETE", "provider", "/"), "does not list the method DELETE"),
        (call("CONNECT", "provider", "/"), "does not list the method CONNECT"),
        (call("get", "provider", "/"), "does not list the method get"),
    ] {
        is_denied(&done(&tenant, order.clone()).await, &order.to_string(), word);
    }
    let lines: Vec<String> = provider.seen().into_iter().map(|(line, _)| line).collect();
    assert_eq!(lines, ["GET /base/a/b?x=%2e%2e&y=//z"], "only the good request went out");
}

#[tokio::test]
async fn f61_fields_that_steer_the_connection_or_carry_the_credential_are_denied() {
    let (hub, provider) = (hub().await, Provider::start().await);
    let tenant = tenant(&hub, "mallory", json!({})).await;
    provided(&tenant, &provider).await;
    let with = |name: &str, value: &str| {
        let mut order = call("GET", "provider", "/echo");
        order["headers"] = json!([[name, value]]);
        order
    };
    for name in [
        "host",
        "Content-Length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "proxy-authorization",
        "accept-encoding",
        "traceparent",
        "tracestate",
        "x-correlation-id",
        "authorization",
        "cookie",
        "x-token",
        "X-TOKEN",
        "a b",
        "",
        "x\r\ny",
        ":path",
    ] {
        is_denied(&done(&tenant, with(name, "1")).await, name, "Denied");
    }
    is_denied(&done(&tenant, with("x", "a\r\nhost: evil")).await, "a broken value", "Denied");
    is_denied(&done(&tenant, with("x", "{{secret:stranger.token}}")).await, "a stranger's secret", "names no secret");
    // Each bound at its edge.
    for (what, allowed, refused) in [("headers", 64, 65), ("header", 16_383, 16_384)] {
        let seen = done(&tenant, json!({"do": what, "n": allowed})).await;
        assert_eq!(seen["status"], 200, "{what} {allowed}: {seen}");
        is_denied(&done(&tenant, json!({"do": what, "n": refused})).await, what, "more than 64 fields or 16 KiB");
    }
    let weighed = |bytes: u64| {
        let mut order = call("GET", "provider", &format!("/bytes/{bytes}"));
        order["weigh"] = true.into();
        order
    };
    assert_eq!(done(&tenant, weighed(1 << 20)).await["body"], 1 << 20);
    let seen = done(&tenant, weighed((1 << 20) + 1)).await;
    is_denied(&seen, "an answer beyond 1 MiB", "ResponseTooLarge");
    assert_eq!(done(&tenant, json!({"do": "body", "n": 4 << 20})).await["status"], 200);
    is_denied(
        &done(&tenant, json!({"do": "body", "n": (4 << 20) + 1})).await,
        "a body beyond 4 MiB",
        "RequestTooLarge",
    );
    for (line, _) in provider.seen() {
        assert!(line.contains(" /base/"), "{line}");
    }
}

/// A secret in every form in which it could come back.
fn forms(secret: &str) -> Vec<String> {
    let hex = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let reversed = secret.chars().rev().collect();
    vec![secret.to_owned(), STANDARD.encode(secret).trim_end_matches('=').to_owned(), hex, reversed]
}

#[tokio::test]
async fn f61_no_byte_that_a_guest_can_read_holds_a_secret_or_another_tenants_data() {
    let (hub, provider) = (hub().await, Provider::start().await);
    let other = tenant(&hub, "other", json!({})).await;
    let treasure = "MARKER-treasure-of-another-tenant";
    let _ = done(&other, json!({"do": "keep", "key": "treasure", "value": treasure})).await;
    let _ = provider.connection(&other, "bearer", json!({"token": "MARKER-token-of-another-tenant"})).await;

    let mallory = tenant(&hub, "mallory", json!({})).await;
    let of = |kind: &'static str, secret: Value| provider.connection(&mallory, kind, secret);
    let header = of("header", json!({"name": "X-Token", "value": TOKEN})).await;
    let basic = of("basic", json!({"username": "user", "password": "MARKER-password-0002"})).await;
    let bearer = of("bearer", json!({"token": "MARKER-bearer-token-0003"})).await;
    let inbound = of("hmac", json!({"secret": "MARKER-inbound-secret-0004"})).await;
    let _ = of("bearer", json!({"token": "MARKER-never-bound-0005"})).await;
    let bound = json!({"provider": header, "basic": basic, "bearer": bearer, "inbound": inbound});
    install(&mallory, json!({"connections": bound, "config": {"own": "MINE-config"}})).await;
    let _ = done(&mallory, json!({"do": "keep", "key": "treasure", "value": "MINE-treasure"})).await;

    let correlation = command(&mallory, &json!({"do": "hunt"})).await;
    let run = in_state(&mallory, &correlation, "delivered").await;
    let found = super::emitted(&mallory, &correlation).await.to_string();
    // The hunt was one: it read its own things, and the provider repeated what it was sent.
    for own in
        ["MINE-config", "MINE-treasure", "x-echo-x-token: ***", "Bearer ***", "Basic ***", "x-copy: *** *** *** ***"]
    {
        assert!(found.contains(own), "the guest found no `{own}`: {found}");
    }
    let secrets = [
        TOKEN,
        "MARKER-password-0002",
        "user:MARKER-password-0002",
        "MARKER-bearer-token-0003",
        "MARKER-inbound-secret-0004",
        "MARKER-never-bound-0005",
        "MARKER-token-of-another-tenant",
        treasure,
        switchyard_tests::hub::ADMIN_KEY,
    ];
    for secret in secrets {
        for form in forms(secret) {
            assert!(!found.contains(&form), "the guest found `{secret}` as `{form}`");
            assert!(!run.to_string().contains(&form), "the delivery's page shows `{secret}`");
        }
    }
    assert!(!found.contains("MARKER"), "a part of a secret: {found}");
    // The provider did get them: nothing was masked on the way out.
    let sent = provider.seen().iter().filter(|(_, body)| String::from_utf8_lossy(body).contains(TOKEN)).count();
    assert!(sent > 0, "the templates were not filled");
    // And the other tenant's guest sees only its own.
    let kept = done(&other, json!({"do": "keep", "key": "treasure"})).await;
    assert_eq!(text(&kept, "got"), treasure);
    assert!(!done(&other, json!({"do": "hunt"})).await.to_string().contains("MINE"));
}
