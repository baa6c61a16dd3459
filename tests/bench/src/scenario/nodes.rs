//! Three nodes on one database against one, and how long an admin's change takes to be in force on all of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use switchyard_tests::{hub::Hub, nodes::Nodes};

use crate::{
    Bench,
    load::{ClosedLoop, histogram, micros},
    message::{Publications, Requests},
    options::Scenario,
    report::{Report, Target},
    sink::Sink,
    stage::{self, Client, PATIENCE},
};

const NODES: Scenario = Scenario::Nodes;

/// Tenants, so that their lanes are with all nodes.
const TENANTS: usize = 24;

/// Connections to all nodes together, as many to one as to three: a group is made of those who wait at the same node, so
/// few callers of many nodes would measure small groups and not nodes.
const CALLERS: usize = 96;

/// The sink's path of all endpoints.
const PATH: u16 = 1;

/// A change that is not seen after so long never will be.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let (mut one, mut three, mut share) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        let alone = burst(bench, report, 1).await?;
        let together = burst(bench, report, 3).await?;
        share.push(together / alone);
        one.push(alone);
        three.push(together);
    }
    report.figure(NODES, "three nodes over one, delivered", "", &share, Some(Target::AtLeast(0.85)));
    report.figure(NODES, "one node, 24 endpoints, delivered", "1/s", &one, None);
    report.figure(NODES, "three nodes, 24 endpoints, delivered", "1/s", &three, None);
    toggles(bench, report).await
}

/// Requests of several tenants in turn.
struct InTurn {
    all: Vec<Publications>,
    turn: AtomicUsize,
}

impl Requests for InTurn {
    fn next(&self, into: &mut Vec<u8>) -> bool {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        // Each has the same count, so the first that has no more is the end.
        self.all[turn % self.all.len()].next(into)
    }
}

async fn nodes(count: usize) -> Nodes {
    let mut nodes = Nodes::none().await;
    for _ in 0..count {
        nodes.add(stage::unlimited(Hub::builder())).await;
    }
    nodes.settled().await;
    nodes
}

/// Deliveries a second of a burst that all nodes take part in.
async fn burst(bench: &Bench, report: &mut Report, count: usize) -> anyhow::Result<f64> {
    let (nodes, sink) = (nodes(count).await, Sink::start(bench.clock.clone()).await?);
    let mut clients = Vec::new();
    for number in 0..TENANTS {
        let client = Client::new(&nodes.hubs[0], &format!("t{number}")).await?;
        let _ = client.endpoint(&sink, PATH, stage::SENT).await?;
        clients.push(client);
    }
    for hub in &nodes.hubs {
        for client in &clients {
            known(bench, hub, client, SEEN_WITHIN).await?;
        }
    }
    let events = bench.pick(20_000, 480) / u64::try_from(count * TENANTS)?;
    let began = bench.clock.monotonic();
    let mut loops = Vec::new();
    for hub in &nodes.hubs {
        let address = stage::address(hub)?;
        let all = clients.iter().map(|client| client.publications_at(address, events));
        let requests = InTurn { all: all.collect::<anyhow::Result<_>>()?, turn: AtomicUsize::new(0) };
        loops.push(ClosedLoop::start(address, CALLERS / count, Arc::new(requests), 202, &bench.clock));
    }
    let mut accepted = Vec::new();
    for each in loops {
        accepted.extend(each.finish().await?.ids);
    }
    let arrivals = sink.collect(accepted.len() as u64, PATIENCE).await?;
    let ended = arrivals.iter().map(|arrival| arrival.at).max().unwrap_or(began);
    report.compare(NODES, &format!("burst over {count} nodes"), &accepted, &arrivals, PATH);
    Ok(arrivals.len() as f64 / ended.saturating_sub(began).as_secs_f64())
}

/// Waits until a node answers for a tenant.
async fn known(bench: &Bench, hub: &Hub, client: &Client, within: Duration) -> anyhow::Result<()> {
    let (path, begun) = (client.tenant.path(""), bench.clock.monotonic());
    while hub.get(&path).await.status != 200 {
        anyhow::ensure!(bench.clock.monotonic() - begun < within, "a node does not know a tenant after {within:?}");
    }
    Ok(())
}

/// From the answer to an admin's change on one node until the other two have it.
async fn toggles(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let (nodes, sink) = (nodes(3).await, Sink::start(bench.clock.clone()).await?);
    let client = Client::new(&nodes.hubs[0], "acme").await?;
    let endpoint = client.endpoint(&sink, PATH, stage::SENT).await?;
    let path = client.tenant.path(&format!("/endpoints/{endpoint}"));
    let mut taken = histogram();
    for round in 0..bench.pick(100, 4) {
        let (action, state) = if round % 2 == 0 { ("pause", "paused") } else { ("resume", "active") };
        client.endpoint_do(&endpoint, action).await?;
        let began = bench.clock.monotonic();
        for hub in &nodes.hubs[1..] {
            loop {
                let seen = hub.get(&path).await;
                if seen.status == 200 && seen.json()["state"] == state {
                    break;
                }
                let waited = bench.clock.monotonic() - began;
                anyhow::ensure!(waited < SEEN_WITHIN, "a change was not in force after {waited:?}");
            }
        }
        taken.saturating_record(micros(bench.clock.monotonic() - began));
    }
    let ms = |quantile| taken.value_at_quantile(quantile) as f64 / 1000.0;
    report.figure(NODES, "toggle in force on all nodes, p50", "ms", &[ms(0.5)], None);
    report.figure(NODES, "toggle in force on all nodes, p99", "ms", &[ms(0.99)], Some(Target::AtMost(1_000.0)));
    Ok(())
}
