//! The poll: what people do in a calendar becomes events, once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod support;

use calendar::Calendar;
use serde_json::{Value, json};
use support::{config, google, host, keys, timed, types};
use switchyard_sdk::testing::MockHost;
use switchyard_sdk::{Emit, Event};

/// Polls until nothing more is to be had.
fn poll(host: &MockHost, config: &Value, cursor: &mut Option<String>) -> Vec<Emit> {
    let mut all = Vec::new();
    for _ in 0..100 {
        let output = host.poll::<Calendar>(config.clone(), "sync", cursor.clone()).unwrap();
        *cursor = output.cursor;
        all.extend(output.events);
        if !output.has_more {
            return all;
        }
    }
    panic!("the poll does not end");
}

#[test]
fn what_was_there_is_remembered_and_what_happens_then_is_told() {
    let google = google();
    google.borrow_mut().put("primary", timed("abcde", "2026-11-24T08:00:00Z", "2026-11-24T09:00:00Z"));
    let (host, config, mut cursor) = (host(&google), config(), None);
    assert_eq!(poll(&host, &config, &mut cursor), []);
    assert_eq!(poll(&host, &config, &mut cursor), []);
    google.borrow_mut().put("primary", timed("fghij", "2026-11-25T08:00:00Z", "2026-11-25T09:00:00Z"));
    google.borrow_mut().put(
        "primary",
        json!({ "id": "abcde", "start": { "dateTime": "2026-11-24T09:00:00+02:00" }, "location": "Her" }),
    );
    let events = poll(&host, &config, &mut cursor);
    assert_eq!(types(&events), ["appointment.updated", "appointment.created"]);
    assert_eq!(events[0].data["changed"], json!(["start", "location"]));
    assert_eq!(events[0].data["previous"], json!({ "start": "2026-11-24T08:00:00Z", "end": "2026-11-24T09:00:00Z" }));
    google.borrow_mut().cancel("primary", "abcde");
    let events = poll(&host, &config, &mut cursor);
    assert_eq!(types(&events), ["appointment.cancelled"]);
    assert_eq!(
        (&events[0].data["title"], &events[0].data["start"]),
        (&json!("Besøg"), &json!("2026-11-24T09:00:00+02:00"))
    );
    assert_eq!(poll(&host, &config, &mut cursor), []);
    // It comes back: another life, under another key.
    google.borrow_mut().put("primary", json!({ "id": "abcde", "status": "confirmed" }));
    let back = poll(&host, &config, &mut cursor);
    assert_eq!(keys(&back), ["gcal:primary:event:abcde:created:2"]);
}

#[test]
fn an_answer_or_a_colour_is_no_change() {
    let google = google();
    let mut event = timed("abcde", "2026-11-24T08:00:00Z", "2026-11-24T09:00:00Z");
    event["attendees"] = json!([{ "email": "a@b.test", "responseStatus": "needsAction" }]);
    google.borrow_mut().put("primary", event);
    let (host, config, mut cursor) = (host(&google), config(), None);
    poll(&host, &config, &mut cursor);
    google.borrow_mut().put(
        "primary",
        json!({ "id": "abcde", "colorId": "3", "attendees": [{ "email": "a@b.test", "responseStatus": "accepted" }] }),
    );
    // The same time in another zone's writing is the same time.
    google.borrow_mut().put("primary", json!({ "id": "abcde", "start": { "dateTime": "2026-11-24T09:00:00+01:00" } }));
    assert_eq!(poll(&host, &config, &mut cursor), []);
    google.borrow_mut().put("primary", json!({ "id": "abcde", "attendees": [] }));
    assert_eq!(poll(&host, &config, &mut cursor)[0].data["changed"], json!(["attendees"]));
}

