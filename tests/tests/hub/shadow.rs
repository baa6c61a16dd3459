use serde_json::{Value, json};
use switchyard_tests::{
    api::{Tenant, faulty, text, until},
    hub::Hub,
    world::{asked, billy, billy_connection, lifecycle_guest},
};

const PLUGIN: &str = "plugin:lifecycle";

/// Publishes work and answers its delivery once it is delivered.
async fn worked(tenant: &Tenant, n: u32, write: bool) -> Value {
    let said = tenant.publish(&json!({"type": "work.do", "data": {"n": n, "write": write}})).await;
    let ours = |delivery: &Value| {
        delivery["event_id"] == said["id"] && delivery["target"] == PLUGIN && delivery["state"] == "delivered"
    };
    tenant.delivery(PLUGIN, "delivered", ours).await
}

/// The shadow run of a delivery, once there is one.
async fn shadow(tenant: &Tenant, delivery: &Value) -> Value {
    let path = format!("/deliveries/{}", text(delivery, "id"));
    until("the shadow to end", async || {
        let shown = tenant.get(&path).await.expect(200);
        if shown["shadow"].is_null() { Err(shown.to_string()) } else { Ok(shown["shadow"].clone()) }
    })
    .await
}

async fn on(tenant: &Tenant, version: &str) {
    until("the version to be in force", async || {
        let now = tenant.get("/plugins/lifecycle").await.expect(200);
        let there = now["state"] == "ready" && now["running_version"] == version && now["hold"].is_null();
        if there { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_shadow_is_compared_with_the_version_that_does_the_work_and_does_nothing_itself() {
    let (hub, billy) = (Hub::start().await, billy().await);
    let versions = ["1.0.0", "2.0.0", "3.0.0", "4.0.0", "5.0.0", "6.0.0"];
    for version in versions {
        let _ = hub.push(lifecycle_guest(version)).await.expect(201);
    }
    let tenant = hub.tenant("acme").await;
    let books = tenant.connection(&billy_connection(&billy.base_url())).await;
    let settings = |version: &str, shadow: Option<&str>| json!({"version": version, "shadow_version": shadow, "grants": ["emits:*"], "connections": {"books": books}});
    let same = tenant.api.put(&tenant.path("/plugins/lifecycle"), &settings("1.0.0", Some("1.0.0"))).await;
    assert_eq!(faulty(&same.problem(400, "invalid_request")), ["shadow_version"]);
    let expected = [
        ("2.0.0", "same", json!({})),
        ("3.0.0", "differs", json!({"differences": ["events[0].data/total"], "more": false, "not_made": []})),
        ("4.0.0", "diverged", json!({"call": "GET books /v2/organization"})),
        ("5.0.0", "failed", json!("trap")),
        ("6.0.0", "failed", json!("cpu_limit")),
    ];
    for (n, (version, outcome, detail)) in (1..).zip(expected) {
        let _ = tenant.install("lifecycle", &settings("1.0.0", Some(version))).await;
        on(&tenant, "1.0.0").await;
        let live = worked(&tenant, n, true).await;
        let shadow = shadow(&tenant, &live).await;
        assert_eq!((&shadow["outcome"], &shadow["shadow_version"]), (&json!(outcome), &json!(version)), "{shadow}");
        let seen = if outcome == "failed" { &shadow["detail"]["failure"]["code"] } else { &shadow["detail"] };
        assert_eq!(*seen, detail, "{shadow}");
        let attempts = tenant.get(&format!("/deliveries/{}", text(&live, "id"))).await.expect(200)["attempts"].clone();
        assert_eq!(attempts.as_array().map(Vec::len), Some(1), "the live run is untouched: {attempts}");
        assert_eq!(attempts[0]["plugin_version"], "1.0.0");
        let totals = tenant.get("/plugins/lifecycle/shadow").await.expect(200);
        let of = totals["totals"].as_array().expect("totals").iter().find(|of| of["shadow_version"] == version);
        let of = of.unwrap_or_else(|| panic!("{totals}"));
        assert_eq!((&of["runs"], &of[outcome]), (&json!(1), &json!(1)), "{of}");
    }
    // Five runs, five contacts, and nobody asked for what only a shadow wanted.
    assert_eq!((asked(&billy, None), billy.contact_count()), (5, 5), "{:?}", billy.counts());
    assert_eq!(asked(&billy, Some("organization.fetch")), 0);
    assert_eq!(tenant.list("/events?type=work.done").await.len(), 5);
    let runs = tenant.list("/plugins/lifecycle/shadow/runs").await;
    assert_eq!(
        runs.iter().map(|run| text(run, "outcome")).collect::<Vec<_>>(),
        ["failed", "failed", "diverged", "differs", "same"]
    );
    let metrics = tenant.api.get("/metrics").await.text;
    assert!(metrics.contains(r#"switchyard_shadow_runs_total{outcome="same"} 1"#), "{metrics}");
    // What a shadow runs cannot be removed under it.
    let _ = tenant.install("lifecycle", &settings("1.0.0", Some("2.0.0"))).await;
    let _ = tenant.api.delete("/v1/plugins/lifecycle/versions/2.0.0").await.problem(409, "conflict");

    // Promoted, it does the work, on what the version before kept.
    let _ = tenant.install("lifecycle", &settings("2.0.0", None)).await;
    on(&tenant, "2.0.0").await;
    let live = worked(&tenant, 6, false).await;
    let shown = tenant.get(&format!("/deliveries/{}", text(&live, "id"))).await.expect(200);
    assert_eq!((&shown["attempts"][0]["plugin_version"], &shown["shadow"]), (&json!("2.0.0"), &Value::Null), "{shown}");
    let done = tenant.list("/events?type=work.done&limit=1").await.remove(0);
    assert_eq!(done["data"], json!({"total": 6, "seen": 5, "contact": null}), "a shadow's kv was kept");
}

#[tokio::test]
async fn what_is_refused_or_broken_is_compared_too_and_spinning_shadows_keep_nobody_waiting() {
    let hub = Hub::start().await;
    for version in ["1.0.0", "5.0.0", "6.0.0"] {
        let _ = hub.push(lifecycle_guest(version)).await.expect(201);
    }
    let tenant = hub.tenant("acme").await;
    let settings = |version: &str, shadow: &str| json!({"version": version, "shadow_version": shadow, "grants": ["emits:*"], "retry_schedule": [0]});
    // The live version panics and the shadow would have done it.
    let _ = tenant.install("lifecycle", &settings("5.0.0", "1.0.0")).await;
    on(&tenant, "5.0.0").await;
    let _ = tenant.publish(&json!({"type": "work.do", "data": {"n": 1, "write": false}})).await;
    let dead = tenant.delivery(PLUGIN, "dead", |delivery| delivery["state"] == "dead").await;
    // Its record has no kv call, since it broke before: the shadow goes where the live run never was.
    let seen = shadow(&tenant, &dead).await;
    assert_eq!((&seen["outcome"], &seen["detail"]), (&json!("diverged"), &json!({"call": "kv.get seen"})), "{seen}");
    // The shadow spins each time; the live runs are done long before all shadows are, and what does not fit is dropped.
    let _ = tenant.install("lifecycle", &settings("1.0.0", "6.0.0")).await;
    on(&tenant, "1.0.0").await;
    for n in 0..40 {
        let _ = tenant.publish(&json!({"type": "work.do", "data": {"n": n, "write": false}})).await;
    }
    until("the work to be done", async || {
        let done = tenant.list("/events?type=work.done&limit=200").await.len();
        if done == 40 { Ok(()) } else { Err(done.to_string()) }
    })
    .await;
    until("every shadow to be counted", async || {
        let metrics = tenant.api.get("/metrics").await.text;
        let count = |outcome: &str| -> u32 {
            let name = format!("switchyard_shadow_runs_total{{outcome=\"{outcome}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
        };
        let (failed, dropped) = (count("failed"), count("dropped"));
        if failed + dropped == 40 && dropped > 0 { Ok(()) } else { Err(format!("{failed} and {dropped}")) }
    })
    .await;
}
