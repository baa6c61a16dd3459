use serde_json::{Value, json};
use switchyard_event_types::sync;
use switchyard_sdk::prelude::*;

/// Asks for a message to be sent.
pub const SEND: &str = "email.send";

/// Adds all types to the manifest.
pub fn declare(manifest: Manifest) -> Manifest {
    manifest.emits(received()).emits(sent()).emits(labels_changed()).emits(sync::reset()).handles(send())
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": true })
}

/// An address in an event, as the sender wrote it: anything may stand there.
fn address() -> Value {
    json!({ "type": "string", "x-person": "email" })
}

fn addresses() -> Value {
    json!({ "type": "array", "items": address() })
}

fn texts() -> Value {
    json!({ "type": "array", "items": { "type": "string" } })
}

fn id() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

/// What every event about a message tells.
fn about() -> Value {
    json!({
        "message_id": id(),
        "thread_id": id(),
        "mailbox": { "type": "string" },
        "from": address(),
        "from_name": { "type": "string" },
        "to": addresses(),
        "cc": addresses(),
        "reply_to": addresses(),
        "subject": { "type": "string" },
        "date": { "type": "string", "description": "When Gmail got it, RFC 3339." },
        "label_ids": texts(),
        "rfc822_message_id": { "type": "string", "description": "Without angle brackets." },
        "in_reply_to": { "type": "string" },
        "references": texts()
    })
}

fn joined(mut first: Value, second: Value) -> Value {
    if let (Some(into), Value::Object(from)) = (first.as_object_mut(), second) {
        into.extend(from);
    }
    first
}

fn received() -> EventType {
    let attachment = object(
        &["name", "type", "size"],
        json!({
            "id": { "type": "string", "description": "For Gmail's attachments.get; it may differ at every read." },
            "part_id": { "type": "string" },
            "content_id": { "type": "string" },
            "name": { "type": "string" },
            "type": { "type": "string" },
            "size": { "type": "integer", "minimum": 0 }
        }),
    );
    let more = json!({
        "snippet": { "type": "string" },
        "text": { "type": "string" },
        "html": { "type": "string" },
        "truncated": { "type": "boolean", "description": "There is more than the event tells." },
        "has_attachments": { "type": "boolean" },
        "attachments": { "type": "array", "items": attachment },
        "auto_submitted": { "type": "boolean", "description": "A machine wrote it: do not answer by machine." }
    });
    let required = [
        "message_id",
        "thread_id",
        "mailbox",
        "from",
        "to",
        "subject",
        "date",
        "snippet",
        "label_ids",
        "has_attachments",
        "attachments",
    ];
    let example = json!({
        "message_id": "18c1f0a2b3c4d5e6", "thread_id": "18c1f0a2b3c4d5e6", "mailbox": "office@firma.test",
        "from": "kunde@example.test", "from_name": "Søren Kunde", "to": ["office@firma.test"], "cc": [],
        "reply_to": [], "subject": "Vand i kælderen", "date": "2026-11-20T13:31:25Z",
        "label_ids": ["UNREAD", "INBOX"], "rfc822_message_id": "CAF1@mail.example.test",
        "snippet": "Kan I komme i dag?", "text": "Kan I komme i dag?\r\n", "has_attachments": true,
        "attachments": [{ "id": "ANGjdJ8", "part_id": "1", "name": "kælder.jpg", "type": "image/jpeg", "size": 48210 }]
    });
    EventType::event("email.received", "A message arrived in the mailbox.")
        .data(object(&required, joined(about(), more)), example)
}

fn sent() -> EventType {
    let more = json!({
        "bcc": addresses(),
        "hub_ref": { "type": "string", "description": "The reference of the command that sent it." }
    });
    let required = ["message_id", "thread_id", "mailbox", "to", "subject"];
    let example = json!({
        "message_id": "18c1f0a2b3c4d5e7", "thread_id": "18c1f0a2b3c4d5e6", "mailbox": "office@firma.test",
        "from": "office@firma.test", "to": ["kunde@example.test"], "cc": [], "bcc": [], "reply_to": [],
        "subject": "Re: Vand i kælderen", "date": "2026-11-20T13:40:00Z", "label_ids": ["SENT"],
        "rfc822_message_id": "hub.0123456789abcdef0123456789abcdef@firma.test",
        "in_reply_to": "CAF1@mail.example.test", "references": ["CAF1@mail.example.test"],
        "hub_ref": "0123456789abcdef0123456789abcdef"
    });
    EventType::event("email.sent", "A message was sent from the mailbox, by a command or by its owner.")
        .data(object(&required, joined(about(), more)), example)
}

fn labels_changed() -> EventType {
    let schema = object(
        &["message_id", "thread_id", "mailbox", "added", "removed"],
        json!({
            "message_id": id(), "thread_id": id(), "mailbox": { "type": "string" },
            "added": texts(), "removed": texts(), "label_ids": texts()
        }),
    );
    let example = json!({
        "message_id": "18c1f0a2b3c4d5e6", "thread_id": "18c1f0a2b3c4d5e6", "mailbox": "office@firma.test",
        "added": [], "removed": ["UNREAD"], "label_ids": ["INBOX"]
    });
    EventType::event("email.labels_changed", "Labels of a message came or went: read, archived, starred, moved.")
        .data(schema, example)
}

fn send() -> EventType {
    let bare = json!({
        "type": "string", "pattern": "^[^@\\s<>,;]+@[^@\\s<>,;]+$", "maxLength": 320, "x-person": "email"
    });
    let named = json!({
        "type": "object", "required": ["email"], "additionalProperties": false,
        "properties": { "email": bare, "name": { "type": "string", "maxLength": 200 } }
    });
    let list = |least: usize| json!({ "type": "array", "minItems": least, "maxItems": 500, "items": { "anyOf": [bare, named] } });
    let mut schema = object(
        &["to"],
        json!({
            "to": list(1), "cc": list(0), "bcc": list(0), "reply_to": list(0),
            "subject": { "type": "string", "maxLength": 900, "description": "An answer has its thread's without it." },
            "text": { "type": "string" },
            "html": { "type": "string" },
            "in_reply_to": {
                "type": "string", "minLength": 3, "maxLength": 500,
                "description": "The rfc822_message_id of the message that is answered."
            },
            "thread_id": id()
        }),
    );
    schema["anyOf"] = json!([{ "required": ["text"] }, { "required": ["html"] }]);
    let example = json!({
        "to": [{ "email": "kunde@example.test", "name": "Søren Kunde" }], "subject": "Re: Vand i kælderen",
        "text": "Vi kommer kl. 14.", "in_reply_to": "CAF1@mail.example.test"
    });
    EventType::command(SEND, "Sends a message from the mailbox, as a new one or as an answer in a thread.")
        .data(schema, example)
}
