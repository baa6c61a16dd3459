use switchyard_sdk::PluginError;
use switchyard_sdk::time::civil;
use switchyard_sdk::zone::Rule;

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
    let rule = Rule::parse(rule).ok_or_else(|| {
        let message = "it is neither a zone known here nor a POSIX rule such as CET-1CEST,M3.5.0,M10.5.0/3.";
        PluginError::bad_config("voice.hours.time_zone", message)
    })?;
    let moment = i64::try_from(time / 1_000).unwrap_or_default();
    let local = moment + i64::from(rule.offset_at(moment));
    let (day_number, second) = (local.div_euclid(86_400), local.rem_euclid(86_400));
    let (year, month, day) = civil(day_number);
    if hours.closed.contains(&format!("{year:04}-{month:02}-{day:02}")) {
        return Ok(false);
    }
    // The first of January 1970 was a Thursday.
    let weekday = usize::try_from((day_number + 3).rem_euclid(7)).unwrap_or_default();
    let today = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun][weekday];
    let now = format!("{:02}:{:02}", second / 3_600, second / 60 % 60);
    // Times of day as `08:00` are ordered as their texts are.
    let within = |from: &str, until: &str| from <= now.as_str() && now.as_str() < until;
    Ok(hours.open.iter().any(|part| part.days.contains(&today) && within(&part.from, &part.until)))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

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

    #[test]
    fn a_rule_says_the_same_as_in_a_library_of_times() {
        let more = [
            "<+0330>-3:30",
            "IST-1GMT0,M10.5.0,M3.5.0/1",
            "<-02>2<-01>,M3.5.0/-1,M10.5.0/0",
            "XST3XDT,J60/0,J300",
            "XST3XDT2:30,59,299/24",
            "XST-10:30XDT,M10.1.0,M4.1.0/3:30:15",
            "EST5EDT,M13.1.0,M11.1.0",
            "EST5EDT,M3.6.0,M11.1.0",
            "EST5EDT,M3.1.7,M11.1.0",
            "EST5EDT,J0,J300",
            "EST5EDT,J60",
            "EST5EDT",
            "ES5",
            "EST",
            "EST25",
            "EST5:60",
            "EST5 ",
            "<+0>5",
            "",
        ];
        for rule in ZONES.map(|(_, rule)| rule).into_iter().chain(more) {
            let (ours, theirs) = (Rule::parse(rule), TimeZone::posix(rule).ok());
            assert_eq!(ours.is_some(), theirs.is_some(), "{rule}");
            let Some((ours, theirs)) = ours.zip(theirs) else { continue };
            for at in (1_700_000_000..2_020_000_000).step_by(10_007) {
                let offset = theirs.to_offset(Timestamp::from_second(at).unwrap()).seconds();
                assert_eq!(ours.offset_at(at), offset, "{rule} at {at}");
            }
        }
    }
}
