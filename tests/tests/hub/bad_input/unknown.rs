use serde_json::{Value, json};
use switchyard_tests::{api::text, hub::Hub, world::guest};

/// Things of the tenant `theirs`, by path below a tenant.
async fn things(hub: &Hub) -> Vec<String> {
    let theirs = hub.tenant("theirs").await;
    let endpoint =
        theirs.post("/endpoints", &json!({"url": "https://example.com/", "event_types": ["*"]})).await.expect(201);
    let endpoint = text(&endpoint, "id");
    let _ = theirs.post(&format!("/endpoints/{endpoint}/pause"), &json!({})).await.expect(200);
    let secret =
        json!({"provider": "x", "name": "x", "kind": "hmac", "secret": {"secret": "0123456789abcdef0123456789abcdef"}});
    let connection = theirs.connection(&secret).await;
    let _ = theirs.install("hello", &json!({"config": {"greeting": "Hi"}})).await;
    let event = theirs.publish(&json!({"type": "order.placed", "data": {}})).await;
    let delivery = theirs.delivery(&endpoint, "held", |delivery| delivery["state"] == "held").await;
    vec![
        format!("/endpoints/{endpoint}"),
        format!("/connections/{connection}"),
        format!("/deliveries/{}", text(&delivery, "id")),
        format!("/events/{}", text(&event, "id")),
        format!("/traces/{}", text(&event, "correlation_id")),
        "/plugins/hello".to_owned(),
    ]
}

#[tokio::test]
async fn what_is_missing_and_what_is_another_tenants_looks_the_same() {
    let hub = Hub::start().await;
    let _ = hub.push(guest("hello_plugin")).await.expect(201);
    let things = things(&hub).await;
    let mine = hub.tenant("mine").await;
    let mine = mine.with_key(&hub.key(&json!({"tenant": "mine", "scope": "admin"})).await);
    let missing = |path: &str| {
        let (kind, id) = path.rsplit_once('/').expect("a path");
        let zeros: String =
            id.chars().enumerate().map(|(at, c)| if at >= 4 && c.is_ascii_hexdigit() { '0' } else { c }).collect();
        format!("{kind}/{zeros}")
    };
    for path in &things {
        let whole = |tenant: &str, path: &str| format!("/v1/tenants/{tenant}{path}");
        // The thing itself is there, for those who may see it.
        let _ = hub.get(&whole("theirs", path)).await.expect(200);
        let not_mine = mine.api.get(&whole("mine", path)).await.problem(404, "not_found");
        let not_there = mine.api.get(&whole("mine", &missing(path))).await.problem(404, "not_found");
        assert_eq!(not_mine, not_there, "{path}");
        let their_tenant = mine.api.get(&whole("theirs", path)).await.problem(404, "not_found");
        let no_tenant = mine.api.get(&whole("nobody", path)).await.problem(404, "not_found");
        assert_eq!(their_tenant, no_tenant, "{path}");
    }
    let tenant = mine.api.get("/v1/tenants/theirs").await.problem(404, "not_found");
    assert_eq!(tenant, mine.api.get("/v1/tenants/nobody").await.problem(404, "not_found"));
    let others: Vec<Value> =
        mine.api.get("/v1/tenants").await.expect(200)["data"].as_array().cloned().unwrap_or_default();
    assert!(others.iter().all(|tenant| tenant["id"] == "mine"), "{others:?}");
}

#[tokio::test]
async fn changes_of_what_is_not_there_are_not_found_and_change_nothing() {
    let hub = Hub::start().await;
    let _ = hub.push(guest("hello_plugin")).await.expect(201);
    let things = things(&hub).await;
    let mine = hub.tenant("mine").await.with_key(&hub.key(&json!({"tenant": "mine", "scope": "admin"})).await);
    let (endpoint, connection, delivery, event) = (&things[0], &things[1], &things[2], &things[3]);
    for (method, path) in [
        ("DELETE", endpoint.clone()),
        ("PATCH", endpoint.clone()),
        ("POST", format!("{endpoint}/resume")),
        ("POST", format!("{endpoint}/rotate-secret")),
        ("POST", format!("{endpoint}/test")),
        ("DELETE", connection.clone()),
        ("POST", format!("{connection}/rotate")),
        ("POST", format!("{delivery}/cancel")),
        ("POST", format!("{delivery}/retry")),
        ("POST", format!("{event}/replay")),
        ("DELETE", "/plugins/hello".to_owned()),
    ] {
        for tenant in ["mine", "theirs"] {
            let path = format!("/v1/tenants/{tenant}{path}");
            let reply = mine.api.raw(method, &path, &[("content-type", "application/json")], "{}").await;
            let _ = reply.problem(404, "not_found");
        }
    }
    let _ = mine.api.delete("/v1/tenants/theirs").await;
    for path in &things {
        let _ = hub.get(&format!("/v1/tenants/theirs{path}")).await.expect(200);
    }
    let delivery = hub.get(&format!("/v1/tenants/theirs{delivery}")).await.expect(200);
    assert_eq!(delivery["state"], "held", "another tenant's key moved it");
}

#[tokio::test]
async fn a_path_that_does_not_exist_and_a_method_that_it_does_not_have_are_told_apart() {
    let hub = Hub::start().await;
    let _ = hub.get("/v1/no-such-thing").await.problem(404, "no_such_route");
    let _ = hub.get("/").await.problem(404, "no_such_route");
    let _ = hub.delete("/v1/status").await.problem(405, "method_not_allowed");
    let _ = hub.get("/v1/tenants?limit=-1").await.problem(400, "invalid_request");
    let problem = hub.get("/v1/tenants?lmit=5").await.problem(400, "invalid_request");
    assert!(text(&problem, "detail").contains("lmit"), "{problem}");
}
