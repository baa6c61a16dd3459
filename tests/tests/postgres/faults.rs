//! A server that is in use, overloaded or contended, and a line to it that breaks.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use switchyard::{
    event::TenantId,
    queue::state::State,
    store::{
        StoreError,
        ledger::{Accept, EventOutcome, NewEvent, Outcome},
        postgres::Options,
        records::{EventFilter, Page},
    },
};
use switchyard_tests::{
    conformance::Fixture,
    database::Database,
    proxy::{Direction, Fault, Proxy},
};

use super::{hub, hub_on, number, options, run};

const SOON: Duration = Duration::from_secs(10);

/// The statement as it goes over the line: its length and its end make it one.
const COMMIT: &str = "\u{b}commit\0";

/// Waits until a number is reached that the server counts.
async fn reaches(conn: &mut PgConnection, sql: &str, wanted: i64) {
    let look = async {
        while number(conn, sql).await < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, look).await.unwrap_or_else(|_| panic!("{sql} does not come to {wanted}"));
}

async fn events(hub: &Fixture) -> usize {
    let page = Page { limit: 1000, after: None };
    hub.store.events(&hub.acme, EventFilter::default(), page).await.expect("a list").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b19_with_every_connection_in_use_a_call_is_answered_in_time_and_the_queue_goes_on() {
    let database = Database::fresh().await;
    let options = Options { connections: 2, ..Options::default() };
    assert!(options.acquire <= Duration::from_secs(2));
    let hub = hub_on(database.url(), options).await;
    let mut conn = database.connect().await;
    let mut holding = conn.begin().await.expect("a transaction");
    run(&mut holding, "lock table shadow_total in access exclusive mode").await;
    let held: Vec<_> = (0..2)
        .map(|_| {
            let (store, acme) = (hub.store.clone(), hub.acme.clone());
            tokio::spawn(async move { store.shadow_totals(&acme, "billy").await })
        })
        .collect();
    let waiting = "select count(*) from pg_locks l join pg_database d on d.oid = l.database \
        where d.datname = current_database() and not l.granted";
    reaches(&mut holding, waiting, 2).await;
    let refused = tokio::time::timeout(Duration::from_secs(4), hub.store.shadow_totals(&hub.acme, "billy"));
    let refused = refused.await.expect("an answer when the wait is over");
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    let target = hub.endpoint();
    let new = hub.queued(hub.event(&hub.acme), &target);
    let delivery = new.deliveries[0].key;
    let path = async {
        hub.accept(new).await;
        let claimed = hub.claim_at(delivery, 0).await.expect("it is claimed");
        hub.settle(&claimed, Outcome::Delivered).await;
    };
    tokio::time::timeout(SOON, path).await.expect("the queue goes on");
    holding.rollback().await.expect("the lock is given back");
    for held in held {
        assert!(held.await.expect("no panic").is_ok());
    }
    assert_eq!(hub.row(delivery).await.state, State::Delivered);
}

/// A table whose next `times` rows fail with this SQLSTATE. What was counted stays counted when a transaction is undone.
async fn stumble(conn: &mut PgConnection, table: &str, code: &str, times: u32) {
    let sql = format!(
        "create or replace function stumble() returns trigger language plpgsql security definer as $$ begin \
           if nextval('stumbles') <= {times} then raise exception 'it stumbles' using errcode = '{code}'; end if; \
           return new; end $$; \
         drop sequence if exists stumbles; create sequence stumbles; \
         create or replace trigger stumble before insert on {table} for each row execute function stumble()"
    );
    run(conn, &sql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b20_a_transaction_that_another_one_stood_in_the_way_of_runs_again() {
    let (hub, database) = hub().await;
    let mut conn = database.connect().await;
    for (name, code) in [("initech", "40001"), ("hooli", "40P01")] {
        stumble(&mut conn, "audit", code, 3).await;
        let tenant: TenantId = name.parse().expect("a tenant's name");
        hub.make_tenant(&tenant).await;
        assert_eq!(number(&mut conn, "select last_value from stumbles").await, 4);
        let made = format!("select count(*) from audit where tenant = '{name}'");
        assert_eq!(number(&mut conn, &made).await, 1);
        stumble(&mut conn, "delivery", code, 2).await;
        let key = hub.deliver(&hub.endpoint()).await;
        assert_eq!(hub.row(key).await.state, State::Queued);
        run(&mut conn, "drop trigger stumble on delivery").await;
    }
    assert_eq!(events(&hub).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_never_gets_through_ends_as_unavailable() {
    let (hub, database) = hub().await;
    let mut conn = database.connect().await;
    for table in ["audit", "delivery"] {
        stumble(&mut conn, table, "40001", 1_000_000).await;
    }
    let tenant: TenantId = "initech".parse().expect("a tenant's name");
    let made = hub.store.create_tenant(hub.tenant_row(&tenant), hub.audit(&tenant, "tenant.created"));
    let made = tokio::time::timeout(SOON, made).await.expect("it ends");
    assert!(matches!(made, Err(StoreError::Unavailable(_))), "{made:?}");
    let new = hub.queued(hub.event(&hub.acme), &hub.endpoint());
    let accept = || Accept { events: vec![new.clone()], ..Accept::default() };
    let accepted = tokio::time::timeout(SOON, hub.store.accept(accept())).await.expect("it ends");
    assert!(matches!(accepted, Err(StoreError::Unavailable(_))), "{accepted:?}");
    for table in ["audit", "delivery"] {
        run(&mut conn, &format!("drop trigger stumble on {table}")).await;
    }
    hub.make_tenant(&tenant).await;
    assert_eq!(hub.store.accept(accept()).await.expect("stored").events, [EventOutcome::Stored]);
}

/// What it sees stays as it was, and nobody waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b21_a_long_transaction_of_an_analyst_stops_nothing() {
    let (hub, database) = hub().await;
    let target = hub.endpoint();
    hub.deliver(&target).await;
    let mut conn = database.connect().await;
    let mut analyst = conn.begin_with("begin isolation level repeatable read").await.expect("a transaction");
    assert_eq!(number(&mut analyst, "select count(*) from delivery where state = 0").await, 1);
    let work = async {
        for round in 0..30 {
            let key = hub.deliver(&target).await;
            let claimed = hub.claim(key).await;
            hub.settle(&claimed, Outcome::Delivered).await;
            assert_eq!(hub.row(key).await.state, State::Delivered);
            if round % 10 == 9 {
                // Into days that have no tables yet.
                hub.pass(Duration::from_secs(4 * 86_400));
                hub.store.prune(hub.now(), switchyard::clock::Timestamp(0), 5).await.expect("pruned");
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("the queue goes on");
    assert_eq!(number(&mut analyst, "select count(*) from delivery where state = 3").await, 0);
    analyst.commit().await.expect("read");
}

/// A hub whose line to its database can be cut.
async fn by_proxy() -> (Fixture, Proxy, Database) {
    let database = Database::fresh().await;
    let proxy = Proxy::before(database.address().await).await;
    let hub = hub_on(database.url_through(proxy.address()), options()).await;
    (hub, proxy, database)
}

fn accept_of(new: &NewEvent) -> Accept {
    Accept { events: vec![new.clone()], ..Accept::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b16_a_commit_whose_answer_is_lost_is_found_and_told_truly() {
    let (hub, proxy, database) = by_proxy().await;
    let mut conn = database.connect().await;
    for round in 1..=3 {
        let new = hub.queued(hub.event(&hub.acme), &hub.endpoint());
        proxy.set(Direction::ToServer, Fault::CutAnswerTo(COMMIT));
        let accepted = tokio::time::timeout(SOON, hub.store.accept(accept_of(&new))).await.expect("it ends");
        proxy.heal();
        assert_eq!(accepted.expect("it is stored").events, [EventOutcome::Stored]);
        assert_eq!(proxy.cuts(), round);
        let stored = format!("select count(*) from event where encode(key, 'hex') = '{}'", new.event.key);
        assert_eq!(number(&mut conn, &stored).await, 1);
    }
    assert_eq!(events(&hub).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_never_arrives_leaves_nothing_and_can_be_asked_for_again() {
    let (hub, proxy, database) = by_proxy().await;
    let new = hub.queued(hub.event(&hub.acme), &hub.endpoint());
    proxy.set(Direction::ToServer, Fault::CutBefore(COMMIT));
    let accepted = tokio::time::timeout(3 * SOON, hub.store.accept(accept_of(&new))).await.expect("it ends");
    assert!(matches!(accepted, Err(StoreError::Unavailable(_))), "{accepted:?}");
    assert!(proxy.cuts() >= 1);
    assert_eq!(number(&mut database.connect().await, "select count(*) from event").await, 0);
    proxy.heal();
    let again = hub.store.accept(accept_of(&new)).await.expect("the line is whole again");
    assert_eq!(again.events, [EventOutcome::Stored]);
}

/// Not for ever, as a peer that is gone without a word would have it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_line_was_cut_everything_goes_on_by_itself() {
    let (hub, proxy, _database) = by_proxy().await;
    let target = hub.endpoint();
    let key = hub.deliver(&target).await;
    proxy.refuse(true);
    proxy.cut_all();
    let new = hub.queued(hub.event(&hub.acme), &target);
    let down = tokio::time::timeout(3 * SOON, hub.store.accept(accept_of(&new))).await.expect("it ends");
    assert!(matches!(down, Err(StoreError::Unavailable(_))), "{down:?}");
    let down = tokio::time::timeout(3 * SOON, hub.store.delivery(&hub.acme, key)).await.expect("it ends");
    assert!(matches!(down, Err(StoreError::Unavailable(_))), "{down:?}");
    proxy.heal();
    let back = async {
        while hub.store.delivery(&hub.acme, key).await.is_err() || hub.store.accept(accept_of(&new)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(3 * SOON, back).await.expect("it goes on");
    assert_eq!(events(&hub).await, 2);
}
