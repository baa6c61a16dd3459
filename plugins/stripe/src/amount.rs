use switchyard_sdk::prelude::*;

/// Currencies that Stripe counts in whole units.
const WHOLE: [&str; 15] =
    ["BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"];

/// Currencies that Stripe counts in thousandths, always in steps of ten.
const THOUSANDTHS: [&str; 5] = ["BHD", "JOD", "KWD", "OMR", "TND"];

/// An amount as Stripe counts it, in the smallest unit of its currency. None if the currency is no code of three
/// letters or the amount does not fit.
pub fn money(amount: i64, currency: &str) -> Option<Money> {
    let code = currency.to_ascii_uppercase();
    if code.len() != 3 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let hundredths = if WHOLE.contains(&code.as_str()) {
        amount.checked_mul(100)?
    } else if THOUSANDTHS.contains(&code.as_str()) {
        amount / 10
    } else {
        amount
    };
    Some(Money::from_minor(hundredths, &code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_currency_comes_out_with_two_decimals() {
        for (amount, currency, text) in
            [(9_900, "dkk", "99.00"), (500, "jpy", "500.00"), (1_230, "kwd", "1.23"), (-5, "EUR", "-0.05")]
        {
            assert_eq!(money(amount, currency).unwrap().amount, text, "{currency}");
        }
        for (amount, currency) in [(1, ""), (1, "kr"), (1, "12a"), (i64::MAX, "jpy")] {
            assert_eq!(money(amount, currency), None, "{currency}");
        }
    }
}
