use serde_json::{Value, json};
use switchyard_tests::{
    api::{Api, Reply, Tenant, faulty, text, until},
    hub::Hub,
    world::{bundled, guest, sender_config, sender_connection, sender_signature, subscriber},
};

async fn hello(hub: &Hub) -> Tenant {
    let _ = hub.push(guest("hello_plugin")).await.expect(201);
    hub.tenant("acme").await
}

async fn put(tenant: &Tenant, plugin: &str, wanted: Value) -> Reply {
    tenant.api.put(&tenant.path(&format!("/plugins/{plugin}")), &wanted).await
}

#[tokio::test]
async fn a_config_that_breaks_the_plugins_schema_is_refused_with_the_path() {
    let hub = Hub::start().await;
    let tenant = hello(&hub).await;
    let problem = put(&tenant, "hello", json!({"config": {"greeting": 5}})).await.problem(400, "invalid_request");
    assert_eq!(faulty(&problem), ["config/greeting"], "{problem}");
    let problem = put(&tenant, "hello", json!({"config": {}})).await.problem(400, "invalid_request");
    assert_eq!(faulty(&problem), ["config/greeting"], "{problem}");
    assert!(text(&problem, "detail").contains("required"), "{problem}");
    let problem = put(&tenant, "hello", json!({"config": ["Hi"]})).await.problem(400, "invalid_request");
    assert_eq!(faulty(&problem), ["config"], "{problem}");
    assert!(tenant.list("/plugins").await.is_empty(), "a refused installation was kept");

    // What runs goes on as it was.
    let _ = tenant.install("hello", &json!({"config": {"greeting": "Hi"}})).await;
    let _ = put(&tenant, "hello", json!({"config": {"greeting": null}})).await.problem(400, "invalid_request");
    let kept = tenant.get("/plugins/hello").await.expect(200);
    assert_eq!((&kept["config"]["greeting"], &kept["state"]), (&json!("Hi"), &json!("ready")), "{kept}");
}

#[tokio::test]
async fn an_installation_that_names_what_is_not_there_is_refused_with_the_name() {
    let hub = Hub::start().await;
    let tenant = hello(&hub).await;
    let _ = put(&tenant, "goodbye", json!({})).await.problem(404, "not_found");
    let _ = tenant.get("/plugins/hello").await.problem(404, "not_found");
    let with = |more: Value| {
        let mut wanted = json!({"config": {"greeting": "Hi"}});
        wanted.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        wanted
    };
    let connection = tenant.connection(&sender_connection()).await;
    for (more, field) in [
        (json!({"version": "9.9.9"}), "version"),
        (json!({"connections": {"billing": connection}}), "connections.billing"),
        (json!({"connections": {"billing": "con_00000000000000000000000000000000"}}), "connections.billing"),
        (json!({"connections": {"billing@desk": connection}}), "connections.billing@desk"),
        (json!({"sources": ["default"]}), "sources"),
        (json!({"grants": ["everything"]}), "grants[0]"),
        (json!({"grants": ["emergency", "emits:"]}), "grants[1]"),
        (json!({"mode": "sometimes"}), "mode"),
        (json!({"retry_schedule": []}), "retry_schedule"),
    ] {
        let problem = put(&tenant, "hello", with(more)).await.problem(400, "invalid_request");
        assert_eq!(faulty(&problem), [field], "{problem}");
    }
    for shadow in ["0.1.0", "9.9.9"] {
        let wanted = with(json!({"shadow_version": shadow}));
        let problem = put(&tenant, "hello", wanted).await.problem(400, "invalid_request");
        assert_eq!(faulty(&problem), ["shadow_version"], "{problem}");
    }
    assert!(tenant.list("/plugins").await.is_empty(), "a refused installation was kept");
}

#[tokio::test]
async fn a_connection_that_is_not_whole_is_refused_with_the_field_and_without_its_secret() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    for (connection, field) in [
        (json!({"provider": "p", "name": "n", "kind": "carrier-pigeon", "secret": {}}), "kind"),
        (json!({"provider": "p", "name": "n", "kind": "bearer", "secret": {"tokn": "MARKER-0123456789"}}), "secret"),
        (json!({"provider": "p", "name": "n", "kind": "basic", "secret": {"username": "MARKER-0123456789"}}), "secret"),
        (
            json!({"provider": "p", "name": "n", "kind": "header", "secret": {"name": "a b", "value": "MARKER-0123456789"}}),
            "secret",
        ),
        (
            json!({"provider": "p", "name": "n", "kind": "header", "secret": {"name": "a", "value": "MARKER-0123\n456789"}}),
            "secret",
        ),
        (json!({"provider": "p", "name": "", "kind": "generated"}), "name"),
        (json!({"provider": "p", "name": "n", "kind": "generated", "base_url": "http://10.0.0.1/"}), "base_url"),
    ] {
        let problem = tenant.post("/connections", &connection).await.problem(400, "invalid_request");
        assert!(text(&problem, "detail").contains(field), "`{field}` is not named: {problem}");
        assert!(!problem.to_string().contains("MARKER"), "the secret is repeated: {problem}");
    }
    assert!(tenant.list("/connections").await.is_empty(), "a refused connection was kept");
}

