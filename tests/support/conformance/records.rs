//! Lists, replay, discard, retry, cancel.

use std::time::Duration;

use switchyard::{
    event::Target,
    id::Key,
    queue::{
        reason::{Failure, ReasonClass},
        state::State,
    },
    store::{
        StoreError,
        ledger::{JournalChange, NewDelivery, Outcome, Settled, Start},
        records::{DeliveryFilter, EventFilter, EventRoutes, Page, Replay, Rerouted, Selection, Touched},
    },
};

use super::fixture::{Fixture, failure, plugin};

const ALL: Page = Page { limit: 1000, after: None };

/// A replay of these deliveries at once.
#[must_use]
pub fn replay_of(hub: &Fixture, deliveries: Vec<Key>) -> Replay {
    Replay {
        tenant: hub.acme.clone(),
        selection: Selection::Deliveries(deliveries),
        include_delivered: false,
        discard_journal: false,
        spacing_ms: 0,
        limit: 1000,
        now: hub.now(),
    }
}

async fn replay(hub: &Fixture, replay: Replay) -> Touched {
    hub.store.replay(replay, hub.audit(&hub.acme, "delivery.replayed")).await.expect("replayed")
}

async fn found(hub: &Fixture, filter: DeliveryFilter) -> Vec<Key> {
    let rows = hub.store.deliveries(&hub.acme, filter, ALL).await.expect("a list");
    rows.into_iter().map(|row| row.key).collect()
}

/// Page by page.
pub async fn events_are_listed_newest_first_and_filtered(hub: &Fixture) {
    let mut keys = Vec::new();
    for (event_type, subject) in [("invoice.paid", Some("1")), ("invoice.created", Some("2")), ("sms.received", None)] {
        let mut event = hub.event(&hub.acme);
        event.event_type = event_type.parse().expect("an event type");
        event.subject = subject.map(str::to_owned);
        event.correlation_id = "cor".into();
        keys.push(event.key);
        hub.deliver_event(event, &hub.endpoint()).await;
        hub.pass(Duration::from_secs(7200));
    }
    let list = async |filter: EventFilter, page: Page| {
        let events = hub.store.events(&hub.acme, filter, page).await.expect("a list");
        events.iter().map(|event| event.key).collect::<Vec<_>>()
    };
    let none = EventFilter::default;
    assert_eq!(list(none(), ALL).await, [keys[2], keys[1], keys[0]]);
    assert_eq!(list(none(), Page { limit: 1, after: Some(keys[2]) }).await, [keys[1]]);
    let of_type = |text: &str| EventFilter { event_type: Some(text.into()), ..none() };
    assert_eq!(list(of_type("invoice.paid"), ALL).await, [keys[0]]);
    assert_eq!(list(of_type("invoice.*"), ALL).await, [keys[1], keys[0]]);
    assert_eq!(list(EventFilter { subject: Some("2".into()), ..none() }, ALL).await, [keys[1]]);
    assert_eq!(list(EventFilter { correlation_id: Some("cor".into()), ..none() }, ALL).await.len(), 3);
    let second = hub.store.events(&hub.acme, of_type("invoice.created"), ALL).await.expect("a list")[0].accepted_at;
    assert_eq!(list(EventFilter { since: Some(second), ..none() }, ALL).await, [keys[2], keys[1]]);
    assert_eq!(list(EventFilter { until: Some(second), ..none() }, ALL).await, [keys[0]]);
}

/// And the filters combine.
pub async fn deliveries_are_filtered_by_every_field(hub: &Fixture) {
    let target = hub.endpoint();
    let waiting = hub.deliver(&target).await;
    let run_at = hub.now().after(Duration::from_secs(60));
    hub.settle(&hub.claim(waiting).await, Outcome::Waiting { run_at, failure: failure(), burnt: true }).await;
    let dead = hub.deliver(&target).await;
    hub.kill(dead).await;
    let delivered = hub.deliver(&plugin("billy")).await;
    hub.settle(&hub.claim(delivered).await, Outcome::Delivered).await;
    hub.pass(Duration::from_secs(7200));
    let queued = hub.deliver(&target).await;
    let none = DeliveryFilter::default;
    let states = |states: &[State]| DeliveryFilter { states: states.to_vec(), ..none() };
    assert_eq!(found(hub, none()).await, [queued, delivered, dead, waiting]);
    assert_eq!(found(hub, states(&[State::Waiting])).await, [waiting]);
    assert_eq!(found(hub, states(&[State::Waiting, State::Queued, State::Dead])).await, [queued, dead, waiting]);
    assert_eq!(found(hub, states(&[State::Delivered, State::Dead])).await, [delivered, dead]);
    assert_eq!(found(hub, DeliveryFilter { reason: Some("subscriber".into()), ..none() }).await, [dead, waiting]);
    assert_eq!(found(hub, DeliveryFilter { target: Some(plugin("billy")), ..none() }).await, [delivered]);
    let fingerprint = hub.row(dead).await.fingerprint;
    assert_eq!(found(hub, DeliveryFilter { fingerprint: fingerprint.clone(), ..states(&[State::Dead]) }).await, [dead]);
    assert_eq!(found(hub, DeliveryFilter { event: Some(hub.row(queued).await.event), ..none() }).await, [queued]);
    assert_eq!(found(hub, DeliveryFilter { since: Some(hub.now()), ..none() }).await, [queued]);
    assert_eq!(found(hub, DeliveryFilter { event_type: Some("invoice.paid".into()), ..none() }).await.len(), 4);
    let page = Page { limit: 2, after: Some(queued) };
    assert_eq!(hub.store.deliveries(&hub.acme, none(), page).await.expect("a list").len(), 2);
}

