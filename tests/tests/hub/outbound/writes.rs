use serde_json::{Value, json};
use switchyard_tests::{
    api::{Tenant, text, until},
    hub::Hub,
    sink::{Act, Sink, nobody},
    world::{ACCOUNT_SID, bundled},
};

/// Installs the Twilio plugin with `base_url` for a new tenant; a second attempt comes too late for a test.
async fn sender(hub: &Hub, id: &str, base_url: &str) -> Tenant {
    let tenant = hub.tenant(id).await;
    let secret = json!({"username": ACCOUNT_SID, "password": "a-token-of-the-tests"});
    let connection =
        json!({"provider": "twilio", "name": "t", "kind": "basic", "base_url": base_url, "secret": secret});
    let connection = tenant.connection(&connection).await;
    let wanted = json!({"config": {"account_sid": ACCOUNT_SID, "from": "+4520000000"},
        "connections": {"twilio": connection}, "retry_schedule": [0, 86_400]});
    let _ = tenant.install("twilio", &wanted).await;
    tenant
}

/// The delivery of one `sms.send` after its first attempt.
async fn attempted(tenant: &Tenant) -> Value {
    until("the plugin to be ready", async || {
        let seen = tenant.get("/plugins/twilio").await.expect(200);
        if seen["state"] == "ready" { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
    let _ = tenant.publish(&json!({"type": "sms.send", "data": {"to": "+4521111111", "body": "Hej"}})).await;
    let tried = |row: &Value| row["event_type"] == "sms.send" && row["state"] != "running" && row["attempt_count"] == 1;
    let row = tenant.delivery("plugin:twilio", "tried", tried).await;
    tenant.get(&format!("/deliveries/{}", text(&row, "id"))).await.expect(200)
}

#[tokio::test]
async fn e49_a_write_that_was_never_sent_is_forgotten_and_one_that_may_have_been_is_kept_as_unknown() {
    let hub = Hub::start().await;
    let _ = hub.push(bundled("twilio")).await.expect(201);
    let handshake = Sink::start(vec![Act::Read(5), Act::Reset]).await;
    let unsent = [nobody().await, handshake.url("").replace("http:", "https:")];
    for (number, base_url) in unsent.iter().enumerate() {
        let tenant = sender(&hub, &format!("unsent-{number}"), base_url).await;
        let delivery = attempted(&tenant).await;
        assert_eq!(
            (&delivery["state"], &delivery["reason"]),
            (&json!("waiting"), &json!("provider_down")),
            "{delivery:#}"
        );
        assert!(delivery["journal"].is_null(), "nothing left the hub, so nothing is kept: {delivery:#}");
    }
    let perhaps = [
        vec![Act::Read(10), Act::Reset],
        vec![Act::ReadRequest, Act::Reset],
        vec![Act::ReadRequest, Act::say("HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{\"sid\":"), Act::Reset],
        vec![Act::ReadRequest, Act::say("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n")],
        vec![Act::ReadRequest, Act::say("SSH-2.0-OpenSSH_9.2\r\n\r\n")],
    ];
    for (number, acts) in perhaps.into_iter().enumerate() {
        let sink = Sink::start(acts.clone()).await;
        let tenant = sender(&hub, &format!("perhaps-{number}"), &sink.url("")).await;
        let delivery = attempted(&tenant).await;
        let calls = delivery["journal"]["calls"].as_array().cloned().unwrap_or_default();
        let writes: Vec<_> = calls.iter().filter(|call| text(call, "call").starts_with("POST")).collect();
        assert_eq!(writes.len(), 1, "{acts:?}: {delivery:#}");
        assert_eq!(writes[0]["outcome"], "unknown", "{acts:?}: {delivery:#}");
        let posts = sink.heads().iter().filter(|head| head.starts_with("POST /2010")).count();
        assert!(posts <= 1, "{acts:?}: a write whose end is unknown was repeated");
        assert_ne!(delivery["state"], "delivered", "{acts:?}: {delivery:#}");
    }
}
