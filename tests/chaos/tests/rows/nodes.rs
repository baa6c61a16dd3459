/// B15 to B18, D37: their database goes away and comes back.
mod database;

/// C28 to C34: so does their broker.
mod broker;

/// A1 to A9: one of them dies at every place.
mod deaths;

/// D39: one of them has a wrong clock.
mod clock;

use std::time::Duration;

use serde_json::json;
use switchyard_chaos::{
    chance::Chance,
    cluster::{Cluster, TENANTS, harm, load::Load, verdict},
    process,
};
use switchyard_tests::{
    api::{until, until_within},
    hub::Hub,
    nodes::MOVED_WITHIN,
};

/// Kills of a random node, so that the test stays short; `NODES=3 make chaos` goes on for longer.
const KILLS: u32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a13_a_random_node_of_three_is_killed_again_and_again_and_nothing_is_lost_or_doubled() {
    let mut chance = Chance::from_environment();
    let mut cluster = Cluster::start(3, None).await;
    let load = Load::begin(&cluster);
    for _ in 0..KILLS {
        tokio::time::sleep(chance.between_ms(2_000, 3_500)).await;
        harm::kill(&mut cluster, usize::try_from(chance.below(3)).unwrap_or(0)).await;
    }
    let accepted = load.end().await;
    let verdict = verdict::conclude(&cluster, &accepted).await;
    assert!(verdict.is_clean(), "SEED={}\n{verdict}", chance.seed);
}

/// How long the first node waits between announcing an invoice and sending it: until another has long taken over.
const WAITS: &str = "intent.after_commit=2:16000ms";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d35_a_node_that_wakes_after_it_announced_a_write_and_lost_its_lease_does_not_send_it() {
    let mut cluster = Cluster::start_with(1, None, &[("SWITCHYARD_FAILPOINTS", WAITS)]).await;
    let busy = cluster.nodes.on(0, &cluster.tenants[TENANTS]);
    let data = json!({"customer": {"name": "Ida", "email": "ida@example.test"},
        "lines": [{"description": "work", "quantity": 1, "unit_price": "100.00"}]});
    let _ = busy.publish(&json!({"type": "invoice.create", "id": "i-1", "data": data})).await;
    // The customer is the first write and is there; the invoice is the second.
    until("the customer to be made", async || match cluster.billy.contacts_named("Ida") {
        1 => Ok(()),
        count => Err(format!("{count} customers")),
    })
    .await;
    let second = cluster.nodes.prepared(Hub::builder()).start().await;
    cluster.nodes.hubs.push(second);
    let first = cluster.nodes.hubs[0].pid();
    process::freeze(first);
    let elsewhere = cluster.nodes.on(1, &busy);
    let done = until_within(MOVED_WITHIN * 2, "the other node to make the invoice", async || {
        let all = elsewhere.list("/deliveries?target=plugin:billy").await;
        let is = |delivery: &serde_json::Value| delivery["event_id"] == "i-1" && delivery["state"] == "delivered";
        all.into_iter().find(is).ok_or_else(|| "not yet".to_owned())
    });
    let _ = done.await;
    process::thaw(first);
    // The first node ends what it was about, as an attempt that it has given back.
    until_within(MOVED_WITHIN * 2, "the first node to end its run", async || {
        // A node that slept closes the connections that were idle meanwhile.
        let metrics = cluster.nodes.hubs[0].try_raw("GET", "/metrics", &[], bytes::Bytes::new()).await;
        let metrics = metrics.map_err(|error| error.to_string())?.text;
        let ended = metrics.lines().any(|line| {
            line.starts_with("switchyard_attempts_total") && line.contains("plugin") && line.contains("released")
        });
        if ended { Ok(()) } else { Err("it still runs".to_owned()) }
    })
    .await;
    assert_eq!(cluster.billy.invoices().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d35_and_d38_nodes_that_sleep_or_are_parted_from_the_database_double_nothing() {
    let mut chance = Chance::from_environment();
    let mut cluster = Cluster::start(3, None).await;
    let load = Load::begin(&cluster);
    let done = harm::go_on(&mut cluster, &mut chance, Duration::from_secs(45)).await;
    let accepted = load.end().await;
    let verdict = verdict::conclude(&cluster, &accepted).await;
    assert!(verdict.is_clean(), "SEED={} {done:?}\n{verdict}", chance.seed);
}
