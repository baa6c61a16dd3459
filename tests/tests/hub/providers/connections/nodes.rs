//! One connection, used by two nodes at once.

use serde_json::json;
use sqlx::Row as _;
use switchyard::{
    event::{Target, TenantId, Urgency},
    id::Key,
    queue::lane::Lane,
};
use switchyard_tests::{
    api::{Tenant, until},
    nodes::{Nodes, partitions},
};

use super::{World, google, hub_beside, rotating};

/// Calls on each node.
const CALLS: usize = 50;

/// Which node owns each partition, in their order.
async fn owners(nodes: &Nodes) -> Vec<Key> {
    let mut conn = nodes.database.connect().await;
    let rows = sqlx::query("select node from lane_partition order by number").fetch_all(&mut conn).await;
    let rows = rows.expect("the partitions are there");
    rows.iter().map(|row| Key(row.get::<Vec<u8>, _>(0).try_into().expect("a node's key"))).collect()
}

/// A tenant whose usual calls run on one node and whose emergencies run on the other.
fn divided(owners: &[Key]) -> String {
    let owner = |name: &str, urgency| {
        let tenant: TenantId = name.parse().expect("a tenant's name");
        let lane = Lane { tenant, target: Target::Plugin("caller".into()), urgency };
        owners[usize::from(lane.key().partition().number())]
    };
    let mut names = (0..).map(|number| format!("t{number}"));
    names.find(|name| owner(name, Urgency::Normal) != owner(name, Urgency::Emergency)).expect("there is one")
}

async fn shared(world: &World) {
    until("both nodes to have their share", async || {
        let status = world.hub.get("/v1/status").await.expect(200);
        let seen = partitions(&status["cluster"]);
        if seen.into_values().collect::<Vec<_>>() == [32, 32] { Ok(()) } else { Err(status["cluster"].to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e55_a_hundred_calls_of_two_nodes_at_the_end_of_a_token_refresh_it_once_and_lose_no_grant() {
    let (mut nodes, google) = (Nodes::none().await, google(rotating).await);
    let second = nodes.prepared(hub_beside(&google)).start().await;
    let builder = nodes.prepared(hub_beside(&google));
    let mut world = World::start(google, builder).await;
    nodes.hubs.push(second);
    shared(&world).await;
    let name = divided(&owners(&nodes).await);
    world.tenant = world.hub.tenant(&name).await;
    let refresh_token = world.consented();
    let connection = world.connection(json!({"refresh_token": refresh_token})).await;
    world.install(&connection).await;
    world.call("first").await;
    let _ = world.answered(1).await;
    let other: Tenant = nodes.on(0, &world.tenant);
    until("the other node to know the tenant", async || {
        let reply = other.get("/plugins/caller").await;
        if reply.status == 200 && reply.json()["state"] == "ready" { Ok(()) } else { Err(reply.text) }
    })
    .await;
    world.grants().expire_tokens();
    let before = world.grants().counts();
    for (tenant, urgency) in [(&world.tenant, "normal"), (&other, "emergency")] {
        let calls: Vec<_> = (0..CALLS)
            .map(|n| {
                json!({"type": "api.call", "id": format!("{urgency}-{n}"), "source": "tests", "specversion": "1.0",
                    "urgency": urgency, "data": {"method": "GET", "path": "/oauth2/v3/userinfo"}})
            })
            .collect();
        let headers = [("content-type", "application/cloudevents-batch+json")];
        let accepted = tenant.api.raw("POST", &tenant.path("/events"), &headers, json!(calls).to_string()).await;
        assert_eq!(accepted.status, 202, "{}", accepted.text);
    }
    let _ = world.answered(1 + 2 * CALLS).await;
    let after = world.grants().counts();
    assert_eq!((after.refreshes - before.refreshes, after.reuses, after.refusals), (1, 0, before.refusals));
    assert_eq!(world.grants().live_grants(), 1);
    assert_eq!(world.shown(&connection).await["state"], "ok");
    // Both nodes took part: each saw its own calls out.
    for hub in [&*world.hub, &*nodes.hubs[0]] {
        let metrics = hub.get("/metrics").await.text;
        let ran = metrics.lines().any(|line| {
            line.starts_with("switchyard_deliveries_settled_total")
                && line.contains("delivered")
                && !line.ends_with(" 0")
        });
        assert!(ran, "a node ran none of the calls:\n{metrics}");
    }
}
