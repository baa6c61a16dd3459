use switchyard_sdk::compact_json;
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;

use crate::suppress;

/// Calls.
mod calls;

pub use calls::CREATE as CALL;

/// Asks for a text message.
pub const SEND: &str = "sms.send";

/// A status callback on its way to the handler, which may write what `receive` may only read.
pub const CALLBACK: &str = "_twilio.callback";

/// Adds all types to the manifest.
pub fn declare(manifest: Manifest) -> Manifest {
    calls::declare(manifest)
        .emits(received())
        .emits(status())
        .emits(opt(suppress::OUT))
        .emits(opt(suppress::IN))
        .emits(sent())
        .emits(failed())
        .emits(callback())
        .handles(send())
        .handles(callback().ordered_by("data.message_id"))
        .handles(opt(suppress::OUT).ordered_by("data.from"))
        .handles(opt(suppress::IN).ordered_by("data.from"))
}

/// A type with its schema and an example. Both stand here as text: the code that would build them is several times as
/// large as they are. A test reads them all.
fn with_data(event_type: EventType, schema: &str, example: &str) -> EventType {
    let parsed = |text: &str| json::parse(text.as_bytes()).unwrap_or_default();
    event_type.data(parsed(schema), parsed(example))
}

fn send() -> EventType {
    with_data(
        EventType::command(SEND, "Sends a text message."),
        compact_json!(
            r#"{"type": "object", "required": ["to", "body"], "additionalProperties": true, "properties": {
            "to": {"type": "string", "pattern": "^\\+[0-9]{5,15}$", "x-person": "phone"},
            "body": {"type": "string", "minLength": 1, "maxLength": 1600},
            "from": {"type": "string", "minLength": 1}
        }}"#
        ),
        r#"{"to": "+4520123456", "body": "Your plumber arrives at 14:00."}"#,
    )
}

fn received() -> EventType {
    with_data(
        EventType::event("sms.received", "A text message arrived."),
        compact_json!(
            r#"{"type": "object", "additionalProperties": true,
            "required": ["message_id", "from", "to", "body", "num_media", "media", "num_segments"], "properties": {
            "message_id": {"type": "string", "minLength": 1},
            "account": {"type": "string"},
            "from": {"type": "string", "minLength": 1, "x-person": "phone"},
            "to": {"type": "string"},
            "body": {"type": "string"},
            "num_media": {"type": "integer", "minimum": 0},
            "media": {"type": "array", "items": {"type": "object", "required": ["url"], "properties": {
                "url": {"type": "string"}, "content_type": {"type": "string"}}}},
            "num_segments": {"type": "integer", "minimum": 0},
            "messaging_service_id": {"type": "string"},
            "opt_out": {"enum": ["STOP", "START", "HELP"]}
        }}"#
        ),
        compact_json!(
            r#"{"message_id": "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "account": "AC00000000000000000000000000000001",
            "from": "+4520123456", "to": "+4570000001", "body": "Water everywhere, call now!",
            "num_media": 0, "media": [], "num_segments": 1}"#
        ),
    )
}

fn sent() -> EventType {
    with_data(
        EventType::event("sms.sent", "Twilio took a text message for sending."),
        compact_json!(
            r#"{"type": "object", "required": ["message_id", "from", "to", "status"], "additionalProperties": true,
            "properties": {
            "message_id": {"type": "string", "minLength": 1},
            "account": {"type": "string"},
            "from": {"type": "string"},
            "to": {"type": "string", "minLength": 1, "x-person": "phone"},
            "body": {"type": "string"},
            "status": {"type": "string"},
            "hub_ref": {"type": "string"}
        }}"#
        ),
        compact_json!(
            r#"{"message_id": "SMbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "account": "AC00000000000000000000000000000001",
            "from": "+4570000001", "to": "+4520123456", "body": "Your plumber arrives at 14:00.",
            "status": "queued", "hub_ref": "0123456789abcdef0123456789abcdef"}"#
        ),
    )
}

fn failed() -> EventType {
    with_data(
        EventType::event("sms.failed", "A text message was not sent, because its recipient opted out."),
        compact_json!(
            r#"{"type": "object", "required": ["to", "code", "reason"], "additionalProperties": true, "properties": {
            "to": {"type": "string", "minLength": 1, "x-person": "phone"},
            "from": {"type": "string"},
            "code": {"type": "string"},
            "reason": {"type": "string"},
            "hub_ref": {"type": "string"}
        }}"#
        ),
        compact_json!(
            r#"{"to": "+4520123456", "from": "+4570000001", "code": "21610", "reason": "opted_out",
            "hub_ref": "0123456789abcdef0123456789abcdef"}"#
        ),
    )
}

fn status() -> EventType {
    about_status(EventType::event("sms.status", "The status of a sent text message rose."))
}

/// The same data as `sms.status`; the schema names the person in it.
fn callback() -> EventType {
    about_status(EventType::event(CALLBACK, "A status callback, before its rank is known."))
}

fn about_status(event_type: EventType) -> EventType {
    with_data(
        event_type,
        compact_json!(
            r#"{"type": "object", "required": ["message_id", "status"], "additionalProperties": true, "properties": {
            "message_id": {"type": "string", "minLength": 1},
            "account": {"type": "string"},
            "status": {"type": "string", "minLength": 1},
            "from": {"type": "string"},
            "to": {"type": "string", "minLength": 1, "x-person": "phone"},
            "error_code": {"type": "string"},
            "hub_ref": {"type": "string"}
        }}"#
        ),
        compact_json!(
            r#"{"message_id": "SMbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "account": "AC00000000000000000000000000000001",
            "status": "delivered", "from": "+4570000001", "to": "+4520123456",
            "hub_ref": "0123456789abcdef0123456789abcdef"}"#
        ),
    )
}

fn opt(name: &str) -> EventType {
    let description = match name {
        suppress::OUT => "A person asked for no more text messages.",
        _ => "A person asked for text messages again.",
    };
    with_data(
        EventType::event(name, description),
        compact_json!(
            r#"{"type": "object", "required": ["from", "to", "reason"], "additionalProperties": true, "properties": {
            "from": {"type": "string", "minLength": 1, "x-person": "phone"},
            "to": {"type": "string"},
            "reason": {"type": "string", "minLength": 1},
            "message_id": {"type": "string"},
            "messaging_service_id": {"type": "string"}
        }}"#
        ),
        compact_json!(
            r#"{"from": "+4520123456", "to": "+4570000001", "reason": "keyword",
            "message_id": "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#
        ),
    )
}
