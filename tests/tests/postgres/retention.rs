//! Whole days that go, and what they leave alone.

use std::{os::unix::process::ExitStatusExt as _, sync::Arc, time::Duration};

use sqlx::Connection as _;
use switchyard::{
    clock::{ManualClock, Timestamp},
    event::Target,
    id::Key,
    queue::state::State,
    store::{
        Ledger as _, StoreError,
        ledger::{Accept, EventOutcome, JournalChange, NewDelivery, NewEvent, Outcome, Settled, Start},
        postgres::PostgresStore,
        records::{EventRoutes, StateCounts},
    },
};
use switchyard_tests::{
    conformance::{
        Fixture,
        fixture::{failure, plugin},
    },
    database::Database,
};

use super::{day, hub, number, options, run, today};

const DAY: Duration = Duration::from_secs(86_400);

/// More than what goes row by row.
const MANY: usize = 5_200;

/// How many go in one call.
const STEP: u32 = 2_000;

/// What goes when no time is too old.
const NEVER: Timestamp = Timestamp(0);

/// Accepts so many events whose deliveries are dead; answers the last one.
async fn fill(hub: &Fixture, many: usize) -> NewEvent {
    let target = hub.endpoint();
    let dead = || hub.starting(hub.event(&hub.acme), &target, Start::Dead(failure()));
    let all: Vec<NewEvent> = std::iter::repeat_with(dead).take(many).collect();
    for events in all.chunks(400) {
        let accept = Accept { events: events.to_vec(), ..Accept::default() };
        let accepted = hub.store.accept(accept).await.expect("the accept is committed");
        assert!(accepted.events.iter().all(|outcome| *outcome == EventOutcome::Stored));
    }
    all.last().expect("there are some").clone()
}

async fn prune(hub: &Fixture) -> u64 {
    hub.store.prune(hub.now(), NEVER, STEP).await.expect("pruned")
}

async fn is_there(database: &Database, table: &str) -> bool {
    let mut conn = database.connect().await;
    number(&mut conn, &format!("select count(*) from pg_class where relname = '{table}'")).await == 1
}

async fn rows(database: &Database, table: &str) -> i64 {
    number(&mut database.connect().await, &format!("select count(*) from {table}")).await
}

/// A delivery that waits for its second attempt, with a journal.
async fn live_one(hub: &Fixture) -> Key {
    let key = hub.deliver(&plugin("billy")).await;
    let outcome = Outcome::Waiting { run_at: hub.now().after(90 * DAY), failure: failure(), burnt: true };
    let mut settle = hub.settle_of(&hub.claim(key).await, outcome);
    settle.journal = JournalChange::Put(vec![1]);
    assert!(matches!(hub.store.settle(settle).await.expect("committed"), Settled::Done { .. }));
    key
}

