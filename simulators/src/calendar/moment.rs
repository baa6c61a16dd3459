//! The two ways in which an event says when: a time with a zone, or a day.

use jiff::{Timestamp, ToSpan, Zoned, civil, tz::TimeZone};
use serde_json::{Value, json};

use super::errors::ApiError;

/// A start or an end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Moment {
    /// A time, and the zone in which a series is repeated.
    Time { at: Timestamp, zone: Option<String> },
    /// A whole day; as an end it is the day after the last.
    Day(civil::Date),
}

impl Moment {
    /// Reads `{"dateTime","timeZone"?}` or `{"date"}`.
    pub(crate) fn read(value: &Value, what: &str) -> Result<Self, ApiError> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let bad = |name: &str| ApiError::invalid(format!("Invalid value for {what}.{name}"));
        match (text("dateTime"), text("date")) {
            (Some(_), Some(_)) => Err(ApiError::invalid(format!("{what} has both a date and a dateTime."))),
            (None, Some(day)) => day.parse().map(Self::Day).map_err(|_| bad("date")),
            (Some(time), None) => {
                let zone = match text("timeZone") {
                    Some(name) => Some((name.to_owned(), zone(name).ok_or_else(|| bad("timeZone"))?)),
                    None => None,
                };
                let at = match (time.parse::<Timestamp>(), &zone) {
                    (Ok(at), _) => at,
                    (Err(_), Some((_, zone))) => {
                        let local: civil::DateTime = time.parse().map_err(|_| bad("dateTime"))?;
                        zone.to_zoned(local).map_err(|_| bad("dateTime"))?.timestamp()
                    }
                    (Err(_), None) => {
                        return Err(ApiError::required(format!("Missing time zone definition for {what} time.")));
                    }
                };
                Ok(Self::Time { at, zone: zone.map(|(name, _)| name) })
            }
            (None, None) => Err(ApiError::required(format!("Missing {what} time."))),
        }
    }

    /// As the API shows it in this zone.
    pub(crate) fn show(&self, shown_in: &TimeZone, calendar_zone: &str) -> Value {
        match self {
            Self::Day(day) => json!({ "date": day.to_string() }),
            Self::Time { at, zone } => json!({
                "dateTime": rfc3339(*at, shown_in), "timeZone": zone.as_deref().unwrap_or(calendar_zone)
            }),
        }
    }

    /// When it begins, for a calendar in this zone.
    pub(crate) fn instant(&self, calendar_zone: &TimeZone) -> Timestamp {
        match self {
            Self::Time { at, .. } => *at,
            Self::Day(day) => {
                day.to_zoned(calendar_zone.clone()).map_or(Timestamp::MAX, |midnight| midnight.timestamp())
            }
        }
    }

    pub(crate) const fn is_day(&self) -> bool {
        matches!(self, Self::Day(_))
    }

    /// The wall clock that a series is repeated by.
    pub(crate) fn local(&self, calendar_zone: &str) -> civil::DateTime {
        match self {
            Self::Day(day) => day.at(0, 0, 0, 0),
            Self::Time { at, zone: own } => at.to_zoned(own_zone(own.as_deref(), calendar_zone)).datetime(),
        }
    }

    /// The same kind of moment at another wall clock.
    pub(crate) fn at_local(&self, local: civil::DateTime, calendar_zone: &str) -> Option<Self> {
        match self {
            Self::Day(_) => Some(Self::Day(local.date())),
            Self::Time { zone: own, .. } => {
                let at = own_zone(own.as_deref(), calendar_zone).to_zoned(local).ok()?.timestamp();
                Some(Self::Time { at, zone: own.clone() })
            }
        }
    }

    /// How an instance that begins here is named after its series.
    pub(crate) fn suffix(&self) -> String {
        match self {
            Self::Day(day) => day.strftime("%Y%m%d").to_string(),
            Self::Time { at, .. } => at.strftime("%Y%m%dT%H%M%SZ").to_string(),
        }
    }

    /// The moment that lies as far after `start` as this one lies after `from`, both being starts.
    pub(crate) fn moved(&self, from: &Self, start: &Self) -> Option<Self> {
        match (self, from, start) {
            (Self::Day(end), Self::Day(from), Self::Day(start)) => {
                let days = end.since(*from).ok()?.get_days();
                Some(Self::Day(start.checked_add(days.days()).ok()?))
            }
            (Self::Time { at: end, zone }, Self::Time { at: from, .. }, Self::Time { at: start, .. }) => {
                let lasts = end.duration_since(*from);
                Some(Self::Time { at: start.checked_add(lasts).ok()?, zone: zone.clone() })
            }
            _ => None,
        }
    }
}

fn own_zone(own: Option<&str>, calendar_zone: &str) -> TimeZone {
    zone(own.unwrap_or(calendar_zone)).unwrap_or(TimeZone::UTC)
}

/// A zone by its IANA name.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// A time with the offset of a zone, as Google writes it.
pub(crate) fn rfc3339(at: Timestamp, shown_in: &TimeZone) -> String {
    let zoned: Zoned = at.to_zoned(shown_in.clone());
    if zoned.offset().is_zero() {
        return zoned.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    }
    zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// A query's time, which must have an offset.
pub(crate) fn query_time(text: &str, name: &'static str) -> Result<Timestamp, ApiError> {
    text.parse().map_err(|_| ApiError::invalid(format!("Invalid value for {name}: {text}")))
}
