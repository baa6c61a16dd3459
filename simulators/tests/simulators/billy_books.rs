//! Invoices, VAT, payments: what the books must add up to.

use http::Method;
use serde_json::{Value, json};
use switchyard_simulators::billy::{InvoiceState, Ore};

use crate::support::{Running, billy, billy_call, billy_get};

type Billy = Running<switchyard_simulators::billy::Handle>;

async fn post(billy: &Billy, path: &str, body: Value) -> Value {
    billy_call(billy, Method::POST, path, &body).await.unwrap().expect(200)
}

async fn contact(billy: &Billy) -> Value {
    let body = json!({"contact": {"type": "company", "name": "Kunde ApS", "countryId": "DK",
        "contactPersons": [{"name": "Kunde", "email": "a@b.test", "isPrimary": true}]}});
    post(billy, "/contacts", body).await["contacts"][0].clone()
}

async fn invoice(billy: &Billy, extra: Value) -> Value {
    let contact = contact(billy).await;
    let mut invoice = json!({"organizationId": billy.organization_id(), "contactId": contact["id"],
        "entryDate": "2026-11-20", "paymentTermsMode": "net", "paymentTermsDays": 8,
        "lines": [{"productId": billy.product_id(), "description": "Service", "quantity": 2, "unitPrice": 400}]});
    for (name, value) in extra.as_object().unwrap() {
        invoice[name] = value.clone();
    }
    post(billy, "/invoices", json!({"invoice": invoice})).await["invoices"][0].clone()
}

async fn set_state(billy: &Billy, id: &Value, state: &str) -> crate::support::Got {
    let path = format!("/invoices/{}", id.as_str().unwrap());
    billy_call(billy, Method::PUT, &path, &json!({"invoice": {"state": state}})).await.unwrap()
}

async fn approved(billy: &Billy) -> Value {
    let draft = invoice(billy, json!({})).await;
    set_state(billy, &draft["id"], "approved").await.expect(200)["invoices"][0].clone()
}

#[tokio::test]
async fn vat_is_added_to_net_prices_and_taken_out_of_gross_ones() {
    let billy = billy().await;
    let excl = invoice(&billy, json!({"taxMode": "excl"})).await;
    assert_eq!(
        (excl["amount"].clone(), excl["tax"].clone(), excl["balance"].clone()),
        (json!(800), json!(200), json!(1000))
    );
    let line = |price: Value| json!([{"productId": billy.product_id(), "quantity": 1, "unitPrice": price}]);
    let incl = invoice(&billy, json!({"taxMode": "incl", "lines": line(json!(100))})).await;
    assert_eq!((incl["amount"].clone(), incl["tax"].clone()), (json!(80), json!(20)));
    let odd = invoice(&billy, json!({"taxMode": "excl", "lines": line(json!(99.99))})).await;
    assert_eq!(
        (odd["amount"].clone(), odd["tax"].clone(), odd["balance"].clone()),
        (json!(99.99), json!(25), json!(124.99))
    );
    let odd = invoice(&billy, json!({"taxMode": "incl", "lines": line(json!(99.99))})).await;
    assert_eq!(odd["balance"], json!(99.99), "net and tax of a gross price always add up to it");
}

#[tokio::test]
async fn a_draft_is_approved_with_a_number_and_there_is_no_way_back() {
    let billy = billy().await;
    let draft = invoice(&billy, json!({})).await;
    assert_eq!(
        (draft["state"].clone(), draft["invoiceNo"].clone(), draft["approvedTime"].clone()),
        (json!("draft"), Value::Null, Value::Null)
    );
    assert_eq!(draft["dueDate"], "2026-11-28");
    set_state(&billy, &draft["id"], "voided").await.expect(422);
    let approved = set_state(&billy, &draft["id"], "approved").await.expect(200)["invoices"][0].clone();
    assert_eq!(
        (approved["invoiceNo"].clone(), approved["approvedTime"].clone()),
        (json!("1001"), json!("2026-11-20T13:31:25"))
    );
    let again = set_state(&billy, &draft["id"], "approved").await.expect(200)["invoices"][0].clone();
    assert_eq!(again["invoiceNo"], "1001", "approving twice changes nothing");
    let error = set_state(&billy, &draft["id"], "draft").await.expect(422);
    assert!(error["validationErrors"]["record"]["attributes"]["state"].is_string());
    let path = format!("/invoices/{}", draft["id"].as_str().unwrap());
    let change = json!({"invoice": {"contactMessage": "andet"}});
    billy_call(&billy, Method::PUT, &path, &change).await.unwrap().expect(422);
    billy_call(&billy, Method::DELETE, &path, &Value::Null).await.unwrap().expect(422);
    let voided = set_state(&billy, &draft["id"], "voided").await.expect(200)["invoices"][0].clone();
    assert_eq!((voided["state"].clone(), voided["balance"].clone()), (json!("voided"), json!(0)));
}

