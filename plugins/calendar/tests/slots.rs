//! Free slots: never in taken time, always in business hours, on days of 23, 24 and 25 hours.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use calendar::Config;
use calendar::config::Rules;
use calendar::slots::{free, merged, open_hours, without};
use calendar::time::{DAY, Span, read_exact, rfc3339, weekday};
use proptest::prelude::*;
use serde_json::{Value, json};

fn rules(more: Value) -> Rules {
    let mut config = json!({ "calendars": [{ "id": "primary" }], "time_zone": "Europe/Copenhagen" });
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    serde_json::from_value::<Config>(config).unwrap().rules().unwrap()
}

fn at(text: &str) -> i64 {
    match read_exact(text).unwrap() {
        calendar::time::Moment::At(at) => at,
        calendar::time::Moment::Day(_) => panic!("{text} is a day"),
    }
}

fn shown(spans: &[Span], rules: &Rules) -> Vec<(String, String)> {
    spans.iter().map(|span| (rfc3339(span.start, rules.zone), rfc3339(span.end, rules.zone))).collect()
}

fn pair(start: &str, end: &str) -> (String, String) {
    (start.to_owned(), end.to_owned())
}

#[test]
fn business_hours_keep_their_wall_clock_over_both_changes() {
    let rules = rules(
        json!({ "business_hours": { "fri": [{ "from": "08:00", "to": "09:00" }], "mon": [{ "from": "08:00", "to": "09:00" }] } }),
    );
    let spring = open_hours(&rules, Span::new(at("2026-03-27T00:00:00Z"), at("2026-03-31T00:00:00Z")));
    let both = [
        pair("2026-03-27T08:00:00+01:00", "2026-03-27T09:00:00+01:00"),
        pair("2026-03-30T08:00:00+02:00", "2026-03-30T09:00:00+02:00"),
    ];
    assert_eq!(shown(&spring, &rules), both);
    let autumn = open_hours(&rules, Span::new(at("2026-10-23T00:00:00Z"), at("2026-10-27T00:00:00Z")));
    let both = [
        pair("2026-10-23T08:00:00+02:00", "2026-10-23T09:00:00+02:00"),
        pair("2026-10-26T08:00:00+01:00", "2026-10-26T09:00:00+01:00"),
    ];
    assert_eq!(shown(&autumn, &rules), both);
}

#[test]
fn a_night_shift_has_an_hour_less_in_spring_and_one_more_in_autumn() {
    let rules = rules(json!({ "business_hours": { "sun": [{ "from": "00:00", "to": "06:00" }] } }));
    for (day, hours) in [("2026-03-29", 5), ("2026-10-25", 7), ("2026-11-01", 6)] {
        let noon = at(&format!("{day}T12:00:00Z"));
        let open = open_hours(&rules, Span::new(noon - 18 * 3600, noon));
        assert_eq!(open.len(), 1, "{day}");
        assert_eq!(open[0].end - open[0].start, hours * 3600, "{day}");
        let slots = free(&open, &[], 3600, 3600, 0, 100);
        assert_eq!(i64::try_from(slots.len()).unwrap(), hours, "{day}: {:?}", shown(&slots, &rules));
    }
    // Hours that begin inside the gap begin when the clocks have moved.
    let gap = self::rules(json!({ "business_hours": { "sun": [{ "from": "02:30", "to": "04:00" }] } }));
    let open = open_hours(&gap, Span::new(at("2026-03-28T12:00:00Z"), at("2026-03-29T12:00:00Z")));
    assert_eq!(shown(&open, &gap), [pair("2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00")]);
}

#[test]
fn whole_days_join_and_holidays_are_closed() {
    let all = json!([{ "from": "00:00", "to": "24:00" }]);
    let rules = rules(json!({
        "business_hours": { "mon": all, "tue": all, "wed": all, "thu": all, "fri": all, "sat": all, "sun": all },
        "holidays": ["2026-12-25"]
    }));
    let open = open_hours(&rules, Span::new(at("2026-12-24T12:00:00Z"), at("2026-12-27T12:00:00Z")));
    let both = [
        pair("2026-12-23T00:00:00+01:00", "2026-12-25T00:00:00+01:00"),
        pair("2026-12-26T00:00:00+01:00", "2026-12-29T00:00:00+01:00"),
    ];
    assert_eq!(open.len(), 2);
    assert_eq!(shown(&open, &rules)[0].1, both[0].1);
    assert_eq!(shown(&open, &rules)[1].0, both[1].0);
}

