//! Sending, crediting, taking payments back, asking, and doing Billy's sums again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod support;

use billy::Billy;
use serde_json::{Value, json};
use support::{Company, config, host, types};
use switchyard_sdk::host::HttpResponse;
use switchyard_sdk::testing::{Answer, MockHost, REFERENCE};
use switchyard_sdk::{Emit, Event, Output, PluginError, Reason};

fn run(host: &MockHost, command: &str, data: Value) -> Result<Output, PluginError> {
    host.handle::<Billy>(config(), Event::new(command, data))
}

/// A company with one approved invoice of 1,000.00 kroner.
fn invoiced() -> (Company, MockHost) {
    let company = Company::default();
    let host = host(&company);
    let order = json!({
        "customer": { "name": "Kunde ApS", "email": "a@kunde.test" },
        "lines": [{ "description": "Emergency call", "quantity": 2, "unit_price": "400.00" }]
    });
    run(&host, "invoice.create", order).unwrap();
    (company, host)
}

fn send(host: &MockHost, extra: Value) -> Result<Output, PluginError> {
    let mut data = json!({ "invoice_id": "inv1" });
    for (name, value) in extra.as_object().unwrap() {
        data[name] = value.clone();
    }
    run(host, "invoice.send", data)
}

#[test]
fn an_invoice_is_sent_once_to_its_customer() {
    let (company, host) = invoiced();
    let events = send(&host, json!({})).unwrap().events;
    assert_eq!(types(&events), ["invoice.sent"]);
    assert_eq!(events[0].data["to"], "a@kunde.test");
    assert_eq!(events[0].dedupe_key.as_deref(), Some("billy:ORG:invoice:inv1:sent"));
    let (_, mail) = company.borrow().mails[0].clone();
    assert_eq!((&mail["contactPersonId"], &mail["emailSubject"]), (&json!("per1"), &json!("Invoice 1001")));
    assert_eq!(types(&send(&host, json!({})).unwrap().events), ["invoice.sent"], "it is reported and not sent again");
    assert_eq!(company.borrow().mails.len(), 1);
    let again = send(&host, json!({ "again": true, "to": "other@kunde.test", "subject": "Reminder" })).unwrap().events;
    assert_eq!(again[0].dedupe_key.as_deref(), Some(&*format!("billy:ORG:invoice:inv1:sent:{REFERENCE}")));
    assert_eq!(company.borrow().mails.len(), 2);
    assert_eq!(company.borrow().persons[1]["email"], "other@kunde.test");
}

#[test]
fn a_sending_whose_answer_is_lost_is_seen_by_the_invoices_state() {
    let (company, host) = invoiced();
    company.borrow_mut().lose_answer = vec!["/invoices/inv1/emails".to_owned()];
    assert_eq!(types(&send(&host, json!({})).unwrap().events), ["invoice.sent"]);
    assert_eq!(company.borrow().mails.len(), 1);
    company.borrow_mut().lose_answer = vec!["/invoices/inv1/emails".to_owned()];
    let error = send(&host, json!({ "again": true })).unwrap_err();
    assert!(matches!(&error, PluginError::Reject(detail) if detail.reason == Reason::UnknownOutcome), "{error}");
    assert_eq!(company.borrow().mails.len(), 2, "it was sent, and is not sent a third time");
}

#[test]
fn what_cannot_be_sent_says_why() {
    let (company, host) = invoiced();
    company.borrow_mut().persons.clear();
    assert_eq!(send(&host, json!({})).unwrap_err().detail().code, "no_address");
    company.borrow_mut().invoices[0]["state"] = json!("draft");
    assert_eq!(send(&host, json!({})).unwrap_err().detail().code, "not_approved");
    company.borrow_mut().invoices.clear();
    assert_eq!(send(&host, json!({})).unwrap_err().detail().code, "no_such_invoice");
}

fn refund(host: &MockHost, lines: Option<Value>) -> Result<Output, PluginError> {
    let mut data = json!({ "invoice_id": "inv1", "reason": "Cancelled" });
    if let Some(lines) = lines {
        data["lines"] = lines;
    }
    run(host, "invoice.refund", data)
}

