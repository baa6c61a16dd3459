//! Queries for free time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod support;

use calendar::Calendar;
use serde_json::{Value, json};
use support::{config, google, host, timed, types};
use switchyard_sdk::testing::MockHost;
use switchyard_sdk::{Event, PluginError};

fn ask(host: &MockHost, config: Value, data: Value) -> Value {
    let mut asked = Event::new("availability.query", data);
    asked.id = "evt_query".to_owned();
    let output = host.handle::<Calendar>(config, asked).unwrap();
    assert_eq!(types(&output.events), ["availability.found"]);
    assert_eq!(output.events[0].subject.as_deref(), Some("evt_query"));
    output.events[0].data.clone()
}

fn starts(found: &Value) -> Vec<&str> {
    found["slots"].as_array().unwrap().iter().map(|slot| slot["start"].as_str().unwrap()).collect()
}

fn day(day: &str, next: &str) -> Value {
    json!({ "from": day, "to": next, "duration_minutes": 120, "slot_step_minutes": 60 })
}

#[test]
fn free_time_is_business_hours_less_what_is_taken() {
    let google = google();
    google.borrow_mut().put("primary", timed("abcde", "2026-11-24T09:30:00Z", "2026-11-24T11:00:00Z"));
    let found = ask(&host(&google), config(), day("2026-11-24", "2026-11-25"));
    assert_eq!(
        starts(&found),
        [
            "2026-11-24T08:00:00+01:00",
            "2026-11-24T12:00:00+01:00",
            "2026-11-24T13:00:00+01:00",
            "2026-11-24T14:00:00+01:00",
            "2026-11-24T15:00:00+01:00"
        ]
    );
    assert_eq!((&found["duration_minutes"], &found["time_zone"]), (&json!(120), &json!("Europe/Copenhagen")));
    // A Saturday, a holiday, yesterday, and a day beyond the horizon.
    let mut closed = config();
    closed["holidays"] = json!(["2026-11-25"]);
    for (from, to) in [
        ("2026-11-21", "2026-11-22"),
        ("2026-11-25", "2026-11-26"),
        ("2026-11-19", "2026-11-20"),
        ("2027-04-01", "2027-04-02"),
    ] {
        assert_eq!(starts(&ask(&host(&google), closed.clone(), day(from, to))), Vec::<&str>::new(), "{from}");
    }
}

#[test]
fn travel_keeps_a_distance_from_other_places() {
    let google = google();
    let mut there = timed("abcde", "2026-11-24T10:00:00Z", "2026-11-24T11:00:00Z");
    there["location"] = json!("Nygade 1");
    google.borrow_mut().put("primary", there);
    let mut query = day("2026-11-24", "2026-11-25");
    query["duration_minutes"] = json!(180);
    let first = |query: &Value| ask(&host(&google), config(), query.clone())["slots"][0]["start"].clone();
    assert_eq!(first(&query), "2026-11-24T08:00:00+01:00");
    query["travel_buffer_minutes"] = json!(30);
    assert_eq!(first(&query), "2026-11-24T13:00:00+01:00");
    query["location"] = json!("NYGADE 1");
    assert_eq!(first(&query), "2026-11-24T08:00:00+01:00");
}

#[test]
fn slots_name_the_calendars_that_are_free_and_a_shared_resource_takes_both() {
    let google = google();
    google.borrow_mut().put("one", timed("abcde", "2026-11-24T07:00:00Z", "2026-11-24T16:00:00Z"));
    google.borrow_mut().put("van", timed("abcde", "2026-11-24T07:00:00Z", "2026-11-24T09:00:00Z"));
    let mut config = config();
    config["calendars"] = json!([{ "id": "one" }, { "id": "two" }, { "id": "van" }]);
    config["resources"] = json!([{ "name": "van", "calendars": ["two", "van"] }]);
    let mut query = day("2026-11-24", "2026-11-25");
    query["calendar_ids"] = json!(["one", "two"]);
    let found = ask(&host(&google), config.clone(), query.clone());
    assert_eq!(
        found["slots"][0],
        json!({ "start": "2026-11-24T10:00:00+01:00", "end": "2026-11-24T12:00:00+01:00", "calendar_ids": ["two"] })
    );
    // A calendar that does not say when it is free is offered nothing, and named.
    google.borrow_mut().freebusy_error = Some(("van".to_owned(), "notFound".to_owned()));
    let found = ask(&host(&google), config, query);
    assert_eq!(
        (starts(&found), &found["errors"]),
        (Vec::new(), &json!([{ "calendar_id": "two", "reason": "notFound" }]))
    );
}

#[test]
fn answers_come_in_the_zone_that_was_asked_for_and_the_day_the_clocks_change() {
    let google = google();
    let mut config = config();
    config["horizon_days"] = json!(366);
    config["business_hours"] = json!({ "sun": [{ "from": "00:00", "to": "06:00" }] });
    let query = json!({ "from": "2027-03-28", "to": "2027-03-29", "duration_minutes": 60, "slot_step_minutes": 60 });
    let host = host(&google);
    assert_eq!(
        starts(&ask(&host, config.clone(), query)),
        [
            "2027-03-28T00:00:00+01:00",
            "2027-03-28T01:00:00+01:00",
            "2027-03-28T03:00:00+02:00",
            "2027-03-28T04:00:00+02:00",
            "2027-03-28T05:00:00+02:00"
        ]
    );
    let there = json!({
        "from": "2027-03-27T20:00", "to": "2027-03-28T00:00", "time_zone": "America/New_York", "duration_minutes": 60,
        "slot_step_minutes": 60
    });
    let found = ask(&host, config, there);
    assert_eq!((starts(&found).len(), starts(&found)[0]), (4, "2027-03-27T20:00:00-04:00"));
}

#[test]
fn a_window_that_makes_no_sense_is_refused() {
    let host = host(&google());
    for (from, to) in [("2026-11-25", "2026-11-24"), ("2026-11-24", "2027-11-24"), ("tomorrow", "2026-11-24")] {
        let error = host.handle::<Calendar>(config(), Event::new("availability.query", day(from, to))).unwrap_err();
        assert!(matches!(&error, PluginError::Reject(detail) if detail.code == "bad_command"), "{error}");
    }
}
