//! What two nodes on one PostgreSQL database do to each other: races, each with one winner, and the fence of lanes.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use sqlx::PgConnection;
use switchyard::{
    event::{Event, Target, Urgency},
    id::Key,
    queue::{lane::Lane, partition::PartitionSet, state::State},
    store::{
        Ledger as _, SharedStore, StoreError,
        cluster::NodeFence,
        ledger::{
            Accept, ClaimRequest, Claimed, EventOutcome, Expected, Intent, IntentOutcome, KvWrite, NewEvent, Outcome,
            ReadyDelivery, Settled, Start,
        },
        postgres::PostgresStore,
    },
};
use switchyard_tests::conformance::fixture::{Fixture, dedupe, plugin};

use super::PostgresDatabase;

/// Two nodes, the fixture's being the first, and a connection beside them.
struct Nodes {
    hub: Fixture,
    first: Arc<PostgresStore>,
    second: Arc<PostgresStore>,
    beside: PgConnection,
}

impl Nodes {
    async fn start() -> Self {
        let backend = PostgresDatabase::new().await;
        let (url, beside) = (backend.database.url(), backend.database.connect().await);
        let open = backend.open.clone();
        let hub = Fixture::on(backend).await;
        let first = open.lock().await.clone().expect("it is open");
        let second =
            PostgresStore::open(&url, super::options(), hub.clock.clone()).await.expect("the database is opened");
        Self { hub, first, second: Arc::new(second), beside }
    }

    fn stores(&self) -> [Arc<PostgresStore>; 2] {
        [self.first.clone(), self.second.clone()]
    }
}

/// Accepts each of these events by itself, all at once and on both nodes; answers outcomes by event.
async fn accept_everywhere(nodes: &Nodes, events: impl Fn(usize) -> Vec<NewEvent>) -> HashMap<Key, EventOutcome> {
    let mut calls = tokio::task::JoinSet::new();
    for (node, store) in nodes.stores().into_iter().enumerate() {
        let mut events = events(node);
        if node == 1 {
            events.reverse();
        }
        for new in events {
            let store = store.clone();
            calls.spawn(async move {
                let key = new.event.key;
                let accepted = store.accept(Accept { events: vec![new], ..Accept::default() }).await;
                (key, accepted.expect("the accept is committed").events.remove(0))
            });
        }
    }
    calls.join_all().await.into_iter().collect()
}

/// Each pair of events that are the same to their sender has one that is stored and one that names it.
fn one_of_each_pair(outcomes: &HashMap<Key, EventOutcome>, pairs: &[(Event, Event)]) {
    for (one, other) in pairs {
        let (first, second) = match (&outcomes[&one.key], &outcomes[&other.key]) {
            (EventOutcome::Stored, second) => (one, second),
            (second, EventOutcome::Stored) => (other, second),
            neither => panic!("neither is stored: {neither:?}"),
        };
        let EventOutcome::Duplicate { first_id, same: true, correlation_id } = second else {
            panic!("both are stored, or they are told apart: {second:?}");
        };
        assert_eq!((first_id, correlation_id), (&first.id, &Some(first.correlation_id.clone())));
    }
}

/// With a dedupe key of the sender.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_same_event_at_two_nodes_one_is_stored() {
    let nodes = Nodes::start().await;
    let hub = &nodes.hub;
    let pairs: Vec<_> = (0..300).map(|_| (hub.event(&hub.acme), hub.event(&hub.acme))).collect();
    let target = hub.endpoint();
    let outcomes = accept_everywhere(&nodes, |node| {
        let new = |(place, (one, other)): (usize, &(Event, Event))| {
            let mut new = hub.queued(if node == 0 { one.clone() } else { other.clone() }, &target);
            new.dedupe = Some(dedupe(&place.to_string(), 1));
            new
        };
        pairs.iter().enumerate().map(new).collect()
    })
    .await;
    one_of_each_pair(&outcomes, &pairs);
}

/// With an id of the sender alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_same_id_at_two_nodes_one_is_stored() {
    let nodes = Nodes::start().await;
    let hub = &nodes.hub;
    let named = |place: usize| Event { id: format!("order-{place}").into(), ..hub.event(&hub.acme) };
    let pairs: Vec<_> = (0..300).map(|place| (named(place), named(place))).collect();
    let target = hub.endpoint();
    let outcomes = accept_everywhere(&nodes, |node| {
        pairs
            .iter()
            .map(|(one, other)| hub.queued(if node == 0 { one.clone() } else { other.clone() }, &target))
            .collect()
    })
    .await;
    one_of_each_pair(&outcomes, &pairs);
}

