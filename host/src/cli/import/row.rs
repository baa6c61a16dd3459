//! One row of a file, read by a map.

use jiff::civil::Date;
use serde_json::{Map as Object, Value};

use super::map::{Decimal, Field, Kind, Map, Reading};

/// What is wrong with a cell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub(super) struct CellFault {
    /// The field that it was for.
    pub(super) field: String,
    /// What is wrong and what it should be; never the cell's text, which may be a person's.
    pub(super) message: String,
}

/// The shortest and longest phone number, without its `+` (ITU-T E.164 allows 15 digits).
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 6..=15;

/// Makes the data of an event of a row; empty cells are left out.
///
/// # Errors
/// A cell cannot be read, or one that is required is empty. All of the row's faults are told.
pub(super) fn data(map: &Map, places: &[Option<usize>], row: &csv::StringRecord) -> Result<Value, Vec<CellFault>> {
    let mut object = Object::new();
    let mut faults = Vec::new();
    for ((name, field), place) in map.fields.iter().zip(places) {
        let cell = place.and_then(|place| row.get(place)).map_or("", str::trim);
        let read = match field {
            Field::Fixed(fixed) => Ok(Some(fixed.value.clone())),
            Field::Column(_) => Ok((!cell.is_empty()).then(|| cell.into())),
            Field::Read(reading) => read(map, reading, cell),
        };
        match read {
            Ok(Some(value)) => put(&mut object, name, value),
            Ok(None) => {}
            Err(message) => faults.push(CellFault { field: name.clone(), message }),
        }
    }
    if faults.is_empty() { Ok(object.into()) } else { Err(faults) }
}

/// Puts a value at a name whose dots make objects.
fn put(object: &mut Object<String, Value>, name: &str, value: Value) {
    match name.split_once('.') {
        None => {
            object.insert(name.to_owned(), value);
        }
        Some((outer, inner)) => {
            let within = object.entry(outer).or_insert_with(|| Value::Object(Object::new()));
            if let Value::Object(within) = within {
                put(within, inner, value);
            }
        }
    }
}

/// The value at a name whose dots go into objects, as text.
pub(super) fn text_at<'a>(data: &'a Value, name: &str) -> Option<&'a str> {
    name.split('.').try_fold(data, |data, part| data.get(part))?.as_str()
}

fn read(map: &Map, reading: &Reading, cell: &str) -> Result<Option<Value>, String> {
    if cell.is_empty() && reading.required {
        return Err("it is empty and required".to_owned());
    }
    if cell.is_empty() {
        return Ok((reading.kind == Kind::Boolean).then_some(Value::Bool(false)));
    }
    let value = match reading.kind {
        Kind::Text => cell.into(),
        Kind::Phone => phone(cell, map.country_code.as_deref())?.into(),
        Kind::Email => email(cell)?.into(),
        Kind::Decimal => decimal(cell, map.decimal)?.into(),
        Kind::Integer => cell.parse::<i64>().map_err(|_| "it is no whole number".to_owned())?.into(),
        Kind::Boolean => boolean(cell)?.into(),
        Kind::Date => date(cell, reading.format.as_deref().unwrap_or("%Y-%m-%d"))?.into(),
        Kind::List => {
            let parts = cell.split(reading.separator.as_deref().unwrap_or(";")).map(str::trim);
            parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().into()
        }
    };
    Ok(Some(value))
}

/// A phone number as E.164. One without its country's code gets that of the map, without the zero that some countries
/// write before the area.
fn phone(cell: &str, country_code: Option<&str>) -> Result<String, String> {
    if cell.chars().any(|sign| !(sign.is_ascii_digit() || " +-()./\u{a0}".contains(sign))) {
        return Err("it is no phone number: it has signs that none has".to_owned());
    }
    let digits: String = cell.chars().filter(char::is_ascii_digit).collect();
    let whole = if cell.trim_start_matches(['(', ' ']).starts_with('+') {
        digits
    } else if let Some(rest) = digits.strip_prefix("00") {
        rest.to_owned()
    } else {
        let code = country_code.ok_or("it has no country code; set `country_code` in the map")?;
        format!("{code}{}", digits.strip_prefix('0').unwrap_or(&digits))
    };
    if PHONE_DIGITS.contains(&whole.len()) {
        Ok(format!("+{whole}"))
    } else {
        Err(format!("it is no phone number: with its country's code it has {} digits", whole.len()))
    }
}

/// An address in lower case, if it looks like one. Whether it exists is not for an import to say.
fn email(cell: &str) -> Result<String, String> {
    let shaped = cell.split_once('@').is_some_and(|(user, domain)| {
        let labels = domain.split('.').collect::<Vec<_>>();
        !user.is_empty() && labels.len() > 1 && labels.iter().all(|label| !label.is_empty()) && !domain.contains('@')
    });
    if shaped && !cell.contains(char::is_whitespace) && cell.len() <= 254 {
        Ok(cell.to_lowercase())
    } else {
        Err("it is no e-mail address".to_owned())
    }
}

