use std::time::Duration;

use serde_json::{Value, json};
use switchyard_chaos::process::{self, MemoryGroup};
use switchyard_tests::{
    api::{Api, SOON, Tenant, until},
    hub::{ADMIN_KEY, Hub},
    world::subscriber,
};
use tokio::net::TcpStream;

/// The memory that the hub has under the load below.
const MEMORY: u64 = 256 << 20;

/// Callers at once, events of each, and how large the largest are.
const CALLERS: usize = 32;
const EVENTS: usize = 40;
const LARGE: usize = 900 << 10;

fn event(id: &str, bytes: usize) -> Value {
    json!({"type": "a.b", "id": id, "data": {"text": "x".repeat(bytes)}})
}

/// Publishes small events and now and then a large one; answers how many were accepted. A hub that is short of memory says
/// so, and is asked again.
async fn publish(tenant: Tenant, caller: usize) -> usize {
    let mut accepted = 0;
    for n in 0..EVENTS {
        let event = event(&format!("e-{caller}-{n}"), if n % 10 == 0 { LARGE } else { 1000 });
        loop {
            let reply = tenant.post("/events", &event).await;
            if reply.status == 202 {
                accepted += 1;
                break;
            }
            assert!(reply.status == 503 && !reply.header("retry-after").is_empty(), "{}: {}", reply.status, reply.text);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    accepted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d44_a_burst_of_small_and_large_events_stays_within_the_memory() {
    let group = MemoryGroup::bounded("switchyard-test", MEMORY);
    println!("memory is {}", if group.is_some() { "bounded by a control group" } else { "watched" });
    let mut builder = Hub::builder().with_bundled_plugins();
    if let Some(group) = &group {
        let script = format!("echo $$ > {} && exec \"$0\" \"$@\"", group.members().display());
        builder = builder.through(&["sh", "-c", &script]);
    }
    let (mut hub, at) = (builder.start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let _ = tenant.endpoint(&at, "/hook", &["a.b"], json!({"concurrency": 16})).await;
    // Compiling plugins is no part of the load.
    assert!(hub.stop().await.success());
    hub.restart().await;
    let callers: Vec<_> = (0..CALLERS).map(|caller| tokio::spawn(publish(tenant.clone(), caller))).collect();
    let mut accepted = 0;
    for caller in callers {
        accepted += caller.await.expect("a caller ends well");
    }
    let _ = at.wait_for("/hook", accepted, SOON * 4).await.expect("what was accepted arrives");
    let peak = process::peak_memory(hub.pid());
    println!("the hub held {} MiB at most", peak >> 20);
    assert!(peak <= MEMORY, "the hub held {} MiB", peak >> 20);
    assert!(hub.stop().await.success());
}

/// Publishes one event. The client may open a connection of its own accord, which is turned away; it tries again then.
async fn is_delivered(tenant: &Tenant, at: &switchyard_simulators::subscriber::Handle, id: &str) {
    until("an answer", async || {
        let reply = tenant.post("/events", &event(id, 10)).await;
        if reply.status == 202 { Ok(()) } else { Err(reply.text) }
    })
    .await;
    let ours = |request: &switchyard_simulators::subscriber::Received| request.webhook_id() == Some(id);
    let _ = at.wait_for_where(1, SOON, ours).await.expect("it arrives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d45_without_descriptors_work_goes_on_nothing_spins_and_strangers_are_served_again_later() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let _ = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    is_delivered(&tenant, &at, "before").await;
    // Not one more than are in use: the connections to the client and to the subscriber stay.
    process::bound_descriptors(hub.pid(), Some(process::descriptors(hub.pid()) as u64));
    let mut strangers = Vec::new();
    for _ in 0..20 {
        strangers.push(TcpStream::connect(hub.url().trim_start_matches("http://")).await.expect("the system takes it"));
    }
    until("the listener to fail", async || {
        let log = hub.log();
        if log.contains("cannot accept connections") { Ok(()) } else { Err(log.lines().count().to_string()) }
    })
    .await;
    let (time, lines) = (process::processor_time(hub.pid()), hub.log().lines().count());
    for n in 0..20 {
        is_delivered(&tenant, &at, &format!("while-{n}")).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (took, said) = (process::processor_time(hub.pid()) - time, hub.log().lines().count() - lines);
    assert!(took < Duration::from_millis(1500), "the hub was on the processor for {took:?} of about two seconds");
    assert!(said < 60, "{said} lines in the log");
    process::bound_descriptors(hub.pid(), None);
    drop(strangers);
    until("a stranger to be served", async || {
        let stranger = Api::new(&hub.url(), Some(ADMIN_KEY));
        match tokio::time::timeout(SOON, stranger.try_raw("GET", "/healthz", &[], Vec::new().into())).await {
            Ok(Ok(reply)) if reply.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d45_with_256_descriptors_half_are_kept_for_the_work_and_the_rest_of_the_callers_are_told_so() {
    let at = subscriber().await;
    let mut hub = Hub::builder().through(&["sh", "-c", "ulimit -n 256; exec \"$0\" \"$@\""]).start().await;
    let tenant = hub.tenant("acme").await;
    let _ = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    is_delivered(&tenant, &at, "before").await;
    let mut strangers = Vec::new();
    for _ in 0..300 {
        strangers.push(TcpStream::connect(hub.url().trim_start_matches("http://")).await.expect("the system takes it"));
    }
    for n in 0..10 {
        is_delivered(&tenant, &at, &format!("while-{n}")).await;
    }
    assert!(process::descriptors(hub.pid()) < 200, "{} descriptors", process::descriptors(hub.pid()));
    assert!(!hub.log().contains("cannot accept connections"), "the listener ran out of descriptors");
    drop(strangers);
    until("a stranger to be served", async || {
        let stranger = Api::new(&hub.url(), Some(ADMIN_KEY));
        match stranger.try_raw("GET", "/healthz", &[], Vec::new().into()).await {
            Ok(reply) if reply.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(hub.stop().await.success());
}
