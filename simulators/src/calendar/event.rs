//! One event: what a client may set, checked as Google checks it, and how it is shown.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{errors::ApiError, moment::Moment, recurrence::Rule};
use crate::clock::format_utc;

/// An event may have so many attendees.
const MOST_ATTENDEES: usize = 200;
/// Lengths of an extended property's name and value.
const PROPERTY_NAME: usize = 44;
const PROPERTY_VALUE: usize = 1_024;
const DESCRIPTION: usize = 8_192;

/// What a client sets and gets back as it was.
const KEPT: [&str; 12] = [
    "summary",
    "description",
    "location",
    "attendees",
    "extendedProperties",
    "reminders",
    "transparency",
    "visibility",
    "colorId",
    "guestsCanModify",
    "guestsCanInviteOthers",
    "source",
];

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It takes place.
    Confirmed,
    /// It may take place.
    Tentative,
    /// It was deleted; its id stays taken.
    Cancelled,
}

/// An event, a series, or an instance that differs from its series.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) status: Status,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    /// The change that made it so; it is the etag and what sync tokens compare with.
    pub(crate) change: u64,
    pub(crate) sequence: u32,
    pub(crate) ical_uid: String,
    pub(crate) start: Moment,
    pub(crate) end: Moment,
    pub(crate) recurrence: Vec<String>,
    /// The series, and where the instance would have begun.
    pub(crate) of_series: Option<(String, Moment)>,
    pub(crate) fields: Map<String, Value>,
    /// Instances that the series no longer has, with the change that ended them.
    pub(crate) retired: BTreeMap<String, u64>,
    pub(crate) creator: String,
}

/// Whether what a request leaves out stays or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Patch,
    Replace,
}

impl Event {
    /// Takes over what a request says; true if its time moved.
    pub(crate) fn apply(&mut self, body: &Map<String, Value>, mode: Mode) -> Result<bool, ApiError> {
        let before = (self.start.clone(), self.end.clone(), self.recurrence.clone());
        let given = |name: &str| body.get(name).filter(|value| !value.is_null());
        if let Some(start) = given("start") {
            self.start = Moment::read(start, "start")?;
        }
        if let Some(end) = given("end") {
            self.end = Moment::read(end, "end")?;
        }
        if mode == Mode::Replace && (given("start").is_none() || given("end").is_none()) {
            return Err(ApiError::required("Missing start or end time."));
        }
        if let Some(lines) = given("recurrence") {
            let lines: Result<Vec<String>, _> = serde_json::from_value(lines.clone());
            self.recurrence = lines.map_err(|_| ApiError::invalid("Invalid value for recurrence"))?;
            if !self.recurrence.is_empty() {
                Rule::read(&self.recurrence)?;
            }
        } else if mode == Mode::Replace || body.contains_key("recurrence") {
            self.recurrence.clear();
        }
        if let Some(status) = given("status") {
            self.status = Status::deserialize(status).map_err(|_| ApiError::invalid("Invalid value for status"))?;
        } else if mode == Mode::Replace {
            self.status = Status::Confirmed;
        }
        self.take_fields(body, mode)?;
        self.check()?;
        Ok(before != (self.start.clone(), self.end.clone(), self.recurrence.clone()))
    }

