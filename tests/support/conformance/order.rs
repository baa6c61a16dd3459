//! Order.

use std::time::Duration;

use switchyard::{
    event::{Target, Urgency},
    id::Key,
    queue::{lane::Lane, partition::PartitionSet, state::State},
    store::ledger::Outcome,
};

use super::{
    fixture::{Fixture, failure},
    records::replay_of,
};

async fn ordered(hub: &Fixture, target: &Target, ordering_key: &str) -> Key {
    let mut event = hub.event(&hub.acme);
    event.ordering_key = Some(ordering_key.into());
    hub.deliver_event(event, target).await
}

async fn three(hub: &Fixture, target: &Target) -> [Key; 3] {
    [ordered(hub, target, "k").await, ordered(hub, target, "k").await, ordered(hub, target, "k").await]
}

async fn ready(hub: &Fixture, target: &Target) -> Vec<Key> {
    let lane = Lane { tenant: hub.acme.clone(), target: target.clone(), urgency: Urgency::Normal };
    let head = hub.store.lane_head(lane.key(), 100).await.expect("a head");
    head.into_iter().map(|one| one.delivery).collect()
}

/// The others show that they wait behind it and cannot be claimed.
pub async fn only_the_oldest_of_an_order_is_ready(hub: &Fixture) {
    let target = hub.endpoint();
    let [first, second, third] = three(hub, &target).await;
    assert_eq!(ready(hub, &target).await, [first]);
    assert!(!hub.row(first).await.behind);
    assert!(hub.row(second).await.behind && hub.row(third).await.behind);
    assert!(hub.claim_at(second, 0).await.is_none());
    hub.claim(first).await;
    assert!(ready(hub, &target).await.is_empty());
}

/// And only the next.
pub async fn a_delivered_head_lets_the_next_go(hub: &Fixture) {
    let target = hub.endpoint();
    let [first, second, third] = three(hub, &target).await;
    assert!(hub.settle(&hub.claim(first).await, Outcome::Delivered).await);
    assert_eq!(ready(hub, &target).await, [second]);
    assert!(hub.settle(&hub.claim(second).await, Outcome::Delivered).await);
    assert!(!hub.settle(&hub.claim(third).await, Outcome::Delivered).await);
}

/// A dead letter blocks nobody.
pub async fn a_dead_head_lets_the_next_go(hub: &Fixture) {
    let target = hub.endpoint();
    let [first, second, _] = three(hub, &target).await;
    assert!(hub.settle(&hub.claim(first).await, Outcome::Dead(failure())).await);
    assert_eq!(ready(hub, &target).await, [second]);
}

/// So does one that was given back.
pub async fn a_waiting_head_holds_the_order_back(hub: &Fixture) {
    let target = hub.endpoint();
    let [first, second, _] = three(hub, &target).await;
    let run_at = hub.now().after(Duration::from_secs(60));
    let waiting = Outcome::Waiting { run_at, failure: failure(), burnt: true };
    assert!(!hub.settle(&hub.claim(first).await, waiting).await);
    assert_eq!(ready(hub, &target).await, [first]);
    assert!(!hub.settle(&hub.claim(first).await, Outcome::Released { failure: None }).await);
    hub.claim(first).await;
    hub.store.rescue(None, PartitionSet::all(), hub.now()).await.expect("rescued");
    assert_eq!(ready(hub, &target).await, [first]);
    assert!(hub.row(second).await.behind);
}

/// The head is still there.
pub async fn a_cancelled_follower_lets_nobody_go(hub: &Fixture) {
    let target = hub.endpoint();
    let [first, second, third] = three(hub, &target).await;
    hub.store.cancel(&hub.acme, second, hub.audit(&hub.acme, "delivery.cancelled")).await.expect("cancelled");
    assert_eq!(ready(hub, &target).await, [first]);
    hub.store.cancel(&hub.acme, first, hub.audit(&hub.acme, "delivery.cancelled")).await.expect("cancelled");
    assert_eq!(ready(hub, &target).await, [third]);
    assert_eq!(hub.row(second).await.state, State::Cancelled);
}

/// Though it is older; it is the next.
pub async fn a_replayed_delivery_goes_behind_a_live_one(hub: &Fixture) {
    let target = hub.endpoint();
    let [first, second, third] = three(hub, &target).await;
    hub.settle(&hub.claim(first).await, Outcome::Dead(failure())).await;
    let running = hub.claim(second).await;
    hub.store.replay(replay_of(hub, vec![first]), hub.audit(&hub.acme, "replayed")).await.expect("replayed");
    assert!(hub.row(first).await.behind);
    assert!(ready(hub, &target).await.is_empty());
    assert!(hub.settle(&running, Outcome::Delivered).await);
    assert_eq!(ready(hub, &target).await, [first]);
    assert!(hub.settle(&hub.claim(first).await, Outcome::Delivered).await);
    assert_eq!(ready(hub, &target).await, [third]);
}

/// The oldest first.
pub async fn a_batch_of_replays_keeps_its_order(hub: &Fixture) {
    let target = hub.endpoint();
    let keys = three(hub, &target).await;
    for key in keys {
        hub.kill(key).await;
    }
    hub.store.replay(replay_of(hub, keys.to_vec()), hub.audit(&hub.acme, "replayed")).await.expect("replayed");
    for key in keys {
        assert_eq!(ready(hub, &target).await, [key]);
        hub.settle(&hub.claim(key).await, Outcome::Delivered).await;
    }
}

/// Neither do deliveries without a key wait for them.
pub async fn orders_do_not_block_each_other(hub: &Fixture) {
    let (target, other) = (hub.endpoint(), hub.endpoint());
    let first = ordered(hub, &target, "a").await;
    let second = ordered(hub, &target, "b").await;
    let third = hub.deliver(&target).await;
    let elsewhere = ordered(hub, &other, "a").await;
    assert_eq!(ready(hub, &target).await, [first, second, third]);
    assert_eq!(ready(hub, &other).await, [elsewhere]);
}
