use serde_json::{Value, json};
use switchyard_sdk::prelude::*;

/// Finds a contact and updates it, or creates it.
pub const UPSERT_CONTACT: &str = "contact.upsert";

/// Creates an invoice, and approves it unless told otherwise.
pub const CREATE_INVOICE: &str = "invoice.create";

/// Approves a draft.
pub const APPROVE_INVOICE: &str = "invoice.approve";

/// Records a payment of an invoice.
pub const RECORD_PAYMENT: &str = "payment.record";

/// Adds all types to the manifest.
pub fn declare(manifest: Manifest) -> Manifest {
    manifest
        .handles(upsert_contact())
        .handles(create_invoice())
        .handles(approve_invoice())
        .handles(record_payment())
        .emits(contact("contact.created", "A contact was created."))
        .emits(contact("contact.updated", "A contact was changed."))
        .emits(invoice_created())
        .emits(invoice_approved())
        .emits(invoice_sent())
        .emits(invoice_updated())
        .emits(invoice_paid())
        .emits(invoice_voided())
        .emits(payment_recorded())
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties, "additionalProperties": true })
}

fn text() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

fn date() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$" })
}

fn dkk(amount: &str) -> Value {
    json!({ "amount": amount, "currency": "DKK" })
}

fn customer() -> Value {
    object(
        &["name"],
        json!({
            "name": text(),
            "type": { "enum": ["company", "person"] },
            "email": { "type": "string", "pattern": "^[^@\\s]+@[^@\\s]+$", "x-person": "email" },
            "phone": { "type": "string", "minLength": 1, "x-person": "phone" },
            "registration_no": text(),
            "country": { "type": "string", "pattern": "^[A-Z]{2}$" },
            "street": { "type": "string" },
            "zip": { "type": "string" },
            "city": { "type": "string" }
        }),
    )
}

fn example_customer() -> Value {
    json!({ "name": "Kunde ApS", "email": "bogholderi@kunde.test", "registration_no": "12345678", "country": "DK" })
}

fn upsert_contact() -> EventType {
    EventType::command(UPSERT_CONTACT, "Finds a contact and updates it, or creates it.")
        .data(customer(), example_customer())
}

fn create_invoice() -> EventType {
    let decimal = json!({ "type": "string", "pattern": "^-?[0-9]{1,12}(\\.[0-9]{1,4})?$" });
    let line = object(
        &["description", "quantity", "unit_price"],
        json!({
            "description": text(),
            "quantity": { "anyOf": [decimal, { "type": "number" }] },
            "unit_price": decimal,
            "product_id": text()
        }),
    );
    let schema = object(
        &["customer", "lines"],
        json!({
            "customer": customer(),
            "currency": { "type": "string", "pattern": "^[A-Z]{3}$" },
            "lines": { "type": "array", "minItems": 1, "maxItems": 500, "items": line },
            "entry_date": date(),
            "due_days": { "type": "integer", "minimum": 0, "maximum": 365 },
            "reference": { "type": "string", "maxLength": 200 },
            "approve": { "type": "boolean" }
        }),
    );
    let example = json!({
        "customer": example_customer(),
        "lines": [{ "description": "Emergency call, burst pipe", "quantity": 2, "unit_price": "400.00" }],
        "reference": "Job 4711"
    });
    EventType::command(CREATE_INVOICE, "Creates an invoice for a customer, and approves it unless told otherwise.")
        .data(schema, example)
}

fn approve_invoice() -> EventType {
    let schema = object(&["invoice_id"], json!({ "invoice_id": text() }));
    EventType::command(APPROVE_INVOICE, "Approves a draft, which books it and gives it a number.")
        .data(schema, json!({ "invoice_id": "inv1" }))
        .ordered_by("data.invoice_id")
}

fn record_payment() -> EventType {
    let schema = object(
        &["invoice_id"],
        json!({
            "invoice_id": text(),
            "amount": { "type": "string", "pattern": "^[0-9]{1,12}(\\.[0-9]{1,2})?$" },
            "account_id": text(),
            "entry_date": date()
        }),
    );
    let example = json!({ "invoice_id": "inv1", "amount": "1000.00" });
    EventType::command(RECORD_PAYMENT, "Records a payment of an invoice; without an amount, of all that is open.")
        .data(schema, example)
        .ordered_by("data.invoice_id")
}

