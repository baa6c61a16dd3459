//! Schedules and polls.

use std::time::Duration;

use switchyard::{
    clock::Timestamp,
    id::Key,
    schedule::timetable::{Missed, Timetable},
    store::{
        ledger::{Accept, EventOutcome, NewEvent, Outcome, PollDue, PollSettled, ScheduleName},
        registry::{Mode, ScheduleRow},
    },
};

use super::fixture::{Fixture, plugin};

async fn due(hub: &Fixture) -> Vec<PollDue> {
    hub.store.polls_due(hub.now(), 10).await.expect("schedules")
}

fn schedule(hub: &Fixture) -> ScheduleName {
    ScheduleName { tenant: hub.acme.clone(), plugin: "billy".into(), schedule: "payments".into() }
}

fn poll_event(hub: &Fixture) -> NewEvent {
    let mut event = hub.event(&hub.acme);
    event.event_type = "_poll.due".parse().expect("an event type");
    event.private_to = Some("billy".into());
    hub.queued(event, &plugin("billy"))
}

/// Starts the poll of the schedule; answers what became of it and its delivery.
async fn start(hub: &Fixture) -> (EventOutcome, Key) {
    let event = poll_event(hub);
    let key = event.deliveries[0].key;
    let accept = Accept { events: vec![event], polls_started: vec![schedule(hub)], ..Accept::default() };
    let mut accepted = hub.store.accept(accept).await.expect("committed");
    (accepted.events.remove(0), key)
}

async fn hint(hub: &Fixture) {
    let accept = Accept { polls_now: vec![schedule(hub)], ..Accept::default() };
    hub.store.accept(accept).await.expect("committed");
}

async fn settle(hub: &Fixture, delivery: Key, due_at: Option<Timestamp>) {
    let mut settle = hub.settle_of(&hub.claim(delivery).await, Outcome::Delivered);
    settle.plugin = Some("billy".into());
    let cursor = Some(Some("page 2".into()));
    settle.poll = Some(PollSettled { schedule: "payments".into(), cursor, due_at, succeeded_at: Some(hub.now()) });
    hub.store.settle(settle).await.expect("committed");
}

async fn row(hub: &Fixture) -> ScheduleRow {
    hub.store.registry(Some(&hub.acme)).await.expect("rows").installations[0].schedules[0].clone()
}

/// Of an installation that is ready.
pub async fn a_new_schedule_is_due_at_once(hub: &Fixture) {
    assert_eq!(hub.store.next_poll().await.expect("a time"), None);
    hub.install_billy(&hub.acme).await;
    let due = due(hub).await;
    assert_eq!(due.len(), 1);
    assert_eq!((&due[0].name, &due[0].cursor), (&schedule(hub), &None));
    assert_eq!(hub.store.next_poll().await.expect("a time"), Some(hub.now()));
}

/// A second one is a duplicate, in the same accept, in the same group and later.
pub async fn a_schedule_has_at_most_one_live_poll(hub: &Fixture) {
    hub.install_billy(&hub.acme).await;
    let (first, second) = tokio::join!(start(hub), start(hub));
    let outcomes = [first.0, second.0];
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == EventOutcome::Stored).count(), 1, "{outcomes:?}");
    assert!(matches!(start(hub).await.0, EventOutcome::Duplicate { .. }));
    hub.pass(Duration::from_secs(3600));
    assert!(due(hub).await.is_empty());
    assert_eq!(hub.store.next_poll().await.expect("a time"), None);
    assert_eq!(row(hub).await.due_at, None);
}

/// And the next poll goes on there.
pub async fn a_settled_poll_moves_cursor_and_due_time(hub: &Fixture) {
    hub.install_billy(&hub.acme).await;
    let (_, delivery) = start(hub).await;
    let again = hub.now().after(Duration::from_secs(300));
    settle(hub, delivery, Some(again)).await;
    assert_eq!(hub.store.next_poll().await.expect("a time"), Some(again));
    assert!(due(hub).await.is_empty());
    assert_eq!((row(hub).await.due_at, row(hub).await.succeeded_at), (Some(again), Some(hub.now())));
    hub.pass(Duration::from_secs(300));
    let due = due(hub).await;
    assert_eq!((due[0].cursor.as_deref(), due[0].due_at), (Some("page 2"), again));
    assert_eq!(start(hub).await.0, EventOutcome::Stored);
}

/// Before its time.
pub async fn a_hint_makes_an_idle_schedule_due(hub: &Fixture) {
    hub.install_billy(&hub.acme).await;
    let (_, delivery) = start(hub).await;
    settle(hub, delivery, Some(hub.now().after(Duration::from_secs(300)))).await;
    assert!(due(hub).await.is_empty());
    hint(hub).await;
    assert_eq!(due(hub).await.len(), 1);
}

