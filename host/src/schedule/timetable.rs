//! When a schedule runs, where a tenant says so: a cron expression, and what becomes of times that passed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cron::{Cron, CronError};
use crate::clock::Timestamp;

/// A run that begins so much later than it was due was missed. Restarts take less.
const LATE: Duration = Duration::from_secs(60);

/// Passed times are counted up to this.
const MAX_COUNTED: u32 = 1_000;

/// A tenant's own times for a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timetable {
    /// Minute, hour, day of month, month, day of week.
    pub cron: String,
    /// An IANA name; none is the tenant's zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What becomes of a time that passed while nobody could run it.
    #[serde(default)]
    pub missed: Missed,
    /// Up to so many seconds later than the clock says.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub jitter_s: u32,
}

/// What becomes of a time that passed while nobody could run it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// It is left out, and the next time runs.
    Skip,
    /// It runs once, as soon as it can, however many passed.
    #[default]
    RunOnce,
}

impl Missed {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::RunOnce => "run_once",
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Timetable {
    /// Its times, in its zone or else the tenant's.
    ///
    /// # Errors
    /// Expression or zone cannot be used.
    pub fn times(&self, tenant_zone: &str) -> Result<Cron, CronError> {
        Cron::parse(&self.cron, self.time_zone.as_deref().unwrap_or(tenant_zone))
    }

    /// The next run after `now`. `fraction`, from 0 to 1, is its part of the jitter.
    #[must_use]
    pub fn next_after(&self, tenant_zone: &str, now: Timestamp, fraction: f64) -> Option<Timestamp> {
        let next = self.times(tenant_zone).ok()?.next_after(now)?;
        Some(next.after(Duration::from_secs(self.jitter_s.into()).mul_f64(fraction.clamp(0.0, 1.0))))
    }
}

/// How many runs were missed when one that was due at `due_at` begins at `now`: itself and those that passed since. None
/// of them, if it is in time.
#[must_use]
pub fn missed_runs(times: &Cron, due_at: Timestamp, now: Timestamp) -> u32 {
    if now.since(due_at) < LATE {
        return 0;
    }
    let mut missed = 1;
    let mut at = due_at;
    while let Some(next) = times.next_after(at).filter(|next| *next <= now && missed < MAX_COUNTED) {
        missed += 1;
        at = next;
    }
    missed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn nightly() -> Timetable {
        Timetable { cron: "0 2 * * *".to_owned(), time_zone: None, missed: Missed::RunOnce, jitter_s: 600 }
    }

    #[test]
    fn jitter_comes_after_the_time_and_never_before() {
        let now = at("2026-11-21T12:00:00Z");
        let next = |fraction| nightly().next_after("Europe/Copenhagen", now, fraction).unwrap();
        assert_eq!(next(0.0), at("2026-11-22T01:00:00Z"));
        assert_eq!(next(0.5), at("2026-11-22T01:05:00Z"));
        assert_eq!(next(1.0), at("2026-11-22T01:10:00Z"));
    }

    #[test]
    fn a_run_that_begins_late_was_missed_and_so_were_those_that_passed_since() {
        let times = nightly().times("UTC").unwrap();
        let due = at("2026-11-20T02:00:00Z");
        assert_eq!(missed_runs(&times, due, at("2026-11-20T02:00:59Z")), 0);
        assert_eq!(missed_runs(&times, due, at("2026-11-20T02:01:00Z")), 1);
        assert_eq!(missed_runs(&times, due, at("2026-11-22T12:00:00Z")), 3);
        let often = Cron::parse("* * * * *", "UTC").unwrap();
        assert_eq!(missed_runs(&often, at("2020-01-01T00:00:00Z"), due), 1_000, "counting has an end");
    }
}
