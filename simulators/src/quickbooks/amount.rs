//! Money in hundredths and quantities in millionths, so that sums are exact. QuickBooks writes both as JSON numbers.

use std::ops::{Add, AddAssign, Sub, SubAssign};

use serde_json::Value;

/// An amount in hundredths of the company's currency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cents(pub i64);

/// Millionths in a whole.
const WHOLE: i128 = 1_000_000;

impl Cents {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads a JSON number, or text that is one; a third decimal is rounded.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let scaled = number(value)? * 100.0;
        rounded(scaled).map(Self)
    }

    /// As QuickBooks writes it: always with a decimal point.
    pub(crate) fn to_json(self) -> Value {
        Value::from(self.0 as f64 / 100.0)
    }

    /// This share of the amount in basis points, rounded half away from zero.
    pub(crate) fn share(self, basis_points: i64) -> Self {
        Self(divide(i128::from(self.0) * i128::from(basis_points), 10_000))
    }

    /// The net part of an amount that contains tax of this rate.
    pub(crate) fn net_of(self, basis_points: i64) -> Self {
        Self(divide(i128::from(self.0) * 10_000, 10_000 + i128::from(basis_points)))
    }
}

impl Add for Cents {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Cents {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl AddAssign for Cents {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Cents {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

/// Quantity times unit price, each with up to six decimals.
pub(crate) fn product(quantity: &Value, unit_price: &Value) -> Option<Cents> {
    let millionths = |value: &Value| rounded(number(value)? * WHOLE as f64).map(i128::from);
    let exact = millionths(quantity)? * millionths(unit_price)?;
    Some(Cents(divide(exact, WHOLE * WHOLE / 100)))
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Rounds to a whole number, if the result fits well within 64 bits.
fn rounded(scaled: f64) -> Option<i64> {
    (scaled.is_finite() && scaled.abs() < 1e17).then(|| scaled.round() as i64)
}

/// Divides and rounds half away from zero; the divisor is positive.
fn divide(dividend: i128, divisor: i128) -> i64 {
    let half = if dividend < 0 { -divisor / 2 } else { divisor / 2 };
    i64::try_from((dividend + half) / divisor).unwrap_or(i64::MAX)
}