#[test]
fn a_lost_place_makes_a_full_list_of_which_only_differences_are_told() {
    let google = google();
    for n in 0..40 {
        google.borrow_mut().put("primary", timed(&format!("event{n}"), "2026-11-24T08:00:00Z", "2026-11-24T09:00:00Z"));
    }
    google.borrow_mut().page = 7;
    let (host, config, mut cursor) = (host(&google), config(), None);
    assert_eq!(poll(&host, &config, &mut cursor), []);
    google.borrow_mut().put("primary", timed("neweventa", "2026-11-24T10:00:00Z", "2026-11-24T11:00:00Z"));
    google.borrow_mut().cancel("primary", "event3");
    // Gone without a trace.
    google.borrow_mut().events.remove(&("primary".to_owned(), "event5".to_owned()));
    let changes = google.borrow().changes;
    google.borrow_mut().forgotten = changes + 1;
    host.advance(1_000);
    let first = host.poll::<Calendar>(config.clone(), "sync", cursor.clone()).unwrap();
    assert_eq!(types(&first.events)[0], "sync.reset");
    assert_eq!(first.events[0].data["reason"], "fullSyncRequired");
    google.borrow_mut().forgotten = 0;
    cursor = first.cursor;
    let mut events = first.events;
    events.extend(poll(&host, &config, &mut cursor));
    let mut told: Vec<(&str, &str)> =
        events.iter().skip(1).map(|event| (event.event_type.as_str(), event.subject.as_deref().unwrap())).collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            ("appointment.cancelled", "event3"),
            ("appointment.cancelled", "event5"),
            ("appointment.created", "neweventa")
        ]
    );
    assert_eq!(poll(&host, &config, &mut cursor), []);
}

#[test]
fn commands_and_polls_tell_a_fact_under_the_same_key() {
    let google = google();
    let (host, config, mut cursor) = (host(&google), config(), None);
    poll(&host, &config, &mut cursor);
    let told =
        |name: &str, data: Value| host.handle::<Calendar>(config.clone(), Event::new(name, data)).unwrap().events;
    let made = told("appointment.create", json!({ "title": "x", "start": "2026-11-24T09:00" }));
    let id = made[0].subject.clone().unwrap();
    assert_eq!(keys(&poll(&host, &config, &mut cursor)), keys(&made));
    let moved = told("appointment.update", json!({ "appointment_id": id, "start": "2026-11-24T12:00" }));
    assert_eq!(keys(&poll(&host, &config, &mut cursor)), keys(&moved));
    let cancelled = told("appointment.cancel", json!({ "appointment_id": id }));
    assert_eq!(keys(&poll(&host, &config, &mut cursor)), keys(&cancelled));
}

#[test]
fn many_events_are_told_in_several_runs_and_none_twice() {
    let google = google();
    let (host, config, mut cursor) = (host(&google), config(), None);
    poll(&host, &config, &mut cursor);
    for n in 0..3_000 {
        google.borrow_mut().put("primary", timed(&format!("event{n}"), "2026-11-24T08:00:00Z", "2026-11-24T09:00:00Z"));
    }
    let before = host.calls().len();
    let events = poll(&host, &config, &mut cursor);
    assert_eq!(events.len(), 3_000);
    let mut all = keys(&events);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 3_000);
    assert!(host.calls().len() - before < 60);
}

#[test]
fn a_week_later_everything_is_listed_again_and_what_is_over_is_forgotten() {
    let google = google();
    google.borrow_mut().put("primary", timed("abcde", "2026-11-21T08:00:00Z", "2026-11-21T09:00:00Z"));
    let (host, mut cursor) = (host(&google), None);
    let mut config = config();
    config["emit_existing"] = json!(true);
    assert_eq!(types(&poll(&host, &config, &mut cursor)), ["appointment.created"]);
    host.advance(7 * 86_400_000);
    assert_eq!(poll(&host, &config, &mut cursor), []);
    assert!(host.requests().iter().filter(|request| request.path.contains("timeMin")).count() >= 2);
    // Out of the window: forgotten without being told as cancelled.
    host.advance(60 * 86_400_000);
    assert_eq!(poll(&host, &config, &mut cursor), []);
}

#[test]
fn a_calendar_in_trouble_does_not_stop_the_others() {
    let google = google();
    let host = host(&google);
    let mut config = config();
    config["calendars"] = json!([{ "id": "primary" }, { "id": "second" }]);
    let mut cursor = None;
    poll(&host, &config, &mut cursor);
    google.borrow_mut().put("second", timed("abcde", "2026-11-24T08:00:00Z", "2026-11-24T09:00:00Z"));
    let lost = || (switchyard_sdk::host::Method::Get, 404, support::failure(404, "notFound"));
    google.borrow_mut().instead.push(lost());
    let output = host.poll::<Calendar>(config.clone(), "sync", cursor.clone()).unwrap();
    assert_eq!((types(&output.events), output.has_more), (vec!["appointment.created"], true));
    google.borrow_mut().instead.push(lost());
    let error = host.poll::<Calendar>(config.clone(), "sync", output.cursor).unwrap_err();
    assert!(error.to_string().contains("calendars[0].id"), "{error}");
}
