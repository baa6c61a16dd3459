//! A good tenant beside fifty whose plugin spins: how long its events take to an endpoint, and through a plugin of its own
//! to an endpoint; alone, with spinners that stay just inside their limit and so are never held, and with those that
//! spin until it and are held.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use switchyard_tests::{api::text, hub::Hub, world::guest};
use tokio_util::task::AbortOnDropHandle;

use super::steady::latency;
use crate::{
    Bench,
    load::{OpenLoop, Write},
    options::Scenario,
    report::{Report, Target},
    sink::Sink,
    stage::{self, Client, PATIENCE},
};

const NEIGHBOURS: Scenario = Scenario::Neighbours;

/// Events per second of the good tenant, half of them for its plugin.
const RATE: u64 = 100;

/// The sink's paths of the good tenant.
const DIRECT: u16 = 1;
const THROUGH_PLUGIN: u16 = 2;

/// The hub holds a version of a plugin after so many failures in a row; it has so long to find them all.
const HOLDS_WITHIN: Duration = Duration::from_secs(30);

/// CPU time of a call that spins and is not ended for it, measured alone. With all cores busy, and on cores that share
/// their parts with others, the same work is charged up to three times as much, and a call may use 200.
const SPIN_MS: u64 = 60;

/// Latencies of one measurement in milliseconds.
struct Taken {
    direct_p50: f64,
    direct_p99: f64,
    plugin_p50: f64,
    plugin_p99: f64,
}

/// How the spinners are fed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Feed {
    /// Each event computes for about [`SPIN_MS`], and ends well.
    NeverHeld,
    /// Each event spins until the call is ended for it.
    Held,
}

pub(super) async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let off = beside(bench, report, Feed::NeverHeld).await?;
    let on = beside(bench, report, Feed::Held).await?;
    let mut row = |name: &str, unit, value: f64, target| report.figure(NEIGHBOURS, name, unit, &[value], target);
    for (word, (alone, among)) in [("never held", &off), ("held", &on)] {
        let share = Some(Target::AtMost(1.25));
        row(&format!("endpoint p99, neighbours {word}, over alone"), "", among.direct_p99 / alone.direct_p99, share);
        if word == "held" {
            row("plugin p99, neighbours held, over alone", "", among.plugin_p99 / alone.plugin_p99, share);
        }
    }
    let (alone, among) = &off;
    let more = among.plugin_p99 - alone.plugin_p99;
    row("plugin p99, neighbours never held, above alone", "ms", more, Some(Target::AtMost(100.0)));
    for (word, taken) in [("alone", &off.0), ("neighbours never held", &off.1), ("neighbours held", &on.1)] {
        row(&format!("good tenant, endpoint only, p50, {word}"), "ms", taken.direct_p50, None);
        row(&format!("good tenant, endpoint only, p99, {word}"), "ms", taken.direct_p99, None);
        row(&format!("good tenant, through its plugin, p50, {word}"), "ms", taken.plugin_p50, None);
        row(&format!("good tenant, through its plugin, p99, {word}"), "ms", taken.plugin_p99, None);
    }
    Ok(())
}

/// Measures the good tenant alone and then beside spinners, on a hub of its own.
async fn beside(bench: &Bench, report: &mut Report, feed: Feed) -> anyhow::Result<(Taken, Taken)> {
    let (hub, sink) = (stage::hub(bench, false).await, Sink::start(bench.clock.clone()).await?);
    let _ = hub.push(guest("misbehave")).await.expect(201);
    let _ = hub.push(guest("hello_plugin")).await.expect(201);
    let good = Client::new(&hub, "good").await?;
    let _ = good.endpoint(&sink, DIRECT, stage::SENT).await?;
    let _ = good.endpoint(&sink, THROUGH_PLUGIN, "greeting.made").await?;
    let _ = good.install("hello", &json!({"config": {"greeting": "Hej"}})).await?;
    let spinners = spinners(&hub, bench.pick(50, 4)).await?;
    let work = match feed {
        Feed::NeverHeld => work_that_ends(&spinners[0]).await?,
        Feed::Held => r#","do":"loop""#.to_owned(),
    };
    let _ = listen(bench, report, &hub, &sink, &good, 1).await?;
    let seconds = bench.pick(20, 2);
    let alone = listen(bench, report, &hub, &sink, &good, seconds).await?;

    let feeding = AbortOnDropHandle::new(tokio::spawn(feed_all(bench, &hub, &spinners, &work)?));
    let wait = if feed == Feed::Held { HOLDS_WITHIN } else { Duration::from_secs(5) };
    tokio::time::sleep(bench.pick(wait, Duration::from_secs(1))).await;
    let among = listen(bench, report, &hub, &sink, &good, seconds).await?;
    anyhow::ensure!(!feeding.is_finished(), "the spinners were not fed to the end");
    drop(feeding);
    let held = held(&spinners).await;
    let name = format!(
        "versions held, of {} that spin, {}",
        spinners.len(),
        if feed == Feed::Held { "fed to be" } else { "fed not to be" }
    );
    report.figure(NEIGHBOURS, &name, "count", &[held as f64], None);
    Ok((alone, among))
}

