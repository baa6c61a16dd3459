//! Polls: every fact once, whoever saw it first.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod support;

use billy::Billy;
use serde_json::{Value, json};
use support::{Company, config, host, types};
use switchyard_sdk::testing::MockHost;
use switchyard_sdk::{Emit, Event};

/// Polls until there is no more, as the host does.
fn poll(host: &MockHost, config: Value, cursor: &mut Option<String>) -> Vec<Emit> {
    let mut events = Vec::new();
    for _ in 0..20 {
        host.advance(60_000);
        let output = host.poll::<Billy>(config.clone(), "invoices", cursor.take()).unwrap();
        *cursor = output.cursor;
        events.extend(output.events);
        if !output.has_more {
            return events;
        }
    }
    panic!("the poll does not end");
}

fn add(company: &Company, count: usize) {
    let mut books = company.borrow_mut();
    for _ in 0..count {
        let number = books.invoices.len() + 1;
        books.invoices.push(json!({
            "id": format!("inv{number}"), "contactId": "con1", "state": "draft", "sentState": "unsent", "amount": 80.0,
            "tax": 20.0, "balance": 0, "isPaid": false, "createdTime": "2026-11-01 08:00:00", "approvedTime": null,
            "dueDate": "2026-11-09", "invoiceNo": null, "currencyId": "DKK", "entryDate": "2026-11-01"
        }));
    }
}

fn set(company: &Company, id: &str, changes: Value) {
    let mut books = company.borrow_mut();
    let invoice = books.invoices.iter_mut().find(|invoice| invoice["id"] == id).unwrap();
    for (name, value) in changes.as_object().unwrap() {
        invoice[name] = value.clone();
    }
}

fn approved() -> Value {
    json!({ "state": "approved", "approvedTime": "2026-11-20T12:01:00", "invoiceNo": "1001", "balance": 100.0 })
}

#[test]
fn what_was_there_before_is_remembered_in_silence() {
    let company = Company::default();
    add(&company, 950);
    let host = host(&company);
    let mut cursor = None;
    assert!(poll(&host, config(), &mut cursor).is_empty());
    assert!(poll(&host, config(), &mut cursor).is_empty());
}

#[test]
fn what_was_there_before_is_reported_when_the_config_says_so() {
    let company = Company::default();
    add(&company, 3);
    set(&company, "inv2", approved());
    let host = host(&company);
    let mut config = config();
    config["emit_existing"] = json!(true);
    let events = poll(&host, config, &mut None);
    assert_eq!(types(&events), ["invoice.created", "invoice.created", "invoice.approved", "invoice.created"]);
}

#[test]
fn an_invoice_lives_through_its_events_once_each() {
    let company = Company::default();
    let host = host(&company);
    let mut cursor = None;
    assert!(poll(&host, config(), &mut cursor).is_empty());
    let mut next = |expected: &[&str]| {
        let events = poll(&host, config(), &mut cursor);
        assert_eq!(types(&events), expected);
        assert!(poll(&host, config(), &mut cursor).is_empty(), "{expected:?} came twice");
        events
    };
    add(&company, 1);
    next(&["invoice.created"]);
    set(&company, "inv1", approved());
    next(&["invoice.approved"]);
    set(&company, "inv1", json!({ "sentState": "sent" }));
    next(&["invoice.sent"]);
    set(&company, "inv1", json!({ "sentState": "viewed" }));
    assert_eq!(next(&["invoice.updated"])[0].data["changed"], json!(["sent_state"]));
    company.borrow_mut().pay("inv1", Some(40.0));
    let part = next(&["payment.recorded", "invoice.updated"]);
    assert_eq!(part[1].data["balance"], json!({ "amount": "60.00", "currency": "DKK" }));
    company.borrow_mut().pay("inv1", None);
    let paid = next(&["payment.recorded", "invoice.paid"]);
    assert_eq!(paid[1].dedupe_key.as_deref(), Some("billy:ORG:invoice:inv1:paid"));
    assert_eq!(paid[1].data["payment_ids"], json!(["pay2", "pay1"]));
    assert_eq!(paid[1].data["total"], json!({ "amount": "100.00", "currency": "DKK" }));
}

