use serde::{Deserialize, Serialize};
use switchyard_sdk::compact_json;
use switchyard_sdk::prelude::*;

use crate::customer::Customer;
use crate::invoice_command::Line;
use crate::schema::{json, object};

/// Books a sale that was paid on the spot.
pub const CREATE_SALES_RECEIPT: &str = "salesreceipt.create";

/// A sale that was paid on the spot was booked.
pub const CREATED: &str = "salesreceipt.created";

/// The data of `salesreceipt.create`.
#[derive(Clone, Debug, Deserialize)]
pub struct CreateSalesReceipt {
    /// Who bought; found or created.
    pub customer: Customer,
    /// ISO 4217 code; none means that of the config.
    #[serde(default)]
    pub currency: Option<String>,
    /// What was sold.
    pub lines: Vec<Line>,
    /// The day of the sale; none means today in UTC.
    #[serde(default)]
    pub entry_date: Option<String>,
    /// The caller's own reference, shown to the customer.
    #[serde(default)]
    pub reference: Option<String>,
    /// The provider's payment method.
    #[serde(default)]
    pub method: Option<String>,
    /// The provider's account that the money went to; none means that of the config.
    #[serde(default)]
    pub account_id: Option<String>,
}

/// The data of `salesreceipt.created`.
#[derive(Clone, Debug, Serialize)]
pub struct Created {
    /// The provider's id.
    pub salesreceipt_id: String,
    /// The number that the customer sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Who bought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_id: Option<String>,
    /// With tax.
    pub total: Money,
    /// The tax in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tax: Option<Money>,
    /// The day of the sale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_date: Option<String>,
    /// The run's reference, where a command of this hub caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub_ref: Option<String>,
    /// The caller's own reference, where it gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// `salesreceipt.create`.
pub fn create_sales_receipt() -> EventType {
    let schema = object(
        &["customer", "lines"],
        json(compact_json!(
            r#"{
        "customer": "$customer",
        "currency": "$currency",
        "lines": "$lines",
        "entry_date": "$date",
        "reference": {"type": "string", "maxLength": 200},
        "method": "$text",
        "account_id": "$text"
    }"#
        )),
    );
    let example = json(r#"{"customer": "$example_customer", "lines": ["$example_line"], "reference": "Job 4712"}"#);
    EventType::command(CREATE_SALES_RECEIPT, "Books a sale that was paid on the spot.").data(schema, example)
}

/// `salesreceipt.created`.
pub fn created() -> EventType {
    let schema = object(
        &["salesreceipt_id", "total"],
        json(compact_json!(
            r#"{
        "salesreceipt_id": "$text", "number": "$any_text", "contact_id": "$any_text",
        "total": "$money", "tax": "$money", "entry_date": "$date",
        "hub_ref": "$any_text", "reference": "$any_text"
    }"#
        )),
    );
    let example = json(compact_json!(
        r#"{
    "salesreceipt_id": "sal1", "number": "2001", "contact_id": "con1", "total": "$DKK 1000.00",
    "tax": "$DKK 200.00", "entry_date": "2026-11-25", "reference": "Job 4712"
}"#
    ));
    EventType::event(CREATED, "A sale that was paid on the spot was booked.").data(schema, example)
}
