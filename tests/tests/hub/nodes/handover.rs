use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use switchyard_simulators::subscriber::{Handle, Script, Step};
use switchyard_tests::{
    api::{Tenant, until},
    hub::Hub,
    nodes::{MOVED_WITHIN, Nodes, partitions},
    world::subscriber,
};

use super::arrivals;

/// Tenants, so that lanes are in many partitions.
const TENANTS: usize = 12;

/// Makes tenants on a node, each with an endpoint.
async fn tenants(nodes: &Nodes, at: &Handle) -> Vec<Tenant> {
    let mut tenants = Vec::new();
    for number in 0..TENANTS {
        let tenant = nodes.hubs[0].tenant(&format!("t{number}")).await;
        let endpoint = tenant.endpoint(at, &format!("/hook-{number}"), &["a.b"], json!({})).await;
        // What a node routes goes to the endpoints that it knows, and it may learn of one a moment later.
        for hub in &nodes.hubs {
            known(hub, &tenant.path(&format!("/endpoints/{endpoint}"))).await;
        }
        tenants.push(tenant);
    }
    tenants
}

async fn known(hub: &Hub, path: &str) {
    until("a node to know what was made on another", async || {
        let reply = hub.get(path).await;
        if reply.status == 200 { Ok(()) } else { Err(reply.text) }
    })
    .await;
}

/// Publishes events of a tenant on a node that may not have seen the tenant yet.
async fn publish(hub: &Hub, tenant: &Tenant, id: &str) {
    let body = json!({"type": "a.b", "id": id, "data": {}});
    until("an event to be accepted", async || {
        let reply = hub.post(&tenant.path("/events"), &body).await;
        if reply.status == 202 { Ok(()) } else { Err(reply.text) }
    })
    .await;
}

async fn all_arrive_once(at: &Handle, expected: &BTreeSet<(usize, String)>) {
    until("every event to arrive", async || {
        let missing = expected.iter().filter(|(number, id)| !arrivals(at, &format!("/hook-{number}")).contains_key(id));
        match missing.count() {
            0 => Ok(()),
            missing => Err(format!("{missing} of {} are missing", expected.len())),
        }
    })
    .await;
    for number in 0..TENANTS {
        let twice: Vec<_> =
            arrivals(at, &format!("/hook-{number}")).into_iter().filter(|(_, count)| *count > 1).collect();
        assert!(twice.is_empty(), "sent more than once: {twice:?}");
    }
}

#[tokio::test]
async fn events_that_any_node_accepts_are_sent_once_by_the_node_that_owns_their_lane() {
    let (nodes, at) = (Nodes::start(3).await, subscriber().await);
    let tenants = tenants(&nodes, &at).await;
    let mut expected = BTreeSet::new();
    for n in 0..10 {
        for (number, tenant) in tenants.iter().enumerate() {
            let id = format!("e{number}-{n}");
            publish(&nodes.hubs[(n + number) % 3], tenant, &id).await;
            expected.insert((number, id));
        }
    }
    all_arrive_once(&at, &expected).await;
}

#[tokio::test]
async fn a_node_that_joins_gets_its_share_and_one_that_stops_hands_over_at_once_without_a_lost_try() {
    let (mut nodes, at) = (Nodes::start(1).await, subscriber().await);
    let tenants = tenants(&nodes, &at).await;
    nodes.add(Hub::builder()).await;
    nodes.settled().await;
    let seen = nodes.seen_by(0).await.expect("the node answers");
    assert_eq!(partitions(&seen).into_values().collect::<Vec<_>>(), [32, 32]);
    let mut expected = BTreeSet::new();
    for (number, tenant) in tenants.iter().enumerate() {
        at.set_script(&format!("/hook-{number}"), Script::always(Step::Delay { ms: 300 }));
        publish(&nodes.hubs[number % 2], tenant, "before").await;
        expected.insert((number, "before".to_owned()));
    }
    let mut first = nodes.hubs.remove(0);
    let stopped = first.stop().await;
    assert!(stopped.success(), "{}", first.log());
    for (number, tenant) in tenants.iter().enumerate() {
        publish(&nodes.hubs[0], tenant, "after").await;
        expected.insert((number, "after".to_owned()));
    }
    all_arrive_once(&at, &expected).await;
    nodes.settled().await;
    for tenant in &tenants {
        for delivery in nodes.on(0, tenant).list("/deliveries").await {
            assert_eq!(delivery["tries"], 1, "a try was lost: {delivery}");
        }
    }
}

