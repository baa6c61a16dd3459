use serde_json::{Value, json};
use switchyard_simulators::faults::{Fault, FaultBody};
use switchyard_tests::api::{text, until};

use super::{Office, dkk};

#[tokio::test]
async fn while_billy_is_down_questions_are_answered_and_commands_wait() {
    let office = Office::open().await;
    let invoice = office.invoice().await;
    let down = || Fault::FailBefore { status: 503, body: FaultBody::Html };
    office.billy.faults().arm("*", down(), 1_000_000);
    let asked = office.give("invoice.query", json!({"invoice_id": invoice})).await;
    let found = office.event("invoice.found", &asked).await;
    assert_eq!((&found["data"]["stale"], &found["data"]["balance"]), (&json!(true), &dkk("1000.00")), "{found}");
    assert_eq!(found["data"]["number"], "1001");
    // A write is not answered from anywhere: it waits, and says why.
    let payment = office.give("payment.record", json!({"invoice_id": invoice})).await;
    let waiting = office.ended(&payment, "waiting").await;
    assert_eq!(waiting["reason"], "provider_down", "{waiting}");
    office.billy.faults().clear();
    let _ = office.ended(&payment, "delivered").await;
    assert_eq!(office.billy.payments().len(), 1);
    let asked = office.give("invoice.query", json!({"invoice_id": invoice})).await;
    let fresh = office.event("invoice.found", &asked).await;
    assert_eq!((&fresh["data"]["stale"], &fresh["data"]["is_paid"]), (&json!(false), &json!(true)), "{fresh}");
}

#[tokio::test]
async fn polls_go_on_where_they_stopped_and_miss_nothing() {
    let office = Office::open().await;
    let invoice = office.invoice().await;
    let down = Fault::FailBefore { status: 500, body: FaultBody::LogLineThenProvider };
    office.billy.faults().arm("*", down, 1_000_000);
    office.billy.pay(&invoice, None).expect("the customer can pay all the same");
    until("a poll to fail", async || {
        let polls = office.tenant.list("/deliveries?target=plugin:billy").await;
        let failed = |delivery: &Value| delivery["event_type"] == "_poll.due" && delivery["reason"] == "provider_down";
        if polls.iter().any(failed) { Ok(()) } else { Err(json!(polls).to_string()) }
    })
    .await;
    office.billy.faults().clear();
    let paid = office.event("invoice.paid", &invoice).await;
    assert_eq!(paid["data"]["payment_ids"].as_array().map(Vec::len), Some(1), "{paid}");
    assert_eq!(office.events("invoice.paid", &invoice).await.len(), 1);
}

#[tokio::test]
async fn the_connection_is_tried_by_a_look_at_the_organization() {
    let office = Office::open().await;
    let connection = text(&office.tenant.list("/connections").await[0], "id");
    let test = format!("/connections/{connection}/test");
    let tried = office.tenant.post(&test, &Value::Null).await.expect(200);
    assert_eq!(tried["ok"], true, "{tried}");
    assert!(tried.to_string().contains("GET /organization: status 200"), "{tried}");
    office.billy.faults().arm("organization.fetch", Fault::WrongToken, 1);
    let refused = office.tenant.post(&test, &Value::Null).await.expect(200);
    assert!(refused["ok"] == false && refused.to_string().contains("refuses the credential"), "{refused}");
}
