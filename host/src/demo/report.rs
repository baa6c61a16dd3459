//! What each step expected and what was seen, printed as it happens and as a table at the end.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{cli::Output, clock::SystemClock};

struct Line {
    step: &'static str,
    expected: &'static str,
    seen: String,
    good: bool,
    took: Duration,
}

/// The record of a demo.
pub(super) struct Report {
    output: Output,
    clock: crate::clock::SharedClock,
    lines: Vec<Line>,
    correlation: Option<String>,
}

impl Report {
    pub(super) fn begin(output: Output) -> Self {
        Self { output, clock: SystemClock::shared(), lines: Vec::new(), correlation: None }
    }

    /// Plays one step and prints how it came out.
    pub(super) async fn step(
        &mut self,
        step: &'static str,
        expected: &'static str,
        play: impl Future<Output = anyhow::Result<String>>,
    ) {
        eprintln!("· {step}");
        let started = self.clock.monotonic();
        let (seen, good) = match play.await {
            Ok(seen) => (seen, true),
            Err(error) => (format!("{error:#}"), false),
        };
        let took = self.clock.monotonic().saturating_sub(started);
        eprintln!("  {} {seen} ({} ms)", if good { "✓" } else { "✗" }, took.as_millis());
        self.lines.push(Line { step, expected, seen, good, took });
    }

    /// Keeps the correlation id whose time line is shown at the end.
    pub(super) fn show_trace_of(&mut self, correlation: String) {
        self.correlation = Some(correlation);
    }

    pub(super) fn correlation(&self) -> Option<&str> {
        self.correlation.as_deref()
    }

    pub(super) fn all_good(&self) -> bool {
        self.lines.iter().all(|line| line.good)
    }

    /// Prints the table and the time line.
    pub(super) fn finish(&self, trace: Option<&Value>) -> anyhow::Result<()> {
        let lines = self.lines.iter();
        let steps: Vec<Value> = lines
            .map(|line| json!({"step": line.step, "expected": line.expected, "seen": line.seen, "good": line.good, "ms": line.took.as_millis()}))
            .collect();
        let value = json!({"steps": steps, "trace": trace, "good": self.all_good()});
        Ok(self.output.result(&value, |_| self.for_people(trace))?)
    }

    fn for_people(&self, trace: Option<&Value>) -> String {
        let mut text = String::from("\n");
        let width = self.lines.iter().map(|line| line.step.chars().count()).max().unwrap_or(0);
        text += &format!("{:<width$}  {:>7}  expected / seen\n", "step", "ms");
        for line in &self.lines {
            let mark = if line.good { "ok " } else { "BAD" };
            text += &format!("{:<width$}  {:>7}  {}\n", line.step, line.took.as_millis(), line.expected);
            text += &format!("{:<width$}  {mark:>7}  {}\n", "", line.seen);
        }
        let entries = trace.and_then(|trace| trace["entries"].as_array());
        if let (Some(entries), Some(correlation)) = (entries, &self.correlation) {
            text += &format!("\nTime line of {correlation}:\n");
            for entry in entries {
                let field = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
                text += &format!("  {}  {:<13}  {}\n", field("at"), field("kind"), field("summary"));
            }
        }
        text
    }
}
