//! The command `email.send`, also when its answer is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use gmail::Gmail;
use gmail::compose::{Outgoing, Recipient};
use serde_json::{Value, json};
use switchyard_sdk::host::HttpRequest;
use switchyard_sdk::testing::{Answer, MockHost, REFERENCE};
use switchyard_sdk::{Event, HttpError, Output, PluginError, Reason};

mod support;
use support::{ME, config, fields, refused};

const SEND: &str = "/gmail/v1/users/me/messages/send";
const LIST: &str = "/gmail/v1/users/me/messages";

fn command() -> Value {
    json!({ "to": ["kunde@example.test"], "subject": "Tilbud", "text": "Hej æøå" })
}

fn send(host: &MockHost, data: Value) -> Result<Output, PluginError> {
    host.handle::<Gmail>(config(), Event::new("email.send", data))
}

fn sent(id: &str) -> Answer {
    Answer::json(200, json!({ "id": id, "threadId": "t9", "labelIds": ["SENT"] }))
}

fn listed(ids: &[&str]) -> Answer {
    let messages: Vec<Value> = ids.iter().map(|id| json!({ "id": id, "threadId": "t9" })).collect();
    Answer::json(
        200,
        if messages.is_empty() { json!({ "resultSizeEstimate": 0 }) } else { json!({ "messages": messages }) },
    )
}

fn metadata(id: &str, headers: &[(&str, &str)]) -> Answer {
    let payload = json!({ "headers": fields(headers) });
    Answer::json(200, json!({ "id": id, "threadId": "t9", "labelIds": ["SENT"], "payload": payload }))
}

/// The message that a request sends, and the thread that it names.
fn message(request: &HttpRequest) -> (String, Value) {
    let body: Value = serde_json::from_slice(request.body.as_ref().unwrap()).unwrap();
    let raw = URL_SAFE.decode(body["raw"].as_str().unwrap()).unwrap();
    (String::from_utf8(raw).unwrap(), body["threadId"].clone())
}

fn posts(host: &MockHost) -> usize {
    host.calls().iter().filter(|call| call.starts_with("POST")).count()
}

#[test]
fn the_recorded_message_is_written_byte_for_byte() {
    let vectors: Vec<Value> = serde_json::from_str(include_str!("../../../tests/data/vectors.json")).unwrap();
    let vector = vectors.iter().find(|vector| vector["scheme"] == "rfc2822-base64url").unwrap();
    let body = STANDARD.decode("SGVqLA0KZmFrdHVyYSB2ZWRsYWd0LiDDhsOYw4U/Pg==").unwrap();
    let text = String::from_utf8(body).unwrap();
    let outgoing = Outgoing {
        from: Recipient { email: "hub@example.test".to_owned(), name: Some("Hub".to_owned()) },
        to: vec![Recipient { email: "kunde@example.test".to_owned(), name: None }],
        subject: "Faktura 1001 – æøå".to_owned(),
        message_id: "hub.0001@example.test".to_owned(),
        reference: "evt_0001".to_owned(),
        text: Some(text.clone()),
        ..Outgoing::default()
    };
    // The recorded body does not end with a line break, ours always does; all before it is the same.
    let recorded = vector["inputs"]["rfc2822"].as_str().unwrap();
    let (recorded_head, _) = recorded.split_once("\r\n\r\n").unwrap();
    let ours = outgoing.rfc5322();
    let (head, body) = ours.split_once("\r\n\r\n").unwrap();
    assert_eq!(head, recorded_head);
    assert_eq!(STANDARD.decode(body.trim_end()).unwrap(), format!("{text}\r\n").into_bytes());
    assert_eq!(URL_SAFE.encode(recorded), vector["expected"]["raw_padded"].as_str().unwrap());
    assert_eq!(URL_SAFE_NO_PAD.encode(recorded), vector["expected"]["raw_unpadded"].as_str().unwrap());
    assert_eq!(outgoing.raw(), URL_SAFE.encode(&ours));
}

