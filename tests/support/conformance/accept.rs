//! Accepting events.

use std::{collections::HashSet, sync::Arc};

use switchyard::{
    clock::Timestamp,
    event::{Target, Urgency},
    queue::{partition::PartitionSet, state::State},
    store::{
        StoreError,
        ledger::{Accept, EventOutcome, NewEvent, RawRequest, Start},
        records::{DeliveryFilter, EventFilter, Page},
    },
};

use super::fixture::{Fixture, dedupe, failure, plugin};

const ALL: Page = Page { limit: 1000, after: None };

/// The event and a queued delivery are there.
pub async fn a_new_event_is_stored_with_its_delivery(hub: &Fixture) {
    let target = hub.endpoint();
    let event = hub.event(&hub.acme);
    let id = event.id.clone();
    let key = hub.deliver_event(event, &target).await;
    let row = hub.row(key).await;
    assert_eq!((row.state, row.epoch, row.tries, row.behind), (State::Queued, 0, 0, false));
    assert_eq!((row.target, &row.event_id), (target, &id));
    assert_eq!(
        hub.store.event(&hub.acme, &id).await.expect("the event is there").data.as_ref(),
        r#"{"amount":"125.00"}"#
    );
}

fn keyed(hub: &Fixture, key: &str, hash: u8) -> NewEvent {
    let mut new = hub.queued(hub.event(&hub.acme), &hub.endpoint());
    new.dedupe = Some(dedupe(key, hash));
    new
}

/// The answer names the first one; nothing of the second is stored.
pub async fn a_second_event_with_the_same_dedupe_key_is_a_duplicate(hub: &Fixture) {
    let first = keyed(hub, "1", 1);
    let (id, correlation_id) = (first.event.id.clone(), first.event.correlation_id.clone());
    assert_eq!(hub.accept(first).await, EventOutcome::Stored);
    let second = keyed(hub, "1", 1);
    let (second_id, second_delivery) = (second.event.id.clone(), second.deliveries[0].key);
    let duplicate = EventOutcome::Duplicate { first_id: id, correlation_id: Some(correlation_id), same: true };
    assert_eq!(hub.accept(second).await, duplicate);
    assert!(matches!(hub.store.event(&hub.acme, &second_id).await, Err(StoreError::NotFound)));
    assert!(matches!(hub.store.delivery(&hub.acme, second_delivery).await, Err(StoreError::NotFound)));
}

/// However they fall into groups.
pub async fn a_thousand_parallel_duplicates_make_one_event(hub: &Fixture) {
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (store, new) = (hub.store.clone(), keyed(hub, "same", 1));
        calls.spawn(async move { store.accept(Accept { events: vec![new], ..Accept::default() }).await });
    }
    let mut stored = 0;
    let mut first_ids = HashSet::new();
    while let Some(answer) = calls.join_next().await {
        match &answer.expect("no caller panics").expect("the accept is committed").events[..] {
            [EventOutcome::Stored] => stored += 1,
            [EventOutcome::Duplicate { first_id, same: true, .. }] => {
                first_ids.insert(first_id.clone());
            }
            other => panic!("unexpected outcome {other:?}"),
        }
    }
    assert_eq!((stored, first_ids.len()), (1, 1));
    let events = hub.store.events(&hub.acme, EventFilter::default(), ALL).await.expect("a list");
    assert_eq!(events.len(), 1);
    assert!(first_ids.contains(&events[0].id));
    let deliveries = hub.store.deliveries(&hub.acme, DeliveryFilter::default(), ALL).await.expect("a list");
    assert_eq!(deliveries.len(), 1);
}

/// The second of two equal events of one call is a duplicate of the first.
pub async fn duplicates_within_one_accept_are_found(hub: &Fixture) {
    let events = vec![keyed(hub, "a", 1), keyed(hub, "b", 2), keyed(hub, "a", 1)];
    let first_id = events[0].event.id.clone();
    let accepted = hub.store.accept(Accept { events, ..Accept::default() }).await.expect("committed");
    assert_eq!(accepted.events[..2], [EventOutcome::Stored, EventOutcome::Stored]);
    assert!(matches!(&accepted.events[2], EventOutcome::Duplicate { first_id: id, same: true, .. } if *id == first_id));
}

/// `same` is false both for a dedupe key and for a public id that is used twice.
pub async fn a_reused_id_with_other_data_is_told_apart_from_a_repeat(hub: &Fixture) {
    assert_eq!(hub.accept(keyed(hub, "1", 1)).await, EventOutcome::Stored);
    assert!(matches!(hub.accept(keyed(hub, "1", 2)).await, EventOutcome::Duplicate { same: false, .. }));
    let with_data = |data: &str| {
        let mut event = hub.event(&hub.acme);
        event.id = "order-1".into();
        event.data = data.into();
        hub.queued(event, &hub.endpoint())
    };
    assert_eq!(hub.accept(with_data("{}")).await, EventOutcome::Stored);
    assert!(matches!(hub.accept(with_data("{}")).await, EventOutcome::Duplicate { same: true, .. }));
    assert!(matches!(hub.accept(with_data("[]")).await, EventOutcome::Duplicate { same: false, .. }));
}

