use serde_json::{Value, json};
use switchyard_sdk::prelude::*;

/// An object with these required and known members; further ones are taken.
pub fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": true })
}

/// Text that is not empty.
pub fn text() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

/// A calendar day.
pub fn date() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" })
}

/// A list of ids.
pub fn ids() -> Value {
    json!({ "type": "array", "items": text() })
}

/// An e-mail address in a command.
pub fn email() -> Value {
    json!({ "type": "string", "pattern": "^[^@\\s]+@[^@\\s]+$", "x-person": "email" })
}

/// A positive amount in a command.
pub fn amount() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]{1,12}(\\.[0-9]{1,2})?$" })
}

/// A decimal number in a command.
pub fn decimal() -> Value {
    json!({ "type": "string", "pattern": "^-?[0-9]{1,12}(\\.[0-9]{1,4})?$" })
}

/// An ISO 4217 code.
pub fn currency() -> Value {
    json!({ "type": "string", "pattern": "^[A-Z]{3}$" })
}

/// An amount in an example.
pub fn dkk(amount: &str) -> Value {
    json!({ "amount": amount, "currency": "DKK" })
}

/// The members of both objects, those of `second` last.
pub fn joined(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::Object(mut first), Value::Object(second)) => {
            first.extend(second);
            Value::Object(first)
        }
        (first, _) => first,
    }
}

/// A command about one invoice; those about the same one are handled one after the other.
pub fn about_invoice(name: &str, description: &str, properties: Value, example: Value) -> EventType {
    let schema = object(&["invoice_id"], joined(json!({ "invoice_id": text() }), properties));
    EventType::command(name, description)
        .data(schema, joined(json!({ "invoice_id": "inv1" }), example))
        .ordered_by("data.invoice_id")
}