#[test]
fn all_of_an_invoice_is_credited_once_also_when_the_answer_is_lost() {
    let (company, host) = invoiced();
    company.borrow_mut().lose_answer = vec!["/invoices".to_owned()];
    let events = refund(&host, None).unwrap().events;
    assert_eq!(types(&events), ["invoice.refunded"]);
    assert_eq!(
        events[0].data,
        json!({
            "invoice_id": "inv1", "number": "1001", "contact_id": "con1", "credit_note_id": "inv2",
            "credit_note_number": "1002", "total": { "amount": "1000.00", "currency": "DKK" },
            "tax": { "amount": "200.00", "currency": "DKK" }, "state": "approved",
            "refunded_at": "2026-11-20T12:00:30Z"
        })
    );
    let note = company.borrow().invoices[1].clone();
    assert_eq!((&note["type"], &note["creditedInvoiceId"]), (&json!("creditNote"), &json!("inv1")));
    assert_eq!(note["contactMessage"], format!("Cancelled\nRef. {REFERENCE}"));
    host.next_reference("fedcba9876543210fedcba9876543210");
    assert_eq!(refund(&host, None).unwrap_err().detail().code, "more_than_invoiced");
    assert_eq!(company.borrow().invoices.len(), 2);
}

#[test]
fn parts_are_credited_until_nothing_is_left() {
    let (company, host) = invoiced();
    let part = || Some(json!([{ "description": "Discount", "quantity": 1, "unit_price": "300.00" }]));
    assert_eq!(refund(&host, part()).unwrap().events[0].data["total"]["amount"], "375.00");
    host.next_reference("00000000000000000000000000000002");
    assert_eq!(refund(&host, part()).unwrap().events.len(), 1);
    host.next_reference("00000000000000000000000000000003");
    assert_eq!(refund(&host, part()).unwrap_err().detail().code, "more_than_invoiced");
    assert_eq!(company.borrow().invoices.len(), 3);
}

#[test]
fn a_payment_is_taken_back_and_doing_it_again_is_as_good() {
    let (company, host) = invoiced();
    company.borrow_mut().pay("inv1", Some(400.0));
    for _ in 0..2 {
        let events = run(&host, "payment.void", json!({ "payment_id": "pay1" })).unwrap().events;
        assert_eq!(types(&events), ["payment.voided"]);
        assert_eq!(events[0].data["amount"], json!({ "amount": "400.00", "currency": "DKK" }));
        assert_eq!(events[0].dedupe_key.as_deref(), Some("billy:ORG:payment:pay1:voided"));
    }
    assert_eq!(company.borrow().invoices[0]["balance"], 1_000.0);
    let calls = host.calls();
    assert_eq!(calls.iter().filter(|call| *call == "PUT /bankPayments/pay1").count(), 1);
    assert_eq!(run(&host, "payment.void", json!({ "payment_id": "no" })).unwrap_err().detail().code, "no_such_payment");
}

/// Polls until there is no more, as the host does.
fn poll(host: &MockHost, schedule: &str, cursor: &mut Option<String>) -> Vec<Emit> {
    let mut events = Vec::new();
    for _ in 0..20 {
        host.advance(60_000);
        let output = host.poll::<Billy>(config(), schedule, cursor.take()).unwrap();
        *cursor = output.cursor;
        events.extend(output.events);
        if !output.has_more {
            return events;
        }
    }
    panic!("the poll does not end");
}

#[test]
fn partial_payments_and_their_return_at_billy_itself_are_told() {
    let (company, host) = invoiced();
    let mut cursor = None;
    poll(&host, "invoices", &mut cursor);
    company.borrow_mut().pay("inv1", Some(400.0));
    let events = poll(&host, "invoices", &mut cursor);
    assert_eq!(types(&events), ["payment.recorded", "invoice.updated"]);
    assert_eq!(events[1].data["balance"]["amount"], "600.00");
    company.borrow_mut().pay("inv1", None);
    let events = poll(&host, "invoices", &mut cursor);
    assert_eq!(types(&events), ["payment.recorded", "invoice.paid"]);
    company.borrow_mut().take_back("pay2");
    let events = poll(&host, "invoices", &mut cursor);
    assert_eq!(types(&events), ["payment.voided", "invoice.updated"]);
    assert_eq!(events[0].data["payment_id"], "pay2");
    assert!(poll(&host, "invoices", &mut cursor).is_empty());
}

#[test]
fn a_credit_note_made_at_billy_itself_credits_its_invoice() {
    let (company, host) = invoiced();
    let mut cursor = None;
    poll(&host, "invoices", &mut cursor);
    let mut note = company.borrow().invoices[0].clone();
    note["id"] = json!("inv2");
    note["type"] = json!("creditNote");
    note["creditedInvoiceId"] = json!("inv1");
    note["amount"] = json!(-80);
    note["tax"] = json!(-20);
    company.borrow_mut().invoices.push(note);
    let events = poll(&host, "invoices", &mut cursor);
    assert_eq!(types(&events), ["invoice.refunded"]);
    assert_eq!((&events[0].data["invoice_id"], &events[0].data["total"]["amount"]), (&json!("inv1"), &json!("100.00")));
}