fn decimal(cell: &str, written: Decimal) -> Result<String, String> {
    let (grouping, point) = match written {
        Decimal::Point => (',', '.'),
        Decimal::Comma => ('.', ','),
    };
    let plain: String = cell
        .chars()
        .filter(|sign| *sign != grouping && !sign.is_whitespace() && *sign != '\'')
        .map(|sign| if sign == point { '.' } else { sign })
        .collect();
    let (sign, number) = plain.strip_prefix('-').map_or(("", plain.as_str()), |rest| ("-", rest));
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, fraction)| (whole, Some(fraction)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || fraction.is_some_and(|fraction| !digits(fraction)) || number.len() > 30 {
        return Err(format!("it is no number; decimals stand after `{point}`"));
    }
    let whole = match whole.trim_start_matches('0') {
        "" => "0",
        whole => whole,
    };
    Ok(fraction.map_or_else(|| format!("{sign}{whole}"), |fraction| format!("{sign}{whole}.{fraction}")))
}

fn boolean(cell: &str) -> Result<bool, String> {
    match cell.to_lowercase().as_str() {
        "yes" | "y" | "true" | "1" | "ja" | "j" | "x" => Ok(true),
        "no" | "n" | "false" | "0" | "nej" => Ok(false),
        _ => Err("it is neither yes nor no".to_owned()),
    }
}

fn date(cell: &str, format: &str) -> Result<String, String> {
    Date::strptime(format, cell).map(|date| date.to_string()).map_err(|_| format!("it is no day written as {format}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_phone_number_is_one_number_however_it_is_written() {
        for written in ["20 12 34 56", "+45 20123456", "0045-2012-3456", "(+45) 20.12.34.56", "020123456"] {
            assert_eq!(phone(written, Some("45")).unwrap(), "+4520123456", "{written}");
        }
        for written in ["ring efter kl. 17", "12", "+45 1234567890123456", "2012345 (privat)"] {
            assert!(phone(written, Some("45")).is_err(), "{written}");
        }
        assert!(phone("20123456", None).unwrap_err().contains("country_code"));
    }

    #[test]
    fn numbers_are_read_as_their_country_writes_them() {
        assert_eq!(decimal("1.234,50", Decimal::Comma).unwrap(), "1234.50");
        assert_eq!(decimal("1,234.50", Decimal::Point).unwrap(), "1234.50");
        assert_eq!(decimal("-007", Decimal::Point).unwrap(), "-7");
        for wrong in ["12,3,4x", "", "-", "1.2.3", ".5", "5.", "1e3"] {
            assert!(decimal(wrong, Decimal::Point).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_row_tells_all_of_its_faults_and_none_of_its_text() {
        let map = Map::parse(
            "type = 'lead.created'\n[fields]\nname = { column = 'N', required = true }\nphone = { column = 'P', as = 'phone' }\n\
             'when.day' = { column = 'D', as = 'date', format = '%d-%m-%Y' }\nsource = { value = 'import' }",
        )
        .unwrap();
        let places = map.places(&csv::StringRecord::from(vec!["P", "N", "D"])).unwrap();
        let faults = data(&map, &places, &csv::StringRecord::from(vec!["hemmelig", " ", "2026-11-21"])).unwrap_err();
        let said = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(faults.len(), 3, "{said}");
        assert!(
            said.contains("name: it is empty") && said.contains("%d-%m-%Y") && !said.contains("hemmelig"),
            "{said}"
        );
        let good = data(&map, &places, &csv::StringRecord::from(vec!["+4520123456", "Ada", "21-11-2026"])).unwrap();
        let wanted = json!({"name": "Ada", "phone": "+4520123456", "source": "import", "when": {"day": "2026-11-21"}});
        assert_eq!(good, wanted);
        assert_eq!(text_at(&good, "when.day"), Some("2026-11-21"));
    }

    proptest! {
        #[test]
        fn no_cell_makes_a_reader_panic(cell in "\\PC{0,40}") {
            let _ = (phone(&cell, Some("45")), email(&cell), decimal(&cell, Decimal::Comma), boolean(&cell), date(&cell, "%d/%m/%y"));
        }

        #[test]
        fn what_is_read_as_a_number_is_read_again_as_itself(whole in 0_u64..10_000_000, cents in 0_u8..100) {
            let once = decimal(&format!("{whole}.{cents:02}"), Decimal::Point).unwrap();
            prop_assert_eq!(decimal(&once, Decimal::Point).unwrap(), once);
        }
    }
}