/// What the provider pushed may be newer than what the poll has seen.
pub async fn a_hint_during_a_poll_makes_it_due_after_it(hub: &Fixture) {
    hub.install_billy(&hub.acme).await;
    let (_, delivery) = start(hub).await;
    hint(hub).await;
    assert!(due(hub).await.is_empty());
    settle(hub, delivery, Some(hub.now().after(Duration::from_secs(300)))).await;
    assert_eq!(due(hub).await.len(), 1);
    let (_, delivery) = start(hub).await;
    settle(hub, delivery, Some(hub.now().after(Duration::from_secs(300)))).await;
    assert!(due(hub).await.is_empty());
}

/// It is due again after a while.
pub async fn a_cancelled_poll_does_not_stop_its_schedule(hub: &Fixture) {
    hub.install_billy(&hub.acme).await;
    let (_, delivery) = start(hub).await;
    hub.store.cancel(&hub.acme, delivery, hub.audit(&hub.acme, "delivery.cancelled")).await.expect("cancelled");
    hub.pass(Duration::from_secs(3600));
    assert_eq!(due(hub).await.len(), 1);
}

/// Its schedules keep their cursors.
pub async fn an_installation_that_is_off_polls_nothing(hub: &Fixture) {
    let mut billy = hub.install_billy(&hub.acme).await;
    let (_, delivery) = start(hub).await;
    settle(hub, delivery, Some(hub.now())).await;
    billy.mode = Mode::Off;
    let audit = || hub.audit(&hub.acme, "plugin.changed");
    hub.store.put_installation(billy.clone(), audit()).await.expect("changed");
    assert!(due(hub).await.is_empty());
    assert_eq!((hub.store.next_poll().await.expect("a time"), row(hub).await.due_at), (None, None));
    billy.mode = Mode::Live;
    hub.store.put_installation(billy, audit()).await.expect("changed");
    assert_eq!(due(hub).await[0].cursor.as_deref(), Some("page 2"));
}

fn nightly(cron: &str) -> Timetable {
    Timetable { cron: cron.to_owned(), time_zone: None, missed: Missed::Skip, jitter_s: 0 }
}

/// By whoever names when it was due; not while a poll is live.
pub async fn missed_runs_are_counted_once_and_move_the_schedule(hub: &Fixture) {
    hub.install_billy(&hub.acme).await;
    let (seen, next) = (hub.now(), hub.now().after(Duration::from_secs(600)));
    let name = schedule(hub);
    let missed = async |seen| hub.store.missed_runs(&name, seen, next, 3, hub.now()).await.expect("counted");
    assert!(missed(seen).await);
    assert!(!missed(seen).await, "it is not due then any more");
    let shown = row(hub).await;
    assert_eq!((shown.due_at, shown.missed, shown.missed_at), (Some(next), 3, Some(hub.now())));
    let (_, delivery) = start(hub).await;
    assert!(!missed(next).await, "it runs");
    settle(hub, delivery, Some(next)).await;
    assert!(missed(next).await);
    assert_eq!(row(hub).await.missed, 6);
}

/// When an installation is saved.
pub async fn other_times_make_a_schedule_due_by_them_and_the_same_leave_it(hub: &Fixture) {
    let mut billy = hub.install_billy(&hub.acme).await;
    let audit = || hub.audit(&hub.acme, "plugin.changed");
    let later = hub.now().after(Duration::from_secs(3600));
    let own = |cron: &str, due_at| vec![ScheduleRow::new("payments".into(), Some(due_at), Some(nightly(cron)))];
    billy.schedules = own("0 2 * * *", later);
    hub.store.put_installation(billy.clone(), audit()).await.expect("changed");
    assert_eq!((row(hub).await.due_at, row(hub).await.timetable), (Some(later), Some(nightly("0 2 * * *"))));
    billy.schedules = own("0 2 * * *", hub.now());
    hub.store.put_installation(billy.clone(), audit()).await.expect("changed");
    assert_eq!(row(hub).await.due_at, Some(later), "the same times");
    billy.schedules = own("0 3 * * *", hub.now());
    hub.store.put_installation(billy.clone(), audit()).await.expect("changed");
    assert_eq!(row(hub).await.due_at, Some(hub.now()), "other times");
    billy.schedules = vec![ScheduleRow::new("payments".into(), Some(later), None)];
    hub.store.put_installation(billy, audit()).await.expect("changed");
    assert_eq!((row(hub).await.due_at, row(hub).await.timetable), (Some(later), None), "those of the manifest");
}

/// With the plugin that each belongs to.
pub async fn schedules_are_listed_of_one_tenant(hub: &Fixture) {
    hub.install_billy(&hub.acme).await;
    let listed = hub.store.schedules(&hub.acme).await.expect("rows");
    assert_eq!((listed.len(), listed[0].0.as_str(), listed[0].1.name.as_str()), (1, "billy", "payments"));
    assert!(hub.store.schedules(&hub.globex).await.expect("rows").is_empty());
}
