use std::time::Duration;

use serde_json::json;
use switchyard_simulators::{
    faults::{Fault, FaultBody},
    oauth::Rotation,
    quickbooks::Kind,
};
use switchyard_tests::api::{SOON, text, until};

use super::{PLUGIN, World, order};

#[tokio::test]
async fn an_invoice_is_made_mailed_and_paid_by_commands() {
    let world = World::ready().await;
    let _ = world.tenant.publish(&order("Kunde")).await;
    let created = world.wait("invoice.created", 1).await.remove(0);
    let id = text(&created, "subject");
    assert_eq!(created["data"]["reference"], "Kunde");
    assert_eq!(world.company.invoices()[0].total, 100_000);
    let _ = world.tenant.publish(&json!({"type": "invoice.send", "data": {"invoice_id": id}})).await;
    let sent = world.wait("invoice.sent", 1).await;
    assert_eq!(sent[0]["data"]["to"], "kunde@kunde.test");
    let part = json!({"type": "payment.record", "data": {"invoice_id": id, "amount": "250.50"}});
    let _ = world.tenant.publish(&part).await;
    let _ = world.wait("payment.recorded", 1).await;
    assert_eq!(world.company.invoices()[0].balance, 74_950);
    let _ = world.tenant.publish(&json!({"type": "payment.record", "data": {"invoice_id": id}})).await;
    let paid = world.wait("invoice.paid", 1).await;
    assert_eq!(paid[0]["data"]["total"], json!({"amount": "1000.00", "currency": "DKK"}));
    let _ = world.tenant.publish(&json!({"type": "invoice.query", "id": "ask-1", "data": {"invoice_id": id}})).await;
    let found = world.wait("invoice.found", 1).await;
    assert_eq!((&found[0]["subject"], &found[0]["data"]["is_paid"]), (&json!("ask-1"), &json!(true)));
    world.quiet().await;
    // The webhooks about all this have said nothing twice.
    let story = world.story().await;
    for (name, count) in [("invoice.created", 1), ("invoice.sent", 1), ("payment.recorded", 2), ("contact.created", 1)]
    {
        assert_eq!(story.iter().filter(|line| line.starts_with(name)).count(), count, "{name}: {story:#?}");
    }
    assert_eq!(world.company.mails().len(), 1);
}

#[tokio::test]
async fn a_sale_on_the_spot_is_booked() {
    let world = World::ready().await;
    let mut command = order("Kontant");
    command["type"] = json!("salesreceipt.create");
    command["data"]["method"] = json!("2");
    let _ = world.tenant.publish(&command).await;
    let told = world.wait("salesreceipt.created", 1).await;
    assert_eq!(told[0]["data"]["total"]["amount"], "1000.00");
    world.quiet().await;
    assert_eq!(world.told("salesreceipt.created").await.len(), 1);
    let receipts = world.company.records(Kind::SalesReceipt);
    assert_eq!((receipts.len(), &receipts[0]["PaymentMethodRef"]["value"]), (1, &json!("2")));
}

