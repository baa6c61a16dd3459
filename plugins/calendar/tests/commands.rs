//! Commands: appointments made, changed and cancelled once, and never two of one resource at a time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod support;

use calendar::Calendar;
use serde_json::{Value, json};
use support::{Google, config, google, host, keys, timed, types};
use switchyard_sdk::testing::{MockHost, REFERENCE};
use switchyard_sdk::{Emit, Event, PluginError, Reason};

fn handle(host: &MockHost, name: &str, data: Value) -> Result<Vec<Emit>, PluginError> {
    with(host, config(), name, data)
}

fn with(host: &MockHost, config: Value, name: &str, data: Value) -> Result<Vec<Emit>, PluginError> {
    host.handle::<Calendar>(config, Event::new(name, data)).map(|output| output.events)
}

fn visit() -> Value {
    json!({ "title": "Besøg", "start": "2026-11-24T09:00", "duration_minutes": 60 })
}

fn code(result: Result<Vec<Emit>, PluginError>) -> String {
    match result.unwrap_err() {
        PluginError::Reject(detail) => detail.code,
        other => panic!("{other}"),
    }
}

fn own() -> String {
    format!("hub{REFERENCE}")
}

fn start(google: &Google, id: &str) -> Value {
    google.borrow().events[&("primary".to_owned(), id.to_owned())]["start"]["dateTime"].clone()
}

#[test]
fn an_appointment_is_made_under_an_id_that_follows_from_the_command() {
    let google = google();
    let host = host(&google);
    let made = handle(&host, "appointment.create", visit()).unwrap();
    assert_eq!(types(&made), ["appointment.created"]);
    assert_eq!(keys(&made), [format!("gcal:primary:event:{}:created", own())]);
    assert_eq!(made[0].subject.as_deref(), Some(own().as_str()));
    assert_eq!(made[0].data["start"], "2026-11-24T09:00:00+01:00");
    assert_eq!(made[0].data["end"], "2026-11-24T10:00:00+01:00");
    assert_eq!(made[0].data["hub_ref"], REFERENCE);
    // The same delivery once more, as after a journal that was discarded: nothing more happens.
    let again = handle(&host, "appointment.create", visit()).unwrap();
    assert_eq!((keys(&again), google.borrow().live("primary").len()), (keys(&made), 1));
}

#[test]
fn a_key_of_the_command_makes_one_appointment_of_two_commands() {
    let google = google();
    let host = host(&google);
    let keyed = json!({ "title": "Besøg", "start": "2026-11-24T09:00", "key": "sale-1" });
    let first = handle(&host, "appointment.create", keyed.clone()).unwrap();
    host.next_reference("ffffffffffffffffffffffffffffffff");
    let second = handle(&host, "appointment.create", keyed).unwrap();
    assert_eq!((keys(&first), google.borrow().live("primary").len()), (keys(&second), 1));
}

#[test]
fn a_repeated_insert_that_is_answered_409_is_done_if_the_event_is_ours() {
    let google = google();
    let host = host(&google);
    let insert = || (switchyard_sdk::host::Method::Post, 409, support::failure(409, "duplicate"));
    let mut there = timed(&own(), "2026-11-24T09:00:00+01:00", "2026-11-24T10:00:00+01:00");
    there["extendedProperties"] = json!({ "private": { "hub_ref": REFERENCE } });
    let mut allowing = config();
    allowing["calendars"] = json!([{ "id": "primary", "allow_overlap": true }]);
    google.borrow_mut().put("primary", there);
    google.borrow_mut().instead.push(insert());
    assert_eq!(types(&with(&host, allowing.clone(), "appointment.create", visit()).unwrap()), ["appointment.created"]);
    google.borrow_mut().cancel("primary", &own());
    google.borrow_mut().instead.push(insert());
    assert_eq!(code(with(&host, allowing.clone(), "appointment.create", visit())), "cancelled_meanwhile");
    google.borrow_mut().put(
        "primary",
        json!({ "id": own(), "status": "confirmed", "extendedProperties": { "private": { "hub_ref": "x" } } }),
    );
    google.borrow_mut().instead.push(insert());
    assert_eq!(code(with(&host, allowing, "appointment.create", visit())), "id_taken");
}

