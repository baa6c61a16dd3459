//! `freeBusy`: merged busy times, and what went wrong for single calendars.

use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    account::State,
    agenda::Agenda,
    errors::ApiError,
    moment::{query_time, rfc3339, zone},
};

/// At most so many calendars are answered.
const MOST_CALENDARS: usize = 50;

/// The longest window.
const LONGEST_DAYS: i64 = 93;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Question {
    time_min: String,
    time_max: String,
    #[serde(default)]
    time_zone: Option<String>,
    items: Vec<Item>,
    #[serde(default)]
    calendar_expansion_max: Option<usize>,
}

#[derive(Deserialize)]
struct Item {
    id: String,
}

/// Answers a question for busy times.
pub(super) fn ask(state: &State, body: &Value, now_ms: i64) -> Result<Value, ApiError> {
    let question = Question::deserialize(body).map_err(|error| ApiError::required(error.to_string()))?;
    let (min, max) = (query_time(&question.time_min, "timeMin")?, query_time(&question.time_max, "timeMax")?);
    if max <= min {
        return Err(ApiError::time_range_empty());
    }
    if max.duration_since(min).as_hours() > LONGEST_DAYS * 24 {
        return Err(ApiError::invalid("The requested time range is too long."));
    }
    let shown_in = match &question.time_zone {
        Some(name) => zone(name).ok_or_else(|| ApiError::invalid("Invalid time zone"))?,
        None => TimeZone::UTC,
    };
    let most = question.calendar_expansion_max.unwrap_or(MOST_CALENDARS).min(MOST_CALENDARS);
    let mut calendars = Map::new();
    for (index, item) in question.items.iter().enumerate() {
        let answer = match state.agendas.get(state.real_id(&item.id)) {
            _ if index >= most => failed("tooManyCalendarsRequested"),
            None => failed("notFound"),
            Some(agenda) => match &agenda.freebusy_error {
                Some(reason) => failed(reason),
                None => json!({ "busy": busy(agenda, min, max, &shown_in, now_ms) }),
            },
        };
        calendars.insert(item.id.clone(), answer);
    }
    Ok(json!({
        "kind": "calendar#freeBusy", "timeMin": rfc3339(min, &TimeZone::UTC), "timeMax": rfc3339(max, &TimeZone::UTC),
        "calendars": calendars,
    }))
}

fn failed(reason: &str) -> Value {
    json!({ "errors": [{ "domain": "global", "reason": reason }], "busy": [] })
}

fn busy(agenda: &Agenda, min: Timestamp, max: Timestamp, shown_in: &TimeZone, now_ms: i64) -> Vec<Value> {
    let mut times: Vec<(Timestamp, Timestamp)> = agenda
        .occurrences(true, Some(max), now_ms)
        .into_iter()
        .filter(|one| one.event.is_busy(&agenda.id) && one.start < max && one.end > min && one.start < one.end)
        .map(|one| (one.start.max(min), one.end.min(max)))
        .collect();
    times.sort();
    let mut merged: Vec<(Timestamp, Timestamp)> = Vec::new();
    for (start, end) in times {
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    let show = |(start, end): (Timestamp, Timestamp)| json!({ "start": rfc3339(start, shown_in), "end": rfc3339(end, shown_in) });
    merged.into_iter().map(show).collect()
}
