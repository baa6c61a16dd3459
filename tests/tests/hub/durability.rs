use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use serde_json::json;
use switchyard_simulators::subscriber::{Script, Step};
use switchyard_tests::{
    api::{SOON, Tenant, text, until},
    hub::Hub,
    world::subscriber,
};

/// Callers at once, and events of each.
const CALLERS: usize = 8;
const EVENTS: usize = 60;
/// The hub is killed once so many events were answered.
const KILL_AFTER: usize = 150;

/// Publishes events until the hub no longer answers; gives the ids that were answered with 202.
async fn publish_while_it_lives(tenant: Tenant, caller: usize, answered: Arc<AtomicUsize>) -> Vec<String> {
    let mut accepted = Vec::new();
    for n in 0..EVENTS {
        let id = format!("e-{caller}-{n}");
        let body = json!({"type": "a.b", "id": id, "data": {"caller": caller, "n": n}}).to_string();
        let headers = [("content-type", "application/json")];
        let Ok(reply) = tenant.api.try_raw("POST", &tenant.path("/events"), &headers, Bytes::from(body)).await else {
            break;
        };
        assert_eq!(reply.status, 202, "{}", reply.text);
        accepted.push(id);
        answered.fetch_add(1, Ordering::Relaxed);
    }
    accepted
}

#[tokio::test]
async fn what_was_answered_with_202_survives_a_kill_and_is_delivered() {
    let (mut hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let _ = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| tokio::spawn(publish_while_it_lives(tenant.clone(), caller, answered.clone())))
        .collect();
    until("enough events to be answered", async || {
        let count = answered.load(Ordering::Relaxed);
        if count >= KILL_AFTER { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
    hub.kill().await;
    let mut accepted = BTreeSet::new();
    for caller in callers {
        accepted.extend(caller.await.expect("a caller ends well"));
    }
    assert!((KILL_AFTER..CALLERS * EVENTS).contains(&accepted.len()), "{} were answered", accepted.len());
    hub.restart().await;

    let mut listed = BTreeMap::<String, usize>::new();
    for event in tenant.all("/events").await {
        *listed.entry(text(&event, "id")).or_default() += 1;
    }
    assert!(listed.values().all(|count| *count == 1), "an event is listed twice");
    let lost: Vec<_> = accepted.iter().filter(|id| !listed.contains_key(*id)).collect();
    assert!(lost.is_empty(), "accepted and lost: {lost:?}");
    until("every event to arrive", async || {
        let arrived: BTreeSet<_> =
            at.requests("/hook").iter().filter_map(|request| request.webhook_id().map(str::to_owned)).collect();
        let missing: Vec<_> = listed.keys().filter(|id| !arrived.contains(*id)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{} of {} missing", missing.len(), listed.len())) }
    })
    .await;
    // Whoever got no answer asks again, and is not told wrongly that it is new.
    let id = accepted.first().expect("one").clone();
    let mut parts = id.split('-').skip(1).filter_map(|part| part.parse::<usize>().ok());
    let (caller, n) = (parts.next().expect("a caller"), parts.next().expect("a number"));
    let again = tenant.publish(&json!({"type": "a.b", "id": id, "data": {"caller": caller, "n": n}})).await;
    assert_eq!(again["duplicate"], true, "{again}");
}

#[tokio::test]
async fn a_killed_hub_burns_no_attempt_and_sends_again_under_the_same_id() {
    let (mut hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({"retry_schedule": [0]})).await;
    at.set_script("/hook", Script::always(Step::Hang));
    let event = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let _ = at.wait_for("/hook", 1, SOON).await.expect("it is sent");
    hub.kill().await;
    at.set_script("/hook", Script::default());
    hub.restart().await;
    let delivered = tenant.delivery_in(&endpoint, "delivered").await;
    assert_eq!((&delivered["tries"], &delivered["attempts"][0]["outcome"]), (&json!(1), &json!("lost")), "{delivered}");
    let requests = at.requests("/hook");
    assert!(requests.len() == 2 && requests.iter().all(|request| request.webhook_id() == event["id"].as_str()));
}

#[tokio::test]
async fn a_hub_that_is_told_to_stop_finishes_what_it_sends() {
    let (mut hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    at.set_script("/hook", Script::always(Step::Delay { ms: 400 }));
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let _ = at.wait_for("/hook", 1, SOON).await.expect("it is sent");
    let status = hub.stop().await;
    assert!(status.success(), "{status}: {}", hub.log());
    hub.restart().await;
    let delivered = tenant.delivery_in(&endpoint, "delivered").await;
    assert_eq!(delivered["attempts"].as_array().map(Vec::len), Some(1), "{delivered}");
    assert_eq!(at.requests("/hook").len(), 1, "it was sent again");
}

#[tokio::test]
async fn a_hub_whose_grace_is_over_gives_back_what_it_sends_and_burns_no_attempt() {
    let at = subscriber().await;
    let mut hub = Hub::builder().set("SWITCHYARD_SHUTDOWN__GRACE", "200ms").start().await;
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({"retry_schedule": [0]})).await;
    at.set_script("/hook", Script::always(Step::Hang));
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let _ = at.wait_for("/hook", 1, SOON).await.expect("it is sent");
    let status = hub.stop().await;
    assert!(status.success(), "{status}: {}", hub.log());
    at.set_script("/hook", Script::default());
    hub.restart().await;
    let delivered = tenant.delivery_in(&endpoint, "delivered").await;
    assert_eq!((&delivered["tries"], &delivered["crashes"]), (&json!(1), &json!(0)), "{delivered}");
    let failed =
        delivered["attempts"].as_array().expect("attempts").iter().filter(|attempt| attempt["outcome"] == "failed");
    assert_eq!(failed.count(), 0, "{delivered}");
}

#[tokio::test]
async fn what_was_set_up_is_there_after_a_kill_and_secrets_still_sign() {
    let (mut hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    let reader = hub.key(&json!({"tenant": "acme", "scope": "reader"})).await;
    let before = tenant.get(&format!("/endpoints/{endpoint}")).await.expect(200);
    hub.kill().await;
    hub.restart().await;
    let after = tenant.with_key(&reader).get(&format!("/endpoints/{endpoint}")).await.expect(200);
    assert_eq!(before, after);
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let arrived = at.wait_for("/hook", 1, SOON).await.expect("it arrives").remove(0);
    assert_eq!(arrived.status, Some(200), "{:?}", arrived.verdict);
}