/// A dedupe key is unique in its scope only.
pub async fn the_same_key_from_another_source_is_another_event(hub: &Fixture) {
    assert_eq!(hub.accept(keyed(hub, "1", 1)).await, EventOutcome::Stored);
    let mut other = keyed(hub, "1", 1);
    other.dedupe =
        other.dedupe.map(|dedupe| switchyard::store::ledger::DedupeKey { scope: "plugin:billy".into(), ..dedupe });
    assert_eq!(hub.accept(other).await, EventOutcome::Stored);
}

/// Dedupe keys and public ids are the tenant's own.
pub async fn the_same_key_of_another_tenant_is_another_event(hub: &Fixture) {
    for tenant in [&hub.acme, &hub.globex] {
        let mut event = hub.event(tenant);
        event.id = "order-1".into();
        let mut new = hub.queued(event, &hub.endpoint());
        new.dedupe = Some(dedupe("1", 1));
        assert_eq!(hub.accept(new).await, EventOutcome::Stored);
    }
}

/// The others are stored.
pub async fn a_duplicate_does_not_stop_the_other_events_of_its_accept(hub: &Fixture) {
    assert_eq!(hub.accept(keyed(hub, "1", 1)).await, EventOutcome::Stored);
    let events = vec![keyed(hub, "1", 1), keyed(hub, "2", 1)];
    let second = events[1].event.id.clone();
    let accepted = hub.store.accept(Accept { events, ..Accept::default() }).await.expect("committed");
    assert!(matches!(accepted.events[0], EventOutcome::Duplicate { .. }));
    assert_eq!(accepted.events[1], EventOutcome::Stored);
    hub.store.event(&hub.acme, &second).await.expect("the new one is there");
}

/// Also the events of known tenants in the same call.
pub async fn an_event_of_an_unknown_tenant_is_not_found_and_stores_nothing(hub: &Fixture) {
    let nobody = "nobody".parse().expect("a tenant's name");
    let known = keyed(hub, "1", 1);
    let id = known.event.id.clone();
    let unknown = hub.queued(hub.event(&nobody), &hub.endpoint());
    let accept = Accept { events: vec![known, unknown], ..Accept::default() };
    assert!(matches!(hub.store.accept(accept).await, Err(StoreError::NotFound)));
    assert!(matches!(hub.store.event(&hub.acme, &id).await, Err(StoreError::NotFound)));
}

/// A caller whose rows break a rule of the schema fails alone, whatever group it was in.
pub async fn one_bad_accept_does_not_fail_its_neighbours(hub: &Fixture) {
    let mut calls = tokio::task::JoinSet::new();
    for nth in 0..64 {
        let mut new = keyed(hub, &nth.to_string(), 1);
        if nth == 13 {
            // Two deliveries to one target are not allowed.
            let twice = new.deliveries[0].clone();
            new.deliveries.push(switchyard::store::ledger::NewDelivery { key: hub.ids.next(), ..twice });
        }
        let store = hub.store.clone();
        calls.spawn(async move { (nth, store.accept(Accept { events: vec![new], ..Accept::default() }).await) });
    }
    while let Some(answer) = calls.join_next().await {
        let (nth, answer) = answer.expect("no caller panics");
        assert_eq!(answer.is_err(), nth == 13, "{nth}: {answer:?}");
    }
    let events = hub.store.events(&hub.acme, EventFilter::default(), ALL).await.expect("a list");
    assert_eq!(events.len(), 63);
}

/// Refused by policy, unrouted, loops.
pub async fn a_dead_start_is_visible_as_a_dead_letter(hub: &Fixture) {
    let new = hub.starting(hub.event(&hub.acme), &Target::Unrouted, Start::Dead(failure()));
    let key = new.deliveries[0].key;
    assert_eq!(hub.accept(new).await, EventOutcome::Stored);
    let row = hub.row(key).await;
    assert_eq!((row.state, row.failure), (State::Dead, Some(failure())));
    assert_eq!(row.fingerprint, Some(failure().fingerprint("unrouted")));
    assert_eq!(hub.store.dead_groups(&hub.acme, 10).await.expect("groups").len(), 1);
}

/// So that it need not be read back, and can be settled.
pub async fn a_claimed_start_runs_at_epoch_one(hub: &Fixture) {
    let new = hub.starting(hub.event(&hub.acme), &plugin("billy"), Start::Claimed);
    let key = new.deliveries[0].key;
    assert_eq!(hub.accept(new).await, EventOutcome::Stored);
    let row = hub.row(key).await;
    assert_eq!((row.state, row.epoch, row.tries), (State::Running, 1, 1));
    assert!(hub.claim_at(key, 1).await.is_none());
    assert!(hub.store.lanes(PartitionSet::all()).await.expect("lanes").is_empty());
}

