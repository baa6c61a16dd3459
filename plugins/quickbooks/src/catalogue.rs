use switchyard_event_types::{customer, invoice, invoice_command, payment, reconcile, sales_receipt, sync};
use switchyard_sdk::compact_json;
use switchyard_sdk::manifest::literal;
use switchyard_sdk::prelude::*;

/// What a webhook says of one entity, on its way to the handler, which may ask QuickBooks.
pub const CHANGED: &str = "_quickbooks.changed";

/// Adds all types to the manifest.
pub fn declare(manifest: Manifest) -> Manifest {
    let handled = [
        changed().ordered_by("data.key"),
        customer::upsert_customer(),
        invoice_command::create_invoice(),
        invoice_command::send_invoice(),
        invoice_command::query_invoice(),
        sales_receipt::create_sales_receipt(),
        payment::record_payment(),
        payment::void_payment(),
    ];
    let emitted = [
        changed(),
        customer::contact_created(),
        customer::contact_updated(),
        invoice::created(),
        invoice::sent(),
        invoice::updated(),
        invoice::paid(),
        invoice::voided(),
        invoice::found(),
        payment::recorded(),
        payment::voided(),
        sales_receipt::created(),
        reconcile::mismatched(),
        reconcile::reconciled(),
        sync::reset(),
    ];
    let manifest = handled.into_iter().fold(manifest, Manifest::handles);
    emitted.into_iter().fold(manifest, Manifest::emits)
}

fn changed() -> EventType {
    let schema = literal(compact_json!(
        r#"{
    "type": "object",
    "required": ["key", "entity", "id", "operation"],
    "properties": {
        "key": {"type": "string", "minLength": 1}, "entity": {"type": "string", "minLength": 1}, "id": {"type": "string", "minLength": 1},
        "operation": {"enum": ["created", "updated", "deleted", "merged", "voided", "emailed"]},
        "time": {"type": "string"}
    },
    "additionalProperties": true
}"#
    ));
    let example = literal(compact_json!(
        r#"{
    "key": "invoice:239", "entity": "invoice", "id": "239", "operation": "updated", "time": "2026-11-20T13:31:25Z"
}"#
    ));
    EventType::event(CHANGED, "Something changed at QuickBooks; what it is now has to be fetched.")
        .data(schema, example)
}
