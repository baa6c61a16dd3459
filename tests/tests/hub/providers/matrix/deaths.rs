use serde_json::json;
use switchyard_tests::{
    api::{Tenant, until},
    death::{WritingCommand, at_every_step},
    hub::Hub,
    world::{billy, bundled},
};

use super::{billy as books, twilio as texts};

/// A hub in real time, so that no poll counts among a command's steps, with one plugin and one tenant.
async fn hub(plugin: &str) -> (Hub, Tenant) {
    let hub = Hub::builder().time_factor(1).start().await;
    let _ = hub.push(bundled(plugin)).await.expect(201);
    let tenant = hub.tenant("acme").await;
    (hub, tenant)
}

/// Waits until nothing is under way: the first poll of a new installation is over.
async fn quiet(tenant: &Tenant) {
    until("the installation to be quiet", async || {
        let live = tenant.list("/deliveries?state=queued,running,waiting,held").await;
        if live.is_empty() { Ok(()) } else { Err(json!(live).to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sms_send_survives_death_at_every_step() {
    let handle = texts::start().await;
    let (mut hub, tenant) = hub("twilio").await;
    // Callbacks of one round would be settled in the next.
    texts::install(&handle, &tenant, false).await;
    quiet(&tenant).await;
    let command = WritingCommand {
        target: "plugin:twilio",
        emits: Some("sms.sent"),
        faults: handle.faults(),
        writes: &["messages.create"],
        may_stay_unknown: false,
    };
    let body = |round: u32| format!("round {round}");
    let order = async |round| json!({"type": "sms.send", "data": {"to": "+4520123456", "body": body(round)}});
    let effects = |round| handle.messages().iter().filter(|message| message.body == body(round)).count();
    let rounds = at_every_step(&mut hub, &tenant, &command, order, effects).await;
    assert_eq!(rounds.len(), 7, "{rounds:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invoice_create_survives_death_at_every_step() {
    let handle = billy().await;
    let (mut hub, tenant) = hub("billy").await;
    books::install(&handle, &tenant).await;
    quiet(&tenant).await;
    let command = WritingCommand {
        target: "plugin:billy",
        emits: Some("invoice.created"),
        faults: handle.faults(),
        writes: &["contacts.create", "invoices.create", "invoices.approve"],
        may_stay_unknown: false,
    };
    let order = async |round| books::invoice(&format!("round-{round}"));
    let effects = |round| {
        let wanted = format!("round-{round}");
        handle.invoices().iter().filter(|invoice| books::reference(invoice) == wanted).count()
    };
    let rounds = at_every_step(&mut hub, &tenant, &command, order, effects).await;
    assert!(rounds.len() >= 3 * 4 + 2 + 3, "{rounds:#?}");
    assert_eq!(handle.contact_count(), handle.invoices().len(), "a contact was made twice");
}
