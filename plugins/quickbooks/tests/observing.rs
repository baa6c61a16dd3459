//! What webhooks, polls and the daily comparison make of what happens at QuickBooks.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod support;

use quickbooks::QuickBooks;
use serde_json::{Value, json};
use support::{Company, config, hint, host, keys, order, run, types};
use switchyard_sdk::testing::MockHost;
use switchyard_sdk::{Emit, PollOutput};

fn installed(company: &Company) -> MockHost {
    let host = host(company);
    host.install::<QuickBooks>(config()).unwrap();
    host
}

fn poll(host: &MockHost, schedule: &str, cursor: Option<String>) -> PollOutput {
    host.poll::<QuickBooks>(config(), schedule, cursor).unwrap()
}

/// All runs of a poll until there is no more.
fn polled(host: &MockHost, schedule: &str, cursor: &mut Option<String>) -> Vec<Emit> {
    let mut found = Vec::new();
    loop {
        let output = poll(host, schedule, cursor.take());
        found.extend(output.events);
        *cursor = output.cursor;
        if !output.has_more {
            return found;
        }
    }
}

fn new_invoice(company: &Company) -> String {
    let record = json!({ "TotalAmt": 1000.0, "Balance": 1000.0, "DocNumber": "A-1", "CustomerRef": { "value": "7" },
        "CurrencyRef": { "value": "DKK" }, "TxnTaxDetail": { "TotalTax": 200.0 } });
    company.borrow_mut().add("Invoice", record)
}

#[test]
fn webhook_and_poll_report_the_same_under_the_same_keys() {
    let (first, second) = (Company::default(), Company::default());
    let (by_hint, by_poll) = (installed(&first), installed(&second));
    let (mut told, mut cursor, mut seen) = (Vec::new(), None, Vec::new());
    for company in [&first, &second] {
        new_invoice(company);
    }
    told.extend(hint(&by_hint, "invoice", "1", "created"));
    seen.extend(polled(&by_poll, "changes", &mut cursor));
    for company in [&first, &second] {
        company.borrow_mut().pay("1", Some(40_000));
    }
    told.extend(hint(&by_hint, "payment", "2", "created"));
    seen.extend(polled(&by_poll, "changes", &mut cursor));
    for company in [&first, &second] {
        company.borrow_mut().pay("1", None);
    }
    told.extend(hint(&by_hint, "payment", "3", "created"));
    seen.extend(polled(&by_poll, "changes", &mut cursor));
    assert_eq!(
        types(&told),
        ["invoice.created", "payment.recorded", "invoice.updated", "payment.recorded", "invoice.paid"]
    );
    assert_eq!(keys(&told), keys(&seen));
    assert_eq!(told[4].data["payment_ids"], json!(["2", "3"]));
    // Repeats, late ones and another look say nothing new.
    for (entity, id) in [("invoice", "1"), ("payment", "3"), ("payment", "2")] {
        assert!(hint(&by_hint, entity, id, "updated").is_empty(), "{entity} {id}");
    }
    assert!(polled(&by_poll, "changes", &mut cursor).is_empty());
}

#[test]
fn an_invoice_that_is_opened_again_is_paid_a_second_time() {
    let company = Company::default();
    let host = installed(&company);
    let id = new_invoice(&company);
    let payment = company.borrow_mut().pay(&id, None);
    assert_eq!(types(&hint(&host, "invoice", &id, "updated")), ["invoice.created", "invoice.paid"]);
    hint(&host, "payment", &payment, "created");
    {
        let mut books = company.borrow_mut();
        books.change("Payment", &payment, json!({ "TotalAmt": 0, "Line": [], "PrivateNote": "Voided" }));
        books.change("Invoice", &id, json!({ "Balance": 1000.0, "LinkedTxn": [] }));
    }
    let events = hint(&host, "payment", &payment, "voided");
    assert_eq!(types(&events), ["payment.voided", "invoice.updated"]);
    assert_eq!(events[0].data["amount"]["amount"], "1000.00");
    company.borrow_mut().pay(&id, None);
    let events = hint(&host, "invoice", &id, "updated");
    assert_eq!(keys(&events), [format!("invoice:{id}:paid:2")]);
}

#[test]
fn voided_and_deleted_invoices_are_reported_once() {
    let company = Company::default();
    let host = installed(&company);
    let (voided, deleted) = (new_invoice(&company), new_invoice(&company));
    let mut cursor = None;
    polled(&host, "changes", &mut cursor);
    company.borrow_mut().change("Invoice", &voided, json!({ "TotalAmt": 0, "Balance": 0, "PrivateNote": "Voided" }));
    assert_eq!(types(&hint(&host, "invoice", &voided, "voided")), ["invoice.voided"]);
    company.borrow_mut().change("Invoice", &deleted, json!({ "status": "Deleted" }));
    assert_eq!(types(&hint(&host, "invoice", &deleted, "deleted")), ["invoice.voided"]);
    assert!(polled(&host, "changes", &mut cursor).is_empty());
}

