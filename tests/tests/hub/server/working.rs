use serde_json::json;
use switchyard_tests::{
    api::{text, until},
    database::Database,
    hub::Hub,
    world::{bundled, guest, sender_config, sender_connection, sender_signature, subscriber},
};

use super::run;

#[tokio::test]
async fn a_signed_request_becomes_a_plugin_run_and_a_signed_delivery() {
    let (database, at) = (Database::fresh().await, subscriber().await);
    let hub = Hub::builder().on(&database).start().await;
    for wasm in [bundled("webhook"), guest("hello_plugin")] {
        let _ = hub.push(wasm).await.expect(201);
    }
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["greeting.*"], json!({})).await;
    let connection = tenant.connection(&sender_connection()).await;
    let wanted = json!({"config": sender_config("greeting.requested"), "connections": {"inbound": connection},
        "grants": ["emits:*"]});
    let url = text(&tenant.install("webhook", &wanted).await["sources"][0], "url");
    let _ = tenant.install("hello", &json!({"config": {"greeting": "Hej"}})).await;
    let body = json!({"name": "Ida"}).to_string();
    let signature = sender_signature(body.as_bytes());
    for _ in 0..2 {
        let reply = hub.without_key().raw("POST", &url, &[("x-signature", &signature)], body.clone()).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    let made = tenant
        .delivery(&endpoint, "a greeting that was made", |delivery| {
            delivery["state"] == "delivered" && delivery["event_type"] != "greeting.requested"
        })
        .await;
    assert_eq!(made["state"], "delivered");
    assert_eq!(tenant.list("/events?type=greeting.requested").await.len(), 1, "the second request is a duplicate");
    let verified = at.requests("/hook");
    assert!(!verified.is_empty() && verified.iter().all(|request| request.status == Some(200)), "{verified:?}");
    let forged = hub.without_key().raw("POST", &url, &[("x-signature", "00")], body).await;
    assert_eq!(forged.status, 401);
}

#[tokio::test]
async fn what_was_accepted_outlives_a_kill_and_is_delivered_by_the_next_start() {
    let (database, at) = (Database::fresh().await, subscriber().await);
    let mut hub = Hub::builder().on(&database).start().await;
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    let _ = tenant.post(&format!("/endpoints/{endpoint}/pause"), &json!({})).await.expect(200);
    for n in 0..50 {
        let _ = tenant.publish(&json!({"type": "a.b", "id": format!("e-{n}"), "data": {"n": n}})).await;
    }
    hub.kill().await;
    hub.restart().await;
    assert_eq!(tenant.all("/events").await.len(), 50);
    let _ = tenant.post(&format!("/endpoints/{endpoint}/resume"), &json!({})).await.expect(200);
    until("every event to be delivered", async || {
        let ids: std::collections::BTreeSet<_> =
            at.requests("/hook").iter().filter_map(|request| request.webhook_id().map(str::to_owned)).collect();
        if ids.len() == 50 { Ok(()) } else { Err(ids.len().to_string()) }
    })
    .await;
    assert!(hub.stop().await.success());
}

#[tokio::test]
async fn b23_while_the_database_takes_no_writes_events_are_refused_and_afterwards_taken_again() {
    let database = Database::fresh().await;
    let hub = Hub::builder().on(&database).start().await;
    let tenant = hub.tenant("acme").await;
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    // Holds for connections that are made from now on, so those that are there end.
    let turn = async |way: &str| {
        let name = "execute format('alter database %I set default_transaction_read_only = ', current_database())";
        run(
            &database,
            &format!(
                "begin read write; do $$ begin {}; end $$; commit; select pg_terminate_backend(pid) \
                 from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
                name.replace("= '", &format!("= {way}'"))
            ),
        )
        .await;
    };
    turn("on").await;
    let event = json!({"type": "a.b", "data": {}});
    let refused = tenant.post("/events", &event).await;
    assert_eq!(refused.status, 503, "{}", refused.text);
    assert!(!refused.header("retry-after").is_empty());
    turn("off").await;
    until("events to be taken again", async || {
        let reply = tenant.post("/events", &event).await;
        if reply.status == 202 { Ok(()) } else { Err(format!("{} {}", reply.status, reply.text)) }
    })
    .await;
}
