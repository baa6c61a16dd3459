use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use switchyard_sdk::prelude::*;
use switchyard_sdk::sorted::{SortedMap, by_key};

use crate::time::{DAY, parse_day};
use crate::zone::Zone;

/// The installation's settings.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The calendars that are watched and written to; the first is meant where a command names none.
    #[schemars(length(min = 1, max = 20))]
    pub calendars: Vec<Calendar>,
    /// The zone of business hours, and of times without an offset: an IANA name such as `Europe/Copenhagen`.
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
    /// Which slot is bound: `oauth2` uses `calendar`, `service_account` uses `calendar-service`.
    #[serde(default)]
    pub login: Login,
    /// Calendars that share a person, a room or a car: no two appointments in them may overlap. A calendar in none of
    /// them is a resource of its own.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub resources: Vec<Resource>,
    /// When appointments may be offered. Without it: Monday to Friday from 8 to 17.
    #[serde(default)]
    pub business_hours: Option<BusinessHours>,
    /// Days on which nothing is offered, `2026-12-24`.
    #[serde(default)]
    #[schemars(length(max = 1_000), inner(regex(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$")))]
    pub holidays: Vec<String>,
    /// Minutes between two appointments at different places.
    #[serde(default)]
    #[schemars(range(max = 1_440))]
    pub travel_buffer_minutes: u16,
    /// How long an appointment lasts when neither the command nor its service says.
    #[serde(default = "an_hour")]
    #[schemars(range(min = 1, max = 10_080))]
    pub default_duration_minutes: u16,
    /// Kinds of work with their durations.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub services: Vec<Service>,
    /// Slots begin every so many minutes, counted from the beginning of the business hours.
    #[serde(default = "half_an_hour")]
    #[schemars(range(min = 5, max = 1_440))]
    pub slot_step_minutes: u16,
    /// Nothing is offered sooner than this.
    #[serde(default)]
    #[schemars(range(max = 43_200))]
    pub notice_minutes: u32,
    /// Nothing is offered later than this many days ahead.
    #[serde(default = "ninety")]
    #[schemars(range(min = 1, max = 366))]
    pub horizon_days: u16,
    /// How far back events are followed when all are read.
    #[serde(default = "thirty")]
    #[schemars(range(min = 1, max = 366))]
    pub sync_past_days: u16,
    /// How far ahead they are.
    #[serde(default = "a_year")]
    #[schemars(range(min = 30, max = 730))]
    pub sync_future_days: u16,
    /// Whether Google is asked to call when something changes. Without it calendars are looked at every five minutes.
    #[serde(default = "yes")]
    pub push: bool,
    /// Whether the first poll reports what is there already. Otherwise it only remembers it.
    #[serde(default)]
    pub emit_existing: bool,
}

/// One calendar.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Calendar {
    /// Google's id: `primary`, or the address in the calendar's settings.
    #[schemars(length(min = 1, max = 128))]
    pub id: String,
    /// Appointments in it may overlap.
    #[serde(default)]
    pub allow_overlap: bool,
}

/// Calendars that share something.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// For people.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// Ids of calendars above.
    #[schemars(length(min = 1, max = 20))]
    pub calendars: Vec<String>,
}

/// A kind of work.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// As commands name it.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// How long it takes.
    #[schemars(range(min = 1, max = 10_080))]
    pub duration_minutes: u16,
}

/// How the installation logs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Login {
    /// The calendars' owner gave consent.
    #[default]
    Oauth2,
    /// A service account, by domain-wide delegation or because calendars were shared with it.
    ServiceAccount,
}

/// Open times of a week; a day without any is closed.
#[derive(Clone, Debug, Default, JsonSchema)]
#[schemars(inline, deny_unknown_fields, default)]
pub struct BusinessHours {
    /// Monday.
    pub mon: Vec<Hours>,
    /// Tuesday.
    pub tue: Vec<Hours>,
    /// Wednesday.
    pub wed: Vec<Hours>,
    /// Thursday.
    pub thu: Vec<Hours>,
    /// Friday.
    pub fri: Vec<Hours>,
    /// Saturday.
    pub sat: Vec<Hours>,
    /// Sunday.
    pub sun: Vec<Hours>,
}

/// The days of a week, as the config names them.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl BusinessHours {
    /// From Monday on.
    fn days(&self) -> [&Vec<Hours>; 7] {
        [&self.mon, &self.tue, &self.wed, &self.thu, &self.fri, &self.sat, &self.sun]
    }
}

