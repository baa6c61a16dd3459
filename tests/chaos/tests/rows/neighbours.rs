use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use switchyard_simulators::subscriber::{Received, Script, Step};
use switchyard_tests::{
    api::{SOON, Tenant, until_within},
    database::Database,
    hub::{Builder, Hub},
    world::subscriber,
};

/// Deliveries of the tenant that has nearly all of them, and of each of its neighbours.
const MANY: usize = 5_000;
const FEW: usize = 10;
const NEIGHBOURS: usize = 5;

/// Events of one request.
const BATCH: usize = 100;

/// A single event of somebody else starts so soon, however many wait.
const STARTS_WITHIN: Duration = Duration::from_secs(1);

/// How often that is looked at while the many are sent.
const LOOKS: usize = 5;

async fn publish_many(tenant: &Tenant, count: usize) {
    let event =
        |n: usize| json!({"specversion": "1.0", "type": "a.b", "source": "crowd", "id": format!("e-{n}"), "data": {}});
    let (path, headers) = (&tenant.path("/events"), &[("content-type", "application/cloudevents-batch+json")]);
    let batches = (0..count).step_by(BATCH).map(|first| {
        let events: Vec<Value> = (first..count.min(first + BATCH)).map(event).collect();
        async move { tenant.api.raw("POST", path, headers, json!(events).to_string()).await }
    });
    stream::iter(batches).buffer_unordered(4).for_each(async |reply| drop(reply.expect(202))).await;
}

/// How many of a hub's deliveries have not ended.
async fn live(hub: &Hub) -> u64 {
    let status = hub.get("/v1/status").await.expect(200);
    ["queued", "running", "waiting"].iter().filter_map(|state| status["deliveries"][state].as_u64()).sum()
}

async fn a_crowd_keeps_nobody_waiting(builder: Builder) {
    let (hub, at) = (builder.start().await, subscriber().await);
    let crowd = hub.tenant("crowd").await;
    // Slow enough to last, with as many attempts at once as one endpoint may have.
    at.set_script("/crowd", Script::always(Step::Delay { ms: 20 }));
    let target = crowd.endpoint(&at, "/crowd", &["a.b"], json!({"concurrency": 32})).await;
    let _ = crowd.post(&format!("/endpoints/{target}/pause"), &json!({})).await.expect(200);
    publish_many(&crowd, MANY).await;
    let mut neighbours = Vec::new();
    for number in 0..NEIGHBOURS {
        let tenant = hub.tenant(&format!("n{number}")).await;
        let _ = tenant.endpoint(&at, &format!("/n{number}"), &["a.b"], json!({})).await;
        neighbours.push(tenant);
    }
    let _ = crowd.post(&format!("/endpoints/{target}/resume"), &json!({})).await.expect(200);
    let _ = at.wait_for("/crowd", 50, SOON).await.expect("the crowd is being served");
    for tenant in &neighbours {
        publish_many(tenant, FEW).await;
    }
    for (look, neighbour) in neighbours.iter().enumerate().take(LOOKS) {
        let id = format!("single-{look}");
        let _ = neighbour.publish(&json!({"type": "a.b", "id": id, "data": {}})).await;
        let ours = |request: &Received| request.webhook_id() == Some(&*id);
        let arrived = at.wait_for_where(1, STARTS_WITHIN, ours).await;
        assert!(arrived.is_ok(), "{id} did not start within {STARTS_WITHIN:?}");
        let waiting = live(&hub).await;
        assert!(waiting > 100, "the crowd was over: {waiting} were left");
    }
    until_within(SOON * 4, "the crowd to be over", async || {
        let left = live(&hub).await;
        if left == 0 { Ok(()) } else { Err(left.to_string()) }
    })
    .await;
    assert_eq!(at.requests("/crowd").len(), MANY);
    for number in 0..NEIGHBOURS {
        assert_eq!(at.requests(&format!("/n{number}")).len(), FEW + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_with_nearly_all_deliveries_of_a_file_keeps_no_other_waiting() {
    a_crowd_keeps_nobody_waiting(Hub::builder()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_with_nearly_all_deliveries_of_a_server_keeps_no_other_waiting() {
    let database = Database::fresh().await;
    a_crowd_keeps_nobody_waiting(Hub::builder().on(&database)).await;
}
