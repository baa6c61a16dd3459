//! Claims.

use std::{collections::HashSet, time::Duration};

use switchyard::{
    queue::{lane::Lane, state::State},
    store::ledger::{ClaimRequest, Outcome},
};

use super::fixture::{Fixture, failure, plugin};

/// Epoch and tries grow, and all that the run needs comes along.
pub async fn a_claim_counts_the_attempt_and_brings_the_event(hub: &Fixture) {
    let key = hub.deliver(&plugin("billy")).await;
    let claimed = hub.claim_at(key, 0).await.expect("it is queued");
    assert_eq!((claimed.epoch, claimed.tries, claimed.crashes), (1, 1, 0));
    assert_eq!((claimed.journalled, claimed.replayed), (false, false));
    assert_eq!(claimed.event.event_type.as_str(), "invoice.paid");
    assert_eq!(claimed.lane.target, plugin("billy"));
    let row = hub.row(key).await;
    assert_eq!((row.state, row.epoch, row.tries), (State::Running, 1, 1));
    hub.settle(&claimed, Outcome::Waiting { run_at: hub.now(), failure: failure(), burnt: true }).await;
    let again = hub.claim_at(key, 1).await.expect("it waits");
    assert_eq!((again.epoch, again.tries), (2, 2));
}

/// And a newer one too.
pub async fn a_claim_with_an_old_epoch_gets_nothing(hub: &Fixture) {
    let key = hub.deliver(&hub.endpoint()).await;
    assert!(hub.claim_at(key, 1).await.is_none());
    let claimed = hub.claim(key).await;
    hub.settle(&claimed, Outcome::Released { failure: None }).await;
    assert!(hub.claim_at(key, 0).await.is_none());
    assert!(hub.claim_at(hub.ids.next(), 0).await.is_none());
}

/// At the same time.
pub async fn of_two_claimers_one_wins(hub: &Fixture) {
    let key = hub.deliver(&hub.endpoint()).await;
    let (first, second) = tokio::join!(hub.claim_at(key, 0), hub.claim_at(key, 0));
    assert_eq!(usize::from(first.is_some()) + usize::from(second.is_some()), 1);
    assert_eq!(hub.row(key).await.epoch, 1);
}

/// Twelve of them, each with the whole lane.
pub async fn many_claimers_of_one_lane_never_share_a_delivery(hub: &Fixture) {
    let target = hub.endpoint();
    for _ in 0..100 {
        hub.deliver(&target).await;
        hub.pass(Duration::from_millis(1));
    }
    let lane = Lane { tenant: hub.acme.clone(), target, urgency: switchyard::event::Urgency::Normal };
    let mut claimers = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let (store, lane, now) = (hub.store.clone(), lane.key(), hub.now());
        claimers.spawn(async move {
            let head = store.lane_head(lane, 100).await.expect("a head");
            let requests = head.iter().map(|one| ClaimRequest { delivery: one.delivery, epoch: one.epoch }).collect();
            store.claim(requests, now).await.expect("committed")
        });
    }
    let mut seen = HashSet::new();
    while let Some(claimed) = claimers.join_next().await {
        for one in claimed.expect("no claimer panics") {
            assert!(seen.insert(one.delivery), "claimed twice");
        }
    }
    assert_eq!(seen.len(), 100);
}