async fn spinners(hub: &Hub, count: usize) -> anyhow::Result<Vec<Client>> {
    let mut spinners = Vec::new();
    for number in 0..count {
        let client = Client::new(hub, &format!("spin-{number}")).await?;
        let _ = client.install("misbehave", &json!({"config": {}})).await?;
        spinners.push(client);
    }
    Ok(spinners)
}

/// Work for the guest that takes about [`SPIN_MS`] of CPU time on this machine, as a part of an event's data.
async fn work_that_ends(client: &Client) -> anyhow::Result<String> {
    let mut steps = 1_u64 << 20;
    loop {
        let order = json!({"type": "test.do", "data": {"do": "hash", "steps": steps}});
        let event = client.tenant.publish(&order).await["id"].clone();
        let is = |delivery: &Value| delivery["event_id"] == event && delivery["state"] == "delivered";
        let done = client.tenant.delivery("plugin:misbehave", "done", is).await;
        let detail = client.tenant.get(&format!("/deliveries/{}", text(&done, "id"))).await.expect(200);
        let used = detail["attempts"][0]["detail"]["usage"]["cpu_ms"].as_u64().context("a call says what it used")?;
        if used >= SPIN_MS / 4 {
            return Ok(format!(r#","do":"hash","steps":{}"#, steps * SPIN_MS / used));
        }
        steps *= 2;
    }
}

/// Two events a second for each spinner, for as long as it is polled.
fn feed_all(
    bench: &Bench,
    hub: &Hub,
    spinners: &[Client],
    work: &str,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + use<>> {
    let all = spinners.iter().map(|client| client.publications_of("test.do", work, 0));
    let all = all.collect::<anyhow::Result<Vec<_>>>()?;
    let tenants = all.len();
    let write: Write = Arc::new(move |n, at, into| all[usize::try_from(n).unwrap_or(0) % tenants].write(n, at, into));
    let rate = 2.0 * tenants as f64;
    let (address, clock) = (stage::address(hub)?, bench.clock.clone());
    let open = OpenLoop { address, rate, count: rate as u64 * 600, status: 202, write };
    Ok(async move { open.run(clock).await.map(|_| ()) })
}

/// Sends the good tenant's events at its rate and waits for all of them.
async fn listen(
    bench: &Bench,
    report: &mut Report,
    hub: &Hub,
    sink: &Sink,
    good: &Client,
    seconds: u64,
) -> anyhow::Result<Taken> {
    let direct = good.publications(0)?;
    let greeted = good.publications_of("greeting.requested", r#","name":"Ida""#, 0)?;
    let write: Write =
        Arc::new(move |n, at, into| if n % 2 == 0 { direct.write(n, at, into) } else { greeted.write(n, at, into) });
    let count = RATE * seconds;
    let open = OpenLoop { address: stage::address(hub)?, rate: RATE as f64, count, status: 202, write };
    let _ = open.run(bench.clock.clone()).await?;
    let arrivals = sink.collect(count, PATIENCE).await?;
    let half = usize::try_from(count / 2)?;
    report.compare_counts(NEIGHBOURS, "good tenant, endpoint only", half, &arrivals, DIRECT);
    report.compare_counts(NEIGHBOURS, "good tenant, through its plugin", half, &arrivals, THROUGH_PLUGIN);
    let (direct, through) = (latency(&arrivals, DIRECT), latency(&arrivals, THROUGH_PLUGIN));
    let ms = |of: &Histogram<u64>, quantile| of.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Taken {
        direct_p50: ms(&direct, 0.5),
        direct_p99: ms(&direct, 0.99),
        plugin_p50: ms(&through, 0.5),
        plugin_p99: ms(&through, 0.99),
    })
}

/// How many spinners' versions the hub holds.
async fn held(spinners: &[Client]) -> usize {
    let mut held = 0;
    for client in spinners {
        let installed = client.tenant.get("/plugins/misbehave").await.expect(200);
        held += usize::from(installed["hold"]["code"] == "version_broken");
    }
    held
}
