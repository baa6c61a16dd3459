use serde_json::Value;
pub use switchyard_sdk::manifest::{joined, object};
use switchyard_sdk::manifest::{literal, spelled};
use switchyard_sdk::prelude::*;

/// What stands for its JSON in every schema and example. All of them are text that is read when a manifest is asked for:
/// code that builds as much is larger than what the types are for.
fn named(name: &str) -> Option<Value> {
    if let Some((currency, amount)) = name.split_once(' ') {
        return Some(Money { amount: amount.to_owned(), currency: currency.to_owned() }.to_json());
    }
    Some(literal(match name {
        // Text that is not empty.
        "text" => r#"{"type": "string", "minLength": 1}"#,
        // Any text.
        "any_text" => r#"{"type": "string"}"#,
        "boolean" => r#"{"type": "boolean"}"#,
        "count" => r#"{"type": "integer", "minimum": 0}"#,
        // A calendar day.
        "date" => r#"{"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}"#,
        // A list of ids.
        "ids" => r#"{"type": "array", "items": {"type": "string", "minLength": 1}}"#,
        // An e-mail address in a command.
        "email" => r#"{"type": "string", "pattern": "^[^@\\s]+@[^@\\s]+$", "x-person": "email"}"#,
        // A positive amount in a command.
        "amount" => r#"{"type": "string", "pattern": "^[0-9]{1,12}(\\.[0-9]{1,2})?$"}"#,
        // A decimal number in a command.
        "decimal" => r#"{"type": "string", "pattern": "^-?[0-9]{1,12}(\\.[0-9]{1,4})?$"}"#,
        // An ISO 4217 code.
        "currency" => r#"{"type": "string", "pattern": "^[A-Z]{3}$"}"#,
        // How an invoice stands.
        "state" => r#"{"enum": ["draft", "approved", "voided"]}"#,
        "money" => return Some(Money::schema()),
        "customer" => return Some(crate::customer::schema()),
        "lines" => return Some(crate::invoice_command::lines()),
        "line" => return Some(crate::invoice_command::line()),
        "mismatch" => return Some(crate::reconcile::mismatch()),
        "example_customer" => return Some(crate::customer::example()),
        "example_line" => return Some(crate::invoice_command::example_line()),
        _ => return None,
    }))
}

/// JSON from text, in which `"$name"` stands for what [`named`] has, and `"$DKK 1.00"` for an amount.
pub fn json(text: &str) -> Value {
    spelled(text, &named)
}

/// A command about one invoice; those about the same one are handled one after the other.
pub fn about_invoice(name: &str, description: &str, properties: &str, example: &str) -> EventType {
    let schema = object(&["invoice_id"], joined(json(r#"{"invoice_id": "$text"}"#), json(properties)));
    EventType::command(name, description)
        .data(schema, joined(json(r#"{"invoice_id": "inv1"}"#), json(example)))
        .ordered_by("data.invoice_id")
}
