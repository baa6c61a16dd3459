use switchyard_event_types::{customer, invoice, invoice_command, payment, reconcile};
use switchyard_sdk::prelude::*;

/// Adds all types to the manifest.
pub fn declare(manifest: Manifest) -> Manifest {
    let handled = [
        customer::upsert_customer(),
        customer::upsert_contact(),
        invoice_command::create_invoice(),
        invoice_command::approve_invoice(),
        invoice_command::send_invoice(),
        invoice_command::refund_invoice(),
        invoice_command::query_invoice(),
        payment::record_payment(),
        payment::void_payment(),
    ];
    let emitted = [
        customer::contact_created(),
        customer::contact_updated(),
        invoice::created(),
        invoice::approved(),
        invoice::sent(),
        invoice::updated(),
        invoice::paid(),
        invoice::voided(),
        invoice::refunded(),
        invoice::found(),
        payment::recorded(),
        payment::voided(),
        reconcile::mismatched(),
        reconcile::reconciled(),
    ];
    let manifest = handled.into_iter().fold(manifest, Manifest::handles);
    emitted.into_iter().fold(manifest, Manifest::emits)
}
