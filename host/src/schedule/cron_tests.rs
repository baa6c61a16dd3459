use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The next `count` times of an expression, as UTC.
fn times(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let cron = Cron::parse(expression, zone).unwrap();
    let mut now = at(after);
    let next = || {
        now = cron.next_after(now)?;
        Some(now.to_string())
    };
    std::iter::from_fn(next).take(count).collect()
}

const COPENHAGEN: &str = "Europe/Copenhagen";

#[test]
fn a_local_time_follows_its_zone_through_the_year() {
    assert_eq!(
        times("0 9 * * *", COPENHAGEN, "2026-03-27T12:00:00Z", 3),
        ["2026-03-28T08:00:00.000Z", "2026-03-29T07:00:00.000Z", "2026-03-30T07:00:00.000Z"]
    );
    assert_eq!(
        times("0 */6 * * *", "UTC", "2026-03-27T12:00:00Z", 2),
        ["2026-03-27T18:00:00.000Z", "2026-03-28T00:00:00.000Z"]
    );
    assert_eq!(times("@weekly", "UTC", "2026-11-21T00:00:00Z", 1), ["2026-11-22T00:00:00.000Z"]);
}

#[test]
fn a_local_time_that_the_clocks_leave_out_runs_once_when_they_go_on() {
    // On 29 March 2026 Copenhagen goes from 02:00 to 03:00, at 01:00 UTC.
    assert_eq!(
        times("30 2 * * *", COPENHAGEN, "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"]
    );
    // Several left out are one, and one with a time that there is at that moment.
    assert_eq!(
        times("*/15 2,3 * * *", COPENHAGEN, "2026-03-29T00:59:59Z", 2),
        ["2026-03-29T01:00:00.000Z", "2026-03-29T01:15:00.000Z"]
    );
}

#[test]
fn a_local_time_that_comes_twice_runs_once() {
    // On 25 October 2026 Copenhagen goes from 03:00 back to 02:00, at 01:00 UTC.
    assert_eq!(
        times("30 2 * * *", COPENHAGEN, "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00.000Z", "2026-10-26T01:30:00.000Z"]
    );
    assert_eq!(
        times("*/30 2 * * *", COPENHAGEN, "2026-10-24T12:00:00Z", 3),
        ["2026-10-25T00:00:00.000Z", "2026-10-25T00:30:00.000Z", "2026-10-26T01:00:00.000Z"],
        "also where there are several in the hour"
    );
}

#[test]
fn every_hour_goes_on_as_time_passes() {
    assert_eq!(
        times("30 * * * *", COPENHAGEN, "2026-10-24T23:00:00Z", 4),
        [
            "2026-10-24T23:30:00.000Z",
            "2026-10-25T00:30:00.000Z",
            "2026-10-25T01:30:00.000Z",
            "2026-10-25T02:30:00.000Z"
        ]
    );
    assert_eq!(
        times("30 * * * *", COPENHAGEN, "2026-03-29T00:00:00Z", 3),
        ["2026-03-29T00:30:00.000Z", "2026-03-29T01:30:00.000Z", "2026-03-29T02:30:00.000Z"]
    );
    assert_eq!(
        times("*/20 * * * *", COPENHAGEN, "2026-10-25T00:45:00Z", 2),
        ["2026-10-25T01:00:00.000Z", "2026-10-25T01:20:00.000Z"]
    );
}

#[test]
fn the_next_time_is_later_than_now_around_every_change_of_clocks() {
    let zones =
        [COPENHAGEN, "America/New_York", "Australia/Lord_Howe", "America/Nuuk", "Asia/Beirut", "Pacific/Chatham"];
    let expressions = ["30 2 * * *", "*/7 * * * *", "0 0 * * *", "59 23 * * *", "15 0-3 * * *", "0 1 29 3,10 *"];
    for zone in zones {
        for expression in expressions {
            let cron = Cron::parse(expression, zone).unwrap();
            for start in ["2026-03-27T00:00:00Z", "2026-10-24T00:00:00Z", "2026-04-03T12:00:00Z"] {
                for step in 0..200 {
                    let now = Timestamp(at(start).0 + step * 997_001);
                    let next = cron.next_after(now).unwrap();
                    assert!(next > now, "{expression} in {zone} after {now}");
                    // Nothing lies between: from a moment before, the same is found.
                    assert_eq!(
                        cron.next_after(Timestamp(next.0 - 1)),
                        Some(next),
                        "{expression} in {zone} after {now}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_never_comes_true_is_known_soon() {
    for never in ["0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
        let refused = Cron::parse_useful(never, "UTC", at("2026-11-21T00:00:00Z"));
        assert!(matches!(refused, Err(CronError::Never(_))), "{never}");
    }
    assert_eq!(
        times("0 0 29 2 +1", "UTC", "2096-03-01T00:00:00Z", 1),
        ["2112-02-29T00:00:00.000Z"],
        "rare is not never"
    );
}

#[test]
fn a_list_of_nothing_is_no_expression() {
    for empty in [", * * * *", "* , * * *", "* * , * *", "1,,2 * * * *", "* * * * * *", "* * * *", "", "1-70 * * * *"] {
        assert!(matches!(Cron::parse(empty, "UTC"), Err(CronError::Unreadable { .. })), "{empty:?}");
    }
    assert!(matches!(Cron::parse("* * * * *", "Nowhere/At all"), Err(CronError::Zone(_))));
}
