use serde_json::{Value, json};
use switchyard_tests::{
    api::{Tenant, text, until},
    hub::Hub,
};

use super::{Provider, command, delivery, done, emitted, hub, in_state, install, patched, tenant};

fn newer() -> Vec<u8> {
    patched("describe-version-0.1.0", "describe-version-0.2.0")
}

/// Twenty attempts, a second apart.
fn patient() -> Vec<u64> {
    [vec![0], vec![1; 20]].concat()
}

async fn stage(schedule: &[u64], config: Value) -> (Hub, Provider, Tenant, String) {
    let (hub, provider) = (hub().await, Provider::start().await);
    let tenant = tenant(&hub, "acme", json!({})).await;
    let connection =
        provider.connection(&tenant, "header", json!({"name": "x-token", "value": "a-token-for-tests"})).await;
    install(&tenant, json!({"connections": {"provider": connection}, "retry_schedule": schedule, "config": config}))
        .await;
    (hub, provider, tenant, connection)
}

async fn remove(hub: &Hub, version: &str) -> u16 {
    hub.delete(&format!("/v1/plugins/misbehave/versions/{version}")).await.status
}

fn attempted(run: &Value) -> bool {
    run["state"] == "waiting" && run["attempt_count"].as_u64() > Some(0)
}

/// Row F63: after a confirmed write automatic retries stay on the version and the config that made it.
#[tokio::test]
async fn f63_a_run_with_a_confirmed_write_ends_on_the_version_and_config_that_it_began_with() {
    let (hub, provider, tenant, connection) = stage(&patient(), json!({"path": "/first", "n": 1})).await;
    provider.say_second(503);
    let written = command(&tenant, &json!({"do": "steps"})).await;
    let plain = command(&tenant, &json!({"do": "retry", "n": 1})).await;
    let _ = delivery(&tenant, &written, "tried once", attempted).await;
    let _ = delivery(&tenant, &plain, "tried once", attempted).await;
    let _ = hub.push(newer()).await.expect(201);
    let changed = json!({"path": "/other", "n": 2});
    install(&tenant, json!({"connections": {"provider": connection}, "retry_schedule": patient(), "config": changed}))
        .await;
    assert_eq!(tenant.get("/plugins/misbehave").await.expect(200)["running_version"], "0.2.0");
    assert_eq!(remove(&hub, "0.1.0").await, 409, "a version with a live delivery was removed");

    provider.say_second(200);
    let run = in_state(&tenant, &written, "delivered").await;
    let seen = emitted(&tenant, &written).await;
    assert_eq!((&seen["version"], &seen["config"]["n"]), (&json!("0.1.0"), &json!(1)), "{seen}");
    let versions: Vec<&Value> =
        run["attempts"].as_array().expect("attempts").iter().map(|one| &one["plugin_version"]).collect();
    assert!(versions.len() > 1 && versions.iter().all(|version| **version == "0.1.0"), "{versions:?}");
    assert_eq!((provider.count("POST /base/first"), provider.count("POST /base/other")), (1, 0), "one effect");

    // A run without an effect follows the installation.
    let followed = until("a retry on the new version", async || {
        let all = tenant.list("/deliveries?target=plugin:misbehave&event_type=test.do").await;
        let ours = all.iter().find(|row| row["correlation_id"] == plain).expect("it is there");
        let run = tenant.get(&format!("/deliveries/{}", text(ours, "id"))).await.expect(200);
        let last =
            run["attempts"].as_array().and_then(|all| all.iter().max_by_key(|one| one["number"].as_u64()).cloned());
        if last.as_ref().is_some_and(|last| last["plugin_version"] == "0.2.0") { Ok(run) } else { Err(run.to_string()) }
    });
    let run = followed.await;
    assert_eq!(remove(&hub, "0.1.0").await, 409, "its first attempt ran on it, and it is live");
    let _ = tenant.post(&format!("/deliveries/{}/cancel", text(&run, "id")), &json!({})).await.expect(200);
    assert_eq!(done(&tenant, json!({"do": "version"})).await["version"], "0.2.0");
    let removed = until("nothing to need the old version", async || {
        let status = remove(&hub, "0.1.0").await;
        if status == 204 { Ok(()) } else { Err(status.to_string()) }
    });
    removed.await;
}