#[test]
fn a_message_is_sent_with_our_reference_in_two_places() {
    let host = MockHost::new().answer("gmail", "POST", SEND, sent("m1"));
    let output = send(&host, command()).unwrap();
    let (raw, thread) = message(&host.requests()[0]);
    let (head, body) = raw.split_once("\r\n\r\n").unwrap();
    let expected = format!(
        "From: office@firma.test\r\nTo: kunde@example.test\r\nSubject: Tilbud\r\n\
         Date: Fri, 20 Nov 2026 12:00:00 +0000\r\nMessage-ID: <hub.{REFERENCE}@firma.test>\r\n\
         X-Hub-Idempotency-Key: {REFERENCE}\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64"
    );
    assert_eq!(head, expected);
    assert_eq!(STANDARD.decode(body.trim_end()).unwrap(), "Hej æøå\r\n".as_bytes());
    assert_eq!(thread, Value::Null);
    let event = &output.events[0];
    assert_eq!(event.event_type, "email.sent");
    // The key under which the poll would tell of the same message.
    assert_eq!(event.dedupe_key.as_deref(), Some("gmail:office@firma.test:message:m1:sent"));
    assert_eq!(event.data["rfc822_message_id"], format!("hub.{REFERENCE}@firma.test"));
    assert_eq!(event.data["hub_ref"], REFERENCE);
}

#[test]
fn names_subjects_and_both_bodies_are_written_so_that_any_server_carries_them() {
    let host = MockHost::new().answer("gmail", "POST", SEND, sent("m1"));
    let long = "Et meget langt emne med æ, ø og å, som ikke kan stå i ét kodet ord, fordi et ord er kort";
    let data = json!({
        "to": [{ "email": "soren@example.test", "name": "Søren Å" }, { "email": "h@example.test", "name": "Hansen, Ida \"I\"" }],
        "cc": ["cc@example.test"], "bcc": ["bcc@example.test"], "reply_to": ["svar@firma.test"],
        "subject": long, "text": "a\nb", "html": "<p>æ</p>"
    });
    send(&host, data).unwrap();
    let (raw, _) = message(&host.requests()[0]);
    assert!(raw.is_ascii() && raw.split("\r\n").all(|line| line.len() <= 78 && !line.contains(['\r', '\n'])), "{raw}");
    assert!(
        raw.contains(
            "To: =?utf-8?B?U8O4cmVuIMOF?= <soren@example.test>,\r\n \"Hansen, Ida \\\"I\\\"\" <h@example.test>"
        )
    );
    for field in ["Cc: cc@example.test", "Bcc: bcc@example.test", "Reply-To: svar@firma.test"] {
        assert!(raw.contains(&format!("\r\n{field}\r\n")), "{raw}");
    }
    let headers: Vec<(String, String)> = raw
        .split("\r\n\r\n")
        .next()
        .unwrap()
        .replace("\r\n ", " ")
        .split("\r\n")
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let read = gmail::mime::Fields::read(Some(&fields(&headers)));
    assert_eq!(read.text("Subject").as_deref(), Some(long));
    assert!(raw.contains(&format!("boundary=\"hub_{REFERENCE}\"")));
    assert!(raw.contains(&STANDARD.encode("a\r\nb\r\n")) && raw.contains(&STANDARD.encode("<p>æ</p>\r\n")));
    assert!(raw.ends_with(&format!("--hub_{REFERENCE}--\r\n")));
}

