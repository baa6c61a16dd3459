//! What a guest returns: JSON is checked to parse, sizes to fit, and texts for people are cut.

use super::{cut, header, json, malformed, optional_json, payload, storable};
use crate::plugin::{
    bindings::{
        imports::types, ingest::exports::switchyard::plugin::ingest, poller::exports::switchyard::plugin::poller,
    },
    call::{CallEnd, LimitKind},
    model::{EmittedEvent, ErrorDetail, Output, PluginError, PollOutput, Reason, Received, Reply},
};

const CODE_BYTES: usize = 64;
const CLASS_BYTES: usize = 64;
const MESSAGE_BYTES: usize = 1 << 10;
const DETAIL_BYTES: usize = 16 << 10;
const CURSOR_BYTES: usize = 16 << 10;
const DEDUPE_KEY_BYTES: usize = 255;
const REPLY_BYTES: usize = 64 << 10;
const REFUSAL_BYTES: usize = 256;
const NEXT_IN_MS: u64 = 1_000;

pub(in crate::plugin) fn output(raw: types::Output, limit: u64) -> Result<Output, CallEnd> {
    optional_json("output.extensions", raw.extensions)?;
    Ok(Output { events: events(raw.events, "output", limit)? })
}

pub(in crate::plugin) fn poll_output(raw: poller::PollOutput, limit: u64) -> Result<PollOutput, CallEnd> {
    optional_json("poll-output.extensions", raw.extensions)?;
    if raw.cursor.as_ref().is_some_and(|cursor| cursor.len() > CURSOR_BYTES) {
        return Err(malformed("poll-output.cursor", format!("longer than {CURSOR_BYTES} bytes")));
    }
    storable("poll-output.cursor", raw.cursor.as_deref())?;
    Ok(PollOutput {
        events: output(raw.output, limit)?.events,
        cursor: raw.cursor,
        has_more: raw.has_more,
        next_in_ms: raw.next_in.map(|wait| wait.max(NEXT_IN_MS)),
    })
}

pub(in crate::plugin) fn received(raw: ingest::IngestResult, limit: u64) -> Result<Received, CallEnd> {
    match raw {
        ingest::IngestResult::Accepted(accepted) => {
            optional_json("accepted.extensions", accepted.extensions)?;
            let answer = accepted.reply.map(|raw| reply(raw, "accepted.reply")).transpose()?;
            accepted.poll_now.iter().try_for_each(|name| storable("accepted.poll-now", Some(name)))?;
            Ok(Received::Accepted {
                events: events(accepted.events, "accepted", limit)?,
                // A provider that is told anything but success would send again what is stored already.
                reply: answer.filter(|reply| (200..300).contains(&reply.status)),
                poll_now: accepted.poll_now,
            })
        }
        ingest::IngestResult::Handled(raw) => Ok(Received::Handled(reply(raw, "handled")?)),
        ingest::IngestResult::Unauthenticated(text) => Ok(Received::Unauthenticated(cut(text, REFUSAL_BYTES))),
    }
}

fn reply(raw: ingest::Reply, field: &str) -> Result<Reply, CallEnd> {
    optional_json(&format!("{field}.extensions"), raw.extensions)?;
    if !(200..600).contains(&raw.status) {
        return Err(malformed(format!("{field}.status"), format!("{} is not 200 to 599", raw.status)));
    }
    if raw.body.len() > REPLY_BYTES {
        return Err(malformed(format!("{field}.body"), format!("longer than {REPLY_BYTES} bytes")));
    }
    Ok(Reply { status: raw.status, headers: raw.headers.into_iter().map(header).collect(), body: raw.body })
}

fn events(raw: Vec<types::EmittedEvent>, field: &str, limit: u64) -> Result<Vec<EmittedEvent>, CallEnd> {
    let size: usize = raw.iter().map(size).sum();
    if size as u64 > limit {
        return Err(CallEnd::Limit { which: LimitKind::Output, allowed: limit });
    }
    raw.into_iter().enumerate().map(|(index, raw)| emitted(raw, &format!("{field}.events[{index}]"))).collect()
}

fn size(event: &types::EmittedEvent) -> usize {
    let optional = [&event.subject, &event.ordering_key, &event.dedupe_key, &event.account, &event.extensions];
    let optional: usize = optional.iter().filter_map(|text| text.as_ref()).map(String::len).sum();
    event.type_.len() + event.data.len() + optional
}

fn emitted(raw: types::EmittedEvent, field: &str) -> Result<EmittedEvent, CallEnd> {
    if raw.dedupe_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > DEDUPE_KEY_BYTES) {
        return Err(malformed(format!("{field}.dedupe-key"), format!("not 1 to {DEDUPE_KEY_BYTES} bytes")));
    }
    for (name, text) in [
        ("subject", &raw.subject),
        ("ordering-key", &raw.ordering_key),
        ("dedupe-key", &raw.dedupe_key),
        ("account", &raw.account),
    ] {
        storable(&format!("{field}.{name}"), text.as_deref())?;
    }
    Ok(EmittedEvent {
        type_: raw.type_,
        subject: raw.subject,
        time_ms: raw.time,
        ordering_key: raw.ordering_key,
        dedupe_key: raw.dedupe_key,
        account: raw.account,
        expires_at_ms: raw.expires_at,
        emergency: raw.emergency,
        data: payload(&format!("{field}.data"), raw.data)?,
        extensions: raw.extensions.map(|text| payload(&format!("{field}.extensions"), text)).transpose()?,
    })
}

