use std::{os::unix::process::ExitStatusExt as _, time::Duration};

use serde_json::{Value, json};
use switchyard::failpoint::Point;
use switchyard_chaos::{acts::Person, checker, load::Load, world::World};
use switchyard_simulators::{
    faults::Fault,
    subscriber::{Received, Script, Step},
};
use switchyard_tests::{
    api::{SOON, Tenant, text, until},
    hub::Hub,
    world::subscriber,
};

/// What the system calls the end by `abort`.
const ABORTED: i32 = 6;

/// Under load every place is passed so soon. A poll that died with the process is made again after a minute.
const PASSED_WITHIN: Duration = Duration::from_secs(90);

/// Starts the hub so that it dies at a place.
async fn restart_to_die_at(hub: &mut Hub, point: Point) {
    hub.kill().await;
    hub.set("SWITCHYARD_FAILPOINTS", &format!("{}=abort", point.name()));
    hub.restart().await;
}

/// Waits until it has died there, and starts it again as it should be.
async fn died_and_restarted(hub: &mut Hub, point: Point) {
    let status = hub.ended(PASSED_WITHIN).await.unwrap_or_else(|| panic!("{} was not passed", point.name()));
    assert_eq!(status.signal(), Some(ABORTED), "at {} the hub ended with {status}", point.name());
    hub.unset("SWITCHYARD_FAILPOINTS");
    hub.restart().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_at_any_place_loses_and_doubles_nothing() {
    let mut world = World::start(Hub::builder()).await;
    let (load, person) = (Load::begin(&world), Person::begin(&world));
    world.hub.kill().await;
    for point in Point::ALL {
        world.hub.set("SWITCHYARD_FAILPOINTS", &format!("{}=abort", point.name()));
        world.hub.begin();
        let died = world.hub.ended(PASSED_WITHIN).await;
        let status = died.unwrap_or_else(|| panic!("nothing that the load does passes {}", point.name()));
        assert_eq!(status.signal(), Some(ABORTED), "at {}: {status}\n{}", point.name(), world.hub.log());
    }
    world.hub.unset("SWITCHYARD_FAILPOINTS");
    world.hub.restart().await;
    person.end().await;
    checker::conclude(&mut world, load).await.must_be_clean();
}

/// A hub with one endpoint.
async fn plain() -> (Hub, switchyard_simulators::subscriber::Handle, Tenant, String) {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({"retry_schedule": [0, 30, 30]})).await;
    (hub, at, tenant, endpoint)
}

fn event(id: &str) -> Value {
    json!({"type": "a.b", "id": id, "data": {}})
}

/// Publishes as long as it takes, as a client does; answers what the hub says at last, and how often it did not answer.
async fn surely(tenant: &Tenant, event: &Value) -> (Value, u32) {
    let headers = [("content-type", "application/json")];
    let unanswered = std::cell::Cell::new(0);
    let told = until("an answer", async || {
        let body = event.to_string().into();
        match tenant.api.try_raw("POST", &tenant.path("/events"), &headers, body).await {
            Ok(reply) if reply.status == 202 => Ok(reply.json()),
            other => {
                unanswered.set(unanswered.get() + 1);
                Err(format!("{other:?}"))
            }
        }
    });
    (told.await, unanswered.get())
}

async fn publish_into_death(point: Point) -> (Value, Vec<Received>, Vec<Value>) {
    let (mut hub, at, tenant, _) = plain().await;
    restart_to_die_at(&mut hub, point).await;
    let wanted = event("e-1");
    let ((told, unanswered), ()) = tokio::join!(surely(&tenant, &wanted), died_and_restarted(&mut hub, point));
    assert!(unanswered > 0, "the hub answered before it died: {told}");
    let arrived = at.wait_for("/hook", 1, SOON).await.expect("it arrives");
    until("the delivery to end", async || {
        let all = tenant.list("/deliveries").await;
        if all.iter().all(|delivery| delivery["state"] == "delivered") { Ok(()) } else { Err(json!(all).to_string()) }
    })
    .await;
    (told, arrived, tenant.list("/deliveries").await)
}

#[tokio::test]
async fn a1_a_death_before_the_commit_leaves_no_event_and_the_repeat_makes_one() {
    let (told, arrived, deliveries) = publish_into_death(Point::AcceptBeforeCommit).await;
    assert_eq!(told["duplicate"], false, "something was there after a death before the commit: {told}");
    assert_eq!((arrived.len(), deliveries.len()), (1, 1));
}

#[tokio::test]
async fn a2_a_death_between_commit_and_answer_is_met_by_the_repeat_with_the_first_id() {
    for point in [Point::AcceptAfterCommit, Point::PublishBeforeAnswer] {
        let (told, arrived, deliveries) = publish_into_death(point).await;
        assert_eq!((&told["duplicate"], &told["id"]), (&json!(true), &json!("e-1")), "{}: {told}", point.name());
        assert!(arrived.iter().all(|request| request.webhook_id() == Some("e-1")));
        assert_eq!(deliveries.len(), 1, "{}", point.name());
    }
}

