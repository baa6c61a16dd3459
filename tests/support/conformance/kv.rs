//! Key-value rows and intents.

use std::time::Duration;

use switchyard::{
    id::Key,
    queue::{partition::PartitionSet, state::State},
    store::ledger::{Claimed, Expected, Intent, IntentOutcome, KvRow, KvWrite, Outcome, Settle, Settled},
};

use super::fixture::{Fixture, failure, plugin};

fn write(key: &str, expected: Expected, value: Option<&str>) -> KvWrite {
    let value = value.map(|value| value.as_bytes().to_vec());
    KvWrite { key: key.into(), expected, value, expires_at: None, person: None }
}

async fn claimed(hub: &Fixture) -> Claimed {
    hub.claim(hub.deliver(&plugin("billy")).await).await
}

fn settle_with(hub: &Fixture, claimed: &Claimed, kv: Vec<KvWrite>) -> Settle {
    let mut settle = hub.settle_of(claimed, Outcome::Delivered);
    settle.plugin = Some("billy".into());
    settle.kv = kv;
    settle
}

/// Writes by a run of its own; answers whether the swaps won.
async fn put(hub: &Fixture, kv: Vec<KvWrite>) -> bool {
    let claimed = claimed(hub).await;
    match hub.store.settle(settle_with(hub, &claimed, kv)).await.expect("committed") {
        Settled::Done { .. } => true,
        Settled::LostSwap => false,
        Settled::LostLease => panic!("the lease is held"),
    }
}

async fn get(hub: &Fixture, key: &str) -> KvRow {
    hub.store.kv_get(&hub.acme, "billy", key, hub.now()).await.expect("a row")
}

fn row(value: Option<&str>, version: u64) -> KvRow {
    KvRow { value: value.map(|value| value.as_bytes().to_vec()), version }
}

/// The version that was read must be the one that is there.
pub async fn a_swap_wins_once_per_version(hub: &Fixture) {
    assert_eq!(get(hub, "k").await, row(None, 0));
    assert!(put(hub, vec![write("k", Expected::Absent, Some("1"))]).await);
    assert_eq!(get(hub, "k").await, row(Some("1"), 1));
    assert!(!put(hub, vec![write("k", Expected::Absent, Some("2"))]).await);
    assert!(put(hub, vec![write("k", Expected::Version(1), Some("2"))]).await);
    assert!(!put(hub, vec![write("k", Expected::Version(1), Some("3"))]).await);
    assert_eq!(get(hub, "k").await, row(Some("2"), 2));
    assert!(put(hub, vec![write("k", Expected::Any, Some(""))]).await);
    assert_eq!(get(hub, "k").await, row(Some(""), 3));
}

/// Deleted and made again is not the same.
pub async fn a_delete_leaves_a_tombstone_whose_version_counts(hub: &Fixture) {
    assert!(put(hub, vec![write("k", Expected::Version(0), Some("1"))]).await);
    assert!(put(hub, vec![write("k", Expected::Version(1), None)]).await);
    assert_eq!(get(hub, "k").await, row(None, 2));
    assert!(!put(hub, vec![write("k", Expected::Version(0), Some("2"))]).await);
    assert!(!put(hub, vec![write("k", Expected::Version(1), Some("2"))]).await);
    assert!(put(hub, vec![write("k", Expected::Version(2), Some("2"))]).await);
    assert!(put(hub, vec![write("k", Expected::Any, None)]).await);
    assert!(put(hub, vec![write("k", Expected::Absent, Some("3"))]).await);
    assert_eq!(get(hub, "k").await, row(Some("3"), 5));
}

