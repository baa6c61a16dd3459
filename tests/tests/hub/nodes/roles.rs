use serde_json::json;
use switchyard_tests::{
    api::{SOON, until},
    hub::Hub,
    nodes::Nodes,
    world::subscriber,
};

#[tokio::test]
async fn nodes_with_one_role_each_do_together_what_one_does_alone() {
    let (mut nodes, at) = (Nodes::none().await, subscriber().await);
    for role in ["api", "worker", "scheduler"] {
        nodes.add(Hub::builder().set("SWITCHYARD_ROLES", role)).await;
    }
    let tenant = nodes.hubs[0].tenant("acme").await;
    let _ = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let _ = at.wait_for("/hook", 1, SOON).await.expect("the worker sends what the api accepted");
    let problem = nodes.hubs[1].get("/v1/tenants").await.problem(404, "no_such_route");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("role `api`")), "{problem}");
    assert_eq!(nodes.hubs[1].get("/readyz").await.status, 200);
    until("every role to be seen", async || {
        let seen = nodes.seen_by(0).await?;
        if seen["missing_roles"] == json!([]) && seen["unowned_partitions"] == 0 {
            Ok(())
        } else {
            Err(seen.to_string())
        }
    })
    .await;
}

#[tokio::test]
async fn without_a_worker_work_waits_in_sight_and_goes_on_when_one_comes() {
    let (mut nodes, at) = (Nodes::none().await, subscriber().await);
    nodes.add(Hub::builder().set("SWITCHYARD_ROLES", "api,scheduler")).await;
    let tenant = nodes.hubs[0].tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({})).await;
    let _ = tenant.publish(&json!({"type": "a.b", "data": {}})).await;
    let status = nodes.hubs[0].get("/v1/status").await.expect(200);
    assert_eq!(status["state"], "attention");
    assert_eq!(status["cluster"]["missing_roles"], json!(["worker"]), "{status}");
    assert_eq!(status["cluster"]["unowned_partitions"], 64);
    assert_eq!(tenant.delivery_in(&endpoint, "queued").await["tries"], 0);
    nodes.add(Hub::builder().set("SWITCHYARD_ROLES", "worker")).await;
    let _ = at.wait_for("/hook", 1, SOON).await.expect("it is sent");
}