#[tokio::test]
async fn a3_a_death_between_commit_and_start_starts_the_delivery_at_the_next_start() {
    let (mut hub, at, tenant, endpoint) = plain().await;
    restart_to_die_at(&mut hub, Point::PublishBeforeStart).await;
    let headers = [("content-type", "application/json")];
    let lost = tenant.api.try_raw("POST", &tenant.path("/events"), &headers, event("e-1").to_string().into()).await;
    assert!(lost.is_err(), "{lost:?}");
    died_and_restarted(&mut hub, Point::PublishBeforeStart).await;
    // Nobody asks again: what was committed starts by itself.
    let _ = at.wait_for("/hook", 1, SOON).await.expect("it arrives");
    let delivered = tenant.delivery_in(&endpoint, "delivered").await;
    assert_eq!(delivered["tries"], 1, "{delivered}");
}

#[tokio::test]
async fn a4_a_death_after_the_claim_burns_no_try_and_runs_again() {
    let (mut hub, at, tenant, endpoint) = plain().await;
    let _ = tenant.post(&format!("/endpoints/{endpoint}/pause"), &json!({})).await.expect(200);
    let _ = tenant.publish(&event("e-1")).await;
    restart_to_die_at(&mut hub, Point::ClaimAfterCommit).await;
    let _ = tenant.post(&format!("/endpoints/{endpoint}/resume"), &json!({})).await;
    died_and_restarted(&mut hub, Point::ClaimAfterCommit).await;
    let _ = at.wait_for("/hook", 1, SOON).await.expect("it arrives");
    let delivered = tenant.delivery_in(&endpoint, "delivered").await;
    assert_eq!((&delivered["tries"], &delivered["attempts"][0]["outcome"]), (&json!(1), &json!("lost")), "{delivered}");
    assert_eq!(at.requests("/hook").len(), 1, "it was sent before the claim was there");
}

/// Orders one invoice of a hub that dies at a place; answers the world, the delivery, and how often Billy was asked to
/// make an invoice.
async fn invoice_into_death(point: Point, passing: u32, time_factor: u32) -> (World, Value, u64) {
    let mut world = World::start(Hub::builder().time_factor(time_factor)).await;
    until("the first poll", async || {
        let polls = world.acme.list("/deliveries?target=plugin:billy").await;
        let done = polls.iter().any(|poll| poll["event_type"] == "_poll.due" && poll["state"] == "delivered");
        if done { Ok(()) } else { Err(json!(polls).to_string()) }
    })
    .await;
    world.hub.kill().await;
    world.hub.set("SWITCHYARD_FAILPOINTS", &format!("{}={passing}:abort", point.name()));
    world.hub.restart().await;
    let command = json!({"type": "invoice.create", "id": "order-1", "data": {
        "customer": {"name": "Customer", "email": "a@example.test"},
        "lines": [{"description": "Work", "quantity": 1, "unit_price": "100.00"}]}});
    let _ = surely(&world.acme, &command).await;
    died_and_restarted(&mut world.hub, point).await;
    let run = invoice_run(&world.acme).await;
    let asked = world.billy.counts().get("invoices.create").map_or(0, |count| count.received);
    assert_eq!(world.billy.invoices().len(), 1, "{}: {run}", point.name());
    (world, run, asked)
}

async fn invoice_run(tenant: &Tenant) -> Value {
    let is_done = |delivery: &Value| delivery["event_type"] == "invoice.create" && delivery["state"] == "delivered";
    let list = "/deliveries?target=plugin:billy&limit=200";
    let found = until("the invoice", async || {
        let all = tenant.list(list).await;
        all.iter().find(|delivery| is_done(delivery)).cloned().ok_or_else(|| json!(all).to_string())
    });
    let id = text(&found.await, "id");
    tenant.get(&format!("/deliveries/{id}")).await.expect(200)
}

