use serde::Serialize;
use serde_json::json;
use switchyard_sdk::prelude::*;

use crate::invoice::{self, About};
use crate::schema::{dkk, object, text};

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
    let mismatch = object(
        &["field", "expected", "actual"],
        json!({
            "field": { "enum": ["net", "tax", "total", "balance"] }, "expected": Money::schema(),
            "actual": Money::schema()
        }),
    );
    invoice::event(
        MISMATCHED,
        "The provider's figures of an invoice differ from our own calculation.",
        &["mismatches", "checked_at"],
        json!({ "mismatches": { "type": "array", "minItems": 1, "items": mismatch }, "checked_at": text() }),
        json!({
            "mismatches": [{ "field": "tax", "expected": dkk("200.00"), "actual": dkk("0.00") }],
            "checked_at": "2026-11-26T03:00:00Z"
        }),
    )
}

/// `books.reconciled`.
pub fn reconciled() -> EventType {
    let count = || json!({ "type": "integer", "minimum": 0 });
    let schema = object(
        &["checked_at", "checked", "mismatched", "skipped"],
        json!({ "checked_at": text(), "checked": count(), "mismatched": count(), "skipped": count() }),
    );
    let example = json!({ "checked_at": "2026-11-26T03:00:00Z", "checked": 128, "mismatched": 1, "skipped": 0 });
    EventType::event(RECONCILED, "The provider's invoices were compared with our own calculation.")
        .data(schema, example)
}