#[test]
fn an_answer_goes_into_the_thread_of_the_message_that_it_answers() {
    let headers =
        [("Message-ID", "<q@mail.test>"), ("References", "<first@mail.test>"), ("Subject", "=?utf-8?Q?K=C3=A6lder?=")];
    let host = MockHost::new()
        .answer("gmail", "GET", LIST, listed(&["m0"]))
        .answer("gmail", "GET", &format!("{LIST}/m0"), metadata("m0", &headers))
        .answer("gmail", "POST", SEND, sent("m1"));
    let data = json!({ "to": ["kunde@example.test"], "text": "Ja", "in_reply_to": "<q@mail.test>" });
    let output = send(&host, data).unwrap();
    assert!(host.requests()[0].path.contains("q=rfc822msgid%3Aq%40mail.test"));
    let (raw, thread) = message(&host.requests()[2]);
    assert_eq!(thread, "t9");
    assert!(
        raw.contains("\r\nIn-Reply-To: <q@mail.test>\r\nReferences: <first@mail.test>\r\n <q@mail.test>\r\n"),
        "{raw}"
    );
    assert_eq!(output.events[0].data["subject"], "Re: Kælder");
    assert_eq!(output.events[0].data["in_reply_to"], "q@mail.test");
}

#[test]
fn a_thread_alone_is_answered_at_its_last_message() {
    let last = json!({ "id": "m0", "threadId": "t9", "payload": { "headers": fields(&[
        ("Message-ID", "<last@mail.test>"), ("Subject", "RE: Vand")]) } });
    let thread = json!({ "id": "t9", "messages": [{ "id": "first" }, last] });
    let host = MockHost::new().answer("gmail", "GET", &format!("{ME}/threads/t9"), Answer::json(200, thread)).answer(
        "gmail",
        "POST",
        SEND,
        sent("m1"),
    );
    send(&host, json!({ "to": ["kunde@example.test"], "text": "Ja", "thread_id": "t9" })).unwrap();
    let (raw, named) = message(&host.requests()[1]);
    assert_eq!(named, "t9");
    assert!(
        raw.contains("\r\nSubject: RE: Vand\r\n") && raw.contains("\r\nIn-Reply-To: <last@mail.test>\r\n"),
        "{raw}"
    );
}

#[test]
fn a_thread_that_is_not_there_is_refused_before_anything_is_sent() {
    let missing = refused(404, "notFound", "Requested entity was not found.");
    let host = MockHost::new().answer("gmail", "GET", &format!("{ME}/threads/t9"), missing);
    let error = send(&host, json!({ "to": ["a@b.test"], "text": "x", "thread_id": "t9" })).unwrap_err();
    assert!(matches!(&error, PluginError::Reject(detail) if detail.code == "unknown_thread"), "{error}");
    assert_eq!(posts(&host), 0);
}

#[test]
fn an_answer_to_a_message_that_is_elsewhere_keeps_its_references() {
    let host = MockHost::new().answer("gmail", "GET", LIST, listed(&[])).answer("gmail", "POST", SEND, sent("m1"));
    let data = json!({ "to": ["a@b.test"], "subject": "Re: x", "text": "x", "in_reply_to": "far@mail.test" });
    send(&host, data).unwrap();
    let (raw, thread) = message(&host.requests()[1]);
    assert!(raw.contains("\r\nReferences: <far@mail.test>\r\n") && thread == Value::Null, "{raw}");
}

