use serde_json::{Value, json};
use switchyard_tests::api::text;

use super::{events, noting, order, put, settled, world};

fn outcomes(event: &Value) -> Vec<(String, String)> {
    let rules = event["rules"].as_array().expect("rules");
    rules.iter().map(|rule| (text(rule, "name"), text(rule, "outcome"))).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, outcome)| ((*name).to_owned(), (*outcome).to_owned())).collect()
}

#[tokio::test]
async fn a_trial_says_what_matches_why_not_and_what_would_be_emitted() {
    let (_hub, tenant) = world().await;
    let rules = json!([
        noting("matches", json!({"when": "data.total > 100", "once_per": "data.number"})),
        noting("false", json!({"when": "data.total > 1000"})),
        noting("failing", json!({"when": "data.nothing == 1"})),
        noting("elsewhere", json!({"on": "order.told"})),
        noting("off", json!({"mode": "off"})),
        noting("shadow", json!({"mode": "shadow"})),
        noting("unmade", json!({"emit": [{"type": "note.made", "data": "{'x': data.total + 'a'}"}]})),
    ]);
    let own_types = json!(["order.placed", "order.told", "note.made"]);
    let trial = json!({"rules": rules, "own_types": own_types,
        "events": [{"type": "order.placed", "data": {"number": 3, "total": 150}}]});
    let tried = tenant.post("/rules/test", &trial).await.expect(200);
    assert_eq!(tried["faults"], json!([]), "{tried}");
    let event = &tried["events"][0];
    let expected = [
        ("matches", "emits"),
        ("false", "condition_false"),
        ("failing", "condition_failed"),
        ("elsewhere", "other_type"),
        ("off", "off"),
        ("shadow", "would_emit"),
        ("unmade", "fails"),
    ];
    assert_eq!(outcomes(event), pairs(&expected), "{event}");
    assert_eq!(event["rules"][0]["emits"][0]["data"], json!({"by": "matches", "number": 3}));
    assert_eq!(event["rules"][0]["once"], true);
    assert!(text(&event["rules"][2], "why").contains("`nothing`"), "{event}");
    assert!(tenant.list("/events").await.is_empty(), "nothing was emitted");
    assert_eq!(tenant.get("/rules").await.expect(200)["version"], Value::Null, "nothing was saved");
}

#[tokio::test]
async fn rules_in_force_are_tried_on_recent_events_and_faulty_ones_are_named() {
    let (_hub, tenant) = world().await;
    let _ = put(&tenant, json!([noting("large", json!({"when": "data.total > 100"}))])).await;
    for total in [50, 150] {
        let _ = order(&tenant, json!({"number": total, "total": total})).await;
    }
    assert_eq!(settled(&tenant).await, 1);
    let _ = events(&tenant, "note.made", 1).await;
    let tried = tenant.post("/rules/test", &json!({"recent": {"type": "order.*"}})).await.expect(200);
    let found: Vec<_> = tried["events"].as_array().expect("events").iter().map(outcomes).collect();
    assert_eq!(found, [pairs(&[("large", "emits")]), pairs(&[("large", "condition_false")])], "{tried}");
    let faulty = json!({"rules": [noting("r", json!({"when": "(((("})), noting("s", json!({}))],
        "own_types": ["order.placed", "note.made"], "recent": {"type": "order.placed", "limit": 1}});
    let tried = tenant.post("/rules/test", &faulty).await.expect(200);
    assert_eq!((&tried["faults"][0]["rule"], &tried["faults"][0]["line"]), (&json!("r"), &json!(1)), "{tried}");
    assert_eq!(outcomes(&tried["events"][0]), pairs(&[("s", "emits")]));
    let _ = tenant.post("/rules/test", &json!({"recent": {"limit": 51}})).await.problem(400, "invalid_request");
}

#[tokio::test]
async fn a_trial_shows_when_rules_at_times_run() {
    let (_hub, tenant) = world().await;
    let rule = json!({"name": "nightly", "on": "schedule", "cron": "0 2 * * *", "time_zone": "Europe/Copenhagen",
        "emit": [{"type": "note.made", "data": "{'at': data.due_at}"}]});
    let trial = json!({"rules": [rule], "own_types": ["note.made"], "events": []});
    let tried = tenant.post("/rules/test", &trial).await.expect(200);
    let schedule = &tried["schedules"][0];
    assert_eq!((&schedule["name"], &schedule["outcome"]), (&json!("nightly"), &json!("emits")), "{tried}");
    assert_eq!(schedule["next"].as_array().map(Vec::len), Some(3));
}