fn contact(name: &str, description: &str) -> EventType {
    let schema = object(
        &["contact_id", "name"],
        json!({
            "contact_id": text(),
            "name": text(),
            "email": { "type": "string", "x-person": "email" },
            "phone": { "type": "string", "x-person": "phone" },
            "org_no": { "type": "string" }
        }),
    );
    let example = json!({
        "contact_id": "con1", "name": "Kunde ApS", "email": "bogholderi@kunde.test", "org_no": "12345678"
    });
    EventType::event(name, description).data(schema, example)
}

/// A type about an invoice: all of them name it, its contact and its number where it has one.
fn about_invoice(name: &str, description: &str, required: &[&str], properties: Value, example: Value) -> EventType {
    let mut all = json!({
        "invoice_id": text(), "number": { "type": "string" }, "contact_id": { "type": "string" },
        "hub_ref": { "type": "string" }, "reference": { "type": "string" }
    });
    let mut shown = json!({ "invoice_id": "inv1", "number": "1001", "contact_id": "con1" });
    for (into, from) in [(&mut all, properties), (&mut shown, example)] {
        if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
            into.extend(from);
        }
    }
    let required: Vec<&str> = ["invoice_id"].iter().chain(required).copied().collect();
    EventType::event(name, description).data(object(&required, all), shown)
}

fn invoice_created() -> EventType {
    about_invoice(
        "invoice.created",
        "An invoice was created.",
        &["contact_id", "total", "tax", "state"],
        json!({
            "total": Money::schema(), "tax": Money::schema(), "due_date": date(),
            "state": { "enum": ["draft", "approved", "voided"] }
        }),
        json!({ "total": dkk("1000.00"), "tax": dkk("200.00"), "due_date": "2026-11-28", "state": "draft" }),
    )
}

fn invoice_approved() -> EventType {
    about_invoice(
        "invoice.approved",
        "An invoice was approved: it is booked and has a number.",
        &["approved_at", "total"],
        json!({ "approved_at": text(), "total": Money::schema() }),
        json!({ "approved_at": "2026-11-20T13:31:25Z", "total": dkk("1000.00") }),
    )
}

fn invoice_sent() -> EventType {
    about_invoice(
        "invoice.sent",
        "An invoice was sent to its customer.",
        &["sent_state"],
        json!({ "sent_state": text() }),
        json!({ "sent_state": "sent" }),
    )
}

fn invoice_updated() -> EventType {
    about_invoice(
        "invoice.updated",
        "An invoice changed in another way: its amount, balance, due date or contact.",
        &["changed", "total", "balance"],
        json!({
            "changed": { "type": "array", "items": text() }, "total": Money::schema(), "balance": Money::schema()
        }),
        json!({ "changed": ["balance"], "total": dkk("1000.00"), "balance": dkk("400.00") }),
    )
}

fn invoice_paid() -> EventType {
    about_invoice(
        "invoice.paid",
        "An invoice was paid in full.",
        &["paid_at", "total", "payment_ids"],
        json!({
            "paid_at": text(), "total": Money::schema(), "payment_ids": { "type": "array", "items": text() }
        }),
        json!({ "paid_at": "2026-11-25T08:00:00Z", "total": dkk("1000.00"), "payment_ids": ["pay1"] }),
    )
}

fn invoice_voided() -> EventType {
    about_invoice(
        "invoice.voided",
        "An invoice was voided.",
        &["voided_at"],
        json!({ "voided_at": text() }),
        json!({ "voided_at": "2026-11-25T08:00:00Z" }),
    )
}

fn payment_recorded() -> EventType {
    let schema = object(
        &["amount", "invoice_ids"],
        json!({
            "payment_id": text(), "amount": Money::schema(),
            "invoice_ids": { "type": "array", "items": text() }, "entry_date": date()
        }),
    );
    let example = json!({
        "payment_id": "pay1", "amount": dkk("1000.00"), "invoice_ids": ["inv1"], "entry_date": "2026-11-25"
    });
    EventType::event("payment.recorded", "A payment was recorded.").data(schema, example)
}