/// A swap of an absent key, then of each version of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_swaps_at_two_nodes_one_wins() {
    let nodes = Nodes::start().await;
    let hub = &nodes.hub;
    let (one, other) = (hub.deliver(&plugin("billy")).await, hub.deliver(&plugin("billy")).await);
    let (one, other) = (hub.claim(one).await, hub.claim(other).await);
    for version in 0..40 {
        let expected = if version == 0 { Expected::Absent } else { Expected::Version(version) };
        let swap = |held: &Claimed| Intent {
            tenant: hub.acme.clone(),
            delivery: held.delivery,
            epoch: held.epoch,
            journal: vec![1],
            kv: vec![KvWrite { key: "k".into(), expected, value: Some(vec![2]), expires_at: None, person: None }],
            plugin: "billy".into(),
        };
        let (one, other) = tokio::join!(nodes.first.intend(swap(&one)), nodes.second.intend(swap(&other)));
        let ends = [one.expect("committed"), other.expect("committed")];
        assert!(
            ends.contains(&IntentOutcome::Committed) && ends.contains(&IntentOutcome::LostSwap),
            "at version {version}: {ends:?}"
        );
        let row = hub.store.kv_get(&hub.acme, "billy", "k", hub.now()).await.expect("a row");
        assert_eq!(row.version, version + 1);
    }
}

/// However both accept and settle: never two at once, and none is forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_has_one_head_whichever_node_adds_and_settles() {
    let nodes = Nodes::start().await;
    let hub = &nodes.hub;
    let target = plugin("calendar");
    let lane = Lane { tenant: hub.acme.clone(), target: target.clone(), urgency: Urgency::Normal }.key();
    let ordered = || Event { ordering_key: Some("calendar-1".into()), ..hub.event(&hub.acme) };
    accept_everywhere(&nodes, |_| (0..60).map(|_| hub.queued(ordered(), &target)).collect()).await;
    let head = async || hub.store.lane_head(lane, 100).await.expect("a head");
    let mut delivered = BTreeSet::new();
    while let [ReadyDelivery { delivery, epoch, .. }] = head().await[..] {
        let request = || vec![ClaimRequest { delivery, epoch }];
        let (one, other) =
            tokio::join!(nodes.first.claim(request(), hub.now()), nodes.second.claim(request(), hub.now()));
        let (one, other) = (one.expect("committed"), other.expect("committed"));
        let claimed = one.iter().chain(&other).next().expect("one node has it");
        assert_eq!(one.len() + other.len(), 1, "both nodes have it");
        // While one node settles the head, the other adds to the order.
        let added = (delivered.len() < 20).then(|| hub.queued(ordered(), &target));
        let accept = Accept { events: added.into_iter().collect(), ..Accept::default() };
        let (end, added) =
            tokio::join!(nodes.second.settle(hub.settle_of(claimed, Outcome::Delivered)), nodes.first.accept(accept));
        added.expect("the accept is committed");
        assert!(matches!(end.expect("committed"), Settled::Done { .. }));
        delivered.insert(delivery);
        assert!(head().await.len() <= 1, "an order has two heads");
    }
    assert_eq!(delivered.len(), 140);
}

/// Both want the whole lane.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d36_two_nodes_never_claim_the_same_delivery() {
    let nodes = Nodes::start().await;
    let hub = &nodes.hub;
    let target = hub.endpoint();
    let mut requests = Vec::new();
    for _ in 0..200 {
        requests.push(ClaimRequest { delivery: hub.deliver(&target).await, epoch: 0 });
    }
    let mut claims = tokio::task::JoinSet::new();
    for (node, store) in nodes.stores().into_iter().enumerate() {
        for piece in requests.chunks(10) {
            let (store, mut piece, now) = (store.clone(), piece.to_vec(), hub.now());
            if node == 1 {
                piece.reverse();
            }
            claims.spawn(async move { store.claim(piece, now).await.expect("committed") });
        }
    }
    let claimed: Vec<Key> = claims.join_all().await.into_iter().flatten().map(|one| one.delivery).collect();
    assert_eq!(claimed.len(), 200);
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>().len(), 200);
}

