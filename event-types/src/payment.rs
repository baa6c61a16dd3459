use serde::{Deserialize, Serialize};
use switchyard_sdk::compact_json;
use switchyard_sdk::prelude::*;

use crate::schema::{about_invoice, json, object};

/// Records a payment of an invoice.
pub const RECORD_PAYMENT: &str = "payment.record";

/// Takes a payment back.
pub const VOID_PAYMENT: &str = "payment.void";

/// A payment was recorded.
pub const RECORDED: &str = "payment.recorded";

/// A payment was taken back.
pub const VOIDED: &str = "payment.voided";

/// The data of `payment.record`.
#[derive(Clone, Debug, Deserialize)]
pub struct RecordPayment {
    /// The provider's id of the invoice.
    pub invoice_id: String,
    /// Decimal text with at most two places; none means all that is open. Less than that is a partial payment.
    #[serde(default)]
    pub amount: Option<String>,
    /// The provider's account that the money went to; none means that of the config.
    #[serde(default)]
    pub account_id: Option<String>,
    /// The day it came in; none means today in UTC.
    #[serde(default)]
    pub entry_date: Option<String>,
    /// The provider's payment method, where payments carry one.
    #[serde(default)]
    pub method: Option<String>,
}

/// The data of `payment.void`.
#[derive(Clone, Debug, Deserialize)]
pub struct VoidPayment {
    /// The provider's id.
    pub payment_id: String,
}

/// The data of `payment.recorded`.
#[derive(Clone, Debug, Serialize)]
pub struct Recorded {
    /// The provider's id.
    pub payment_id: String,
    /// All of it, also where it pays several invoices.
    pub amount: Money,
    /// What it pays.
    pub invoice_ids: Vec<String>,
    /// The day it came in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_date: Option<String>,
    /// How it was paid, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// The data of `payment.voided`.
#[derive(Clone, Debug, Serialize)]
pub struct Voided {
    /// The provider's id.
    pub payment_id: String,
    /// What it was.
    pub amount: Money,
    /// What it paid.
    pub invoice_ids: Vec<String>,
    /// RFC 3339.
    pub voided_at: String,
}

/// `payment.record`.
pub fn record_payment() -> EventType {
    about_invoice(
        RECORD_PAYMENT,
        "Records a payment of an invoice; without an amount, of all that is open.",
        r#"{"amount": "$amount", "account_id": "$text", "entry_date": "$date", "method": "$text"}"#,
        r#"{"amount": "1000.00"}"#,
    )
}

/// `payment.void`.
pub fn void_payment() -> EventType {
    EventType::command(VOID_PAYMENT, "Takes a recorded payment back, so that its invoices are open again.")
        .data(object(&["payment_id"], json(r#"{"payment_id": "$text"}"#)), json(r#"{"payment_id": "pay1"}"#))
        .ordered_by("data.payment_id")
}

/// `payment.recorded`.
pub fn recorded() -> EventType {
    event(
        RECORDED,
        "A payment was recorded.",
        &["amount", "invoice_ids"],
        compact_json!(
            r#"{
        "payment_id": "$text", "amount": "$money", "invoice_ids": "$ids", "entry_date": "$date",
        "method": "$any_text"
    }"#
        ),
        compact_json!(
            r#"{
        "payment_id": "pay1", "amount": "$DKK 1000.00", "invoice_ids": ["inv1"], "entry_date": "2026-11-25"
    }"#
        ),
    )
}

/// `payment.voided`.
pub fn voided() -> EventType {
    event(
        VOIDED,
        "A payment was taken back.",
        &["payment_id", "amount", "invoice_ids", "voided_at"],
        r#"{"payment_id": "$text", "amount": "$money", "invoice_ids": "$ids", "voided_at": "$text"}"#,
        compact_json!(
            r#"{
        "payment_id": "pay1", "amount": "$DKK 1000.00", "invoice_ids": ["inv1"],
        "voided_at": "2026-11-26T08:00:00Z"
    }"#
        ),
    )
}

fn event(name: &str, description: &str, required: &[&str], properties: &str, example: &str) -> EventType {
    EventType::event(name, description).data(object(required, json(properties)), json(example))
}
