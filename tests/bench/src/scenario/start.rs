//! How soon the hub is ready with its bundled plugins, and how much memory it takes while it does nothing.

use std::time::Duration;

use crate::{
    Bench,
    options::Scenario,
    report::{Report, Target},
    stage,
};

const START: Scenario = Scenario::Start;

/// What happens once after the start is over by then.
const IDLE_AFTER: Duration = Duration::from_secs(2);

pub(super) async fn measure(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let began = bench.clock.monotonic();
    let mut hub = stage::hub(bench, true).await;
    let cold = bench.clock.monotonic() - began;
    let (mut ready, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..bench.pick(5, 2) {
        let _ = hub.stop().await;
        let began = bench.clock.monotonic();
        hub.restart().await;
        ready.push((bench.clock.monotonic() - began).as_secs_f64() * 1000.0);
        tokio::time::sleep(IDLE_AFTER).await;
        idle.push(stage::watched(&hub)?.usage()?.rss_mib);
    }
    report.figure(START, "start to ready, warm cache, bundled plugins", "ms", &ready, Some(Target::AtMost(300.0)));
    report.figure(START, "first start, plugins compiled", "ms", &[cold.as_secs_f64() * 1000.0], None);
    report.figure(START, "idle RSS, bundled plugins", "MiB", &idle, Some(Target::AtMost(80.0)));
    Ok(())
}