/// Every field.
pub async fn an_event_comes_back_as_it_was_given(hub: &Fixture) {
    let mut event = hub.event(&hub.acme);
    event.subject = Some("invoice/æ1".into());
    event.time = Timestamp(-5);
    event.ordering_key = Some("k".into());
    event.cause = Some(hub.ids.next());
    event.request = Some(hub.ids.next());
    event.hop = 3;
    event.urgency = Urgency::Emergency;
    event.expires_at = Some(Timestamp(1_900_000_000_000));
    event.private_to = Some("billy".into());
    event.extensions = Some(r#"{"a":1}"#.into());
    event.data = "null".into();
    let given = event.clone();
    hub.deliver_event(event, &hub.endpoint()).await;
    let stored = hub.store.event(&hub.acme, &given.id).await.expect("the event is there");
    assert_eq!(format!("{stored:?}"), format!("{:?}", Arc::new(given)));
}

/// In JSON the character that PostgreSQL has no text with is an escape, and so are others that are seldom seen.
pub async fn a_payload_with_an_escaped_nul_comes_back_as_it_was_given(hub: &Fixture) {
    let mut event = hub.event(&hub.acme);
    event.data = r#"{"a":"\u0000","\u0000":["x\u0000y","\u0001","\ud83d\ude00"]}"#.into();
    event.extensions = Some(r#"{"own":"\u0000"}"#.into());
    let given = event.clone();
    hub.deliver_event(event, &hub.endpoint()).await;
    let stored = hub.store.event(&hub.acme, &given.id).await.expect("the event is there");
    assert_eq!((&stored.data, &stored.extensions), (&given.data, &given.extensions));
}

/// Whoever starts it goes by the queue's clock, which made its key.
pub async fn a_delivery_is_due_by_the_queues_clock_if_the_wall_clock_is_ahead(hub: &Fixture) {
    let target = hub.endpoint();
    let mut event = hub.event(&hub.acme);
    event.accepted_at = hub.now().after(std::time::Duration::from_secs(3_600));
    let stamp = event.accepted_at;
    let id = event.id.clone();
    let key = hub.deliver_event(event, &target).await;
    let lanes = hub.store.lanes(PartitionSet::all()).await.expect("lanes");
    assert!(lanes.iter().all(|head| head.due_at <= hub.now().after(std::time::Duration::from_secs(1))), "{lanes:?}");
    assert_eq!(hub.claim(key).await.delivery, key);
    assert_eq!(hub.store.event(&hub.acme, &id).await.expect("the event").accepted_at, stamp, "stamps are the wall's");
}

/// A duplicate's request is not kept again.
pub async fn a_raw_request_is_kept_only_with_a_new_event(hub: &Fixture) {
    for expected in [1, 1] {
        let request = RawRequest {
            key: hub.ids.next(),
            tenant: hub.acme.clone(),
            source_id: "src_1".into(),
            method: "POST".into(),
            url: "https://hub.example/in/src_1?a=b".into(),
            headers: vec![("x-any".into(), vec![0, 200, 255])],
            body: bytes::Bytes::from_static(b"{}"),
            received_at: hub.now(),
            remote_addr: Some("203.0.113.9".into()),
            correlation_id: "cor".into(),
        };
        let accept = Accept { request: Some(request), events: vec![keyed(hub, "1", 1)], ..Accept::default() };
        hub.store.accept(accept).await.expect("committed");
        let requests = hub.store.requests(&hub.acme, "cor").await.expect("a list");
        assert_eq!(requests.len(), expected);
        assert_eq!((requests[0].1.as_str(), requests[0].2.as_str()), ("src_1", "POST"));
    }
}

/// The host tells of it in the same transaction.
pub async fn what_tells_of_a_dead_start_is_stored_with_it_and_not_with_a_duplicate(hub: &Fixture) {
    let dead = || {
        let mut new = keyed(hub, "once", 1);
        let told = hub.queued(hub.event(&hub.acme), &hub.endpoint());
        new.deliveries[0].start = Start::Dead(failure());
        new.deliveries[0].told = Some(Box::new(told.clone()));
        (new, told.deliveries[0].key)
    };
    let ((first, news), (again, no_news)) = (dead(), dead());
    for new in [first, again] {
        hub.store.accept(Accept { events: vec![new], ..Accept::default() }).await.expect("accepted");
    }
    assert_eq!(hub.row(news).await.state, State::Queued);
    assert!(matches!(hub.store.delivery(&hub.acme, no_news).await, Err(StoreError::NotFound)));
}