fn query(host: &MockHost, id: &str) -> Result<Output, PluginError> {
    let mut event = Event::new("invoice.query", json!({ "invoice_id": id }));
    event.id = "evt_asked".to_owned();
    host.handle::<Billy>(config(), event)
}

#[test]
fn while_billy_is_down_the_answer_is_what_was_last_seen() {
    let (company, host) = invoiced();
    let fresh = query(&host, "inv1").unwrap().events;
    assert_eq!((fresh[0].event_type.as_str(), fresh[0].subject.as_deref()), ("invoice.found", Some("evt_asked")));
    assert_eq!((&fresh[0].data["stale"], &fresh[0].data["balance"]["amount"]), (&json!(false), &json!("1000.00")));
    company.borrow_mut().down = true;
    host.advance(600_000);
    let own = query(&host, "inv1").unwrap().events;
    assert_eq!((&own[0].data["stale"], &own[0].data["as_of"]), (&json!(true), &json!("2026-11-20T12:00:00Z")));
    company.borrow_mut().down = false;
    company.borrow_mut().pay("inv1", Some(250.0));
    poll(&host, "invoices", &mut None);
    let polled_at = fresh[0].time;
    assert_eq!(polled_at, None);
    company.borrow_mut().down = true;
    host.advance(600_000);
    let stale = query(&host, "inv1").unwrap().events;
    let data = &stale[0].data;
    assert_eq!((&data["found"], &data["stale"], &data["number"]), (&json!(true), &json!(true), &json!("1001")));
    assert_eq!(data["balance"]["amount"], "750.00");
    assert!(data["as_of"].as_str().unwrap() > "2026-11-20T12:10:00Z", "{data}");
    let error = query(&host, "unseen").unwrap_err();
    assert!(matches!(error, PluginError::Retry { .. }), "{error}");
    company.borrow_mut().down = false;
    let missing = query(&host, "unseen").unwrap().events;
    assert_eq!((&missing[0].data["found"], &missing[0].data["stale"]), (&json!(false), &json!(false)));
}

#[test]
fn a_tax_code_chooses_the_product_and_so_the_vat() {
    let company = Company::default();
    let host = host(&company);
    let mut config = config();
    config["tax_products"] = json!({ "exempt": "FREE" });
    let order = |code: &str| {
        let line = json!({ "description": "Course", "quantity": 1, "unit_price": "100.00", "tax_code": code });
        Event::new("invoice.create", json!({ "customer": { "name": "Kunde ApS" }, "lines": [line] }))
    };
    host.handle::<Billy>(config.clone(), order("exempt")).unwrap();
    assert_eq!(company.borrow().lines[0].1["productId"], "FREE");
    let error = host.handle::<Billy>(config, order("reduced")).unwrap_err();
    assert_eq!(error.detail().code, "unknown_tax_code");
}

#[test]
fn figures_that_add_up_are_counted_and_those_that_do_not_are_told_once() {
    let (company, host) = invoiced();
    company.borrow_mut().pay("inv1", Some(400.0));
    let mut cursor = None;
    let events = poll(&host, "reconcile", &mut cursor);
    assert_eq!(types(&events), ["books.reconciled"], "{events:?}");
    // An unpaid invoice that was approved lately is gone through in both parts of a round.
    assert_eq!((&events[0].data["checked"], &events[0].data["mismatched"]), (&json!(2), &json!(0)));
    company.borrow_mut().invoices[0]["tax"] = json!(0.0);
    company.borrow_mut().invoices[0]["balance"] = json!(500.0);
    let events = poll(&host, "reconcile", &mut cursor);
    let found: Vec<&Emit> = events.iter().filter(|event| event.event_type == "invoice.mismatched").collect();
    let money = |amount: &str| json!({ "amount": amount, "currency": "DKK" });
    assert_eq!(
        found[0].data["mismatches"],
        json!([
            { "field": "tax", "expected": money("200.00"), "actual": money("0.00") },
            { "field": "total", "expected": money("1000.00"), "actual": money("800.00") },
            { "field": "balance", "expected": money("400.00"), "actual": money("500.00") }
        ])
    );
    assert!(found.iter().all(|event| event.dedupe_key == found[0].dedupe_key), "one fact, however often it is seen");
}

