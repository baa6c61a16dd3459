//! What is left of a row that named a person: ids, types, times and hashes.

use serde_json::{Value, json};

use super::{
    export::names,
    redact::{self, ERASED},
    search::{in_bytes, in_text, in_value},
    wanted::Wanted,
};
use crate::{
    clock::Timestamp,
    run::journal::Record,
    store::privacy::{Emptied, Kept, KeptDelivery, KeptEvent, KeptRequest, KeptValue},
};

/// What is to be done with a row.
pub(super) enum Verdict {
    /// It does not name the person.
    Clean,
    /// It is written over.
    Empty(Emptied),
    /// It names the person in a journal by which a run may still go on; the rest of it is written over.
    HeldUp(Option<Emptied>),
}

/// Judges a row at `now`.
pub(super) fn judge(wanted: &Wanted<'_>, kept: &Kept, now: Timestamp) -> Verdict {
    let is = |kind, text: &str| wanted.is(kind, text);
    let emptied = match kept {
        Kept::Event(event) => names(wanted, event).then(|| of_event(wanted, event, now)),
        Kept::Delivery(delivery) => return of_delivery(wanted, delivery),
        Kept::Request(request) => of_request(wanted, request, now),
        Kept::Parked(request) => names_in_request(wanted, request).then_some(Emptied::Parked(request.key)),
        Kept::Rejection(rejection) => in_text(&rejection.reason, &is).then_some(Emptied::Rejection(rejection.key)),
        Kept::Value(value) => of_value(wanted, value),
        Kept::Consent(consent) => {
            let theirs = consent.addressed && wanted.is_among(&consent.person);
            theirs.then_some(Emptied::Consents(consent.person))
        }
    };
    emptied.map_or(Verdict::Clean, Verdict::Empty)
}

/// What stands in place of contents.
fn tombstone(wanted: &Wanted<'_>, contents: &[u8], now: Timestamp) -> Value {
    json!({"erased": true, "erased_at": now, "bytes": contents.len(),
        "hmac_sha256": hex::encode(wanted.key.content_hash(contents))})
}

fn of_event(wanted: &Wanted<'_>, kept: &KeptEvent, now: Timestamp) -> Emptied {
    let event = &kept.event;
    let subject = event.subject.as_deref().filter(|text| !in_text(text, &|kind, text| wanted.is(kind, text)));
    let data = tombstone(wanted, event.data.as_bytes(), now).to_string();
    Emptied::Event { key: event.key, data, subject: subject.map(str::to_owned) }
}

fn of_delivery(wanted: &Wanted<'_>, delivery: &KeptDelivery) -> Verdict {
    let is = |kind, text: &str| wanted.is(kind, text);
    // Everything that a run or a subscriber said while it had the person's data may tell of the person.
    let whole = delivery.event.erased;
    let message = delivery.failure.as_ref().map(|failure| failure.message.as_str());
    let words = |text: Option<&str>| -> Option<String> {
        let text = text.filter(|text| *text != ERASED)?;
        if whole { Some(ERASED.to_owned()) } else { redact::text(text, &is) }
    };
    let facts = |text: Option<&str>| -> Option<String> {
        let text = text.filter(|text| !is_emptied(text))?;
        let emptied = || json!({"erased": true}).to_string();
        if whole {
            return Some(emptied());
        }
        let mut value: Value = serde_json::from_str(text).ok()?;
        redact::value(&mut value, &is).then(|| value.to_string())
    };
    let attempts: Vec<_> = delivery
        .attempts
        .iter()
        .map(|attempt| (attempt.number, words(attempt.message.as_deref()), facts(attempt.detail.as_deref())))
        .filter(|(_, message, detail)| message.is_some() || detail.is_some())
        .collect();
    let record = delivery.journal.as_ref().and_then(|sealed| wanted.journal(delivery.key, sealed));
    let emptied = record.and_then(|record| without(record, whole, wanted));
    let held_up = emptied.is_some() && delivery.state.is_live();
    let journal = emptied.filter(|_| !held_up).and_then(|record| wanted.sealed(delivery.key, &record));
    let without_order = delivery.ordering_key.as_deref().is_some_and(|key| whole || in_text(key, &is));
    let message = words(message);
    let nothing = message.is_none() && !without_order && attempts.is_empty() && journal.is_none();
    let emptied = Emptied::Delivery { key: delivery.key, message, without_order, attempts, journal };
    match (held_up, nothing) {
        (true, true) => Verdict::HeldUp(None),
        (true, false) => Verdict::HeldUp(Some(emptied)),
        (false, true) => Verdict::Clean,
        (false, false) => Verdict::Empty(emptied),
    }
}

/// Whether facts were emptied before.
fn is_emptied(text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|value| value == json!({"erased": true}))
}

/// The journal without the person, `whole` without anything that was said; none if it is so already.
fn without(mut record: Record, whole: bool, wanted: &Wanted<'_>) -> Option<Record> {
    let is = |kind, text: &str| wanted.is(kind, text);
    let mut changed = false;
    for entry in &mut record.entries {
        let call = match entry.call.split_once('?') {
            Some((path, _)) if whole => Some(path.to_owned()),
            _ => redact::text(&entry.call, &is),
        };
        if let Some(call) = call {
            (entry.call, changed) = (call, true);
        }
        let answer = entry.answer.as_ref().and_then(|answer| serde_json::to_value(answer).ok());
        if answer.is_some_and(|answer| whole || in_value(&answer, &is)) {
            (entry.answer, changed) = (None, true);
        }
    }
    if in_bytes(record.config.as_bytes(), &is) {
        (record.config, changed) = ("{}".to_owned(), true);
    }
    changed.then_some(record)
}

fn names_in_request(wanted: &Wanted<'_>, request: &KeptRequest) -> bool {
    let is = |kind, text: &str| wanted.is(kind, text);
    in_bytes(&request.body, &is) || in_text(&request.url, &is) || in_bytes(request.headers.as_bytes(), &is)
}

fn of_request(wanted: &Wanted<'_>, request: &KeptRequest, now: Timestamp) -> Option<Emptied> {
    names_in_request(wanted, request).then(|| {
        let is = |kind, text: &str| wanted.is(kind, text);
        let path = request.url.split('?').next().unwrap_or_default();
        Emptied::Request {
            owner: request.owner.clone(),
            key: request.key,
            correlation_id: request.correlation_id.clone(),
            url: redact::text(path, &is).unwrap_or_else(|| path.to_owned()),
            body: tombstone(wanted, &request.body, now).to_string().into_bytes(),
        }
    })
}

/// A value that is about the person goes; one that only mentions the person keeps the rest.
fn of_value(wanted: &Wanted<'_>, kept: &KeptValue) -> Option<Emptied> {
    let is = |kind, text: &str| wanted.is(kind, text);
    let about = kept.person.is_some_and(|person| wanted.is_among(&person)) || in_text(&kept.key, &is);
    let rest = if about { None } else { Some(redact::bytes(kept.value.as_deref()?, &is)?) };
    Some(Emptied::Value { plugin: kept.plugin.clone(), key: kept.key.clone(), version: kept.version, value: rest })
}
