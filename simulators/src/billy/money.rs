//! Money in øre and quantities in ten-thousandths, so that sums are exact.

use std::ops::{Add, AddAssign, Sub, SubAssign};

use serde_json::Value;

/// An amount in øre, the hundredth part of a krone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ore(pub i64);

impl Ore {
    /// Reads a JSON number of kroner, rounded to the nearest øre.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let scaled = value.as_f64()? * 100.0;
        round(scaled).map(Self)
    }

    /// Kroner as a JSON number; whole kroner have no decimal point, so that both forms occur.
    pub(crate) fn to_json(self) -> Value {
        if self.0 % 100 == 0 { Value::from(self.0 / 100) } else { Value::from(self.0 as f64 / 100.0) }
    }

    /// This share of the amount, in basis points, rounded half away from zero.
    pub(crate) fn share(self, basis_points: i64) -> Self {
        Self(divide(i128::from(self.0) * i128::from(basis_points), 10_000))
    }

    /// The part of the amount that is net when tax of this rate is contained in it.
    pub(crate) fn net_of(self, basis_points: i64) -> Self {
        Self(divide(i128::from(self.0) * 10_000, 10_000 + i128::from(basis_points)))
    }
}

impl Add for Ore {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Ore {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl AddAssign for Ore {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Ore {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

/// A quantity or unit price with four decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal(i64);

impl Decimal {
    pub(crate) const ONE: Self = Self(10_000);
    pub(crate) const ZERO: Self = Self(0);

    pub(crate) fn read(value: &Value) -> Option<Self> {
        round(value.as_f64()? * 10_000.0).map(Self)
    }

    pub(crate) fn to_json(self) -> Value {
        if self.0 % 10_000 == 0 { Value::from(self.0 / 10_000) } else { Value::from(self.0 as f64 / 10_000.0) }
    }

    /// `self` times a unit price in kroner.
    pub(crate) fn times(self, unit_price: Self) -> Ore {
        Ore(divide(i128::from(self.0) * i128::from(unit_price.0), 1_000_000))
    }
}

/// Rounds to a whole number, if the result fits well within 64 bits.
fn round(scaled: f64) -> Option<i64> {
    (scaled.is_finite() && scaled.abs() < 1e15).then(|| scaled.round() as i64)
}

/// Divides and rounds half away from zero; the divisor is positive.
fn divide(dividend: i128, divisor: i128) -> i64 {
    let half = if dividend < 0 { -divisor / 2 } else { divisor / 2 };
    i64::try_from((dividend + half) / divisor).unwrap_or(i64::MAX)
}