#[test]
fn a_time_that_is_taken_is_refused_with_words_and_nothing_is_written() {
    let google = google();
    google.borrow_mut().put("primary", timed("abcde", "2026-11-24T08:30:00Z", "2026-11-24T09:30:00Z"));
    let host = host(&google);
    let error = handle(&host, "appointment.create", visit()).unwrap_err();
    let detail = error.detail();
    assert_eq!((&detail.reason, detail.code.as_str()), (&Reason::BadData, "slot_taken"));
    assert!(detail.message.contains("2026-11-24T09:30:00+01:00"), "{}", detail.message);
    assert_eq!(google.borrow().live("primary").len(), 1);
    // What is free, cancelled or declined takes no time, and times that touch do not overlap.
    let mut book = google.borrow_mut();
    book.put("primary", json!({ "id": "abcde", "end": { "dateTime": "2026-11-24T09:00:00+01:00" }, "start": { "dateTime": "2026-11-24T08:00:00+01:00" } }));
    drop(book);
    assert!(handle(&host, "appointment.create", visit()).is_ok());
}

#[test]
fn appointments_of_calendars_that_share_a_resource_never_overlap() {
    let google = google();
    google.borrow_mut().put("van", timed("abcde", "2026-11-24T08:30:00Z", "2026-11-24T09:30:00Z"));
    let host = host(&google);
    let mut shared = config();
    shared["calendars"] = json!([{ "id": "primary" }, { "id": "van" }, { "id": "other" }]);
    assert!(with(&host, shared.clone(), "appointment.create", visit()).is_ok(), "they share nothing yet");
    host.next_reference("ffffffffffffffffffffffffffffffff");
    shared["resources"] = json!([{ "name": "van", "calendars": ["other", "van"] }]);
    let mut command = visit();
    command["calendar_id"] = json!("other");
    assert_eq!(code(with(&host, shared, "appointment.create", command)), "slot_taken");
}

#[test]
fn a_second_command_finds_the_time_reserved_while_the_first_is_not_to_be_seen_yet() {
    let google = google();
    let host = host(&google);
    handle(&host, "appointment.create", visit()).unwrap();
    // Google does not show it yet.
    google.borrow_mut().events.clear();
    host.next_reference("ffffffffffffffffffffffffffffffff");
    let error = handle(&host, "appointment.create", visit()).unwrap_err();
    assert!(matches!(&error, PluginError::Retry { error, after: Some(_) } if error.code == "slot_reserved"), "{error}");
    // The first one came to nothing.
    host.advance(61_000);
    assert!(handle(&host, "appointment.create", visit()).is_ok());
}

#[test]
fn a_race_with_somebody_outside_ends_with_whoever_was_first() {
    let rival = |created: &str| {
        let mut rival = timed("zzzzz", "2026-11-24T08:30:00Z", "2026-11-24T09:30:00Z");
        rival["created"] = json!(created);
        rival
    };
    for (created, ours_stays) in
        [("2026-11-20T11:00:00.000Z", false), ("2026-11-20T12:00:01.000Z", false), ("2026-11-20T13:00:00.000Z", true)]
    {
        let google = google();
        let host = host(&google);
        google.borrow_mut().rival = Some(rival(created));
        let result = handle(&host, "appointment.create", visit());
        assert_eq!(result.is_ok(), ours_stays, "{created}");
        let live: Vec<Value> = google.borrow().live("primary").iter().map(|event| event["id"].clone()).collect();
        assert_eq!(live.contains(&json!(own())), ours_stays, "{created}");
        assert!(live.contains(&json!("zzzzz")));
        if !ours_stays {
            assert_eq!(code(result), "slot_taken");
        }
    }
}

#[test]
fn only_who_consented_is_invited_and_the_others_are_noted() {
    let google = google();
    let host = host(&google);
    let mut command = visit();
    command["attendees"] = json!([
        { "email": "yes@example.test", "name": "Ja", "consent": true },
        { "email": "YES@example.test", "consent": true },
        { "email": "no@example.test", "consent": false },
        { "email": "silent@example.test", "phone": "+4520123456" },
    ]);
    let made = handle(&host, "appointment.create", command).unwrap();
    let event = google.borrow().live("primary")[0].clone();
    assert_eq!(event["attendees"], json!([{ "email": "yes@example.test", "displayName": "Ja" }]));
    assert_eq!(event.to_string().matches("no@example.test").count(), 1, "only in the private note: {event}");
    assert!(host.requests().iter().any(|request| request.path.contains("sendUpdates=all")));
    let uninvited = made[0].data["uninvited"].as_array().unwrap();
    assert_eq!((uninvited.len(), &uninvited[1]["phone"]), (2, &json!("+4520123456")));
    assert_eq!(made[0].data["attendees"].as_array().unwrap().len(), 1);
    // Without anybody who consented nobody gets mail.
    let host = self::host(&google);
    host.next_reference("ffffffffffffffffffffffffffffffff");
    let mut silent = json!({ "title": "x", "start": "2026-11-25T09:00" });
    silent["attendees"] = json!([{ "email": "no@example.test" }]);
    handle(&host, "appointment.create", silent).unwrap();
    assert!(host.requests().iter().all(|request| !request.path.contains("sendUpdates=all")));
    let nobody = json!({ "title": "x", "start": "2026-11-26T09:00", "attendees": [{ "name": "x", "consent": true }] });
    assert_eq!(code(handle(&host, "appointment.create", nobody)), "bad_command");
}

