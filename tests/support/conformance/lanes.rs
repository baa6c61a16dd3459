//! Lanes.

use std::time::Duration;

use switchyard::{
    event::{Target, Urgency},
    queue::{
        lane::{Lane, LaneKey},
        partition::PartitionSet,
    },
    store::ledger::Outcome,
};

use super::fixture::{Fixture, failure, plugin};

fn lane(hub: &Fixture, target: &Target, urgency: Urgency) -> LaneKey {
    Lane { tenant: hub.acme.clone(), target: target.clone(), urgency }.key()
}

/// One entry a lane, however many deliveries wait.
pub async fn lanes_are_listed_with_their_first_due_time(hub: &Fixture) {
    assert!(hub.store.lanes(PartitionSet::all()).await.expect("lanes").is_empty());
    let targets = [hub.endpoint(), plugin("billy"), hub.endpoint()];
    let first_due = hub.now();
    for _ in 0..5 {
        for target in &targets {
            hub.deliver(target).await;
        }
        hub.pass(Duration::from_secs(1));
    }
    let mut lanes = hub.store.lanes(PartitionSet::all()).await.expect("lanes");
    assert_eq!(lanes.len(), targets.len());
    for target in &targets {
        let place = lanes.iter().position(|head| head.lane.target == *target).expect("the lane is listed");
        let head = lanes.remove(place);
        assert_eq!((head.due_at, head.lane.tenant, head.lane.urgency), (first_due, hub.acme.clone(), Urgency::Normal));
    }
}

/// Of two nodes that share the lanes each finds its own, and between them all.
pub async fn lanes_are_listed_for_the_partitions_asked_for(hub: &Fixture) {
    let target = hub.endpoint();
    hub.deliver(&target).await;
    hub.deliver(&plugin("billy")).await;
    let own = PartitionSet::from_iter([lane(hub, &target, Urgency::Normal).partition()]);
    let others = PartitionSet::all().iter().filter(|one| !own.contains(*one)).collect();
    let (mine, theirs) = (hub.store.lanes(own).await.expect("lanes"), hub.store.lanes(others).await.expect("lanes"));
    assert!(mine.iter().any(|head| head.lane.target == target));
    assert!(theirs.iter().all(|head| head.lane.target != target));
    assert_eq!(mine.len() + theirs.len(), 2);
    assert!(hub.store.lanes(PartitionSet::none()).await.expect("lanes").is_empty());
}

/// By due time, then by age, the future included, and never more than asked for.
pub async fn a_lane_head_comes_in_the_order_of_start(hub: &Fixture) {
    let target = hub.endpoint();
    let later = hub.deliver(&target).await;
    let mut expected = Vec::new();
    for _ in 0..3 {
        expected.push(hub.deliver(&target).await);
    }
    hub.pass(Duration::from_secs(1));
    expected.push(hub.deliver(&target).await);
    let run_at = hub.now().after(Duration::from_secs(60));
    hub.settle(&hub.claim(later).await, Outcome::Waiting { run_at, failure: failure(), burnt: true }).await;
    expected.push(later);
    let key = lane(hub, &target, Urgency::Normal);
    let head = hub.store.lane_head(key, 64).await.expect("a head");
    assert_eq!(head.iter().map(|one| one.delivery).collect::<Vec<_>>(), expected);
    assert_eq!((head[4].due_at, head[4].epoch, head[4].suspect), (run_at, 1, false));
    let short = hub.store.lane_head(key, 2).await.expect("a head");
    assert_eq!(short.iter().map(|one| one.delivery).collect::<Vec<_>>(), expected[..2]);
}

/// Of the same target.
pub async fn emergencies_have_their_own_lane(hub: &Fixture) {
    let target = plugin("twilio");
    let normal = hub.deliver(&target).await;
    let mut event = hub.event(&hub.acme);
    event.urgency = Urgency::Emergency;
    let emergency = hub.deliver_event(event, &target).await;
    assert_eq!(hub.store.lanes(PartitionSet::all()).await.expect("lanes").len(), 2);
    for (urgency, key) in [(Urgency::Normal, normal), (Urgency::Emergency, emergency)] {
        let head = hub.store.lane_head(lane(hub, &target, urgency), 10).await.expect("a head");
        assert_eq!(head.iter().map(|one| one.delivery).collect::<Vec<_>>(), [key]);
        assert_eq!(hub.claim(key).await.lane.urgency, urgency);
    }
}

/// Delivered, dead, cancelled.
pub async fn running_and_ended_deliveries_are_in_no_lane(hub: &Fixture) {
    let target = hub.endpoint();
    let keys = [
        hub.deliver(&target).await,
        hub.deliver(&target).await,
        hub.deliver(&target).await,
        hub.deliver(&target).await,
    ];
    hub.claim(keys[0]).await;
    hub.settle(&hub.claim(keys[1]).await, Outcome::Delivered).await;
    hub.kill(keys[2]).await;
    hub.store.cancel(&hub.acme, keys[3], hub.audit(&hub.acme, "delivery.cancelled")).await.expect("cancelled");
    assert!(hub.store.lanes(PartitionSet::all()).await.expect("lanes").is_empty());
    let head = hub.store.lane_head(lane(hub, &target, Urgency::Normal), 10).await.expect("a head");
    assert!(head.is_empty());
}
