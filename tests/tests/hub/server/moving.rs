use std::{collections::BTreeSet, fmt::Write as _};

use serde_json::{Value, json};
use switchyard_simulators::subscriber::{Script, Step};
use switchyard_tests::{
    api::{Tenant, text, until},
    database::Database,
    hub::Hub,
    world::{bundled, guest, lifecycle_guest, sender_config, sender_connection, sender_signature, subscriber},
};

use super::number;

/// The file of a hub that is not on a server yet.
fn file_of(hub: &Hub) -> String {
    format!("sqlite:{}", hub.database().display())
}

/// Moves what a stopped hub has in its file to a database.
async fn moved(hub: &Hub, database: &Database, more: &[&str]) -> switchyard_tests::hub::Said {
    let (from, to) = (file_of(hub), database.url());
    let mut args = vec!["migrate", "move", "--from", &from, "--to", &to];
    args.extend(more);
    hub.run(&args, &[]).await
}

/// What an admin sees of a tenant that does not change by itself.
async fn seen(tenant: &Tenant) -> String {
    let mut seen = String::new();
    for list in ["/events", "/plugins", "/connections", "/endpoints", "/rejections", "/audit"] {
        let mut rows = tenant.list(list).await;
        for row in &mut rows {
            // The last success and the queue move on while the hub runs.
            if let Some(row) = row.as_object_mut() {
                row.retain(|name, _| {
                    !["health", "last_success", "updated_at", "failing_since", "schedules"].contains(&name.as_str())
                });
            }
        }
        let _ = writeln!(seen, "{list}: {}", json!(rows));
    }
    seen
}

async fn make_busy(hub: &Hub, tenant: &Tenant, at: &switchyard_simulators::subscriber::Handle) -> Busy {
    for wasm in [bundled("webhook"), guest("hello_plugin"), lifecycle_guest("1.0.0")] {
        let _ = hub.push(wasm).await.expect(201);
    }
    let hanging = tenant.endpoint(at, "/hanging", &["a.hangs"], json!({"timeout_ms": 15000})).await;
    at.set_script("/hanging", Script::always(Step::Hang));
    let failing = tenant.endpoint(at, "/failing", &["a.fails"], json!({"retry_schedule": [0, 86400]})).await;
    at.set_script("/failing", Script::statuses(&[500, 200]));
    let paused = tenant.endpoint(at, "/paused", &["a.waits"], json!({"ordered": true})).await;
    let _ = tenant.post(&format!("/endpoints/{paused}/pause"), &json!({})).await.expect(200);
    let dead = tenant.endpoint(at, "/dead", &["a.dies"], json!({"retry_schedule": [0]})).await;
    at.set_script("/dead", Script::statuses(&[400]));
    let connection = tenant.connection(&sender_connection()).await;
    let wanted =
        json!({"config": sender_config("order.placed"), "connections": {"inbound": connection}, "grants": ["emits:*"]});
    let url = text(&tenant.install("webhook", &wanted).await["sources"][0], "url");
    let _ = tenant.install("lifecycle", &json!({"grants": ["emits:*"]})).await;
    for n in 0..20 {
        let event = json!({"type": "a.waits", "id": format!("waits-{n}"), "data": {"n": n}, "ordering_key": "one"});
        let _ = tenant.publish(&event).await;
    }
    for kind in ["a.hangs", "a.fails", "a.dies"] {
        let _ = tenant.publish(&json!({"type": kind, "data": {"text": "æøå \u{1f600}"}})).await;
    }
    let forged = hub.without_key().raw("POST", &url, &[("x-signature", "00")], "{}").await;
    assert_eq!(forged.status, 401);
    let _ = tenant
        .install("webhook", &{
            let mut off = wanted.clone();
            off["mode"] = "off".into();
            off
        })
        .await;
    let body = json!({"order": 7}).to_string();
    let signature = sender_signature(body.as_bytes());
    let parked = hub.without_key().raw("POST", &url, &[("x-signature", &signature)], body).await;
    assert_eq!(parked.status, 503, "{}", parked.text);
    let _ = tenant.publish(&json!({"type": "work.do", "data": {"n": 41, "write": false}})).await;
    let _ = worked(tenant, 41).await;
    let _ = tenant.delivery_in(&dead, "dead").await;
    let _ = tenant.delivery(&failing, "waiting", |delivery| delivery["state"] == "waiting").await;
    let _ = tenant.delivery(&hanging, "running", |delivery| delivery["state"] == "running").await;
    Busy { hanging, failing, paused, dead, wanted }
}

/// What the guest said of its work `n`, with what it remembered of the work before.
async fn worked(tenant: &Tenant, n: u64) -> Value {
    until("the guest's work", async || {
        let events = tenant.list("/events?type=work.done").await;
        let found = events.iter().find(|event| event["data"]["total"] == n).cloned();
        found.ok_or_else(|| json!(events).to_string())
    })
    .await
}

/// Endpoints with work in every state, and the installation that is off.
struct Busy {
    hanging: String,
    failing: String,
    paused: String,
    dead: String,
    wanted: Value,
}

