//! The parts of a tenant's settings that the hub itself follows, read with words that name the field and the fix.
//!
//! ```json
//! {"business_hours": {
//!   "week": {"mon": ["08:00-12:00", "13:00-16:00"], "fri": ["08:00-14:00"]},
//!   "holidays": ["2026-12-24"],
//!   "days": {"2026-12-31": ["08:00-11:00"]},
//!   "commands": ["sms.send", "call.create"]
//! }}
//! ```
//!
//! A weekday or a named day without hours is closed. `commands` are those that wait until it opens; without it `sms.send`,
//! `email.send` and `call.create`. Fields that are not named here are the admin's own.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde_json::{Map, Value};

use super::hours::{BusinessHours, DAY, Interval};
use crate::event::EventType;

/// Days with hours of their own, holidays included.
pub const MAX_DAYS: usize = 400;

/// Parts of one day.
const MAX_PARTS: usize = 12;

/// Commands that may be named.
const MAX_COMMANDS: usize = 50;

const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Commands that wait for business hours unless others are named.
const WAITING: [&str; 3] = ["sms.send", "email.send", "call.create"];

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct SettingsFault {
    /// Its path in the settings: `business_hours.week.mon[1]`.
    pub field: String,
    /// What is wrong and the fix.
    pub message: String,
}

fn fault<T>(field: impl Into<String>, message: impl Into<String>) -> Result<T, SettingsFault> {
    Err(SettingsFault { field: field.into(), message: message.into() })
}

/// Reads the business hours of a tenant's settings; none if there are none.
///
/// # Errors
/// The first setting that cannot be followed.
pub fn read(settings: &Map<String, Value>) -> Result<Option<BusinessHours>, SettingsFault> {
    const NAME: &str = "business_hours";
    let fields = match settings.get(NAME) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(fields)) => fields,
        Some(_) => return fault(NAME, "must be an object with `week`, or null"),
    };
    for name in fields.keys() {
        if !["week", "holidays", "days", "commands"].contains(&name.as_str()) {
            return fault(
                format!("{NAME}.{name}"),
                "there is no such field; there are week, holidays, days and commands",
            );
        }
    }
    let hours = BusinessHours {
        week: week(fields.get("week"))?,
        days: days(fields.get("holidays"), fields.get("days"))?,
        commands: commands(fields.get("commands"))?,
    };
    Ok(Some(hours))
}

fn week(value: Option<&Value>) -> Result<[Vec<Interval>; 7], SettingsFault> {
    const FIELD: &str = "business_hours.week";
    let Some(Value::Object(named)) = value else {
        return fault(FIELD, "must be an object such as {\"mon\": [\"08:00-16:00\"]}");
    };
    let mut week: [Vec<Interval>; 7] = Default::default();
    for (name, parts) in named {
        let field = format!("{FIELD}.{name}");
        let Some(at) = WEEKDAYS.iter().position(|known| known == name) else {
            return fault(field, format!("there is no such weekday; there are {}", WEEKDAYS.join(", ")));
        };
        week[at] = intervals(&field, parts)?;
    }
    if week.iter().all(Vec::is_empty) {
        return fault(FIELD, "at least one weekday must be open; to stop commands altogether set `lockdown`");
    }
    Ok(week)
}

fn days(holidays: Option<&Value>, own: Option<&Value>) -> Result<BTreeMap<Date, Vec<Interval>>, SettingsFault> {
    let mut days = BTreeMap::new();
    match holidays {
        None | Some(Value::Null) => {}
        Some(Value::Array(dates)) => {
            for (index, value) in dates.iter().enumerate() {
                let field = format!("business_hours.holidays[{index}]");
                days.insert(date(&field, value.as_str().unwrap_or_default())?, Vec::new());
            }
        }
        Some(_) => return fault("business_hours.holidays", "must be a list of days such as \"2026-12-24\""),
    }
    match own {
        None | Some(Value::Null) => {}
        Some(Value::Object(named)) => {
            for (name, parts) in named {
                let field = format!("business_hours.days.{name}");
                if days.insert(date(&field, name)?, intervals(&field, parts)?).is_some() {
                    return fault(field, "the day is among the holidays too; name it once");
                }
            }
        }
        Some(_) => {
            return fault("business_hours.days", "must be an object such as {\"2026-12-31\": [\"08:00-11:00\"]}");
        }
    }
    if days.len() > MAX_DAYS {
        return fault("business_hours.days", format!("at most {MAX_DAYS} days, holidays included"));
    }
    Ok(days)
}

fn date(field: &str, text: &str) -> Result<Date, SettingsFault> {
    let shaped = text.len() == 10;
    match text.parse::<Date>() {
        Ok(date) if shaped => Ok(date),
        _ => fault(field, "must be a day such as \"2026-12-24\""),
    }
}

/// The parts of a day, in their order and apart.
fn intervals(field: &str, value: &Value) -> Result<Vec<Interval>, SettingsFault> {
    let Value::Array(texts) = value else {
        return fault(field, "must be a list such as [\"08:00-12:00\", \"13:00-16:00\"]; an empty one is a closed day");
    };
    if texts.len() > MAX_PARTS {
        return fault(field, format!("at most {MAX_PARTS} parts of a day"));
    }
    let mut parts: Vec<Interval> = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let Some(part) = text.as_str().and_then(interval) else {
            return fault(field, "must be two times such as \"08:00-16:00\", at most \"24:00\"");
        };
        if part.from >= part.to {
            return fault(
                field,
                "must end after it begins; hours past midnight belong to the next day, from \"00:00\"",
            );
        }
        if parts.last().is_some_and(|before| before.to > part.from) {
            return fault(field, "must not begin before the part before it ends");
        }
        parts.push(part);
    }
    Ok(parts)
}

