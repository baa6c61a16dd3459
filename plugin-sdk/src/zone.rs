use crate::time::{civil, day_number};

/// Seconds of a day without a change of clocks.
const DAY: i64 = 86_400;

/// How a place keeps its clocks from now on, as a POSIX rule such as `CET-1CEST,M3.5.0,M10.5.0/3` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Seconds east of UTC.
    pub standard: i32,
    /// The other time of the year, if there is one.
    pub summer: Option<Summer>,
}

/// The other time of the year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summer {
    /// Seconds east of UTC.
    pub offset: i32,
    /// When the clocks are changed to it.
    pub begins: Change,
    /// When they are changed back.
    pub ends: Change,
}

/// When clocks are changed, each year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The day.
    pub day: Day,
    /// Seconds after its midnight, by the clocks that are about to change; it may reach into days before and after.
    pub time: i32,
}

/// A day of each year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    /// A weekday of a month.
    Weekday {
        /// From 1.
        month: u8,
        /// From 1; 5 is the last.
        week: u8,
        /// Sunday is 0.
        weekday: u8,
    },
    /// From 1 to 365; the leap day is not counted.
    Counted(u16),
    /// So many days after the first of January.
    After(u16),
}

impl Rule {
    /// Reads a rule; none for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = Rest(text);
        rest.name()?;
        let standard = -rest.seconds(24)?;
        if rest.0.is_empty() {
            return Some(Self { standard, summer: None });
        }
        rest.name()?;
        let offset = if rest.0.starts_with(',') { standard + 3_600 } else { -rest.seconds(24)? };
        let (begins, ends) = (rest.change()?, rest.change()?);
        rest.0.is_empty().then_some(Self { standard, summer: Some(Summer { offset, begins, ends }) })
    }

    /// Seconds east of UTC at a time in seconds since 1970.
    pub fn offset_at(&self, at: i64) -> i32 {
        let Some(summer) = &self.summer else { return self.standard };
        let (year, _, _) = civil((at + i64::from(self.standard)).div_euclid(DAY));
        let (begins, ends) = self.changes(summer, year);
        let inside = if begins < ends { (begins..ends).contains(&at) } else { !(ends..begins).contains(&at) };
        if inside { summer.offset } else { self.standard }
    }

    /// When the other time begins and ends in a year, in seconds since 1970.
    pub fn changes(&self, summer: &Summer, year: i64) -> (i64, i64) {
        (summer.begins.local(year) - i64::from(self.standard), summer.ends.local(year) - i64::from(summer.offset))
    }
}

impl Change {
    /// The wall clock of the change in a year, as seconds since 1970.
    fn local(&self, year: i64) -> i64 {
        self.day.of(year) * DAY + i64::from(self.time)
    }
}

impl Day {
    /// Its day number in a year.
    fn of(self, year: i64) -> i64 {
        match self {
            Self::Weekday { month, week, weekday } => {
                let first = day_number(year, i64::from(month), 1);
                // The first of January 1970 was a Thursday.
                let ahead = (i64::from(weekday) - (first + 4)).rem_euclid(7);
                let mut day = first + ahead + 7 * (i64::from(week) - 1);
                let next =
                    if month == 12 { day_number(year + 1, 1, 1) } else { day_number(year, i64::from(month) + 1, 1) };
                while day >= next {
                    day -= 7;
                }
                day
            }
            Self::Counted(count) => {
                let is_leap = day_number(year, 3, 1) - day_number(year, 2, 28) == 2;
                day_number(year, 1, 1) + i64::from(count) - 1 + i64::from(is_leap && count > 59)
            }
            Self::After(days) => day_number(year, 1, 1) + i64::from(days),
        }
    }
}

/// What is left to be read.
struct Rest<'a>(&'a str);

impl Rest<'_> {
    fn skip(&mut self, prefix: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(prefix)?;
        Some(())
    }

    /// At least three letters, or anything in angle brackets.
    fn name(&mut self) -> Option<()> {
        let (length, shortest) = match self.0.strip_prefix('<') {
            Some(rest) => (rest.find('>')? + 2, 5),
            None => (self.0.bytes().take_while(u8::is_ascii_alphabetic).count(), 3),
        };
        self.0 = self.0.get(length..).filter(|_| length >= shortest)?;
        Some(())
    }

    /// A number up to `most`.
    fn number(&mut self, most: u16) -> Option<u16> {
        let length = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let number = self.0.get(..length)?.parse().ok().filter(|number| *number <= most)?;
        self.0 = self.0.get(length..)?;
        Some(number)
    }

    /// `[+-]h[h[h]][:mm[:ss]]` in seconds.
    fn seconds(&mut self, hours: u16) -> Option<i32> {
        let sign = if self.0.starts_with('-') { -1 } else { 1 };
        self.0 = self.0.strip_prefix(['+', '-']).unwrap_or(self.0);
        let mut total = i32::from(self.number(hours)?) * 3_600;
        for unit in [60, 1] {
            if self.skip(":").is_some() {
                total += i32::from(self.number(59)?) * unit;
            } else {
                break;
            }
        }
        Some(sign * total)
    }

    /// `,Mm.w.d`, `,Jn` or `,n`, and `/time` where it is not two o'clock.
    fn change(&mut self) -> Option<Change> {
        self.skip(",")?;
        let day = if self.skip("M").is_some() {
            let month = self.small(1, 12)?;
            self.skip(".")?;
            let week = self.small(1, 5)?;
            self.skip(".")?;
            Day::Weekday { month, week, weekday: self.small(0, 6)? }
        } else if self.skip("J").is_some() {
            Day::Counted(self.number(365).filter(|count| *count > 0)?)
        } else {
            Day::After(self.number(365)?)
        };
        let time = if self.skip("/").is_some() { self.seconds(167)? } else { 7_200 };
        Some(Change { day, time })
    }

    fn small(&mut self, least: u8, most: u8) -> Option<u8> {
        let number = u8::try_from(self.number(u16::from(most))?).ok()?;
        (number >= least).then_some(number)
    }
}
