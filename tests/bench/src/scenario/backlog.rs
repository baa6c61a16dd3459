//! Deliveries to one endpoint while a great many wait in other lanes, against a hub where none does. Most of those that
//! wait are held, since their endpoints are paused; the others were tried and are due again in ten hours.

use std::sync::Arc;

use switchyard_tests::hub::Hub;

use self::filler::Filler;
use crate::{
    Bench,
    load::ClosedLoop,
    options::Scenario,
    report::{Report, Target},
    sink::{Arrival, Sink},
    stage::{self, CONNECTIONS, Client, PATIENCE},
};

mod filler;

const BACKLOG: Scenario = Scenario::Backlog;

/// Tenants with deliveries that wait.
const TENANTS: usize = 20;

/// Their paused endpoints. Every event waits once for each.
const PAUSED: usize = 5;

/// The sink's path of the endpoint that is measured, of those that wait, and of the one that is resumed at the end.
const BUSY: u16 = 1;
const WAITING: u16 = 2;
const RESUMED: u16 = 3;

pub(super) async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let sink = Sink::start(bench.clock.clone()).await?;
    let (empty, mut full) = (stage::hub(bench, false).await, stage::hub(bench, false).await);
    let (beside_none, beside_many) = (busy(&empty, &sink).await?, busy(&full, &sink).await?);
    let place = full.place();
    let filled = fill(bench, &mut full, &place, &sink).await?;
    report.figure(BACKLOG, "deliveries that wait", "count", &[filled.count as f64], None);

    let _ = full.stop().await;
    let began = bench.clock.monotonic();
    full.restart().await;
    let ready = (bench.clock.monotonic() - began).as_secs_f64();
    let (mut without, mut with, mut share) = (Vec::new(), Vec::new(), Vec::new());
    // One burst each that does not count opens the connections.
    for run in 0..=bench.runs {
        let count = if run == 0 { bench.pick(500, 50) } else { bench.pick(10_000, 300) };
        let none = burst(bench, report, &empty, &sink, &beside_none, count).await?;
        let many = burst(bench, report, &full, &sink, &beside_many, count).await?;
        if run > 0 {
            without.push(none);
            with.push(many);
            share.push(many / none);
        }
    }
    let rss = stage::watched(&full)?.usage()?.rss_mib;
    report.figure(BACKLOG, "delivered beside them over beside none", "", &share, Some(Target::AtLeast(0.9)));
    report.figure(BACKLOG, "delivered beside none", "1/s", &without, None);
    report.figure(BACKLOG, "delivered beside them", "1/s", &with, None);
    report.figure(BACKLOG, "RSS with them", "MiB", &[rss], Some(Target::AtMost(300.0)));
    report.figure(BACKLOG, "start to ready with them", "s", &[ready], Some(Target::AtMost(2.0)));

    // One of the lanes is let go: everything in it arrives once, and nothing of the others has.
    filled.client.endpoint_do(&filled.resumed, "resume").await?;
    let arrivals = sink.collect(filled.events.len() as u64, PATIENCE).await?;
    report.compare(BACKLOG, "a lane that waited, resumed", &filled.events, &arrivals, RESUMED);
    report.compare(BACKLOG, "all others, still waiting", &[], &arrivals, WAITING);
    Ok(())
}

async fn busy(hub: &Hub, sink: &Sink) -> anyhow::Result<Client> {
    let client = Client::new(hub, "busy").await?;
    let _ = client.endpoint(sink, BUSY, stage::SENT).await?;
    Ok(client)
}

/// Events delivered per second, from the first request to the last delivery.
async fn burst(
    bench: &Bench,
    report: &mut Report,
    hub: &Hub,
    sink: &Sink,
    client: &Client,
    count: u64,
) -> anyhow::Result<f64> {
    let requests = Arc::new(client.publications(count)?);
    let began = bench.clock.monotonic();
    let load = ClosedLoop::start(stage::address(hub)?, CONNECTIONS, requests, 202, &bench.clock);
    let answered = load.finish().await?;
    let arrivals = sink.collect(count, PATIENCE).await?;
    report.compare(BACKLOG, "burst beside the queue", &answered.ids, &arrivals, BUSY);
    report.compare(BACKLOG, "nothing of what waits is sent", &[], &arrivals, WAITING);
    let arrived = |arrival: &Arrival| arrival.at;
    let ended = arrivals.iter().map(arrived).max().unwrap_or(began);
    Ok(arrivals.len() as f64 / ended.saturating_sub(began).as_secs_f64())
}

/// What waits.
struct Filled {
    count: usize,
    /// A tenant whose endpoint `resumed` is let go at the end, with the events that wait for it.
    client: Client,
    resumed: String,
    events: Vec<u128>,
}

/// Makes the tenants through the API, stops the hub, writes what waits through the store, and leaves the hub running.
async fn fill(bench: &Bench, hub: &mut Hub, place: &str, sink: &Sink) -> anyhow::Result<Filled> {
    let mut lanes = Vec::new();
    let mut first = None;
    for number in 0..TENANTS {
        let client = Client::new(hub, &format!("fill-{number}")).await?;
        let mut paused = Vec::new();
        for place in 0..PAUSED {
            let path = if number + place == 0 { RESUMED } else { WAITING };
            let endpoint = client.endpoint(sink, path, "queue.waited").await?;
            client.endpoint_do(&endpoint, "pause").await?;
            paused.push(endpoint);
        }
        let open = client.endpoint(sink, WAITING, "queue.failed").await?;
        lanes.push(filler::Lanes::of(&client.tenant.id, &paused, &open)?);
        first.get_or_insert((client, paused.swap_remove(0)));
    }
    let _ = hub.stop().await;
    let filler = Filler::open(place, bench.clock.clone()).await?;
    let began = bench.clock.monotonic();
    let (events, later) = bench.pick((9_800, 1_000), (48, 10));
    let (mut of_first, mut count) = (Vec::new(), 0);
    for (number, lanes) in lanes.iter().enumerate() {
        let made = filler.queue(lanes, events).await?;
        count += made.len() * PAUSED + filler.postpone(lanes, later).await?;
        if number == 0 {
            of_first = made;
        }
    }
    filler.close().await;
    eprintln!("          {count} deliveries written in {:.0} s", (bench.clock.monotonic() - began).as_secs_f64());
    hub.restart().await;
    let (client, resumed) = first.ok_or_else(|| anyhow::anyhow!("no tenant"))?;
    Ok(Filled { count, client, resumed, events: of_first })
}
