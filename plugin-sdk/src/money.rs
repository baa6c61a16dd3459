use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// An amount of money with two decimals. In JSON it is `{"amount":"125.00","currency":"DKK"}`, never a float.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Money {
    /// Decimal text with two places.
    pub amount: String,
    /// ISO 4217 code.
    pub currency: String,
}

impl Money {
    /// From hundredths.
    pub fn from_minor(minor: i64, currency: &str) -> Self {
        Self { amount: decimal(minor), currency: currency.to_owned() }
    }

    /// In hundredths; none if the text is no decimal number that fits.
    pub fn minor(&self) -> Option<i64> {
        parse_minor(&self.amount)
    }

    /// The JSON Schema of an amount, for event types.
    pub fn schema() -> Value {
        crate::manifest::literal(
            r#"{
                "type": "object",
                "required": ["amount", "currency"],
                "properties": {
                    "amount": {"type": "string", "pattern": "^-?[0-9]+\\.[0-9]{2}$"},
                    "currency": {"type": "string", "pattern": "^[A-Z]{3}$"}
                }
            }"#,
        )
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({ "amount": self.amount, "currency": self.currency })
    }
}

/// Hundredths as decimal text with two places.
pub fn decimal(minor: i64) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let whole = minor.unsigned_abs();
    format!("{sign}{}.{:02}", whole / 100, whole % 100)
}

/// Decimal text as hundredths, rounded half away from zero. It works on the digits, so that no float is involved.
pub fn parse_minor(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let digit = |place: usize| fraction.as_bytes().get(place).map_or(0, |byte| i64::from(byte - b'0'));
    let hundredths = digit(0) * 10 + digit(1) + i64::from(digit(2) >= 5);
    let minor = whole.checked_mul(100)?.checked_add(hundredths)?;
    Some(if negative { -minor } else { minor })
}

/// A JSON number or numeric text as hundredths. The number is read by its shortest decimal form, so 0.1 + 0.2 as a
/// provider writes it is 30 and not 29.
pub fn minor_of(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => parse_minor(text),
        Value::Number(number) => {
            let text = number.to_string();
            if text.contains(['e', 'E']) { number.as_f64().and_then(from_float) } else { parse_minor(&text) }
        }
        _ => None,
    }
}

/// Exponents appear only in numbers too small or too large to be anybody's invoice: what is small is nothing, and what
/// is large is whole. The formatting of floats would be a large part of a component.
#[expect(clippy::cast_possible_truncation, reason = "a float below 2^62 is a whole number here and fits")]
fn from_float(value: f64) -> Option<i64> {
    if value.abs() < 0.001 {
        return Some(0);
    }
    let fits = (1e15..4e18).contains(&value.abs());
    fits.then_some(value as i64).and_then(|whole| whole.checked_mul(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_two_decimals_and_their_sign() {
        for (minor, text) in [(12_500, "125.00"), (5, "0.05"), (-5, "-0.05"), (0, "0.00"), (-12_345, "-123.45")] {
            assert_eq!(decimal(minor), text);
            assert_eq!(parse_minor(text), Some(minor));
        }
    }

    #[test]
    fn a_providers_float_is_rounded_by_its_digits() {
        for (value, minor) in [(json!(100.005), 10_001), (json!(0.30000000000000004), 30), (json!(125), 12_500)] {
            assert_eq!(minor_of(&value), Some(minor), "{value}");
        }
        assert_eq!(minor_of(&json!(1e-9)), Some(0));
        assert_eq!(minor_of(&json!(-1e16)), Some(-1_000_000_000_000_000_000));
        assert_eq!(minor_of(&json!(1e17)), None);
        assert_eq!(minor_of(&json!("1.25")), Some(125));
        assert_eq!(minor_of(&json!(null)), None);
    }

    #[test]
    fn text_that_is_no_amount_is_none() {
        for text in ["", ".", "-", "1,25", "1.2.3", "abc", "99999999999999999999"] {
            assert_eq!(parse_minor(text), None, "{text}");
        }
    }
}
