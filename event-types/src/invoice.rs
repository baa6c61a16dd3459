use serde::Serialize;
use switchyard_sdk::compact_json;
use switchyard_sdk::prelude::*;

use crate::schema::{joined, json, object};

/// An invoice was created.
pub const CREATED: &str = "invoice.created";

/// An invoice was booked.
pub const APPROVED: &str = "invoice.approved";

/// An invoice was sent.
pub const SENT: &str = "invoice.sent";

/// An invoice changed in another way.
pub const UPDATED: &str = "invoice.updated";

/// An invoice was paid in full.
pub const PAID: &str = "invoice.paid";

/// An invoice was taken back.
pub const VOIDED: &str = "invoice.voided";

/// An invoice was credited.
pub const REFUNDED: &str = "invoice.refunded";

/// The answer to `invoice.query`.
pub const FOUND: &str = "invoice.found";

/// What every event about an invoice says of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct About {
    /// The provider's id.
    pub invoice_id: String,
    /// The number that the customer sees, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Whom it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_id: Option<String>,
    /// The run's reference, where a command of this hub caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub_ref: Option<String>,
    /// The caller's own reference, where it gave one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// The data of `invoice.created`.
#[derive(Clone, Debug, Serialize)]
pub struct Created {
    /// Which; the contact must be set.
    #[serde(flatten)]
    pub about: About,
    /// With tax.
    pub total: Money,
    /// The tax in it.
    pub tax: Money,
    /// When it is to be paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_date: Option<String>,
    /// `draft`, `approved` or `voided`; a provider without drafts says `approved`.
    pub state: String,
}

/// The data of `invoice.approved`.
#[derive(Clone, Debug, Serialize)]
pub struct Approved {
    /// Which.
    #[serde(flatten)]
    pub about: About,
    /// RFC 3339.
    pub approved_at: String,
    /// With tax.
    pub total: Money,
}

/// The data of `invoice.sent`.
#[derive(Clone, Debug, Serialize)]
pub struct Sent {
    /// Which.
    #[serde(flatten)]
    pub about: About,
    /// `sent`, or further where the provider knows that it was opened.
    pub sent_state: String,
    /// The address, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// RFC 3339, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<String>,
}

/// The data of `invoice.updated`.
#[derive(Clone, Debug, Serialize)]
pub struct Updated {
    /// Which.
    #[serde(flatten)]
    pub about: About,
    /// What changed: `details`, `balance`, `sent_state`.
    pub changed: Vec<String>,
    /// With tax.
    pub total: Money,
    /// What is open.
    pub balance: Money,
}

/// The data of `invoice.paid`.
#[derive(Clone, Debug, Serialize)]
pub struct Paid {
    /// Which.
    #[serde(flatten)]
    pub about: About,
    /// RFC 3339.
    pub paid_at: String,
    /// With tax.
    pub total: Money,
    /// The payments, where they are known.
    pub payment_ids: Vec<String>,
}

/// The data of `invoice.voided`.
#[derive(Clone, Debug, Serialize)]
pub struct Voided {
    /// Which.
    #[serde(flatten)]
    pub about: About,
    /// RFC 3339.
    pub voided_at: String,
}

/// The data of `invoice.refunded`.
#[derive(Clone, Debug, Serialize)]
pub struct Refunded {
    /// The invoice that was credited.
    #[serde(flatten)]
    pub about: About,
    /// The provider's id of the credit note.
    pub credit_note_id: String,
    /// The credit note's number, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credit_note_number: Option<String>,
    /// What was credited, with tax, as a positive amount.
    pub total: Money,
    /// The tax in it, as a positive amount.
    pub tax: Money,
    /// `draft`, `approved` or `voided`.
    pub state: String,
    /// RFC 3339.
    pub refunded_at: String,
}

/// The data of `invoice.found`.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// Which.
    #[serde(flatten)]
    pub about: About,
    /// Whether the provider has it, or was last seen to have it.
    pub found: bool,
    /// Whether this is what was last seen, because the provider could not be asked.
    pub stale: bool,
    /// RFC 3339: when it stood so.
    pub as_of: String,
    /// All else, of an invoice that was found.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
}

/// How an invoice stands.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// `draft`, `approved` or `voided`.
    pub state: String,
    /// Whether nothing is open.
    pub is_paid: bool,
    /// `unsent`, `sent`, or further where the provider knows that it was opened.
    pub sent_state: String,
    /// With tax.
    pub total: Money,
    /// The tax in it.
    pub tax: Money,
    /// What is open.
    pub balance: Money,
    /// When it is to be paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_date: Option<String>,
}

