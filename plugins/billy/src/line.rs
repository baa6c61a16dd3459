use serde_json::{Number, Value, json};
use switchyard_event_types::invoice_command::Line as Asked;
use switchyard_sdk::money::minor_of;
use switchyard_sdk::prelude::*;

use crate::client::{get, read};
use crate::config::Config;
use crate::figure::{product, ten_thousandths};
use crate::model::{records, text};

/// A line as Billy keeps it.
#[derive(Clone, Debug)]
pub struct Line {
    /// What is sold; its ruleset decides the VAT.
    pub product_id: Option<String>,
    /// In hundredths, before or with VAT as the invoice's tax mode says; with its discount taken off.
    pub amount: i64,
    /// The rate that Billy used, in basis points, where it says so.
    pub rate: Option<i64>,
    record: Value,
}

impl Line {
    /// Reads one record. None if neither its sum nor what it is made of can be read.
    pub fn read(record: &Value) -> Option<Self> {
        let number = |name: &str| record.get(name).and_then(ten_thousandths);
        let discounted = record.get("discountMode").is_some_and(|mode| !mode.is_null());
        let amount = match (number("quantity"), number("unitPrice")) {
            (Some(quantity), Some(price)) if !discounted => product(quantity, price),
            // How Billy rounds a discount is its own affair.
            _ => record.get("amount").and_then(minor_of)?,
        };
        let rate = record.get("taxRate").and_then(basis_points);
        Some(Self { product_id: text(record, "productId"), amount, rate, record: record.clone() })
    }

    /// The same line for a credit note.
    pub fn again(&self) -> Value {
        let kept =
            ["productId", "description", "quantity", "unitPrice", "discountText", "discountMode", "discountValue"];
        let given =
            kept.iter().filter_map(|name| Some((*name, self.record.get(*name).filter(|value| !value.is_null())?)));
        given.map(|(name, value)| (name.to_owned(), value.clone())).collect::<serde_json::Map<_, _>>().into()
    }
}

/// A rate of VAT in basis points: Billy was seen to write 0.25, and 25 can mean nothing else.
pub fn basis_points(value: &Value) -> Option<i64> {
    let rate = ten_thousandths(value)?;
    let rate = if rate > 10_000 { rate / 100 } else { rate };
    (0..=10_000).contains(&rate).then_some(rate)
}

/// The lines of an invoice: embedded where Billy does so, else asked for. None if one of them cannot be read.
pub fn lines_of(ctx: &Ctx<Config>, invoice_id: &str, record: &Value) -> Result<Option<Vec<Line>>, PluginError> {
    if record.get("lines").is_some_and(Value::is_array) {
        return Ok(records(record, "line", "lines").into_iter().map(Line::read).collect());
    }
    let answer = read(get(ctx, "/invoiceLines").query("invoiceId", invoice_id).send()?)?;
    Ok(records(&answer, "invoiceLine", "invoiceLines").into_iter().map(Line::read).collect())
}

/// A line of a command under Billy's names. Its VAT is that of its product: the one it names, else that of its tax
/// code, else the usual one.
pub fn record(config: &Config, line: &Asked) -> Result<Value, PluginError> {
    let bad = |code: &str, message: String| PluginError::reject(Reason::BadData, code, message);
    let of_code = match (&line.product_id, &line.tax_code) {
        (None, Some(code)) => Some(config.tax_products.get(code).ok_or_else(|| {
            bad("unknown_tax_code", "A line's tax_code is not in the config's tax_products.".to_owned())
        })?),
        _ => None,
    };
    let product = line.product_id.as_ref().or(of_code).or(config.product_id.as_ref());
    let product = product.ok_or_else(|| {
        PluginError::bad_config("product_id", "set a product, or name one in each line; it decides the VAT.")
    })?;
    let no_number = |what: &str| bad("bad_line", format!("A line's {what} is no number."));
    Ok(json!({
        "productId": product,
        "description": line.description,
        "quantity": quantity(&line.quantity).ok_or_else(|| no_number("quantity"))?,
        "unitPrice": number(&line.unit_price).ok_or_else(|| no_number("unit_price"))?,
    }))
}

fn quantity(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => number.as_f64().and_then(Number::from_f64),
        Value::String(text) => number(text),
        _ => None,
    }
}

/// Billy takes JSON numbers only. A decimal of up to 15 digits is written back digit by digit from its nearest float,
/// which a division of two whole numbers gives.
#[expect(clippy::cast_precision_loss, reason = "up to 15 digits nothing is lost")]
fn number(text: &str) -> Option<Number> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let units: i64 = [whole, fraction].concat().parse().ok()?;
    let places = u32::try_from(fraction.len()).ok()?;
    Number::from_f64(units as f64 / 10_i64.checked_pow(places)? as f64)
}
