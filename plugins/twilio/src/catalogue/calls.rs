use switchyard_sdk::compact_json;
use switchyard_sdk::prelude::*;

use super::with_data;
use crate::call::report::CALL as REPORT;

/// Asks for a telephone call.
pub const CREATE: &str = "call.create";

/// Adds the types about calls to the manifest.
pub fn declare(manifest: Manifest) -> Manifest {
    manifest
        .emits(received())
        .emits(state_changed())
        .emits(input_received())
        .emits(recording_ready())
        .emits(created())
        .emits(report())
        .handles(create())
        .handles(report().ordered_by("data.call_id"))
}

fn create() -> EventType {
    with_data(
        EventType::command(CREATE, "Places a telephone call."),
        compact_json!(
            r#"{"type": "object", "required": ["to"], "additionalProperties": true,
            "anyOf": [{"required": ["say"]}, {"required": ["connect_to"]}], "properties": {
            "to": {"type": "string", "pattern": "^\\+[0-9]{5,15}$", "x-person": "phone"},
            "from": {"type": "string", "pattern": "^\\+[0-9]{5,15}$"},
            "say": {"type": "string", "minLength": 1, "maxLength": 3000},
            "connect_to": {"type": "string", "pattern": "^\\+[0-9]{5,15}$"},
            "record": {"type": "boolean"},
            "detect_machine": {"type": "boolean"},
            "timeout_s": {"type": "integer", "minimum": 5, "maximum": 600}
        }}"#
        ),
        r#"{"to": "+4520123456", "say": "Your plumber is on the way."}"#,
    )
}

fn received() -> EventType {
    with_data(
        EventType::event("call.received", "Somebody calls."),
        compact_json!(
            r#"{"type": "object", "required": ["call_id", "from", "to"], "additionalProperties": true, "properties": {
            "call_id": {"type": "string", "minLength": 1},
            "account": {"type": "string"},
            "from": {"type": "string", "x-person": "phone"},
            "to": {"type": "string"},
            "caller_name": {"type": "string"},
            "forwarded_from": {"type": "string"},
            "after_hours": {"type": "boolean"}
        }}"#
        ),
        compact_json!(
            r#"{"call_id": "CAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "account": "AC00000000000000000000000000000001",
            "from": "+4520123456", "to": "+4570000001", "after_hours": false}"#
        ),
    )
}

fn state_changed() -> EventType {
    with_data(
        EventType::event("call.state_changed", "A call came further; it never goes back."),
        compact_json!(
            r#"{"type": "object", "required": ["call_id", "state", "status"], "additionalProperties": true, "properties": {
            "call_id": {"type": "string", "minLength": 1},
            "account": {"type": "string"},
            "state": {"enum": ["initiated", "active", "transfer", "voicemail", "ended"]},
            "previous": {"enum": ["initiated", "active", "transfer", "voicemail", "ended"]},
            "outcome": {"enum": ["completed", "busy", "failed", "no_answer", "canceled"]},
            "status": {"type": "string", "minLength": 1},
            "sequence": {"type": "integer", "minimum": 0},
            "direction": {"type": "string"},
            "from": {"type": "string", "x-person": "phone"},
            "to": {"type": "string", "x-person": "phone"},
            "duration_s": {"type": "integer", "minimum": 0},
            "answered_by": {"type": "string"},
            "sip_code": {"type": "integer", "minimum": 0},
            "dial_status": {"type": "string"},
            "hub_ref": {"type": "string"}
        }}"#
        ),
        compact_json!(
            r#"{"call_id": "CAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "account": "AC00000000000000000000000000000001",
            "state": "ended", "previous": "active", "status": "completed", "outcome": "completed", "sequence": 3,
            "direction": "inbound", "from": "+4520123456", "to": "+4570000001", "duration_s": 42}"#
        ),
    )
}

/// Its data are what `call.state_changed` has, and where the news came from; the schema names the persons in it.
fn report() -> EventType {
    with_data(
        EventType::event(REPORT, "What a request says of a call, before it is known whether that is news."),
        compact_json!(
            r#"{"type": "object", "required": ["call_id", "account"], "additionalProperties": true, "properties": {
            "call_id": {"type": "string", "minLength": 1},
            "account": {"type": "string"},
            "status": {"type": "string"},
            "step": {"enum": ["transfer", "voicemail"]},
            "from": {"type": "string", "x-person": "phone"},
            "to": {"type": "string", "x-person": "phone"}
        }}"#
        ),
        compact_json!(
            r#"{"call_id": "CAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "account": "AC00000000000000000000000000000001",
            "status": "completed", "sequence": 3, "direction": "inbound", "from": "+4520123456", "to": "+4570000001"}"#
        ),
    )
}

fn input_received() -> EventType {
    with_data(
        EventType::event("call.input_received", "A caller pressed keys or said something."),
        compact_json!(
            r#"{"type": "object", "required": ["call_id", "from", "to", "turn"], "additionalProperties": true,
            "properties": {
            "call_id": {"type": "string", "minLength": 1},
            "account": {"type": "string"},
            "from": {"type": "string", "x-person": "phone"},
            "to": {"type": "string"},
            "turn": {"type": "integer", "minimum": 0},
            "digits": {"type": "string"},
            "speech": {"type": "string"},
            "confidence": {"type": "number"},
            "choice": {"type": "integer", "minimum": 0}
        }}"#
        ),
        compact_json!(
            r#"{"call_id": "CAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "account": "AC00000000000000000000000000000001",
            "from": "+4520123456", "to": "+4570000001", "turn": 0, "digits": "1", "choice": 0}"#
        ),
    )
}

fn recording_ready() -> EventType {
    with_data(
        EventType::event("call.recording_ready", "A recording of a call can be fetched."),
        compact_json!(
            r#"{"type": "object", "required": ["recording_id", "call_id", "url"], "additionalProperties": true,
            "properties": {
            "recording_id": {"type": "string", "minLength": 1},
            "call_id": {"type": "string", "minLength": 1},
            "account": {"type": "string"},
            "url": {"type": "string", "minLength": 1},
            "duration_s": {"type": "integer", "minimum": 0},
            "source": {"type": "string"}
        }}"#
        ),
        compact_json!(
            r#"{"recording_id": "REaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "call_id": "CAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "account": "AC00000000000000000000000000000001", "duration_s": 12, "source": "RecordVerb",
            "url": "https://api.twilio.com/2010-04-01/Accounts/AC00000000000000000000000000000001/Recordings/REaa"}"#
        ),
    )
}

fn created() -> EventType {
    with_data(
        EventType::event("call.created", "Twilio took a call that was asked for."),
        compact_json!(
            r#"{"type": "object", "required": ["call_id", "from", "to", "status"], "additionalProperties": true,
            "properties": {
            "call_id": {"type": "string", "minLength": 1},
            "account": {"type": "string"},
            "from": {"type": "string"},
            "to": {"type": "string", "minLength": 1, "x-person": "phone"},
            "status": {"type": "string"},
            "hub_ref": {"type": "string"}
        }}"#
        ),
        compact_json!(
            r#"{"call_id": "CAbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "account": "AC00000000000000000000000000000001",
            "from": "+4570000001", "to": "+4520123456", "status": "queued",
            "hub_ref": "0123456789abcdef0123456789abcdef"}"#
        ),
    )
}
