//! Durable accepts of the API, beside a bare handler that stores nothing and one that inserts the same rows. The tenant
//! has one matching endpoint, which is paused, so that a delivery is stored and none is sent.

use std::{net::SocketAddr, sync::Arc};

use switchyard_tests::hub::Hub;

use crate::{
    Bench,
    bare::BareServer,
    load::{Answered, ClosedLoop},
    message::Publications,
    options::{Bare, Scenario},
    process::Watched,
    report::Report,
    sink::Sink,
    stage::{self, CONNECTIONS, Client, PATIENCE},
};

const ACCEPT: Scenario = Scenario::Accept;

/// Rate, CPU of the server per request, and what was answered.
struct Taken {
    rate: f64,
    cpu_us: f64,
    answered: Answered,
}

pub(super) async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let (mut empty, mut insert, mut hub, mut share) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut insert_cpu, mut hub_cpu, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    for run in 1..=bench.runs {
        empty.push(bare(bench, Bare::Empty).await?.rate);
        let inserted = bare(bench, Bare::Insert).await?;
        let accepted = through_hub(bench, report, run == bench.runs).await?;
        share.push(accepted.rate / inserted.rate);
        insert.push(inserted.rate);
        hub.push(accepted.rate);
        insert_cpu.push(inserted.cpu_us);
        hub_cpu.push(accepted.cpu_us);
        p99.push(accepted.answered.latency.value_at_quantile(0.99) as f64 / 1000.0);
    }
    report.figure(ACCEPT, "durable accepts over the bare insert", "", &share, bench.at_least(0.5, 0.35));
    report.figure(ACCEPT, "bare handler that stores nothing", "1/s", &empty, None);
    report.figure(ACCEPT, "bare handler, same rows, same group commit", "1/s", &insert, None);
    report.figure(ACCEPT, "its CPU per insert", "us", &insert_cpu, None);
    report.figure(ACCEPT, "durable accepts, 1 KiB, 32 connections", "1/s", &hub, bench.at_least(20_000.0, 12_000.0));
    report.figure(ACCEPT, "CPU of the hub per accept", "us", &hub_cpu, None);
    report.figure(ACCEPT, "until the 202, p99 of 32 connections", "ms", &p99, None);
    Ok(())
}

async fn bare(bench: &Bench, kind: Bare) -> anyhow::Result<Taken> {
    let server = BareServer::start(bench, kind).await?;
    let requests = Publications::new(server.address, "bare", "none", stage::SENT, "", u64::MAX)?;
    take(bench, server.address, server.watched, requests).await
}

async fn through_hub(bench: &Bench, report: &mut Report, last: bool) -> anyhow::Result<Taken> {
    let (mut hub, sink) = (stage::hub(bench, false).await, Sink::start(bench.clock.clone()).await?);
    let client = Client::new(&hub, "acme").await?;
    let endpoint = client.endpoint(&sink, 1, stage::SENT).await?;
    client.endpoint_do(&endpoint, "pause").await?;
    let taken = take(bench, stage::address(&hub)?, stage::watched(&hub)?, client.publications(u64::MAX)?).await?;
    if last {
        after_a_power_cut(bench, report, &mut hub, &sink, &client, &endpoint, &taken.answered.ids).await?;
    }
    Ok(taken)
}

async fn take(bench: &Bench, address: SocketAddr, server: Watched, requests: Publications) -> anyhow::Result<Taken> {
    let load = ClosedLoop::start(address, CONNECTIONS, Arc::new(requests), 202, &bench.clock);
    let (before, warm) = (server.usage()?, bench.seconds(0.5, 0.1));
    let rate = load.rate(warm, bench.seconds(4.0, 0.7), &bench.clock).await;
    let answered = load.stop().await?;
    let cpu = server.usage()?.cpu.saturating_sub(before.cpu);
    Ok(Taken { rate, cpu_us: cpu.as_secs_f64() * 1e6 / answered.count.max(1) as f64, answered })
}

/// Kills the hub after its last answer, starts it again and lets it deliver: everything that was answered with 202 has
/// to arrive once.
async fn after_a_power_cut(
    bench: &Bench,
    report: &mut Report,
    hub: &mut Hub,
    sink: &Sink,
    client: &Client,
    endpoint: &str,
    accepted: &[u128],
) -> anyhow::Result<()> {
    hub.kill().await;
    hub.restart().await;
    let began = bench.clock.monotonic();
    client.endpoint_do(endpoint, "resume").await?;
    let arrivals = sink.collect(accepted.len() as u64, PATIENCE).await?;
    let ended = arrivals.iter().map(|arrival| arrival.at).max().unwrap_or(began);
    let rate = arrivals.len() as f64 / ended.saturating_sub(began).as_secs_f64();
    report.figure(ACCEPT, "of them delivered from the file after kill -9 and resume", "1/s", &[rate], None);
    report.compare(ACCEPT, "accepted, hub killed, started again, endpoint resumed", accepted, &arrivals, 1);
    Ok(())
}
