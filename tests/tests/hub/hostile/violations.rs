use serde_json::{Value, json};
use switchyard_tests::{
    api::{Tenant, text},
    hub::Hub,
};

use super::{Provider, command, delivery, done, emitted, hub, in_state, install, patched, tenant};

/// The most that the process has held at once, in KiB.
fn peak_kib(hub: &Hub) -> u64 {
    let process = hub.process_id().expect("the hub runs");
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the system tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// What the guest is told to do, and the code under which its failure is explained.
fn violations() -> Vec<(Value, &'static str)> {
    let plain = |what: &str| json!({"do": what});
    let much = |what: &str, n: u64| json!({"do": what, "n": n});
    vec![
        (plain("loop"), "cpu_limit"),
        (plain("kv_until_stopped"), "cpu_limit"),
        (plain("http_until_stopped"), "cpu_limit"),
        (much("fill", 1 << 40), "cpu_limit"),
        (much("stderr", 1 << 40), "cpu_limit"),
        (much("sleep", 60_000), "wall_limit"),
        (much("alloc", 1 << 40), "memory_limit"),
        (much("recurse", u64::MAX), "trap"),
        (plain("panic"), "trap"),
        (plain("trap"), "trap"),
        (plain("exit"), "trap"),
        (plain("utf8"), "trap"),
        (much("output", 2 << 20), "output_limit"),
        (much("output", 12 << 20), "output_limit"),
        (much("deep_json", 100_000), "malformed_result"),
        (plain("bad_json"), "malformed_result"),
        (json!({"do": "emit", "type": "order.placed"}), "emit_not_granted"),
        (json!({"do": "emit", "type": "delivery.died"}), "emit_not_granted"),
        (json!({"do": "emit", "type": "no type"}), "emit_type"),
        (json!({"do": "emit", "type": "test.done", "emergency": true}), "emit_emergency"),
        (json!({"do": "emit", "type": "test.done", "account": "other"}), "emit_account"),
        (plain("kv_read_whole"), "journal_limit"),
    ]
}

/// Rows F56 to F60: each violation ends one attempt, is explained, and is noticed by nobody else.
#[tokio::test]
async fn f56_to_f60_every_violation_ends_its_attempt_and_is_explained_while_others_go_on() {
    let hub = hub().await;
    let (mallory, alice) = (tenant(&hub, "mallory", json!({})).await, tenant(&hub, "alice", json!({})).await);
    // A value to be read too often.
    assert_eq!(done(&mallory, json!({"do": "kv_fill", "n": 1})).await["stored"], 1);
    let _ = done(&alice, json!({"do": "ok"})).await;
    let (before, process) = (peak_kib(&hub), hub.process_id());
    for (order, code) in violations() {
        let correlation = command(&mallory, &order).await;
        let dead = in_state(&mallory, &correlation, "dead").await;
        assert_eq!((&dead["reason"], &dead["code"]), (&json!("plugin_bug"), &json!(code)), "{order}: {dead}");
        assert!(text(&dead, "message").len() > 20, "{order} is not explained: {dead}");
        let attempts = dead["attempts"].as_array().expect("attempts");
        assert_eq!((attempts.len(), &attempts[0]["outcome"]), (1, &json!("failed")), "{order}: {dead}");
        assert_eq!(attempts[0]["plugin_version"], "0.1.0", "{order}");
        assert_eq!(done(&alice, json!({"do": "ok"})).await["tenant"], "alice", "after {order}");
        // A run that succeeds says that the version is not broken.
        let _ = done(&mallory, json!({"do": "ok"})).await;
    }
    assert_eq!(hub.process_id(), process, "the process lives");
    let grown = peak_kib(&hub) - before;
    println!("peak before {before} KiB, grown by {grown} KiB");
    assert!(grown < 400 << 10, "the hub grew by {grown} KiB, from {before}");
}

/// Row F57: several memory bombs at once stay within their runs' limits.
#[tokio::test]
async fn f57_memory_bombs_at_once_leave_the_hosts_memory_bounded() {
    let hub = hub().await;
    let (mallory, alice) = (tenant(&hub, "mallory", json!({})).await, tenant(&hub, "alice", json!({})).await);
    let _ = done(&alice, json!({"do": "ok"})).await;
    let before = peak_kib(&hub);
    let mut bombs = Vec::new();
    for _ in 0..4 {
        for order in
            [json!({"do": "alloc", "n": 1_u64 << 40}), json!({"do": "output", "n": 12 << 20}), json!({"do": "ok"})]
        {
            bombs.push((command(&mallory, &order).await, order));
        }
    }
    let _ = done(&alice, json!({"do": "ok"})).await;
    for (correlation, order) in bombs {
        let ended =
            |delivery: &Value| ["dead", "delivered", "held"].contains(&delivery["state"].as_str().unwrap_or(""));
        let ended = delivery(&mallory, &correlation, "ended", ended).await;
        // Where memory is slow to come by, the time for it runs out before the memory.
        let codes = ["memory_limit", "output_limit", "cpu_limit", "version_broken"].map(|code| json!(code));
        assert!(ended["code"].is_null() || codes.contains(&ended["code"]), "{order}: {ended}");
    }
    let grown = peak_kib(&hub) - before;
    println!("peak before {before} KiB, grown by {grown} KiB");
    // At most eight runs of an installation at once, each of 64 MiB and what it hands over.
    assert!(grown < 700 << 10, "the hub grew by {grown} KiB, from {before}");
}

/// Row F59: a version that keeps trapping is broken for the tenant: its deliveries are held, not failed.
#[tokio::test]
async fn f59_a_version_that_keeps_trapping_is_broken_for_its_tenant_alone_until_a_person_says_go_on() {
    let hub = hub().await;
    let (mallory, alice) = (tenant(&hub, "mallory", json!({})).await, tenant(&hub, "alice", json!({})).await);
    for _ in 0..5 {
        let correlation = command(&mallory, &json!({"do": "panic"})).await;
        let ended = in_state(&mallory, &correlation, "dead").await;
        assert!(text(&ended, "message").contains("a planted panic"), "{ended}");
    }
    let held = in_state(&mallory, &command(&mallory, &json!({"do": "ok"})).await, "held").await;
    assert_eq!((&held["reason"], &held["code"]), (&json!("plugin_bug"), &json!("version_broken")), "{held}");
    let shown = mallory.get("/plugins/misbehave").await.expect(200);
    assert_eq!(shown["hold"]["code"], "version_broken", "{shown}");
    // The same version serves the other tenant.
    let _ = done(&alice, json!({"do": "ok"})).await;
    assert!(alice.get("/plugins/misbehave").await.expect(200)["hold"].is_null());
    install(&mallory, json!({})).await;
    let _ = in_state(&mallory, &text(&held, "correlation_id"), "delivered").await;
}

/// Row F59 at the door: what the version traps on is parked, and after five in a row it is not asked any more.
#[tokio::test]
async fn f59_a_version_that_keeps_trapping_on_requests_is_broken_and_its_requests_are_parked_unseen() {
    let hub = hub().await;
    let mallory = tenant(&hub, "mallory", json!({})).await;
    let source = text(&mallory.get("/plugins/misbehave").await.expect(200)["sources"][0], "url");
    for _ in 0..5 {
        let answered = hub.without_key().raw("POST", &source, &[], r#"{"do":"panic"}"#.to_owned()).await;
        assert_eq!(answered.status, 503, "{}", answered.text);
    }
    let answered = hub.without_key().raw("POST", &source, &[], r#"{"do":"ok"}"#.to_owned()).await;
    assert_eq!(answered.status, 503, "{}", answered.text);
    let parked = mallory.list("/parked").await;
    let codes: Vec<_> = parked.iter().map(|request| text(request, "code")).collect();
    assert!(codes.iter().any(|code| code == "version_broken"), "{codes:?}");
    assert_eq!(parked.len(), 6, "{codes:?}");
    assert_eq!(mallory.list("/events?type=plugin.broken").await.len(), 1);
    let shown = mallory.get("/plugins/misbehave").await.expect(200);
    assert_eq!(shown["hold"]["code"], "version_broken", "{shown}");
}

/// What a command emitted that moves many bytes: on a busy machine it may need more than one try for its CPU time.
async fn done_in_time(tenant: &Tenant, order: Value) -> Value {
    for _ in 0..4 {
        let correlation = command(tenant, &order).await;
        let ended = |run: &Value| run["state"] == "delivered" || run["code"] == "cpu_limit";
        if delivery(tenant, &correlation, "delivered or cut", ended).await["state"] == "delivered" {
            return emitted(tenant, &correlation).await;
        }
    }
    panic!("{order} never had time enough");
}

/// Row F60: floods cost the guest its budget and nobody else anything.
#[tokio::test]
async fn f60_floods_of_reads_lines_and_calls_are_cut_to_their_budgets() {
    let (hub, provider) = (hub().await, Provider::start().await);
    let tenant = tenant(&hub, "mallory", json!({})).await;
    let connection =
        provider.connection(&tenant, "header", json!({"name": "x-token", "value": "t0ken-of-a-flood"})).await;
    install(&tenant, json!({"connections": {"provider": connection}})).await;
    // The connection's own rate is lower still: what it holds back counts as a call.
    let seen = done(&tenant, json!({"do": "http_flood", "n": 100})).await;
    assert_eq!(seen["exhausted"], 36, "{seen}");
    let sent = provider.seen().len() as u64;
    assert!(sent > 0 && sent <= 64 && seen["answered"] == sent, "{sent} calls were sent: {seen}");
    let seen = done(&tenant, json!({"do": "kv_flood", "n": 10_000})).await;
    assert_eq!(seen, json!({"answered": 2_000, "exhausted": 8_000}));
    let correlation = command(&tenant, &json!({"do": "logs", "n": 10_000})).await;
    let run = in_state(&tenant, &correlation, "delivered").await;
    assert_eq!(run["attempts"][0]["detail"]["log"].as_array().map(Vec::len), Some(1_000), "the lines kept");
    for (what, n) in [("kv_flood", 1_000_000), ("logs", 1_000_000)] {
        let correlation = command(&tenant, &json!({"do": what, "n": n})).await;
        let ended = |run: &Value| run["state"] == "delivered" || run["code"] == "cpu_limit";
        let _ = delivery(&tenant, &correlation, "delivered or cut", ended).await;
    }
    // 16 MiB is the most that an installation keeps, and values that replace each other count once. To move so much takes
    // a slow machine more CPU time than a call has unless it asks for more.
    let hub = Hub::builder().time_factor(1).start().await;
    let _ = hub.push(patched("describe-mode-0", "describe-mode-p")).await.expect(201);
    let tenant = super::tenant(&hub, "mallory", json!({})).await;
    assert_eq!(done_in_time(&tenant, json!({"do": "kv_rewrite", "n": 85})).await["stored"], 85);
    let stored = done_in_time(&tenant, json!({"do": "kv_fill", "n": 80})).await["stored"].as_u64().expect("a number");
    assert!((62..64).contains(&stored), "{stored} values of 256 KiB beside one of 200 KiB");
    let again = done_in_time(&tenant, json!({"do": "kv_fill", "n": stored})).await;
    assert_eq!(again["stored"], stored, "the same again fits");
}
