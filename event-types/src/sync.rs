use serde::Serialize;
use switchyard_sdk::compact_json;
use switchyard_sdk::prelude::*;

use crate::schema::{json, object};

/// The place up to which changes were read is no longer valid.
pub const RESET: &str = "sync.reset";

/// The data of `sync.reset`.
#[derive(Clone, Debug, Serialize)]
pub struct Reset {
    /// Why: the provider's words or ours.
    pub reason: String,
    /// What is read anew: a mailbox, a calendar, a company.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The place that was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The place that reading goes on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// `sync.reset`.
pub fn reset() -> EventType {
    let schema =
        object(&["reason"], json(r#"{"reason": "$text", "scope": "$text", "from": "$any_text", "to": "$any_text"}"#));
    let example = json(compact_json!(
        r#"{
    "reason": "The last look was more than 30 days ago", "scope": "9130350", "from": "2026-10-01T00:00:00Z",
    "to": "2026-11-01T00:00:00Z"
}"#
    ));
    EventType::event(
        RESET,
        "The provider no longer knows the place up to which changes were read; what happened since may be missing.",
    )
    .data(schema, example)
}
