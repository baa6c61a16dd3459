use switchyard_sdk::time::{civil, day_number};

use crate::zone::{Local, Zone};

/// Seconds of a day without a change of clocks.
pub const DAY: i64 = 86_400;

/// Days outside these years are not believed: 1970 and 2200.
const DAYS: std::ops::Range<i64> = 0..84_006;

/// When something starts or ends: a time, or a whole day (as an end, the day after the last).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Seconds since 1970.
    At(i64),
    /// Days since 1970.
    Day(i64),
}

impl Moment {
    /// The second in which it begins, in this zone.
    pub fn begins(self, zone: Zone) -> i64 {
        match self {
            Self::At(at) => at,
            Self::Day(day) => zone.local(day, 0).first(),
        }
    }

    /// Whether it is a whole day.
    pub const fn is_day(self) -> bool {
        matches!(self, Self::Day(_))
    }
}

/// From `start` to before `end`, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first second.
    pub start: i64,
    /// The second after the last.
    pub end: i64,
}

impl Span {
    /// From `start` to before `end`.
    pub const fn new(start: i64, end: i64) -> Self {
        Self { start, end }
    }

    /// Whether both have a second in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Wider by this much at both ends.
    pub const fn padded(self, seconds: i64) -> Self {
        Self { start: self.start - seconds, end: self.end + seconds }
    }

    /// What both have in common.
    pub fn common(self, other: Self) -> Option<Self> {
        let span = Self { start: self.start.max(other.start), end: self.end.min(other.end) };
        (span.start < span.end).then_some(span)
    }
}

/// What is wrong with a time that somebody wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTime {
    /// It is no time.
    Unreadable,
    /// The clocks are put forward over it that day.
    Skipped,
}

/// Reads `2026-11-24` as a day, `2026-11-24T09:00:00+01:00` as a time, and `2026-11-24T09:00` as a time of this zone; where
/// the clocks are put back and it comes twice, the first is meant.
pub fn read(text: &str, zone: Zone) -> Result<Moment, BadTime> {
    let day = text.get(..10).and_then(parse_day).ok_or(BadTime::Unreadable)?;
    let Some(rest) = text.get(10..).filter(|rest| !rest.is_empty()) else { return Ok(Moment::Day(day)) };
    let (clock, offset) = parse_clock(rest).ok_or(BadTime::Unreadable)?;
    match offset {
        Some(offset) => Ok(Moment::At(day * DAY + clock - offset)),
        None => match zone.local(day, clock) {
            Local::Once(at) | Local::Twice(at, _) => Ok(Moment::At(at)),
            Local::Skipped(_) => Err(BadTime::Skipped),
        },
    }
}

/// A provider's time, which has an offset or is a day.
pub fn read_exact(text: &str) -> Option<Moment> {
    let day = parse_day(text.get(..10)?)?;
    match text.get(10..)? {
        "" => Some(Moment::Day(day)),
        rest => {
            let (clock, offset) = parse_clock(rest)?;
            Some(Moment::At(day * DAY + clock - offset?))
        }
    }
}

/// The day number of `2026-11-24`.
pub fn parse_day(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let (year, month, day) = (digits(text, 0, 4)?, digits(text, 5, 2)?, digits(text, 8, 2)?);
    let number = day_number(year, month, day);
    (civil(number) == (year, month, day) && DAYS.contains(&number)).then_some(number)
}

/// Seconds of the day and offset of `T09:00[:00[.000]][Z|+01:00]`.
fn parse_clock(text: &str) -> Option<(i64, Option<i64>)> {
    let rest = text.strip_prefix(['T', 't', ' '])?;
    let (hours, minutes) = (digits(rest, 0, 2)?, digits(rest, 3, 2)?);
    if rest.as_bytes().get(2) != Some(&b':') || hours > 23 || minutes > 59 {
        return None;
    }
    let mut rest = rest.get(5..)?;
    let mut seconds = 0;
    if let Some(after) = rest.strip_prefix(':') {
        seconds = digits(after, 0, 2).filter(|seconds| *seconds < 61)?;
        rest = after.get(2..)?;
        if let Some(fraction) = rest.strip_prefix('.') {
            rest = fraction.trim_start_matches(|char: char| char.is_ascii_digit());
        }
    }
    let clock = hours * 3600 + minutes * 60 + seconds.min(59);
    match rest {
        "" => Some((clock, None)),
        "Z" | "z" => Some((clock, Some(0))),
        _ => {
            let sign = match rest.as_bytes().first()? {
                b'+' => 1,
                b'-' => -1,
                _ => return None,
            };
            let (hours, minutes) = (digits(rest, 1, 2)?, digits(rest, rest.len().checked_sub(2)?, 2)?);
            let shape = rest.len() == 5 || (rest.len() == 6 && rest.as_bytes().get(3) == Some(&b':'));
            (shape && hours < 24 && minutes < 60).then_some((clock, Some(sign * (hours * 3600 + minutes * 60))))
        }
    }
}

fn digits(text: &str, at: usize, count: usize) -> Option<i64> {
    let part = text.get(at..at + count)?;
    part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten()
}

/// A time with the zone's offset, as RFC 3339 with seconds.
pub fn rfc3339(at: i64, zone: Zone) -> String {
    let offset = zone.offset_at(at);
    let local = at + i64::from(offset);
    let (year, month, day) = civil(local.div_euclid(DAY));
    let clock = local.rem_euclid(DAY);
    let mut text =
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", clock / 3600, clock / 60 % 60, clock % 60);
    match offset {
        0 => text.push('Z'),
        _ => {
            let minutes = offset.abs() / 60;
            let sign = if offset < 0 { '-' } else { '+' };
            text.push_str(&format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60));
        }
    }
    text
}

/// A day as `2026-11-24`.
pub fn show_day(day: i64) -> String {
    let (year, month, day) = civil(day);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Monday is 0. The first of January 1970 was a Thursday.
pub fn weekday(day: i64) -> usize {
    usize::try_from((day + 3).rem_euclid(7)).unwrap_or(0)
}