/// The newest group first, each with the times of its first and last death.
pub async fn dead_letters_are_grouped_by_fingerprint(hub: &Fixture) {
    let target = hub.endpoint();
    let first_at = hub.now();
    hub.kill(hub.deliver(&target).await).await;
    hub.pass(Duration::from_secs(10));
    hub.kill(hub.deliver(&plugin("billy")).await).await;
    hub.pass(Duration::from_secs(10));
    let newest = hub.deliver(&target).await;
    hub.kill(newest).await;
    let groups = hub.store.dead_groups(&hub.acme, 10).await.expect("groups");
    assert_eq!(groups.iter().map(|group| group.count).collect::<Vec<_>>(), [2, 1]);
    assert_eq!((&groups[0].target, &groups[0].failure, groups[0].sample), (&target, &failure(), newest));
    assert_eq!((groups[0].first_at, groups[0].last_at), (first_at, hub.now()));
    assert_eq!(hub.store.dead_groups(&hub.acme, 1).await.expect("groups").len(), 1);
}

/// Journal and epoch stay, tries begin again, and the claim knows.
pub async fn a_replay_queues_the_same_row_again(hub: &Fixture) {
    let key = hub.deliver(&plugin("billy")).await;
    let mut settle = hub.settle_of(&hub.claim(key).await, Outcome::Dead(failure()));
    settle.journal = JournalChange::Put(vec![1]);
    hub.store.settle(settle).await.expect("committed");
    let touched = replay(hub, replay_of(hub, vec![key])).await;
    assert_eq!((touched.deliveries, touched.lanes.len()), (vec![key], 1));
    let row = hub.row(key).await;
    assert_eq!((row.state, row.epoch, row.tries), (State::Queued, 1, 0));
    let claimed = hub.claim(key).await;
    assert_eq!((claimed.epoch, claimed.tries, claimed.replayed, claimed.journalled), (2, 1, true, true));
    hub.settle(&claimed, Outcome::Dead(failure())).await;
    replay(hub, Replay { discard_journal: true, ..replay_of(hub, vec![key]) }).await;
    assert_eq!(hub.store.journal(&hub.acme, key).await.expect("a delivery"), None);
    assert_eq!(hub.store.attempts(&hub.acme, key).await.expect("attempts").len(), 2);
    assert!(replay(hub, replay_of(hub, vec![key])).await.deliveries.is_empty(), "a queued one is left alone");
}

/// So that automatic retries after a replay stay on the version that the replay chose.
pub async fn a_journal_stored_after_a_replay_pins_the_version_again(hub: &Fixture) {
    let key = hub.deliver(&plugin("billy")).await;
    hub.kill(key).await;
    replay(hub, replay_of(hub, vec![key])).await;
    let claimed = hub.claim(key).await;
    assert!(claimed.replayed);
    let again = Outcome::Waiting { run_at: hub.now(), failure: failure(), burnt: true };
    let mut settle = hub.settle_of(&claimed, again);
    settle.journal = JournalChange::Put(vec![1]);
    hub.store.settle(settle).await.expect("committed");
    let claimed = hub.claim(key).await;
    assert_eq!((claimed.replayed, claimed.journalled), (false, true));
}

