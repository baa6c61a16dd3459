//! Answers that no provider should give end in the right disposition, and never in a panic.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod support;

use calendar::Calendar;
use proptest::prelude::*;
use serde_json::{Value, json};
use support::config;
use switchyard_sdk::host::{HttpRequest, HttpResponse};
use switchyard_sdk::testing::MockHost;
use switchyard_sdk::{Event, HttpError, PluginError, Reason};

/// A host whose provider answers everything alike.
fn answering(status: u16, body: impl Into<Vec<u8>>) -> MockHost {
    let body: Vec<u8> = body.into();
    let host = MockHost::new().secret("channel.secret", support::TOKEN);
    host.provider("calendar", move |_: &HttpRequest| {
        Ok(HttpResponse { status, headers: Vec::new(), body: body.clone() })
    })
}

/// All that the plugin does, and how it ended.
fn everything(host: &MockHost) -> Vec<Result<(), PluginError>> {
    let visit = json!({ "title": "x", "start": "2026-11-24T09:00" });
    let query = json!({ "from": "2026-11-24", "to": "2026-11-25" });
    let one = |name: &str, data: Value| host.handle::<Calendar>(config(), Event::new(name, data)).map(drop);
    vec![
        one("appointment.create", visit),
        one("appointment.update", json!({ "appointment_id": "abcde", "start": "2026-11-24T09:00" })),
        one("appointment.cancel", json!({ "appointment_id": "abcde" })),
        one("availability.query", query),
        host.poll::<Calendar>(config(), "sync", None).map(drop),
        host.poll::<Calendar>(
            config(),
            "sync",
            Some("{\"calendars\":{\"primary\":{\"token\":\"1\",\"known_at\":1}}}".to_owned()),
        )
        .map(drop),
        host.install::<Calendar>(config()).map(drop),
    ]
}

#[test]
fn an_answer_that_is_no_json_or_cut_off_or_of_wrong_types_is_tried_again() {
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let bodies: [&[u8]; 12] = [
        b"",
        b"<html><body>Sorry</body></html>",
        b"{\"items\":[{\"id\":\"a",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe\x00",
        deep.as_bytes(),
        b"{\"items\":{},\"calendars\":[],\"nextPageToken\":7}",
        b"{\"calendars\":{\"primary\":{\"busy\":[{\"start\":1,\"end\":2}]}},\"id\":5}",
        b"{\"calendars\":{\"primary\":{\"busy\":[{\"start\":\"x\",\"end\":\"y\"}]}}}",
        b"{\"calendars\":null,\"items\":null,\"id\":null,\"status\":null}",
    ];
    for body in bodies {
        let host = answering(200, body);
        for (number, ended) in everything(&host).into_iter().enumerate() {
            // Looking at a calendar before installing asks for no more than a JSON object.
            if number == 6 && ended.is_ok() {
                continue;
            }
            let error = ended.unwrap_err();
            assert!(
                matches!(&error, PluginError::Retry { error, .. } if error.reason == Reason::ProviderDown),
                "{number}: {error} for {:?}",
                String::from_utf8_lossy(&body[..body.len().min(80)])
            );
        }
    }
}

#[test]
fn every_status_has_its_disposition_and_shows_no_address() {
    let document = |code: u16, reason: &str| support::failure(code, reason).to_string();
    let retry = |error: &PluginError| matches!(error, PluginError::Retry { .. });
    let person = |error: &PluginError| matches!(error, PluginError::NeedsAttention(_));
    let dead = |error: &PluginError| matches!(error, PluginError::Reject(_));
    type Judge<'j> = &'j dyn Fn(&PluginError) -> bool;
    let cases: [(u16, &str, Judge<'_>); 11] = [
        (400, "invalid", &dead),
        (401, "authError", &person),
        (403, "rateLimitExceeded", &retry),
        (403, "userRateLimitExceeded", &retry),
        (403, "quotaExceeded", &retry),
        (403, "insufficientPermissions", &person),
        (403, "forbiddenForServiceAccounts", &person),
        (429, "rateLimitExceeded", &retry),
        (500, "backendError", &retry),
        (503, "backendError", &retry),
        (302, "", &person),
    ];
    for (status, reason, expected) in cases {
        let host = answering(status, document(status, reason));
        let query = json!({ "from": "2026-11-24", "to": "2026-11-25" });
        let error = host.handle::<Calendar>(config(), Event::new("availability.query", query)).unwrap_err();
        assert!(expected(&error), "{status} {reason}: {error}");
        assert!(error.detail().message.contains(reason) && !error.detail().message.contains('@'), "{error}");
    }
    for status in [500, 503] {
        for ended in everything(&answering(status, "<html>")) {
            assert!(matches!(ended, Err(PluginError::Retry { .. })), "{ended:?}");
        }
    }
}

#[test]
fn what_the_host_says_keeps_its_disposition() {
    for (error, retries) in [
        (HttpError::Timeout, true),
        (HttpError::Unreachable(None), true),
        (HttpError::RateLimited(std::time::Duration::from_secs(7)), true),
        (HttpError::NeedsLogin("x".to_owned()), false),
        (HttpError::Denied("x".to_owned()), false),
    ] {
        let said = error.clone();
        let host = MockHost::new().provider("calendar", move |_| Err(said.clone()));
        for ended in everything(&host) {
            assert_eq!(matches!(ended, Err(PluginError::Retry { .. })), retries, "{error}: {ended:?}");
        }
    }
}

#[test]
fn a_list_that_never_ends_ends_the_run() {
    let endless = json!({ "items": [], "nextPageToken": "again", "calendars": { "primary": { "busy": [] } } });
    let host = answering(200, endless.to_string());
    let _ = host.poll::<Calendar>(config(), "sync", None);
    let query = json!({ "from": "2026-11-24", "to": "2026-11-25" });
    let _ = host.handle::<Calendar>(config(), Event::new("availability.query", query));
    assert!(host.calls().len() < 64, "{} calls", host.calls().len());
}

#[test]
fn an_answer_that_does_not_fit_is_asked_for_in_smaller_pages() {
    let host = MockHost::new().provider("calendar", |request| {
        let small = request.path.contains("maxResults=62");
        match small {
            true => Ok(HttpResponse {
                status: 200,
                headers: Vec::new(),
                body: b"{\"items\":[],\"nextSyncToken\":\"1\"}".to_vec(),
            }),
            false => Err(HttpError::ResponseTooLarge { status: 200, limit: 4 << 20 }),
        }
    });
    let mut cursor = None;
    for _ in 0..20 {
        let output = host.poll::<Calendar>(config(), "sync", cursor).unwrap();
        cursor = output.cursor;
        if !output.has_more {
            return;
        }
    }
    panic!("it never fits");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,20}".prop_map(Value::from),
        Just(json!("2026-11-24T09:00:00Z")),
        Just(json!("cancelled")),
    ];
    let names = [
        "id",
        "start",
        "end",
        "dateTime",
        "date",
        "items",
        "busy",
        "calendars",
        "primary",
        "errors",
        "status",
        "nextSyncToken",
        "nextPageToken",
        "attendees",
        "email",
        "extendedProperties",
        "private",
        "hub_uninvited",
        "etag",
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(names.to_vec()), inner), 0..6).prop_map(|members| {
                Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_answer_makes_it_panic(body in any_json(), status in prop::sample::select(vec![200_u16, 204, 400, 403, 404, 409, 410, 412, 500])) {
        for ended in everything(&answering(status, body.to_string())) {
            if let Err(error) = ended {
                prop_assert!(error.detail().message.len() <= 1_024);
            }
        }
    }
}
