use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use switchyard_event_types::sync::{RESET, Reset};
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;
use switchyard_sdk::time::rfc3339;

use crate::model::Remote;

/// A dedupe key has at most 255 bytes; an id that would make it longer goes in by its hash.
const KEY: usize = 200;

/// What Google names in our notes: the reference of the command that made an event.
pub const REFERENCE: &str = "hub_ref";

/// The people who were named without their consent, as JSON.
pub const UNINVITED: &str = "hub_uninvited";

/// What identifies an appointment to the hub: polls and commands build the same, so that a fact is reported once.
fn key(calendar: &str, id: &str, what: &str) -> String {
    let whole = format!("gcal:{calendar}:event:{id}");
    if whole.len() <= KEY {
        return format!("{whole}:{what}");
    }
    format!("gcal:event:{}:{what}", hex::encode(Sha256::digest(whole)))
}

/// The first life of an appointment has no number; one that was cancelled and came back counts on.
fn numbered(what: &str, life: u32) -> String {
    if life <= 1 { what.to_owned() } else { format!("{what}:{life}") }
}

fn emit(event_type: &str, calendar: &str, id: &str, what: &str, data: Value) -> Emit {
    Emit::new(event_type, data).subject(id).dedupe(key(calendar, id, what)).ordering(key(calendar, id, "order"))
}

/// What every event about an appointment says.
fn about(calendar: &str, id: &str) -> Map<String, Value> {
    let mut data = Map::new();
    data.insert("appointment_id".to_owned(), json!(id));
    data.insert("calendar_id".to_owned(), json!(calendar));
    data
}

fn details(calendar: &str, remote: &Remote) -> Map<String, Value> {
    let mut data = about(calendar, &remote.id);
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            data.insert(name.to_owned(), value);
        }
    };
    put("title", json!(remote.title.as_deref().unwrap_or_default()));
    if let (Some(start), Some(end)) = (&remote.start, &remote.end) {
        put("start", json!(start.text));
        put("end", json!(end.text));
        put("all_day", json!(start.moment.is_day()));
    }
    put("location", json!(remote.location));
    put("status", json!(if remote.tentative { "tentative" } else { "confirmed" }));
    let guests = remote.guests.iter().map(|guest| {
        let mut shown = json!({ "email": guest.email });
        if let Some(name) = &guest.name {
            shown["name"] = json!(name);
        }
        if let Some(response) = &guest.response {
            shown["response"] = json!(response);
        }
        shown
    });
    put("attendees", Value::Array(guests.collect()));
    put("attendees_omitted", if remote.more_guests { json!(true) } else { Value::Null });
    let uninvited = remote.note(UNINVITED).and_then(|text| json::parse(text.as_bytes()).ok());
    put("uninvited", uninvited.filter(Value::is_array).unwrap_or_default());
    put("ical_uid", json!(remote.ical_uid));
    put("recurring_event_id", json!(remote.series));
    put(REFERENCE, json!(remote.note(REFERENCE)));
    data
}

/// `appointment.created`.
pub fn created(calendar: &str, remote: &Remote, life: u32) -> Emit {
    let data = Value::Object(details(calendar, remote));
    emit("appointment.created", calendar, &remote.id, &numbered("created", life), data)
}

/// `appointment.updated`, with what changed and when it was before.
pub fn updated(calendar: &str, remote: &Remote, changed: &[&str], before: (&str, &str)) -> Emit {
    let mut data = details(calendar, remote);
    data.insert("changed".to_owned(), json!(changed));
    data.insert("previous".to_owned(), json!({ "start": before.0, "end": before.1 }));
    let data = Value::Object(data);
    // Without an etag the content tells two changes apart.
    let version = remote.etag.clone().unwrap_or_else(|| hex::encode(&Sha256::digest(json::write(&data))[..8]));
    let version = if version.len() > 48 { hex::encode(&Sha256::digest(version)[..8]) } else { version };
    emit("appointment.updated", calendar, &remote.id, &format!("updated:{}", version.trim_matches('"')), data)
}

/// `appointment.cancelled`, with what was known of it.
pub fn cancelled(calendar: &str, id: &str, title: Option<&str>, times: Option<(&str, &str)>, life: u32) -> Emit {
    let mut data = about(calendar, id);
    if let Some(title) = title {
        data.insert("title".to_owned(), json!(title));
    }
    if let Some((start, end)) = times {
        data.insert("start".to_owned(), json!(start));
        data.insert("end".to_owned(), json!(end));
    }
    emit("appointment.cancelled", calendar, id, &numbered("cancelled", life), Value::Object(data))
}

/// `sync.reset` of a calendar that was known up to `from`.
pub fn reset(calendar: &str, why: &str, from: u64, now: u64) -> Emit {
    let reset = Reset {
        reason: why.to_owned(),
        scope: Some(calendar.to_owned()),
        from: (from > 0).then(|| rfc3339(from)),
        to: Some(rfc3339(now)),
    };
    let scope = hex::encode(&Sha256::digest(calendar)[..8]);
    Emit::new(RESET, json!(reset)).subject(calendar).dedupe(format!("gcal:{scope}:reset:{now}"))
}
