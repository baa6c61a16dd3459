/// The UTC date (`2026-11-20`) of a time in milliseconds since 1970.
pub fn date(millis: u64) -> String {
    let (year, month, day) = civil((millis / 86_400_000).cast_signed());
    format!("{year:04}-{month:02}-{day:02}")
}

/// The UTC time as RFC 3339 with seconds (`2026-11-20T13:31:25Z`).
pub fn rfc3339(millis: u64) -> String {
    let seconds = millis / 1000 % 86_400;
    format!("{}T{:02}:{:02}:{:02}Z", date(millis), seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A provider's time in RFC 3339. Providers write `T` or a space, with or without a fraction, with or without a zone;
/// without one it is taken as UTC. None if it is no time at all.
pub fn normalise(text: &str) -> Option<String> {
    let text = text.trim();
    let (day, clock) = (text.get(..10)?, text.get(11..).unwrap_or("00:00:00"));
    if !matches(day, "dddd-dd-dd") || !matches(clock.get(..8)?, "dd:dd:dd") {
        return None;
    }
    let rest = clock.get(8..)?;
    let fraction = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let zone = match rest.get(fraction..)?.trim() {
        "" | "Z" | "z" | "+0000" | "+00:00" => "Z".to_owned(),
        zone if matches(zone, "+dd:dd") || matches(zone, "-dd:dd") => zone.to_owned(),
        zone if matches(zone, "+dddd") || matches(zone, "-dddd") => format!("{}:{}", zone.get(..3)?, zone.get(3..)?),
        _ => return None,
    };
    Some(format!("{day}T{}{zone}", clock.get(..8)?))
}

/// A time as mail and some providers write it (`Thu, 24 Aug 2023 05:01:45 +0000`), in milliseconds since 1970. None
/// for another form, an offset other than zero, or a time before 1970.
pub fn parse_rfc2822(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(',').map_or(text, |(_, rest)| rest).split_ascii_whitespace();
    let day: i64 = words.next()?.parse().ok().filter(|day| (1..=99).contains(day))?;
    let name = words.next()?;
    let month = 1 + i64::try_from(MONTHS.iter().position(|month| *month == name)?).ok()?;
    let year: i64 = words.next()?.parse().ok().filter(|year| (1970..10_000).contains(year))?;
    let clock = words.next().filter(|clock| matches(clock, "dd:dd:dd"))?;
    if !matches!(words.next(), None | Some("+0000" | "-0000" | "GMT" | "UTC" | "Z")) {
        return None;
    }
    let part = |from: usize| clock.get(from..from + 2)?.parse::<i64>().ok();
    let seconds = part(0)? * 3600 + part(3)? * 60 + part(6)?;
    u64::try_from(day_number(year, month, day) * 86_400_000 + seconds * 1_000).ok()
}

/// Whether `text` has the shape of `pattern`, where `d` is a digit and anything else stands for itself.
fn matches(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(byte, shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            shape => byte == shape,
        })
}

/// Year, month and day of a day number since 1970, in the proleptic Gregorian calendar. It counts in eras of 400
/// years, with years that begin in March so that the leap day is the last one.
pub fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The day number since 1970 of a date, the inverse of [`civil`].
pub fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_come_out_right_around_leap_days_and_year_ends() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59Z"),
            (1_767_225_599_000, "2025-12-31T23:59:59Z"),
            (1_795_181_485_000, "2026-11-20T13:31:25Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(millis), text);
        }
    }

    #[test]
    fn a_providers_time_is_read_in_every_form() {
        for text in
            ["2026-11-20 13:31:25", "2026-11-20T13:31:25Z", "2026-11-20T13:31:25.123", "2026-11-20T13:31:25+00:00"]
        {
            assert_eq!(normalise(text).as_deref(), Some("2026-11-20T13:31:25Z"), "{text}");
        }
        assert_eq!(normalise("2026-11-20T13:31:25+0100").as_deref(), Some("2026-11-20T13:31:25+01:00"));
        assert_eq!(normalise("2026-11-20").as_deref(), Some("2026-11-20T00:00:00Z"));
        for text in ["", "yesterday", "2026-11-20T13", "20-11-2026 13:31:25"] {
            assert_eq!(normalise(text), None, "{text}");
        }
    }

    #[test]
    fn a_mail_date_is_read_back_to_the_second() {
        assert_eq!(
            parse_rfc2822("Thu, 24 Aug 2023 05:01:45 +0000").map(rfc3339).as_deref(),
            Some("2023-08-24T05:01:45Z")
        );
        assert_eq!(parse_rfc2822("29 Feb 2024 23:59:59 GMT").map(rfc3339).as_deref(), Some("2024-02-29T23:59:59Z"));
        for text in ["", "Thu, 24 Aug 2023 05:01:45 +0200", "24 Foo 2023 05:01:45 +0000", "0 Jan 1970 00:00:00 Z"] {
            assert_eq!(parse_rfc2822(text), None, "{text}");
        }
    }
}
