//! How the statements are carried out: by keys, however much is stored and however many days it lies in.

use std::time::Duration;

use sqlx::AssertSqlSafe;
use switchyard::{
    clock::Timestamp,
    event::{Target, Urgency},
    queue::{lane::Lane, partition::PartitionSet, state::State},
    store::{
        ledger::{Accept, NewEvent, Outcome, Start},
        records::{DeliveryFilter, EventFilter, Page, Replay, Selection},
    },
};
use switchyard_tests::conformance::{Fixture, fixture::failure};

use super::{hub, number, run, today};

const DAY: Duration = Duration::from_secs(86_400);

/// Deliveries to some targets, over some days, most of them over.
async fn fill(hub: &Fixture, targets: &[Target], days: u32) {
    for _ in 0..days {
        let start = |nth: usize| if nth.is_multiple_of(10) { Start::Queued } else { Start::Dead(failure()) };
        let events: Vec<NewEvent> = (0..600)
            .map(|nth| {
                let mut event = hub.event(&hub.acme);
                event.subject = Some(format!("inv-{nth}"));
                hub.starting(event, &targets[nth % targets.len()], start(nth))
            })
            .collect();
        hub.store.accept(Accept { events, ..Accept::default() }).await.expect("the accept is committed");
        hub.pass(DAY);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_of_the_path_or_of_a_list_walks_a_table_of_a_day() {
    let (mut hub, database) = hub().await;
    let targets: Vec<Target> = (0..7).map(|_| hub.endpoint()).collect();
    let first = today(&hub);
    fill(&hub, &targets, 4).await;
    // What a connection did is counted when it ends.
    hub.reopen().await;
    let mut conn = database.connect().await;
    run(&mut conn, "analyze; select pg_stat_reset()").await;
    let page = Page { limit: 20, after: None };
    let key = hub.deliver(&targets[0]).await;
    hub.settle(&hub.claim(key).await, Outcome::Delivered).await;
    let lane = Lane { tenant: hub.acme.clone(), target: targets[1].clone(), urgency: Urgency::Normal };
    assert_eq!(hub.store.lane_head(lane.key(), 64).await.expect("a head").len(), 4 * 8);
    let row = hub.row(key).await;
    let filters = [
        EventFilter::default(),
        EventFilter { subject: Some("inv-7".into()), ..EventFilter::default() },
        EventFilter { correlation_id: Some(row.correlation_id.to_string()), ..EventFilter::default() },
        EventFilter { since: Some(hub.now()), event_type: Some("invoice.*".into()), ..EventFilter::default() },
    ];
    for filter in filters {
        assert!(!hub.store.events(&hub.acme, filter, page).await.expect("a list").is_empty());
    }
    let filters = [
        DeliveryFilter::default(),
        DeliveryFilter { states: vec![State::Dead, State::Queued], ..DeliveryFilter::default() },
        DeliveryFilter { event: Some(row.event), ..DeliveryFilter::default() },
    ];
    for filter in filters {
        assert!(!hub.store.deliveries(&hub.acme, filter, page).await.expect("a list").is_empty());
    }
    hub.store.event(&hub.acme, &row.event_id).await.expect("an event");
    hub.store.attempts(&hub.acme, key).await.expect("attempts");
    assert_eq!(hub.store.dead_groups(&hub.acme, 10).await.expect("groups").len(), targets.len());
    hub.store.recent(&hub.acme, hub.now()).await.expect("counts");
    hub.store.counts(Some(&hub.acme)).await.expect("counts");
    hub.store.overdue(hub.now(), &[(lane.key(), Timestamp(0))], 50).await.expect("a list");
    hub.store.rescue(None, PartitionSet::all(), hub.now()).await.expect("rescued");
    let selection = Selection::Target(targets[2].clone(), None);
    let (tenant, now) = (hub.acme.clone(), hub.now());
    let (include_delivered, discard_journal, spacing_ms, limit) = (false, true, 0, 30);
    let replay = Replay { tenant, selection, include_delivered, discard_journal, spacing_ms, limit, now };
    hub.store.replay(replay, hub.audit(&hub.acme, "replayed")).await.expect("replayed");
    let gone = hub.store.prune(hub.now(), Timestamp(0), 50).await.expect("pruned");
    assert!((25..=50).contains(&gone), "{gone}");
    hub.reopen().await;
    // Tables of later days were walked, empty, when they were made.
    let walked = format!(
        "select coalesce(string_agg(relname || ' ' || seq_scan, ', '), '') from pg_stat_user_tables where seq_scan > 0 \
         and relname ~ '_day_' and split_part(relname, '_day_', 2)::int between {first} and {first} + 3"
    );
    let walked: String = sqlx::query_scalar(AssertSqlSafe(walked)).fetch_one(&mut conn).await.expect("a text");
    assert_eq!(walked, "");
}

/// However many wait in each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listing_lanes_reads_few_rows_a_lane() {
    let (mut hub, database) = hub().await;
    let targets: Vec<Target> = (0..5).map(|_| hub.endpoint()).collect();
    for _ in 0..8 {
        let queued = |nth: usize| hub.queued(hub.event(&hub.acme), &targets[nth % targets.len()]);
        let accept = Accept { events: (0..500).map(queued).collect(), ..Accept::default() };
        hub.store.accept(accept).await.expect("the accept is committed");
    }
    hub.reopen().await;
    let mut conn = database.connect().await;
    run(&mut conn, "vacuum analyze").await;
    run(&mut conn, "select pg_stat_reset()").await;
    assert_eq!(hub.store.lanes(PartitionSet::all()).await.expect("lanes").len(), targets.len());
    hub.reopen().await;
    let read = "select sum(idx_tup_read)::bigint from pg_stat_user_indexes where relname ~ '^delivery_day_'";
    let read = number(&mut conn, read).await;
    assert!((10..=50).contains(&read), "{read} entries of indexes for {} lanes", targets.len());
}
