use serde::Serialize;
use serde_json::Value;
use switchyard_sdk::compact_json;
use switchyard_sdk::prelude::*;

use crate::invoice::{self, About};
use crate::schema::{json, object};

/// The provider's figures of an invoice are not what they should be.
pub const MISMATCHED: &str = "invoice.mismatched";

/// The provider's figures were gone through.
pub const RECONCILED: &str = "books.reconciled";

/// The data of `invoice.mismatched`.
#[derive(Clone, Debug, Serialize)]
pub struct Mismatched {
    /// Which.
    #[serde(flatten)]
    pub about: About,
    /// Every figure that differs, at least one.
    pub mismatches: Vec<Mismatch>,
    /// RFC 3339.
    pub checked_at: String,
}

/// One figure that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// `net`, `tax`, `total` or `balance`.
    pub field: String,
    /// What we calculate.
    pub expected: Money,
    /// What the provider says.
    pub actual: Money,
}

/// The data of `books.reconciled`.
#[derive(Clone, Debug, Serialize)]
pub struct Reconciled {
    /// RFC 3339: when it was gone through.
    pub checked_at: String,
    /// How many invoices were compared.
    pub checked: u32,
    /// How many of them do not add up.
    pub mismatched: u32,
    /// How many could not be judged, because the provider did not show all they are made of.
    pub skipped: u32,
}

/// `invoice.mismatched`.
pub fn mismatched() -> EventType {
    invoice::event(
        MISMATCHED,
        "The provider's figures of an invoice differ from our own calculation.",
        &["mismatches", "checked_at"],
        r#"{"mismatches": {"type": "array", "minItems": 1, "items": "$mismatch"}, "checked_at": "$text"}"#,
        compact_json!(
            r#"{
        "mismatches": [{"field": "tax", "expected": "$DKK 200.00", "actual": "$DKK 0.00"}],
        "checked_at": "2026-11-26T03:00:00Z"
    }"#
        ),
    )
}

/// `books.reconciled`.
pub fn reconciled() -> EventType {
    let schema = object(
        &["checked_at", "checked", "mismatched", "skipped"],
        json(r#"{"checked_at": "$text", "checked": "$count", "mismatched": "$count", "skipped": "$count"}"#),
    );
    let example = json(r#"{"checked_at": "2026-11-26T03:00:00Z", "checked": 128, "mismatched": 1, "skipped": 0}"#);
    EventType::event(RECONCILED, "The provider's invoices were compared with our own calculation.")
        .data(schema, example)
}

/// One figure that differs.
pub(crate) fn mismatch() -> Value {
    object(
        &["field", "expected", "actual"],
        json(compact_json!(
            r#"{
        "field": {"enum": ["net", "tax", "total", "balance"]}, "expected": "$money",
        "actual": "$money"
    }"#
        )),
    )
}
