//! When a failed delivery is tried again. Arithmetic only.
//!
//! Waits before each attempt, in seconds:
//!
//! | table | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 |
//! |---|---|---|---|---|---|---|---|---|---|---|
//! | endpoint | 0 | 5 | 300 | 1800 | 7200 | 18000 | 36000 | 50400 | 72000 | 86400 |
//! | plugin | 0 | 2 | 15 | 60 | 300 | 1200 | 3600 | 10800 | | |
//!
//! After the last attempt of its table a delivery is dead. Each wait becomes up to a fifth longer by chance, never shorter,
//! so that what failed together does not return together. A `Retry-After` wins where it is longer, up to a day.

use std::{sync::Arc, time::Duration};

use crate::clock::TimeFactor;

/// Waits for endpoints, in seconds. Ten attempts over 75 hours.
pub const ENDPOINT_S: [u32; 10] = [0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// Waits for plugins, in seconds. Eight attempts over four and a half hours.
pub const PLUGIN_S: [u32; 8] = [0, 2, 15, 60, 300, 1200, 3600, 10_800];

/// The longest wait that an answer can ask for.
pub const RETRY_AFTER_CAP: Duration = Duration::from_secs(24 * 3600);

/// The largest part by which chance lengthens a wait.
pub const JITTER: f64 = 0.2;

/// Most attempts in a schedule of one's own.
pub const MAX_ATTEMPTS: usize = 50;

/// The longest wait in a schedule of one's own.
pub const MAX_WAIT_S: u32 = 7 * 24 * 3600;

/// A retry table: the waits before the first, second, ... attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryTable {
    /// [`ENDPOINT_S`].
    Endpoint,
    /// [`PLUGIN_S`].
    Plugin,
    /// `retry_schedule` of an endpoint or installation, checked by [`RetryTable::custom`].
    Custom(Arc<[u32]>),
}

/// Why a `retry_schedule` is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// No attempt, or too many.
    #[error("retry_schedule must list 1 to {MAX_ATTEMPTS} waits in seconds, this one lists {0}")]
    Count(usize),
    /// A wait beyond a week.
    #[error("retry_schedule has a wait of {0} s; the longest is {MAX_WAIT_S} s")]
    TooLong(u32),
}

impl RetryTable {
    /// A table of one's own, read as the built-in ones are: entry `i` is the wait before attempt `i + 1`, so the first entry
    /// is usually 0, and the length is the number of attempts.
    pub fn custom(seconds: &[u32]) -> Result<Self, ScheduleError> {
        if !(1..=MAX_ATTEMPTS).contains(&seconds.len()) {
            return Err(ScheduleError::Count(seconds.len()));
        }
        match seconds.iter().find(|wait| **wait > MAX_WAIT_S) {
            Some(wait) => Err(ScheduleError::TooLong(*wait)),
            None => Ok(Self::Custom(seconds.into())),
        }
    }

    /// The waits, one per attempt.
    #[must_use]
    pub fn seconds(&self) -> &[u32] {
        match self {
            Self::Endpoint => &ENDPOINT_S,
            Self::Plugin => &PLUGIN_S,
            Self::Custom(waits) => waits,
        }
    }
}

/// The wait before the next attempt after `tries` attempts, without chance; none if the table is used up.
#[must_use]
pub fn delay(table: &RetryTable, tries: u32) -> Option<Duration> {
    let index = usize::try_from(tries).ok()?;
    table.seconds().get(index).map(|wait| Duration::from_secs(u64::from(*wait)))
}

/// `delay`, longer by up to a fifth; `fraction` in `[0, 1]` says how much of the fifth.
#[must_use]
pub fn with_jitter(delay: Duration, fraction: f64) -> Duration {
    let part = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
    delay.mul_f64(1.0 + JITTER * part)
}

