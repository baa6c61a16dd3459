//! Lost workers, expiry, pruning, the clock.

use std::time::Duration;

use switchyard::{
    clock::Timestamp,
    event::Urgency,
    id::Key,
    queue::{
        lane::{Lane, LaneKey},
        partition::PartitionSet,
        reason::{Failure, ReasonClass},
        state::State,
    },
    store::{
        StoreError,
        ledger::{Death, EventOutcome, JournalChange, Outcome, Start},
        records::{EventFilter, Page},
    },
};

use super::fixture::{Fixture, dedupe, failure, plugin};

const DAY: Duration = Duration::from_secs(86_400);

/// The delivery is queued and its epoch stays.
pub async fn a_lost_worker_burns_no_try_and_leaves_a_lost_attempt(hub: &Fixture) {
    let key = hub.deliver(&plugin("billy")).await;
    let idle = hub.deliver(&plugin("billy")).await;
    hub.claim(key).await;
    hub.pass(Duration::from_secs(2));
    let rescued = hub.store.rescue(None, PartitionSet::all(), hub.now()).await.expect("rescued");
    assert_eq!(rescued.iter().map(|one| (one.delivery, one.crashes)).collect::<Vec<_>>(), [(key, 1)]);
    let row = hub.row(key).await;
    assert_eq!((row.state, row.epoch, row.tries, row.crashes), (State::Queued, 1, 0, 1));
    let attempts = hub.store.attempts(&hub.acme, key).await.expect("attempts");
    assert_eq!((attempts[0].number, attempts[0].outcome.as_str(), attempts[0].duration_us), (1, "lost", 2_000_000));
    assert_eq!(hub.row(idle).await.crashes, 0);
    assert!(hub.store.rescue(None, PartitionSet::all(), hub.now()).await.expect("rescued").is_empty());
}

/// What runs in the partitions of another node goes on.
pub async fn only_the_partitions_asked_for_are_rescued(hub: &Fixture) {
    let (one, other) = (hub.deliver(&hub.endpoint()).await, hub.deliver(&plugin("billy")).await);
    for key in [one, other] {
        hub.claim(key).await;
    }
    let partition = hub.row(one).await.lane.key().partition();
    let rest: PartitionSet = PartitionSet::all().iter().filter(|other| *other != partition).collect();
    for rescued in hub.store.rescue(None, rest, hub.now()).await.expect("rescued") {
        assert_ne!(rescued.lane.key().partition(), partition);
    }
    assert_eq!(hub.row(one).await.state, State::Running);
    let own = PartitionSet::from_iter([partition]);
    let rescued = hub.store.rescue(None, own, hub.now()).await.expect("rescued");
    assert!(rescued.iter().any(|rescued| rescued.delivery == one));
    assert_eq!((hub.row(one).await.state, hub.row(other).await.state), (State::Queued, State::Queued));
}

async fn crash(hub: &Fixture, key: Key, times: u32) {
    for _ in 0..times {
        hub.claim(key).await;
        hub.store.rescue(None, PartitionSet::all(), hub.now()).await.expect("rescued");
    }
}

async fn is_suspect(hub: &Fixture, key: Key) -> bool {
    let lane = hub.row(key).await.lane.key();
    let head = hub.store.lane_head(lane, 10).await.expect("a head");
    head.iter().find(|one| one.delivery == key).expect("it is ready").suspect
}

/// Not two.
pub async fn three_crashes_make_a_plugin_delivery_a_suspect(hub: &Fixture) {
    let key = hub.deliver(&plugin("billy")).await;
    crash(hub, key, 2).await;
    assert!(!is_suspect(hub, key).await);
    crash(hub, key, 1).await;
    assert!(is_suspect(hub, key).await);
}

/// Sending runs no foreign code.
pub async fn an_endpoint_delivery_never_becomes_a_suspect(hub: &Fixture) {
    let key = hub.deliver(&hub.endpoint()).await;
    crash(hub, key, 5).await;
    assert!(!is_suspect(hub, key).await);
    assert_eq!(hub.row(key).await.crashes, 0);
}

/// The end of a delivery, and an event that tells of it to an endpoint of its own.
fn death(hub: &Fixture, delivery: Key, epoch: u32, code: &str) -> Death {
    let reason = if code == "expired" { ReasonClass::Expired } else { ReasonClass::PluginBug };
    let mut event = hub.event(&hub.acme);
    event.ordering_key = None;
    let told = hub.starting(event, &hub.endpoint(), Start::Queued);
    Death { delivery, epoch, failure: Failure::new(reason, code, "so it was"), told: Some(told) }
}

