use serde_json::{Value, json};
use switchyard_simulators::subscriber::{Received, Script};
use switchyard_tests::{
    api::{SOON, text, until},
    hub::Hub,
    world::subscriber,
};

fn numbers(received: &[Received]) -> Vec<i64> {
    received.iter().filter_map(|request| request.json()["data"]["n"].as_i64()).collect()
}

#[tokio::test]
async fn an_ordered_endpoint_keeps_the_order_of_a_key_while_its_head_fails_and_lets_other_keys_go() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let patient = json!({"ordered": true, "retry_schedule": [0, 3600, 3600]});
    let endpoint = tenant.endpoint(&at, "/ordered", &["a.b"], patient).await;
    at.set_script("/ordered", Script::statuses(&[500, 200]));
    let publish =
        async |key: &str, n: i64| tenant.publish(&json!({"type": "a.b", "ordering_key": key, "data": {"n": n}})).await;
    let _ = publish("calendar-1", 1).await;
    let head = tenant.delivery_in(&endpoint, "waiting").await;
    let _ = publish("calendar-1", 2).await;
    let _ = publish("calendar-1", 3).await;
    let _ = publish("calendar-2", 4).await;
    let arrived = at.wait_for("/ordered", 2, SOON).await.expect("the other key goes on");
    assert_eq!(numbers(&arrived), [1, 4]);
    let behind =
        tenant.list(&format!("/deliveries?target={endpoint}")).await.iter().filter(|row| row["behind"] == true).count();
    assert_eq!(behind, 2);
    let _ = tenant.post(&format!("/deliveries/{}/retry", text(&head, "id")), &json!({})).await.expect(200);
    let arrived = at.wait_for("/ordered", 5, SOON).await.expect("the others follow their head");
    assert_eq!(numbers(&arrived), [1, 4, 1, 2, 3]);
}

#[tokio::test]
async fn a_dead_head_lets_the_next_of_its_key_go() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/ordered", &["a.b"], json!({"ordered": true, "retry_schedule": [0]})).await;
    at.set_script("/ordered", Script::statuses(&[500, 200]));
    for n in 1..=3 {
        let _ = tenant.publish(&json!({"type": "a.b", "ordering_key": "k", "data": {"n": n}})).await;
    }
    let arrived = at.wait_for("/ordered", 3, SOON).await.expect("the next ones go");
    assert_eq!(numbers(&arrived), [1, 2, 3]);
    let _ = tenant.delivery_in(&endpoint, "dead").await;
}

#[tokio::test]
async fn a_dead_letter_is_grouped_replayed_as_itself_and_keeps_its_webhook_id() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({"retry_schedule": [0, 1]})).await;
    let _ = tenant.endpoint(&at, "/watcher", &["delivery.died"], json!({})).await;
    at.set_script("/hook", Script::statuses(&[500]));
    for _ in 0..2 {
        let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    }
    let group = until("a group of two", async || {
        let groups = tenant.list("/dead-letters").await;
        groups.iter().find(|group| group["count"] == 2).cloned().ok_or_else(|| json!(groups).to_string())
    })
    .await;
    assert_eq!(
        (&group["target"], &group["code"], &group["ledger"]),
        (&json!(endpoint), &json!("http_500"), &json!("theirs"))
    );
    let _ = at.wait_for("/watcher", 2, SOON).await.expect("the host says that they died");
    let before: Vec<Value> = tenant.list(&format!("/deliveries?target={endpoint}")).await;
    at.set_script("/hook", Script::default());
    let replayed = tenant.post("/dead-letters/replay", &json!({"fingerprint": group["fingerprint"]})).await.expect(202);
    assert_eq!(replayed["replayed"], 2, "{replayed}");
    let all = at.wait_for("/hook", 6, SOON).await.expect("both are sent again");
    let ids: std::collections::BTreeSet<_> = all.iter().filter_map(Received::webhook_id).collect();
    assert_eq!(ids.len(), 2, "a webhook-id changed: {ids:?}");
    until("both to be delivered", async || {
        let after = tenant.list(&format!("/deliveries?state=delivered&target={endpoint}")).await;
        let same = |row: &Value| before.iter().any(|old| old["id"] == row["id"]);
        if after.len() == 2 && after.iter().all(same) { Ok(()) } else { Err(json!(after).to_string()) }
    })
    .await;
    assert!(tenant.list("/dead-letters").await.is_empty());
}