#[test]
fn what_was_there_before_is_not_reported_as_new() {
    let company = Company::default();
    let (open, old, paid) = {
        let mut books = company.borrow_mut();
        (books.old_invoice(86_400), books.old_invoice(86_400), books.old_invoice(86_400))
    };
    company.borrow_mut().change("Invoice", &paid, json!({ "Balance": 0.0 }));
    let host = installed(&company);
    assert_eq!(types(&hint(&host, "invoice", &paid, "updated")), ["invoice.updated"]);
    // It was open when the installation began, since its payment is younger.
    let payment = company.borrow_mut().pay(&open, None);
    assert_eq!(types(&hint(&host, "invoice", &open, "updated")), ["invoice.paid"]);
    assert_eq!(types(&hint(&host, "payment", &payment, "created")), ["payment.recorded"]);
    let mut cursor = None;
    let found = polled(&host, "changes", &mut cursor);
    assert!(!found.iter().any(|event| event.subject.as_deref() == Some(&old)), "{found:?}");
}

#[test]
fn an_answer_that_was_overtaken_changes_nothing() {
    let company = Company::default();
    let host = installed(&company);
    let id = new_invoice(&company);
    let before = company.borrow_mut().find("Invoice", &id).unwrap().clone();
    company.borrow_mut().pay(&id, None);
    hint(&host, "invoice", &id, "updated");
    let late = json!({ "Invoice": before }).to_string().into_bytes();
    company.borrow_mut().spoilt_reads.push_back((200, late));
    assert!(hint(&host, "invoice", &id, "updated").is_empty());
    assert!(hint(&host, "invoice", &id, "updated").is_empty(), "it is still known as paid");
}

#[test]
fn a_long_absence_is_said_and_walked_through_page_by_page() {
    let company = Company::default();
    let host = installed(&company);
    let mut cursor = None;
    polled(&host, "changes", &mut cursor);
    for _ in 0..250 {
        new_invoice(&company);
    }
    host.advance(31 * 86_400_000);
    let found = polled(&host, "changes", &mut cursor);
    assert_eq!(found[0].event_type, "sync.reset");
    assert_eq!(found.iter().filter(|event| event.event_type == "invoice.created").count(), 250);
    let resumed: Value = serde_json::from_str(cursor.as_deref().unwrap()).unwrap();
    assert_eq!(resumed["walk"], Value::Null);
}

#[test]
fn more_changes_than_one_run_takes_are_walked_through() {
    let company = Company::default();
    let host = installed(&company);
    for _ in 0..450 {
        new_invoice(&company);
    }
    let mut cursor = None;
    let found = polled(&host, "changes", &mut cursor);
    assert_eq!(found.iter().filter(|event| event.event_type == "invoice.created").count(), 450);
    assert!(!types(&found).contains(&"sync.reset"));
}

fn booked(total: f64, tax: f64, taxable: f64) -> Value {
    json!({
        "TotalAmt": total, "Balance": total, "CurrencyRef": { "value": "DKK" },
        "Line": [
            { "Amount": 800.0, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": { "Qty": 2, "UnitPrice": 400.0 } },
            { "Amount": 800.0, "DetailType": "SubTotalLineDetail" }
        ],
        "TxnTaxDetail": { "TotalTax": tax, "TaxLine": [{ "Amount": tax, "TaxLineDetail": {
            "PercentBased": true, "TaxPercent": 25.0, "NetAmountTaxable": taxable } }] }
    })
}

#[test]
fn sums_that_are_not_right_are_reported_with_what_they_should_be() {
    let company = Company::default();
    let host = installed(&company);
    {
        let mut books = company.borrow_mut();
        books.add("Invoice", booked(1000.0, 200.0, 800.0));
        books.add("Invoice", booked(900.0, 100.0, 800.0));
        books.add("Invoice", booked(950.0, 200.0, 800.0));
        let mut odd = booked(1000.0, 200.0, 800.0);
        odd["Line"][1] = json!({ "Amount": 10.0, "DetailType": "DiscountLineDetail" });
        books.add("Invoice", odd);
    }
    let mut cursor = None;
    let found = polled(&host, "reconcile", &mut cursor);
    let wrong: Vec<&Emit> = found.iter().filter(|event| event.event_type == "invoice.mismatched").collect();
    assert_eq!(wrong.len(), 2);
    let expected = json!([{ "field": "tax", "expected": { "amount": "200.00", "currency": "DKK" },
        "actual": { "amount": "100.00", "currency": "DKK" } }]);
    assert_eq!(wrong[0].data["mismatches"], expected);
    assert_eq!(wrong[1].data["mismatches"][0]["field"], "total");
    let last = found.last().unwrap();
    assert_eq!(last.event_type, "books.reconciled");
    assert_eq!(
        (&last.data["checked"], &last.data["mismatched"], &last.data["skipped"]),
        (&json!(4), &json!(2), &json!(1))
    );
}

#[test]
fn the_comparison_reports_what_everything_else_has_missed() {
    let company = Company::default();
    let host = installed(&company);
    run(&host, "invoice.create", order()).unwrap();
    company.borrow_mut().pay("2", None);
    let mut cursor = None;
    assert!(types(&polled(&host, "reconcile", &mut cursor)).contains(&"invoice.paid"));
}