/// From the moment it expires on.
pub async fn an_expired_value_is_absent(hub: &Fixture) {
    let expires_at = Some(hub.now().after(Duration::from_secs(10)));
    assert!(put(hub, vec![KvWrite { expires_at, ..write("k", Expected::Any, Some("1")) }]).await);
    hub.pass(Duration::from_secs(9));
    assert_eq!(get(hub, "k").await, row(Some("1"), 1));
    assert!(!put(hub, vec![write("k", Expected::Absent, Some("2"))]).await);
    hub.pass(Duration::from_secs(1));
    assert_eq!(get(hub, "k").await, row(None, 1));
    let keys = hub.store.kv_keys(&hub.acme, "billy", "", None, 10, hub.now()).await.expect("keys");
    assert!(keys.is_empty());
    assert!(put(hub, vec![write("k", Expected::Absent, Some("2"))]).await);
    assert_eq!(get(hub, "k").await, row(Some("2"), 2));
}

/// Neither the other keys, nor the delivery's end, nor the attempt.
pub async fn a_lost_swap_writes_nothing_of_its_settle(hub: &Fixture) {
    assert!(put(hub, vec![write("k", Expected::Any, Some("1"))]).await);
    let claimed = claimed(hub).await;
    let kv = vec![write("other", Expected::Any, Some("x")), write("k", Expected::Version(7), Some("2"))];
    let end = hub.store.settle(settle_with(hub, &claimed, kv)).await.expect("committed");
    assert!(matches!(end, Settled::LostSwap));
    assert_eq!(get(hub, "other").await, row(None, 0));
    assert_eq!(get(hub, "k").await, row(Some("1"), 1));
    assert_eq!(hub.row(claimed.delivery).await.state, State::Running);
    assert!(hub.store.attempts(&hub.acme, claimed.delivery).await.expect("attempts").is_empty());
    hub.settle(&claimed, Outcome::Released { failure: None }).await;
}

/// The second of two writes to one key expects the version that the first left.
pub async fn writes_of_one_caller_see_each_other(hub: &Fixture) {
    let kv = vec![write("k", Expected::Absent, Some("1")), write("k", Expected::Version(1), Some("2"))];
    assert!(put(hub, kv).await);
    assert_eq!(get(hub, "k").await, row(Some("2"), 2));
    let kv = vec![write("k", Expected::Version(2), Some("3")), write("k", Expected::Version(2), Some("4"))];
    assert!(!put(hub, kv).await);
    assert_eq!(get(hub, "k").await, row(Some("2"), 2));
}

/// Page by page, wildcards of SQL included.
pub async fn keys_are_listed_by_prefix_in_byte_order(hub: &Fixture) {
    let keys = ["a", "b%1", "b%2", "b_1", "bé", "b\u{10ffff}x", "c"];
    let kv = keys.iter().rev().map(|key| write(key, Expected::Any, Some("v"))).collect();
    assert!(put(hub, kv).await);
    let list = async |prefix: &str, after: Option<&str>, limit| {
        hub.store.kv_keys(&hub.acme, "billy", prefix, after, limit, hub.now()).await.expect("keys")
    };
    assert_eq!(list("", None, 10).await, keys);
    assert_eq!(list("b", None, 10).await, ["b%1", "b%2", "b_1", "bé", "b\u{10ffff}x"]);
    assert_eq!(list("b%", None, 10).await, ["b%1", "b%2"]);
    assert_eq!(list("b", Some("b%2"), 2).await, ["b_1", "bé"]);
    assert_eq!(list("b\u{10ffff}", None, 10).await, ["b\u{10ffff}x"]);
    assert!(list("d", None, 10).await.is_empty());
}

/// Text or none.
pub async fn any_byte_may_be_in_a_value(hub: &Fixture) {
    let value = Some((0..=255).chain([0, 0]).collect::<Vec<u8>>());
    let write =
        KvWrite { key: "k".into(), expected: Expected::Any, value: value.clone(), expires_at: None, person: None };
    assert!(put(hub, vec![write]).await);
    assert_eq!(get(hub, "k").await, KvRow { value, version: 1 });
}

