use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use switchyard_simulators::faults::{Fault, FaultBody};
use switchyard_tests::{api::SOON, hub::Hub};

use super::Office;

/// How often a command may pass a place; more would be a loop.
const PASSINGS: u32 = 24;

/// Between two looks at a command that the hub may not survive, and how many there are.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const PATIENCE: u32 = 300;

/// The places of a run at which a hub can die, each for every call that passes it.
const PLACES: [&str; 5] = [
    "intent.before_commit",
    "intent.after_commit",
    "provider.after_answer",
    "settle.before_commit",
    "settle.after_commit",
];

/// What a command leaves at Billy: invoices, credit notes, payments that stand, e-mails.
fn effects(office: &Office) -> [usize; 4] {
    let invoices = office.billy.invoices();
    let notes = invoices.iter().filter(|invoice| invoice.credits.is_some()).count();
    let payments = office.billy.payments().iter().filter(|(_, _, voided)| !voided).count();
    [invoices.len() - notes, notes, payments, office.billy.mails().len()]
}

/// A command that adds `adds` to the effects, in the midst of what goes wrong.
struct Case {
    command: &'static str,
    operation: &'static str,
    adds: [usize; 4],
}

const CASES: [Case; 4] = [
    Case { command: "invoice.create", operation: "invoices.create", adds: [1, 0, 0, 0] },
    Case { command: "invoice.refund", operation: "invoices.create", adds: [0, 1, 0, 0] },
    Case { command: "payment.record", operation: "bankPayments.create", adds: [0, 0, 1, 0] },
    Case { command: "invoice.send", operation: "invoices.email", adds: [0, 0, 0, 1] },
];

impl Case {
    /// The command's data, about an invoice of its own.
    async fn data(&self, office: &Office) -> Value {
        if self.command == "invoice.create" {
            return super::order(json!([super::line("400.00", 2, None)]));
        }
        let invoice = office.invoice().await;
        match self.command {
            "payment.record" => json!({"invoice_id": invoice, "amount": "250.00"}),
            _ => json!({"invoice_id": invoice}),
        }
    }

    fn after(&self, before: [usize; 4]) -> [usize; 4] {
        std::array::from_fn(|index| before[index] + self.adds[index])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_any_write_leaves_one_effect() {
    let office = Office::open().await;
    for case in &CASES {
        for fault in [
            Fault::DropAfter,
            Fault::FailAfter { status: 500, body: FaultBody::Html },
            Fault::FailBefore { status: 503, body: FaultBody::LogLineThenProvider },
            Fault::RateLimit { retry_after_s: Some(1) },
        ] {
            let data = case.data(&office).await;
            let before = effects(&office);
            office.billy.faults().arm(case.operation, fault.clone(), 1);
            let _ = office.done(case.command, data).await;
            assert!(office.billy.faults().armed().is_empty(), "{} met {fault:?}", case.command);
            assert_eq!(effects(&office), case.after(before), "{} with {fault:?}", case.command);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reminder_whose_answer_is_lost_is_dead_with_an_unknown_outcome() {
    let office = Office::open().await;
    let invoice = office.invoice().await;
    let _ = office.done("invoice.send", json!({"invoice_id": invoice})).await;
    office.billy.faults().arm("invoices.email", Fault::DropAfter, 1);
    let again = office.give("invoice.send", json!({"invoice_id": invoice, "again": true})).await;
    let dead = office.ended(&again, "dead").await;
    assert_eq!(dead["reason"], "unknown_outcome", "nothing at Billy tells the two apart: {dead}");
    assert_eq!(office.billy.mails().len(), 2, "it went out, and no third one followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_killed_while_billy_is_silent_leaves_one_effect() {
    let mut office = Office::open().await;
    for case in &CASES {
        let data = case.data(&office).await;
        let before = effects(&office);
        office.billy.faults().arm(case.operation, Fault::HangAfter, 1);
        let event = office.give(case.command, data).await;
        office.billy.faults().wait_held(1, SOON).await.expect("Billy has done it and says nothing");
        office.hub.kill().await;
        assert!(office.billy.faults().wait_none_held(SOON).await, "the connection went with the hub");
        office.hub.restart().await;
        let _ = office.ended(&event, "delivered").await;
        assert_eq!(effects(&office), case.after(before), "{}", case.command);
    }
}

/// Waits until the hub has died or the command is done; whether it died.
async fn died_before_done(office: &mut Office, event: &str) -> bool {
    let path = office.tenant.path("/deliveries?target=plugin:billy&limit=200");
    for _ in 0..PATIENCE {
        if office.hub.ended(LOOK_EVERY).await.is_some() {
            return true;
        }
        let Ok(reply) = office.tenant.api.try_raw("GET", &path, &[], Bytes::new()).await else { continue };
        let listed = reply.json()["data"].as_array().cloned().unwrap_or_default();
        if listed.iter().any(|delivery| delivery["event_id"] == event && delivery["state"] == "delivered") {
            return false;
        }
    }
    panic!("{event} neither ended nor ended the hub");
}

/// Kills the hub at one passing of a place while it carries a command out; whether it passed it so often.
async fn killed_at(office: &mut Office, case: &Case, place: &str, passing: u32) -> bool {
    let data = case.data(office).await;
    let before = effects(office);
    office.hub.kill().await;
    office.hub.set("SWITCHYARD_FAILPOINTS", &format!("{place}={passing}:abort"));
    office.hub.restart().await;
    let id = format!("{}-{place}-{passing}", case.command).replace('.', "-");
    let command = json!({"type": case.command, "id": id, "data": data});
    // The hub may die before it has answered, with the command accepted.
    let headers = [("content-type", "application/json")];
    let _ =
        office.tenant.api.try_raw("POST", &office.tenant.path("/events"), &headers, command.to_string().into()).await;
    let died = died_before_done(office, &id).await;
    if !died {
        office.hub.kill().await;
    }
    office.hub.unset("SWITCHYARD_FAILPOINTS");
    office.hub.restart().await;
    let _ = office.tenant.publish(&command).await;
    let _ = office.ended(&id, "delivered").await;
    assert_eq!(effects(office), case.after(before), "{} killed at {place}, passing {passing}", case.command);
    died
}

/// Goes through every passing of every place. Polls run every ten seconds so, and stay out of the way.
async fn survives_every_death(case: &Case) {
    let mut office = Office::open_at(Hub::builder().time_factor(6)).await;
    for place in PLACES {
        let mut deaths = 0;
        while deaths < PASSINGS && killed_at(&mut office, case, place, deaths + 1).await {
            deaths += 1;
        }
        assert!(deaths > 0, "{} never passed {place}", case.command);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_is_created_once_wherever_the_hub_dies() {
    survives_every_death(&CASES[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_is_credited_once_wherever_the_hub_dies() {
    survives_every_death(&CASES[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_recorded_once_wherever_the_hub_dies() {
    survives_every_death(&CASES[2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_is_mailed_once_wherever_the_hub_dies() {
    survives_every_death(&CASES[3]).await;
}
