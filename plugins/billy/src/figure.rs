use serde_json::Value;

/// A quantity or price in ten-thousandths, from a number or decimal text. None if it is neither or does not fit.
pub fn ten_thousandths(value: &Value) -> Option<i64> {
    match value {
        Value::String(text) => parse(text),
        Value::Number(number) => parse(&number.to_string()).or_else(|| small(number.as_f64()?)),
        _ => None,
    }
}

/// Works on the digits, so that no float is involved; what is beyond the fourth place is cut off.
fn parse(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let digit = |place: usize| fraction.as_bytes().get(place).map_or(0, |byte| i64::from(byte - b'0'));
    let fraction = (0..4).fold(0, |sum, place| sum * 10 + digit(place));
    let value = whole.parse::<i64>().ok()?.checked_mul(10_000)?.checked_add(fraction)?;
    Some(if negative { -value } else { value })
}

/// A number that is written with an exponent is next to nothing, or too large to fit.
#[expect(clippy::cast_possible_truncation, reason = "a float below one has less than ten thousand of these")]
fn small(value: f64) -> Option<i64> {
    (value.abs() < 1.0).then(|| (value * 10_000.0).round_ties_even() as i64)
}

/// Quantity times price, both in ten-thousandths, in hundredths.
pub fn product(quantity: i64, price: i64) -> i64 {
    divide(i128::from(quantity) * i128::from(price), 1_000_000)
}

/// The sum. What does not fit is the largest amount there is.
pub fn added(amounts: impl Iterator<Item = i64>) -> i64 {
    amounts.fold(0, i64::saturating_add)
}

/// This share of an amount, in basis points.
pub fn share(amount: i64, basis_points: i64) -> i64 {
    divide(i128::from(amount) * i128::from(basis_points), 10_000)
}

/// The part of an amount that is net, where tax of this rate is inside.
pub fn net_of(amount: i64, basis_points: i64) -> i64 {
    divide(i128::from(amount) * 10_000, 10_000 + i128::from(basis_points.max(0)))
}

/// Rounds half away from zero; the divisor is positive. What does not fit is the largest amount there is.
fn divide(dividend: i128, divisor: i128) -> i64 {
    let half = if dividend < 0 { -divisor / 2 } else { divisor / 2 };
    i64::try_from((dividend + half) / divisor).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn danish_vat_comes_out_to_the_hundredth() {
        let price = |value: Value| ten_thousandths(&value).unwrap();
        assert_eq!(product(price(json!(3)), price(json!(12.5))), 3_750);
        assert_eq!(share(9_999, 2_500), 2_500);
        assert_eq!(net_of(9_999, 2_500), 7_999);
        assert_eq!(share(-9_999, 2_500), -2_500);
        assert_eq!(product(price(json!("0.3333")), price(json!("100.00"))), 3_333);
        assert_eq!(share(12_345, 0), 0);
    }

    #[test]
    fn what_is_no_number_is_none() {
        for value in [json!(""), json!("1,5"), json!("x"), json!(null), json!([]), json!("99999999999999999999")] {
            assert_eq!(ten_thousandths(&value), None, "{value}");
        }
        assert_eq!(ten_thousandths(&json!(1e-7)), Some(0));
        assert_eq!(ten_thousandths(&json!(1e300)), None);
    }
}