#[tokio::test]
async fn a_bad_line_leaves_no_invoice_behind() {
    let billy = billy().await;
    let contact = contact(&billy).await;
    for (lines, at_fault) in [
        (json!([{"productId": billy.product_id()}, {"quantity": 1}]), "productId"),
        (json!([{"productId": "none"}]), "productId"),
        (json!([{"productId": billy.product_id(), "quantity": "two"}]), "quantity"),
    ] {
        let body = json!({"invoice": {"contactId": contact["id"], "lines": lines}});
        let error = billy_call(&billy, Method::POST, "/invoices", &body).await.unwrap().expect(422);
        assert!(error["validationErrors"]["record"]["attributes"][at_fault].is_string(), "{error}");
    }
    let body = json!({"invoice": {"contactId": "none", "lines": []}});
    billy_call(&billy, Method::POST, "/invoices", &body).await.unwrap().expect(422);
    billy_call(&billy, Method::POST, "/invoices", &json!({"invoice": {}})).await.unwrap().expect(422);
    assert!(billy.invoices().is_empty());
}

#[tokio::test]
async fn lines_are_absent_unless_included_and_a_given_list_replaces_them() {
    let billy = billy().await;
    let draft = invoice(&billy, json!({})).await;
    let id = draft["id"].as_str().unwrap();
    assert_eq!(billy_get(&billy, &format!("/invoices/{id}")).await.expect(200)["invoice"].get("lines"), None);
    let path = format!("/invoices/{id}");
    let line = |text: &str| json!({"productId": billy.product_id(), "description": text, "unitPrice": 10});
    let change = json!({"invoice": {"lines": [line("A"), line("B"), line("C")]}});
    billy_call(&billy, Method::PUT, &path, &change).await.unwrap().expect(200);
    let embedded = billy_get(&billy, &format!("{path}?include=invoice.lines:embed,invoice.contact")).await.expect(200);
    assert_eq!(embedded["invoice"]["lines"].as_array().unwrap().len(), 3);
    assert_eq!(embedded["contacts"][0]["name"], "Kunde ApS");
    let listed = billy_get(&billy, &format!("/invoiceLines?invoiceId={id}")).await.expect(200);
    assert_eq!(listed["invoiceLines"][2]["description"], "C");
    billy_get(&billy, "/invoiceLines").await.expect(400);
}

#[tokio::test]
async fn a_payment_closes_an_invoice_partly_then_fully_and_voiding_it_opens_it_again() {
    let billy = billy().await;
    let invoice = approved(&billy).await;
    let pay = |amount: Value| {
        json!({"bankPayment": {"organizationId": billy.organization_id(), "entryDate": "2026-11-21",
            "cashAmount": amount, "cashSide": "debit", "cashAccountId": billy.bank_account_id(),
            "associations": [{"subjectReference": format!("invoice:{}", invoice["id"].as_str().unwrap())}]}})
    };
    let first = post(&billy, "/bankPayments", pay(json!(999.99))).await;
    assert_eq!(
        (first["invoices"][0]["balance"].clone(), first["invoices"][0]["isPaid"].clone()),
        (json!(0.01), json!(false))
    );
    let over = billy_call(&billy, Method::POST, "/bankPayments", &pay(json!(5))).await.unwrap().expect(422);
    assert!(over["validationErrors"]["record"]["attributes"]["cashAmount"].is_string());
    let last = post(&billy, "/bankPayments", pay(json!(0.01))).await;
    assert_eq!(
        (last["invoices"][0]["balance"].clone(), last["invoices"][0]["isPaid"].clone()),
        (json!(0), json!(true))
    );
    set_state(&billy, &invoice["id"], "voided").await.expect(422);
    let path = format!("/bankPayments/{}", first["bankPayments"][0]["id"].as_str().unwrap());
    let void = json!({"bankPayment": {"isVoided": true}});
    for _ in 0..2 {
        let voided = billy_call(&billy, Method::PUT, &path, &void).await.unwrap().expect(200);
        assert_eq!(
            (voided["invoices"][0]["balance"].clone(), voided["invoices"][0]["isPaid"].clone()),
            (json!(999.99), json!(false))
        );
    }
    let embedded = billy_get(&billy, &format!("{path}?include=bankPayment.associations:embed")).await.expect(200);
    assert_eq!(embedded["bankPayment"]["associations"][0]["amount"], json!(999.99));
}

