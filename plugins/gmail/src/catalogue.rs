use serde_json::Value;
use switchyard_event_types::sync;
use switchyard_sdk::compact_json;
use switchyard_sdk::manifest::{joined, literal, object, spelled};
use switchyard_sdk::prelude::*;

/// Asks for a message to be sent.
pub const SEND: &str = "email.send";

/// Adds all types to the manifest.
pub fn declare(manifest: Manifest) -> Manifest {
    manifest.emits(received()).emits(sent()).emits(labels_changed()).emits(sync::reset()).handles(send())
}

/// What stands for its JSON in the texts here.
fn named(name: &str) -> Option<Value> {
    Some(literal(match name {
        "id" => r#"{"type": "string", "minLength": 1}"#,
        "text" => r#"{"type": "string"}"#,
        "texts" => r#"{"type": "array", "items": {"type": "string"}}"#,
        // An address in an event, as the sender wrote it: anything may stand there.
        "address" => r#"{"type": "string", "x-person": "email"}"#,
        "addresses" => r#"{"type": "array", "items": {"type": "string", "x-person": "email"}}"#,
        _ => return None,
    }))
}

fn json(text: &str) -> Value {
    spelled(text, &named)
}

/// What every event about a message tells.
fn about() -> Value {
    json(compact_json!(
        r#"{
    "message_id": "$id",
    "thread_id": "$id",
    "mailbox": "$text",
    "from": "$address",
    "from_name": "$text",
    "to": "$addresses",
    "cc": "$addresses",
    "reply_to": "$addresses",
    "subject": "$text",
    "date": {"type": "string", "description": "When Gmail got it, RFC 3339."},
    "label_ids": "$texts",
    "rfc822_message_id": {"type": "string", "description": "Without angle brackets."},
    "in_reply_to": "$text",
    "references": "$texts"
}"#
    ))
}

fn received() -> EventType {
    let attachment = object(
        &["name", "type", "size"],
        json(compact_json!(
            r#"{
        "id": {"type": "string", "description": "For Gmail's attachments.get; it may differ at every read."},
        "part_id": "$text",
        "content_id": "$text",
        "name": "$text",
        "type": "$text",
        "size": {"type": "integer", "minimum": 0}
    }"#
        )),
    );
    let mut more = json(compact_json!(
        r#"{
    "snippet": "$text",
    "text": "$text",
    "html": "$text",
    "truncated": {"type": "boolean", "description": "There is more than the event tells."},
    "has_attachments": {"type": "boolean"},
    "attachments": {"type": "array", "items": {}},
    "auto_submitted": {"type": "boolean", "description": "A machine wrote it: do not answer by machine."}
}"#
    ));
    more["attachments"]["items"] = attachment;
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
    let example = json(compact_json!(
        r#"{
    "message_id": "18c1f0a2b3c4d5e6", "thread_id": "18c1f0a2b3c4d5e6", "mailbox": "office@firma.test",
    "from": "kunde@example.test", "from_name": "Søren Kunde", "to": ["office@firma.test"], "cc": [],
    "reply_to": [], "subject": "Vand i kælderen", "date": "2026-11-20T13:31:25Z",
    "label_ids": ["UNREAD", "INBOX"], "rfc822_message_id": "CAF1@mail.example.test",
    "snippet": "Kan I komme i dag?", "text": "Kan I komme i dag?\r\n", "has_attachments": true,
    "attachments": [{"id": "ANGjdJ8", "part_id": "1", "name": "kælder.jpg", "type": "image/jpeg", "size": 48210}]
}"#
    ));
    EventType::event("email.received", "A message arrived in the mailbox.")
        .data(object(&required, joined(about(), more)), example)
}

fn sent() -> EventType {
    let more = json(compact_json!(
        r#"{
    "bcc": "$addresses",
    "hub_ref": {"type": "string", "description": "The reference of the command that sent it."}
}"#
    ));
    let required = ["message_id", "thread_id", "mailbox", "to", "subject"];
    let example = json(compact_json!(
        r#"{
    "message_id": "18c1f0a2b3c4d5e7", "thread_id": "18c1f0a2b3c4d5e6", "mailbox": "office@firma.test",
    "from": "office@firma.test", "to": ["kunde@example.test"], "cc": [], "bcc": [], "reply_to": [],
    "subject": "Re: Vand i kælderen", "date": "2026-11-20T13:40:00Z", "label_ids": ["SENT"],
    "rfc822_message_id": "hub.0123456789abcdef0123456789abcdef@firma.test",
    "in_reply_to": "CAF1@mail.example.test", "references": ["CAF1@mail.example.test"],
    "hub_ref": "0123456789abcdef0123456789abcdef"
}"#
    ));
    EventType::event("email.sent", "A message was sent from the mailbox, by a command or by its owner.")
        .data(object(&required, joined(about(), more)), example)
}

fn labels_changed() -> EventType {
    let schema = object(
        &["message_id", "thread_id", "mailbox", "added", "removed"],
        json(compact_json!(
            r#"{
        "message_id": "$id", "thread_id": "$id", "mailbox": "$text",
        "added": "$texts", "removed": "$texts", "label_ids": "$texts"
    }"#
        )),
    );
    let example = json(compact_json!(
        r#"{
    "message_id": "18c1f0a2b3c4d5e6", "thread_id": "18c1f0a2b3c4d5e6", "mailbox": "office@firma.test",
    "added": [], "removed": ["UNREAD"], "label_ids": ["INBOX"]
}"#
    ));
    EventType::event("email.labels_changed", "Labels of a message came or went: read, archived, starred, moved.")
        .data(schema, example)
}

fn send() -> EventType {
    let named = |name: &str| match name {
        "one" => Some(literal(
            r#"{"type": "string", "pattern": "^[^@\\s<>,;]+@[^@\\s<>,;]+$", "maxLength": 320, "x-person": "email"}"#,
        )),
        _ => named(name),
    };
    let list = |least: usize| {
        let mut list = spelled(
            compact_json!(
                r#"{"type": "array", "minItems": 0, "maxItems": 500, "items": {"anyOf": ["$one", {
                "type": "object", "required": ["email"], "additionalProperties": false,
                "properties": {"email": "$one", "name": {"type": "string", "maxLength": 200}}
            }]}}"#
            ),
            &named,
        );
        list["minItems"] = least.into();
        list
    };
    let mut schema = object(
        &["to"],
        json(compact_json!(
            r#"{
        "to": null, "cc": null, "bcc": null, "reply_to": null,
        "subject": {"type": "string", "maxLength": 900, "description": "An answer has its thread's without it."},
        "text": "$text",
        "html": "$text",
        "in_reply_to": {
            "type": "string", "minLength": 3, "maxLength": 500,
            "description": "The rfc822_message_id of the message that is answered."
        },
        "thread_id": "$id"
    }"#
        )),
    );
    for (name, least) in [("to", 1), ("cc", 0), ("bcc", 0), ("reply_to", 0)] {
        schema["properties"][name] = list(least);
    }
    schema["anyOf"] = json(r#"[{"required": ["text"]}, {"required": ["html"]}]"#);
    let example = json(compact_json!(
        r#"{
    "to": [{"email": "kunde@example.test", "name": "Søren Kunde"}], "subject": "Re: Vand i kælderen",
    "text": "Vi kommer kl. 14.", "in_reply_to": "CAF1@mail.example.test"
}"#
    ));
    EventType::command(SEND, "Sends a message from the mailbox, as a new one or as an answer in a thread.")
        .data(schema, example)
}
