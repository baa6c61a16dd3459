use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use switchyard_tests::{
    api::{SOON, until},
    hub::Hub,
    world::subscriber,
};

/// Events under way at once.
const AT_ONCE: usize = 16;

/// More lines than pipe and queue hold together.
const EVENTS: usize = 400;

#[tokio::test]
async fn h84_a_log_that_nobody_reads_costs_lines_and_nothing_else() {
    let (mut hub, at) =
        (Hub::builder().with_unread_log().set("SWITCHYARD_LOG", "trace,json").start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let _ = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    let sent = std::cell::Cell::new(0);
    until("lines to be dropped", async || {
        let event = json!({"type": "a.b", "data": {}});
        let all = stream::iter((0..EVENTS).map(|_| tenant.publish(&event)));
        sent.set(sent.get() + all.buffer_unordered(AT_ONCE).count().await);
        let metrics = hub.get("/metrics").await.text;
        let line = metrics.lines().find(|line| line.starts_with("switchyard_log_lines_dropped_total "));
        let dropped: f64 = line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or_default();
        if dropped > 0.0 { Ok(()) } else { Err(format!("{} events cost no line", sent.get())) }
    })
    .await;
    // Everything goes on: what was accepted arrives, what is asked is answered, and the hub stops when it is told to.
    let before = sent.get();
    for _ in 0..EVENTS {
        let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    }
    let arrived = at.wait_for("/hook", before + EVENTS, SOON * 4).await.expect("no event waits for a log");
    assert_eq!(arrived.len(), before + EVENTS);
    let _ = hub.get("/v1/status").await.expect(200);
    assert!(hub.stop().await.success());
}

/// The series of the exposition, without their values.
async fn series(hub: &Hub) -> BTreeSet<String> {
    let text = hub.get("/metrics").await.text;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, _)| name.to_owned()).collect()
}

#[tokio::test]
async fn h85_strangers_words_never_become_labels() {
    const MANY: usize = 250;
    let (hub, at) = (Hub::start().await, subscriber().await);
    let strange = async |n: usize| {
        let tenant = hub.tenant(&format!("marker-tenant-{n}")).await;
        let event_type = format!("marker.type{n}");
        let path = format!("/marker/{n}");
        let _ = tenant.endpoint(&at, &path, &[&event_type], json!({})).await;
        let _ = tenant.publish(&json!({"type": event_type, "data": {}, "ordering_key": format!("marker-{n}")})).await;
        let nobody = hub.with_key(&format!("marker-key-{n}"));
        let _ = nobody.get(&format!("/v1/tenants/marker-unknown-{n}")).await;
        let _ = hub.get(&format!("/marker/nowhere/{n}")).await;
        let _ = hub.without_key().raw("POST", &format!("/in/src_marker{n}"), &[], "x").await;
        let _ = hub.raw(&format!("MARKER{n}"), "/v1/status", &[], "").await;
        let _ = at.wait_for(&path, 1, SOON).await.expect("it arrives");
    };
    strange(0).await;
    let before = series(&hub).await;
    for n in 1..MANY {
        strange(n).await;
    }
    let after = series(&hub).await;
    let new: Vec<_> = after.difference(&before).collect();
    // Timers that had not fired and answers that had not been given before, but nothing that grows with the callers.
    assert!(new.len() < 40, "{} new series: {new:?}", new.len());
    assert!(after.iter().all(|name| !name.to_lowercase().contains("marker")), "{after:?}");
}