#[test]
fn what_is_missing_or_cannot_be_sent_to_is_named() {
    for (data, field) in [
        (json!({ "to": [], "subject": "x", "text": "x" }), "to"),
        (json!({ "to": ["a@b.test"], "subject": "x" }), "text"),
        (json!({ "to": ["a@b.test"], "text": "x" }), "subject"),
        (json!({ "to": ["nobody"], "subject": "x", "text": "x" }), "to"),
        (json!({ "to": ["a@b.test\r\nBcc: evil@x.test"], "subject": "x", "text": "x" }), "to"),
        (json!({ "to": ["a b@c.test"], "subject": "x", "text": "x" }), "to"),
        (json!({ "to": ["a@b@c.test"], "subject": "x", "text": "x" }), "to"),
        (json!({ "to": ["a@b.test"], "cc": ["<x@y.test>"], "subject": "x", "text": "x" }), "cc"),
        (json!({ "to": ["a@b.test"], "bcc": ["@y.test"], "subject": "x", "text": "x" }), "bcc"),
        (json!({ "to": ["a@b.test"], "reply_to": ["æ@y.test"], "subject": "x", "text": "x" }), "reply_to"),
        (json!({ "to": ["a@b.test"], "subject": "x", "text": "x", "in_reply_to": "a\r\nb@c" }), "in_reply_to"),
        (json!({ "to": "a@b.test", "subject": "x", "text": "x" }), "to"),
    ] {
        let host = MockHost::new();
        let error = send(&host, data.clone()).unwrap_err();
        assert!(matches!(&error, PluginError::Reject(detail) if detail.reason == Reason::BadData), "{data}: {error}");
        assert!(
            error.detail().details.as_ref().unwrap()["field"].as_str().unwrap().starts_with(field),
            "{data}: {error}"
        );
        assert!(host.calls().is_empty(), "{data}");
    }
}

#[test]
fn a_subject_with_a_line_break_begins_no_other_field() {
    let host = MockHost::new().answer("gmail", "POST", SEND, sent("m1"));
    let data = json!({ "to": ["a@b.test"], "subject": "x\r\nBcc: evil@x.test", "text": "x" });
    send(&host, data).unwrap();
    let (raw, _) = message(&host.requests()[0]);
    assert!(!raw.contains("Bcc:"), "{raw}");
}

#[test]
fn a_lost_answer_is_looked_up_and_the_message_adopted() {
    let host = MockHost::new()
        .answer("gmail", "POST", SEND, Answer::lost(Duration::from_secs(20)))
        .answer("gmail", "GET", LIST, listed(&["m1"]))
        .answer("gmail", "GET", &format!("{LIST}/m1"), metadata("m1", &[]));
    let output = send(&host, command()).unwrap();
    assert_eq!(output.events[0].subject.as_deref(), Some("m1"));
    assert_eq!(posts(&host), 1);
    let path = &host.requests()[1].path;
    assert!(path.contains(&format!("q=rfc822msgid%3Ahub.{REFERENCE}%40firma.test")), "{path}");
}

#[test]
fn a_rewritten_message_id_is_found_by_our_own_field() {
    let host = MockHost::new()
        .answer("gmail", "POST", SEND, Answer::lost(Duration::from_secs(20)))
        .answer("gmail", "GET", LIST, listed(&[]))
        .answer("gmail", "GET", LIST, listed(&["m2", "m1"]))
        .answer("gmail", "GET", &format!("{LIST}/m2"), metadata("m2", &[("X-Hub-Idempotency-Key", "another")]))
        .answer("gmail", "GET", &format!("{LIST}/m1"), metadata("m1", &[("x-hub-idempotency-key", REFERENCE)]));
    assert_eq!(send(&host, command()).unwrap().events[0].subject.as_deref(), Some("m1"));
    assert_eq!(posts(&host), 1);
    assert!(host.requests()[2].path.contains("q=in%3Asent%20after%3A"));
}

#[test]
fn a_message_that_may_not_be_indexed_yet_is_not_sent_twice() {
    let host = MockHost::new()
        .answer("gmail", "POST", SEND, Answer::lost(Duration::from_secs(1)))
        .answer("gmail", "GET", LIST, listed(&[]))
        .answer("gmail", "GET", LIST, listed(&[]));
    let error = send(&host, command()).unwrap_err();
    let PluginError::Retry { error, after } = error else { panic!("{error}") };
    assert_eq!((error.reason, after), (Reason::UnknownOutcome, Some(Duration::from_secs(9))));
    assert_eq!(posts(&host), 1);
}