#[tokio::test]
async fn a_busy_hub_moves_to_a_server_which_drains_what_was_under_way() {
    let at = subscriber().await;
    let mut hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let busy = make_busy(&hub, &tenant, &at).await;
    let before = seen(&tenant).await;
    let database = Database::fresh().await;
    let beside = moved(&hub, &database, &[]).await;
    assert!(beside.refusal().contains("another switchyard has"), "{}", beside.err);
    hub.kill().await;
    let done = moved(&hub, &database, &["--json"]).await.json();
    let rows = |name: &str| {
        let tables = done["tables"].as_array().expect("tables");
        tables.iter().find(|table| table["name"] == name).expect("the table")["rows"].clone()
    };
    assert!(rows("event").as_u64() >= Some(23) && rows("parked") == 1 && rows("rejection") == 1, "{done:#}");
    let elsewhere = Database::fresh().await;
    let again = moved(&hub, &elsewhere, &["--json"]).await.json();
    assert_eq!(again["tables"], done["tables"], "moving changes the file");
    let key = std::fs::read_to_string(hub.database().with_extension("key")).expect("its key");
    hub.set("SWITCHYARD_DATABASE_URL", &database.url());
    hub.set("SWITCHYARD_MASTER_KEYS", key.trim());
    at.set_script("/hanging", Script::statuses(&[200]));
    hub.restart().await;
    assert_eq!(seen(&tenant).await, before);
    // What ran when the hub died is given back and goes out.
    let _ = tenant.delivery_in(&busy.hanging, "delivered").await;
    assert_eq!(tenant.delivery_in(&busy.failing, "waiting").await["attempts"].as_array().map(Vec::len), Some(1));
    let _ = tenant.post(&format!("/endpoints/{}/resume", busy.paused), &json!({})).await.expect(200);
    until("what waited to be delivered in its order", async || {
        let order: Vec<Value> =
            at.requests("/paused").iter().map(|request| request.json()["data"]["n"].clone()).collect();
        if order == (0..20).map(Value::from).collect::<Vec<_>>() { Ok(()) } else { Err(json!(order).to_string()) }
    })
    .await;
    // What the plugin keeps has come along.
    let _ = tenant.publish(&json!({"type": "work.do", "data": {"n": 42, "write": false}})).await;
    assert_eq!(worked(&tenant, 42).await["data"]["seen"], 41);
    // The request that was parked is judged once its installation is back.
    let _ = tenant.install("webhook", &busy.wanted).await;
    until("the parked request to become an event", async || {
        let events = tenant.list("/events?type=order.placed").await;
        if events.len() == 1 { Ok(()) } else { Err(json!(events).to_string()) }
    })
    .await;
    at.set_script("/dead", Script::statuses(&[200]));
    let dead = tenant.delivery_in(&busy.dead, "dead").await;
    let replayed = tenant.post("/dead-letters/replay", &json!({"deliveries": [dead["id"]]})).await.expect(202);
    assert_eq!(replayed["replayed"], 1, "{replayed}");
    let _ = tenant.delivery_in(&busy.dead, "delivered").await;
    // An id that was used before the move is a duplicate after it.
    let again =
        tenant.publish(&json!({"type": "a.waits", "id": "waits-3", "data": {"n": 3}, "ordering_key": "one"})).await;
    assert_eq!(again["duplicate"], true, "{again}");
    let ids: BTreeSet<_> =
        at.requests("/hanging").iter().filter_map(|request| request.webhook_id().map(str::to_owned)).collect();
    assert_eq!(ids.len(), 1, "another event was sent");
}

#[tokio::test]
async fn only_an_empty_database_is_moved_to_and_what_does_not_fit_moves_nothing() {
    const EVENTS: &str = "select count(*) from event";
    let mut hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    assert!(hub.stop().await.success());
    let database = Database::fresh().await;
    let early = moved(&hub, &database, &["--dry-run"]).await;
    assert!(early.refusal().contains("does not have the schema yet"), "{}", early.err);
    let (url, keys) = (database.url(), switchyard_tests::hub::MASTER_KEYS);
    let there = [("SWITCHYARD_DATABASE_URL", url.as_str()), ("SWITCHYARD_MASTER_KEYS", keys)];
    let _ = hub.run(&["migrate", "--json"], &there).await.json();
    let dry = moved(&hub, &database, &["--dry-run"]).await;
    assert!(dry.success && dry.out.contains("would move"), "{dry:?}");
    // A text that the server cannot hold.
    change(&hub, "update event set subject = 'a' || char(0)").await;
    let unfit = moved(&hub, &database, &[]).await;
    assert!(unfit.refusal().contains("row of event does not fit"), "{}", unfit.err);
    assert_eq!(number(&database, "select count(*) from tenant").await, 0, "a part was moved");
    change(&hub, "update event set subject = null").await;
    let done = moved(&hub, &database, &[]).await;
    assert!(done.success && done.out.contains("counts and checksums"), "{done:?}");
    assert!(done.out.contains("SWITCHYARD_MASTER_KEYS to what"), "{}", done.out);
    assert_eq!(number(&database, EVENTS).await, 1);
    let again = moved(&hub, &database, &[]).await;
    assert!(again.refusal().contains("is not empty"), "{}", again.err);
    for (from, to, words) in [
        ("sqlite:./no-such.db", database.url(), "there is no database"),
        ("postgres://x@y/z", database.url(), "--from names no file"),
        ("sqlite:./hub.db", "sqlite:./other.db".to_owned(), "no PostgreSQL database"),
    ] {
        let said = hub.run(&["migrate", "move", "--from", from, "--to", &to], &[]).await;
        assert!(said.refusal().contains(words), "`{words}` is missing: {}", said.err);
    }
}

/// Changes a stopped hub's file.
async fn change(hub: &Hub, statement: &'static str) {
    use sqlx::Connection as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(hub.database());
    let mut conn = sqlx::SqliteConnection::connect_with(&options).await.expect("the file opens");
    sqlx::query(statement).execute(&mut conn).await.expect("the statement runs");
    conn.close().await.expect("closed");
}
