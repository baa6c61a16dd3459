//! One table, ratios first, and the same as JSON.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use crate::{options::Scenario, sink::Arrival};

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// No less.
    AtLeast(f64),
    /// No more.
    AtMost(f64),
}

impl Target {
    /// By which part of itself the target is missed; none if it is met.
    fn missed_by(self, value: f64) -> Option<f64> {
        let missed = match self {
            Self::AtLeast(least) => (least - value) / least,
            Self::AtMost(most) => (value - most) / most,
        };
        (missed > 0.0 || missed.is_nan()).then_some(missed)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, ">= {}", number(*least)),
            Self::AtMost(most) => write!(f, "<= {}", number(*most)),
        }
    }
}

/// One measured thing.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    scenario: Scenario,
    name: String,
    /// Empty for a ratio.
    unit: &'static str,
    samples: Vec<f64>,
    target: Option<Target>,
}

impl Figure {
    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// The median of the runs.
    fn value(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            even if even % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        }
    }

    fn spread(&self) -> String {
        match self.sorted().as_slice() {
            [first, .., last] => format!("{} - {}", number(*first), number(*last)),
            _ => String::new(),
        }
    }

    fn verdict(&self, quick: bool) -> String {
        match self.target {
            None => String::new(),
            Some(_) if quick => "not judged".to_owned(),
            Some(target) => match target.missed_by(self.value()) {
                None => "yes".to_owned(),
                Some(part) => format!("missed by {:.0} %", part * 100.0),
            },
        }
    }

    fn json(&self, quick: bool) -> Value {
        let sorted = self.sorted();
        let (target, limit) = match self.target {
            None => (Value::Null, None),
            Some(Target::AtLeast(least)) => (json!({"at_least": least}), self.target),
            Some(Target::AtMost(most)) => (json!({"at_most": most}), self.target),
        };
        let missed_by = limit.filter(|_| !quick).and_then(|target| target.missed_by(self.value()));
        json!({
            "scenario": self.scenario.name(),
            "name": self.name,
            "unit": self.unit,
            "median": self.value(),
            "min": sorted.first(),
            "max": sorted.last(),
            "samples": self.samples,
            "target": target,
            "met": limit.filter(|_| !quick).map(|_| missed_by.is_none()),
            "missed_by": missed_by,
        })
    }
}

/// Whether what was accepted arrived, each event once at each place.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    scenario: Scenario,
    what: String,
    accepted: usize,
    lost: usize,
    doubled: usize,
    unexpected: usize,
    /// Why the scenario could not be carried out.
    fault: Option<String>,
}

impl Check {
    const fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.unexpected += other.unexpected;
    }

    const fn is_sound(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.unexpected == 0 && self.fault.is_none()
    }
}

/// Everything that a run of the bench found.
pub(crate) struct Report {
    machine: Value,
    quick: bool,
    runs: usize,
    figures: Vec<Figure>,
    checks: Vec<Check>,
    /// How long the run took.
    pub(crate) took: Duration,
    /// The machine's load at the end.
    pub(crate) load_after: String,
}

impl Report {
    pub(crate) const fn new(machine: Value, quick: bool, runs: usize) -> Self {
        Self {
            machine,
            quick,
            runs,
            figures: Vec::new(),
            checks: Vec::new(),
            took: Duration::ZERO,
            load_after: String::new(),
        }
    }

    /// Adds what was measured in each run. `unit` is empty for a ratio.
    pub(crate) fn figure(
        &mut self,
        scenario: Scenario,
        name: &str,
        unit: &'static str,
        samples: &[f64],
        target: Option<Target>,
    ) {
        let figure = Figure { scenario, name: name.to_owned(), unit, samples: samples.to_vec(), target };
        eprintln!("          {name}: {} {unit}", number(figure.value()));
        self.figures.push(figure);
    }

