use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use switchyard_sdk::PluginError;

use super::config::{Day, Hours};

/// Zones by name. The rules are those in force; a plugin has no table of their history.
const ZONES: [(&str, &str); 14] = [
    ("UTC", "UTC0"),
    ("Atlantic/Reykjavik", "GMT0"),
    ("Europe/London", "GMT0BST,M3.5.0/1,M10.5.0"),
    ("Europe/Copenhagen", CENTRAL),
    ("Europe/Oslo", CENTRAL),
    ("Europe/Stockholm", CENTRAL),
    ("Europe/Berlin", CENTRAL),
    ("Europe/Amsterdam", CENTRAL),
    ("Europe/Paris", CENTRAL),
    ("Europe/Helsinki", "EET-2EEST,M3.5.0/3,M10.5.0/4"),
    ("America/New_York", "EST5EDT,M3.2.0,M11.1.0"),
    ("America/Chicago", "CST6CDT,M3.2.0,M11.1.0"),
    ("America/Denver", "MST7MDT,M3.2.0,M11.1.0"),
    ("America/Los_Angeles", "PST8PDT,M3.2.0,M11.1.0"),
];

const CENTRAL: &str = "CET-1CEST,M3.5.0,M10.5.0/3";

/// Whether somebody is there at this time, in milliseconds since 1970.
pub fn is_open(hours: &Hours, time: u64) -> Result<bool, PluginError> {
    let rule =
        ZONES.iter().find(|(name, _)| *name == hours.time_zone).map_or(hours.time_zone.as_str(), |(_, rule)| *rule);
    let zone = TimeZone::posix(rule).map_err(|_| {
        let message = "it is neither a zone known here nor a POSIX rule such as CET-1CEST,M3.5.0,M10.5.0/3.";
        PluginError::bad_config("voice.hours.time_zone", message)
    })?;
    let moment = i64::try_from(time).ok().and_then(|time| Timestamp::from_millisecond(time).ok()).unwrap_or_default();
    let local = zone.to_datetime(moment);
    let date = format!("{:04}-{:02}-{:02}", local.year(), local.month(), local.day());
    if hours.closed.contains(&date) {
        return Ok(false);
    }
    let today = match local.weekday() {
        Weekday::Monday => Day::Mon,
        Weekday::Tuesday => Day::Tue,
        Weekday::Wednesday => Day::Wed,
        Weekday::Thursday => Day::Thu,
        Weekday::Friday => Day::Fri,
        Weekday::Saturday => Day::Sat,
        Weekday::Sunday => Day::Sun,
    };
    let now = format!("{:02}:{:02}", local.hour(), local.minute());
    // Times of day as `08:00` are ordered as their texts are.
    let within = |from: &str, until: &str| from <= now.as_str() && now.as_str() < until;
    Ok(hours.open.iter().any(|part| part.days.contains(&today) && within(&part.from, &part.until)))
}

#[cfg(test)]
mod tests {
    use super::super::config::Opening;
    use super::*;

    fn hours(time_zone: &str) -> Hours {
        let days = vec![Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri];
        let open = vec![Opening { days, from: "08:00".to_owned(), until: "16:00".to_owned() }];
        Hours { time_zone: time_zone.to_owned(), open, closed: vec!["2026-12-24".to_owned()] }
    }

    fn open_at(zone: &str, time: &str) -> bool {
        let time: Timestamp = time.parse().unwrap();
        is_open(&hours(zone), time.as_millisecond().try_into().unwrap()).unwrap()
    }

    #[test]
    fn hours_follow_the_clock_of_the_place_also_over_the_change_of_summer_time() {
        for (time, open) in [
            ("2026-11-20T06:59:59Z", false),
            ("2026-11-20T07:00:00Z", true),
            ("2026-11-20T14:59:59Z", true),
            ("2026-11-20T15:00:00Z", false),
            ("2026-11-21T10:00:00Z", false),
            ("2026-12-24T10:00:00Z", false),
            // The clocks went back on 2026-10-25 and forward on 2026-03-29.
            ("2026-10-23T06:30:00Z", true),
            ("2026-10-26T06:30:00Z", false),
            ("2026-03-27T06:30:00Z", false),
            ("2026-03-30T06:30:00Z", true),
        ] {
            assert_eq!(open_at("Europe/Copenhagen", time), open, "{time}");
            assert_eq!(open_at(CENTRAL, time), open, "{time}");
        }
        assert!(open_at("America/New_York", "2026-11-20T20:30:00Z"));
    }

    #[test]
    fn every_zone_has_a_rule_and_another_name_is_refused_with_its_field() {
        for (name, _) in ZONES {
            assert!(is_open(&hours(name), 0).is_ok(), "{name}");
        }
        let error = is_open(&hours("Mars/Olympus"), 0).unwrap_err();
        assert!(error.to_string().contains("voice.hours.time_zone"), "{error}");
    }
}