/// The key of the delivery by which a death is told.
fn told(death: &Death) -> Key {
    death.told.as_ref().expect("it is told").deliveries[0].key
}

/// Only a suspect; one that was not yet under suspicion gets another chance. What tells of it is stored with it.
pub async fn a_suspect_that_died_alone_is_dead_and_told(hub: &Fixture) {
    let key = hub.deliver(&plugin("billy")).await;
    hub.claim(key).await;
    assert!(hub.store.running_suspect(key).await.expect("read").is_none());
    let early = death(hub, key, 1, "killed_host");
    let never_told = told(&early);
    hub.store.rescue(Some(early), PartitionSet::all(), hub.now()).await.expect("rescued");
    assert_eq!(hub.row(key).await.state, State::Queued);
    assert!(matches!(hub.store.delivery(&hub.acme, never_told).await, Err(StoreError::NotFound)));
    crash(hub, key, 2).await;
    hub.claim(key).await;
    let suspect = hub.store.running_suspect(key).await.expect("read").expect("a suspect");
    let end = death(hub, key, suspect.epoch, "killed_host");
    let news = told(&end);
    hub.store.rescue(Some(end), PartitionSet::all(), hub.now()).await.expect("rescued");
    let row = hub.row(key).await;
    let failure = row.failure.expect("a failure");
    assert_eq!(
        (row.state, failure.reason, failure.code.as_str()),
        (State::Dead, ReasonClass::PluginBug, "killed_host")
    );
    assert_eq!(hub.row(news).await.state, State::Queued);
}

/// Ends what is overdue at a time; answers what ended.
async fn sweep(hub: &Fixture, now: Timestamp, held: &[(LaneKey, Timestamp)]) -> Vec<Key> {
    let late = hub.store.overdue(now, held, 10).await.expect("read");
    let ends = late.iter().map(|late| death(hub, late.delivery, late.epoch, "expired")).collect();
    hub.store.expire(ends, now).await.expect("swept")
}

/// What began meanwhile goes on, and nothing is told of it.
pub async fn only_what_still_waits_as_it_was_seen_is_ended(hub: &Fixture) {
    let (begun, waits) = (hub.deliver(&hub.endpoint()).await, hub.deliver(&hub.endpoint()).await);
    let ends = [death(hub, begun, 0, "expired"), death(hub, waits, 0, "expired")];
    let (untold, news) = (told(&ends[0]), told(&ends[1]));
    hub.claim(begun).await;
    assert_eq!(hub.store.expire(ends.to_vec(), hub.now()).await.expect("swept"), [waits]);
    assert_eq!((hub.row(begun).await.state, hub.row(waits).await.state), (State::Running, State::Dead));
    assert!(matches!(hub.store.delivery(&hub.acme, untold).await, Err(StoreError::NotFound)));
    assert_eq!(hub.row(news).await.state, State::Queued);
}

/// Not before its time, and not while it runs.
pub async fn what_is_too_late_expires_and_lets_the_next_go(hub: &Fixture) {
    let target = hub.endpoint();
    let deadline = hub.now().after(DAY);
    let mut event = hub.event(&hub.acme);
    event.expires_at = Some(deadline);
    event.ordering_key = Some("k".into());
    let late = hub.deliver_event(event.clone(), &target).await;
    let next = {
        let mut next = hub.event(&hub.acme);
        next.ordering_key = Some("k".into());
        hub.deliver_event(next, &target).await
    };
    let mut other = hub.event(&hub.acme);
    other.expires_at = Some(deadline);
    let running = hub.claim(hub.deliver_event(other, &hub.endpoint()).await).await;
    assert!(sweep(hub, Timestamp(deadline.0 - 1), &[]).await.is_empty());
    assert_eq!(sweep(hub, deadline, &[]).await, [late]);
    let row = hub.row(late).await;
    assert_eq!((row.state, row.failure.map(|failure| failure.reason)), (State::Dead, Some(ReasonClass::Expired)));
    assert!(!hub.row(next).await.behind);
    assert_eq!(hub.row(running.delivery).await.state, State::Running);
}

