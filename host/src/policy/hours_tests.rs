use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::policy::settings;

fn hours(settings: &serde_json::Value) -> BusinessHours {
    let all = json!({ "business_hours": settings });
    settings::read(all.as_object().unwrap()).unwrap().expect("they are there")
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[track_caller]
fn opens(hours: &BusinessHours, zone: &TimeZone, from: &str, expected: &str) {
    let found = hours.opens(at(from), zone).expect("it opens");
    assert_eq!(found, at(expected), "from {from}: {found}");
}

#[test]
fn a_closed_evening_waits_for_the_morning_and_a_friday_for_monday() {
    let office = hours(&json!({"week": {"mon": ["08:00-16:00"], "tue": ["08:00-16:00"], "wed": ["08:00-16:00"],
        "thu": ["08:00-12:00", "13:00-16:00"], "fri": ["08:00-15:00"]}}));
    let here = zone("Europe/Copenhagen");
    assert!(office.is_open(at("2026-11-23T07:00:00Z"), &here) && !office.is_open(at("2026-11-23T06:59:59Z"), &here));
    assert!(!office.is_open(at("2026-11-23T15:00:00Z"), &here), "it closes at the stroke");
    opens(&office, &here, "2026-11-23T07:00:00Z", "2026-11-23T07:00:00Z");
    opens(&office, &here, "2026-11-23T15:00:00Z", "2026-11-24T07:00:00Z");
    opens(&office, &here, "2026-11-26T11:10:00Z", "2026-11-26T12:00:00Z");
    opens(&office, &here, "2026-11-27T14:00:00Z", "2026-11-30T07:00:00Z");
}

#[test]
fn holidays_are_closed_and_named_days_have_hours_of_their_own() {
    let office = hours(&json!({"week": {"thu": ["08:00-16:00"], "fri": ["08:00-16:00"], "mon": ["08:00-16:00"]},
        "holidays": ["2026-12-24", "2026-12-25"], "days": {"2026-12-26": ["10:00-12:00"]}}));
    let here = zone("Europe/Copenhagen");
    opens(&office, &here, "2026-12-24T08:00:00Z", "2026-12-26T09:00:00Z");
    opens(&office, &here, "2026-12-26T11:00:00Z", "2026-12-28T07:00:00Z");
}

#[test]
fn an_hour_that_is_left_out_is_not_waited_for() {
    // On 2026-03-29 the clock in Copenhagen goes from 02:00 to 03:00, at 01:00 UTC.
    let here = zone("Europe/Copenhagen");
    let night = |parts: serde_json::Value| hours(&json!({"week": {"sun": parts, "mon": ["09:00-10:00"]}}));
    opens(&night(json!(["02:00-05:00"])), &here, "2026-03-28T23:30:00Z", "2026-03-29T01:00:00Z");
    opens(&night(json!(["02:30-05:00"])), &here, "2026-03-28T23:30:00Z", "2026-03-29T01:00:00Z");
    opens(&night(json!(["02:10-02:50"])), &here, "2026-03-28T23:30:00Z", "2026-03-30T07:00:00Z");
    opens(&night(json!(["03:00-05:00"])), &here, "2026-03-28T23:30:00Z", "2026-03-29T01:00:00Z");
    opens(&night(json!(["08:00-09:00"])), &here, "2026-03-28T23:30:00Z", "2026-03-29T06:00:00Z");
}

#[test]
fn an_hour_that_comes_twice_is_open_twice() {
    // On 2026-10-25 the clock in Copenhagen goes from 03:00 back to 02:00, at 01:00 UTC.
    let here = zone("Europe/Copenhagen");
    let night = hours(&json!({"week": {"sun": ["02:15-02:45"], "mon": ["09:00-10:00"]}}));
    opens(&night, &here, "2026-10-24T22:30:00Z", "2026-10-25T00:15:00Z");
    opens(&night, &here, "2026-10-25T00:45:00Z", "2026-10-25T01:15:00Z");
    opens(&night, &here, "2026-10-25T01:45:00Z", "2026-10-26T08:00:00Z");
    // Closed for half an hour, and open again when the clock is put back.
    let early = hours(&json!({"week": {"sun": ["01:00-02:30"]}}));
    opens(&early, &here, "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z");
}

#[test]
fn zones_that_move_at_midnight_or_by_half_an_hour_are_followed() {
    // In Beirut 2022-03-27 began at 01:00, and on Lord Howe half an hour is left out.
    let open = hours(&json!({"week": {"sun": ["00:00-06:00"], "mon": ["00:00-24:00"]}}));
    opens(&open, &zone("Asia/Beirut"), "2022-03-26T21:59:00Z", "2022-03-26T22:00:00Z");
    let late = hours(&json!({"week": {"sun": ["02:10-03:00"]}}));
    opens(&late, &zone("Australia/Lord_Howe"), "2026-10-03T12:00:00Z", "2026-10-03T15:30:00Z");
}

fn week() -> impl Strategy<Value = [Vec<Interval>; 7]> {
    let day = proptest::collection::btree_set(0_u16..=96, 0..5).prop_map(|edges| {
        let edges: Vec<u16> = edges.into_iter().map(|quarter| quarter * 15).collect();
        edges.chunks_exact(2).map(|pair| Interval { from: pair[0], to: pair[1] }).collect::<Vec<_>>()
    });
    proptest::array::uniform7(day).prop_filter("some hour is open", |week| week.iter().any(|day| !day.is_empty()))
}

proptest! {
    #[test]
    fn what_it_waits_for_is_the_first_open_minute(
        week in week(),
        start in 1_767_225_600_i64..1_798_761_600,
        place in proptest::sample::select(vec!["Europe/Copenhagen", "America/New_York", "Asia/Kathmandu",
            "Australia/Lord_Howe", "America/Sao_Paulo", "UTC"]),
    ) {
        let (hours, here) = (BusinessHours { commands: Vec::new(), week, days: BTreeMap::new() }, zone(place));
        let start = Timestamp(start * 1000);
        // A day of the week that is open may lie wholly in an hour that is left out, which is rare and once a year.
        let found = hours.opens(start, &here).expect("a week has an open hour");
        prop_assert!(found >= start);
        prop_assert!(hours.is_open(found, &here));
        let mut minute = start;
        while minute < found {
            prop_assert!(!hours.is_open(minute, &here), "open at {minute}, before {found}");
            minute = Timestamp(minute.0 + 60_000);
        }
    }
}
