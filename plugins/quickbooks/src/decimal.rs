use switchyard_sdk::money;

/// More digits than any quantity or price has.
const MOST_DIGITS: usize = 18;

/// A decimal number as it was written, exact to the last place. It goes into JSON digit by digit, since QuickBooks wants
/// numbers and no text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    units: i128,
    places: u32,
}

impl Decimal {
    /// Reads digits with an optional sign and fraction; none for anything else, an exponent included.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all: String = [whole, fraction].concat();
        if whole.is_empty() || all.len() > MOST_DIGITS || !all.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let units: i128 = all.parse().ok()?;
        Some(Self { units: if negative { -units } else { units }, places: u32::try_from(fraction.len()).ok()? })
    }

    /// The JSON number.
    pub fn text(&self) -> String {
        let text = if self.places == 2 { i64::try_from(self.units).ok().map(money::decimal) } else { None };
        text.unwrap_or_else(|| written(self.units, self.places))
    }

    /// An amount in hundredths.
    pub fn from_minor(minor: i64) -> Self {
        Self { units: i128::from(minor), places: 2 }
    }

    /// This many times a price, in hundredths, rounded half away from zero; none if it fits nowhere.
    pub fn times(&self, price: &Self) -> Option<i64> {
        let (exact, places) = (self.units.checked_mul(price.units)?, self.places + price.places);
        if places <= 2 {
            return i64::try_from(exact.checked_mul(10_i128.pow(2 - places))?).ok();
        }
        divide(exact, 10_i128.pow(places - 2))
    }

    /// This percentage of an amount in hundredths, rounded half away from zero.
    pub fn percent_of(&self, minor: i64) -> Option<i64> {
        divide(self.units.checked_mul(i128::from(minor))?, 10_i128.checked_pow(self.places + 2)?)
    }
}

/// Divides and rounds half away from zero; the divisor is positive.
fn divide(dividend: i128, divisor: i128) -> Option<i64> {
    let half = if dividend < 0 { -divisor / 2 } else { divisor / 2 };
    i64::try_from(dividend.checked_add(half)? / divisor).ok()
}

fn written(units: i128, places: u32) -> String {
    let (sign, digits) =
        (if units < 0 { "-" } else { "" }, u64::try_from(units.unsigned_abs()).unwrap_or(u64::MAX).to_string());
    let places = places as usize;
    if places == 0 {
        return format!("{sign}{digits}");
    }
    let digits = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn a_number_is_written_as_it_was_read() {
        for text in ["0", "7", "-7", "0.5", "-0.05", "400.00", "33.3350", "123456789012.3456"] {
            assert_eq!(number(text).text(), text);
        }
    }

    #[test]
    fn what_is_no_decimal_number_is_none() {
        for text in ["", "-", ".5", "1,5", "1.2.3", "1e3", "+1", "NaN", "0x10", "1234567890123456789"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn products_are_rounded_half_away_from_zero() {
        for (quantity, price, minor) in [
            ("2", "400", 80_000),
            ("3", "33.335", 10_001),
            ("0.5", "0.01", 1),
            ("-0.5", "0.01", -1),
            ("1.005", "1", 101),
            ("0.1", "0.2", 2),
            ("999999999999", "0.01", 999_999_999_999),
        ] {
            assert_eq!(number(quantity).times(&number(price)), Some(minor), "{quantity} x {price}");
        }
        assert_eq!(number("999999999999.9999").times(&number("999999999999.9999")), None);
    }

    #[test]
    fn a_percentage_is_rounded_half_away_from_zero() {
        assert_eq!(number("25").percent_of(80_000), Some(20_000));
        assert_eq!(number("12.5").percent_of(101), Some(13));
        assert_eq!(number("25").percent_of(-2), Some(-1));
    }
}