/// It waits, and its event, attempts and journal are there.
async fn is_whole(hub: &Fixture, live: Key) {
    let row = hub.row(live).await;
    assert_eq!(row.state, State::Waiting);
    assert_eq!(hub.store.event(&hub.acme, &row.event_id).await.expect("its event").key, row.event);
    assert_eq!(hub.store.attempts(&hub.acme, live).await.expect("its attempts").len(), 1);
    assert_eq!(hub.store.journal(&hub.acme, live).await.expect("its journal"), Some(vec![1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_day_goes_as_a_whole_once_all_of_it_is_old() {
    let (hub, database) = hub().await;
    let table = format!("delivery_day_{}", today(&hub));
    let named = || {
        let mut event = hub.event(&hub.acme);
        event.id = "order-1".into();
        let mut new = hub.starting(event, &hub.endpoint(), Start::Dead(failure()));
        new.persons = vec![[7; 32]];
        new
    };
    assert_eq!(hub.accept(named()).await, EventOutcome::Stored);
    fill(&hub, MANY).await;
    hub.pass(DAY / 2);
    assert_eq!(prune(&hub).await, 0, "the day is not over");
    hub.pass(DAY);
    hub.deliver(&hub.endpoint()).await;
    assert_eq!(prune(&hub).await, MANY as u64 + 1);
    assert!(!is_there(&database, &table).await);
    assert_eq!(rows(&database, "event").await, 1);
    assert_eq!((rows(&database, "event_name").await, rows(&database, "person_index").await), (0, 0));
    assert_eq!(hub.accept(named()).await, EventOutcome::Stored, "its id is free again");
    assert_eq!(prune(&hub).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_day_with_a_live_delivery_goes_around_it() {
    let (hub, database) = hub().await;
    let table = format!("event_day_{}", today(&hub));
    fill(&hub, MANY / 2).await;
    let live = live_one(&hub).await;
    fill(&hub, MANY / 2).await;
    hub.pass(2 * DAY);
    let mut gone = 0;
    for _ in 0..=MANY as u32 / STEP {
        let step = prune(&hub).await;
        assert!(step <= u64::from(STEP));
        gone += step;
    }
    assert_eq!(gone, MANY as u64);
    is_whole(&hub, live).await;
    assert!(is_there(&database, &table).await);
    let audit = hub.audit(&hub.acme, "delivery.cancelled");
    hub.store.cancel(&hub.acme, live, audit).await.expect("cancelled");
    assert_eq!(prune(&hub).await, 1);
    prune(&hub).await;
    assert!(!is_there(&database, &table).await, "an empty day that is over goes");
}

/// One that was added when the event was replayed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_of_later_days_go_with_their_event_or_keep_it() {
    let (hub, database) = hub().await;
    let event = fill(&hub, MANY).await.event.key;
    hub.pass(DAY);
    let add = |start: Start| {
        let delivery =
            NewDelivery { key: hub.ids.next(), target: hub.endpoint(), start, ordering_key: None, told: None };
        (delivery.key, EventRoutes { event, deliveries: vec![delivery], due_at: hub.now() })
    };
    let (ended, dead) = add(Start::Dead(failure()));
    let (waits, queued) = add(Start::Queued);
    let audit = || hub.audit(&hub.acme, "event.replayed");
    for routes in [dead, queued] {
        hub.store.add_deliveries(&hub.acme, vec![routes], audit()).await.expect("added");
    }
    hub.pass(DAY);
    while prune(&hub).await >= u64::from(STEP) {}
    assert_eq!((hub.row(waits).await.state, hub.row(ended).await.state), (State::Queued, State::Dead));
    assert_eq!(rows(&database, "event").await, 1);
    hub.store.cancel(&hub.acme, waits, audit()).await.expect("cancelled");
    fill(&hub, 1).await;
    assert_eq!(prune(&hub).await, 1);
    assert!(matches!(hub.store.delivery(&hub.acme, ended).await, Err(StoreError::NotFound)));
    assert_eq!(rows(&database, "event").await, 1, "today's stays");
}

/// And whoever writes meanwhile is not held up by the waiting for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_that_somebody_reads_for_long_goes_later() {
    let (hub, database) = hub().await;
    let table = format!("delivery_day_{}", today(&hub));
    fill(&hub, MANY).await;
    hub.pass(2 * DAY);
    let mut reader = database.connect().await;
    let mut reading = reader.begin().await.expect("a transaction");
    number(&mut reading, "select count(*) from delivery").await;
    let (pruned, accepted) = tokio::join!(prune(&hub), async {
        for _ in 0..20 {
            let in_time = tokio::time::timeout(Duration::from_secs(2), hub.deliver(&hub.endpoint())).await;
            in_time.expect("an accept waits no longer than for a moment");
        }
        20
    });
    assert_eq!((pruned, accepted), (0, 20));
    assert!(is_there(&database, &table).await);
    reading.commit().await.expect("read");
    assert_eq!(prune(&hub).await, MANY as u64);
    assert!(!is_there(&database, &table).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_that_prune_at_once_take_turns() {
    let (hub, database) = hub().await;
    let live = live_one(&hub).await;
    fill(&hub, 900).await;
    hub.pass(DAY);
    fill(&hub, MANY).await;
    hub.pass(2 * DAY);
    let other = PostgresStore::open(&database.url(), options(), hub.clock.clone()).await.expect("a second node");
    let (before, mut gone) = (hub.now(), 0);
    for _ in 0..6 {
        let (one, two) = tokio::join!(hub.store.prune(before, NEVER, 300), other.prune(before, NEVER, 300));
        gone += one.expect("pruned") + two.expect("pruned");
    }
    other.close().await;
    assert!(gone >= 900 + MANY as u64, "{gone}");
    is_whole(&hub, live).await;
    assert_eq!(rows(&database, "event").await, 1);
}

/// What the process that is killed is told.
const CHILD_URL: &str = "TEST_PRUNED_URL";
const CHILD_NOW: &str = "TEST_PRUNED_AT";

/// Around each of its commits: of rows, of a whole day, and of what a day leaves behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a12_a_node_that_is_killed_while_it_prunes_loses_nothing_that_is_live() {
    if let (Ok(url), Ok(now)) = (std::env::var(CHILD_URL), std::env::var(CHILD_NOW)) {
        return prune_until_killed(&url, Timestamp(now.parse().expect("a time"))).await;
    }
    let (hub, database) = hub().await;
    fill(&hub, MANY).await;
    hub.pass(DAY);
    let live = live_one(&hub).await;
    fill(&hub, MANY).await;
    hub.pass(2 * DAY);
    let (mut kills, mut survived) = (0, 0);
    for nth in 1..40 {
        for point in ["prune.before_commit", "prune.after_commit"] {
            let killed = child(&hub, &database, &format!("{point}={nth}:abort")).await;
            is_whole(&hub, live).await;
            if killed { kills += 1 } else { survived += 1 }
        }
        if survived >= 2 {
            break;
        }
    }
    assert!(kills >= 8 && survived >= 2, "killed {kills} times, not killed {survived} times");
    assert_eq!(rows(&database, "event").await, 1);
    assert_eq!(rows(&database, "delivery").await, 1);
    let StateCounts { by_state, .. } = hub.store.counts(None).await.expect("counts");
    assert_eq!(by_state, [(State::Waiting, 1)]);
}

/// Lets another process prune with this fail point; answers whether that killed it.
async fn child(hub: &Fixture, database: &Database, failpoints: &str) -> bool {
    let name = "retention::a12_a_node_that_is_killed_while_it_prunes_loses_nothing_that_is_live";
    let ended = tokio::process::Command::new(std::env::current_exe().expect("the test's own path"))
        .args(["--exact", name, "--nocapture"])
        .env(CHILD_URL, database.url())
        .env(CHILD_NOW, hub.now().0.to_string())
        .env("SWITCHYARD_FAILPOINTS", failpoints)
        .output()
        .await
        .expect("the test runs itself");
    let killed = ended.status.signal().is_some();
    assert!(killed || ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    killed
}

async fn prune_until_killed(url: &str, now: Timestamp) {
    let clock: Arc<ManualClock> = ManualClock::starting_at(now);
    let store = PostgresStore::open(url, options(), clock).await.expect("the database is opened");
    while store.prune(now, NEVER, STEP).await.expect("pruned") >= u64::from(STEP) {}
    store.close().await;
}

/// However it is asked for, a day is a range of keys, and the table of a day takes no other.
#[tokio::test]
async fn the_tables_of_a_day_hold_the_keys_of_that_day_alone() {
    let (hub, database) = hub().await;
    let key = hub.deliver(&hub.endpoint()).await;
    let own = format!("select count(*) from delivery_day_{} where encode(key, 'hex') = '{key}'", day(key.made_at()));
    let mut conn = database.connect().await;
    assert_eq!(number(&mut conn, &own).await, 1);
    let target: Target = hub.endpoint();
    hub.pass(3 * DAY);
    let later = hub.deliver(&target).await;
    assert_ne!(day(later.made_at()), day(key.made_at()));
    run(&mut conn, "analyze").await;
    assert_eq!(hub.store.lanes(switchyard::queue::partition::PartitionSet::all()).await.expect("lanes").len(), 2);
}
