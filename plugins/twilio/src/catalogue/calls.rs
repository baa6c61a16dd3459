use serde_json::{Value, json};
use switchyard_sdk::prelude::*;

use super::{object, phone};
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

fn id() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

fn create() -> EventType {
    let number = json!({ "type": "string", "pattern": "^\\+[0-9]{5,15}$" });
    let mut schema = object(
        &["to"],
        json!({
            "to": { "type": "string", "pattern": "^\\+[0-9]{5,15}$", "x-person": "phone" },
            "from": number,
            "say": { "type": "string", "minLength": 1, "maxLength": 3000 },
            "connect_to": number,
            "record": { "type": "boolean" },
            "detect_machine": { "type": "boolean" },
            "timeout_s": { "type": "integer", "minimum": 5, "maximum": 600 }
        }),
    );
    schema["anyOf"] = json!([{ "required": ["say"] }, { "required": ["connect_to"] }]);
    let example = json!({ "to": "+4520123456", "say": "Your plumber is on the way." });
    EventType::command(CREATE, "Places a telephone call.").data(schema, example)
}

fn received() -> EventType {
    let schema = object(
        &["call_id", "from", "to"],
        json!({
            "call_id": id(),
            "account": { "type": "string" },
            "from": phone(),
            "to": { "type": "string" },
            "caller_name": { "type": "string" },
            "forwarded_from": { "type": "string" },
            "after_hours": { "type": "boolean" }
        }),
    );
    let example = json!({
        "call_id": "CAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "account": "AC00000000000000000000000000000001",
        "from": "+4520123456", "to": "+4570000001", "after_hours": false
    });
    EventType::event("call.received", "Somebody calls.").data(schema, example)
}

/// What a transition and the private report have in common.
fn about() -> Value {
    let whole = json!({ "type": "integer", "minimum": 0 });
    let text = json!({ "type": "string" });
    json!({
        "call_id": id(),
        "account": id(),
        "status": id(),
        "sequence": whole,
        "direction": text,
        "from": { "type": "string", "x-person": "phone" },
        "to": { "type": "string", "x-person": "phone" },
        "duration_s": whole,
        "answered_by": text,
        "sip_code": whole,
        "dial_status": text,
        "hub_ref": text
    })
}

fn state_changed() -> EventType {
    let mut properties = about();
    let states = json!(["initiated", "active", "transfer", "voicemail", "ended"]);
    properties["state"] = json!({ "enum": states });
    properties["previous"] = json!({ "enum": states });
    properties["outcome"] = json!({ "enum": ["completed", "busy", "failed", "no_answer", "canceled"] });
    let schema = object(&["call_id", "state", "status"], properties);
    let example = json!({
        "call_id": "CAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "account": "AC00000000000000000000000000000001",
        "state": "ended", "previous": "active", "status": "completed", "outcome": "completed", "sequence": 3,
        "direction": "inbound", "from": "+4520123456", "to": "+4570000001", "duration_s": 42
    });
    EventType::event("call.state_changed", "A call came further; it never goes back.").data(schema, example)
}

fn report() -> EventType {
    let mut properties = about();
    properties["step"] = json!({ "enum": ["transfer", "voicemail"] });
    properties["at"] = json!({ "type": "integer", "minimum": 0 });
    let schema = object(&["call_id", "account"], properties);
    let example = json!({
        "call_id": "CAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "account": "AC00000000000000000000000000000001",
        "status": "completed", "sequence": 3, "direction": "inbound", "from": "+4520123456", "to": "+4570000001"
    });
    EventType::event(REPORT, "What a request says of a call, before it is known whether that is news.")
        .data(schema, example)
}

fn input_received() -> EventType {
    let schema = object(
        &["call_id", "from", "to", "turn"],
        json!({
            "call_id": id(),
            "account": { "type": "string" },
            "from": phone(),
            "to": { "type": "string" },
            "turn": { "type": "integer", "minimum": 0 },
            "digits": { "type": "string" },
            "speech": { "type": "string" },
            "confidence": { "type": "number" },
            "choice": { "type": "integer", "minimum": 0 }
        }),
    );
    let example = json!({
        "call_id": "CAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "account": "AC00000000000000000000000000000001",
        "from": "+4520123456", "to": "+4570000001", "turn": 0, "digits": "1", "choice": 0
    });
    EventType::event("call.input_received", "A caller pressed keys or said something.").data(schema, example)
}

fn recording_ready() -> EventType {
    let schema = object(
        &["recording_id", "call_id", "url"],
        json!({
            "recording_id": id(),
            "call_id": id(),
            "account": { "type": "string" },
            "url": id(),
            "duration_s": { "type": "integer", "minimum": 0 },
            "source": { "type": "string" }
        }),
    );
    let example = json!({
        "recording_id": "REaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "call_id": "CAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "account": "AC00000000000000000000000000000001", "duration_s": 12, "source": "RecordVerb",
        "url": "https://api.twilio.com/2010-04-01/Accounts/AC00000000000000000000000000000001/Recordings/REaa"
    });
    EventType::event("call.recording_ready", "A recording of a call can be fetched.").data(schema, example)
}

fn created() -> EventType {
    let schema = object(
        &["call_id", "from", "to", "status"],
        json!({
            "call_id": id(),
            "account": { "type": "string" },
            "from": { "type": "string" },
            "to": phone(),
            "status": { "type": "string" },
            "hub_ref": { "type": "string" }
        }),
    );
    let example = json!({
        "call_id": "CAbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "account": "AC00000000000000000000000000000001",
        "from": "+4570000001", "to": "+4520123456", "status": "queued", "hub_ref": "0123456789abcdef0123456789abcdef"
    });
    EventType::event("call.created", "Twilio took a call that was asked for.").data(schema, example)
}