/// Gives all partitions to a node, at the next epoch, and answers the fence that it works under.
async fn take_over(beside: &mut PgConnection, node: Key) -> NodeFence {
    sqlx::query("update lane_partition set node = $1, epoch = epoch + 1")
        .bind(&node.0[..])
        .execute(&mut *beside)
        .await
        .expect("the partitions are taken");
    let epochs: Vec<i64> = sqlx::query_scalar("select epoch from lane_partition order by number")
        .fetch_all(beside)
        .await
        .expect("the epochs are read");
    let epochs: Vec<Option<i64>> = epochs.into_iter().map(Some).collect();
    NodeFence { node, epochs: epochs.try_into().expect("64 partitions") }
}

fn started(hub: &Fixture, target: &Target) -> (Key, Accept) {
    let new = hub.starting(hub.event(&hub.acme), target, Start::Claimed);
    (new.deliveries[0].key, Accept { events: vec![new], ..Accept::default() })
}

/// Neither by a claim nor by an accept; what it accepts is queued for the new owner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_lanes_starts_nothing_in_them() {
    let mut nodes = Nodes::start().await;
    let (one, other) = (nodes.hub.ids.next(), nodes.hub.ids.next());
    nodes.first.set_fence(Some(take_over(&mut nodes.beside, one).await));
    let hub = &nodes.hub;
    let target = hub.endpoint();
    let (begun, accept) = started(hub, &target);
    assert_eq!(nodes.first.accept(accept).await.expect("committed").not_started, []);
    assert_eq!(hub.row(begun).await.state, State::Running);
    let waits = hub.deliver(&target).await;
    nodes.second.set_fence(Some(take_over(&mut nodes.beside, other).await));
    let request = || vec![ClaimRequest { delivery: waits, epoch: 0 }];
    assert!(nodes.first.claim(request(), hub.now()).await.expect("committed").is_empty());
    let (late, accept) = started(hub, &target);
    assert_eq!(nodes.first.accept(accept).await.expect("committed").not_started, [late]);
    let row = hub.row(late).await;
    assert_eq!((row.state, row.epoch, row.tries), (State::Queued, 0, 0));
    assert_eq!(nodes.second.claim(request(), hub.now()).await.expect("committed").len(), 1);
    // What the old owner began is the new owner's to give back.
    let rescued = nodes.second.rescue(None, PartitionSet::all(), hub.now()).await.expect("rescued");
    assert!(rescued.iter().any(|one| one.delivery == begun));
}

/// Whoever takes a partition over waits for the groups that start deliveries in it, and so finds them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_starts_while_lanes_move_is_found_by_their_new_owner() {
    let mut nodes = Nodes::start().await;
    let target = nodes.hub.endpoint();
    for round in 0..10 {
        let (one, other) = (nodes.hub.ids.next(), nodes.hub.ids.next());
        nodes.first.set_fence(Some(take_over(&mut nodes.beside, one).await));
        let mut accepts = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let (store, (key, accept)) = (nodes.first.clone(), started(&nodes.hub, &target));
            accepts.spawn(async move { (key, store.accept(accept).await.expect("committed").not_started.is_empty()) });
        }
        // Somewhere among them.
        tokio::task::yield_now().await;
        nodes.second.set_fence(Some(take_over(&mut nodes.beside, other).await));
        let rescued = nodes.second.rescue(None, PartitionSet::all(), nodes.hub.now()).await.expect("rescued");
        let rescued: HashSet<Key> = rescued.into_iter().map(|one| one.delivery).collect();
        let begun = accepts.join_all().await.into_iter().filter(|(_, began)| *began).map(|(key, _)| key);
        let lost: Vec<Key> = begun.filter(|key| !rescued.contains(key)).collect();
        assert_eq!(lost, [], "in round {round} deliveries run that nobody works on");
    }
}

