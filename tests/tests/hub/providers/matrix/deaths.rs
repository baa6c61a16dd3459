use std::{cell::RefCell, collections::BTreeMap};

use serde_json::{Value, json};
use switchyard_simulators::{billy::InvoiceState, quickbooks::Kind};
use switchyard_tests::{
    api::{Tenant, text, until},
    death::{WritingCommand, at_every_step},
    gmail::Mailbox,
    hub::{Builder, Hub},
    world::{billy, bundled},
};

use super::{billy as books, calendar, gmail, google, quickbooks, twilio as texts};

/// A hub in real time, so that no poll counts among a command's steps, with one plugin and one tenant.
async fn hub(builder: Builder, plugin: &str) -> (Hub, Tenant) {
    let hub = builder.time_factor(1).start().await;
    let _ = hub.push(bundled(plugin)).await.expect(201);
    let tenant = hub.tenant("acme").await;
    (hub, tenant)
}

/// Waits until nothing is under way: the first polls of a new installation are over, or what a round asked for is done.
async fn quiet(tenant: &Tenant) {
    until("the installation to be quiet", async || {
        let live = tenant.list("/deliveries?state=queued,running,waiting,held").await;
        if live.is_empty() { Ok(()) } else { Err(json!(live).to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twilio_commands_survive_death_at_every_step() {
    let handle = texts::start().await;
    let (mut hub, tenant) = hub(Hub::builder(), "twilio").await;
    // Callbacks of one round would be settled in the next.
    texts::install(&handle, &tenant, false).await;
    quiet(&tenant).await;
    let command = |emits, writes| WritingCommand {
        target: "plugin:twilio",
        emits: Some(emits),
        faults: handle.faults(),
        writes,
        may_stay_unknown: false,
    };
    let person = |round: u32| format!("+4520{:06}", 100_000 + round);
    let order = async |round: u32| json!({"type": "sms.send", "data": {"to": person(round), "body": "Hej"}});
    let effects = |round: u32| handle.messages().iter().filter(|message| message.to == person(round)).count();
    let send = command("sms.sent", &["messages.create"]);
    let rounds = at_every_step(&mut hub, &tenant, &send, order, effects).await;
    assert_eq!(rounds.len(), 7, "{rounds:#?}");

    let order = async |round: u32| json!({"type": "call.create", "data": {"to": person(round), "say": "Hej"}});
    let effects = |round: u32| handle.calls().iter().filter(|call| call.to == person(round)).count();
    let call = command("call.created", &["calls.create"]);
    let rounds = at_every_step(&mut hub, &tenant, &call, order, effects).await;
    assert_eq!(rounds.len(), 7, "{rounds:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn billy_commands_survive_death_at_every_step() {
    let handle = billy().await;
    let (mut hub, tenant) = hub(Hub::builder(), "billy").await;
    books::install(&handle, &tenant).await;
    quiet(&tenant).await;
    let command = |emits, writes| WritingCommand {
        target: "plugin:billy",
        emits,
        faults: handle.faults(),
        writes,
        may_stay_unknown: false,
    };
    let find = |name: &str| handle.invoices().into_iter().find(|invoice| books::reference(invoice) == name);
    let order = async |round: u32| books::invoice(&format!("round-{round}"));
    let effects = |round: u32| {
        let wanted = format!("round-{round}");
        handle.invoices().iter().filter(|invoice| books::reference(invoice) == wanted).count()
    };
    let create = command(Some("invoice.created"), &["contacts.create", "invoices.create", "invoices.approve"]);
    let rounds = at_every_step(&mut hub, &tenant, &create, order, effects).await;
    assert!(rounds.len() >= 3 * 4 + 2 + 3, "{rounds:#?}");
    assert_eq!(handle.contact_count(), handle.invoices().len(), "a contact was made twice");

    // A draft of its own for each round, made while nothing goes wrong.
    let order = async |round: u32| {
        let name = format!("draft-{round}");
        let mut draft = books::invoice(&name);
        draft["data"]["approve"] = json!(false);
        let _ = tenant.publish(&draft).await;
        quiet(&tenant).await;
        let id = find(&name).expect("the draft is there").id;
        json!({"type": "invoice.approve", "data": {"invoice_id": id}})
    };
    let effects = |round: u32| {
        let invoice = find(&format!("draft-{round}"));
        usize::from(invoice.is_some_and(|invoice| invoice.state == InvoiceState::Approved))
    };
    let approve = command(Some("invoice.approved"), &["invoices.approve"]);
    let _ = at_every_step(&mut hub, &tenant, &approve, order, effects).await;

    // A tenth of the invoice, so that a second payment would show.
    let order = async |round: u32| {
        let name = format!("paid-{round}");
        let _ = tenant.publish(&books::invoice(&name)).await;
        quiet(&tenant).await;
        let id = find(&name).expect("the invoice is there").id;
        json!({"type": "payment.record", "data": {"invoice_id": id, "amount": "100.00"}})
    };
    let effects = |round: u32| {
        let invoice = find(&format!("paid-{round}")).expect("the invoice is there");
        usize::try_from((100_000 - invoice.balance.0) / 10_000).expect("not overpaid")
    };
    let pay = command(Some("payment.recorded"), &["bankPayments.create"]);
    let _ = at_every_step(&mut hub, &tenant, &pay, order, effects).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_billy_commands_change_survives_death_at_every_step() {
    let handle = billy().await;
    let (mut hub, tenant) = hub(Hub::builder(), "billy").await;
    books::install(&handle, &tenant).await;
    quiet(&tenant).await;
    let command = |emits, writes| WritingCommand {
        target: "plugin:billy",
        emits: Some(emits),
        faults: handle.faults(),
        writes,
        may_stay_unknown: false,
    };
    let person = |round: u32| format!("Person {round}");
    let order = async |round: u32| json!({"type": "contact.upsert", "data": {"name": person(round), "email": format!("p{round}@example.test")}});
    let effects = |round: u32| handle.contacts_named(&person(round));
    let upsert = command("contact.created", &["contacts.create"]);
    let rounds = at_every_step(&mut hub, &tenant, &upsert, order, effects).await;
    assert!(rounds.len() > 4 + 2, "{rounds:#?}");

    // A payment of its own for each round, which the customer of an invoice has made.
    let paid = RefCell::new(BTreeMap::new());
    let order = async |round: u32| {
        let name = format!("void-{round}");
        let _ = tenant.publish(&books::invoice(&name)).await;
        quiet(&tenant).await;
        let invoices = handle.invoices();
        let invoice = invoices.iter().find(|invoice| books::reference(invoice) == name).expect("the invoice is there");
        let payment = handle.pay(&invoice.id, None).expect("it is open").payment_id;
        let _ = paid.borrow_mut().insert(round, payment.clone());
        json!({"type": "payment.void", "data": {"payment_id": payment}})
    };
    let effects = |round: u32| {
        let paid = paid.borrow();
        let payments = handle.payments();
        usize::from(payments.iter().any(|(id, _, taken_back)| *taken_back && paid.get(&round) == Some(id)))
    };
    let void = command("payment.voided", &["bankPayments.update"]);
    let rounds = at_every_step(&mut hub, &tenant, &void, order, effects).await;
    assert!(rounds.len() > 4 + 2, "{rounds:#?}");
}

/// How many records of a kind QuickBooks has for a customer.
fn of_customer(handle: &switchyard_simulators::quickbooks::Handle, kind: Kind, name: &str) -> Vec<Value> {
    let customers = handle.records(Kind::Customer);
    let ids: Vec<String> =
        customers.iter().filter(|one| one["DisplayName"] == name).map(|one| text(one, "Id")).collect();
    if kind == Kind::Customer {
        return customers.into_iter().filter(|one| one["DisplayName"] == name).collect();
    }
    let of = |record: &Value| ids.iter().any(|id| record["CustomerRef"]["value"] == id.as_str());
    handle.records(kind).into_iter().filter(of).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quickbooks_commands_survive_death_at_every_step() {
    let handle = quickbooks::start("4711", None).await;
    let (name, origins) = quickbooks::origins(&handle);
    let (mut hub, tenant) = hub(Hub::builder().set(name, &origins), "quickbooks").await;
    quickbooks::install(&handle, &handle, "4711", &tenant).await;
    // What it is told of its own writes would be settled in the next round.
    handle.set_behaviour(|behaviour| behaviour.lose_webhooks = true);
    quiet(&tenant).await;
    let command = |emits, writes| WritingCommand {
        target: "plugin:quickbooks",
        emits,
        faults: handle.faults(),
        writes,
        may_stay_unknown: false,
    };
    let customer = |what: &str, round: u32| format!("Customer of {what}-{round}");

    let order = async |round: u32| json!({"type": "customer.upsert", "data": {"name": customer("upsert", round)}});
    let effects = |round: u32| of_customer(&handle, Kind::Customer, &customer("upsert", round)).len();
    let upsert = command(Some("contact.created"), &["customer.create"]);
    let _ = at_every_step(&mut hub, &tenant, &upsert, order, effects).await;

    let order = async |round: u32| books::invoice(&format!("create-{round}"));
    let effects = |round: u32| of_customer(&handle, Kind::Invoice, &customer("create", round)).len();
    let create = command(Some("invoice.created"), &["customer.create", "invoice.create"]);
    let _ = at_every_step(&mut hub, &tenant, &create, order, effects).await;

    let order = async |round: u32| {
        let mut receipt = books::invoice(&format!("receipt-{round}"));
        receipt["type"] = json!("salesreceipt.create");
        receipt
    };
    let effects = |round: u32| of_customer(&handle, Kind::SalesReceipt, &customer("receipt", round)).len();
    let receipt = command(Some("salesreceipt.created"), &["salesreceipt.create"]);
    let _ = at_every_step(&mut hub, &tenant, &receipt, order, effects).await;

    // An invoice of its own for each round, made while nothing goes wrong.
    let invoice = async |what: &str, round: u32| {
        let _ = tenant.publish(&books::invoice(&format!("{what}-{round}"))).await;
        quiet(&tenant).await;
        text(&of_customer(&handle, Kind::Invoice, &customer(what, round))[0], "Id")
    };
    let order = async |round: u32| {
        let id = invoice("payment", round).await;
        json!({"type": "payment.record", "data": {"invoice_id": id, "amount": "100.00"}})
    };
    let effects = |round: u32| of_customer(&handle, Kind::Payment, &customer("payment", round)).len();
    let pay = command(Some("payment.recorded"), &["payment.create"]);
    let _ = at_every_step(&mut hub, &tenant, &pay, order, effects).await;

    let order = async |round: u32| {
        let id = invoice("mail", round).await;
        json!({"type": "invoice.send", "data": {"invoice_id": id, "to": format!("mail-{round}@example.test")}})
    };
    let effects = |round: u32| {
        let address = format!("mail-{round}@example.test");
        handle.mails().iter().filter(|(_, to)| *to == address).count()
    };
    let send = command(Some("invoice.sent"), &["invoice.send"]);
    let _ = at_every_step(&mut hub, &tenant, &send, order, effects).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn email_send_survives_death_at_every_step() {
    let (google, builder) = google::share(Hub::builder()).await;
    let mailbox = Mailbox::beside(google, 1).await;
    let (mut hub, tenant) = hub(builder, "gmail").await;
    // What is announced of its own messages would be settled in the next round.
    gmail::install(&mailbox, &tenant, false).await;
    quiet(&tenant).await;
    let command = WritingCommand {
        target: "plugin:gmail",
        emits: Some("email.sent"),
        faults: mailbox.gmail.faults(),
        writes: &["messages.send"],
        may_stay_unknown: false,
    };
    let subject = |round: u32| format!("round-{round}");
    let order = async |round: u32| {
        json!({"type": "email.send",
            "data": {"to": ["kunde@example.test"], "subject": subject(round), "text": "Hej"}})
    };
    let effects = |round: u32| mailbox.gmail.sent().iter().filter(|message| message.subject == subject(round)).count();
    let rounds = at_every_step(&mut hub, &tenant, &command, order, effects).await;
    assert_eq!(rounds.len(), 7, "{rounds:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calendar_commands_survive_death_at_every_step() {
    let (google, builder) = google::share(Hub::builder()).await;
    let handle = calendar::start(&google, 1).await;
    let (mut hub, tenant) = hub(builder, "calendar").await;
    calendar::install(&google, &handle, &tenant).await;
    quiet(&tenant).await;
    // What Google tells of the hub's own writes would be settled in the next round.
    handle.set_silent(true);
    let command = |emits, writes| WritingCommand {
        target: "plugin:calendar",
        emits: Some(emits),
        faults: handle.faults(),
        writes,
        may_stay_unknown: false,
    };
    let titled = |title: &str| -> Vec<Value> {
        let events = handle.events(calendar::CALENDAR).into_iter();
        events.filter(|event| event["summary"] == title).collect()
    };
    let order = async |round: u32| calendar::appointment(&format!("create-{round}"), 2 + round);
    let effects = |round: u32| titled(&format!("create-{round}")).len();
    let create = command("appointment.created", &["events.insert"]);
    let _ = at_every_step(&mut hub, &tenant, &create, order, effects).await;

    // The owner has made one for each round.
    let day = |round: u32| 60 + round;
    let made = |title: &str, round: u32| {
        let event = json!({"summary": format!("{title}-{round}"),
            "start": {"dateTime": calendar::at(day(round), 9)}, "end": {"dateTime": calendar::at(day(round), 10)}});
        text(&handle.make(calendar::CALENDAR, &event).expect("it is an event"), "id")
    };
    let order = async |round: u32| {
        let id = made("update", round);
        json!({"type": "appointment.update", "data": {"appointment_id": id, "start": calendar::at(day(round), 14)}})
    };
    let effects = |round: u32| {
        let moved = |event: &Value| {
            let start: jiff::Timestamp = text(&event["start"], "dateTime").parse().expect("a time");
            let wanted: jiff::Timestamp = calendar::at(day(round), 14).parse().expect("a time");
            start == wanted
        };
        titled(&format!("update-{round}")).iter().filter(|event| moved(event)).count()
    };
    let update = command("appointment.updated", &["events.patch"]);
    let _ = at_every_step(&mut hub, &tenant, &update, order, effects).await;

    let day = |round: u32| 120 + round;
    let order = async |round: u32| {
        let event = json!({"summary": format!("cancel-{round}"),
            "start": {"dateTime": calendar::at(day(round), 9)}, "end": {"dateTime": calendar::at(day(round), 10)}});
        let id = text(&handle.make(calendar::CALENDAR, &event).expect("it is an event"), "id");
        json!({"type": "appointment.cancel", "data": {"appointment_id": id}})
    };
    let effects = |round: u32| {
        let live = handle.live_events(calendar::CALENDAR);
        usize::from(!live.iter().any(|event| event["summary"] == format!("cancel-{round}")))
    };
    let cancel = command("appointment.cancelled", &["events.delete"]);
    let _ = at_every_step(&mut hub, &tenant, &cancel, order, effects).await;
}