/// The wait before the next attempt, complete: the table's wait, scaled and jittered, or what the answer asked for if that is
/// longer. What an answer asks for is real time and not scaled: the other side's clock runs as it does.
#[must_use]
pub fn next_delay(
    table: &RetryTable,
    tries: u32,
    retry_after: Option<Duration>,
    factor: TimeFactor,
    fraction: f64,
) -> Option<Duration> {
    let ours = with_jitter(factor.scale(delay(table, tries)?), fraction);
    let theirs = retry_after.unwrap_or_default().min(RETRY_AFTER_CAP);
    Some(ours.max(theirs))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(wait: u64) -> Option<Duration> {
        Some(Duration::from_secs(wait))
    }

    #[test]
    fn the_tables_are_those_of_the_documentation() {
        let waits = |table: &RetryTable| {
            (0..).map_while(|tries| delay(table, tries)).map(|wait| wait.as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(waits(&RetryTable::Endpoint), [0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]);
        assert_eq!(waits(&RetryTable::Plugin), [0, 2, 15, 60, 300, 1200, 3600, 10800]);
        assert_eq!(waits(&RetryTable::custom(&[0, 1, 1]).unwrap()), [0, 1, 1]);
    }

    #[test]
    fn after_the_last_attempt_there_is_no_next() {
        assert_eq!(delay(&RetryTable::Endpoint, 10), None);
        assert_eq!(delay(&RetryTable::Plugin, 8), None);
        assert_eq!(delay(&RetryTable::Plugin, u32::MAX), None);
        assert_eq!(next_delay(&RetryTable::Plugin, 8, seconds(60), TimeFactor::REAL, 0.0), None);
    }

    #[test]
    fn the_longer_of_table_and_retry_after_wins_up_to_a_day() {
        let next = |tries, after| next_delay(&RetryTable::Endpoint, tries, after, TimeFactor::REAL, 0.0);
        assert_eq!(next(1, seconds(60)), seconds(60));
        assert_eq!(next(2, seconds(60)), seconds(300));
        assert_eq!(next(1, seconds(315_360_000)), seconds(86_400));
        assert_eq!(next(1, Some(Duration::MAX)), seconds(86_400));
        assert_eq!(next(1, None), seconds(5));
    }

    #[test]
    fn only_the_tables_part_is_scaled() {
        let fast = TimeFactor::new(60);
        assert_eq!(next_delay(&RetryTable::Endpoint, 2, None, fast, 0.0), seconds(5));
        assert_eq!(next_delay(&RetryTable::Endpoint, 2, seconds(7), fast, 0.0), seconds(7));
    }

    #[test]
    fn schedules_out_of_bounds_are_refused() {
        assert_eq!(RetryTable::custom(&[]), Err(ScheduleError::Count(0)));
        assert_eq!(RetryTable::custom(&[1; MAX_ATTEMPTS + 1]), Err(ScheduleError::Count(MAX_ATTEMPTS + 1)));
        assert_eq!(RetryTable::custom(&[0, MAX_WAIT_S + 1]), Err(ScheduleError::TooLong(MAX_WAIT_S + 1)));
        assert!(RetryTable::custom(&[MAX_WAIT_S; MAX_ATTEMPTS]).is_ok());
    }

    proptest! {
        #[test]
        fn chance_only_lengthens_and_by_at_most_a_fifth(wait in 0_u32..=MAX_WAIT_S, fraction in any::<f64>()) {
            let plain = Duration::from_secs(u64::from(wait));
            let jittered = with_jitter(plain, fraction);
            prop_assert!(jittered >= plain);
            prop_assert!(jittered <= plain.mul_f64(1.0 + JITTER));
        }

        #[test]
        fn every_wait_is_bounded_and_never_before_what_was_asked(
            waits in proptest::collection::vec(0_u32..=MAX_WAIT_S, 1..=MAX_ATTEMPTS),
            tries in 0_u32..40,
            after in proptest::option::of(any::<u32>()),
            factor in 0_u32..1000,
            fraction in 0.0_f64..1.0,
        ) {
            let table = RetryTable::custom(&waits).unwrap();
            let after = after.map(|seconds| Duration::from_secs(u64::from(seconds)));
            let next = next_delay(&table, tries, after, TimeFactor::new(factor), fraction);
            prop_assert_eq!(next.is_some(), (tries as usize) < waits.len());
            if let Some(next) = next {
                prop_assert!(next >= after.unwrap_or_default().min(RETRY_AFTER_CAP));
                prop_assert!(next <= Duration::from_secs(u64::from(MAX_WAIT_S)).mul_f64(1.0 + JITTER).max(RETRY_AFTER_CAP));
            }
        }
    }
}
