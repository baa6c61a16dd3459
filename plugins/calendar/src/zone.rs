//! Time zones by the rule that each keeps from now on. The table is made from the time zone database when the plugin is
//! built; the history of a zone, which is most of that database, has no meaning for appointments.

use switchyard_sdk::time::civil;
use switchyard_sdk::zone::{Change, Day, Rule, Summer};

use crate::time::DAY;

include!(concat!(env!("OUT_DIR"), "/zones.rs"));

/// A time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone {
    name: &'static str,
    rule: &'static Rule,
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
        let of_rule = |(names, rule): &'static (&str, Rule)| {
            names.split(' ').find(|known| *known == name).map(|name| Self { name, rule })
        };
        ZONES.iter().find_map(of_rule)
    }

    /// Its IANA name.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Seconds east of UTC at a time.
    pub fn offset_at(self, at: i64) -> i32 {
        self.rule.offset_at(at)
    }

    /// What the clock of a day shows: `seconds` after its midnight, of which there may be 86,400 or more.
    pub fn local(self, day: i64, seconds: i64) -> Local {
        let shown = day * DAY + seconds;
        let standard = i64::from(self.rule.standard);
        let Some(summer) = &self.rule.summer else { return Local::Once(shown - standard) };
        let other = i64::from(summer.offset);
        let fits = |offset: i64| i64::from(self.offset_at(shown - offset)) == offset;
        let (early, late) = (shown - standard.max(other), shown - standard.min(other));
        match (fits(standard), fits(other)) {
            (true, true) => Local::Twice(early, late),
            (true, false) => Local::Once(shown - standard),
            (false, true) => Local::Once(shown - other),
            (false, false) => {
                let (year, _, _) = civil(shown.div_euclid(DAY));
                let (begins, ends) = self.rule.changes(summer, year);
                let change = [begins, ends].into_iter().find(|change| (early..=late).contains(change));
                Local::Skipped(change.unwrap_or(late))
            }
        }
    }
}
