//! The commands, also when somebody else is faster, names are taken and answers say nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod support;

use quickbooks::QuickBooks;
use serde_json::{Value, json};
use support::{Company, config, fault, hint, host, keys, order, run, types};
use switchyard_sdk::testing::REFERENCE;
use switchyard_sdk::{Event, PluginError, Reason};

#[test]
fn an_invoice_is_created_for_a_new_customer() {
    let company = Company::default();
    let host = host(&company);
    let events = run(&host, "invoice.create", order()).unwrap().events;
    assert_eq!(types(&events), ["contact.created", "invoice.created"]);
    assert_eq!(keys(&events), ["contact:1:created", "invoice:2:created"]);
    assert_eq!(
        events[1].data,
        json!({
            "invoice_id": "2", "number": "1001", "contact_id": "1", "hub_ref": REFERENCE, "reference": "Job 4711",
            "total": { "amount": "1000.00", "currency": "DKK" }, "tax": { "amount": "200.00", "currency": "DKK" },
            "due_date": "2026-11-28", "state": "approved"
        })
    );
    let written = company.borrow().written[1].clone();
    assert!(written.contains(r#""Amount":800.00,"#) && written.contains(r#""UnitPrice":400.00"#), "{written}");
    let body: Value = serde_json::from_str(&written).unwrap();
    assert_eq!((&body["TxnDate"], &body["GlobalTaxCalculation"]), (&json!("2026-11-20"), &json!("TaxExcluded")));
    assert_eq!(body["Line"][0]["SalesItemLineDetail"]["TaxCodeRef"], json!({ "value": "5" }));
    assert_eq!(body["PrivateNote"], format!("Ref. {REFERENCE}"));
    assert_eq!(body.get("DocNumber"), None);
    // The webhooks about it say nothing new.
    assert!(hint(&host, "invoice", "2", "created").is_empty());
    assert!(hint(&host, "customer", "1", "created").is_empty());
}

#[test]
fn an_invoice_goes_to_the_customer_that_is_there() {
    let company = Company::default();
    company.borrow_mut().add("Customer", json!({ "DisplayName": "Kunde ApS", "Active": true }));
    let host = host(&company);
    assert_eq!(types(&run(&host, "invoice.create", order()).unwrap().events), ["invoice.created"]);
    host.next_reference("11111111111111111111111111111111");
    assert_eq!(types(&run(&host, "invoice.create", order()).unwrap().events), ["invoice.created"]);
    assert_eq!(company.borrow().records.iter().filter(|(kind, _)| kind == "Customer").count(), 1);
}

#[test]
fn somebody_else_of_the_same_name_is_not_billed() {
    let company = Company::default();
    let other = json!({ "DisplayName": "Kunde ApS", "PrimaryEmailAddr": { "Address": "other@kunde.test" } });
    company.borrow_mut().add("Customer", other);
    let events = run(&host(&company), "invoice.create", order()).unwrap().events;
    assert_eq!(types(&events), ["contact.created", "invoice.created"]);
    assert_eq!(events[0].data["name"], "Kunde ApS (a@kunde.test)");
}

#[test]
fn a_name_that_a_vendor_has_is_made_different() {
    let company = Company::default();
    company.borrow_mut().vendors.push("Kunde ApS".to_owned());
    let events = run(&host(&company), "customer.upsert", order()["customer"].clone()).unwrap().events;
    assert_eq!(events[0].data["name"], "Kunde ApS (a@kunde.test)");
    company.borrow_mut().vendors.push("Kun".to_owned());
    let error = run(&host(&company), "customer.upsert", json!({ "name": "Kun" })).unwrap_err();
    assert!(matches!(&error, PluginError::Reject(detail) if detail.code == "qbo_6240"), "{error:?}");
}

#[test]
fn a_customer_is_brought_up_to_date_once() {
    let company = Company::default();
    let host = host(&company);
    run(&host, "customer.upsert", json!({ "name": "Kunde ApS", "city": "Aarhus" })).unwrap();
    let phoned = json!({ "name": "Kunde ApS", "phone": "+4520123456", "city": "Aarhus" });
    let events = run(&host, "customer.upsert", phoned.clone()).unwrap().events;
    assert_eq!((types(&events), keys(&events)), (vec!["contact.updated"], vec!["contact:1:updated:1".to_owned()]));
    assert!(run(&host, "customer.upsert", phoned).unwrap().events.is_empty());
    assert_eq!(company.borrow().written.len(), 2);
}

#[test]
fn a_change_meets_a_newer_version_and_is_made_on_that() {
    let company = Company::default();
    let host = host(&company);
    run(&host, "customer.upsert", json!({ "name": "Kunde ApS" })).unwrap();
    let phoned = json!({ "name": "Kunde ApS", "phone": "+4520123456" });
    for _ in 0..2 {
        company.borrow_mut().spoilt.push_back(("customer".to_owned(), false, 400, fault("5010", "Stale Object Error")));
    }
    assert_eq!(types(&run(&host, "customer.upsert", phoned).unwrap().events), ["contact.updated"]);
    for _ in 0..3 {
        company.borrow_mut().spoilt.push_back(("customer".to_owned(), false, 400, fault("5010", "Stale Object Error")));
    }
    let error = run(&host, "customer.upsert", json!({ "name": "Kunde ApS", "phone": "+4500000000" })).unwrap_err();
    assert!(matches!(&error, PluginError::Retry { error, .. } if error.code == "stale_record"), "{error:?}");
}

#[test]
fn a_success_that_hides_a_fault_is_looked_into() {
    for (executed, code, expected) in
        [(true, "6000", Ok(())), (false, "6000", Err("qbo_6000")), (false, "003001", Ok(())), (true, "10000", Ok(()))]
    {
        let company = Company::default();
        let spoilt = ("invoice".to_owned(), executed, 200, fault(code, "Hidden."));
        company.borrow_mut().spoilt.push_back(spoilt);
        let result = run(&host(&company), "invoice.create", order());
        let invoices = company.borrow().records.iter().filter(|(kind, _)| kind == "Invoice").count();
        match expected {
            Ok(()) => assert_eq!((result.unwrap().events.len(), invoices), (2, 1), "{code}"),
            Err(code) => assert_eq!((result.unwrap_err().detail().code.as_str(), invoices), (code, 0)),
        }
    }
}

#[test]
fn a_success_that_says_nothing_is_found_by_our_reference() {
    for body in [&b"<html>OK</html>"[..], b"", b"{\"Invoice\":{\"Id\":7}}", b"{\"Inv", b"[]", b"{}"] {
        let company = Company::default();
        company.borrow_mut().spoilt.push_back(("invoice".to_owned(), true, 200, body.to_vec()));
        let events = run(&host(&company), "invoice.create", order()).unwrap().events;
        assert_eq!(types(&events), ["contact.created", "invoice.created"]);
        assert_eq!(company.borrow().written.len(), 2, "nothing was sent twice");
    }
    let company = Company::default();
    company.borrow_mut().spoilt.push_back(("invoice".to_owned(), false, 200, b"<html>".to_vec()));
    let error = run(&host(&company), "invoice.create", order()).unwrap_err();
    assert!(matches!(&error, PluginError::Retry { error, .. } if error.reason == Reason::UnknownOutcome), "{error:?}");
}

#[test]
fn a_number_that_is_taken_is_ours_or_refused() {
    let company = Company::default();
    let host = host(&company);
    let mut config = config();
    config["number_from_reference"] = json!(true);
    let create = |host: &switchyard_sdk::testing::MockHost| {
        host.handle::<QuickBooks>(config.clone(), Event::new("invoice.create", order()))
    };
    let events = create(&host).unwrap().events;
    assert_eq!(events[1].data["number"], "Job 4711");
    assert!(create(&host).unwrap().events.is_empty(), "the same delivery finds its own invoice");
    host.next_reference("11111111111111111111111111111111");
    assert_eq!(create(&host).unwrap_err().detail().code, "qbo_6140");
}

#[test]
fn lines_are_refused_before_anything_is_made_of_them() {
    let company = Company::default();
    let mut data = order();
    for (quantity, price) in
        [(json!("two"), "400.00"), (json!(2), "4e2"), (json!(true), "1"), (json!("999999999999"), "999999999999")]
    {
        data["lines"][0]["quantity"] = quantity;
        data["lines"][0]["unit_price"] = json!(price);
        assert_eq!(run(&host(&company), "invoice.create", data.clone()).unwrap_err().detail().code, "bad_line");
    }
    data["approve"] = json!(false);
    assert_eq!(run(&host(&company), "invoice.create", data).unwrap_err().detail().code, "no_drafts");
    assert!(company.borrow().written.is_empty());
}

#[test]
fn an_invoice_is_mailed_once_and_again_only_on_demand() {
    let company = Company::default();
    let host = host(&company);
    run(&host, "invoice.create", order()).unwrap();
    let events = run(&host, "invoice.send", json!({ "invoice_id": "2" })).unwrap().events;
    assert_eq!(types(&events), ["invoice.sent"]);
    assert_eq!((&events[0].data["to"], &events[0].data["sent_state"]), (&json!("a@kunde.test"), &json!("sent")));
    assert!(run(&host, "invoice.send", json!({ "invoice_id": "2" })).unwrap().events.is_empty());
    assert!(hint(&host, "invoice", "2", "emailed").is_empty());
    let again = json!({ "invoice_id": "2", "again": true, "to": "b@kunde.test" });
    let second = run(&host, "invoice.send", again).unwrap().events;
    assert_eq!(second[0].data["to"], "b@kunde.test");
    assert_ne!(second[0].dedupe_key, events[0].dedupe_key);
    assert_eq!(run(&host, "invoice.send", json!({ "invoice_id": "9" })).unwrap_err().detail().code, "no_such_invoice");
}

#[test]
fn a_payment_closes_an_invoice_in_parts_and_is_taken_back() {
    let company = Company::default();
    let host = host(&company);
    run(&host, "invoice.create", order()).unwrap();
    let part = run(&host, "payment.record", json!({ "invoice_id": "2", "amount": "250.5" })).unwrap().events;
    assert_eq!(types(&part), ["payment.recorded", "invoice.updated"]);
    assert_eq!(part[1].data["balance"], json!({ "amount": "749.50", "currency": "DKK" }));
    host.next_reference("11111111111111111111111111111111");
    let rest = run(&host, "payment.record", json!({ "invoice_id": "2" })).unwrap().events;
    assert_eq!(types(&rest), ["payment.recorded", "invoice.paid"]);
    assert_eq!(rest[1].data["payment_ids"], json!(["3", "4"]));
    assert_eq!(run(&host, "payment.record", json!({ "invoice_id": "2" })).unwrap_err().detail().code, "nothing_open");
    let more = run(&host, "payment.record", json!({ "invoice_id": "2", "amount": "1.00" })).unwrap_err();
    assert_eq!(more.detail().code, "more_than_open");
    let voided = run(&host, "payment.void", json!({ "payment_id": "4" })).unwrap().events;
    assert_eq!(voided[0].data["amount"], json!({ "amount": "749.50", "currency": "DKK" }));
    assert!(run(&host, "payment.void", json!({ "payment_id": "4" })).unwrap().events.is_empty());
}

#[test]
fn a_sale_that_was_paid_on_the_spot_is_booked() {
    let company = Company::default();
    let mut data = order();
    data["method"] = json!("2");
    let events = run(&host(&company), "salesreceipt.create", data).unwrap().events;
    assert_eq!(types(&events), ["contact.created", "salesreceipt.created"]);
    assert_eq!(events[1].data["total"], json!({ "amount": "1000.00", "currency": "DKK" }));
    let body: Value = serde_json::from_str(&company.borrow().written[1]).unwrap();
    assert_eq!(
        (&body["DepositToAccountRef"]["value"], &body["PaymentMethodRef"]["value"]),
        (&json!("35"), &json!("2"))
    );
}

#[test]
fn how_an_invoice_stands_is_answered_also_while_quickbooks_is_down() {
    let company = Company::default();
    let host = host(&company);
    run(&host, "invoice.create", order()).unwrap();
    let ask =
        |id: &str| run(&host, "invoice.query", json!({ "invoice_id": id })).map(|output| output.events[0].data.clone());
    let now = ask("2").unwrap();
    assert_eq!(
        (&now["stale"], &now["balance"]["amount"], &now["is_paid"]),
        (&json!(false), &json!("1000.00"), &json!(false))
    );
    assert_eq!(ask("9").unwrap()["found"], json!(false));
    company.borrow_mut().spoilt_reads.push_back((503, b"<html>down</html>".to_vec()));
    let then = ask("2").unwrap();
    assert_eq!(
        (&then["stale"], &then["balance"]["amount"], &then["number"]),
        (&json!(true), &json!("1000.00"), &json!("1001"))
    );
    company.borrow_mut().spoilt_reads.push_back((503, b"<html>down</html>".to_vec()));
    assert!(matches!(ask("9"), Err(PluginError::Retry { .. })));
}