#[tokio::test]
async fn a6_what_a_killed_node_was_sending_is_sent_by_another_within_15_seconds() {
    let (mut nodes, at) = (Nodes::start(2).await, subscriber().await);
    let tenants = tenants(&nodes, &at).await;
    for number in 0..TENANTS {
        at.set_script(&format!("/hook-{number}"), Script::always(Step::Hang));
    }
    for tenant in &tenants {
        publish(&nodes.hubs[1], tenant, "e").await;
    }
    until("every event to be under way", async || match at.all_requests().len() {
        TENANTS => Ok(()),
        count => Err(format!("{count} are")),
    })
    .await;
    let mut victim = nodes.hubs.remove(0);
    victim.kill().await;
    for number in 0..TENANTS {
        at.set_script(&format!("/hook-{number}"), Script::default());
    }
    // What the living node was sending hangs until its own time-out; what the dead one was sending is sent again.
    let again = at.wait_for_where(TENANTS + 1, MOVED_WITHIN + Duration::from_secs(5), |_| true).await;
    assert!(again.is_ok(), "nothing was taken over");
    nodes.settled().await;
    for tenant in &tenants {
        let tenant = nodes.on(0, tenant);
        until("a delivery to be delivered", async || match &tenant.list("/deliveries").await[..] {
            [one] if one["state"] == "delivered" => Ok(()),
            others => Err(json!(others).to_string()),
        })
        .await;
    }
}

#[tokio::test]
async fn a_node_that_slept_through_its_lease_sends_nothing_that_another_has_taken_over() {
    let (nodes, at) = (Nodes::start(2).await, subscriber().await);
    let tenants = tenants(&nodes, &at).await;
    let sleeper = nodes.hubs[0].pid().to_string();
    signal("-STOP", &sleeper);
    let mut expected = BTreeSet::new();
    for (number, tenant) in tenants.iter().enumerate() {
        publish(&nodes.hubs[1], tenant, "asleep").await;
        expected.insert((number, "asleep".to_owned()));
    }
    until("the other to take over", async || {
        let seen = nodes.seen_by(1).await?;
        if partitions(&seen).into_values().collect::<Vec<_>>() == [64] { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
    signal("-CONT", &sleeper);
    nodes.settled().await;
    for (number, tenant) in tenants.iter().enumerate() {
        publish(&nodes.hubs[0], tenant, "awake").await;
        expected.insert((number, "awake".to_owned()));
    }
    all_arrive_once(&at, &expected).await;
}

fn signal(name: &str, process: &str) {
    let told = std::process::Command::new("kill").args([name, process]).status().expect("`kill` is there");
    assert!(told.success(), "{name} could not be sent");
}

#[tokio::test]
async fn d42_a_rolling_restart_under_load_fails_no_request_and_burns_no_try() {
    let (mut nodes, at) = (Nodes::start(2).await, subscriber().await);
    let tenants = tenants(&nodes, &at).await;
    let mut expected = BTreeSet::new();
    for round in 0..2 {
        // Requests go to the other node, as a load balancer sends them once a node says that it is not ready.
        let other = 1 - round;
        for (number, tenant) in tenants.iter().enumerate() {
            let id = format!("r{round}-{number}");
            publish(&nodes.hubs[other], tenant, &id).await;
            expected.insert((number, id));
        }
        assert!(nodes.hubs[round].stop().await.success(), "{}", nodes.hubs[round].log());
        nodes.hubs[round].restart().await;
        nodes.settled().await;
    }
    all_arrive_once(&at, &expected).await;
    for tenant in &tenants {
        for delivery in nodes.on(0, tenant).list("/deliveries").await {
            assert_eq!(delivery["tries"], 1, "a try was lost: {delivery}");
        }
    }
}
