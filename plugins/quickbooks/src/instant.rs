/// A moment with its zone (`2026-11-20T13:31:25-08:00`, with or without a fraction or a colon in the zone), in
/// milliseconds since 1970; none for anything else, or before 1970.
pub fn parse(text: &str) -> Option<u64> {
    let normal = switchyard_sdk::time::normalise(text)?;
    let part = |from: usize, to: usize| normal.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let zone = normal.get(19..)?;
    let offset = match zone.as_bytes().first()? {
        b'Z' => 0,
        sign => {
            let minutes = zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(4..6)?.parse::<i64>().ok()?;
            if *sign == b'-' { -minutes } else { minutes }
        }
    };
    let seconds =
        switchyard_sdk::time::day_number(year, month, day) * 86_400 + hour * 3_600 + (minute - offset) * 60 + second;
    u64::try_from(seconds.checked_mul(1_000)?).ok()
}

/// A day so many days after another, as `2026-11-28`; none if the text is no day.
pub fn days_after(date: &str, count: u16) -> Option<String> {
    let start = parse(&format!("{date}T00:00:00Z"))?;
    Some(switchyard_sdk::time::date(start + u64::from(count) * 86_400_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_in_every_form_that_intuit_writes() {
        for text in [
            "2026-11-20T13:31:25Z",
            "2026-11-20T05:31:25-08:00",
            "2026-11-20T05:31:25-0800",
            "2026-11-20T13:31:25.000Z",
            "2026-11-20T13:31:25.179851517Z",
            "2026-11-20T15:01:25+01:30",
        ] {
            assert_eq!(parse(text), Some(1_795_181_485_000), "{text}");
        }
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse("2000-02-29T00:00:00Z"), Some(951_782_400_000));
        for text in ["", "soon", "2026-13-01T00:00:00Z", "1969-12-31T23:59:59Z", "2026-11-20T25:00:00Z"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn days_are_counted_over_the_ends_of_months() {
        assert_eq!(days_after("2026-11-20", 14).as_deref(), Some("2026-12-04"));
        assert_eq!(days_after("2028-02-28", 1).as_deref(), Some("2028-02-29"));
        assert_eq!(days_after("20.11.2026", 1), None);
    }
}
