//! Every type says what it means, and what the structs read and write is what the schemas say.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use std::collections::BTreeSet;

use serde_json::{Value, json};
use switchyard_event_types::{customer, invoice, invoice_command, payment, reconcile, sales_receipt, sync};
use switchyard_sdk::manifest::{EventKind, EventType};
use switchyard_sdk::{Event, prelude::Money};

fn commands() -> Vec<EventType> {
    vec![
        customer::upsert_customer(),
        customer::upsert_contact(),
        invoice_command::create_invoice(),
        invoice_command::approve_invoice(),
        invoice_command::send_invoice(),
        invoice_command::refund_invoice(),
        invoice_command::query_invoice(),
        payment::record_payment(),
        payment::void_payment(),
        sales_receipt::create_sales_receipt(),
    ]
}

fn events() -> Vec<EventType> {
    vec![
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
        sales_receipt::created(),
        reconcile::mismatched(),
        reconcile::reconciled(),
        sync::reset(),
    ]
}

#[track_caller]
fn assert_follows(event_type: &EventType, data: &Value) {
    let validator = jsonschema::validator_for(event_type.schema.as_ref().unwrap()).unwrap();
    let faults: Vec<String> = validator.iter_errors(data).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{}: {faults:?} in {data}", event_type.name);
}

fn example(event_type: &EventType) -> Event {
    Event::new(&event_type.name, event_type.example.clone().unwrap())
}

#[test]
fn every_type_has_a_schema_that_its_example_follows() {
    let mut names = BTreeSet::new();
    for (kind, types) in [(EventKind::Command, commands()), (EventKind::Event, events())] {
        for event_type in types {
            assert_eq!(event_type.kind, kind, "{}", event_type.name);
            assert!(event_type.description.ends_with('.'), "{}", event_type.name);
            assert_follows(&event_type, event_type.example.as_ref().unwrap());
            assert!(names.insert(event_type.name));
        }
    }
}

#[test]
fn every_command_is_read_from_its_example() {
    example(&customer::upsert_customer()).parse::<customer::Customer>().unwrap();
    let create: invoice_command::CreateInvoice = example(&invoice_command::create_invoice()).parse().unwrap();
    assert!(create.approve);
    assert_eq!(create.lines[0].quantity_text().as_deref(), Some("2"));
    example(&invoice_command::approve_invoice()).parse::<invoice_command::ApproveInvoice>().unwrap();
    let send: invoice_command::SendInvoice = example(&invoice_command::send_invoice()).parse().unwrap();
    assert!(!send.again);
    let refund: invoice_command::RefundInvoice = example(&invoice_command::refund_invoice()).parse().unwrap();
    assert!(refund.lines.is_none() && refund.approve);
    example(&invoice_command::query_invoice()).parse::<invoice_command::QueryInvoice>().unwrap();
    let record: payment::RecordPayment = example(&payment::record_payment()).parse().unwrap();
    assert_eq!(record.amount.as_deref(), Some("1000.00"));
    example(&payment::void_payment()).parse::<payment::VoidPayment>().unwrap();
    example(&sales_receipt::create_sales_receipt()).parse::<sales_receipt::CreateSalesReceipt>().unwrap();
}

#[test]
fn what_the_structs_write_follows_the_schemas_and_leaves_out_the_unknown() {
    let about = invoice::About { invoice_id: "inv1".to_owned(), ..invoice::About::default() };
    let money = || Money::from_minor(100_000, "DKK");
    let named = invoice::About { contact_id: Some("con1".to_owned()), ..about.clone() };
    let created = json!(invoice::Created {
        about: named,
        total: money(),
        tax: money(),
        due_date: None,
        state: "draft".to_owned()
    });
    assert_follows(&invoice::created(), &created);
    assert_eq!(created.get("number"), None);
    let found = |standing| {
        json!(invoice::Found {
            about: about.clone(),
            found: standing != json!(null),
            stale: false,
            as_of: "2026-11-25T08:00:00Z".to_owned(),
            standing: (standing != json!(null)).then(|| invoice::Standing {
                state: "approved".to_owned(),
                is_paid: false,
                sent_state: "sent".to_owned(),
                total: money(),
                tax: money(),
                balance: money(),
                due_date: None
            })
        })
    };
    assert_follows(&invoice::found(), &found(json!(1)));
    assert_eq!(found(json!(1))["state"], "approved");
    assert_follows(&invoice::found(), &found(json!(null)));
    let mismatch =
        reconcile::Mismatch { field: "tax".to_owned(), expected: money(), actual: Money::from_minor(0, "DKK") };
    let mismatched =
        reconcile::Mismatched { about, mismatches: vec![mismatch], checked_at: "2026-11-26T03:00:00Z".to_owned() };
    assert_follows(&reconcile::mismatched(), &json!(mismatched));
}

#[test]
fn commands_that_ask_for_nonsense_are_refused_by_their_schemas() {
    let refused = [
        (invoice_command::create_invoice(), json!({ "customer": { "name": "K" }, "lines": [] })),
        (invoice_command::send_invoice(), json!({ "invoice_id": "inv1", "to": "nobody" })),
        (payment::record_payment(), json!({ "invoice_id": "inv1", "amount": "-5" })),
        (payment::record_payment(), json!({ "invoice_id": "" })),
        (payment::void_payment(), json!({})),
    ];
    for (event_type, data) in refused {
        let validator = jsonschema::validator_for(event_type.schema.as_ref().unwrap()).unwrap();
        assert!(!validator.is_valid(&data), "{} takes {data}", event_type.name);
    }
}
