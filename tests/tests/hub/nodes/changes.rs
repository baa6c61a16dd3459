use std::time::{Duration, Instant};

use serde_json::json;
use switchyard_tests::{
    api::{text, until},
    nodes::Nodes,
    world::{guest, subscriber},
};

/// Nothing that an admin changes takes longer to be in force everywhere.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(1);

/// Waits until `is` so on every node, and says how long it took.
async fn everywhere(nodes: &Nodes, path: &str, what: &str, is: impl Fn(&serde_json::Value) -> bool) -> Duration {
    let begun = now();
    for hub in &nodes.hubs {
        until(what, async || {
            let reply = hub.get(path).await;
            if reply.status == 200 && is(&reply.json()) { Ok(()) } else { Err(reply.text) }
        })
        .await;
    }
    now() - begun
}

#[expect(clippy::disallowed_methods, reason = "how long a change takes is what is measured")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test]
async fn what_an_admin_changes_on_one_node_is_in_force_on_all_within_a_second() {
    let (nodes, at) = (Nodes::start(3).await, subscriber().await);
    let tenant = nodes.hubs[0].tenant("acme").await;
    let _ = nodes.hubs[1].push(guest("hello_plugin")).await.expect(201);
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    let path = tenant.path(&format!("/endpoints/{endpoint}"));
    let mut longest = everywhere(&nodes, &path, "the endpoint to be known", |_| true).await;
    for round in 0..5 {
        for (action, state) in [("pause", "paused"), ("resume", "active")] {
            let on = nodes.on(round % 3, &tenant);
            let _ = on.post(&format!("/endpoints/{endpoint}/{action}"), &json!({})).await.expect(200);
            let taken = everywhere(&nodes, &path, "the toggle to be in force", |seen| seen["state"] == state).await;
            longest = longest.max(taken);
        }
    }
    let on = nodes.on(2, &tenant);
    let _ = on.install("hello", &json!({"config": {"greeting": "Hej"}})).await;
    let path = tenant.path("/plugins/hello");
    longest =
        longest.max(everywhere(&nodes, &path, "the installation to be ready", |seen| seen["state"] == "ready").await);
    let key = nodes.hubs[1].post("/v1/keys", &json!({"tenant": "acme", "scope": "reader"})).await.expect(201);
    let reader = nodes.hubs[2].with_key(&text(&key, "key"));
    until("the key to be known", async || {
        let reply = reader.get(&path).await;
        if reply.status == 200 { Ok(()) } else { Err(reply.text) }
    })
    .await;
    assert!(longest < IN_FORCE_WITHIN, "it took {longest:?}");
}