#[test]
fn a_message_never_found_is_sent_at_most_three_times() {
    let mut host = MockHost::new();
    for _ in 0..3 {
        host = host.answer("gmail", "POST", SEND, Answer::lost(Duration::from_secs(20)));
        host = host.answer("gmail", "GET", LIST, listed(&[])).answer("gmail", "GET", LIST, listed(&[]));
    }
    assert_eq!(send(&host, command()).unwrap_err().detail().reason, Reason::UnknownOutcome);
    assert_eq!(posts(&host), 3);
    let bodies: Vec<_> = host.requests().into_iter().filter_map(|request| request.body).collect();
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "every sending is the same");
}

#[test]
fn a_message_that_gmail_took_with_an_unreadable_answer_is_looked_up_and_never_sent_again() {
    let huge = || Answer::error(HttpError::ResponseTooLarge { status: 200, limit: 1 });
    let host = MockHost::new()
        .answer("gmail", "POST", SEND, huge())
        .answer("gmail", "GET", LIST, listed(&["m1"]))
        .answer("gmail", "GET", &format!("{LIST}/m1"), metadata("m1", &[]));
    assert_eq!((send(&host, command()).unwrap().events.len(), posts(&host)), (1, 1));
    for body in ["", "<html>", "[]", "{\"id\":7}", "{\"id\":\"\"}", "{\"threadId\":\"t\"", "null"] {
        let host = MockHost::new()
            .answer("gmail", "POST", SEND, Answer::body(200, body))
            .answer("gmail", "GET", LIST, listed(&["m1"]))
            .answer("gmail", "GET", &format!("{LIST}/m1"), metadata("m1", &[]));
        assert_eq!(send(&host, command()).unwrap().events[0].subject.as_deref(), Some("m1"), "{body}");
        assert_eq!(posts(&host), 1);
        let host = MockHost::new()
            .answer("gmail", "POST", SEND, Answer::body(200, body))
            .answer("gmail", "GET", LIST, listed(&[]))
            .answer("gmail", "GET", LIST, listed(&[]));
        let error = send(&host, command()).unwrap_err();
        assert!(
            matches!(&error, PluginError::Retry { error, .. } if error.reason == Reason::UnknownOutcome),
            "{error}"
        );
        assert_eq!(posts(&host), 1);
    }
}

#[test]
fn refusals_say_what_to_do() {
    let refusal = |answer: Answer| send(&MockHost::new().answer("gmail", "POST", SEND, answer), command()).unwrap_err();
    let bad = refusal(refused(400, "invalidArgument", "Invalid To header: kunde@example.test"));
    assert!(matches!(&bad, PluginError::Reject(detail) if detail.reason == Reason::BadData), "{bad}");
    let details = bad.detail().details.clone().unwrap();
    assert_eq!(details["provider_message"], "Invalid To header: (address)", "no address in an error");
    for reason in ["userRateLimitExceeded", "rateLimitExceeded", "quotaExceeded"] {
        let words = "User-rate limit exceeded.  Retry after 2026-11-20T12:00:30.000Z";
        let slow = refusal(refused(403, reason, words));
        assert!(
            matches!(&slow, PluginError::Retry { error, after: Some(wait) }
            if error.reason == Reason::RateLimited && (30..=31).contains(&wait.as_secs())),
            "{slow:?}"
        );
    }
    let daily = refusal(refused(403, "dailyLimitExceeded", "Daily Limit Exceeded"));
    assert!(matches!(&daily, PluginError::Retry { after: Some(wait), .. } if wait.as_secs() == 3600), "{daily:?}");
    for reason in ["insufficientPermissions", "domainPolicy", "forbidden"] {
        let closed = refusal(refused(403, reason, "Insufficient Permission"));
        assert!(matches!(&closed, PluginError::NeedsAttention(detail) if detail.reason == Reason::Config), "{closed}");
        assert!(closed.to_string().contains(reason), "{closed}");
    }
    let slow = refusal(Answer::rate_limited(Duration::from_secs(3)));
    assert!(matches!(&slow, PluginError::Retry { after: Some(wait), .. } if wait.as_secs() == 3), "{slow}");
}
