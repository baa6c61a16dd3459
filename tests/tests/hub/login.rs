use serde_json::json;
use switchyard_tests::{
    api::until,
    hub::Hub,
    world::{billy, billy_connection, lifecycle_guest},
};

#[tokio::test]
async fn a_refused_credential_is_marked_although_the_plugin_went_on() {
    let (hub, billy) = (Hub::start().await, billy().await);
    let _ = hub.push(lifecycle_guest("1.0.0")).await.expect(201);
    let tenant = hub.tenant("acme").await;
    let mut wanted = billy_connection(&billy.base_url());
    wanted["secret"]["value"] = json!("a-token-that-billy-does-not-know");
    let books = tenant.connection(&wanted).await;
    let _ = tenant.install("lifecycle", &json!({"grants": ["emits:*"], "connections": {"books": books}})).await;
    let _ = tenant.publish(&json!({"type": "work.do", "data": {"n": 1, "write": false, "peek": true}})).await;
    let done = |delivery: &serde_json::Value| delivery["event_type"] == "work.do" && delivery["state"] == "delivered";
    let _ = tenant.delivery("plugin:lifecycle", "done", done).await;
    until("the connection to need a login", async || {
        let shown = tenant.get(&format!("/connections/{books}")).await.expect(200);
        if shown["state"] == "needs_login" { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
}