#[tokio::test]
async fn a_dead_letter_is_discarded_with_a_reason_that_the_audit_keeps() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({"retry_schedule": [0]})).await;
    at.set_script("/hook", Script::statuses(&[500]));
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let dead = tenant.delivery_in(&endpoint, "dead").await;
    let _ = tenant
        .post("/dead-letters/discard", &json!({"target": endpoint, "reason": " "}))
        .await
        .problem(400, "invalid_request");
    let wanted = json!({"deliveries": [dead["id"]], "reason": "the parcel was found"});
    let discarded = tenant.post("/dead-letters/discard", &wanted).await.expect(200);
    assert_eq!(discarded["discarded"], 1);
    let path = format!("/deliveries/{}", text(&dead, "id"));
    assert_eq!(tenant.get(&path).await.expect(200)["state"], "cancelled");
    assert!(tenant.list("/dead-letters").await.is_empty());
    let audit = tenant.list("/audit").await;
    assert!(json!(audit).to_string().contains("the parcel was found"), "{audit:?}");
    // What is cancelled stays so.
    let replayed = tenant.post("/dead-letters/replay", &json!({"deliveries": [dead["id"]]})).await.expect(202);
    assert_eq!(replayed["replayed"], 0, "{replayed}");
    let _ = tenant.post(&format!("{path}/retry"), &json!({})).await.problem(409, "conflict");
    assert_eq!(at.requests("/hook").len(), 1);
}

#[tokio::test]
async fn a_cancelled_delivery_is_never_sent() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    let _ = tenant.post(&format!("/endpoints/{endpoint}/pause"), &json!({})).await.expect(200);
    let _ = tenant.publish(&json!({"type": "a.b", "data": {"n": 1}})).await;
    let held = tenant.delivery_in(&endpoint, "held").await;
    let cancelled = tenant.post(&format!("/deliveries/{}/cancel", text(&held, "id")), &json!({})).await.expect(200);
    assert_eq!(cancelled["state"], "cancelled");
    let _ = tenant.publish(&json!({"type": "a.b", "data": {"n": 2}})).await;
    let _ = tenant.post(&format!("/endpoints/{endpoint}/resume"), &json!({})).await.expect(200);
    let _ = tenant.delivery_in(&endpoint, "delivered").await;
    assert_eq!(numbers(&at.requests("/hook")), [2]);
}

#[tokio::test]
async fn what_has_expired_is_dead_and_is_not_sent() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}, "expires_at": "2001-01-01T00:00:00Z"})).await;
    let dead = tenant.delivery_in(&endpoint, "dead").await;
    assert_eq!(dead["reason"], "expired", "{dead}");
    assert!(at.requests("/hook").is_empty());
}

#[tokio::test]
async fn a_replayed_event_reaches_the_endpoints_that_did_not_have_it() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let _ = tenant.endpoint(&at, "/old", &["a.b"], json!({})).await;
    let event = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let _ = at.wait_for("/old", 1, SOON).await.expect("it arrives");
    let late = tenant.endpoint(&at, "/late", &["a.b"], json!({})).await;
    let path = format!("/events/{}/replay", text(&event, "id"));
    let replayed = tenant.post(&path, &json!({})).await.expect(202);
    assert_eq!(replayed["targets"], json!([late]));
    let arrived = at.wait_for("/late", 1, SOON).await.expect("it arrives").remove(0);
    assert_eq!(arrived.webhook_id(), event["id"].as_str());
    let again = tenant.post(&path, &json!({})).await.expect(202);
    assert_eq!(again["targets"], json!([]));
    assert_eq!((at.requests("/old").len(), at.requests("/late").len()), (1, 1));
}