/// `invoice.created`.
pub fn created() -> EventType {
    event(
        CREATED,
        "An invoice was created.",
        &["contact_id", "total", "tax", "state"],
        r#"{"total": "$money", "tax": "$money", "due_date": "$date", "state": "$state"}"#,
        r#"{"total": "$DKK 1000.00", "tax": "$DKK 200.00", "due_date": "2026-11-28", "state": "draft"}"#,
    )
}

/// `invoice.approved`.
pub fn approved() -> EventType {
    event(
        APPROVED,
        "An invoice was approved: it is booked and has a number.",
        &["approved_at", "total"],
        r#"{"approved_at": "$text", "total": "$money"}"#,
        r#"{"approved_at": "2026-11-20T13:31:25Z", "total": "$DKK 1000.00"}"#,
    )
}

/// `invoice.sent`.
pub fn sent() -> EventType {
    event(
        SENT,
        "An invoice was sent to its customer.",
        &["sent_state"],
        compact_json!(
            r#"{
        "sent_state": "$text", "to": {"type": "string", "x-person": "email"}, "sent_at": "$text"
    }"#
        ),
        r#"{"sent_state": "sent"}"#,
    )
}

/// `invoice.updated`.
pub fn updated() -> EventType {
    event(
        UPDATED,
        "An invoice changed in another way: its amount, balance, due date or contact.",
        &["changed", "total", "balance"],
        compact_json!(
            r#"{
        "changed": {"type": "array", "items": "$text"}, "total": "$money", "balance": "$money"
    }"#
        ),
        r#"{"changed": ["balance"], "total": "$DKK 1000.00", "balance": "$DKK 400.00"}"#,
    )
}

/// `invoice.paid`.
pub fn paid() -> EventType {
    event(
        PAID,
        "An invoice was paid in full.",
        &["paid_at", "total", "payment_ids"],
        r#"{"paid_at": "$text", "total": "$money", "payment_ids": "$ids"}"#,
        r#"{"paid_at": "2026-11-25T08:00:00Z", "total": "$DKK 1000.00", "payment_ids": ["pay1"]}"#,
    )
}

/// `invoice.voided`.
pub fn voided() -> EventType {
    event(
        VOIDED,
        "An invoice was voided.",
        &["voided_at"],
        r#"{"voided_at": "$text"}"#,
        r#"{"voided_at": "2026-11-25T08:00:00Z"}"#,
    )
}

/// `invoice.refunded`.
pub fn refunded() -> EventType {
    event(
        REFUNDED,
        "An invoice was credited, in part or as a whole.",
        &["credit_note_id", "total", "tax", "state", "refunded_at"],
        compact_json!(
            r#"{
        "credit_note_id": "$text", "credit_note_number": "$text", "total": "$money", "tax": "$money",
        "state": "$state", "refunded_at": "$text"
    }"#
        ),
        compact_json!(
            r#"{
        "credit_note_id": "inv2", "credit_note_number": "1002", "total": "$DKK 1000.00", "tax": "$DKK 200.00",
        "state": "approved", "refunded_at": "2026-11-26T08:00:00Z"
    }"#
        ),
    )
}

/// `invoice.found`.
pub fn found() -> EventType {
    event(
        FOUND,
        "How an invoice stands, in answer to `invoice.query`; its subject is the command's id.",
        &["found", "stale", "as_of"],
        compact_json!(
            r#"{
        "found": "$boolean", "stale": "$boolean", "as_of": "$text", "state": "$state",
        "is_paid": "$boolean", "sent_state": "$text", "total": "$money", "tax": "$money",
        "balance": "$money", "due_date": "$date"
    }"#
        ),
        compact_json!(
            r#"{
        "found": true, "stale": true, "as_of": "2026-11-25T08:00:00Z", "state": "approved", "is_paid": false,
        "sent_state": "sent", "total": "$DKK 1000.00", "tax": "$DKK 200.00", "balance": "$DKK 400.00",
        "due_date": "2026-11-28"
    }"#
        ),
    )
}

/// A type about an invoice: all of them name it, its contact and its number where it has one.
pub(crate) fn event(name: &str, description: &str, required: &[&str], properties: &str, example: &str) -> EventType {
    let all = json(compact_json!(
        r#"{
    "invoice_id": "$text", "number": "$any_text", "contact_id": "$any_text",
    "hub_ref": "$any_text", "reference": "$any_text"
}"#
    ));
    let shown = json(r#"{"invoice_id": "inv1", "number": "1001", "contact_id": "con1"}"#);
    let required: Vec<&str> = ["invoice_id"].iter().chain(required).copied().collect();
    EventType::event(name, description)
        .data(object(&required, joined(all, json(properties))), joined(shown, json(example)))
}
