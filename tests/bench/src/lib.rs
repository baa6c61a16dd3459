//! A load tool, a sink, and what they measure on a real hub.
//!
//! From the wire to the table: [`connection`] is one kept HTTP connection, [`load`] sends over many of them in a closed
//! or an open loop, [`sink`] counts what arrives, [`bare`] is what the machine does without a hub, [`process`] watches
//! CPU and memory, [`scenario`] has one file for each question, and [`report`] makes one table of the answers.

mod bare;
mod connection;
mod load;
mod machine;
mod message;
mod process;
mod report;
mod scenario;
mod sink;
mod stage;

/// The command line.
pub mod options;

use std::{panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use switchyard::clock::{SharedClock, SystemClock};

use options::{Command, Options};
use report::{Report, Target};

/// What every scenario is given.
pub(crate) struct Bench {
    /// Small counts, for a smoke check.
    pub(crate) quick: bool,
    /// Whether hubs keep everything in PostgreSQL.
    pub(crate) postgres: bool,
    /// How often each throughput is measured.
    pub(crate) runs: usize,
    /// Time, shared by tool and sink, so that a stamp of one means something to the other.
    pub(crate) clock: SharedClock,
}

impl Bench {
    /// The value for a whole run, or the one for a smoke check.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// The figure that hubs on SQLite, or on PostgreSQL, should reach at least.
    pub(crate) fn at_least(&self, sqlite: f64, postgres: f64) -> Option<Target> {
        Some(Target::AtLeast(if self.postgres { postgres } else { sqlite }))
    }

    /// A bound that is set for hubs on SQLite alone.
    pub(crate) fn on_sqlite(&self, target: Target) -> Option<Target> {
        (!self.postgres).then_some(target)
    }

    /// Seconds of a whole run, or of a smoke check.
    pub(crate) fn seconds(&self, full: f64, quick: f64) -> Duration {
        Duration::from_secs_f64(self.pick(full, quick))
    }
}

/// Measures what `options` ask for, prints the table and writes the JSON. Answers whether everything worked and nothing
/// was lost or doubled; a missed target is a figure, not a fault.
///
/// # Errors
/// The report could not be written.
pub async fn run(options: Options) -> anyhow::Result<bool> {
    if let Some(Command::Bare { kind, database }) = options.command {
        bare::serve(kind, &database).await?;
        return Ok(true);
    }
    let clock = SystemClock::shared();
    let bench = Bench { quick: options.quick, postgres: options.postgres, runs: options.runs(), clock: clock.clone() };
    let mut report = Report::new(machine::describe(), bench.quick, bench.runs);
    for scenario in options.scenarios() {
        eprintln!("{:>6.1} s  {}", clock.monotonic().as_secs_f64(), scenario.question());
        let bound = scenario.bound(bench.quick);
        let measuring = AssertUnwindSafe(scenario::measure(scenario, &bench, &mut report)).catch_unwind();
        match tokio::time::timeout(bound, measuring).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => report.fault(scenario, format!("{error:#}")),
            Ok(Err(_)) => report.fault(scenario, "it panicked, see above".to_owned()),
            Err(_) => report.fault(scenario, format!("it was not over after {} s", bound.as_secs())),
        }
    }
    report.took = clock.monotonic();
    report.load_after = machine::load_average();
    println!("{report}");
    if let Some(path) = &options.json {
        std::fs::write(path, format!("{:#}\n", report.json()))?;
        eprintln!("the same as JSON: {}", path.display());
    }
    Ok(report.is_sound())
}
