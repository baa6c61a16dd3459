use serde_json::{Map, Value, json};
use switchyard_event_types::sync::{RESET, Reset};
use switchyard_sdk::prelude::*;
use switchyard_sdk::time::rfc3339;

use crate::compose::REFERENCE_HEADER;
use crate::config::Config;
use crate::message::Mail;
use crate::mime::Mailbox;

/// How many ids of a conversation are told.
const MOST_REFERENCES: usize = 50;

/// A message that arrived.
pub fn received(ctx: &Ctx<Config>, mail: &Mail) -> Emit {
    let mut data = about(ctx, mail);
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            data.insert(name.to_owned(), value);
        }
    };
    put("snippet", Some(json!(mail.snippet)));
    put("has_attachments", Some(json!(!mail.body.attachments.is_empty())));
    put("attachments", Some(json!(mail.body.attachments)));
    put("text", mail.body.text.as_ref().map(|text| json!(text)));
    put("html", mail.body.html.as_ref().map(|html| json!(html)));
    put("truncated", mail.body.truncated.then_some(Value::Bool(true)));
    let automatic = mail.fields.text("Auto-Submitted").is_some_and(|said| !said.eq_ignore_ascii_case("no"));
    put("auto_submitted", automatic.then_some(Value::Bool(true)));
    made(ctx, "email.received", "received", mail, data)
}

/// A message that was sent from the mailbox, by us or by its owner.
pub fn sent(ctx: &Ctx<Config>, mail: &Mail) -> Emit {
    let mut data = about(ctx, mail);
    data.insert("bcc".to_owned(), json!(emails(&mail.fields.addresses("Bcc"))));
    if let Some(reference) = mail.fields.text(REFERENCE_HEADER) {
        data.insert("hub_ref".to_owned(), json!(reference));
    }
    made(ctx, "email.sent", "sent", mail, data)
}

fn made(ctx: &Ctx<Config>, name: &str, what: &str, mail: &Mail, data: Map<String, Value>) -> Emit {
    let event = Emit::new(name, Value::Object(data))
        .subject(&mail.id)
        .ordering(thread_key(ctx, &mail.thread_id))
        .dedupe(message_key(ctx, &mail.id, what));
    match mail.internal_date {
        Some(time) => event.time(time),
        None => event,
    }
}

/// What every event about a message tells.
fn about(ctx: &Ctx<Config>, mail: &Mail) -> Map<String, Value> {
    let mut data = Map::new();
    let mut put = |name: &str, value: Value| data.insert(name.to_owned(), value);
    put("message_id", json!(mail.id));
    put("thread_id", json!(mail.thread_id));
    put("mailbox", json!(mailbox(ctx)));
    let from = mail.fields.addresses("From").into_iter().next();
    put("from", json!(from.as_ref().map(|from| from.email.clone()).unwrap_or_default()));
    if let Some(name) = from.and_then(|from| from.name) {
        put("from_name", json!(name));
    }
    for (name, field) in [("to", "To"), ("cc", "Cc"), ("reply_to", "Reply-To")] {
        put(name, json!(emails(&mail.fields.addresses(field))));
    }
    put("subject", json!(mail.fields.text("Subject").unwrap_or_default()));
    put("date", json!(rfc3339(mail.internal_date.unwrap_or(ctx.time()))));
    put("label_ids", json!(mail.labels));
    if let Some(id) = mail.fields.ids("Message-ID").first() {
        put("rfc822_message_id", json!(id));
    }
    if let Some(id) = mail.fields.ids("In-Reply-To").first() {
        put("in_reply_to", json!(id));
    }
    let references = mail.fields.ids("References");
    if !references.is_empty() {
        // The newest ones stand at the end.
        put("references", json!(references[references.len().saturating_sub(MOST_REFERENCES)..]));
    }
    data
}

/// A message whose labels changed.
pub fn labels_changed(ctx: &Ctx<Config>, record: u64, change: &crate::history::Labels) -> Emit {
    let data = json!({
        "message_id": change.message, "thread_id": change.thread, "mailbox": mailbox(ctx),
        "added": change.added, "removed": change.removed, "label_ids": change.now,
    });
    Emit::new("email.labels_changed", data)
        .subject(&change.message)
        .ordering(thread_key(ctx, &change.thread))
        .dedupe(format!("gmail:{}:history:{record}:{}", mailbox(ctx), change.message))
}

/// The stored id was too old, and what lies between is listed anew.
pub fn reset(ctx: &Ctx<Config>, from: u64, to: u64) -> Emit {
    let account = mailbox(ctx);
    let key = format!("gmail:{account}:reset:{}", ctx.time());
    let data = Reset {
        reason: "Gmail no longer knows the stored history id".to_owned(),
        scope: Some(account),
        from: Some(from.to_string()),
        to: Some(to.to_string()),
    };
    Emit::new(RESET, json!(data)).dedupe(key)
}

/// What makes two events about a message the same, whoever noticed it first.
pub fn message_key(ctx: &Ctx<Config>, id: &str, what: &str) -> String {
    format!("gmail:{}:message:{id}:{what}", mailbox(ctx))
}

/// What keeps a conversation in order.
pub fn thread_key(ctx: &Ctx<Config>, thread: &str) -> String {
    format!("gmail:{}:thread:{thread}", mailbox(ctx))
}

/// The mailbox in the one spelling that keys use.
pub fn mailbox(ctx: &Ctx<Config>) -> String {
    ctx.config.mailbox.to_ascii_lowercase()
}

fn emails(list: &[Mailbox]) -> Vec<&str> {
    list.iter().map(|entry| entry.email.as_str()).collect()
}