/// A plugin's error. Its texts are cut rather than refused: an error report must not fail for its length.
pub(in crate::plugin) fn plugin_error(raw: types::PluginError) -> PluginError {
    match raw {
        types::PluginError::Reject(error) => PluginError::Reject(detail(error)),
        types::PluginError::Retry(retry) => PluginError::Retry { error: detail(retry.error), after_ms: retry.after },
        types::PluginError::NeedsAttention(error) => PluginError::NeedsAttention(detail(error)),
        types::PluginError::Other(error) => PluginError::Other(detail(error)),
    }
}

fn detail(raw: types::ErrorDetail) -> ErrorDetail {
    let fits = |text: &String| text.len() <= DETAIL_BYTES;
    ErrorDetail {
        reason: reason(raw.reason),
        code: code(&raw.code),
        message: cut(raw.message, MESSAGE_BYTES),
        details: raw.details.filter(fits).and_then(|text| json("error-detail.details", text).ok()),
    }
}

/// The identifier with everything outside `[a-z0-9_]` replaced, so that it can stand in a fingerprint.
fn code(raw: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let code: String = raw.chars().take(CODE_BYTES).map(plain).collect();
    if code.is_empty() { "unspecified".to_owned() } else { code }
}

fn reason(raw: types::Reason) -> Reason {
    match raw {
        types::Reason::Auth => Reason::Auth,
        types::Reason::Config => Reason::Config,
        types::Reason::ProviderDown => Reason::ProviderDown,
        types::Reason::RateLimited => Reason::RateLimited,
        types::Reason::BadData => Reason::BadData,
        types::Reason::PluginBug => Reason::PluginBug,
        types::Reason::Policy => Reason::Policy,
        types::Reason::UnknownOutcome => Reason::UnknownOutcome,
        types::Reason::Other(class) => Reason::Other(cut(class, CLASS_BYTES)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_report_is_cut_and_never_refused() {
        let raw = types::PluginError::Reject(types::ErrorDetail {
            reason: types::Reason::Other("å".repeat(64)),
            code: "Invoice not-found".to_owned(),
            message: format!("\0{}", "å".repeat(1_000)),
            details: Some("{not json".to_owned()),
        });
        let PluginError::Reject(detail) = plugin_error(raw) else { panic!("another disposition") };
        assert_eq!(detail.reason, Reason::Other("å".repeat(32)));
        assert_eq!(detail.code, "invoice_not_found");
        assert_eq!(detail.message, "å".repeat(512));
        assert_eq!(detail.details, None);
    }

    #[test]
    fn a_text_that_not_every_database_stores_is_malformed_and_named() {
        let event = |change: fn(&mut types::EmittedEvent)| {
            let mut event = types::EmittedEvent {
                type_: "a.b".to_owned(),
                subject: None,
                time: None,
                ordering_key: None,
                dedupe_key: None,
                account: None,
                expires_at: None,
                emergency: false,
                data: r#"{"kept":"\u0000"}"#.to_owned(),
                extensions: None,
            };
            change(&mut event);
            emitted(event, "output.events[0]")
        };
        assert!(event(|_| ()).is_ok(), "in JSON it is an escape");
        type Change = fn(&mut types::EmittedEvent);
        let cases: [(Change, &str); 4] = [
            (|event| event.subject = Some("\0".to_owned()), "subject"),
            (|event| event.ordering_key = Some("a\0b".to_owned()), "ordering-key"),
            (|event| event.dedupe_key = Some("\0".to_owned()), "dedupe-key"),
            (|event| event.account = Some("\0".to_owned()), "account"),
        ];
        for (change, field) in cases {
            let Err(CallEnd::Malformed { field: named, .. }) = event(change) else { panic!("{field} passed") };
            assert_eq!(named, format!("output.events[0].{field}"));
        }
        let output = types::Output { events: vec![], extensions: None };
        let poll = poller::PollOutput {
            output,
            cursor: Some("a\0".to_owned()),
            has_more: false,
            next_in: None,
            extensions: None,
        };
        assert!(matches!(poll_output(poll, 1_000), Err(CallEnd::Malformed { .. })));
    }

    #[test]
    fn an_accepted_reply_outside_2xx_becomes_the_default() {
        let reply = ingest::Reply { status: 500, headers: vec![], body: vec![], extensions: None };
        let accepted = ingest::Accepted { events: vec![], reply: Some(reply), poll_now: vec![], extensions: None };
        let received = received(ingest::IngestResult::Accepted(accepted), 1_000).unwrap();
        assert_eq!(received, Received::Accepted { events: vec![], reply: None, poll_now: vec![] });
    }
}
