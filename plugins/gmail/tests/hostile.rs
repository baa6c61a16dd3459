//! Answers that no provider should give: the right disposition, and never a panic.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use gmail::Gmail;
use serde_json::json;
use switchyard_sdk::error::HttpError;
use switchyard_sdk::testing::{Answer, MockHost};
use switchyard_sdk::{PluginError, Reason};

mod support;
use support::{ME, Mailbox, added, at, config, pushed, refused, sync};

/// Bodies with status 200 that are no history.
const ODD: [&str; 12] = [
    "",
    "<html><body>Something went wrong</body></html>",
    "{\"history\":[{\"id\":\"6\",\"messagesAdded\":[{\"mess",
    "[]",
    "null",
    "\"text\"",
    "{\"history\":{}}",
    "{\"history\":[{}]}",
    "{\"history\":[{\"id\":\"-1\"}]}",
    "{\"history\":[{\"id\":\"9\"},{\"id\":\"8\"}]}",
    "{\"history\":[{\"id\":\"6\",\"messagesAdded\":{}}]}",
    "{\"history\":[{\"id\":\"6\",\"messagesAdded\":[{\"message\":{\"id\":6}}]}]}",
];

fn is_down(error: &PluginError) -> bool {
    matches!(error, PluginError::Retry { error, .. } if error.reason == Reason::ProviderDown)
}

#[test]
fn a_history_that_cannot_be_read_is_asked_for_again() {
    for body in ODD {
        let mailbox = Mailbox::default();
        mailbox.put("GET /history", 200, body);
        let error = sync(&mailbox.host(), at(5)).unwrap_err();
        assert!(is_down(&error), "{body}: {error}");
    }
    let mut truncated = b"{\"history\":[".to_vec();
    truncated.extend([0xff, 0xfe, 0]);
    let mailbox = Mailbox::default();
    mailbox.put("GET /history", 200, truncated);
    assert!(is_down(&sync(&mailbox.host(), at(5)).unwrap_err()));
}

#[test]
fn errors_with_any_body_are_the_class_of_their_status() {
    let bodies = [
        "",
        "<html>",
        "null",
        "[]",
        "{\"error\":\"x\"}",
        "{\"error\":{\"errors\":{}}}",
        "{\"error\":{\"errors\":[7]}}",
    ];
    for body in bodies {
        for (status, expected) in [
            (500, Reason::ProviderDown),
            (503, Reason::ProviderDown),
            (400, Reason::BadData),
            (403, Reason::Config),
            (302, Reason::Config),
            (408, Reason::RateLimited),
        ] {
            let mailbox = Mailbox::default();
            mailbox.put("GET /history", status, body);
            let error = sync(&mailbox.host(), at(5)).unwrap_err();
            assert_eq!(error.detail().reason, expected, "{status} {body}: {error}");
        }
    }
}

#[test]
fn messages_that_cannot_be_read_stop_the_poll_where_it_is() {
    for body in ["", "<html>", "[]", "null", "{}", "{\"id\":7}"] {
        let mailbox = Mailbox::default();
        mailbox.history(&json!({ "history": [added(6, "m1", &["INBOX"])], "historyId": "9" }));
        mailbox.put("GET /messages/m1", 200, body);
        let error = sync(&mailbox.host(), at(5)).unwrap_err();
        assert!(is_down(&error), "{body}: {error}");
    }
}

#[test]
fn a_message_with_nothing_in_it_is_an_event_that_conforms() {
    let manifest = switchyard_sdk::dispatch::describe::<Gmail>();
    let schema = manifest.emits.iter().find(|found| found.name == "email.received").unwrap().schema.clone().unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for body in [
        json!({ "id": "m1" }),
        json!({ "id": "m1", "threadId": 7, "labelIds": {}, "snippet": [], "internalDate": "x", "payload": [] }),
        json!({ "id": "m1", "payload": { "headers": [{ "name": "From", "value": "\u{0}" }], "mimeType": "x" } }),
    ] {
        let mailbox = Mailbox::default();
        mailbox.history(&json!({ "history": [added(6, "m1", &["INBOX"])], "historyId": "9" }));
        mailbox.put("GET /messages/m1", 200, body.to_string());
        let events = sync(&mailbox.host(), at(5)).unwrap().events;
        assert!(validator.is_valid(&events[0].data), "{:?}", validator.iter_errors(&events[0].data).next());
    }
}

