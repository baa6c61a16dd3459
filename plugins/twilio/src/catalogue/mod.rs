use serde_json::{Value, json};
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

fn phone() -> Value {
    json!({ "type": "string", "minLength": 1, "x-person": "phone" })
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": true })
}

fn send() -> EventType {
    let schema = object(
        &["to", "body"],
        json!({
            "to": { "type": "string", "pattern": "^\\+[0-9]{5,15}$", "x-person": "phone" },
            "body": { "type": "string", "minLength": 1, "maxLength": 1600 },
            "from": { "type": "string", "minLength": 1 }
        }),
    );
    let example = json!({ "to": "+4520123456", "body": "Your plumber arrives at 14:00." });
    EventType::command(SEND, "Sends a text message.").data(schema, example)
}

fn received() -> EventType {
    let schema = object(
        &["message_id", "from", "to", "body", "num_media", "media", "num_segments"],
        json!({
            "message_id": { "type": "string", "minLength": 1 },
            "account": { "type": "string" },
            "from": phone(),
            "to": { "type": "string" },
            "body": { "type": "string" },
            "num_media": { "type": "integer", "minimum": 0 },
            "media": { "type": "array", "items": { "type": "object", "required": ["url"], "properties": {
                "url": { "type": "string" }, "content_type": { "type": "string" } } } },
            "num_segments": { "type": "integer", "minimum": 0 },
            "messaging_service_id": { "type": "string" },
            "opt_out": { "enum": ["STOP", "START", "HELP"] }
        }),
    );
    let example = json!({
        "message_id": "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "account": "AC00000000000000000000000000000001",
        "from": "+4520123456", "to": "+4570000001", "body": "Water everywhere, call now!",
        "num_media": 0, "media": [], "num_segments": 1
    });
    EventType::event("sms.received", "A text message arrived.").data(schema, example)
}

fn sent() -> EventType {
    let schema = object(
        &["message_id", "from", "to", "status"],
        json!({
            "message_id": { "type": "string", "minLength": 1 },
            "account": { "type": "string" },
            "from": { "type": "string" },
            "to": phone(),
            "body": { "type": "string" },
            "status": { "type": "string" },
            "hub_ref": { "type": "string" }
        }),
    );
    let example = json!({
        "message_id": "SMbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "account": "AC00000000000000000000000000000001",
        "from": "+4570000001", "to": "+4520123456", "body": "Your plumber arrives at 14:00.",
        "status": "queued", "hub_ref": "0123456789abcdef0123456789abcdef"
    });
    EventType::event("sms.sent", "Twilio took a text message for sending.").data(schema, example)
}

fn failed() -> EventType {
    let schema = object(
        &["to", "code", "reason"],
        json!({
            "to": phone(),
            "from": { "type": "string" },
            "code": { "type": "string" },
            "reason": { "type": "string" },
            "hub_ref": { "type": "string" }
        }),
    );
    let example = json!({
        "to": "+4520123456", "from": "+4570000001", "code": "21610", "reason": "opted_out",
        "hub_ref": "0123456789abcdef0123456789abcdef"
    });
    EventType::event("sms.failed", "A text message was not sent, because its recipient opted out.")
        .data(schema, example)
}

fn status() -> EventType {
    let schema = object(
        &["message_id", "status"],
        json!({
            "message_id": { "type": "string", "minLength": 1 },
            "account": { "type": "string" },
            "status": { "type": "string", "minLength": 1 },
            "from": { "type": "string" },
            "to": phone(),
            "error_code": { "type": "string" },
            "hub_ref": { "type": "string" }
        }),
    );
    let example = json!({
        "message_id": "SMbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "account": "AC00000000000000000000000000000001",
        "status": "delivered", "from": "+4570000001", "to": "+4520123456",
        "hub_ref": "0123456789abcdef0123456789abcdef"
    });
    EventType::event("sms.status", "The status of a sent text message rose.").data(schema, example)
}

/// The same data as `sms.status`; the schema names the person in it.
fn callback() -> EventType {
    let data = status();
    let mut private = EventType::event(CALLBACK, "A status callback, before its rank is known.");
    private.schema = data.schema;
    private.example = data.example;
    private
}

fn opt(name: &str) -> EventType {
    let description = match name {
        suppress::OUT => "A person asked for no more text messages.",
        _ => "A person asked for text messages again.",
    };
    let schema = object(
        &["from", "to", "reason"],
        json!({
            "from": phone(),
            "to": { "type": "string" },
            "reason": { "type": "string", "minLength": 1 },
            "message_id": { "type": "string" },
            "messaging_service_id": { "type": "string" }
        }),
    );
    let example = json!({
        "from": "+4520123456", "to": "+4570000001", "reason": "keyword",
        "message_id": "SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    });
    EventType::event(name, description).data(schema, example)
}