#[tokio::test]
async fn a_payment_needs_an_approved_invoice_and_an_account_for_payments() {
    let billy = billy().await;
    let draft = invoice(&billy, json!({})).await;
    let sales = billy_get(&billy, "/accounts").await.expect(200)["accounts"][0]["id"].clone();
    for (account, at_fault) in [(json!(billy.bank_account_id()), "subjectReference"), (sales, "cashAccountId")] {
        let reference = format!("invoice:{}", draft["id"].as_str().unwrap());
        let body = json!({"bankPayment": {"cashAmount": 1, "cashSide": "debit", "cashAccountId": account,
            "associations": [{"subjectReference": reference}]}});
        let error = billy_call(&billy, Method::POST, "/bankPayments", &body).await.unwrap().expect(422);
        assert!(error["validationErrors"]["record"]["attributes"][at_fault].is_string(), "{error}");
    }
}

#[tokio::test]
async fn the_customer_pays_all_that_is_open_and_the_poller_can_see_it() {
    let billy = billy().await;
    let invoice = approved(&billy).await;
    let id = invoice["id"].as_str().unwrap();
    assert_eq!(billy.pay(id, Some(Ore(40_000))).unwrap().balance_ore, 60_000);
    let unpaid = billy_get(&billy, "/invoices?isPaid=false&state=approved").await.expect(200);
    assert_eq!(unpaid["invoices"][0]["balance"], json!(600));
    billy.pay(id, None).unwrap();
    assert!(billy.pay(id, None).is_err());
    let unpaid = billy_get(&billy, "/invoices?isPaid=false").await.expect(200);
    assert_eq!(unpaid["invoices"], json!([]));
    let view = &billy.invoices()[0];
    assert_eq!((view.state, view.is_paid, view.balance), (InvoiceState::Approved, true, Ore(0)));
    let payments = billy_get(&billy, "/bankPayments").await.expect(200);
    assert_eq!(payments["bankPayments"].as_array().unwrap().len(), 2);
    let moved = billy_get(&billy, &format!("/balanceModifiers?subjectReference=invoice:{id}")).await.expect(200);
    assert_eq!(moved["balanceModifiers"][1]["amount"], json!(600));
}

#[tokio::test]
async fn an_approved_invoice_is_mailed_to_a_person_of_its_contact() {
    let billy = billy().await;
    let draft = invoice(&billy, json!({})).await;
    let path = format!("/invoices/{}/emails", draft["id"].as_str().unwrap());
    let contact = draft["contactId"].as_str().unwrap();
    let persons = billy_get(&billy, &format!("/contactPersons?contactId={contact}")).await.expect(200);
    let person = persons["contactPersons"][0]["id"].clone();
    let mail = |person: &Value| json!({"email": {"contactPersonId": person, "emailSubject": "Faktura"}});
    billy_call(&billy, Method::POST, &path, &mail(&person)).await.unwrap().expect(422);
    set_state(&billy, &draft["id"], "approved").await.expect(200);
    billy_call(&billy, Method::POST, &path, &mail(&json!("none"))).await.unwrap().expect(422);
    assert_eq!(post(&billy, &path, mail(&person)).await["invoices"][0]["sentState"], "sent");
}