/// And each step takes only what was delivered before the replay began.
pub async fn a_replay_takes_delivered_ones_only_when_asked(hub: &Fixture) {
    let target = hub.endpoint();
    let delivered = hub.deliver(&target).await;
    hub.settle(&hub.claim(delivered).await, Outcome::Delivered).await;
    let dead = hub.deliver(&target).await;
    hub.kill(dead).await;
    hub.pass(Duration::from_secs(1));
    let all_of = |include_delivered| Replay {
        selection: Selection::Target(target.clone(), None),
        include_delivered,
        ..replay_of(hub, Vec::new())
    };
    assert_eq!(replay(hub, all_of(false)).await.deliveries, [dead]);
    hub.kill(dead).await;
    assert_eq!(replay(hub, all_of(true)).await.deliveries, [delivered, dead]);
    hub.settle(&hub.claim(delivered).await, Outcome::Delivered).await;
    assert!(replay(hub, all_of(true)).await.deliveries.is_empty());
    let named = Replay { include_delivered: true, ..replay_of(hub, vec![delivered]) };
    assert_eq!(replay(hub, named).await.deliveries, [delivered]);
}

/// The n-th becomes due n spaces later.
pub async fn a_replay_is_spread_and_bounded(hub: &Fixture) {
    let target = hub.endpoint();
    let mut keys = Vec::new();
    for _ in 0..5 {
        let key = hub.deliver(&target).await;
        hub.kill(key).await;
        keys.push(key);
    }
    let spread = || Replay { selection: Selection::AllDead, spacing_ms: 500, limit: 3, ..replay_of(hub, Vec::new()) };
    assert_eq!(replay(hub, spread()).await.deliveries, keys[..3]);
    assert_eq!(hub.row(keys[2]).await.due_at, hub.now().after(Duration::from_millis(1000)));
    let fingerprint = hub.row(keys[3]).await.fingerprint.expect("a dead one has it");
    let grouped = Replay { selection: Selection::Fingerprint(fingerprint), ..spread() };
    assert_eq!(replay(hub, grouped).await.deliveries, keys[3..]);
}

/// A command that nobody handled: its dead letter and its event.
async fn unrouted(hub: &Fixture) -> (Key, Key) {
    let new = hub.starting(hub.event(&hub.acme), &Target::Unrouted, Start::Dead(failure()));
    let keys = (new.deliveries[0].key, new.event.key);
    hub.accept(new).await;
    keys
}

/// Routes an event anew to one target.
async fn reroute(hub: &Fixture, event: Key, target: Target, start: Start) -> (Key, Rerouted) {
    let delivery = NewDelivery { key: hub.ids.next(), target, start, ordering_key: None, told: None };
    let due_at = hub.now().after(Duration::from_secs(2));
    let routes = EventRoutes { event, deliveries: vec![delivery.clone()], due_at };
    let audit = hub.audit(&hub.acme, "events.routed_anew");
    let rerouted = hub.store.add_deliveries(&hub.acme, vec![routes], audit).await.expect("routed");
    (delivery.key, rerouted.into_iter().next().expect("one event, one answer"))
}

/// It would run into the same wall; its event is to be routed anew.
pub async fn a_replay_leaves_unrouted_commands_alone(hub: &Fixture) {
    let (key, _) = unrouted(hub).await;
    let named = replay(hub, replay_of(hub, vec![key])).await;
    let all = replay(hub, Replay { selection: Selection::AllDead, ..replay_of(hub, Vec::new()) }).await;
    assert!(named.deliveries.is_empty() && all.deliveries.is_empty());
    assert_eq!(hub.row(key).await.state, State::Dead);
}

/// In one transaction with its new delivery.
pub async fn an_unrouted_command_is_cancelled_when_it_has_a_handler(hub: &Fixture) {
    let (key, event) = unrouted(hub).await;
    let (new, rerouted) = reroute(hub, event, plugin("billy"), Start::Queued).await;
    assert_eq!(rerouted, Rerouted { targets: vec![plugin("billy")], handled: Some(true) });
    assert_eq!((hub.row(key).await.state, hub.row(new).await.state), (State::Cancelled, State::Queued));
    assert_eq!(hub.row(new).await.due_at, hub.now().after(Duration::from_secs(2)));
    let (_, again) = reroute(hub, event, plugin("billy"), Start::Queued).await;
    assert_eq!(again, Rerouted { targets: Vec::new(), handled: None });
}

/// And says why as of today.
pub async fn an_unrouted_command_without_a_handler_stays_dead(hub: &Fixture) {
    let (key, event) = unrouted(hub).await;
    let today = Failure::new(ReasonClass::Config, "several_handlers", "choose one");
    let (_, rerouted) = reroute(hub, event, Target::Unrouted, Start::Dead(today.clone())).await;
    assert_eq!(rerouted, Rerouted { targets: Vec::new(), handled: Some(false) });
    let row = hub.row(key).await;
    assert_eq!((row.state, row.fingerprint), (State::Dead, Some(today.fingerprint("unrouted"))));
    assert_eq!(row.failure, Some(today));
}

