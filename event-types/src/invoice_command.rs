use serde::Deserialize;
use serde_json::Value;
use switchyard_sdk::compact_json;
use switchyard_sdk::prelude::*;

use crate::customer::Customer;
use crate::schema::{about_invoice, json, object};

/// Creates an invoice, and approves it unless told otherwise.
pub const CREATE_INVOICE: &str = "invoice.create";

/// Approves a draft.
pub const APPROVE_INVOICE: &str = "invoice.approve";

/// Sends an invoice to its customer by e-mail.
pub const SEND_INVOICE: &str = "invoice.send";

/// Credits an invoice.
pub const REFUND_INVOICE: &str = "invoice.refund";

/// Asks how an invoice stands; the answer is `invoice.found`.
pub const QUERY_INVOICE: &str = "invoice.query";

/// The data of `invoice.create`.
#[derive(Clone, Debug, Deserialize)]
pub struct CreateInvoice {
    /// Whom it is for; found or created.
    pub customer: Customer,
    /// ISO 4217 code; none means that of the config.
    #[serde(default)]
    pub currency: Option<String>,
    /// What is sold.
    pub lines: Vec<Line>,
    /// The day it is dated; none means today in UTC.
    #[serde(default)]
    pub entry_date: Option<String>,
    /// Days until it is due; none means that of the config.
    #[serde(default)]
    pub due_days: Option<u16>,
    /// The caller's own reference, shown to the customer.
    #[serde(default)]
    pub reference: Option<String>,
    /// Whether it is booked at once, where the provider knows drafts.
    #[serde(default = "yes")]
    pub approve: bool,
}

/// One line of an invoice or sales receipt.
#[derive(Clone, Debug, Deserialize)]
pub struct Line {
    /// What the customer reads.
    pub description: String,
    /// A number or decimal text.
    pub quantity: Value,
    /// Decimal text.
    pub unit_price: String,
    /// The provider's product or item; none means that of the config.
    #[serde(default)]
    pub product_id: Option<String>,
    /// The provider's tax code, where lines carry one; none means that of the config.
    #[serde(default)]
    pub tax_code: Option<String>,
}

impl Line {
    /// The quantity as decimal text; none if it is neither a number nor text.
    pub fn quantity_text(&self) -> Option<String> {
        match &self.quantity {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }
}

/// The data of `invoice.approve`.
#[derive(Clone, Debug, Deserialize)]
pub struct ApproveInvoice {
    /// The provider's id.
    pub invoice_id: String,
}

/// The data of `invoice.send`.
#[derive(Clone, Debug, Deserialize)]
pub struct SendInvoice {
    /// The provider's id.
    pub invoice_id: String,
    /// The address; none means the customer's.
    #[serde(default)]
    pub to: Option<String>,
    /// The e-mail's subject; none means the provider's or that of the config.
    #[serde(default)]
    pub subject: Option<String>,
    /// The e-mail's text; none means the provider's or that of the config.
    #[serde(default)]
    pub message: Option<String>,
    /// Whether it is sent although it was sent before.
    #[serde(default)]
    pub again: bool,
}

/// The data of `invoice.refund`.
#[derive(Clone, Debug, Deserialize)]
pub struct RefundInvoice {
    /// The provider's id of the invoice that is credited.
    pub invoice_id: String,
    /// What is credited; none means all of the invoice's lines.
    #[serde(default)]
    pub lines: Option<Vec<Line>>,
    /// The day it is dated; none means today in UTC.
    #[serde(default)]
    pub entry_date: Option<String>,
    /// Why, shown to the customer.
    #[serde(default)]
    pub reason: Option<String>,
    /// Whether it is booked at once, where the provider knows drafts.
    #[serde(default = "yes")]
    pub approve: bool,
}

/// The data of `invoice.query`.
#[derive(Clone, Debug, Deserialize)]
pub struct QueryInvoice {
    /// The provider's id.
    pub invoice_id: String,
}

/// `invoice.create`.
pub fn create_invoice() -> EventType {
    let schema = object(
        &["customer", "lines"],
        json(compact_json!(
            r#"{
        "customer": "$customer",
        "currency": "$currency",
        "lines": "$lines",
        "entry_date": "$date",
        "due_days": {"type": "integer", "minimum": 0, "maximum": 365},
        "reference": {"type": "string", "maxLength": 200},
        "approve": "$boolean"
    }"#
        )),
    );
    let example = json(compact_json!(
        r#"{
    "customer": "$example_customer",
    "lines": ["$example_line"],
    "reference": "Job 4711"
}"#
    ));
    EventType::command(CREATE_INVOICE, "Creates an invoice for a customer, and approves it unless told otherwise.")
        .data(schema, example)
}

/// `invoice.approve`.
pub fn approve_invoice() -> EventType {
    about_invoice(APPROVE_INVOICE, "Approves a draft, which books it and gives it a number.", r#"{}"#, r#"{}"#)
}

/// `invoice.send`.
pub fn send_invoice() -> EventType {
    about_invoice(
        SEND_INVOICE,
        "Sends a booked invoice to its customer by e-mail; one that was sent is not sent again unless told so.",
        compact_json!(
            r#"{
        "to": "$email",
        "subject": {"type": "string", "minLength": 1, "maxLength": 250},
        "message": {"type": "string", "minLength": 1, "maxLength": 10000},
        "again": "$boolean"
    }"#
        ),
        r#"{"to": "bogholderi@kunde.test", "message": "Thank you for your order."}"#,
    )
}

/// `invoice.refund`.
pub fn refund_invoice() -> EventType {
    about_invoice(
        REFUND_INVOICE,
        "Credits a booked invoice by a credit note over the given lines, or over all of it.",
        compact_json!(
            r#"{
        "lines": "$lines",
        "entry_date": "$date",
        "reason": {"type": "string", "maxLength": 200},
        "approve": "$boolean"
    }"#
        ),
        r#"{"reason": "The job was cancelled"}"#,
    )
}

/// `invoice.query`.
pub fn query_invoice() -> EventType {
    about_invoice(
        QUERY_INVOICE,
        "Asks how an invoice stands. Answered by `invoice.found`, from what was last seen while the provider is down.",
        r#"{}"#,
        r#"{}"#,
    )
}

pub(crate) fn lines() -> Value {
    json(r#"{"type": "array", "minItems": 1, "maxItems": 500, "items": "$line"}"#)
}

pub(crate) fn line() -> Value {
    object(
        &["description", "quantity", "unit_price"],
        json(compact_json!(
            r#"{
        "description": "$text",
        "quantity": {"anyOf": ["$decimal", {"type": "number"}]},
        "unit_price": "$decimal",
        "product_id": "$text",
        "tax_code": "$text"
    }"#
        )),
    )
}

pub(crate) fn example_line() -> Value {
    json(r#"{"description": "Emergency call, burst pipe", "quantity": 2, "unit_price": "400.00"}"#)
}

fn yes() -> bool {
    true
}