/// The outcomes of the calls of a run that make an invoice.
fn creations(run: &Value) -> Vec<&str> {
    let calls = run["journal"]["calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours = calls.iter().filter(|entry| entry["call"] == "POST billy /invoices");
    ours.filter_map(|entry| entry["outcome"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_a_death_between_the_intent_and_the_first_byte_makes_one_invoice() {
    // The first intent is that of the contact, the second that of the invoice.
    let (_world, run, asked) = invoice_into_death(Point::IntentAfterCommit, 2, 60).await;
    assert_eq!(asked, 1, "nothing had left: {run}");
    assert_eq!(creations(&run).first(), Some(&"unknown"), "it is looked up before it is sent again: {run}");
    assert_eq!(run["crashes"], 1, "{run}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_a_death_while_the_provider_answers_makes_one_invoice() {
    let mut world = World::start(Hub::builder()).await;
    world.billy.faults().arm("invoices.create", Fault::HangAfter, 1);
    let command = json!({"type": "invoice.create", "id": "order-1", "data": {
        "customer": {"name": "Customer", "email": "a@example.test"},
        "lines": [{"description": "Work", "quantity": 1, "unit_price": "100.00"}]}});
    let _ = world.acme.publish(&command).await;
    world.billy.faults().wait_held(1, SOON).await.expect("Billy has it and says nothing");
    world.hub.kill().await;
    world.hub.restart().await;
    let run = invoice_run(&world.acme).await;
    let asked = world.billy.counts()["invoices.create"].received;
    assert_eq!((asked, world.billy.invoices().len()), (1, 1), "{run}");
    assert_eq!(creations(&run), ["unknown"], "{run}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a7_a_death_between_the_answer_and_its_record_makes_one_invoice() {
    // Two searches for the contact, the contact, and then the invoice are answered.
    // In real time there is no second poll, whose calls would count as well.
    let (_world, run, asked) = invoice_into_death(Point::ProviderAfterAnswer, 4, 1).await;
    assert_eq!(asked, 1, "{run}");
    assert_eq!(creations(&run), ["unknown"], "{run}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a8_a_death_after_the_confirmation_is_served_from_the_record() {
    // The third intent, that of the approval, has the invoice's confirmation in it.
    let (world, run, asked) = invoice_into_death(Point::IntentAfterCommit, 3, 60).await;
    assert_eq!(asked, 1, "the provider saw a second request: {run}");
    assert_eq!(creations(&run), ["confirmed"], "{run}");
    assert!(world.billy.invoices()[0].number.is_some(), "it is approved");
}

#[tokio::test]
async fn a9_no_answer_of_a_group_comes_before_its_commit() {
    let (mut hub, at, tenant, _) = plain().await;
    for point in [Point::GroupBeforeCommit, Point::GroupSync, Point::GroupAfterCommit] {
        restart_to_die_at(&mut hub, point).await;
        let callers: Vec<_> = (0..16)
            .map(|n| {
                let (tenant, id) = (tenant.clone(), format!("{}-{n}", point.name().replace('.', "-")));
                tokio::spawn(async move {
                    let headers = [("content-type", "application/json")];
                    let body = event(&id).to_string().into();
                    let reply = tenant.api.try_raw("POST", &tenant.path("/events"), &headers, body).await;
                    (id, reply.map(|reply| reply.status))
                })
            })
            .collect();
        died_and_restarted(&mut hub, point).await;
        for caller in callers {
            let (id, answer) = caller.await.expect("a caller ends well");
            assert!(answer.is_err(), "{id} was answered {answer:?} by a group that did not end");
            let stored = tenant.get(&format!("/events/{id}")).await.status == 200;
            assert!(!stored || point == Point::GroupAfterCommit, "{id} of a group before its commit is there");
        }
    }
    let stored = tenant.list("/events?limit=200").await.len();
    let _ = at.wait_for("/hook", stored, SOON).await.expect("what was stored arrives");
}

/// How many dead letters are replayed at once.
const DEAD: usize = 120;

#[tokio::test]
async fn a11_a_death_within_a_replay_sends_none_twice_and_leaves_none_out() {
    let (mut hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let _ = tenant.endpoint(&at, "/hook", &["a.b"], json!({"retry_schedule": [0]})).await;
    at.set_script("/hook", Script::always(Step::status(400)));
    for n in 0..DEAD {
        let _ = tenant.publish(&event(&format!("e-{n}"))).await;
    }
    let dead = async || tenant.all_of("/deliveries?state=dead").await.len();
    until("all to be dead", async || if dead().await == DEAD { Ok(()) } else { Err(dead().await.to_string()) }).await;
    at.set_script("/hook", Script::default());
    let group = tenant.list("/dead-letters").await.remove(0);
    let wanted = json!({"fingerprint": group["fingerprint"]});
    for (point, left) in [(Point::ReplayBeforeCommit, DEAD), (Point::ReplayAfterCommit, 0)] {
        restart_to_die_at(&mut hub, point).await;
        let headers = [("content-type", "application/json")];
        let path = tenant.path("/dead-letters/replay");
        let lost = tenant.api.try_raw("POST", &path, &headers, wanted.to_string().into()).await;
        assert!(lost.is_err(), "{lost:?}");
        died_and_restarted(&mut hub, point).await;
        assert_eq!(dead().await, left, "{}", point.name());
    }
    let arrived = at.wait_for("/hook", 2 * DEAD, SOON).await.expect("what was committed is sent");
    until("all to be delivered", async || {
        let done = tenant.all_of("/deliveries?state=delivered").await.len();
        if done == DEAD { Ok(()) } else { Err(done.to_string()) }
    })
    .await;
    for n in 0..DEAD {
        let id = format!("e-{n}");
        let times = arrived.iter().filter(|request| request.webhook_id() == Some(&*id)).count();
        assert_eq!(times, 2, "{id}: once in vain, and once more");
    }
    assert_eq!(at.requests("/hook").len(), 2 * DEAD);
}
