use serde::Deserialize;
use serde_json::{Value, json};
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;

use crate::config::{Config, Rules};
use crate::event::UNINVITED;
use crate::time::{BadTime, Moment, Span, read, rfc3339, show_day};
use crate::zone::Zone;

/// The longest appointment, in seconds.
const LONGEST: i64 = 366 * 86_400;

/// A private property holds this many characters.
const PROPERTY: usize = 1_000;

/// Somebody whom a command names.
#[derive(Clone, Debug, Deserialize)]
pub struct Attendee {
    #[serde(default)]
    pub email: Option<String>,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub phone: Option<String>,
    /// Whether the person agreed to get mail about it.
    #[serde(default)]
    pub consent: bool,
}

/// When an appointment is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    pub start: Moment,
    pub end: Moment,
    pub zone: Zone,
}

impl Times {
    /// The time between, in the calendar's zone.
    pub fn span(&self) -> Span {
        Span::new(self.start.begins(self.zone), self.end.begins(self.zone))
    }

    /// Start and end as Google takes them. What another kind of moment would leave behind is removed.
    pub fn body(&self) -> (Value, Value) {
        let show = |moment: Moment| match moment {
            Moment::At(at) => json!({ "dateTime": rfc3339(at, self.zone), "timeZone": self.zone.name(), "date": null }),
            Moment::Day(day) => json!({ "date": show_day(day), "dateTime": null, "timeZone": null }),
        };
        (show(self.start), show(self.end))
    }
}

/// What a command says about time.
#[derive(Clone, Debug, Default)]
pub struct Asked<'a> {
    pub start: Option<&'a str>,
    pub end: Option<&'a str>,
    pub duration_minutes: Option<u16>,
    pub service: Option<&'a str>,
    pub time_zone: Option<&'a str>,
}

impl Asked<'_> {
    /// The zone of times without an offset.
    pub fn zone(&self, rules: &Rules) -> Result<Zone, PluginError> {
        let Some(name) = self.time_zone else { return Ok(rules.zone) };
        let words = "`time_zone` is no IANA time zone with fixed rules, such as `Europe/Copenhagen`.";
        Zone::named(name).ok_or_else(|| bad("time_zone", words))
    }

    /// How long it lasts, if the command or its service says.
    pub fn length(&self, config: &Config) -> Result<Option<i64>, PluginError> {
        let minutes = match (self.duration_minutes, self.service) {
            (Some(minutes), _) => Some(minutes),
            (None, Some(service)) => {
                let words = format!("`service` is `{service}`, which is not among the config's services.");
                Some(config.service_minutes(service).ok_or_else(|| bad("service", &words))?)
            }
            (None, None) => None,
        };
        Ok(minutes.map(|minutes| i64::from(minutes) * 60))
    }

    /// Start and end. Where nothing says how long, it is as long as `usual`.
    pub fn times(&self, config: &Config, rules: &Rules, start: Moment, usual: i64) -> Result<Times, PluginError> {
        let zone = self.zone(rules)?;
        let length = self.length(config)?;
        let end = match (self.end, start) {
            (Some(text), _) => moment("end", text, zone)?,
            (None, Moment::At(at)) => Moment::At(at + length.unwrap_or(usual)),
            (None, Moment::Day(day)) => Moment::Day(day + 1),
        };
        let times = Times { start, end, zone };
        let span = times.span();
        if start.is_day() != end.is_day() {
            return Err(bad("end", "`start` and `end` must both be times or both be days."));
        }
        if span.end <= span.start || span.end - span.start > LONGEST {
            return Err(bad("end", "`end` must be after `start`, by a year at most."));
        }
        Ok(times)
    }
}

/// Reads a moment of a command.
pub fn moment(field: &str, text: &str, zone: Zone) -> Result<Moment, PluginError> {
    read(text, zone).map_err(|why| match why {
        BadTime::Unreadable => {
            bad(field, &format!("`{field}` must read `2026-11-24T09:00:00+01:00`, `2026-11-24T09:00` or `2026-11-24`."))
        }
        BadTime::Skipped => {
            let words =
                format!("`{field}` does not exist in {}: the clocks are put forward over it that day.", zone.name());
            bad(field, &words)
        }
    })
}

/// A command that cannot be carried out, with the field that is wrong.
pub fn bad(field: &str, words: &str) -> PluginError {
    PluginError::reject(Reason::BadData, "bad_command", words).with_details(json!({ "field": field }))
}

/// The calendar that a command means, which must be one of the config.
pub fn calendar<'a>(config: &'a Config, asked: Option<&'a str>) -> Result<&'a str, PluginError> {
    match asked {
        None => Ok(config.calendars.first().map_or("primary", |calendar| calendar.id.as_str())),
        Some(id) => match config.calendar(id) {
            Some(calendar) => Ok(&calendar.id),
            None => Err(bad("calendar_id", "`calendar_id` is not among the config's calendars.")),
        },
    }
}

/// The people who agreed, once each, as Google takes them.
pub fn invited(attendees: &[Attendee]) -> Result<Vec<Value>, PluginError> {
    let mut all: Vec<Value> = Vec::new();
    for (index, attendee) in attendees.iter().enumerate().filter(|(_, attendee)| attendee.consent) {
        let Some(email) = attendee.email.as_deref() else {
            return Err(bad(&format!("attendees[{index}].email"), "Who is to be invited needs an e-mail address."));
        };
        if all.iter().any(|known| known["email"].as_str().is_some_and(|known| known.eq_ignore_ascii_case(email))) {
            continue;
        }
        let mut one = json!({ "email": email });
        if let Some(name) = &attendee.name {
            one["displayName"] = json!(name);
        }
        all.push(one);
    }
    Ok(all)
}

/// The people who did not agree, as a note that only this calendar's programs see: they get no mail, and those who are
/// invited do not see them.
pub fn uninvited(attendees: &[Attendee]) -> Option<(&'static str, String)> {
    let mut all: Vec<Value> = Vec::new();
    for attendee in attendees.iter().filter(|attendee| !attendee.consent) {
        let mut one = json!({});
        for (name, value) in [("email", &attendee.email), ("name", &attendee.name), ("phone", &attendee.phone)] {
            if let Some(value) = value {
                one[name] = json!(value);
            }
        }
        all.push(one);
    }
    while !all.is_empty() {
        let text = json::write(&json!(all));
        if text.chars().count() <= PROPERTY {
            return Some((UNINVITED, text));
        }
        all.pop();
    }
    None
}