/// Keys and values in bytes.
pub async fn bytes_are_counted_and_deleted_ones_are_not(hub: &Fixture) {
    assert_eq!(hub.store.kv_bytes(&hub.acme, "billy").await.expect("bytes"), 0);
    assert!(put(hub, vec![write("ké", Expected::Any, Some("12345")), write("x", Expected::Any, Some("1"))]).await);
    assert_eq!(hub.store.kv_bytes(&hub.acme, "billy").await.expect("bytes"), 3 + 5 + 1 + 1);
    assert!(put(hub, vec![write("x", Expected::Any, None)]).await);
    assert_eq!(hub.store.kv_bytes(&hub.acme, "billy").await.expect("bytes"), 8);
}

async fn intend(hub: &Fixture, claimed: &Claimed, epoch: u32, kv: Vec<KvWrite>) -> IntentOutcome {
    let intent = Intent {
        tenant: claimed.lane.tenant.clone(),
        delivery: claimed.delivery,
        epoch,
        journal: b"sealed".to_vec(),
        kv,
        plugin: "billy".into(),
    };
    hub.store.intend(intent).await.expect("committed")
}

async fn journal(hub: &Fixture, delivery: Key) -> Option<Vec<u8>> {
    hub.store.journal(&hub.acme, delivery).await.expect("a delivery")
}

/// Journal and kv stay though the run is lost.
pub async fn an_intent_is_durable_before_the_settle(hub: &Fixture) {
    let claimed = claimed(hub).await;
    let kv = vec![write("reserved", Expected::Absent, Some("1"))];
    assert_eq!(intend(hub, &claimed, claimed.epoch, kv).await, IntentOutcome::Committed);
    assert_eq!(journal(hub, claimed.delivery).await, Some(b"sealed".to_vec()));
    hub.store.rescue(None, PartitionSet::all(), hub.now()).await.expect("rescued");
    assert_eq!(get(hub, "reserved").await, row(Some("1"), 1));
    assert!(hub.claim(claimed.delivery).await.journalled);
}

/// An old epoch, an ended delivery, one that never was.
pub async fn an_intent_without_the_lease_writes_nothing(hub: &Fixture) {
    let held = claimed(hub).await;
    let kv = || vec![write("k", Expected::Any, Some("1"))];
    assert_eq!(intend(hub, &held, held.epoch + 1, kv()).await, IntentOutcome::LostLease);
    hub.settle(&held, Outcome::Dead(failure())).await;
    assert_eq!(intend(hub, &held, held.epoch, kv()).await, IntentOutcome::LostLease);
    let nowhere = Claimed { delivery: hub.ids.next(), ..held.clone() };
    assert_eq!(intend(hub, &nowhere, 1, kv()).await, IntentOutcome::LostLease);
    assert_eq!((get(hub, "k").await, journal(hub, held.delivery).await), (row(None, 0), None));
}

/// The lease stays.
pub async fn an_intent_that_lost_its_swap_writes_nothing(hub: &Fixture) {
    let held = claimed(hub).await;
    let kv = vec![write("a", Expected::Any, Some("1")), write("b", Expected::Version(4), Some("1"))];
    assert_eq!(intend(hub, &held, held.epoch, kv).await, IntentOutcome::LostSwap);
    assert_eq!((get(hub, "a").await, journal(hub, held.delivery).await), (row(None, 0), None));
    assert_eq!(intend(hub, &held, held.epoch, Vec::new()).await, IntentOutcome::Committed);
}

/// However they fall into groups.
pub async fn parallel_swaps_of_one_key_have_one_winner(hub: &Fixture) {
    let mut runs = Vec::new();
    for _ in 0..32 {
        runs.push(claimed(hub).await);
    }
    let mut ends = tokio::task::JoinSet::new();
    for run in &runs {
        let (store, settle) = (hub.store.clone(), settle_with(hub, run, vec![write("k", Expected::Absent, Some("1"))]));
        ends.spawn(async move { store.settle(settle).await.expect("committed") });
    }
    let mut won = 0;
    while let Some(end) = ends.join_next().await {
        won += usize::from(matches!(end.expect("no run panics"), Settled::Done { .. }));
    }
    assert_eq!(won, 1);
    assert_eq!(get(hub, "k").await, row(Some("1"), 1));
}
