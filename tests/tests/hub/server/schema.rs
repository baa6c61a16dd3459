use serde_json::{Value, json};
use switchyard_tests::{database::Database, hub::Hub};

use super::{number, run};

const TABLES: &str = "select count(*) from pg_tables where schemaname = 'public' and tablename <> '_sqlx_migrations'";

fn steps(status: &Value) -> Vec<(i64, bool)> {
    let steps = status["steps"].as_array().expect("steps");
    steps.iter().map(|step| (step["number"].as_i64().expect("a number"), step["applied"] == true)).collect()
}

#[tokio::test]
async fn the_schema_goes_up_and_down_and_says_what_it_would_do() {
    let database = Database::fresh().await;
    let mut hub = Hub::builder().on(&database).prepare();
    let status = hub.run(&["migrate", "status", "--json"], &[]).await.json();
    let all = steps(&status);
    assert!(all.len() >= 7 && all.iter().all(|(_, applied)| !applied), "{status}");
    let dry = hub.run(&["migrate", "--dry-run", "--json"], &[]).await.json();
    assert_eq!(dry["pending"].as_array().map(Vec::len), Some(all.len()), "{dry}");
    assert_eq!(number(&database, TABLES).await, 0, "a dry run made tables");
    let up = hub.run(&["migrate", "up", "--to", "3", "--json"], &[]).await.json();
    assert_eq!(up["applied"], json!(["0001 registry", "0002 ledger", "0003 intake"]), "{up}");
    let _ = hub.run(&["migrate", "--json"], &[]).await.json();
    assert!(hub.run(&["migrate"], &[]).await.out.contains("nothing to do"));
    hub.restart().await;
    let tenant = hub.tenant("acme").await;
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    assert!(hub.stop().await.success());
    let asked = hub.run(&["migrate", "down", "--to", "1"], &[]).await;
    for words in ["0002 ledger", "1 rows of event", "pg_dump", "--yes"] {
        assert!(asked.refusal().contains(words), "`{words}` is missing: {}", asked.err);
    }
    let dry = hub.run(&["migrate", "down", "--to", "1", "--dry-run"], &[]).await;
    assert!(dry.success && dry.out.contains("would undo"), "{dry:?}");
    let down = hub.run(&["migrate", "down", "--to", "1", "--yes", "--json"], &[]).await.json();
    assert_eq!(down["lost"]["event"], 1, "{down}");
    let _ = hub.run(&["migrate", "--json"], &[]).await.json();
    hub.restart().await;
    let _ = hub.get("/v1/tenants/acme").await.expect(200);
    assert!(tenant.list("/events").await.is_empty());
    assert!(hub.stop().await.success());
    let _ = hub.run(&["migrate", "down", "--to", "0", "--yes", "--json"], &[]).await.json();
    assert_eq!(number(&database, TABLES).await, 0, "something stayed");
}

#[tokio::test]
async fn a_newer_step_keeps_this_version_away_unless_it_says_that_it_may_go_on() {
    let database = Database::fresh().await;
    let mut hub = Hub::builder().on(&database).prepare();
    let _ = hub.run(&["migrate", "--json"], &[]).await.json();
    run(
        &database,
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
         values (9999, 'from the future', true, '\\x00', 0)",
    )
    .await;
    let said = hub.refuses(&[]).await;
    assert!(said.contains("schema 9999") && said.contains("start the newer version"), "{said}");
    for args in [&["migrate"][..], &["migrate", "down", "--to", "1", "--yes"], &["doctor"]] {
        let ended = hub.run(args, &[]).await;
        assert!(!ended.success && format!("{}{}", ended.out, ended.err).contains("9999"), "{args:?}: {ended:?}");
    }
    run(&database, "insert into meta (name, value) values ('schema_compatible:9999', 'yes')").await;
    hub.restart().await;
    let tenant = hub.tenant("acme").await;
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    assert!(hub.stop().await.success());
    let status = hub.run(&["migrate", "status"], &[]).await;
    assert!(status.out.contains("beside which this one can go on"), "{}", status.out);
    let down = hub.run(&["migrate", "down", "--to", "1", "--yes"], &[]).await;
    assert!(down.refusal().contains("9999"), "{}", down.err);
}

#[tokio::test]
async fn the_doctor_sees_a_sound_server_and_tells_no_password() {
    let database = Database::fresh().await;
    let mut hub = Hub::builder().on(&database).prepare();
    let before = hub.run(&["doctor", "--json"], &[]).await;
    let missing = before.out.contains("steps") && before.out.contains("missing");
    assert!(missing, "{}", before.out);
    hub.restart().await;
    let _ = hub.tenant("acme").await;
    assert!(hub.stop().await.success());
    let report = hub.run(&["doctor", "--json"], &[]).await.json();
    let verdict = |name: &str| {
        let checks = report["checks"].as_array().expect("checks");
        let found = checks.iter().find(|check| check["check"] == name);
        found.unwrap_or_else(|| panic!("`{name}` was not looked at: {report:#}"))["verdict"].clone()
    };
    for name in ["settings", "database", "schema", "clock", "connections", "master keys", "data keys"] {
        assert_eq!(verdict(name), "ok", "{name}: {report:#}");
    }
}
