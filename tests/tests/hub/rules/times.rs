use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};
use switchyard_tests::{
    api::{Tenant, faulty, text, until},
    hub::Hub,
};

use super::{events, put, world};

/// A rule that runs at two in the night.
fn nightly(more: Value) -> Value {
    let mut rule = json!({"name": "nightly", "on": "schedule", "cron": "0 2 * * *", "time_zone": "Europe/Copenhagen",
        "emit": [{"type": "note.made", "data": "{'of': data.schedule, 'missed': data.missed}"}]});
    rule.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    rule
}

async fn schedule(tenant: &Tenant) -> Value {
    tenant.list("/schedules").await.into_iter().find(|row| row["id"] == "rules:nightly").expect("the schedule")
}

/// Makes the schedule due so many hours before its time, while the hub is stopped.
async fn due_hours_before(hub: &Hub, hours: i64) {
    let url = format!("sqlite:{}", hub.database().display());
    let mut conn = SqliteConnection::connect(&url).await.expect("the file");
    let moved = sqlx::query("update schedule set due_at = due_at - ? * 3600000")
        .bind(hours)
        .execute(&mut conn)
        .await
        .expect("it is moved");
    assert_eq!(moved.rows_affected(), 1);
    conn.close().await.expect("it closes");
}

#[tokio::test]
async fn a_rule_at_a_time_waits_for_its_time_and_runs_now_when_asked() {
    let (_hub, tenant) = world().await;
    let _ = put(&tenant, json!([nightly(json!({}))])).await;
    let before = schedule(&tenant).await;
    assert_eq!((&before["cron"], &before["time_zone"]), (&json!("0 2 * * *"), &json!("Europe/Copenhagen")), "{before}");
    assert_eq!((&before["kind"], &before["missed_policy"]), (&json!("rule"), &json!("run_once")));
    assert_eq!((&before["last_success_at"], &before["missed"]), (&Value::Null, &json!(0)));
    let due = text(&before, "due_at");
    assert!(due.ends_with("01:00:00.000Z") || due.ends_with("00:00:00.000Z"), "{due}");
    assert!(tenant.list("/events?type=note.made").await.is_empty(), "a new schedule does not run at once");
    let _ = tenant.post("/schedules/rules:nightly/run", &json!({})).await.expect(202);
    let note = events(&tenant, "note.made", 1).await.remove(0);
    assert_eq!(note["data"], json!({"of": "nightly", "missed": 0}));
    let after = until("the run to be noted", async || {
        let now = schedule(&tenant).await;
        if now["last_success_age_s"].is_u64() { Ok(now) } else { Err(now.to_string()) }
    })
    .await;
    assert_eq!(after["due_at"], before["due_at"], "the next time is the one of the clock");
    let _ = tenant.post("/schedules/rules:other/run", &json!({})).await.problem(404, "not_found");
    let _ = tenant.post("/schedules/nonsense/run", &json!({})).await.problem(404, "not_found");
    let off = json!({"mode": "off", "grants": ["emits:*"], "config": {"rules": [nightly(json!({}))], "own_types": ["note.made"]}});
    let _ = tenant.install("rules", &off).await;
    let _ = tenant.post("/schedules/rules:nightly/run", &json!({})).await.problem(409, "conflict");
}

#[tokio::test]
async fn other_times_are_in_force_at_once_and_a_rule_that_is_gone_runs_no_more() {
    let (_hub, tenant) = world().await;
    let _ = put(&tenant, json!([nightly(json!({}))])).await;
    let before = schedule(&tenant).await;
    let _ = put(&tenant, json!([nightly(json!({"description": "the same times"}))])).await;
    assert_eq!(schedule(&tenant).await["due_at"], before["due_at"]);
    let _ = put(&tenant, json!([nightly(json!({"cron": "30 2 * * *", "jitter_s": 60}))])).await;
    let changed = schedule(&tenant).await;
    assert_ne!(changed["due_at"], before["due_at"]);
    assert_eq!(changed["jitter_s"], 60);
    let _ = put(&tenant, json!([nightly(json!({"mode": "off"}))])).await;
    assert!(tenant.list("/schedules").await.is_empty());
}

#[tokio::test]
async fn a_missed_time_runs_once_or_not_at_all_and_is_told() {
    for (policy, notes) in [("run_once", 1), ("skip", 0)] {
        let (mut hub, tenant) = world().await;
        let hourly = nightly(json!({"cron": "0 * * * *", "missed": policy}));
        let _ = put(&tenant, json!([hourly])).await;
        let _ = hub.stop().await;
        due_hours_before(&hub, 4).await;
        hub.restart().await;
        let told = events(&tenant, "schedule.missed", 1).await.remove(0);
        assert_eq!((&told["data"]["schedule"], &told["data"]["policy"]), (&json!("nightly"), &json!(policy)), "{told}");
        let missed = told["data"]["missed"].as_u64().expect("a number");
        assert!((3..=5).contains(&missed), "{told}");
        let found = events(&tenant, "note.made", notes).await;
        assert!(found.iter().all(|note| note["data"]["missed"] == missed), "{found:?}");
        let shown = until("the schedule to wait for its next time", async || {
            let now = schedule(&tenant).await;
            let waits = now["due_at"].is_string() && now["missed"] == missed;
            if waits { Ok(now) } else { Err(now.to_string()) }
        })
        .await;
        assert!(text(&shown, "due_at") > text(&shown, "missed_at"), "{shown}");
        let metrics = tenant.api.get("/metrics").await.text;
        assert!(metrics.contains(&format!("switchyard_schedule_missed_total {missed}")), "{policy}: it is counted");
    }
}

#[tokio::test]
async fn an_installation_has_times_of_its_own_for_the_schedules_of_its_plugin() {
    let (hub, tenant) = world().await;
    let billy = switchyard_tests::world::billy().await;
    let _ = hub.push(switchyard_tests::world::bundled("billy")).await.expect(201);
    let connection = tenant.connection(&switchyard_tests::world::billy_connection(&billy.base_url())).await;
    let config = json!({"organization_id": billy.organization_id(), "product_id": billy.product_id()});
    let wanted = |schedules: Value| json!({"connections": {"billy": connection}, "grants": ["emits:*"], "config": config, "schedules": schedules});
    let installed = tenant.install("billy", &wanted(json!({}))).await;
    let name = text(&installed["schedules"][0], "name");
    let wrong = |schedules: Value| {
        let (tenant, wanted) = (tenant.clone(), wanted(schedules));
        async move { tenant.api.put(&tenant.path("/plugins/billy"), &wanted).await.problem(400, "invalid_request") }
    };
    assert_eq!(faulty(&wrong(json!({"nothing": {"cron": "0 2 * * *"}})).await), ["schedules.nothing"]);
    let field = format!("schedules.{name}.cron");
    assert_eq!(faulty(&wrong(json!({(&name): {"cron": "0 0 31 2 *"}})).await), [field.as_str()]);
    let own = json!({(&name): {"cron": "15 4 * * *", "time_zone": "Europe/Copenhagen", "missed": "skip"}});
    let _ = tenant.install("billy", &wanted(own)).await;
    let row = tenant.list("/schedules").await.into_iter().find(|row| row["name"] == name.as_str()).expect("it");
    assert_eq!(
        (&row["cron"], &row["missed_policy"], &row["kind"]),
        (&json!("15 4 * * *"), &json!("skip"), &json!("poll"))
    );
}
