use serde_json::json;
use switchyard_tests::{
    api::text,
    world::{bundled, subscriber},
};

use super::{PLUGIN, events, noting, order, put, settled, world};

#[tokio::test]
async fn a_rule_emits_what_it_says_and_an_event_that_no_rule_wants_makes_no_delivery() {
    let ((_hub, tenant), at) = (world().await, subscriber().await);
    let endpoint = tenant.endpoint(&at, "/notes", &["note.made"], json!({})).await;
    let when = json!({"when": "data.total > 100 && data.customer.matches('^A')"});
    let _ = put(&tenant, json!([noting("large", when)])).await;
    let _ = order(&tenant, json!({"number": 1, "total": 50, "customer": "Ada"})).await;
    let wanted = order(&tenant, json!({"number": 2, "total": 150, "customer": "Ada"})).await;
    let note = events(&tenant, "note.made", 1).await.remove(0);
    assert_eq!(note["data"], json!({"by": "large", "number": 2}));
    assert_eq!(note["correlation_id"], wanted["correlation_id"], "one trace");
    assert_eq!(note["extensions"]["rule"], "large");
    let _ = tenant.delivery_in(&endpoint, "delivered").await;
    assert_eq!(settled(&tenant).await, 1, "the small order is no work for the rules");
}

#[tokio::test]
async fn a_bad_rule_stops_neither_another_rule_nor_another_tenant() {
    let (hub, tenant) = world().await;
    let other = hub.tenant("other").await;
    let broken = noting("broken", json!({"emit": [{"type": "note.made", "data": "{'x': data.missing}"}]}));
    let _ = put(&tenant, json!([broken, noting("sound", json!({}))])).await;
    let _ = put(&other, json!([noting("theirs", json!({}))])).await;
    let _ = order(&tenant, json!({"number": 7})).await;
    let _ = order(&other, json!({"number": 8})).await;
    assert_eq!(events(&tenant, "note.made", 1).await[0]["data"]["by"], "sound");
    assert_eq!(events(&other, "note.made", 1).await[0]["data"], json!({"by": "theirs", "number": 8}));
    let told = events(&tenant, "rule.failed", 1).await.remove(0);
    assert_eq!((&told["data"]["rule"], &told["data"]["field"]), (&json!("broken"), &json!("emit[0].data")));
    assert!(text(&told["data"], "message").contains("`missing`"), "{told}");
}

#[tokio::test]
async fn once_per_and_throttle_hold_over_retries_and_replays() {
    let (mut hub, tenant) = world().await;
    let once = noting("once", json!({"once_per": "data.customer"}));
    let throttled = noting("throttled", json!({"throttle": {"count": 2, "period_s": 86_400, "key": "data.shop"}}));
    let _ = put(&tenant, json!([once, throttled])).await;
    let mut ids = Vec::new();
    for (number, customer, shop) in [(1, "ada", "a"), (2, "ada", "a"), (3, "bo", "a"), (4, "ada", "b")] {
        let said = order(&tenant, json!({"number": number, "customer": customer, "shop": shop})).await;
        ids.push(text(&said, "id"));
        assert_eq!(settled(&tenant).await, ids.len());
    }
    let emitted = async || {
        let mut numbers: Vec<_> = tenant
            .all("/events?type=note.made")
            .await
            .iter()
            .map(|note| (text(&note["data"], "by"), note["data"]["number"].as_i64().expect("a number")))
            .collect();
        numbers.sort();
        numbers
    };
    let expected: Vec<(String, i64)> = [("once", 1), ("once", 3), ("throttled", 1), ("throttled", 2), ("throttled", 4)]
        .map(|(by, number)| (by.to_owned(), number))
        .into();
    assert_eq!(emitted().await, expected);
    hub.kill().await;
    hub.restart().await;
    let again = json!({"target": PLUGIN, "include_delivered": true});
    let replayed = tenant.post("/dead-letters/replay", &again).await.expect(202);
    assert_eq!(replayed["replayed"], 4, "{replayed}");
    settled(&tenant).await;
    assert_eq!(emitted().await, expected, "a replay emits nothing twice");
}

#[tokio::test]
async fn a_shadow_is_evaluated_and_recorded_and_emits_nothing() {
    let (_hub, tenant) = world().await;
    let _ = put(&tenant, json!([noting("careful", json!({"mode": "shadow"}))])).await;
    let _ = order(&tenant, json!({"number": 1})).await;
    let delivery = tenant.delivery_in(PLUGIN, "delivered").await;
    let log = delivery["attempts"][0].to_string();
    assert!(log.contains("careful") && log.contains("shadow"), "{delivery}");
    assert!(tenant.list("/events?type=note.made").await.is_empty());
}

#[tokio::test]
async fn a_circle_of_rules_is_warned_of_and_cut_and_its_rule_is_named() {
    let (_hub, tenant) = world().await;
    let link =
        |name: &str, on: &str, emits: &str| json!({"name": name, "on": on, "emit": [{"type": emits, "data": "data"}]});
    let saved =
        put(&tenant, json!([link("forth", "order.noted", "order.told"), link("back", "order.told", "order.noted")]))
            .await;
    let warning = text(&json!({"w": saved["warnings"][0]}), "w");
    assert!(warning.contains("forth, back") && warning.contains("16"), "{saved}");
    let said = tenant.publish(&json!({"type": "order.noted", "data": {"n": 1}})).await;
    let dead = tenant.delivery_in(PLUGIN, "dead").await;
    assert_eq!((&dead["reason"], &dead["code"]), (&json!("config"), &json!("loop")), "{dead}");
    let trace = tenant.get(&format!("/traces/{}", text(&said, "correlation_id"))).await.expect(200).to_string();
    assert!(
        trace.contains("rules set each other off, and the rule `back`") || trace.contains("the rule `forth`"),
        "{trace}"
    );
    let all = tenant.all("/events?type=order.noted").await.len() + tenant.all("/events?type=order.told").await.len();
    assert!(all <= 18, "{all}");
}

#[tokio::test]
async fn a_command_of_a_rule_goes_to_its_handler() {
    let (hub, tenant) = world().await;
    let _ = hub.push(bundled("twilio")).await.expect(201);
    let texting = noting(
        "texting",
        json!({"emit": [{"type": "sms.send", "data": "{'to': data.phone, 'body': 'Order ' + string(data.number)}"}]}),
    );
    let _ = put(&tenant, json!([texting])).await;
    let _ = order(&tenant, json!({"phone": "+4520123456", "number": 9})).await;
    let dead = tenant.delivery_in("unrouted", "dead").await;
    assert_eq!((&dead["event_type"], &dead["code"]), (&json!("sms.send"), &json!("no_handler")), "{dead}");
}