/// Both accept for it until it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_stored_for_a_tenant_that_another_node_removed() {
    let nodes = Nodes::start().await;
    let hub = &nodes.hub;
    let target = hub.endpoint();
    let mut accepts = tokio::task::JoinSet::new();
    for store in nodes.stores() {
        for _ in 0..50 {
            let new = hub.queued(hub.event(&hub.globex), &target);
            let store: SharedStore = store.clone();
            accepts.spawn(async move { store.accept(Accept { events: vec![new], ..Accept::default() }).await });
        }
    }
    let audit = hub.audit(&hub.globex, "tenant.deleted");
    hub.store.delete_tenant(&hub.globex, audit).await.expect("it is removed");
    for end in accepts.join_all().await {
        assert!(matches!(end, Ok(_) | Err(StoreError::NotFound)), "{end:?}");
    }
    while nodes.hub.store.remove_leaving().await.expect("a step") {}
    let late = Accept { events: vec![hub.queued(hub.event(&hub.globex), &target)], ..Accept::default() };
    assert!(matches!(nodes.second.accept(late).await, Err(StoreError::NotFound)));
    let mut beside = nodes.beside;
    for count in
        ["select count(*) from event where tenant = 'globex'", "select count(*) from delivery where tenant = 'globex'"]
    {
        let left: i64 = sqlx::query_scalar(count).fetch_one(&mut beside).await.expect("a count");
        assert_eq!(left, 0, "{count}");
    }
}

/// The days after today are made too, and a day that another node dropped is made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_begins_without_anybody_waiting_for_it() {
    let mut nodes = Nodes::start().await;
    for _ in 0..5 {
        nodes.hub.pass(Duration::from_secs(86_400));
        let key = nodes.hub.deliver(&nodes.hub.endpoint()).await;
        assert_eq!(nodes.hub.row(key).await.state, State::Queued);
    }
    let day = nodes.hub.now().0 / 86_400_000 + 1;
    for table in ["event", "delivery", "attempt", "journal", "raw_request"] {
        let drop = sqlx::AssertSqlSafe(format!("drop table if exists {table}_day_{day}"));
        sqlx::raw_sql(drop).execute(&mut nodes.beside).await.expect("the day is dropped");
    }
    nodes.hub.pass(Duration::from_secs(86_400));
    let key = nodes.hub.deliver(&nodes.hub.endpoint()).await;
    assert_eq!(nodes.hub.row(key).await.state, State::Queued);
}

/// However many wait beside it, and however little the planner knows of the tables: it was planned when they were empty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_and_a_settle_read_what_they_change_and_no_more() {
    let mut nodes = Nodes::start().await;
    let hub = &nodes.hub;
    let target = hub.endpoint();
    let first = hub.deliver(&target).await;
    let claimed =
        nodes.first.claim(vec![ClaimRequest { delivery: first, epoch: 0 }], hub.now()).await.expect("committed");
    nodes.first.settle(hub.settle_of(&claimed[0], Outcome::Delivered)).await.expect("committed");
    let events: Vec<NewEvent> = (0..500).map(|_| hub.queued(hub.event(&hub.acme), &target)).collect();
    let keys: Vec<Key> = events.iter().map(|new| new.deliveries[0].key).collect();
    nodes.first.accept(Accept { events, ..Accept::default() }).await.expect("committed");
    sqlx::query("select pg_stat_reset()").execute(&mut nodes.beside).await.expect("counted from here on");
    for key in &keys[..10] {
        let request = vec![ClaimRequest { delivery: *key, epoch: 0 }];
        let claimed = nodes.first.claim(request, hub.now()).await.expect("committed");
        nodes.first.settle(hub.settle_of(&claimed[0], Outcome::Delivered)).await.expect("committed");
    }
    // A connection that ends tells what it has read.
    nodes.first.close().await;
    let mut count = async |sql: &'static str| -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut nodes.beside).await.expect("a count")
    };
    let told = tokio::time::timeout(Duration::from_secs(20), async {
        while count(
            "select coalesce(sum(n_tup_upd), 0)::int8 from pg_stat_user_tables where relname like 'delivery\\_day\\_%'",
        )
        .await
            < 20
        {
            tokio::task::yield_now().await;
        }
    });
    told.await.expect("the server tells in time");
    let read = count(
        "select coalesce(sum(idx_tup_read), 0)::int8 from pg_stat_user_indexes where relname like 'delivery\\_day\\_%'",
    )
    .await;
    assert!(read <= 200, "{read} rows of indexes were read for 10 claims and 10 settles");
}