impl<'de> Deserialize<'de> for BusinessHours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut week = Self::default();
        for (name, hours) in SortedMap::<String, Vec<Hours>>::deserialize(deserializer)? {
            let day = match DAYS.iter().position(|day| *day == name) {
                Some(0) => &mut week.mon,
                Some(1) => &mut week.tue,
                Some(2) => &mut week.wed,
                Some(3) => &mut week.thu,
                Some(4) => &mut week.fri,
                Some(5) => &mut week.sat,
                Some(_) => &mut week.sun,
                None => return Err(D::Error::unknown_field(&name, &DAYS)),
            };
            *day = hours;
        }
        Ok(week)
    }
}

/// From one time of the wall clock to another, the second up to `24:00`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hours {
    /// `08:00`.
    #[schemars(regex(pattern = "^[0-2][0-9]:[0-5][0-9]$"))]
    pub from: String,
    /// `16:30`.
    #[schemars(regex(pattern = "^[0-2][0-9]:[0-5][0-9]$"))]
    pub to: String,
}

/// What the settings mean, checked.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The zone.
    pub zone: Zone,
    /// Open times of each weekday, in seconds after midnight; Monday is 0.
    pub hours: [Vec<(i64, i64)>; 7],
    /// Day numbers.
    pub holidays: Vec<i64>,
}

impl Config {
    /// Checks what the schema cannot say.
    pub fn rules(&self) -> Result<Rules, PluginError> {
        let zone = Zone::named(&self.time_zone).ok_or_else(|| {
            PluginError::bad_config(
                "time_zone",
                "it is no IANA time zone with fixed rules, such as `Europe/Copenhagen`.",
            )
        })?;
        for (index, resource) in self.resources.iter().enumerate() {
            if let Some(unknown) = resource.calendars.iter().find(|id| self.calendar(id).is_none()) {
                let path = format!("resources[{index}].calendars");
                return Err(PluginError::bad_config(&path, &format!("`{unknown}` is not among `calendars`.")));
            }
        }
        let holidays = self.holidays.iter().enumerate().map(|(index, text)| {
            let path = format!("holidays[{index}]");
            parse_day(text).ok_or_else(|| PluginError::bad_config(&path, "it is no day of the calendar."))
        });
        Ok(Rules { zone, hours: self.hours()?, holidays: holidays.collect::<Result<_, _>>()? })
    }

    fn hours(&self) -> Result<[Vec<(i64, i64)>; 7], PluginError> {
        let Some(week) = &self.business_hours else {
            let open = vec![(8 * 3600, 17 * 3600)];
            return Ok([open.clone(), open.clone(), open.clone(), open.clone(), open, Vec::new(), Vec::new()]);
        };
        let mut hours: [Vec<(i64, i64)>; 7] = Default::default();
        for ((day, name), into) in week.days().into_iter().zip(DAYS).zip(&mut hours) {
            for (index, open) in day.iter().enumerate() {
                let span = clock(&open.from).zip(clock(&open.to)).filter(|(from, to)| from < to);
                let path = format!("business_hours.{name}[{index}]");
                into.push(span.ok_or_else(|| {
                    PluginError::bad_config(
                        &path,
                        "`from` must be before `to`, both as `08:00`, the second up to `24:00`.",
                    )
                })?);
            }
            by_key(into, |open| *open);
        }
        Ok(hours)
    }

    /// A calendar by its id.
    pub fn calendar(&self, id: &str) -> Option<&Calendar> {
        self.calendars.iter().find(|calendar| calendar.id == id)
    }

    /// All calendars in which no appointment may overlap one in this calendar, itself first; empty if overlaps are
    /// allowed.
    pub fn sharing(&self, id: &str) -> Vec<String> {
        if self.calendar(id).is_some_and(|calendar| calendar.allow_overlap) {
            return Vec::new();
        }
        let mut all = vec![id.to_owned()];
        for resource in self.resources.iter().filter(|resource| resource.calendars.iter().any(|other| other == id)) {
            for other in &resource.calendars {
                if !all.contains(other) {
                    all.push(other.clone());
                }
            }
        }
        all
    }

    /// How long a service takes.
    pub fn service_minutes(&self, name: &str) -> Option<u16> {
        self.services.iter().find(|service| service.name == name).map(|service| service.duration_minutes)
    }
}

/// Seconds after midnight of `08:00`, at most `24:00`.
fn clock(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = hours.checked_mul(3600)? + minutes * 60;
    ((0..60).contains(&minutes) && (0..=DAY).contains(&seconds)).then_some(seconds)
}

fn an_hour() -> u16 {
    60
}

fn half_an_hour() -> u16 {
    30
}

fn ninety() -> u16 {
    90
}

fn thirty() -> u16 {
    30
}

fn a_year() -> u16 {
    365
}

fn yes() -> bool {
    true
}
