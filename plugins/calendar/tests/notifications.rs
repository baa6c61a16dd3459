//! Notifications: who is believed, and what follows.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod support;

use calendar::{CHANNELS, Calendar};
use serde_json::{Value, json};
use support::{TOKEN, config, google, host, types};
use switchyard_sdk::host::{Host, KvOptions};
use switchyard_sdk::testing::MockHost;
use switchyard_sdk::{InboundRequest, PluginError, Received};

const ID: &str = "4ba78bf0-6a47-11e2-bcfd-0800200c9a66";
const RESOURCE: &str = "ret08u3rv24htgh289g";

fn knowing(channel: &str, resource: Option<&str>) -> MockHost {
    let host = host(&google());
    let list = json!({ "list": [{ "id": channel, "calendar": "primary", "resource_id": resource, "expires_at": 9e15 as u64 }] });
    host.kv_set(CHANNELS, list.to_string().as_bytes(), &KvOptions::default()).unwrap();
    // A successful run makes it durable.
    host.with::<Calendar, ()>(config(), |_| Ok(())).unwrap();
    host
}

fn request(headers: &[(&str, &str)]) -> InboundRequest {
    let request = InboundRequest::new("POST", "https://hub.test/in/src_0");
    headers.iter().fold(request, |request, (name, value)| request.with_header(name, value))
}

fn genuine(state: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![
        ("x-goog-channel-id", ID),
        ("x-goog-channel-token", TOKEN),
        ("x-goog-resource-id", RESOURCE),
        ("x-goog-resource-state", state),
        ("x-goog-message-number", "10"),
    ]
}

fn polls(received: &Received) -> bool {
    matches!(received, Received::Accepted { events, poll_now, .. } if events.is_empty() && *poll_now == ["sync"])
}

#[test]
fn the_published_cases_are_judged_as_published() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/vectors.json");
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let cases: Vec<&Value> = cases.iter().filter(|case| case["scheme"] == "channel-token-equality").collect();
    assert!(cases.len() >= 5, "only {} cases", cases.len());
    for case in cases {
        let stored = &case["inputs"]["stored_channel"];
        let host = knowing(stored["channel_id"].as_str().unwrap(), stored["resource_id"].as_str());
        let headers = case["inputs"]["headers"].as_object().unwrap();
        let request =
            headers.iter().fold(InboundRequest::new("POST", "https://hub.test/in/src_0"), |request, (name, value)| {
                request.with_header(name, value.as_str().unwrap())
            });
        let received = host.receive::<Calendar>(config(), request).unwrap();
        let valid = case["expected"]["valid"] == true;
        assert_eq!(polls(&received), valid, "{}", case["id"]);
        assert_eq!(matches!(received, Received::Unauthenticated(_)), !valid, "{}", case["id"]);
    }
}

#[test]
fn nothing_is_believed_without_the_token_or_with_another_resource() {
    let host = knowing(ID, Some(RESOURCE));
    let spoilt: [(&str, Option<&str>); 6] = [
        ("x-goog-channel-token", None),
        ("x-goog-channel-token", Some("")),
        ("x-goog-channel-token", Some("398348u3tu83ut8uu3")),
        ("x-goog-channel-id", None),
        ("x-goog-resource-id", None),
        ("x-goog-resource-id", Some("another")),
    ];
    for (name, value) in spoilt {
        let mut headers = genuine("exists");
        headers.retain(|(known, _)| *known != name);
        headers.extend(value.map(|value| (name, value)));
        let received = host.receive::<Calendar>(config(), request(&headers)).unwrap();
        assert!(matches!(received, Received::Unauthenticated(_)), "{name} {value:?}");
    }
    let mut twice = genuine("exists");
    twice.push(("X-Goog-Channel-Token", TOKEN));
    let received = host.receive::<Calendar>(config(), request(&twice)).unwrap();
    assert!(matches!(received, Received::Unauthenticated(_)));
}

