use std::time::Duration;

use serde_json::json;
use switchyard_chaos::inside::{Inside, WrongClock};
use switchyard_simulators::subscriber::{Handle, Received, Script, Step};
use switchyard_tests::{
    api::{Tenant, until},
    nodes::{MASTER_KEYS, Nodes, partitions},
    world::subscriber,
};

const HOUR_MS: i64 = 3_600_000;

/// Tenants, so that lanes are on both nodes.
const TENANTS: usize = 4;

/// A bell of the database comes at once, and owners look every second.
const PROMPTLY: Duration = Duration::from_secs(5);

/// Whatever node accepts an event and whatever node sends it: it leaves at once, and again after a refusal.
async fn are_prompt(at: &Handle, nodes: [&[Tenant]; 2], when: &str) {
    for (node, tenants) in nodes.into_iter().enumerate() {
        for (number, tenant) in tenants.iter().enumerate() {
            let id = format!("{when}-{node}-{number}");
            let path = format!("/hook-{number}");
            // One refusal, then it is taken.
            at.set_script(&path, Script { steps: [Step::status(503)].into(), ..Script::default() });
            let _ = tenant.publish(&json!({"type": "a.b", "id": id, "data": {}})).await;
            let taken = |request: &Received| request.webhook_id() == Some(&*id) && request.status == Some(200);
            let arrived = at.wait_for_where(1, PROMPTLY, taken).await;
            assert!(arrived.is_ok(), "{id} was not taken within {PROMPTLY:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d39_a_node_whose_clock_is_an_hour_wrong_keeps_its_leases_and_delays_nothing() {
    let (nodes, at) = (Nodes::start(1).await, subscriber().await);
    let folder = tempfile::tempdir().expect("a folder");
    // Where a node keeps its compiled plugins.
    std::env::set_current_dir(folder.path()).expect("the folder can be entered");
    let settings = format!("database_url = \"{}\"\nmaster_keys = \"{MASTER_KEYS}\"", nodes.database.url());
    let clock = WrongClock::ahead_by(HOUR_MS);
    let wrong = Inside::start(folder.path(), &settings, &clock).await;
    let shared = async || {
        until("both nodes to have their share", async || {
            let seen = nodes.seen_by(0).await?;
            if partitions(&seen).into_values().collect::<Vec<_>>() == [32, 32] { Ok(()) } else { Err(seen.to_string()) }
        })
        .await;
    };
    shared().await;
    let mut right_ones = Vec::new();
    for number in 0..TENANTS {
        let (tenant, path) = (nodes.hubs[0].tenant(&format!("t{number}")).await, format!("/hook-{number}"));
        let _ = tenant.endpoint(&at, &path, &["a.b"], json!({"retry_schedule": [0, 30, 30]})).await;
        // Signatures are stamped by the clock of who sends, which a subscriber finds wrong by an hour.
        at.set_secrets(&path, &[]).expect("none");
        right_ones.push(tenant);
    }
    let wrong_ones: Vec<_> =
        right_ones.iter().map(|tenant| Tenant { api: wrong.api.clone(), id: tenant.id.clone() }).collect();
    for tenant in &wrong_ones {
        until("the node to know the endpoint", async || {
            let known = tenant.get("/endpoints").await;
            let one = known.json()["data"].as_array().is_some_and(|endpoints| endpoints.len() == 1);
            if one { Ok(()) } else { Err(known.text) }
        })
        .await;
    }
    for (when, ahead_ms) in [("ahead", HOUR_MS), ("behind", -HOUR_MS)] {
        clock.put_ahead_by(ahead_ms);
        are_prompt(&at, [&right_ones, &wrong_ones], when).await;
        // The fault is seen as what it is, and no lease was lost over it.
        until("the skew to be told", async || {
            let status = wrong.api.get("/v1/status").await.expect(200);
            let skew = status["cluster"]["clock_skew_ms"].as_i64().unwrap_or(0);
            if (skew + ahead_ms).abs() < 60_000 { Ok(()) } else { Err(status["cluster"].to_string()) }
        })
        .await;
        shared().await;
    }
    let _ = wrong.stop().await;
    nodes.settled().await;
}
