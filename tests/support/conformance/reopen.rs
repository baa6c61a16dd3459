//! What outlives the process.

use std::time::Duration;

use switchyard::{
    queue::{partition::PartitionSet, state::State},
    store::ledger::{EventOutcome, Outcome},
};

use super::fixture::{Fixture, dedupe, failure, plugin};

/// Rows, dedupe keys, cursors of the queue's clock.
pub async fn everything_is_there_after_a_restart(hub: &mut Fixture) {
    let keyed = |hub: &Fixture| {
        let mut new = hub.queued(hub.event(&hub.acme), &hub.endpoint());
        new.dedupe = Some(dedupe("1", 1));
        new
    };
    assert_eq!(hub.accept(keyed(hub)).await, EventOutcome::Stored);
    let dead = hub.deliver(&plugin("billy")).await;
    hub.kill(dead).await;
    hub.install_billy(&hub.acme).await;
    hub.pass(Duration::from_millis(300));
    hub.deliver(&hub.endpoint()).await;
    let (lanes, latest) = (hub.store.lanes(PartitionSet::all()).await.expect("lanes").len(), hub.now());
    hub.reopen().await;
    assert_eq!(hub.row(dead).await.failure, Some(failure()));
    assert_eq!(hub.store.attempts(&hub.acme, dead).await.expect("attempts").len(), 1);
    assert!(matches!(hub.accept(keyed(hub)).await, EventOutcome::Duplicate { same: true, .. }));
    let rows = hub.store.registry(None).await.expect("rows");
    assert_eq!((rows.tenants.len(), rows.installations.len()), (2, 1));
    assert_eq!(hub.store.lanes(PartitionSet::all()).await.expect("lanes").len(), lanes);
    assert_eq!(hub.store.last_seen().await.expect("a time"), latest);
}

/// Only a rescue gives it back, and the old run cannot settle it then.
pub async fn a_running_delivery_is_still_running_after_a_restart(hub: &mut Fixture) {
    let key = hub.deliver(&plugin("billy")).await;
    let before = hub.claim(key).await;
    hub.reopen().await;
    assert_eq!(hub.row(key).await.state, State::Running);
    assert_eq!(hub.store.rescue(None, PartitionSet::all(), hub.now()).await.expect("rescued").len(), 1);
    let after = hub.claim(key).await;
    assert_eq!((after.epoch, after.tries, after.crashes), (before.epoch + 1, 1, 1));
    hub.settle(&after, Outcome::Delivered).await;
}