/// How many invoices each reference has.
fn per_customer(world: &World) -> Vec<(String, usize)> {
    let customers = world.company.records(Kind::Customer);
    let mut all: Vec<(String, usize)> = customers
        .iter()
        .map(|customer| {
            let mine = world
                .company
                .invoices()
                .iter()
                .filter(|invoice| customer["Id"] == invoice.customer_id.as_str())
                .count();
            (text(customer, "DisplayName"), mine)
        })
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn whatever_becomes_of_an_answer_there_is_one_invoice() {
    let world = World::ready().await;
    world.settled().await;
    let body = FaultBody::Provider;
    let faults = [
        ("Dropped", Fault::DropAfter),
        ("Failed", Fault::FailAfter { status: 500, body }),
        ("Proxied", Fault::FailAfter { status: 502, body: FaultBody::Html }),
        ("Refused", Fault::FailBefore { status: 503, body: FaultBody::Empty }),
        ("Throttled", Fault::RateLimit { retry_after_s: Some(1) }),
        ("Hidden", Fault::FailAfter { status: 200, body }),
        ("Mumbled", Fault::FailAfter { status: 200, body: FaultBody::Html }),
    ];
    for (count, (name, fault)) in faults.iter().enumerate() {
        world.company.faults().arm("invoice.create", fault.clone(), 1);
        let _ = world.tenant.publish(&order(name)).await;
        let told = world.wait("invoice.created", count + 1).await;
        assert_eq!(told.len(), count + 1, "{name}");
    }
    world.quiet().await;
    let all = per_customer(&world);
    assert_eq!(all.len(), faults.len(), "{all:?}");
    assert!(all.iter().all(|(_, count)| *count == 1), "{all:?}");
}

#[tokio::test]
async fn a_hub_that_dies_while_quickbooks_is_slow_to_answer_makes_nothing_twice() {
    let mut world = World::ready().await;
    world.settled().await;
    for operation in ["customer.create", "invoice.create"] {
        world.company.faults().arm(operation, Fault::HangAfter, 1);
        let _ = world.tenant.publish(&order(&operation.replace('.', " "))).await;
        world.company.faults().wait_held(1, SOON).await.expect("it is carried out and not answered");
        world.hub.kill().await;
        world.company.faults().release();
        world.hub.restart().await;
        let wanted = if operation == "customer.create" { 1 } else { 2 };
        assert_eq!(world.wait("invoice.created", wanted).await.len(), wanted);
    }
    let all = per_customer(&world);
    assert_eq!(all.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [1, 1], "{all:?}");
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle_is_refreshed_once_and_nothing_is_lost() {
    let world = World::ready().await;
    world.settled().await;
    world.company.grants().set_rotation(Rotation::After(Duration::ZERO));
    let _ = world.tenant.publish(&order("Before")).await;
    let _ = world.wait("invoice.created", 1).await;
    let before = world.company.grants().counts();
    world.company.grants().expire_tokens();
    for n in 0..10 {
        let _ = world.tenant.publish(&order(&format!("After {n}"))).await;
    }
    let _ = world.wait("invoice.created", 11).await;
    let after = world.company.grants().counts();
    assert_eq!((after.refreshes - before.refreshes, after.reuses), (1, 0), "{after:?}");
    assert!(per_customer(&world).iter().all(|(_, count)| *count == 1));
}

#[tokio::test]
async fn a_customer_that_somebody_changes_meanwhile_keeps_both_changes() {
    let world = World::ready().await;
    world.settled().await;
    let made = json!({"do": "create", "kind": "Customer", "record": {"DisplayName": "Kunde ApS"}});
    let id = text(&world.act(made), "Id");
    world.company.faults().arm("customer.update", Fault::Latency { ms: 1_500 }, 1);
    let data = json!({"name": "Kunde ApS", "phone": "+4520123456"});
    let _ = world.tenant.publish(&json!({"type": "customer.upsert", "data": data})).await;
    until("the change to be on its way", async || {
        let counts = world.company.counts();
        if counts.get("customer.update").is_some_and(|count| count.received >= 1) {
            Ok(())
        } else {
            Err(format!("{counts:?}"))
        }
    })
    .await;
    world.act(json!({"do": "change", "kind": "Customer", "id": id, "record": {"Notes": "A regular"}}));
    until("both changes to be there", async || {
        let customer = world.company.records(Kind::Customer).remove(0);
        let both = customer["Notes"] == "A regular" && customer["PrimaryPhone"]["FreeFormNumber"] == "+4520123456";
        if both { Ok(()) } else { Err(customer.to_string()) }
    })
    .await;
    assert_eq!(world.company.counts()["customer.update"].received, 2);
}

#[tokio::test]
async fn a_refusal_ends_as_a_dead_letter_in_quickbooks_own_words() {
    let world = World::ready().await;
    world.settled().await;
    let mut command = order("Kunde");
    command["data"]["lines"][0]["tax_code"] = json!("TAX");
    let _ = world.tenant.publish(&command).await;
    let dead = world.tenant.delivery_in(PLUGIN, "dead").await;
    assert_eq!((&dead["reason"], &dead["code"]), (&json!("bad_data"), &json!("qbo_2500")), "{dead}");
    assert!(dead.to_string().contains("Invalid Reference Id"), "{dead}");
    assert!(world.company.invoices().is_empty());
}

#[tokio::test]
async fn a_company_that_was_never_granted_shows_at_the_installation() {
    let world = World::start().await;
    let refresh_token = world.company.logged_in().refresh_token;
    let secret = json!({"app": text(&world.app, "id"), "refresh_token": refresh_token});
    let connection = world.connection(secret).await;
    let wanted = json!({"config": {"realm_id": "999"}, "connections": {"quickbooks": connection}});
    let _ = world.tenant.install("quickbooks", &wanted).await;
    until("the installation to say so", async || {
        let shown = world.tenant.get("/plugins/quickbooks").await.expect(200);
        let said = format!("{shown} {}", json!(world.tenant.list("/deliveries").await));
        if shown["state"] != "ready" && said.contains("not_authorized") { Ok(()) } else { Err(said) }
    })
    .await;
}