#[tokio::test]
async fn a_product_without_tax_has_none() {
    let billy = billy().await;
    let body = json!({"product": {"name": "Momsfri", "salesTaxRulesetId": null, "prices": [{"unitPrice": 12.5}]}});
    let product = post(&billy, "/products", body).await["products"][0]["id"].clone();
    let free = invoice(&billy, json!({"lines": [{"productId": product, "quantity": 3}]})).await;
    assert_eq!((free["amount"].clone(), free["tax"].clone()), (json!(37.5), json!(0)));
    let found = billy_get(&billy, "/products?q=momsfri").await.expect(200);
    assert_eq!(found["products"][0]["id"], product);
}

#[tokio::test]
async fn a_credit_note_is_taken_off_its_invoice_and_the_rest_is_paid_out() {
    let billy = billy().await;
    let invoice = approved(&billy).await;
    let id = invoice["id"].as_str().unwrap();
    let note = |kind: &str, credited: &str| {
        json!({"invoice": {"type": kind, "creditedInvoiceId": credited, "contactId": invoice["contactId"],
            "entryDate": "2026-11-20", "lines": [{"productId": billy.product_id(), "quantity": 1, "unitPrice": 400}]}})
    };
    for (kind, credited) in [("invoice", id), ("creditNote", "none")] {
        let refused = billy_call(&billy, Method::POST, "/invoices", &note(kind, credited)).await.unwrap().expect(422);
        assert!(refused["validationErrors"]["record"]["attributes"]["creditedInvoiceId"].is_string(), "{refused}");
    }
    billy.pay(id, Some(Ore(60_000))).unwrap();
    let draft = post(&billy, "/invoices", note("creditNote", id)).await["invoices"][0].clone();
    let booked = set_state(&billy, &draft["id"], "approved").await.expect(200)["invoices"][0].clone();
    assert_eq!((booked["amount"].clone(), booked["balance"].clone()), (json!(400), json!(100)));
    let listed = billy_get(&billy, &format!("/invoices?creditedInvoiceId={id}")).await.expect(200);
    assert_eq!(listed["invoices"].as_array().unwrap().len(), 1);
    let original = billy_get(&billy, &format!("/invoices/{id}")).await.expect(200)["invoice"].clone();
    assert_eq!((original["balance"].clone(), original["isPaid"].clone()), (json!(0), json!(true)));
    let pay_out = |side: &str| {
        json!({"bankPayment": {"cashAmount": 100, "cashSide": side, "cashAccountId": billy.bank_account_id(),
            "associations": [{"subjectReference": format!("invoice:{}", booked["id"].as_str().unwrap())}]}})
    };
    billy_call(&billy, Method::POST, "/bankPayments", &pay_out("debit")).await.unwrap().expect(422);
    assert_eq!(post(&billy, "/bankPayments", pay_out("credit")).await["invoices"][0]["isPaid"], true);
}

#[tokio::test]
async fn mails_are_kept_payments_taken_back_and_figures_made_wrong() {
    let billy = billy().await;
    let invoice = approved(&billy).await;
    let id = invoice["id"].as_str().unwrap();
    let contact = invoice["contactId"].as_str().unwrap();
    let persons = billy_get(&billy, &format!("/contactPersons?contactId={contact}")).await.expect(200);
    let mail = json!({"email": {"contactPersonId": persons["contactPersons"][0]["id"], "emailSubject": "Faktura"}});
    post(&billy, &format!("/invoices/{id}/emails"), mail).await;
    assert_eq!((billy.mails()[0].to.as_str(), billy.mails()[0].subject.as_str()), ("a@b.test", "Faktura"));
    let paid = billy.pay(id, None).unwrap();
    assert!(billy.take_back(&paid.payment_id) && !billy.take_back(&paid.payment_id));
    assert_eq!(billy.invoices()[0].balance, Ore(100_000));
    assert!(billy.distort(id, Ore(-5_000)) && !billy.distort("none", Ore(1)));
    let wrong = billy_get(&billy, &format!("/invoices/{id}")).await.expect(200)["invoice"].clone();
    assert_eq!((wrong["tax"].clone(), wrong["balance"].clone()), (json!(150), json!(950)));
}
