//! The instances of a series: `RRULE` with FREQ, INTERVAL, COUNT, UNTIL and BYDAY of weeks, and `EXDATE`.

use std::collections::BTreeSet;

use jiff::{Span, Timestamp, ToSpan, civil, tz::TimeZone};

use super::{errors::ApiError, moment::Moment};

/// No series is followed further than this many instances.
const MOST: usize = 1_000;

/// How often a series comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frequency {
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

/// A rule that was read.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    frequency: Frequency,
    interval: i64,
    count: Option<usize>,
    until: Option<String>,
    by_day: Vec<civil::Weekday>,
    except: BTreeSet<String>,
}

impl Rule {
    /// Reads the lines of an event's `recurrence`.
    pub(crate) fn read(lines: &[String]) -> Result<Self, ApiError> {
        let invalid = |line: &str| ApiError::invalid(format!("Invalid recurrence rule: {line}"));
        let mut rule = None;
        let mut except = BTreeSet::new();
        for line in lines {
            if let Some(text) = line.strip_prefix("RRULE:") {
                rule = Some(Self::rrule(text).ok_or_else(|| invalid(line))?);
            } else if let Some((_, days)) = line.strip_prefix("EXDATE").and_then(|rest| rest.split_once(':')) {
                except.extend(days.split(',').map(|day| day.trim_end_matches('Z').to_owned()));
            } else {
                return Err(invalid(line));
            }
        }
        let mut rule = rule.ok_or_else(|| invalid("there is no RRULE"))?;
        rule.except = except;
        Ok(rule)
    }

    fn rrule(text: &str) -> Option<Self> {
        let mut rule = Self {
            frequency: Frequency::Daily,
            interval: 1,
            count: None,
            until: None,
            by_day: Vec::new(),
            except: BTreeSet::new(),
        };
        let mut frequency = None;
        for part in text.split(';') {
            let (name, value) = part.split_once('=')?;
            match name {
                "FREQ" => {
                    frequency = Some(match value {
                        "DAILY" => Frequency::Daily,
                        "WEEKLY" => Frequency::Weekly,
                        "MONTHLY" => Frequency::Monthly,
                        "YEARLY" => Frequency::Yearly,
                        _ => return None,
                    });
                }
                "INTERVAL" => rule.interval = value.parse().ok().filter(|interval| *interval > 0)?,
                "COUNT" => rule.count = Some(value.parse().ok().filter(|count| *count > 0)?),
                "UNTIL" => rule.until = Some(value.trim_end_matches('Z').to_owned()),
                "BYDAY" => rule.by_day = value.split(',').map(weekday).collect::<Option<_>>()?,
                "WKST" => {}
                _ => return None,
            }
        }
        rule.frequency = frequency?;
        (rule.by_day.is_empty() || rule.frequency == Frequency::Weekly).then_some(rule)
    }

    /// The starts of the instances that begin before `limit`, at their wall clock, whatever the clocks are put to.
    pub(crate) fn starts(&self, first: &Moment, calendar_zone: &str, limit: Timestamp) -> Vec<Moment> {
        let tz = super::moment::zone(calendar_zone).unwrap_or(TimeZone::UTC);
        let begin = first.local(calendar_zone);
        let (mut starts, mut counted) = (Vec::new(), 0);
        for round in 0..i64::try_from(MOST).unwrap_or(0) {
            let Some(span) = self.span(round) else { break };
            let Ok(base) = begin.checked_add(span) else { break };
            for local in self.of_round(base, begin) {
                counted += 1;
                let Some(start) = first.at_local(local, calendar_zone) else { continue };
                let over = self.count.is_some_and(|count| counted > count) || self.is_past(&start, local);
                if over || start.instant(&tz) >= limit || starts.len() >= MOST {
                    return starts;
                }
                if !self.is_except(local, &start) {
                    starts.push(start);
                }
            }
        }
        starts
    }

    fn span(&self, round: i64) -> Option<Span> {
        let many = round.checked_mul(self.interval)?;
        let span = Span::new();
        match self.frequency {
            Frequency::Daily => span.try_days(many),
            Frequency::Weekly => span.try_weeks(many),
            Frequency::Monthly => span.try_months(many),
            Frequency::Yearly => span.try_years(many),
        }
        .ok()
    }

    /// The wall clocks of one round: the base itself, or the named days of its week.
    fn of_round(&self, base: civil::DateTime, begin: civil::DateTime) -> Vec<civil::DateTime> {
        if self.by_day.is_empty() {
            // A month without that day has no instance.
            return if base.day() == begin.day()
                || self.frequency == Frequency::Weekly
                || self.frequency == Frequency::Daily
            {
                vec![base]
            } else {
                Vec::new()
            };
        }
        let monday = base.checked_sub(i64::from(base.weekday().to_monday_zero_offset()).days()).unwrap_or(base);
        let mut days: Vec<_> = self
            .by_day
            .iter()
            .filter_map(|day| monday.checked_add(i64::from(day.to_monday_zero_offset()).days()).ok())
            .filter(|day| *day >= begin)
            .collect();
        days.sort();
        days
    }

    fn is_past(&self, start: &Moment, local: civil::DateTime) -> bool {
        let Some(until) = &self.until else { return false };
        // A date alone includes the whole day; a time is compared in UTC.
        if until.len() == 8 {
            return local.strftime("%Y%m%d").to_string().as_str() > until.as_str();
        }
        start.suffix().trim_end_matches('Z') > until.as_str()
    }

    fn is_except(&self, local: civil::DateTime, start: &Moment) -> bool {
        let text = local.strftime("%Y%m%dT%H%M%S").to_string();
        self.except.contains(&text)
            || self.except.contains(&text[..8])
            || self.except.contains(start.suffix().trim_end_matches('Z'))
    }
}

fn weekday(text: &str) -> Option<civil::Weekday> {
    use civil::Weekday::{Friday, Monday, Saturday, Sunday, Thursday, Tuesday, Wednesday};
    let days = [
        ("MO", Monday),
        ("TU", Tuesday),
        ("WE", Wednesday),
        ("TH", Thursday),
        ("FR", Friday),
        ("SA", Saturday),
        ("SU", Sunday),
    ];
    days.into_iter().find(|(name, _)| *name == text).map(|(_, day)| day)
}