#[test]
fn every_failure_of_a_call_has_its_disposition() {
    let path = format!("{ME}/history");
    let fails = |error: HttpError| {
        let host = MockHost::new().answer("gmail", "GET", &path, Answer::error(error));
        host.poll::<Gmail>(config(), "sync", at(5)).unwrap_err()
    };
    let login = fails(HttpError::NeedsLogin("expired".to_owned()));
    assert!(matches!(&login, PluginError::NeedsAttention(detail) if detail.reason == Reason::Auth), "{login}");
    assert!(is_down(&fails(HttpError::Timeout)));
    assert!(is_down(&fails(HttpError::Unreachable(None))));
    assert!(is_down(&fails(HttpError::ResponseTooLarge { status: 200, limit: 1 })));
}

#[test]
fn listings_profiles_and_watches_that_cannot_be_read_are_asked_for_again() {
    for body in ["", "<html>", "[]", "{\"messages\":7}", "{\"messages\":[7]}", "{\"messages\":[{\"threadId\":\"t\"}]}"]
    {
        let mailbox = Mailbox::default();
        mailbox.put("GET /messages", 200, body);
        let cursor = json!({ "history_id": 5, "relist": { "left": 500 } }).to_string();
        let error = sync(&mailbox.host(), Some(cursor)).unwrap_err();
        assert!(is_down(&error), "{body}: {error}");
    }
    for body in ["", "[]", "{}", "{\"historyId\":\"x\"}", "{\"emailAddress\":\"office@firma.test\"}"] {
        let host = MockHost::new().answer("gmail", "GET", &format!("{ME}/profile"), Answer::body(200, body));
        assert!(is_down(&host.install::<Gmail>(config()).unwrap_err()), "{body}");
    }
    for body in ["", "<html>", "[]"] {
        let host = MockHost::new().answer("gmail", "POST", &format!("{ME}/watch"), Answer::body(200, body));
        assert!(is_down(&host.poll::<Gmail>(pushed(), "watch", None).unwrap_err()), "{body}");
    }
    // A watch without an end is a watch.
    let host = MockHost::new().answer("gmail", "POST", &format!("{ME}/watch"), Answer::json(200, json!({})));
    host.poll::<Gmail>(pushed(), "watch", None).unwrap();
}

#[test]
fn a_rate_limit_waits_as_long_as_the_text_says() {
    let path = format!("{ME}/history");
    let words = "User Rate Limit Exceeded.  Retry after 2026-11-20T12:01:00.000Z";
    let host = MockHost::new().answer("gmail", "GET", &path, refused(403, "userRateLimitExceeded", words));
    let error = host.poll::<Gmail>(config(), "sync", at(5)).unwrap_err();
    assert!(
        matches!(&error, PluginError::Retry { after: Some(wait), .. } if (60..=61).contains(&wait.as_secs())),
        "{error:?}"
    );
    for words in
        ["Retry after", "Retry after soon", "Retry after 2026-99-99T99:99:99Z", "Retry after 1970-01-01T00:00:00Z"]
    {
        let host = MockHost::new().answer("gmail", "GET", &path, refused(403, "userRateLimitExceeded", words));
        let error = host.poll::<Gmail>(config(), "sync", at(5)).unwrap_err();
        assert!(matches!(&error, PluginError::Retry { error, .. } if error.reason == Reason::RateLimited), "{error:?}");
    }
}