#[test]
fn times_that_do_not_exist_or_make_no_sense_are_refused_with_the_field() {
    let host = host(&google());
    for (field, data) in [
        ("start", json!({ "title": "x", "start": "2026-03-29T02:30" })),
        ("end", json!({ "title": "x", "start": "2026-11-24T09:00", "end": "2026-11-24T08:00" })),
        ("end", json!({ "title": "x", "start": "2026-11-24T09:00", "end": "2026-11-25" })),
        ("time_zone", json!({ "title": "x", "start": "2026-11-24T09:00", "time_zone": "Mars/Olympus" })),
        ("service", json!({ "title": "x", "start": "2026-11-24T09:00", "service": "unknown" })),
        ("calendar_id", json!({ "title": "x", "start": "2026-11-24T09:00", "calendar_id": "unknown" })),
    ] {
        let error = handle(&host, "appointment.create", data).unwrap_err();
        assert!(
            matches!(&error, PluginError::Reject(detail) if detail.details.as_ref().unwrap()["field"] == field),
            "{error}"
        );
    }
    assert!(host.calls().is_empty());
}

#[test]
fn a_service_says_how_long_and_a_day_is_a_whole_day() {
    let google = google();
    let host = host(&google);
    let mut services = config();
    services["services"] = json!([{ "name": "cleaning", "duration_minutes": 150 }]);
    let command = json!({ "title": "x", "start": "2026-11-24T09:00", "service": "cleaning" });
    let made = with(&host, services, "appointment.create", command).unwrap();
    assert_eq!(made[0].data["end"], "2026-11-24T11:30:00+01:00");
    host.next_reference("ffffffffffffffffffffffffffffffff");
    let made = handle(&host, "appointment.create", json!({ "title": "x", "start": "2026-12-24" })).unwrap();
    assert_eq!((&made[0].data["all_day"], &made[0].data["end"]), (&json!(true), &json!("2026-12-25")));
}

#[test]
fn a_move_keeps_the_length_and_says_what_was_before() {
    let google = google();
    let host = host(&google);
    google.borrow_mut().put("primary", timed("abcde", "2026-11-24T08:00:00Z", "2026-11-24T09:30:00Z"));
    let command = json!({ "appointment_id": "abcde", "start": "2026-11-24T14:00" });
    let moved = handle(&host, "appointment.update", command).unwrap();
    assert_eq!(types(&moved), ["appointment.updated"]);
    assert_eq!(moved[0].data["changed"], json!(["start", "end"]));
    assert_eq!(moved[0].data["end"], "2026-11-24T15:30:00+01:00");
    assert_eq!(moved[0].data["previous"]["start"], "2026-11-24T08:00:00Z");
    assert_eq!(keys(&moved), ["gcal:primary:event:abcde:updated:2"]);
    host.next_reference("ffffffffffffffffffffffffffffffff");
    let title = json!({ "appointment_id": "abcde", "title": "Andet" });
    assert_eq!(handle(&host, "appointment.update", title).unwrap()[0].data["changed"], json!(["title"]));
}

#[test]
fn a_change_meets_another_change_and_is_applied_again_three_times_at_most() {
    let google = google();
    let host = host(&google);
    google.borrow_mut().put("primary", timed("abcde", "2026-11-24T08:00:00Z", "2026-11-24T09:00:00Z"));
    let command = || json!({ "appointment_id": "abcde", "start": "2026-11-24T14:00" });
    google.borrow_mut().meddle = 2;
    assert_eq!(types(&handle(&host, "appointment.update", command()).unwrap()), ["appointment.updated"]);
    host.next_reference("ffffffffffffffffffffffffffffffff");
    google.borrow_mut().meddle = 3;
    let again = json!({ "appointment_id": "abcde", "start": "2026-11-24T16:00" });
    let error = handle(&host, "appointment.update", again).unwrap_err();
    assert!(matches!(&error, PluginError::Retry { error, .. } if error.code == "changed_meanwhile"), "{error}");
}

