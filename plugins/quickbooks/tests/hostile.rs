//! Answers that nobody should give end in the right disposition, never in a panic.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod support;

use quickbooks::QuickBooks;
use serde_json::{Value, json};
use support::{Company, config, fault, host, order, run};
use switchyard_sdk::{PluginError, Reason};

fn bodies() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> =
        ["", "<html>Bad gateway</html>", "{\"Invoice\":{\"Id\":\"2\"", "null", "7", "[]", "{}", "\"x\""]
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect();
    all.push(vec![0xff, 0xfe, 0x00]);
    let odd = [
        json!({ "Invoice": null }),
        json!({ "Invoice": { "Id": { "a": 1 }, "TotalAmt": "lots", "Balance": [] } }),
        json!({ "Invoice": { "Id": "2", "SyncToken": {}, "MetaData": 7, "TotalAmt": 1e300, "Balance": -1, "Line": "x" } }),
        json!({ "Customer": { "Id": "1", "DisplayName": 7 }, "QueryResponse": [] }),
        json!({ "QueryResponse": { "Customer": 7, "Invoice": [null, 7, { "Id": 3 }], "Payment": {} } }),
        json!({ "CDCResponse": [] }),
        json!({ "CDCResponse": [{ "QueryResponse": [{ "Invoice": [1, "x", { "Id": "1" }] }, 7, null] }], "time": 7 }),
        json!({ "Fault": 7 }),
        json!({ "Fault": { "Error": [], "type": null } }),
        json!({ "fault": { "error": [{ "code": {}, "message": [] }] } }),
    ];
    all.extend(odd.iter().map(|value| value.to_string().into_bytes()));
    all
}

#[test]
fn no_answer_makes_anything_panic() {
    let commands = [
        ("customer.upsert", order()["customer"].clone()),
        ("invoice.create", order()),
        ("salesreceipt.create", order()),
        ("invoice.send", json!({ "invoice_id": "2", "to": "a@b.test" })),
        ("invoice.query", json!({ "invoice_id": "2" })),
        ("payment.record", json!({ "invoice_id": "2" })),
        ("payment.void", json!({ "payment_id": "3" })),
        ("_quickbooks.changed", json!({ "key": "k", "entity": "invoice", "id": "2", "operation": "updated" })),
        ("_quickbooks.changed", json!({ "key": "k", "entity": "payment", "id": "2", "operation": "updated" })),
        ("_quickbooks.changed", json!({ "key": "k", "entity": "customer", "id": "2", "operation": "updated" })),
        ("_quickbooks.changed", json!({ "key": "k", "entity": "salesreceipt", "id": "2", "operation": "created" })),
    ];
    for status in [200, 201, 204, 302, 400, 404, 500, 503] {
        for body in bodies() {
            for skipped in 0..4 {
                for (name, data) in &commands {
                    let company = Company::default();
                    company.borrow_mut().add("Customer", json!({ "DisplayName": "Kunde ApS" }));
                    let id = company
                        .borrow_mut()
                        .add("Invoice", json!({ "TotalAmt": 10.0, "Balance": 10.0, "CustomerRef": { "value": "1" } }));
                    company.borrow_mut().pay(&id, Some(100));
                    // The answer comes to the first reads or to a later one, and to every write.
                    let mut reads = vec![(status, body.clone()); 3];
                    reads.truncate(3 - skipped.min(3));
                    company.borrow_mut().spoilt_reads.extend(reads);
                    for path in ["customer", "invoice", "salesreceipt", "payment", "invoice/2/send"] {
                        company.borrow_mut().spoilt.push_back((
                            path.to_owned(),
                            skipped % 2 == 0,
                            status,
                            body.clone(),
                        ));
                    }
                    // Whatever comes of it, it comes as a value.
                    if let Err(error) = run(&host(&company), name, data.clone()) {
                        assert!(!error.detail().code.is_empty() && error.detail().message.len() < 1_024, "{error:?}");
                    }
                }
                for schedule in ["changes", "reconcile"] {
                    let company = Company::default();
                    company.borrow_mut().spoilt_reads.push_back((status, body.clone()));
                    let _ = host(&company).poll::<QuickBooks>(config(), schedule, None);
                }
            }
        }
    }
}

/// What a hint's fetch comes to.
fn fetched(status: u16, body: &[u8]) -> PluginError {
    let company = Company::default();
    company.borrow_mut().spoilt_reads.push_back((status, body.to_vec()));
    let data = json!({ "key": "invoice:2", "entity": "invoice", "id": "2", "operation": "updated" });
    run(&host(&company), "_quickbooks.changed", data).unwrap_err()
}

#[test]
fn each_refusal_has_its_disposition_and_the_providers_words() {
    let lower = json!({ "warnings": null, "fault": { "error": [{ "message": "message=AuthenticationFailed; \
        errorCode=003200; statusCode=401", "detail": "Token expired", "code": "3200" }], "type": "AUTHENTICATION" } });
    let cases: [(u16, Vec<u8>, &str, Reason, &str); 11] = [
        (401, lower.to_string().into_bytes(), "attention", Reason::Auth, "login_needed"),
        (401, fault("003200", "AuthenticationFailed"), "attention", Reason::Auth, "login_needed"),
        (200, lower.to_string().into_bytes(), "attention", Reason::Auth, "login_needed"),
        (403, fault("003100", "ApplicationAuthorizationFailed"), "attention", Reason::Config, "not_authorized"),
        (429, fault("003001", "ThrottleExceeded"), "retry", Reason::RateLimited, "throttled"),
        (400, fault("6190", "Subscription ended"), "attention", Reason::Config, "subscription_ended"),
        (400, fault("2500", "Invalid Reference Id"), "reject", Reason::BadData, "qbo_2500"),
        (200, fault("6000", "A business validation error"), "reject", Reason::BadData, "qbo_6000"),
        (500, fault("10000", "An application error"), "retry", Reason::ProviderDown, "qbo_down"),
        (502, b"<html>Bad gateway</html>".to_vec(), "retry", Reason::ProviderDown, "http_502"),
        (200, b"<html>Welcome</html>".to_vec(), "retry", Reason::ProviderDown, "malformed_answer"),
    ];
    for (status, body, disposition, reason, code) in cases {
        let error = fetched(status, &body);
        let kind = match &error {
            PluginError::Reject(_) => "reject",
            PluginError::Retry { .. } => "retry",
            PluginError::NeedsAttention(_) => "attention",
            PluginError::Other(_) => "other",
        };
        let detail = error.detail();
        assert_eq!((kind, &detail.reason, detail.code.as_str()), (disposition, &reason, code), "{status}");
        let said = format!("{} {}", detail.message, detail.details.clone().unwrap_or(Value::Null));
        let word = if body.starts_with(b"<html>") { "<html>" } else { "message" };
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn a_wrong_company_shows_at_the_installation() {
    let company = Company::default();
    company.borrow_mut().spoilt_reads.push_back((403, fault("003100", "ApplicationAuthorizationFailed")));
    let error = host(&company).install::<QuickBooks>(config()).unwrap_err();
    assert_eq!(error.detail().code, "not_authorized");
    for realm in [json!({}), json!({ "realm_id": "12/34" })] {
        let error = host(&company).install::<QuickBooks>(realm).unwrap_err();
        assert!(
            matches!(&error, PluginError::NeedsAttention(detail) if detail.message.contains("realm_id")),
            "{error:?}"
        );
    }
}
