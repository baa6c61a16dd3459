//! The commands, also when answers are lost.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod support;

use billy::Billy;
use serde_json::{Value, json};
use support::{Company, config, host, types};
use switchyard_sdk::testing::{MockHost, REFERENCE};
use switchyard_sdk::{Event, Output, PluginError, Reason};

fn order() -> Value {
    json!({
        "customer": { "name": "Kunde ApS", "email": "a@kunde.test", "registration_no": "12345678" },
        "lines": [{ "description": "Emergency call", "quantity": 2, "unit_price": "400.00" }],
        "reference": "Job 4711"
    })
}

fn create(host: &MockHost, data: Value) -> Result<Output, PluginError> {
    host.handle::<Billy>(config(), Event::new("invoice.create", data))
}

#[test]
fn an_invoice_is_created_for_a_new_contact_and_approved() {
    let company = Company::default();
    let host = host(&company);
    let events = create(&host, order()).unwrap().events;
    assert_eq!(types(&events), ["contact.created", "invoice.created", "invoice.approved"]);
    assert_eq!(
        events[1].data,
        json!({
            "invoice_id": "inv1", "contact_id": "con1", "total": { "amount": "1000.00", "currency": "DKK" },
            "tax": { "amount": "200.00", "currency": "DKK" }, "state": "draft", "due_date": "2026-11-28",
            "hub_ref": REFERENCE, "reference": "Job 4711"
        })
    );
    assert_eq!(events[2].data["number"], "1001");
    assert_eq!(events[2].data["approved_at"], "2026-11-20T12:00:30Z");
    let keys: Vec<&str> = events.iter().map(|event| event.dedupe_key.as_deref().unwrap()).collect();
    assert_eq!(
        keys,
        ["billy:ORG:contact:con1:created", "billy:ORG:invoice:inv1:created", "billy:ORG:invoice:inv1:approved"]
    );
    let books = company.borrow();
    assert_eq!(books.invoices[0]["contactMessage"], format!("Job 4711\nRef. {REFERENCE}"));
    assert_eq!(books.invoices[0]["paymentTermsDays"], 8);
    assert_eq!(books.persons[0]["email"], "a@kunde.test");
}

#[test]
fn both_shapes_of_answers_are_read() {
    let company = Company::default();
    company.borrow_mut().singular = true;
    let events = create(&host(&company), order()).unwrap().events;
    assert_eq!(types(&events)[1..], ["invoice.created", "invoice.approved"]);
}

#[test]
fn a_draft_stays_a_draft_when_told_so() {
    let company = Company::default();
    let mut data = order();
    data["approve"] = json!(false);
    let events = create(&host(&company), data).unwrap().events;
    assert_eq!(types(&events), ["contact.created", "invoice.created"]);
    assert_eq!(company.borrow().invoices[0]["state"], "draft");
}

#[test]
fn a_lost_answer_to_the_invoice_leaves_one_invoice() {
    let company = Company::default();
    company.borrow_mut().lose_answer = vec!["/contacts".to_owned(), "/invoices".to_owned()];
    let events = create(&host(&company), order()).unwrap().events;
    assert_eq!(types(&events), ["contact.created", "invoice.created", "invoice.approved"]);
    assert_eq!((company.borrow().contacts.len(), company.borrow().invoices.len()), (1, 1));
}

#[test]
fn a_request_lost_on_its_way_is_sent_again_by_another_call() {
    let company = Company::default();
    company.borrow_mut().lose_request = vec!["/invoices".to_owned(), "/invoices".to_owned()];
    let events = create(&host(&company), order()).unwrap().events;
    assert_eq!(types(&events)[1..], ["invoice.created", "invoice.approved"]);
    assert_eq!(company.borrow().invoices.len(), 1);
}

#[test]
fn an_invoice_never_seen_is_given_up_as_unknown_after_three_times() {
    let company = Company::default();
    company.borrow_mut().lose_request = vec!["/invoices".to_owned(); 3];
    let host = host(&company);
    let error = create(&host, order()).unwrap_err();
    assert_eq!(error.detail().reason, Reason::UnknownOutcome);
    assert_eq!(host.calls().iter().filter(|call| *call == "POST /invoices").count(), 3);
}

#[test]
fn the_contact_of_another_company_with_the_same_name_is_not_taken() {
    let company = Company::default();
    company.borrow_mut().contacts = vec![json!({ "id": "other", "name": "Kunde ApS", "registrationNo": "87654321" })];
    let events = create(&host(&company), order()).unwrap().events;
    assert_eq!(types(&events)[0], "contact.created");
}

