//! From the first request of a burst to the last delivery, to one endpoint and to ten; CPU and memory meanwhile.

use std::{sync::Arc, time::Duration};

use switchyard_tests::hub::Hub;

use crate::{
    Bench,
    load::ClosedLoop,
    options::Scenario,
    process::{Usage, Watched},
    report::{Report, Target},
    sink::{Arrival, Sink},
    stage::{self, CONNECTIONS, Client, PATIENCE},
};

const BURST: Scenario = Scenario::Burst;

/// The sink's paths of the two tenants begin here.
const ONE: u16 = 1;
const TEN: u16 = 10;

/// What one burst showed.
struct Taken {
    accepts_per_s: f64,
    deliveries_per_s: f64,
    cpu_us_per_event: f64,
    tool_us_per_event: f64,
    after: Usage,
    accepted: Vec<u128>,
    arrivals: Vec<Arrival>,
}

pub(super) async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let (mut hub, sink) = (stage::hub(bench, true).await, Sink::start(bench.clock.clone()).await?);
    let (one, ten) = (Client::new(&hub, "one").await?, Client::new(&hub, "ten").await?);
    let _ = one.endpoint(&sink, ONE, stage::SENT).await?;
    for path in TEN..TEN + 10 {
        let _ = ten.endpoint(&sink, path, stage::SENT).await?;
    }
    let (mut to_one, mut to_ten) = (Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        to_one.push(burst(bench, &mut hub, &sink, &one, 1).await?);
        to_ten.push(burst(bench, &mut hub, &sink, &ten, 10).await?);
    }
    let all = |taken: &[Taken], of: fn(&Taken) -> f64| taken.iter().map(of).collect::<Vec<_>>();
    let delivered = |taken: &Taken| taken.deliveries_per_s;
    report.figure(
        BURST,
        "accepted to delivered, 1 endpoint",
        "1/s",
        &all(&to_one, delivered),
        bench.at_least(8_000.0, 4_000.0),
    );
    report.figure(BURST, "accepts meanwhile", "1/s", &all(&to_one, |taken| taken.accepts_per_s), None);
    report.figure(
        BURST,
        "accepted to delivered, 10 endpoints, deliveries",
        "1/s",
        &all(&to_ten, delivered),
        bench.on_sqlite(Target::AtLeast(15_000.0)),
    );
    let cpu = all(&to_one, |taken| taken.cpu_us_per_event);
    report.figure(
        BURST,
        "CPU of the hub per accepted and delivered event",
        "us",
        &cpu,
        bench.on_sqlite(Target::AtMost(150.0)),
    );
    let tool = all(&to_one, |taken| taken.tool_us_per_event);
    report.figure(BURST, "CPU of load tool and sink per event", "us", &tool, None);
    let peak = |taken: &Taken| taken.after.peak_mib;
    report.figure(BURST, "peak RSS, 1 endpoint", "MiB", &all(&to_one, peak), Some(Target::AtMost(250.0)));
    report.figure(BURST, "peak RSS, 10 endpoints", "MiB", &all(&to_ten, peak), Some(Target::AtMost(250.0)));
    for taken in &to_one {
        report.compare(BURST, "burst to 1 endpoint", &taken.accepted, &taken.arrivals, ONE);
    }
    for taken in &to_ten {
        for path in TEN..TEN + 10 {
            report.compare(
                BURST,
                &format!("burst to endpoint {} of 10", path - TEN + 1),
                &taken.accepted,
                &taken.arrivals,
                path,
            );
        }
    }
    Ok(())
}

/// One burst through a process that has done nothing else but a few events to open its connections.
async fn burst(bench: &Bench, hub: &mut Hub, sink: &Sink, client: &Client, endpoints: u64) -> anyhow::Result<Taken> {
    let _ = hub.stop().await;
    hub.restart().await;
    let (address, server) = (stage::address(hub)?, stage::watched(hub)?);
    let send = |count| anyhow::Ok((count, Arc::new(client.publications(count)?)));
    let (count, few) = send(bench.pick(500, 50))?;
    let _ = ClosedLoop::start(address, CONNECTIONS, few, 202, &bench.clock).finish().await?;
    let _ = sink.collect(count * endpoints, PATIENCE).await?;

    server.forget_peak()?;
    let tool = Watched::new(std::process::id());
    let (before, tool_before) = (server.usage()?, tool.own_cpu()?);
    let (count, all) = send(bench.pick(20_000, 400))?;
    let began = bench.clock.monotonic();
    let answered = ClosedLoop::start(address, CONNECTIONS, all, 202, &bench.clock).finish().await?;
    let accepted_after = bench.clock.monotonic() - began;
    let arrivals = sink.collect(count * endpoints, PATIENCE).await?;
    let after = server.usage()?;
    let delivered_after = arrivals.iter().map(|arrival| arrival.at).max().unwrap_or(began).saturating_sub(began);
    let per_event = |cpu: Duration| cpu.as_secs_f64() * 1e6 / count as f64;
    Ok(Taken {
        accepts_per_s: count as f64 / accepted_after.as_secs_f64(),
        deliveries_per_s: arrivals.len() as f64 / delivered_after.as_secs_f64(),
        cpu_us_per_event: per_event(after.cpu.saturating_sub(before.cpu)),
        tool_us_per_event: per_event(tool.own_cpu()?.saturating_sub(tool_before)),
        after,
        accepted: answered.ids,
        arrivals,
    })
}
