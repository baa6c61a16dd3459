//! Time zones by the rule that each keeps from now on. The table is made from the time zone database when the plugin is
//! built; the history of a zone, which is most of that database, has no meaning for appointments.

use crate::time::{DAY, civil, day_number};

/// How a zone keeps its clocks.
#[derive(Debug, PartialEq, Eq)]
struct Rules {
    /// Seconds east of UTC.
    standard: i32,
    /// The other time of the year, if it has one.
    summer: Option<Summer>,
}

#[derive(Debug, PartialEq, Eq)]
struct Summer {
    offset: i32,
    begins: Change,
    ends: Change,
}

/// The n-th weekday of a month (5 is the last), at this time of the clocks that are about to change.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    month: u8,
    week: u8,
    /// Sunday is 0.
    weekday: u8,
    time: i32,
}

include!(concat!(env!("OUT_DIR"), "/zones.rs"));

/// A time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    name: &'static str,
    rules: &'static Rules,
}

/// What a wall clock stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// One time.
    Once(i64),
    /// The clocks were put back over it: the first and the second time.
    Twice(i64, i64),
    /// The clocks were put forward over it, at this time.
    Skipped(i64),
}

impl Local {
    /// The first time at which the clock shows this or more.
    pub const fn first(self) -> i64 {
        match self {
            Self::Once(at) | Self::Twice(at, _) | Self::Skipped(at) => at,
        }
    }

    /// The last time at which the clock begins to show this or more.
    pub const fn last(self) -> i64 {
        match self {
            Self::Once(at) | Self::Twice(_, at) | Self::Skipped(at) => at,
        }
    }
}

impl Zone {
    /// A zone by its IANA name; none for one that does not exist or keeps no rule.
    pub fn named(name: &str) -> Option<Self> {
        let at = NAMES.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        let (name, rules) = NAMES.get(at)?;
        Some(Self { name, rules: RULES.get(usize::from(*rules))? })
    }

    /// Its IANA name.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Seconds east of UTC at a time.
    pub fn offset_at(self, at: i64) -> i32 {
        let Some(summer) = &self.rules.summer else { return self.rules.standard };
        let (year, _, _) = civil((at + i64::from(self.rules.standard)).div_euclid(DAY));
        let (begins, ends) = self.changes(summer, year);
        let inside = if begins < ends { (begins..ends).contains(&at) } else { !(ends..begins).contains(&at) };
        if inside { summer.offset } else { self.rules.standard }
    }

    /// What the clock of a day shows: `seconds` after its midnight, of which there may be 86,400 or more.
    pub fn local(self, day: i64, seconds: i64) -> Local {
        let shown = day * DAY + seconds;
        let standard = i64::from(self.rules.standard);
        let Some(summer) = &self.rules.summer else { return Local::Once(shown - standard) };
        let other = i64::from(summer.offset);
        let fits = |offset: i64| i64::from(self.offset_at(shown - offset)) == offset;
        let (early, late) = (shown - standard.max(other), shown - standard.min(other));
        match (fits(standard), fits(other)) {
            (true, true) => Local::Twice(early, late),
            (true, false) => Local::Once(shown - standard),
            (false, true) => Local::Once(shown - other),
            (false, false) => {
                let (year, _, _) = civil(shown.div_euclid(DAY));
                let (begins, ends) = self.changes(summer, year);
                let change = [begins, ends].into_iter().find(|change| (early..=late).contains(change));
                Local::Skipped(change.unwrap_or(late))
            }
        }
    }

    /// When the other time begins and ends in a year.
    fn changes(self, summer: &Summer, year: i64) -> (i64, i64) {
        (summer.begins.local(year) - i64::from(self.rules.standard), summer.ends.local(year) - i64::from(summer.offset))
    }
}

impl Change {
    /// The wall clock of the change in a year, as seconds since 1970.
    fn local(&self, year: i64) -> i64 {
        let month = i64::from(self.month);
        let first = day_number(year, month, 1);
        // The first of January 1970 was a Thursday, and Sunday is 0.
        let weekday = (first + 4).rem_euclid(7);
        let mut day = first + (i64::from(self.weekday) - weekday).rem_euclid(7) + 7 * (i64::from(self.week) - 1);
        let next = if month == 12 { day_number(year + 1, 1, 1) } else { day_number(year, month + 1, 1) };
        while day >= next {
            day -= 7;
        }
        day * DAY + i64::from(self.time)
    }
}