#[test]
fn invoices_whose_lines_cannot_be_read_are_skipped_and_say_so() {
    let (company, host) = invoiced();
    company.borrow_mut().lines.clear();
    let events = poll(&host, "reconcile", &mut None);
    assert_eq!((&events[0].data["checked"], &events[0].data["skipped"]), (&json!(0), &json!(2)));
}

#[test]
fn hostile_answers_end_in_a_disposition_and_never_in_a_panic() {
    let commands = [
        ("invoice.send", json!({ "invoice_id": "inv1" })),
        ("invoice.refund", json!({ "invoice_id": "inv1" })),
        ("invoice.query", json!({ "invoice_id": "inv1" })),
        ("payment.void", json!({ "payment_id": "pay1" })),
    ];
    let odd: [(u16, &'static [u8]); 12] = [
        (200, b""),
        (200, b"null"),
        (200, b"[]"),
        (200, b"{\"invoice\":7,\"bankPayment\":[null]}"),
        (200, b"{\"invoices\":[{\"id\":\"inv1\",\"state\":\"approved\",\"amount\":1e300,\"tax\":\"x\",\"balance\":-1e300}]}"),
        (200, b"{\"invoices\":[{\"id\":{},\"state\":[]}],\"bankPayments\":[{\"id\":\"pay1\",\"associations\":{}}]}"),
        (200, b"\xff\xfe{"),
        (500, b"<html>"),
        (502, b"PHP Warning\n{\"meta\":{}}"),
        (401, b"{}"),
        (422, b"{\"validationErrors\":[1,{}]}"),
        (429, b""),
    ];
    for (command, data) in &commands {
        for (status, body) in odd {
            let answer = move || Ok(HttpResponse { status, headers: Vec::new(), body: body.to_vec() });
            let host = MockHost::new().provider("billy", move |_| answer());
            let ended = run(&host, command, data.clone());
            let said = String::from_utf8_lossy(body);
            match (status, &ended) {
                (401, Err(PluginError::NeedsAttention(_))) | (422, Err(PluginError::Reject(_))) => {}
                (429 | 500 | 502, Err(PluginError::Retry { .. })) => {}
                // Of a success that makes no sense nothing is made up: at most it says what it read.
                (200, Ok(output)) => assert!(output.events.len() <= 1, "{command}: {said}"),
                (200, Err(_)) => {}
                _ => panic!("{command} after {status} {said}: {ended:?}"),
            }
            for schedule in ["invoices", "reconcile"] {
                let polled = host.poll::<Billy>(config(), schedule, None);
                assert!(status == 200 || polled.is_err(), "{schedule} after {status}");
            }
        }
    }
    let down = MockHost::new().answer("billy", "GET", "/bankPayments/pay1", Answer::json(500, json!({})));
    let error = run(&down, "payment.void", json!({ "payment_id": "pay1" })).unwrap_err();
    assert_eq!(error.detail().reason, Reason::ProviderDown);
}

#[test]
fn a_write_that_was_taken_and_answered_with_rubbish_is_looked_up() {
    let company = Company::default();
    let host = host(&company);
    let garble = |path: &str| company.borrow_mut().garble.push(path.to_owned());
    let order = json!({
        "customer": { "name": "Kunde ApS", "email": "a@kunde.test" },
        "lines": [{ "description": "Emergency call", "quantity": 2, "unit_price": "400.00" }]
    });
    garble("/contacts");
    garble("/invoices");
    assert_eq!(
        types(&run(&host, "invoice.create", order).unwrap().events)[1..],
        ["invoice.created", "invoice.approved"]
    );
    garble("/bankPayments");
    let paid = run(&host, "payment.record", json!({ "invoice_id": "inv1", "amount": "100.00" })).unwrap().events;
    assert_eq!(paid[0].data["payment_id"], "pay1");
    garble("/invoices/inv1/emails");
    assert_eq!(types(&send(&host, json!({ "to": "new@kunde.test" })).unwrap().events), ["invoice.sent"]);
    garble("/invoices");
    assert_eq!(refund(&host, None).unwrap().events[0].data["credit_note_id"], "inv2");
    let books = company.borrow();
    assert!(books.garble.is_empty());
    let counts =
        [books.contacts.len(), books.invoices.len(), books.payments.len(), books.mails.len(), books.persons.len()];
    assert_eq!(counts, [1, 2, 1, 1, 2]);
}