    /// Adds the comparison of what was accepted with what arrived at a path of the sink.
    pub(crate) fn compare(
        &mut self,
        scenario: Scenario,
        what: &str,
        accepted: &[u128],
        arrivals: &[Arrival],
        path: u16,
    ) {
        let mut expected = accepted.to_vec();
        expected.sort_unstable();
        let mut arrived: Vec<u128> =
            arrivals.iter().filter(|arrival| arrival.path == path).map(|arrival| arrival.id).collect();
        let count = arrived.len();
        arrived.sort_unstable();
        arrived.dedup();
        let missing = expected.iter().filter(|id| arrived.binary_search(id).is_err()).count();
        let unexpected = arrived.iter().filter(|id| expected.binary_search(id).is_err()).count();
        self.check(scenario, what, (accepted.len(), missing, count - arrived.len(), unexpected));
    }

    /// Adds the comparison where the sender does not learn the ids: so many were accepted, so many should arrive.
    pub(crate) fn compare_counts(
        &mut self,
        scenario: Scenario,
        what: &str,
        accepted: usize,
        arrivals: &[Arrival],
        path: u16,
    ) {
        let mut arrived: Vec<u128> =
            arrivals.iter().filter(|arrival| arrival.path == path).map(|arrival| arrival.id).collect();
        let count = arrived.len();
        arrived.sort_unstable();
        arrived.dedup();
        let (lost, unexpected) = (accepted.saturating_sub(arrived.len()), arrived.len().saturating_sub(accepted));
        self.check(scenario, what, (accepted, lost, count - arrived.len(), unexpected));
    }

    fn check(&mut self, scenario: Scenario, what: &str, counts: (usize, usize, usize, usize)) {
        let (accepted, lost, doubled, unexpected) = counts;
        let check = Check { scenario, what: what.to_owned(), accepted, lost, doubled, unexpected, fault: None };
        eprintln!("          {check}");
        // What is compared in each run is one line.
        match self.checks.iter_mut().find(|known| known.scenario == scenario && known.what == what) {
            Some(known) => known.add(&check),
            None => self.checks.push(check),
        }
    }

    /// Notes that a scenario could not be carried out.
    pub(crate) fn fault(&mut self, scenario: Scenario, fault: String) {
        eprintln!("          {fault}");
        let what = scenario.name().to_owned();
        let fault = Some(fault);
        self.checks.push(Check { scenario, what, accepted: 0, lost: 0, doubled: 0, unexpected: 0, fault });
    }

    /// Whether every scenario worked and nothing was lost or doubled.
    pub(crate) fn is_sound(&self) -> bool {
        self.checks.iter().all(Check::is_sound)
    }