/// The component with every `from` replaced by `to`, which has the same length.
fn patched(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut wasm = guest("misbehave");
    let places: Vec<_> = (0..wasm.len() - from.len()).filter(|at| wasm[*at..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty(), "the component has no `{from}`");
    for at in places {
        wasm[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    wasm
}

async fn refused(hub: &Api, wasm: Vec<u8>, words: &[&str]) {
    let problem = hub.push(wasm).await.problem(422, "invalid_plugin");
    for word in words {
        assert!(text(&problem, "detail").contains(word), "`{word}` is missing: {problem}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_component_or_asks_for_what_is_not_offered_is_refused_with_the_reason() {
    let hub = Hub::start().await;
    refused(&hub, Vec::new(), &["component"]).await;
    refused(&hub, b"hello".to_vec(), &["component"]).await;
    refused(&hub, b"\0asm\x01\0\0\0".to_vec(), &["component", "wasm32-wasip2"]).await;
    let truncated = guest("hello_plugin");
    refused(&hub, truncated[..truncated.len() / 2].to_vec(), &[]).await;
    let kv = patched("switchyard:plugin/kv@0.1.0", "switchyard:plugin/kv@0.9.0");
    refused(&hub, kv, &["switchyard:plugin/kv@0.9.0"]).await;
    let unknown = patched("switchyard:plugin/kv@0.1.0", "switchyard:plugin/ls@0.1.0");
    refused(&hub, unknown, &["switchyard:plugin/ls@0.1.0"]).await;
    let export = patched("switchyard:plugin/plugin@0.1.0", "switchyard:plugin/plugin@0.2.0");
    refused(&hub, export, &["switchyard:plugin/plugin@0.2.0"]).await;
    let reply = hub.raw("POST", "/v1/plugins", &[("content-type", "application/json")], guest("hello_plugin")).await;
    let _ = reply.problem(415, "unsupported_media_type");
    assert_eq!(hub.get("/v1/plugins").await.expect(200)["data"], json!([]), "a refused component was kept");
    let _ = hub.push(guest("hello_plugin")).await.expect(201);
    let _ = hub.push(guest("hello_plugin")).await.expect(200);
}

#[tokio::test]
async fn a_version_is_never_replaced_by_other_bytes() {
    let hub = Hub::start().await;
    let added = hub.push(bundled("demo/fragile-broken")).await.expect(201);
    let mut other = bundled("demo/fragile-broken");
    // A custom section with a name and no content: another file, the same component.
    other.extend_from_slice(b"\0\x02\x01x");
    let problem = hub.push(other).await.problem(409, "conflict");
    assert!(text(&problem, "detail").contains("fragile"), "{problem}");
    let versions = hub.get("/v1/plugins/fragile/versions").await.expect(200);
    assert_eq!(versions["data"].as_array().map(Vec::len), Some(1), "{versions}");
    assert_eq!(versions["data"][0]["sha256"], added["sha256"]);
}

#[tokio::test]
async fn an_emit_that_was_not_granted_is_parked_with_the_missing_grant_and_goes_on_once_granted() {
    let hub = Hub::start().await;
    let _ = hub.push(bundled("webhook")).await.expect(201);
    let (tenant, at) = (hub.tenant("acme").await, subscriber().await);
    let _ = tenant.endpoint(&at, "/orders", &["order.*"], json!({})).await;
    let connection = tenant.connection(&sender_connection()).await;
    let mut wanted = json!({"config": sender_config("order.placed"), "connections": {"inbound": connection}});
    let installed = tenant.install("webhook", &wanted).await;
    assert_eq!(installed["missing_grants"], json!(["*"]), "{installed}");
    let (url, body) = (text(&installed["sources"][0], "url"), "{\"order\":1}");
    let signature = sender_signature(body.as_bytes());
    let reply = hub.without_key().raw("POST", &url, &[("x-signature", &signature)], body).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "5"), "{}", reply.text);
    let parked = tenant.list("/parked").await;
    assert_eq!(parked.len(), 1, "{parked:?}");
    assert!(text(&parked[0], "message").contains("grant `emits:order.placed`"), "{}", parked[0]);
    assert!(tenant.list("/events").await.is_empty(), "it was emitted without a grant");

    wanted["grants"] = json!(["emits:order.*"]);
    let _ = tenant.install("webhook", &wanted).await;
    let arrived =
        at.wait_for("/orders", 1, switchyard_tests::api::SOON).await.expect("the parked request is judged again");
    assert_eq!(arrived[0].json()["data"], json!({"order": 1}));
    until("the parked request to go", async || {
        let parked = tenant.list("/parked").await;
        if parked.is_empty() { Ok(()) } else { Err(json!(parked).to_string()) }
    })
    .await;
}
