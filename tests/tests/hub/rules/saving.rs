use serde_json::{Value, json};
use switchyard_tests::{
    api::{Tenant, faulty, text},
    hub::Hub,
    world::bundled,
};

use super::{noting, order, put, settled, world};

/// What is said of rules that must not be saved.
async fn refused(tenant: &Tenant, rules: Value) -> Value {
    let wanted = json!({"rules": rules, "own_types": ["order.placed", "note.made"]});
    tenant.api.put(&tenant.path("/rules"), &wanted).await.problem(400, "invalid_request")
}

#[tokio::test]
async fn a_fault_names_rule_field_line_and_column_and_nothing_is_saved() {
    let (hub, tenant) = world().await;
    let _ = hub.push(bundled("twilio")).await.expect(201);
    let _ = put(&tenant, json!([noting("before", json!({}))])).await;
    let problem = refused(
        &tenant,
        json!([
            noting("sound", json!({})),
            noting("broken", json!({"when": "data.total > 1 &&\n  dta.x"})),
            noting("short", json!({"emit": [{"type": "sms.send", "data": "{\n 'to': data.phone}"}]})),
            noting("unknown", json!({"on": "order.plcaed"})),
        ]),
    )
    .await;
    assert_eq!(faulty(&problem), ["rules[1].when", "rules[2].emit[0].data", "rules[3].on"], "{problem}");
    let said = |n: usize| text(&problem["errors"][n], "message");
    assert!(said(0).contains("rule `broken`, line 2, column 3") && said(0).contains("`dta`"), "{problem}");
    assert!(said(1).contains("lacks body"), "{problem}");
    assert!(said(2).contains("order.placed"), "{problem}");
    let still = tenant.get("/rules").await.expect(200);
    assert_eq!((&still["rules"][0]["name"], &still["version"]), (&json!("before"), &json!(1)));
}

#[tokio::test]
async fn the_config_of_the_installation_is_checked_alike() {
    let (_hub, tenant) = world().await;
    let config = json!({"rules": [noting("r", json!({"when": "data."}))], "own_types": ["order.placed", "note.made"]});
    let wanted = json!({"config": config, "grants": ["emits:*"]});
    let problem = tenant.api.put(&tenant.path("/plugins/rules"), &wanted).await.problem(400, "invalid_request");
    assert_eq!(faulty(&problem), ["config.rules[0].when"], "{problem}");
    let config = json!({"rules": [noting("r", json!({}))], "own_types": ["order.placed", "note.made"]});
    let problem = tenant.api.put(&tenant.path("/plugins/rules"), &json!({"config": config, "grants": []})).await;
    let problem = problem.problem(400, "invalid_request");
    assert_eq!(faulty(&problem), ["config.rules[0].emit[0].type"], "{problem}");
    assert!(problem.to_string().contains("grant `emits:note.made`"), "{problem}");
}

#[tokio::test]
async fn every_change_is_a_version_and_an_earlier_one_comes_back() {
    let (_hub, tenant) = world().await;
    let _ = put(&tenant, json!([noting("one", json!({}))])).await;
    let _ = put(&tenant, json!([noting("one", json!({}))])).await;
    let second = put(&tenant, json!([noting("two", json!({}))])).await;
    assert_eq!(second["version"], 2, "the same again is no version");
    let back = tenant.post("/rules/rollback", &json!({"version": 1})).await.expect(200);
    assert_eq!((&back["version"], &back["rules"][0]["name"]), (&json!(3), &json!("one")));
    let versions = tenant.all("/rules/versions").await;
    let shown: Vec<_> = versions.iter().map(|version| (&version["version"], &version["rules"][0]["name"])).collect();
    assert_eq!(shown, [(&json!(3), &json!("one")), (&json!(2), &json!("two")), (&json!(1), &json!("one"))]);
    assert!(text(&versions[0], "made_by").starts_with("key_") || !text(&versions[0], "made_by").is_empty());
    let _ = tenant.post("/rules/rollback", &json!({"version": 9})).await.problem(404, "not_found");
    let _ = order(&tenant, json!({"number": 1})).await;
    assert_eq!(super::events(&tenant, "note.made", 1).await[0]["data"]["by"], "one");
}

#[tokio::test]
async fn rules_come_back_after_a_restart_and_other_tenants_do_not_see_them() {
    let (mut hub, tenant) = world().await;
    let other = hub.tenant("other").await;
    let _ = put(&tenant, json!([noting("kept", json!({}))])).await;
    hub.kill().await;
    hub.restart().await;
    let _ = order(&tenant, json!({"number": 1})).await;
    assert_eq!(settled(&tenant).await, 1);
    assert_eq!(other.get("/rules").await.expect(200)["rules"], json!([]));
    assert!(other.all("/rules/versions").await.is_empty());
    let reader = hub.key(&json!({"tenant": "acme", "scope": "reader"})).await;
    let reader = tenant.with_key(&reader);
    let _ = reader.get("/rules").await.expect(200);
    let _ = reader.api.put(&reader.path("/rules"), &json!({"rules": []})).await.problem(403, "forbidden");
    let _ = reader.post("/rules/rollback", &json!({"version": 1})).await.problem(403, "forbidden");
}

#[tokio::test]
async fn without_the_plugin_rules_are_refused_with_what_is_missing() {
    let hub = Hub::start().await;
    let tenant = hub.tenant("acme").await;
    let wanted = json!({"rules": []});
    let _ = tenant.api.put(&tenant.path("/rules"), &wanted).await.problem(404, "not_found");
}