#[test]
fn slots_stand_on_the_step_from_the_beginning_of_the_hours() {
    let hours = [Span::new(8 * 3600, 12 * 3600)];
    let taken = [Span::new(9 * 3600 + 600, 9 * 3600 + 900)];
    let slots = free(&hours, &taken, 3600, 1800, 0, 100);
    let starts: Vec<i64> = slots.iter().map(|slot| slot.start / 60).collect();
    assert_eq!(starts, [480, 570, 600, 630, 660]);
    assert_eq!(free(&hours, &taken, 3600, 1800, 8 * 3600 + 1, 2).len(), 2);
    assert_eq!(free(&hours, &taken, 5 * 3600, 1800, 0, 100), []);
}

#[test]
fn what_is_known_is_taken_from_what_is_busy() {
    let span = Span::new;
    let busy = merged(vec![span(5, 9), span(0, 4), span(4, 6), span(20, 20)]);
    assert_eq!(busy, [span(0, 9)]);
    assert_eq!(without(&busy, &[span(1, 2), span(3, 5), span(8, 12)]), [span(0, 1), span(2, 3), span(5, 8)]);
    assert_eq!(without(&busy, &[span(0, 9)]), []);
    assert_eq!(without(&busy, &[]), busy);
}

proptest! {
    #[test]
    fn no_slot_touches_taken_time_or_leaves_the_hours_on_any_day_of_the_year(
        day in 20_600_i64..21_400,
        days in 1_i64..5,
        taken in prop::collection::vec((0_i64..10 * DAY, 1_i64..20_000), 0..25),
        length in 5_i64..600,
        step in 5_i64..180,
        from in 0_i64..10,
        lasts in 1_i64..14,
        holiday in 0_i64..10,
    ) {
        let hours = json!([{ "from": format!("{from:02}:15"), "to": format!("{:02}:15", (from + lasts).min(23)) }]);
        let mut rules = rules(json!({ "business_hours": { "mon": hours, "tue": hours, "wed": hours, "sun": hours } }));
        rules.holidays = vec![day + holiday];
        let window = Span::new(day * DAY, (day + days) * DAY);
        let taken: Vec<Span> =
            taken.into_iter().map(|(at, lasts)| Span::new(window.start + at, window.start + at + lasts)).collect();
        let open = open_hours(&rules, window);
        let slots = free(&open, &taken, length * 60, step * 60, window.start, 10_000);
        for slot in &slots {
            prop_assert_eq!(slot.end - slot.start, length * 60);
            prop_assert!(slot.start >= window.start);
            prop_assert!(!taken.iter().any(|busy| busy.overlaps(*slot)), "{:?}", slot);
            prop_assert!(open.iter().any(|hours| hours.common(*slot) == Some(*slot)), "{:?}", slot);
            // The wall clock is inside the hours of that day. Where it goes back within them, it shows an hour twice.
            let offset = rules.zone.offset_at(slot.start);
            let local = slot.start + i64::from(offset);
            let (its_day, clock) = (local.div_euclid(DAY), local.rem_euclid(DAY));
            prop_assert!([0, 1, 2, 6].contains(&weekday(its_day)) && its_day != day + holiday);
            let hours = open.iter().find(|hours| hours.common(*slot) == Some(*slot));
            let went_back = hours.is_some_and(|hours| rules.zone.offset_at(hours.start) > offset);
            prop_assert!(went_back || clock >= from * 3600 + 900);
        }
        // Nothing that fits on the step is left out: a slot more would be taken, outside or not on the step.
        for hours in &open {
            let mut start = hours.start;
            while start + length * 60 <= hours.end {
                let candidate = Span::new(start, start + length * 60);
                let fits = start >= window.start && !taken.iter().any(|busy| busy.overlaps(candidate));
                prop_assert!(!fits || slots.contains(&candidate), "{:?} is missing", candidate);
                start += step * 60;
            }
        }
    }
}
