use serde_json::json;
use switchyard_simulators::billy::Ore;
use switchyard_tests::{api::until, hub::Hub};

use super::{Office, dkk, line, order};

#[tokio::test]
async fn partial_payments_are_told_and_the_last_one_pays_the_invoice() {
    let office = Office::open().await;
    let invoice = office.invoice().await;
    let _ = office.done("payment.record", json!({"invoice_id": invoice, "amount": "250.00"})).await;
    let updated = office.event("invoice.updated", &invoice).await;
    assert_eq!((&updated["data"]["changed"], &updated["data"]["balance"]), (&json!(["balance"]), &dkk("750.00")));
    // The customer pays the rest, and nobody tells the hub but the poll.
    office.billy.pay(&invoice, None).expect("a payment");
    let paid = office.event("invoice.paid", &invoice).await;
    assert_eq!(paid["data"]["total"], dkk("1000.00"));
    let payments = office.billy.payments();
    assert_eq!(payments.len(), 2);
    for (payment, amount, _) in payments {
        let told = office.events("payment.recorded", &payment).await;
        assert_eq!(told.len(), 1, "{payment} is told once by command or poll");
        assert_eq!(told[0]["data"]["amount"]["amount"], format!("{}.{:02}", amount.0 / 100, amount.0 % 100));
    }
}

#[tokio::test]
async fn a_payment_taken_back_by_command_or_at_billy_opens_its_invoice_again() {
    let office = Office::open().await;
    let invoice = office.invoice().await;
    let first = office.billy.pay(&invoice, Some(Ore(40_000))).expect("a payment").payment_id;
    let second = office.billy.pay(&invoice, None).expect("a payment").payment_id;
    let _ = office.event("invoice.paid", &invoice).await;
    let _ = office.done("payment.void", json!({"payment_id": first})).await;
    let told = office.event("payment.voided", &first).await;
    assert_eq!((&told["data"]["amount"], &told["data"]["invoice_ids"]), (&dkk("400.00"), &json!([invoice])));
    assert!(office.billy.take_back(&second), "a person takes the other one back");
    let _ = office.event("payment.voided", &second).await;
    until("both to be open again", async || {
        let updates = office.events("invoice.updated", &invoice).await;
        let open = updates.iter().any(|event| event["data"]["balance"] == dkk("1000.00"));
        if open { Ok(()) } else { Err(json!(updates).to_string()) }
    })
    .await;
    let _ = office.done("payment.record", json!({"invoice_id": invoice})).await;
    until("the invoice to be paid a second time", async || {
        let paid = office.events("invoice.paid", &invoice).await;
        if paid.len() == 2 { Ok(()) } else { Err(json!(paid).to_string()) }
    })
    .await;
    assert_eq!(office.events("payment.voided", &first).await.len(), 1, "command and poll saw one fact");
}

#[tokio::test]
async fn a_refund_is_one_credit_note_and_never_more_than_the_invoice() {
    let office = Office::open().await;
    let invoice = office.invoice().await;
    let part = json!({"invoice_id": invoice, "reason": "Half a job", "lines": [line("400.00", 1, None)]});
    let _ = office.done("invoice.refund", part).await;
    let refunded = office.event("invoice.refunded", &invoice).await;
    assert_eq!((&refunded["data"]["total"], &refunded["data"]["tax"]), (&dkk("500.00"), &dkk("100.00")));
    let notes: Vec<_> = office.billy.invoices().into_iter().filter(|invoice| invoice.credits.is_some()).collect();
    assert_eq!((notes.len(), notes[0].amount, notes[0].number.as_deref()), (1, Ore(40_000), Some("1002")));
    let all = office.give("invoice.refund", json!({"invoice_id": invoice})).await;
    let dead = office.ended(&all, "dead").await;
    assert_eq!((&dead["reason"], &dead["code"]), (&json!("bad_data"), &json!("more_than_invoiced")), "{dead}");
    assert_eq!(office.billy.invoices().len(), 2, "nothing was drafted");
    assert_eq!(office.events("invoice.refunded", &invoice).await.len(), 1);
}

#[tokio::test]
async fn vat_is_that_of_the_products_ruleset() {
    let office = Office::open().await;
    let lines = json!([line("400.00", 2, None), line("100.00", 1, Some("exempt"))]);
    let _ = office.done("invoice.create", order(lines)).await;
    let made = office.billy.invoices().last().cloned().expect("an invoice");
    assert_eq!((made.amount, made.tax, made.balance), (Ore(90_000), Ore(20_000), Ore(110_000)));
    let created = office.event("invoice.created", &made.id).await;
    assert_eq!((&created["data"]["total"], &created["data"]["tax"]), (&dkk("1100.00"), &dkk("200.00")));
    let unknown = office.give("invoice.create", order(json!([line("1.00", 1, Some("reduced"))]))).await;
    assert_eq!(office.ended(&unknown, "dead").await["code"], "unknown_tax_code");
}

#[tokio::test]
async fn an_invoice_is_mailed_once_and_again_only_when_told() {
    let office = Office::open().await;
    let invoice = office.invoice().await;
    for _ in 0..2 {
        let _ = office.done("invoice.send", json!({"invoice_id": invoice})).await;
    }
    let mails = office.billy.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!((mails[0].to.as_str(), mails[0].subject.as_str()), ("a@example.test", "Invoice 1001"));
    assert_eq!(office.events("invoice.sent", &invoice).await.len(), 1);
    let reminder = json!({"invoice_id": invoice, "again": true, "subject": "Reminder"});
    let _ = office.done("invoice.send", reminder).await;
    assert_eq!(office.billy.mails()[1].subject, "Reminder");
    assert_eq!(office.events("invoice.sent", &invoice).await.len(), 2);
}

#[tokio::test]
async fn sums_are_done_again_and_a_planted_mismatch_is_found() {
    // Every six hours is every six seconds so.
    let office = Office::open_at(Hub::builder().time_factor(3_600)).await;
    let (good, bad) = (office.invoice().await, office.invoice().await);
    office.billy.pay(&good, Some(Ore(25_000))).expect("a payment");
    assert!(office.billy.distort(&bad, Ore(-5_000)), "its tax becomes wrong");
    let found = office.event("invoice.mismatched", &bad).await;
    let mismatches = found["data"]["mismatches"].as_array().expect("mismatches");
    assert_eq!(mismatches[0], json!({"field": "tax", "expected": dkk("200.00"), "actual": dkk("150.00")}));
    assert_eq!(mismatches[1], json!({"field": "total", "expected": dkk("1000.00"), "actual": dkk("950.00")}));
    let rounds = until("two rounds", async || {
        let rounds = office.tenant.list("/events?type=books.reconciled").await;
        if rounds.len() >= 2 { Ok(rounds) } else { Err(json!(rounds).to_string()) }
    })
    .await;
    assert!(rounds[0]["data"]["mismatched"].as_u64() >= Some(1), "{rounds:?}");
    assert!(office.events("invoice.mismatched", &good).await.is_empty(), "a partial payment is no mismatch");
    assert_eq!(office.events("invoice.mismatched", &bad).await.len(), 1, "one fact, however often it is seen");
}