#[test]
fn an_invoice_paid_again_after_a_payment_was_taken_back_is_paid_a_second_time() {
    let company = Company::default();
    let host = host(&company);
    let mut cursor = None;
    poll(&host, config(), &mut cursor);
    add(&company, 1);
    set(&company, "inv1", approved());
    poll(&host, config(), &mut cursor);
    let paid = json!({ "isPaid": true, "balance": 0 });
    set(&company, "inv1", paid.clone());
    assert_eq!(types(&poll(&host, config(), &mut cursor)), ["invoice.paid"]);
    set(&company, "inv1", json!({ "isPaid": false, "balance": 100.0 }));
    assert_eq!(types(&poll(&host, config(), &mut cursor)), ["invoice.updated"]);
    set(&company, "inv1", paid);
    let again = poll(&host, config(), &mut cursor);
    assert_eq!(again[0].dedupe_key.as_deref(), Some("billy:ORG:invoice:inv1:paid:2"));
}

#[test]
fn voided_and_deleted_invoices_leave_the_open_ones() {
    let company = Company::default();
    let host = host(&company);
    let mut cursor = None;
    poll(&host, config(), &mut cursor);
    add(&company, 2);
    set(&company, "inv1", approved());
    poll(&host, config(), &mut cursor);
    set(&company, "inv1", json!({ "state": "voided" }));
    company.borrow_mut().invoices.remove(1);
    assert_eq!(types(&poll(&host, config(), &mut cursor)), ["invoice.voided"]);
    let before = host.calls().len();
    assert!(poll(&host, config(), &mut cursor).is_empty());
    assert!(!host.calls()[before..].contains(&"GET /invoices/inv2".to_owned()));
}

#[test]
fn a_changing_download_address_is_no_change() {
    let company = Company::default();
    let host = host(&company);
    let mut cursor = None;
    poll(&host, config(), &mut cursor);
    add(&company, 1);
    poll(&host, config(), &mut cursor);
    set(&company, "inv1", json!({ "downloadUrl": "https://b.test/other" }));
    assert!(poll(&host, config(), &mut cursor).is_empty());
    set(&company, "inv1", json!({ "dueDate": "2026-12-24" }));
    let events = poll(&host, config(), &mut cursor);
    assert_eq!(events[0].data["changed"], json!(["details"]));
}

#[test]
fn an_invoice_that_a_command_made_before_the_first_poll_is_reported_when_it_is_paid() {
    let company = Company::default();
    add(&company, 2);
    let host = host(&company);
    company.borrow_mut().contacts = vec![json!({ "id": "con1", "name": "Kunde" })];
    let order = json!({
        "customer": { "name": "Kunde" }, "lines": [{ "description": "x", "quantity": "1.5", "unit_price": "10" }]
    });
    let made = host.handle::<Billy>(config(), Event::new("invoice.create", order)).unwrap().events;
    assert_eq!(types(&made), ["invoice.created", "invoice.approved"]);
    company.borrow_mut().pay("inv3", None);
    let events = poll(&host, config(), &mut None);
    assert_eq!(types(&events), ["invoice.paid"]);
    assert_eq!(events[0].subject.as_deref(), Some("inv3"));
}

#[test]
fn command_and_poll_give_one_fact_the_same_key() {
    let company = Company::default();
    let host = host(&company);
    let mut cursor = None;
    poll(&host, config(), &mut cursor);
    company.borrow_mut().contacts = vec![json!({ "id": "con1", "name": "Kunde" })];
    let order = json!({
        "customer": { "name": "Kunde" }, "lines": [{ "description": "x", "quantity": 1, "unit_price": "10" }]
    });
    let made = host.handle::<Billy>(config(), Event::new("invoice.create", order)).unwrap().events;
    let other = support::host(&company);
    let mut fresh = None;
    let mut all = config();
    all["emit_existing"] = json!(true);
    let polled = poll(&other, all, &mut fresh);
    let keys = |events: &[Emit]| events.iter().map(|event| event.dedupe_key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&made), keys(&polled));
}

#[test]
fn a_day_later_everything_is_compared_again() {
    let company = Company::default();
    add(&company, 450);
    for number in 1..=450 {
        set(
            &company,
            &format!("inv{number}"),
            json!({ "state": "approved", "approvedTime": "2026-11-01 08:00:00", "isPaid": true }),
        );
    }
    let host = host(&company);
    let mut cursor = None;
    poll(&host, config(), &mut cursor);
    set(&company, "inv7", json!({ "contactId": "con2" }));
    assert!(poll(&host, config(), &mut cursor).is_empty());
    host.advance(86_400_000);
    let events = poll(&host, config(), &mut cursor);
    assert_eq!(types(&events), ["invoice.updated"]);
}