    fn take_fields(&mut self, body: &Map<String, Value>, mode: Mode) -> Result<(), ApiError> {
        for name in KEPT {
            match body.get(name) {
                Some(Value::Null) => {
                    self.fields.remove(name);
                }
                Some(value) if name == "extendedProperties" && mode == Mode::Patch => {
                    let merged = merge_properties(self.fields.get(name), value);
                    self.fields.insert(name.to_owned(), merged);
                }
                Some(value) if name == "attendees" => {
                    self.fields.insert(name.to_owned(), attendees(value)?);
                }
                Some(value) => {
                    self.fields.insert(name.to_owned(), value.clone());
                }
                None if mode == Mode::Replace => {
                    self.fields.remove(name);
                }
                None => {}
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ApiError> {
        if self.start.is_day() != self.end.is_day() {
            return Err(ApiError::invalid("Start and end times must either both be date or both be dateTime."));
        }
        let utc = TimeZone::UTC;
        let (start, end) = (self.start.instant(&utc), self.end.instant(&utc));
        if end < start || (self.start.is_day() && end == start) {
            return Err(ApiError::time_range_empty());
        }
        if !self.recurrence.is_empty() && matches!(self.start, Moment::Time { zone: None, .. }) {
            return Err(ApiError::required("Missing time zone definition for start time."));
        }
        for name in ["summary", "description", "location", "colorId"] {
            if self.fields.get(name).is_some_and(|value| !value.is_string()) {
                return Err(ApiError::invalid(format!("Invalid value for {name}")));
            }
        }
        if self.text("description").chars().count() > DESCRIPTION {
            return Err(ApiError::invalid("The description is too long."));
        }
        if !matches!(self.text("transparency"), "" | "opaque" | "transparent") {
            return Err(ApiError::invalid("Invalid value for transparency"));
        }
        check_properties(self.fields.get("extendedProperties"))
    }

    /// A field as text; empty if it is not there.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn attendees(&self) -> &[Value] {
        self.fields.get("attendees").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Whether it takes its owner's time.
    pub(crate) fn is_busy(&self, owner: &str) -> bool {
        let declined = self
            .attendees()
            .iter()
            .any(|attendee| attendee["email"] == owner && attendee["responseStatus"] == "declined");
        self.status != Status::Cancelled && self.text("transparency") != "transparent" && !declined
    }

    pub(crate) fn etag(&self) -> String {
        format!("\"{:016}\"", self.change)
    }

    /// As the API shows it, for a calendar of this owner and zone.
    pub(crate) fn show(&self, owner: &str, shown_in: &TimeZone, calendar_zone: &str) -> Value {
        let mut shown = json!({
            "kind": "calendar#event",
            "etag": self.etag(),
            "id": self.id,
            "status": self.status,
            "htmlLink": format!("https://www.google.com/calendar/event?eid={}", self.id),
            "created": stamp(self.created_ms),
            "updated": stamp(self.updated_ms),
            "creator": { "email": self.creator },
            "organizer": { "email": owner, "self": true },
            "start": self.start.show(shown_in, calendar_zone),
            "end": self.end.show(shown_in, calendar_zone),
            "iCalUID": self.ical_uid,
            "sequence": self.sequence,
            "eventType": "default",
        });
        for (name, value) in &self.fields {
            shown[name] = value.clone();
        }
        if !self.recurrence.is_empty() {
            shown["recurrence"] = json!(self.recurrence);
        }
        if let Some((series, original)) = &self.of_series {
            shown["recurringEventId"] = json!(series);
            shown["originalStartTime"] = original.show(shown_in, calendar_zone);
        }
        shown
    }

    /// As lists show what was deleted: an instance with its place in the series, anything else as little as Google
    /// promises when `bare`.
    pub(crate) fn show_deleted(&self, owner: &str, shown_in: &TimeZone, calendar_zone: &str, bare: bool) -> Value {
        match &self.of_series {
            Some((series, original)) => json!({
                "kind": "calendar#event", "id": self.id, "status": "cancelled", "recurringEventId": series,
                "originalStartTime": original.show(shown_in, calendar_zone),
            }),
            None if bare => json!({ "kind": "calendar#event", "id": self.id, "status": "cancelled" }),
            None => self.show(owner, shown_in, calendar_zone),
        }
    }
}

/// A time as `created` and `updated` show it.
pub(crate) fn stamp(ms: i64) -> String {
    format_utc(ms, "%Y-%m-%dT%H:%M:%S.%3fZ")
}

/// A client's own id: 5 to 1,024 characters of base32hex.
pub(crate) fn check_id(id: &str) -> Result<(), ApiError> {
    let good = (5..=1_024).contains(&id.len()) && id.bytes().all(|byte| matches!(byte, b'a'..=b'v' | b'0'..=b'9'));
    if good { Ok(()) } else { Err(ApiError::invalid("Invalid resource id value.")) }
}

fn attendees(value: &Value) -> Result<Value, ApiError> {
    let list = value.as_array().ok_or_else(|| ApiError::invalid("Invalid value for attendees"))?;
    if list.len() > MOST_ATTENDEES {
        return Err(ApiError::invalid("The number of attendees exceeds the limit."));
    }
    let one = |attendee: &Value| {
        let email = attendee["email"].as_str().unwrap_or_default();
        let good = email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
            && !email.contains(char::is_whitespace);
        if !good {
            return Err(ApiError::invalid("Invalid attendee email."));
        }
        let mut attendee = attendee.clone();
        if attendee["responseStatus"].is_null() {
            attendee["responseStatus"] = json!("needsAction");
        }
        Ok(attendee)
    };
    Ok(Value::Array(list.iter().map(one).collect::<Result<_, _>>()?))
}

/// A patch changes single properties; null removes one.
fn merge_properties(before: Option<&Value>, given: &Value) -> Value {
    let mut merged = before.cloned().unwrap_or_else(|| json!({}));
    for (scope, properties) in given.as_object().into_iter().flatten() {
        for (name, value) in properties.as_object().into_iter().flatten() {
            if !merged[scope].is_object() {
                merged[scope] = json!({});
            }
            if value.is_null() {
                if let Some(kept) = merged[scope].as_object_mut() {
                    kept.remove(name);
                }
            } else {
                merged[scope][name] = value.clone();
            }
        }
    }
    merged
}

fn check_properties(properties: Option<&Value>) -> Result<(), ApiError> {
    let invalid = || ApiError::invalid("Invalid value for extendedProperties");
    let Some(properties) = properties else { return Ok(()) };
    for (scope, values) in properties.as_object().ok_or_else(invalid)? {
        if !matches!(scope.as_str(), "private" | "shared") {
            return Err(invalid());
        }
        for (name, value) in values.as_object().ok_or_else(invalid)? {
            let text = value.as_str().ok_or_else(invalid)?;
            if name.len() > PROPERTY_NAME || text.chars().count() > PROPERTY_VALUE {
                return Err(invalid());
            }
        }
    }
    Ok(())
}
