use serde_json::Value;
use switchyard_sdk::compact_json;
use switchyard_sdk::manifest::{literal, object, spelled};
use switchyard_sdk::prelude::*;

/// Makes an appointment.
pub const CREATE: &str = "appointment.create";

/// Changes one.
pub const UPDATE: &str = "appointment.update";

/// Cancels one.
pub const CANCEL: &str = "appointment.cancel";

/// Asks when there is time.
pub const QUERY: &str = "availability.query";

/// When there is time.
pub const FOUND: &str = "availability.found";

/// A channel that is not ours any more still speaks.
pub const ORPHAN: &str = "_calendar.orphan";

/// Adds all types to the manifest.
pub fn declare(manifest: Manifest) -> Manifest {
    manifest
        .handles(create())
        .handles(update())
        .handles(cancel())
        .handles(query())
        .handles(orphan())
        .emits(created())
        .emits(updated())
        .emits(cancelled())
        .emits(found())
        .emits(orphan())
        .emits(switchyard_event_types::sync::reset())
}

/// What stands for its JSON in the texts here: `"$text 64"` for text of at most 64 characters, `"$minutes 1 60"` for a
/// number from 1 to 60.
fn named(name: &str) -> Option<Value> {
    let mut words = name.split(' ');
    let name = words.next()?;
    let mut value = literal(match name {
        "text" => r#"{"type": "string", "minLength": 1}"#,
        "any_text" => r#"{"type": "string"}"#,
        "boolean" => r#"{"type": "boolean"}"#,
        // A time with an offset, a time of the zone, or a day.
        "moment" => {
            r#"{"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\\.[0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?$"}"#
        }
        "minutes" => r#"{"type": "integer"}"#,
        "email" => r#"{"type": "string", "maxLength": 254, "pattern": "^[^@\\s]+@[^@\\s]+$", "x-person": "email"}"#,
        "phone" => r#"{"type": "string", "minLength": 1, "maxLength": 64, "x-person": "phone"}"#,
        "attendees" => return Some(json(r#"{"type": "array", "maxItems": 200, "items": "$attendee"}"#)),
        "attendee" => {
            return Some(object(
                &[],
                json(compact_json!(
                    r#"{
        "email": "$email", "name": {"type": "string", "maxLength": 200}, "phone": "$phone",
        "consent": {
            "type": "boolean",
            "description": "Only with true the person is invited and gets mail; the others are noted and get nothing."
        }
    }"#
                )),
            ));
        }
        "slot" => {
            return Some(object(
                &["start", "end", "calendar_ids"],
                json(
                    r#"{"start": "$moment", "end": "$moment", "calendar_ids": {"type": "array", "items": "$text 128"}}"#,
                ),
            ));
        }
        "error" => {
            return Some(object(
                &["calendar_id", "reason"],
                json(r#"{"calendar_id": "$text 128", "reason": "$any_text"}"#),
            ));
        }
        "invited" => {
            return Some(object(
                &["email"],
                json(r#"{"email": "$email", "name": "$any_text", "response": "$any_text"}"#),
            ));
        }
        "uninvited" => {
            return Some(object(&[], json(r#"{"email": "$email", "name": "$any_text", "phone": "$phone"}"#)));
        }
        _ => return None,
    });
    let bounds: &[&str] = if name == "minutes" { &["minimum", "maximum"] } else { &["maxLength"] };
    for (bound, number) in bounds.iter().zip(words) {
        value[*bound] = number.parse::<u32>().ok()?.into();
    }
    Some(value)
}

fn json(text: &str) -> Value {
    spelled(text, &named)
}

fn create() -> EventType {
    let schema = object(
        &["title", "start"],
        json(compact_json!(
            r#"{
        "calendar_id": "$text 128", "title": "$text 1000", "start": "$moment", "end": "$moment",
        "duration_minutes": "$minutes 1 10080", "service": "$text 64", "time_zone": "$text 64",
        "location": "$text 1000", "description": {"type": "string", "maxLength": 8000}, "attendees": "$attendees",
        "travel_buffer_minutes": "$minutes 0 1440", "key": "$text 200"
    }"#
        )),
    );
    let example = json(compact_json!(
        r#"{
    "calendar_id": "primary", "title": "Besøg: Kunde ApS", "start": "2026-11-24T09:00", "duration_minutes": 60,
    "time_zone": "Europe/Copenhagen", "location": "Nygade 1, 8000 Aarhus",
    "attendees": [{"email": "kunde@example.test", "name": "Kunde", "consent": true}], "key": "sale-1001"
}"#
    ));
    EventType::command(CREATE, "Makes an appointment, unless the time is taken.")
        .data(schema, example)
        .ordered_by("data.calendar_id")
}

fn update() -> EventType {
    let schema = object(
        &["appointment_id"],
        json(compact_json!(
            r#"{
        "calendar_id": "$text 128", "appointment_id": "$text 1024", "title": "$text 1000", "start": "$moment",
        "end": "$moment", "duration_minutes": "$minutes 1 10080", "service": "$text 64", "time_zone": "$text 64",
        "location": {"type": "string", "maxLength": 1000},
        "description": {"type": "string", "maxLength": 8000}, "attendees": "$attendees",
        "travel_buffer_minutes": "$minutes 0 1440"
    }"#
        )),
    );
    let example = json(compact_json!(
        r#"{
    "calendar_id": "primary", "appointment_id": "hub0a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "start": "2026-11-24T11:00:00+01:00"
}"#
    ));
    EventType::command(UPDATE, "Changes an appointment; what it does not name stays.")
        .data(schema, example)
        .ordered_by("data.calendar_id")
}

fn cancel() -> EventType {
    let schema = object(
        &["appointment_id"],
        json(r#"{"calendar_id": "$text 128", "appointment_id": "$text 1024", "notify": "$boolean"}"#),
    );
    let example = json(r#"{"calendar_id": "primary", "appointment_id": "hub0a1b2c3d4e5f60718293a4b5c6d7e8f9"}"#);
    EventType::command(CANCEL, "Cancels an appointment.").data(schema, example).ordered_by("data.calendar_id")
}

fn query() -> EventType {
    let schema = object(
        &["from", "to"],
        json(compact_json!(
            r#"{
        "calendar_id": "$text 128",
        "calendar_ids": {"type": "array", "maxItems": 20, "items": "$text 128"},
        "from": "$moment", "to": "$moment", "duration_minutes": "$minutes 1 10080", "service": "$text 64",
        "time_zone": "$text 64", "location": "$text 1000", "travel_buffer_minutes": "$minutes 0 1440",
        "slot_step_minutes": "$minutes 5 1440", "max_slots": "$minutes 1 500"
    }"#
        )),
    );
    let example = json(compact_json!(
        r#"{
    "calendar_ids": ["primary"], "from": "2026-11-24", "to": "2026-11-28", "duration_minutes": 60,
    "location": "Nygade 1, 8000 Aarhus", "travel_buffer_minutes": 20
}"#
    ));
    EventType::command(QUERY, "Asks when there is time; the answer is `availability.found`.").data(schema, example)
}

fn found() -> EventType {
    let schema = object(
        &["query_id", "from", "to", "time_zone", "duration_minutes", "slots", "errors"],
        json(compact_json!(
            r#"{
        "query_id": "$text 128", "from": "$moment", "to": "$moment", "time_zone": "$text 64",
        "duration_minutes": "$minutes 1 10080", "slots": {"type": "array", "items": "$slot"},
        "errors": {"type": "array", "items": "$error"}
    }"#
        )),
    );
    let example = json(compact_json!(
        r#"{
    "query_id": "evt_0197", "from": "2026-11-24T00:00:00+01:00", "to": "2026-11-28T00:00:00+01:00",
    "time_zone": "Europe/Copenhagen", "duration_minutes": 60,
    "slots": [{"start": "2026-11-24T08:00:00+01:00", "end": "2026-11-24T09:00:00+01:00", "calendar_ids": ["primary"]}],
    "errors": []
}"#
    ));
    EventType::event(FOUND, "The free slots that a query asked for; its subject is the query's id.")
        .data(schema, example)
}

