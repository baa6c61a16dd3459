//! Cron expressions of five fields, in a time zone.
//!
//! The library reads an expression and judges dates; the search is ours, since the library's own walks up to a minute at a
//! time to the year 5000 where an expression never comes true, and decides by the shape of the whole expression what a
//! change of the clocks means. Here the hour field alone decides. Hours that are named are local times: one that the
//! clocks leave out runs once, at the moment when they go on; one that comes twice runs once, the first time. Where every
//! hour is meant, time goes on as it passes: what is left out does not run, and what comes twice runs twice.

use croner::parser::{CronParser, Seconds, Year};
use jiff::{
    SignedDuration, ToSpan as _,
    civil::{Date, DateTime},
    tz::{AmbiguousOffset, TimeZone},
};

use crate::clock::Timestamp;

/// The longest expression in bytes.
const MAX_BYTES: usize = 256;

/// How far the search goes. 29 February on a given day of the week comes at least once in forty years.
const MAX_DAYS: usize = 41 * 366;

/// How far clocks are put back at most.
const LONGEST_REPEAT: SignedDuration = SignedDuration::from_hours(3);

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It cannot be read.
    #[error(
        "`{expression}` is no cron expression of five fields ({why}); write minute, hour, day of month, month, day of week: \
         `0 7 * * 1-5`"
    )]
    Unreadable {
        /// The expression, cut.
        expression: String,
        /// What the parser said.
        why: String,
    },
    /// It can be read, but no day is like that.
    #[error("`{0}` never comes true; check its day and month")]
    Never(String),
    /// The zone is unknown.
    #[error("`{0}` is no time zone; use an IANA name such as `Europe/Copenhagen`")]
    Zone(String),
}

/// A cron expression in a zone.
#[derive(Clone, Debug)]
pub struct Cron {
    pattern: croner::CronPattern,
    minutes: Vec<i8>,
    hours: Vec<i8>,
    zone: TimeZone,
}

impl Cron {
    /// Reads an expression of five fields, or a nickname such as `@daily`, and the IANA name of a zone.
    ///
    /// # Errors
    /// See [`CronError`].
    pub fn parse(expression: &str, zone: &str) -> Result<Self, CronError> {
        let unreadable = |why: String| {
            let expression = expression.chars().take(80).collect();
            CronError::Unreadable { expression, why }
        };
        if expression.len() > MAX_BYTES {
            return Err(unreadable(format!("longer than {MAX_BYTES} bytes")));
        }
        // The parser takes `,` for a list of nothing.
        if expression.split_whitespace().any(|field| field.split(',').any(str::is_empty)) {
            return Err(unreadable("an item of a list is empty".to_owned()));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let pattern = parser.parse(expression).map_err(|error| unreadable(error.to_string()))?.pattern;
        let values =
            |field: &croner::CronComponent| field.values().into_iter().filter_map(|value| i8::try_from(value).ok());
        let (minutes, hours): (Vec<_>, Vec<_>) = (values(&pattern.minutes).collect(), values(&pattern.hours).collect());
        let zone = TimeZone::get(zone).map_err(|_| CronError::Zone(zone.chars().take(80).collect()))?;
        Ok(Self { pattern, minutes, hours, zone })
    }

    /// The same, refusing also what never comes true after `now`.
    ///
    /// # Errors
    /// See [`CronError`].
    pub fn parse_useful(expression: &str, zone: &str, now: Timestamp) -> Result<Self, CronError> {
        let cron = Self::parse(expression, zone)?;
        match cron.next_after(now) {
            Some(_) => Ok(cron),
            None => Err(CronError::Never(expression.chars().take(80).collect())),
        }
    }

    /// The first time after `now`; none if there is none in forty years.
    #[must_use]
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        let now = jiff::Timestamp::from_millisecond(now.0).ok()?;
        // Before this, no local time has a moment that is still to come.
        let from = now.to_zoned(self.zone.clone()).datetime().checked_sub(LONGEST_REPEAT).ok()?;
        let (mut date, mut next) = (from.date(), None::<jiff::Timestamp>);
        for _ in 0..MAX_DAYS {
            let of_day = if self.is_day(date) { self.next_of_day(date, from, now) } else { None };
            // Clocks that are put back over midnight mingle two dates, so the date after the found one has a say.
            match (next, of_day) {
                (Some(found), of_day) => {
                    next = Some(of_day.map_or(found, |other| found.min(other)));
                    break;
                }
                (None, of_day) => next = of_day,
            }
            date = self.following(date)?;
        }
        next.map(|next| Timestamp(next.as_millisecond()))
    }

    fn is_day(&self, date: Date) -> bool {
        let (month, day) = (u32::from(date.month().unsigned_abs()), u32::from(date.day().unsigned_abs()));
        let weekday =
            croner::Weekday::from_days_from_sunday(u32::from(date.weekday().to_sunday_zero_offset().unsigned_abs()));
        self.pattern.month_match(month).unwrap_or(false)
            && self.pattern.day_match(i32::from(date.year()), month, day, weekday).unwrap_or(false)
    }

    /// The next date that is worth a look: of months that do not match only the last day is.
    fn following(&self, date: Date) -> Option<Date> {
        let matches = self.pattern.month_match(u32::from(date.month().unsigned_abs())).unwrap_or(false);
        let last = if matches { date } else { date.last_of_month() };
        last.checked_add(1.day()).ok()
    }

    fn next_of_day(&self, date: Date, from: DateTime, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let mut next: Option<jiff::Timestamp> = None;
        let mut note = |moment: jiff::Timestamp| {
            let ahead = moment > now;
            if ahead {
                next = Some(next.map_or(moment, |known| known.min(moment)));
            }
            ahead
        };
        'day: for hour in &self.hours {
            for minute in &self.minutes {
                let local = date.at(*hour, *minute, 0, 0);
                if local < from {
                    continue;
                }
                let (first, second) = self.moments(local);
                second.map(&mut note);
                // First moments come in the order of local times.
                if first.is_some_and(&mut note) {
                    break 'day;
                }
            }
        }
        next
    }

    /// The moments at which a local time runs.
    fn moments(&self, local: DateTime) -> (Option<jiff::Timestamp>, Option<jiff::Timestamp>) {
        let every_hour = self.hours.len() == 24;
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { offset } => (offset.to_timestamp(local).ok(), None),
            AmbiguousOffset::Fold { before, after } => {
                let second = if every_hour { after.to_timestamp(local).ok() } else { None };
                (before.to_timestamp(local).ok(), second)
            }
            AmbiguousOffset::Gap { .. } if every_hour => (None, None),
            // Read with the offset that is not in force yet, it is a moment shortly before the clocks go on.
            AmbiguousOffset::Gap { after, .. } => {
                let before = after.to_timestamp(local).ok();
                (before.and_then(|before| Some(self.zone.following(before).next()?.timestamp())), None)
            }
        }
    }
}

#[cfg(test)]
#[path = "cron_tests.rs"]
mod tests;