fn interval(text: &str) -> Option<Interval> {
    let (from, to) = text.split_once('-')?;
    Some(Interval { from: minute(from)?, to: minute(to)? })
}

fn minute(text: &str) -> Option<u16> {
    let digits =
        |text: &str| (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok());
    let (hour, minute) = text.trim().split_once(':')?;
    let (hour, minute): (u16, u16) = (digits(hour)??, digits(minute)??);
    let at = hour * 60 + minute;
    (minute < 60 && at <= DAY).then_some(at)
}

fn commands(value: Option<&Value>) -> Result<Vec<String>, SettingsFault> {
    const FIELD: &str = "business_hours.commands";
    let texts = match value {
        None | Some(Value::Null) => return Ok(WAITING.map(str::to_owned).to_vec()),
        Some(Value::Array(texts)) => texts,
        Some(_) => return fault(FIELD, "must be a list of commands such as [\"sms.send\"]"),
    };
    if texts.len() > MAX_COMMANDS {
        return fault(FIELD, format!("at most {MAX_COMMANDS} commands"));
    }
    let mut commands = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let parsed = text.as_str().and_then(|text| text.parse::<EventType>().ok()).filter(|name| !name.is_private());
        let Some(name) = parsed else {
            return fault(format!("{FIELD}[{index}]"), "must be the exact type of a command, such as \"sms.send\"");
        };
        commands.push(name.to_string());
    }
    Ok(commands)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faulty(hours: Value) -> (String, String) {
        let all = json!({ "business_hours": hours });
        let SettingsFault { field, message } = read(all.as_object().unwrap()).expect_err("it is faulty");
        (field, message)
    }

    #[test]
    fn what_is_right_is_read_and_the_rest_is_the_admins() {
        let all = json!({"theme": {"colour": "red"}, "business_hours": {"week": {"mon": ["08:00-12:00", "12:00-24:00"],
            "sun": []}, "holidays": ["2026-12-24"], "days": {"2026-12-31": ["00:00-00:30"]}, "commands": ["sms.send"]}});
        let hours = read(all.as_object().unwrap()).unwrap().unwrap();
        assert_eq!(hours.week[0], [Interval { from: 480, to: 720 }, Interval { from: 720, to: 1440 }]);
        assert_eq!(hours.days.len(), 2);
        assert_eq!(hours.commands, ["sms.send"]);
        assert_eq!(read(json!({"theme": 1}).as_object().unwrap()), Ok(None));
        assert_eq!(read(json!({"business_hours": null}).as_object().unwrap()), Ok(None));
        let plain = json!({"business_hours": {"week": {"mon": ["08:00-16:00"]}}});
        assert_eq!(read(plain.as_object().unwrap()).unwrap().unwrap().commands, WAITING);
    }

    #[test]
    fn every_fault_names_its_field_and_the_fix() {
        let week = |parts: Value| json!({"week": {"mon": parts}});
        let cases = [
            (json!("08:00-16:00"), "business_hours", "object"),
            (json!({}), "business_hours.week", "object such as"),
            (json!({"week": {}}), "business_hours.week", "at least one weekday"),
            (json!({"week": {"mon": []}}), "business_hours.week", "at least one weekday"),
            (json!({"week": {"monday": ["08:00-16:00"]}}), "business_hours.week.monday", "mon, tue"),
            (json!({"weeks": {}}), "business_hours.weeks", "no such field"),
            (week(json!("08:00-16:00")), "business_hours.week.mon", "must be a list"),
            (week(json!(["8-16"])), "business_hours.week.mon[0]", "two times"),
            (week(json!(["08:00-24:01"])), "business_hours.week.mon[0]", "two times"),
            (week(json!(["08:60-09:00"])), "business_hours.week.mon[0]", "two times"),
            (week(json!([8])), "business_hours.week.mon[0]", "two times"),
            (week(json!(["08:00-12:00", "22:00-06:00"])), "business_hours.week.mon[1]", "past midnight"),
            (week(json!(["08:00-12:00", "11:00-13:00"])), "business_hours.week.mon[1]", "before the part before it"),
        ];
        for (hours, field, word) in cases {
            let (found, message) = faulty(hours.clone());
            assert!(found == field && message.contains(word), "{hours}: {found}: {message}");
        }
        let with = |name: &str, value: Value| {
            let mut hours = week(json!(["08:00-16:00"]));
            hours[name] = value;
            faulty(hours)
        };
        for (name, value, field) in [
            ("holidays", json!("2026-12-24"), "business_hours.holidays"),
            ("holidays", json!(["2026-12-24", "24.12.2026"]), "business_hours.holidays[1]"),
            ("holidays", json!(["2026-02-30"]), "business_hours.holidays[0]"),
            ("days", json!([]), "business_hours.days"),
            ("days", json!({"soon": []}), "business_hours.days.soon"),
            ("days", json!({"2026-12-31": ["x"]}), "business_hours.days.2026-12-31[0]"),
            ("commands", json!("sms.send"), "business_hours.commands"),
            ("commands", json!(["sms.send", "sms.*"]), "business_hours.commands[1]"),
            ("commands", json!(["_poll.due"]), "business_hours.commands[0]"),
        ] {
            assert_eq!(with(name, value.clone()).0, field, "{value}");
        }
        let twice = json!({"week": {"mon": ["08:00-16:00"]}, "holidays": ["2026-12-24"], "days": {"2026-12-24": []}});
        assert_eq!(faulty(twice).0, "business_hours.days.2026-12-24");
    }
}
