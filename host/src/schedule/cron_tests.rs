//! Row D41: schedules around the hours that a zone leaves out or has twice.

use super::next_cron;
use crate::clock::Timestamp;

const ZONE: &str = "Europe/Copenhagen";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// When a schedule fires from a moment to another, each next time reckoned from the one before.
fn fires(expression: &str, from: &str, to: &str) -> Vec<String> {
    let (mut now, end) = (at(from), at(to));
    let mut fired = Vec::new();
    while let Some(next) = next_cron(expression, Some(ZONE), now).filter(|next| *next < end) {
        assert!(next > now, "it does not go on: {next}");
        fired.push(next.to_string());
        now = next;
    }
    fired
}

#[test]
fn d41_a_time_that_the_night_has_twice_fires_once() {
    // At 03:00 on 2026-10-25 it is 02:00 again.
    let fired = fires("30 2 * * *", "2026-10-23T22:00:00Z", "2026-10-26T22:00:00Z");
    assert_eq!(fired, ["2026-10-24T00:30:00.000Z", "2026-10-25T00:30:00.000Z", "2026-10-26T01:30:00.000Z"]);
}

#[test]
fn d41_a_time_that_the_night_leaves_out_fires_once_when_it_is_over() {
    // At 02:00 on 2026-03-29 it is 03:00.
    let fired = fires("30 2 * * *", "2026-03-27T23:00:00Z", "2026-03-30T22:00:00Z");
    assert_eq!(fired, ["2026-03-28T01:30:00.000Z", "2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"]);
}

#[test]
fn d41_what_fires_every_hour_fires_every_hour_that_there_is() {
    let hours = |day: &str, next: &str| fires("0 * * * *", day, next).len();
    // From midnight to midnight in Copenhagen, the first one left out since it is reckoned from there.
    assert_eq!(hours("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"), 22);
    assert_eq!(hours("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"), 24);
    assert_eq!(hours("2026-06-30T22:00:00Z", "2026-07-01T22:00:00Z"), 23);
}

#[test]
fn d41_runs_that_were_missed_are_made_up_for_by_one() {
    // A hub that was away for days reckons from its start, so that one is due and not one for each day.
    let next = next_cron("0 7 * * *", Some(ZONE), at("2026-06-10T09:00:00Z")).unwrap();
    assert_eq!(next, at("2026-06-11T05:00:00Z"));
}