#[test]
fn a_person_of_the_same_name_is_told_apart_by_the_address() {
    let company = Company::default();
    company.borrow_mut().contacts =
        vec![json!({ "id": "jens1", "name": "Jens Jensen" }), json!({ "id": "jens2", "name": "Jens Jensen" })];
    company.borrow_mut().persons = vec![
        json!({ "contactId": "jens1", "email": "one@jens.test" }),
        json!({ "contactId": "jens2", "email": "two@jens.test" }),
    ];
    let mut data = order();
    data["customer"] = json!({ "name": "Jens Jensen", "email": "Two@jens.test" });
    let events = create(&host(&company), data).unwrap().events;
    assert_eq!(events[0].data["contact_id"], "jens2");
}

#[test]
fn a_contact_is_found_again_without_a_search_and_made_anew_when_it_is_gone() {
    let company = Company::default();
    let host = host(&company);
    create(&host, order()).unwrap();
    let before = host.calls().len();
    let events = create(&host, order()).unwrap().events;
    assert_eq!(types(&events), ["invoice.created", "invoice.approved"]);
    assert_eq!(host.calls()[before], "GET /contacts/con1");
    company.borrow_mut().contacts[0] = json!({ "id": "con1", "name": "Kunde ApS", "isArchived": true });
    let events = create(&host, order()).unwrap().events;
    assert_eq!(types(&events)[0], "contact.created");
}

#[test]
fn a_forgotten_contact_person_is_added() {
    let company = Company::default();
    company.borrow_mut().forget_persons = true;
    create(&host(&company), order()).unwrap();
    assert_eq!(company.borrow().persons[0]["email"], "a@kunde.test");
}

#[test]
fn approving_what_is_approved_succeeds_and_what_is_missing_does_not() {
    let company = Company::default();
    let host = host(&company);
    create(&host, order()).unwrap();
    let approve = |id: &str| host.handle::<Billy>(config(), Event::new("invoice.approve", json!({ "invoice_id": id })));
    assert_eq!(approve("inv1").unwrap().events[0].data["number"], "1001");
    let error = approve("inv/9?x").unwrap_err();
    assert!(matches!(&error, PluginError::Reject(detail) if detail.code == "billy_404"), "{error}");
    assert!(host.calls().contains(&"PUT /invoices/inv%2F9%3Fx".to_owned()));
}

#[test]
fn a_contact_is_updated_only_where_it_differs() {
    let company = Company::default();
    let host = host(&company);
    let upsert = |data: Value| host.handle::<Billy>(config(), Event::new("contact.upsert", data)).unwrap().events;
    let mut customer = json!({ "name": "Kunde ApS", "registration_no": "12345678" });
    assert_eq!(types(&upsert(customer.clone())), ["contact.created"]);
    assert!(upsert(customer.clone()).is_empty());
    customer["phone"] = json!("+4520123456");
    assert_eq!(types(&upsert(customer)), ["contact.updated"]);
    assert_eq!(company.borrow().contacts[0]["phone"], "+4520123456");
}

#[test]
fn a_payment_is_recorded_once_also_when_its_answer_is_lost() {
    let company = Company::default();
    let host = host(&company);
    create(&host, order()).unwrap();
    company.borrow_mut().lose_answer = vec!["/bankPayments".to_owned()];
    let pay = |data: Value| host.handle::<Billy>(config(), Event::new("payment.record", data));
    let events = pay(json!({ "invoice_id": "inv1", "amount": "250.00" })).unwrap().events;
    assert_eq!(events[0].data["payment_id"], "pay1");
    assert_eq!(events[0].data["amount"], json!({ "amount": "250.00", "currency": "DKK" }));
    assert_eq!(company.borrow().payments.len(), 1);
    let events = pay(json!({ "invoice_id": "inv1" })).unwrap().events;
    assert_eq!(events[0].data["amount"]["amount"], "750.00");
    let error = pay(json!({ "invoice_id": "inv1" })).unwrap_err();
    assert_eq!(error.detail().code, "nothing_open");
}

#[test]
fn a_refusal_names_the_attributes_and_a_missing_product_the_config_field() {
    let company = Company::default();
    let host = host(&company).answer(
        "billy",
        "POST",
        "/invoices",
        switchyard_sdk::testing::Answer::json(
            422,
            json!({ "validationErrors": { "record": { "attributes": { "contactId": "It does not exist." } } } }),
        ),
    );
    let error = create(&host, order()).unwrap_err();
    assert!(matches!(&error, PluginError::Reject(detail) if detail.message.contains("contactId")), "{error}");
    let error =
        host.handle::<Billy>(json!({ "organization_id": "ORG" }), Event::new("invoice.create", order())).unwrap_err();
    assert!(error.to_string().contains("`product_id`"), "{error}");
}