#[test]
fn a_change_whose_answer_was_lost_is_recognised() {
    let google = google();
    let host = host(&google);
    let mut moved = timed("abcde", "2026-11-24T13:00:00Z", "2026-11-24T14:00:00Z");
    moved["extendedProperties"] = json!({ "private": { "hub_last": REFERENCE } });
    google.borrow_mut().put("primary", moved);
    handle(&host, "appointment.update", json!({ "appointment_id": "abcde", "start": "2026-11-24T14:00" })).unwrap();
    assert_eq!(host.calls(), ["GET /calendars/primary/events/abcde"]);
}

#[test]
fn a_move_onto_taken_time_is_refused_and_one_that_was_overtaken_goes_back() {
    let google = google();
    let host = host(&google);
    google.borrow_mut().put("primary", timed("abcde", "2026-11-24T08:00:00Z", "2026-11-24T09:00:00Z"));
    google.borrow_mut().put("primary", timed("fghij", "2026-11-24T13:00:00Z", "2026-11-24T14:00:00Z"));
    let onto = json!({ "appointment_id": "abcde", "start": "2026-11-24T14:30" });
    assert_eq!(code(handle(&host, "appointment.update", onto)), "slot_taken");
    assert_eq!(start(&google, "abcde"), "2026-11-24T08:00:00Z");
    google.borrow_mut().rival = Some(timed("zzzzz", "2026-11-24T15:00:00Z", "2026-11-24T16:00:00Z"));
    let overtaken = json!({ "appointment_id": "abcde", "start": "2026-11-24T16:30" });
    assert_eq!(code(handle(&host, "appointment.update", overtaken)), "slot_taken");
    assert_eq!(start(&google, "abcde"), "2026-11-24T08:00:00Z");
}

#[test]
fn a_cancelled_appointment_is_cancelled_once_more_without_harm() {
    let google = google();
    let host = host(&google);
    google.borrow_mut().put("primary", timed("abcde", "2026-11-24T08:00:00Z", "2026-11-24T09:00:00Z"));
    let command = || json!({ "appointment_id": "abcde" });
    let first = handle(&host, "appointment.cancel", command()).unwrap();
    assert_eq!((types(&first), first[0].data["title"].clone()), (vec!["appointment.cancelled"], json!("Besøg")));
    let second = handle(&host, "appointment.cancel", command()).unwrap();
    assert_eq!(keys(&first), keys(&second));
    assert_eq!(code(handle(&host, "appointment.cancel", json!({ "appointment_id": "nobody" }))), "bad_command");
    assert_eq!(
        code(handle(&host, "appointment.update", json!({ "appointment_id": "abcde", "title": "x" }))),
        "cancelled_meanwhile"
    );
}

#[test]
fn travel_is_kept_between_places_and_not_within_one() {
    let google = google();
    let host = host(&google);
    let mut there = timed("abcde", "2026-11-24T07:00:00Z", "2026-11-24T08:00:00Z");
    there["location"] = json!("Nygade 1, 8000 Aarhus");
    google.borrow_mut().put("primary", there);
    let mut travelling = config();
    travelling["travel_buffer_minutes"] = json!(30);
    let mut command = visit();
    command["location"] = json!("Vestergade 9");
    assert_eq!(code(with(&host, travelling.clone(), "appointment.create", command.clone())), "slot_taken");
    command["location"] = json!("nygade 1 8000 aarhus");
    assert!(with(&host, travelling, "appointment.create", command).is_ok());
}

#[test]
fn a_write_that_was_done_and_whose_answer_cannot_be_read_is_looked_at_and_not_done_again() {
    let google = google();
    let host = host(&google);
    let mut there = timed(&own(), "2026-11-24T09:00:00+01:00", "2026-11-24T10:00:00+01:00");
    there["extendedProperties"] = json!({ "private": { "hub_ref": REFERENCE } });
    let mut allowing = config();
    allowing["calendars"] = json!([{ "id": "primary", "allow_overlap": true }]);
    google.borrow_mut().put("primary", there);
    google.borrow_mut().instead.push((switchyard_sdk::host::Method::Post, 200, json!("spoilt")));
    assert_eq!(types(&with(&host, allowing, "appointment.create", visit()).unwrap()), ["appointment.created"]);
    assert_eq!(host.calls().iter().filter(|call| call.starts_with("POST")).count(), 1);
}
