//! When a tenant carries out commands that reach people: a weekly table and its exceptions, in the tenant's time zone.
//!
//! What the clock on the wall shows decides: in the night in which it is put back, an hour that comes twice is open twice,
//! and one that is left out is never waited for.

use std::collections::BTreeMap;

use jiff::{
    ToSpan as _,
    civil::{Date, Time},
    tz::TimeZone,
};

use super::settings::MAX_DAYS;
use crate::clock::Timestamp;

/// Minutes of a day.
pub const DAY: u16 = 24 * 60;

/// After so many days without an hour that is open there is none: each week has one, but for days that are named.
#[expect(clippy::cast_possible_wrap, clippy::cast_possible_truncation, reason = "a small constant")]
const AHEAD: i32 = 7 * (MAX_DAYS as i32 + 2);

/// A part of a day, in minutes since midnight by the clock on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// It is open from here.
    pub from: u16,
    /// It is closed from here; 1440 is midnight.
    pub to: u16,
}

/// When which commands are carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusinessHours {
    /// The commands that wait for them.
    pub commands: Vec<String>,
    /// From Monday.
    pub week: [Vec<Interval>; 7],
    /// Days with hours of their own; holidays have none.
    pub days: BTreeMap<Date, Vec<Interval>>,
}

impl BusinessHours {
    fn on(&self, date: Date) -> &[Interval] {
        let weekday = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0);
        self.days.get(&date).unwrap_or(&self.week[weekday])
    }

    /// Whether it is open at a moment.
    #[must_use]
    pub fn is_open(&self, at: Timestamp, zone: &TimeZone) -> bool {
        jiff::Timestamp::from_millisecond(at.0).is_ok_and(|at| self.is_open_at(at, zone))
    }

    fn is_open_at(&self, at: jiff::Timestamp, zone: &TimeZone) -> bool {
        let local = zone.to_datetime(at);
        let minute = u16::try_from(i32::from(local.hour()) * 60 + i32::from(local.minute())).unwrap_or(0);
        self.on(local.date()).iter().any(|part| part.from <= minute && minute < part.to)
    }

    /// The first open moment from `at` on, `at` itself if it is open then. None if there is none for years.
    #[must_use]
    pub fn opens(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let from = jiff::Timestamp::from_millisecond(at.0).ok()?;
        if self.is_open_at(from, zone) {
            return Some(at);
        }
        let today = zone.to_datetime(from).date();
        (0..AHEAD).find_map(|days| {
            let date = today.checked_add(days.days()).ok()?;
            let openings = self.openings(date, zone);
            let first = openings.into_iter().filter(|open| *open > from && self.is_open_at(*open, zone)).min()?;
            Some(Timestamp(first.as_millisecond()))
        })
    }

    /// The moments of a day at which it may open: where a part begins, twice where that hour comes twice, and where the
    /// clock on the wall is moved.
    fn openings(&self, date: Date, zone: &TimeZone) -> Vec<jiff::Timestamp> {
        let parts = self.on(date);
        if parts.is_empty() {
            return Vec::new();
        }
        let local = |minute: u16| {
            let time = Time::new(i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?, 0, 0).ok()?;
            Some(zone.to_ambiguous_timestamp(date.to_datetime(time)))
        };
        let mut found = Vec::new();
        for moment in parts.iter().filter_map(|part| local(part.from)) {
            found.extend(moment.earlier().ok());
            found.extend(moment.later().ok());
        }
        let begins = local(0).and_then(|moment| moment.earlier().ok());
        if let Some(begins) = begins.and_then(|begins| begins.checked_sub(1.second()).ok()) {
            let moved = zone.following(begins).map(|moved| moved.timestamp());
            found.extend(moved.take_while(|moved| zone.to_datetime(*moved).date() <= date));
        }
        found
    }
}

#[cfg(test)]
#[path = "hours_tests.rs"]
mod tests;