/// What all events about an appointment may say.
fn about() -> Value {
    json(compact_json!(
        r#"{
    "appointment_id": "$text 1024", "calendar_id": "$text 128", "title": "$any_text",
    "start": "$moment", "end": "$moment", "all_day": "$boolean", "location": "$any_text",
    "status": {"enum": ["confirmed", "tentative"]},
    "attendees": {"type": "array", "items": "$invited"}, "attendees_omitted": "$boolean",
    "uninvited": {"type": "array", "items": "$uninvited"},
    "ical_uid": "$any_text", "recurring_event_id": "$any_text", "hub_ref": "$any_text"
}"#
    ))
}

fn example() -> Value {
    json(compact_json!(
        r#"{
    "appointment_id": "hub0a1b2c3d4e5f60718293a4b5c6d7e8f9", "calendar_id": "primary", "title": "Besøg: Kunde ApS",
    "start": "2026-11-24T09:00:00+01:00", "end": "2026-11-24T10:00:00+01:00", "all_day": false,
    "location": "Nygade 1, 8000 Aarhus", "status": "confirmed",
    "attendees": [{"email": "kunde@example.test", "response": "needsAction"}],
    "ical_uid": "hub0a1b2c3d4e5f60718293a4b5c6d7e8f9@google.com", "hub_ref": "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
}"#
    ))
}

const ALWAYS: [&str; 6] = ["appointment_id", "calendar_id", "title", "start", "end", "all_day"];

fn created() -> EventType {
    EventType::event("appointment.created", "An appointment was made, here or in the calendar.")
        .data(object(&ALWAYS, about()), example())
}

fn updated() -> EventType {
    let mut properties = about();
    properties["changed"] = json(compact_json!(
        r#"{
    "type": "array", "minItems": 1, "items": {"enum": ["start", "end", "title", "location", "attendees"]}
}"#
    ));
    properties["previous"] = object(&["start", "end"], json(r#"{"start": "$moment", "end": "$moment"}"#));
    let required = [&ALWAYS[..], &["changed", "previous"]].concat();
    let mut example = example();
    example["changed"] = json(r#"["start", "end"]"#);
    example["previous"] = json(r#"{"start": "2026-11-24T08:00:00+01:00", "end": "2026-11-24T09:00:00+01:00"}"#);
    EventType::event("appointment.updated", "Time, place, title or attendees of an appointment changed.")
        .data(object(&required, properties), example)
}

fn cancelled() -> EventType {
    let example = json(compact_json!(
        r#"{
    "appointment_id": "hub0a1b2c3d4e5f60718293a4b5c6d7e8f9", "calendar_id": "primary", "title": "Besøg: Kunde ApS",
    "start": "2026-11-24T09:00:00+01:00", "end": "2026-11-24T10:00:00+01:00"
}"#
    ));
    EventType::event("appointment.cancelled", "An appointment was cancelled; it says what was known of it.")
        .data(object(&ALWAYS[..2], about()), example)
}

fn orphan() -> EventType {
    let schema =
        object(&["channel_id", "resource_id"], json(r#"{"channel_id": "$text 64", "resource_id": "$text 512"}"#));
    let example = json(r#"{"channel_id": "sw-0a1b2c3d", "resource_id": "ret08u3rv24htgh289g"}"#);
    EventType::event(ORPHAN, "A channel that is not used any more still speaks, and is stopped.").data(schema, example)
}