/// The guest's write is made of its clock, its randomness and its config. A retry makes it again to the byte; a replay
/// under another config does not, and is stopped before anything is sent.
#[tokio::test]
async fn f63_a_guest_that_leaves_the_path_of_its_journal_is_stopped_before_it_writes() {
    let (_hub, provider, tenant, connection) = stage(&[0, 1], json!({"path": "/first"})).await;
    let configured = async |config: Value| {
        let wanted = json!({"connections": {"provider": connection}, "retry_schedule": [0, 1], "config": config});
        install(&tenant, wanted).await;
    };
    provider.say_second(503);
    let correlation = command(&tenant, &json!({"do": "steps"})).await;
    let dead = in_state(&tenant, &correlation, "dead").await;
    assert_eq!(dead["code"], "planted", "{dead}");
    assert_eq!(dead["attempt_count"], 2, "the second attempt took the same path: {dead}");
    assert_eq!(provider.count("POST /base/first"), 1);

    provider.say_second(200);
    let replay = async |dead: &Value| {
        let wanted = json!({"fingerprint": dead["fingerprint"]});
        let reply = tenant.post("/dead-letters/replay", &wanted).await;
        assert!((200..300).contains(&reply.status), "{}", reply.text);
    };
    let mut last = dead;
    for (config, words) in [
        (json!({"path": "/other"}), ["POST provider /other", "POST provider /first"]),
        (json!({"path": "/first", "n": 2}), ["POST provider /first", "call 0"]),
        (json!({"early": true}), ["the run returned", "POST provider /first"]),
    ] {
        configured(config.clone()).await;
        let before = last["attempt_count"].as_u64();
        replay(&last).await;
        let again = |run: &Value| run["state"] == "dead" && run["attempt_count"].as_u64() > before;
        last = delivery(&tenant, &correlation, "dead again", again).await;
        assert_eq!(
            (&last["reason"], &last["code"]),
            (&json!("plugin_bug"), &json!("journal_mismatch")),
            "{config}: {last}"
        );
        for word in words {
            assert!(text(&last, "message").contains(word), "{config}: {last}");
        }
    }
    assert_eq!((provider.count("POST /base/first"), provider.count("POST /base/other")), (1, 0), "nothing was sent");
    configured(json!({"path": "/first"})).await;
    replay(&last).await;
    let _ = in_state(&tenant, &correlation, "delivered").await;
    assert_eq!(provider.count("POST /base/first"), 1, "served from the journal");
}

/// Row F64: what is off holds its deliveries with the reason, and goes on where it was.
#[tokio::test]
async fn f64_a_plugin_that_is_off_holds_its_deliveries_and_a_version_that_is_needed_stays() {
    let hub = hub().await;
    let tenant = tenant(&hub, "acme", json!({})).await;
    install(&tenant, json!({"mode": "off"})).await;
    let correlation = command(&tenant, &json!({"do": "ok"})).await;
    let held = in_state(&tenant, &correlation, "held").await;
    assert_eq!((&held["reason"], &held["code"]), (&json!("config"), &json!("plugin_off")), "{held}");
    assert_eq!(held["attempts"], json!([]), "it was not tried");
    install(&tenant, json!({})).await;
    let _ = in_state(&tenant, &correlation, "delivered").await;

    // A dead letter can be replayed only while its version is there.
    let correlation = command(&tenant, &json!({"do": "reject"})).await;
    let dead = in_state(&tenant, &correlation, "dead").await;
    let _ = hub.push(newer()).await.expect(201);
    // The installation goes on to the newer version by itself, a moment later.
    until("only the dead letter to need the version", async || {
        let problem = hub.delete("/v1/plugins/misbehave/versions/0.1.0").await.problem(409, "conflict");
        let detail = text(&problem, "detail");
        if detail.contains("dead deliveries") { Ok(()) } else { Err(detail) }
    })
    .await;
    let problem = hub.delete("/v1/plugins/misbehave/versions/0.2.0").await.problem(409, "conflict");
    assert!(text(&problem, "detail").contains("tenant acme"), "{problem}");
    let wanted = json!({"fingerprint": dead["fingerprint"], "reason": "a test"});
    let reply = tenant.post("/dead-letters/discard", &wanted).await;
    assert!((200..300).contains(&reply.status), "{}", reply.text);
    let _ = in_state(&tenant, &correlation, "cancelled").await;
    assert_eq!(remove(&hub, "0.1.0").await, 204);
    // A pinned version that is not there cannot be asked for; what is there runs.
    let problem = tenant.api.put(&tenant.path("/plugins/misbehave"), &json!({"version": "0.1.0"})).await;
    let _ = problem.problem(400, "invalid_request");
    assert_eq!(done(&tenant, json!({"do": "version"})).await["version"], "0.2.0");
}
