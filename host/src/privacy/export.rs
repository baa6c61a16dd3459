//! A row that names a person, as one line of JSON. Contents are whole: they are the person's to see.

use serde_json::{Value, json};

use super::{redact, search::in_value, wanted::Wanted};
use crate::{
    run::journal::Record,
    store::privacy::{Kept, KeptDelivery, KeptEvent, KeptRequest, KeptValue},
};

/// The line of a row, if it names the person.
pub(super) fn line(wanted: &Wanted<'_>, kept: &Kept) -> Option<Value> {
    match kept {
        Kept::Event(event) => names(wanted, event).then(|| of_event(event)),
        Kept::Delivery(delivery) => of_delivery(wanted, delivery),
        Kept::Request(request) => of_request(wanted, request, "request"),
        Kept::Parked(request) => of_request(wanted, request, "parked_request"),
        Kept::Rejection(rejection) => {
            let line = json!({"record": "rejection", "id": rejection.key.with_prefix("req"), "at": rejection.at,
                "source": rejection.source_id, "reason": rejection.reason});
            in_value(&line, &|kind, text| wanted.is(kind, text)).then_some(line)
        }
        Kept::Value(value) => of_value(wanted, value),
        Kept::Consent(consent) => wanted.is_among(&consent.person).then(|| {
            json!({"record": "consent", "channel": consent.channel, "state": consent.state, "source": consent.source,
                "at": consent.at})
        }),
    }
}

/// Whether an event names the person: in a marked field, or anywhere else.
pub(super) fn names(wanted: &Wanted<'_>, kept: &KeptEvent) -> bool {
    if kept.erased {
        return false;
    }
    let is = |kind, text: &str| wanted.is(kind, text);
    let event = &kept.event;
    let texts =
        [Some(&*event.data), event.subject.as_deref(), event.ordering_key.as_deref(), event.extensions.as_deref()];
    wanted.is_among(&kept.persons)
        || texts.into_iter().flatten().any(|text| super::search::in_bytes(text.as_bytes(), &is))
}

/// JSON where it is some, else the text.
fn shown(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

/// JSON or text, else base64.
fn shown_bytes(bytes: &[u8]) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    match std::str::from_utf8(bytes) {
        Ok(text) => shown(text),
        Err(_) => json!({"base64": STANDARD.encode(bytes)}),
    }
}

fn of_event(kept: &KeptEvent) -> Value {
    let event = &kept.event;
    json!({"record": "event", "id": &*event.id, "type": event.event_type, "source": &*event.source,
        "subject": event.subject, "time": event.time, "accepted_at": event.accepted_at,
        "correlation_id": &*event.correlation_id, "ordering_key": event.ordering_key,
        "extensions": event.extensions.as_deref().map(shown), "data": shown(&event.data)})
}

fn of_delivery(wanted: &Wanted<'_>, delivery: &KeptDelivery) -> Option<Value> {
    let journal = delivery.journal.as_ref().and_then(|sealed| wanted.journal(delivery.key, sealed));
    let attempts: Vec<Value> = delivery
        .attempts
        .iter()
        .map(|attempt| {
            json!({"number": attempt.number, "started_at": attempt.started_at, "outcome": attempt.outcome,
                "message": attempt.message, "detail": attempt.detail.as_deref().map(shown)})
        })
        .collect();
    let line = json!({"record": "delivery", "id": delivery.key.with_prefix("dlv"),
        "event_id": &*delivery.event.event.id, "event_type": delivery.event.event.event_type,
        "target": delivery.target.to_string(), "state": delivery.state.to_string(), "created_at": delivery.created_at,
        "failure": delivery.failure.as_ref().map(|failure| {
            json!({"reason": failure.reason, "code": failure.code, "message": failure.message})
        }),
        "attempts": attempts, "journal": journal.as_ref().map(of_journal)});
    let about = names(wanted, &delivery.event) || in_value(&line, &|kind, text| wanted.is(kind, text));
    about.then_some(line)
}

/// The calls of a run with what was answered. Bodies are bytes, which are shown as what they are.
fn of_journal(record: &Record) -> Value {
    let calls: Vec<Value> = record
        .entries
        .iter()
        .map(|entry| {
            let answer = entry.answer.as_ref().and_then(|answer| serde_json::to_value(answer).ok());
            json!({"call": entry.call, "status": entry.status, "answer": answer.map(readable)})
        })
        .collect();
    json!({"version": record.version, "calls": calls})
}

/// Bodies and values, which are stored as base64, as what they are.
fn readable(value: Value) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let opened = |text: String| STANDARD.decode(&text).map_or(Value::String(text), |bytes| shown_bytes(&bytes));
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(readable).collect()),
        Value::Object(members) => {
            let shown = members.into_iter().map(|(name, member)| match member {
                Value::String(text) if matches!(name.as_str(), "body" | "value") => (name, opened(text)),
                member => (name, readable(member)),
            });
            Value::Object(shown.collect())
        }
        other => other,
    }
}

fn of_request(wanted: &Wanted<'_>, request: &KeptRequest, record: &str) -> Option<Value> {
    let line = json!({"record": record, "id": request.key.with_prefix("req"), "source": request.source_id,
        "method": request.method, "url": request.url, "headers": shown(&request.headers),
        "received_at": request.received_at, "from": request.remote_addr, "correlation_id": request.correlation_id,
        "body": shown_bytes(&request.body)});
    let is = |kind, text: &str| wanted.is(kind, text);
    let about = super::search::in_bytes(&request.body, &is) || in_value(&line, &is);
    if !about {
        return None;
    }
    Some(if request.owner.app().is_some() { without_others(line) } else { line })
}

/// What came to an app is about several tenants: only that there was something is this tenant's to give away.
fn without_others(mut line: Value) -> Value {
    line["body"] = Value::Null;
    line["headers"] = Value::Null;
    line["note"] =
        Value::from("it came to an app that several tenants share; the events that it became are the tenant's");
    line
}

fn of_value(wanted: &Wanted<'_>, kept: &KeptValue) -> Option<Value> {
    let value = kept.value.as_deref()?;
    let is = |kind, text: &str| wanted.is(kind, text);
    let tagged = kept.person.is_some_and(|person| wanted.is_among(&person));
    let about = tagged || super::search::in_text(&kept.key, &is) || redact::bytes(value, &is).is_some();
    about.then(|| json!({"record": "kv", "plugin": kept.plugin, "key": kept.key, "value": shown_bytes(value)}))
}