    /// The report for programs.
    pub(crate) fn json(&self) -> Value {
        let checks = self.checks.iter().map(|check| {
            json!({"scenario": check.scenario.name(), "what": check.what, "accepted": check.accepted, "lost": check.lost,
                "doubled": check.doubled, "unexpected": check.unexpected, "fault": check.fault, "good": check.is_sound()})
        });
        let mut machine = self.machine.clone();
        machine["load_after"] = json!(self.load_after);
        json!({
            "machine": machine,
            "quick": self.quick,
            "runs": self.runs,
            "took_s": self.took.as_secs_f64(),
            "good": self.is_sound(),
            "figures": self.figures.iter().map(|figure| figure.json(self.quick)).collect::<Vec<_>>(),
            "checks": checks.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fault) = &self.fault {
            return write!(f, "FAULT  {}: {fault}", self.what);
        }
        let word = if self.is_sound() { "ok   " } else { "WRONG" };
        write!(f, "{word}  {}: {} accepted, {} lost, {} doubled", self.what, self.accepted, self.lost, self.doubled)?;
        if self.unexpected > 0 { write!(f, ", {} unexpected", self.unexpected) } else { Ok(()) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |name: &str| self.machine[name].as_str().unwrap_or("unknown").to_owned();
        writeln!(f)?;
        writeln!(
            f,
            "{} cores, {}, {}, Linux {}, data on {}, build {}",
            self.machine["cores"],
            text("model"),
            text("memory"),
            text("kernel"),
            text("data_on"),
            text("build")
        )?;
        writeln!(
            f,
            "median of {} run{}, in {:.0} s; load average {} before, {} after",
            self.runs,
            if self.runs == 1 { "" } else { "s" },
            self.took.as_secs_f64(),
            text("load_before"),
            self.load_after
        )?;
        let (ratios, figures): (Vec<_>, Vec<_>) = self.figures.iter().partition(|figure| figure.unit.is_empty());
        for (title, rows) in [("ratio", ratios), ("figure", figures)] {
            if rows.is_empty() {
                continue;
            }
            writeln!(f)?;
            row(f, [title, "median", "", "min - max", "target", "met"])?;
            for figure in rows {
                let target = figure.target.map(|target| target.to_string()).unwrap_or_default();
                let (value, verdict) = (number(figure.value()), figure.verdict(self.quick));
                row(f, [&figure.name, &value, figure.unit, &figure.spread(), &target, &verdict])?;
            }
        }
        writeln!(f)?;
        self.checks.iter().try_for_each(|check| writeln!(f, "{check}"))
    }
}

fn row(f: &mut fmt::Formatter<'_>, [name, value, unit, spread, target, verdict]: [&str; 6]) -> fmt::Result {
    let line = format!("{name:<64} {value:>9} {unit:<5} {spread:>19} {target:>11}  {verdict}");
    writeln!(f, "{}", line.trim_end())
}

/// Three digits that count, thousands apart.
fn number(value: f64) -> String {
    let size = value.abs();
    if size < 1.0 {
        return format!("{value:.3}");
    }
    if size < 1000.0 {
        let places = if size < 10.0 { 2 } else { usize::from(size < 100.0 && value.fract() != 0.0) };
        return format!("{value:.places$}");
    }
    let whole = format!("{value:.0}");
    let mut text = String::with_capacity(whole.len() + 4);
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(id: u128) -> Arrival {
        Arrival { path: 1, id, at: Duration::ZERO, sent_us: None }
    }

    fn report() -> Report {
        Report::new(json!({}), false, 3)
    }

    #[test]
    fn what_is_lost_doubled_or_unexpected_is_counted_and_makes_the_report_unsound() {
        let mut report = report();
        report.compare(Scenario::Burst, "good", &[1, 2], &[arrival(2), arrival(1)], 1);
        assert!(report.is_sound());
        report.compare(Scenario::Burst, "bad", &[1, 2, 3], &[arrival(2), arrival(2), arrival(9)], 1);
        let check = &report.checks[1];
        assert_eq!((check.lost, check.doubled, check.unexpected), (2, 1, 1));
        report.compare(Scenario::Burst, "bad", &[1, 2], &[arrival(2)], 1);
        assert_eq!((report.checks[1].accepted, report.checks[1].lost), (5, 3), "the runs of a check are one line");
        assert!(!report.is_sound());
    }

    #[test]
    fn a_target_is_judged_by_the_median_and_a_miss_says_by_how_much() {
        let mut report = report();
        report.figure(Scenario::Burst, "rate", "1/s", &[9_000.0, 100.0, 6_000.0], Some(Target::AtLeast(8_000.0)));
        assert_eq!(report.figures[0].verdict(false), "missed by 25 %");
        assert_eq!(report.figures[0].verdict(true), "not judged");
        report.figure(Scenario::Burst, "memory", "MiB", &[80.0], Some(Target::AtMost(80.0)));
        assert_eq!(report.figures[1].verdict(false), "yes");
        assert!(report.is_sound(), "a missed target is no fault");
    }

    #[test]
    fn the_table_has_ratios_first_and_the_json_says_the_same() {
        let mut report = report();
        report.figure(Scenario::Accept, "accepts", "1/s", &[21_234.0], None);
        report.figure(Scenario::Accept, "share", "", &[0.61], Some(Target::AtLeast(0.5)));
        let table = report.to_string();
        let place = |text: &str| table.find(text).unwrap_or_else(|| panic!("{text} is not in {table}"));
        assert!(place("share") < place("accepts") && place("21,234") > 0 && place("0.610") > 0);
        let json = report.json();
        assert_eq!(json["figures"][1]["met"], true);
        assert_eq!(json["figures"][0]["target"], Value::Null);
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        let texts = [0.0123, 1.5, 15.25, 150.6, 80.0, 1_234_567.8].map(number);
        assert_eq!(texts, ["0.012", "1.50", "15.2", "151", "80", "1,234,568"]);
    }
}