/// Or after they were made, whichever is later.
pub async fn a_held_lane_expires_seven_days_after_its_block(hub: &Fixture) {
    let target = hub.endpoint();
    let old = hub.deliver(&target).await;
    let lane = Lane { tenant: hub.acme.clone(), target: target.clone(), urgency: Urgency::Normal }.key();
    hub.pass(DAY);
    let blocked_at = hub.now();
    hub.pass(DAY);
    let young = hub.deliver(&target).await;
    let week = blocked_at.after(7 * DAY);
    let held = [(lane, blocked_at)];
    assert!(sweep(hub, Timestamp(week.0 - 1), &held).await.is_empty());
    assert!(sweep(hub, week, &[]).await.is_empty());
    assert_eq!(sweep(hub, week, &held).await.len(), 1);
    assert_eq!((hub.row(old).await.state, hub.row(young).await.state), (State::Dead, State::Queued));
}

async fn event_count(hub: &Fixture) -> usize {
    let page = Page { limit: 1000, after: None };
    hub.store.events(&hub.acme, EventFilter::default(), page).await.expect("a list").len()
}

/// Queued, waiting and running ones.
pub async fn pruning_keeps_events_with_live_deliveries(hub: &Fixture) {
    let target = hub.endpoint();
    let done = hub.deliver(&target).await;
    hub.settle(&hub.claim(done).await, Outcome::Delivered).await;
    let live = hub.deliver(&target).await;
    hub.pass(31 * DAY);
    let before = hub.now();
    hub.deliver(&target).await;
    assert_eq!(hub.store.prune(before, Timestamp(0), 100).await.expect("pruned"), 1);
    assert_eq!(event_count(hub).await, 2);
    assert_eq!(hub.row(live).await.state, State::Queued);
    assert!(matches!(hub.store.delivery(&hub.acme, done).await, Err(StoreError::NotFound)));
    hub.settle(&hub.claim(live).await, Outcome::Delivered).await;
    assert_eq!(hub.store.prune(before, Timestamp(0), 100).await.expect("pruned"), 1);
}

/// Deliveries, attempts, journal; a bounded number of events at a time.
pub async fn pruning_takes_all_that_hangs_on_an_event(hub: &Fixture) {
    let mut keys = Vec::new();
    for _ in 0..5 {
        let key = hub.deliver(&plugin("billy")).await;
        let mut settle = hub.settle_of(&hub.claim(key).await, Outcome::Dead(failure()));
        settle.journal = JournalChange::Put(vec![1]);
        hub.store.settle(settle).await.expect("committed");
        keys.push(key);
    }
    hub.pass(DAY);
    assert_eq!(hub.store.prune(hub.now(), Timestamp(0), 3).await.expect("pruned"), 3);
    assert_eq!(event_count(hub).await, 2);
    assert_eq!(hub.store.prune(hub.now(), Timestamp(0), 3).await.expect("pruned"), 2);
    for key in keys {
        assert!(matches!(hub.store.journal(&hub.acme, key).await, Err(StoreError::NotFound)));
        assert!(matches!(hub.store.attempts(&hub.acme, key).await, Err(StoreError::NotFound)));
    }
    assert_eq!(hub.store.counts(None).await.expect("counts").by_state, []);
}

/// A repeat after the event is gone is still a duplicate.
pub async fn a_dedupe_key_outlives_its_event_and_goes_with_its_window(hub: &Fixture) {
    let keyed = || {
        let mut new = hub.queued(hub.event(&hub.acme), &hub.endpoint());
        new.deliveries.clear();
        new.dedupe = Some(dedupe("1", 1));
        new
    };
    let first = keyed();
    let first_id = first.event.id.clone();
    assert_eq!(hub.accept(first).await, EventOutcome::Stored);
    hub.pass(31 * DAY);
    assert_eq!(hub.store.prune(hub.now(), Timestamp(0), 10).await.expect("pruned"), 1);
    let repeat = EventOutcome::Duplicate { first_id, correlation_id: None, same: true };
    assert_eq!(hub.accept(keyed()).await, repeat);
    hub.pass(5 * DAY);
    hub.store.prune(Timestamp(0), hub.now(), 10).await.expect("pruned");
    assert_eq!(hub.accept(keyed()).await, EventOutcome::Stored);
}

/// The latest time that any caller knew. Of SQLite, whose one process has no other clock to hold its own against.
pub async fn the_clock_of_the_queue_never_steps_back(hub: &Fixture) {
    let mut event = hub.event(&hub.acme);
    event.accepted_at = hub.now().after(DAY);
    let latest = event.accepted_at;
    hub.deliver_event(event, &hub.endpoint()).await;
    assert_eq!(hub.store.last_seen().await.expect("a time"), latest);
    hub.deliver(&hub.endpoint()).await;
    assert_eq!(hub.store.last_seen().await.expect("a time"), latest);
}
