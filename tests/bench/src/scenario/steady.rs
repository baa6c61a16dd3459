//! End to end at a steady rate: from the moment when an event was due to be sent to its arrival at the sink.

use std::sync::Arc;

use hdrhistogram::Histogram;

use crate::{
    Bench,
    load::{OpenLoop, histogram, micros},
    options::Scenario,
    report::{Report, Target},
    sink::{Arrival, Sink},
    stage::{self, Client, PATIENCE},
};

const STEADY: Scenario = Scenario::Steady;

/// Events per second.
const RATE: u64 = 200;

pub(super) async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let (hub, sink) = (stage::hub(bench, true).await, Sink::start(bench.clock.clone()).await?);
    let client = Client::new(&hub, "acme").await?;
    let _ = client.endpoint(&sink, 1, stage::SENT).await?;
    let address = stage::address(&hub)?;
    let publications = Arc::new(client.publications(0)?);
    let write: crate::load::Write = Arc::new(move |n, at, into| publications.write(n, at, into));
    let send = |seconds: u64| OpenLoop {
        address,
        rate: RATE as f64,
        count: RATE * seconds,
        status: 202,
        write: write.clone(),
    };
    // Connections are opened and caches filled before it counts.
    let _ = send(1).run(bench.clock.clone()).await?;
    let _ = sink.collect(RATE, PATIENCE).await?;

    let (mut p50, mut p95, mut p99, mut accepts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.runs {
        let answered = send(bench.pick(15, 2)).run(bench.clock.clone()).await?;
        let arrivals = sink.collect(answered.count, PATIENCE).await?;
        report.compare(STEADY, "steady rate", &answered.ids, &arrivals, 1);
        let latency = latency(&arrivals, 1);
        let ms = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
        p50.push(ms(0.5));
        p95.push(ms(0.95));
        p99.push(ms(0.99));
        accepts.push(answered.latency.value_at_quantile(0.5) as f64 / 1000.0);
    }
    report.figure(STEADY, "end to end at 200/s, p50", "ms", &p50, Some(Target::AtMost(2.0)));
    report.figure(STEADY, "end to end at 200/s, p95", "ms", &p95, None);
    report.figure(STEADY, "end to end at 200/s, p99", "ms", &p99, Some(Target::AtMost(8.0)));
    report.figure(STEADY, "of it until the 202, p50", "ms", &accepts, None);
    Ok(())
}

/// From stamp to arrival at a path of the sink, in microseconds.
pub(super) fn latency(arrivals: &[Arrival], path: u16) -> Histogram<u64> {
    let mut all = histogram();
    for arrival in arrivals.iter().filter(|arrival| arrival.path == path) {
        if let Some(sent) = arrival.sent_us {
            all.saturating_record(micros(arrival.at).saturating_sub(sent).max(1));
        }
    }
    all
}