/// And cannot come back.
pub async fn a_discarded_dead_letter_is_cancelled(hub: &Fixture) {
    let target = hub.endpoint();
    let (dead, live) = (hub.deliver(&target).await, hub.deliver(&target).await);
    hub.kill(dead).await;
    let audit = || hub.audit(&hub.acme, "delivery.discarded");
    let selection = Selection::Deliveries(vec![dead, live]);
    let touched = hub.store.discard(&hub.acme, selection, 10, audit()).await.expect("discarded");
    assert_eq!(touched.deliveries, [dead]);
    assert_eq!((hub.row(dead).await.state, hub.row(live).await.state), (State::Cancelled, State::Queued));
    assert!(replay(hub, replay_of(hub, vec![dead])).await.deliveries.is_empty());
    let unknown = Selection::Deliveries(vec![hub.ids.next()]);
    assert!(matches!(hub.store.discard(&hub.acme, unknown, 10, audit()).await, Err(StoreError::NotFound)));
}

/// A running one cannot.
pub async fn a_waiting_delivery_can_be_made_due(hub: &Fixture) {
    let key = hub.deliver(&hub.endpoint()).await;
    let claimed = hub.claim(key).await;
    let audit = || hub.audit(&hub.acme, "delivery.retried");
    assert!(matches!(hub.store.retry_now(&hub.acme, key, audit()).await, Err(StoreError::Conflict(_))));
    let run_at = hub.now().after(Duration::from_secs(3600));
    hub.settle(&claimed, Outcome::Waiting { run_at, failure: failure(), burnt: true }).await;
    let lane = hub.store.retry_now(&hub.acme, key, audit()).await.expect("due");
    assert_eq!((lane, hub.row(key).await.due_at), (claimed.lane, hub.now()));
    assert_eq!(hub.row(key).await.state, State::Waiting);
}

/// And an ended delivery is cancelled no more.
pub async fn a_cancelled_run_finds_its_lease_lost(hub: &Fixture) {
    let key = hub.deliver(&hub.endpoint()).await;
    let claimed = hub.claim(key).await;
    let audit = || hub.audit(&hub.acme, "delivery.cancelled");
    hub.store.cancel(&hub.acme, key, audit()).await.expect("cancelled");
    let end = hub.store.settle(hub.settle_of(&claimed, Outcome::Delivered)).await.expect("committed");
    assert!(matches!(end, Settled::LostLease));
    assert_eq!(hub.row(key).await.state, State::Cancelled);
    assert!(matches!(hub.store.cancel(&hub.acme, key, audit()).await, Err(StoreError::Conflict(_))));
}

/// The others keep theirs.
pub async fn deliveries_are_added_only_for_new_targets(hub: &Fixture) {
    let (old, new) = (hub.endpoint(), hub.endpoint());
    let key = hub.deliver(&old).await;
    let event = hub.row(key).await.event;
    let delivery = |target: &Target| NewDelivery {
        key: hub.ids.next(),
        target: target.clone(),
        start: Start::Queued,
        ordering_key: None,
        told: None,
    };
    let deliveries = vec![delivery(&old), delivery(&new)];
    let audit = || hub.audit(&hub.acme, "event.replayed");
    let routes = || vec![EventRoutes { event, deliveries: deliveries.clone(), due_at: hub.now() }];
    let added = hub.store.add_deliveries(&hub.acme, routes(), audit()).await.expect("added");
    assert_eq!(added, [Rerouted { targets: vec![new], handled: None }]);
    assert_eq!(hub.row(deliveries[1].key).await.state, State::Queued);
    assert_eq!(found(hub, DeliveryFilter { event: Some(event), ..DeliveryFilter::default() }).await.len(), 2);
    let nothing = hub.store.add_deliveries(&hub.acme, routes(), audit()).await.expect("nothing to add");
    assert_eq!(nothing, [Rerouted::default()]);
}

/// Of a tenant and of the hub.
pub async fn counts_tell_what_is_not_over(hub: &Fixture) {
    let target = hub.endpoint();
    let began = hub.now();
    hub.deliver(&target).await;
    hub.pass(Duration::from_secs(5));
    hub.kill(hub.deliver(&target).await).await;
    hub.claim(hub.deliver(&target).await).await;
    hub.settle(&hub.claim(hub.deliver(&target).await).await, Outcome::Delivered).await;
    super::intake::park(hub, "src_1", 1).await;
    for tenant in [Some(&hub.acme), None] {
        let counts = hub.store.counts(tenant).await.expect("counts");
        assert_eq!(counts.by_state, [(State::Queued, 1), (State::Running, 1), (State::Dead, 1)]);
        assert_eq!((counts.oldest_due, counts.parked), (Some(began), 1));
    }
    let other = hub.store.counts(Some(&hub.globex)).await.expect("counts");
    assert_eq!((other.by_state.len(), other.oldest_due, other.parked), (0, None, 0));
}