#[test]
fn without_a_bound_secret_a_notification_waits_instead_of_being_refused() {
    let host = MockHost::new();
    let error = host.receive::<Calendar>(config(), request(&genuine("exists"))).unwrap_err();
    assert!(matches!(error, PluginError::Retry { .. }), "{error}");
}

#[test]
fn a_first_message_before_the_answer_is_believed_and_a_state_of_drive_is_not() {
    let host = knowing(ID, None);
    assert!(polls(&host.receive::<Calendar>(config(), request(&genuine("sync"))).unwrap()));
    let error = host.receive::<Calendar>(config(), request(&genuine("trash"))).unwrap_err();
    assert!(matches!(error, PluginError::Reject(_)), "{error}");
}

#[test]
fn an_orphan_is_answered_and_stopped_once_its_resource_is_known() {
    let google = google();
    let host = host(&google);
    let received = host.receive::<Calendar>(config(), request(&genuine("exists"))).unwrap();
    let Received::Accepted { events, poll_now, .. } = received else { panic!("{received:?}") };
    assert!(poll_now.is_empty() && types(&events) == ["_calendar.orphan"]);
    let mut orphan = switchyard_sdk::Event::new("_calendar.orphan", events[0].data.clone());
    orphan.subject = events[0].subject.clone();
    assert!(host.handle::<Calendar>(config(), orphan).unwrap().events.is_empty());
    assert_eq!(google.borrow().stopped, [ID]);
}

#[test]
fn channels_are_made_kept_before_the_call_replaced_with_overlap_and_stopped_at_the_end() {
    let google = google();
    let host = host(&google);
    let poll = || host.poll::<Calendar>(config(), "channels", None).unwrap();
    let next = poll().next_in.unwrap().as_secs();
    assert_eq!(google.borrow().channels.len(), 1);
    assert_eq!(google.borrow().channels[0]["token"], "{{secret:channel.secret}}");
    assert!(next <= 6 * 3600, "{next}");
    let _ = poll();
    assert_eq!(google.borrow().channels.len(), 1, "a good channel is kept");
    // A day before its end.
    host.advance(6 * 86_400_000 + 60_000);
    let _ = poll();
    let book = google.borrow();
    assert_eq!(book.channels.len(), 2);
    assert_ne!(book.channels[0]["id"], book.channels[1]["id"]);
    assert_eq!(book.stopped, [book.channels[0]["id"].as_str().unwrap()]);
    drop(book);
    host.uninstall::<Calendar>(config()).unwrap();
    assert_eq!(google.borrow().stopped.len(), 2);
    let calls = host.calls();
    let watch = calls.iter().rposition(|call| call.ends_with("/watch")).unwrap();
    assert!(calls.iter().position(|call| call.ends_with("/stop")).unwrap() > watch, "the old one stops after the new");
}

#[test]
fn a_calendar_that_cannot_be_watched_rests_longer_and_longer_and_is_polled_all_the_same() {
    let google = google();
    let host = host(&google);
    for _ in 0..2 {
        let lost = (switchyard_sdk::host::Method::Post, 403, support::failure(403, "forbidden"));
        google.borrow_mut().instead.push(lost);
    }
    let first = host.poll::<Calendar>(config(), "channels", None).unwrap().next_in.unwrap();
    let _ = host.poll::<Calendar>(config(), "channels", None).unwrap();
    assert_eq!(google.borrow().instead.len(), 1, "it rests");
    host.advance(301_000);
    let second = host.poll::<Calendar>(config(), "channels", None).unwrap().next_in.unwrap();
    assert!(second > first, "{first:?} {second:?}");
    assert!(host.poll::<Calendar>(config(), "sync", None).is_ok());
    host.advance(601_000);
    let _ = host.poll::<Calendar>(config(), "channels", None).unwrap();
    assert_eq!(google.borrow().channels.len(), 1);
}
