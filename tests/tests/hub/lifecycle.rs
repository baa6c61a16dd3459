use serde_json::{Value, json};
use switchyard_tests::{
    api::{Tenant, text, until},
    hub::Hub,
    world::lifecycle_guest,
};

const PLUGIN: &str = "plugin:lifecycle";

async fn installation(tenant: &Tenant) -> Value {
    tenant.get("/plugins/lifecycle").await.expect(200)
}

async fn installed(tenant: &Tenant, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    until(what, async || {
        let now = installation(tenant).await;
        if is(&now) { Ok(now) } else { Err(now.to_string()) }
    })
    .await
}

async fn ready(tenant: &Tenant) -> Value {
    installed(tenant, "the installation to be ready", |now| now["state"] == "ready" && now["hold"].is_null()).await
}

/// The lifecycle calls that succeeded, as the guest told of them, oldest first.
async fn calls(tenant: &Tenant) -> Vec<Value> {
    let mut told: Vec<_> =
        tenant.list("/events?type=work.set_up").await.into_iter().map(|event| event["data"].clone()).collect();
    told.reverse();
    told
}

fn call(name: &str, from: Option<&str>, version: &str) -> Value {
    json!({"call": name, "from": from, "version": version})
}

fn work(n: u32) -> Value {
    json!({"type": "work.do", "data": {"n": n, "write": false}})
}

async fn with_versions(versions: &[&str]) -> (Hub, Tenant) {
    let hub = Hub::start().await;
    for version in versions {
        let _ = hub.push(lifecycle_guest(version)).await.expect(201);
    }
    let tenant = hub.tenant("acme").await;
    (hub, tenant)
}

/// The settings with grants, and more.
fn settings(more: Value) -> Value {
    let mut settings = json!({"grants": ["emits:*"]});
    settings.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
    settings
}

#[tokio::test]
async fn commands_wait_until_the_plugin_is_installed() {
    let (_hub, tenant) = with_versions(&["1.0.0"]).await;
    let delayed = json!({"config": {"delay": ["install"]}, "retry_schedule": [0, 86400]});
    let made = tenant.install("lifecycle", &settings(delayed)).await;
    assert_eq!(made["state"], "installing", "{made}");
    let install = tenant.delivery(PLUGIN, "waiting", |delivery| delivery["state"] == "waiting").await;
    assert_eq!(install["event_type"], "_lifecycle.install", "{install}");
    let _ = tenant.publish(&work(1)).await;
    let held = tenant.delivery(PLUGIN, "held", |delivery| delivery["state"] == "held").await;
    assert_eq!((&held["event_type"], &held["code"]), (&json!("work.do"), &json!("installing")), "{held}");
    // A change of the settings meanwhile calls nothing a second time, and does not pretend that it is installed.
    let changed = tenant.install("lifecycle", &settings(json!({}))).await;
    assert_eq!(changed["state"], "installing", "{changed}");
    let _ = tenant.post(&format!("/deliveries/{}/retry", text(&install, "id")), &json!({})).await.expect(200);
    let _ = ready(&tenant).await;
    let done = |delivery: &Value| delivery["event_type"] == "work.do" && delivery["state"] == "delivered";
    let _ = tenant.delivery(PLUGIN, "done", done).await;
    assert_eq!(calls(&tenant).await, [call("install", None, "1.0.0")]);
}

#[tokio::test]
async fn a_refused_install_is_shown_and_saved_again_it_is_tried_again() {
    let (_hub, tenant) = with_versions(&["1.0.0"]).await;
    let _ = tenant.install("lifecycle", &settings(json!({"config": {"refuse": ["install"]}}))).await;
    let failed = installed(&tenant, "the install to be refused", |now| now["state"] == "failed").await;
    assert!(text(&failed, "reason").contains("The install is refused."), "{failed}");
    let _ = tenant.publish(&work(1)).await;
    let held = tenant.delivery(PLUGIN, "held", |delivery| delivery["state"] == "held").await;
    assert_eq!(held["code"], "install_failed", "{held}");
    let _ = tenant.install("lifecycle", &settings(json!({}))).await;
    let _ = ready(&tenant).await;
    let done = |delivery: &Value| delivery["event_type"] == "work.do" && delivery["state"] == "delivered";
    let _ = tenant.delivery(PLUGIN, "done", done).await;
    assert_eq!(calls(&tenant).await, [call("install", None, "1.0.0")]);
}

#[tokio::test]
async fn a_version_takes_over_once_its_upgrade_succeeded_and_a_refused_one_does_not() {
    let (hub, tenant) = with_versions(&["1.0.0"]).await;
    let _ = tenant.install("lifecycle", &settings(json!({}))).await;
    let _ = ready(&tenant).await;
    // An installation that follows the newest version is upgraded when there is one.
    let _ = hub.push(lifecycle_guest("2.0.0")).await.expect(201);
    let on = |version: &'static str| move |now: &Value| now["running_version"] == version && now["hold"].is_null();
    let _ = installed(&tenant, "the new version to take over", on("2.0.0")).await;
    assert_eq!(calls(&tenant).await, [call("install", None, "1.0.0"), call("upgrade", Some("1.0.0"), "2.0.0")]);
    // A pinned version that refuses leaves the one before at work.
    let _ = hub.push(lifecycle_guest("3.0.0")).await.expect(201);
    let _ = installed(&tenant, "the next version to take over", on("3.0.0")).await;
    let refusing = settings(json!({"version": "1.0.0", "config": {"refuse": ["upgrade"]}}));
    let _ = tenant.install("lifecycle", &refusing).await;
    let refused = |now: &Value| now["reason"].as_str().is_some_and(|reason| reason.contains("The upgrade is refused."));
    let stays = installed(&tenant, "the upgrade to be refused", refused).await;
    assert_eq!((&stays["running_version"], &stays["hold"]), (&json!("3.0.0"), &Value::Null), "{stays}");
    let _ = tenant.publish(&work(1)).await;
    let done = tenant
        .delivery(PLUGIN, "done", |delivery| delivery["event_type"] == "work.do" && delivery["state"] == "delivered");
    let done = tenant.get(&format!("/deliveries/{}", text(&done.await, "id"))).await.expect(200);
    assert_eq!(done["attempts"][0]["plugin_version"], "3.0.0", "{done}");
    // Saved again, it is called again.
    let _ = tenant.install("lifecycle", &settings(json!({"version": "1.0.0"}))).await;
    let back = installed(&tenant, "the pinned version to take over", on("1.0.0")).await;
    assert_eq!(back["reason"], Value::Null, "{back}");
    assert_eq!(calls(&tenant).await.last(), Some(&call("upgrade", Some("3.0.0"), "1.0.0")));
}

#[tokio::test]
async fn an_installation_is_removed_after_its_uninstall_whatever_that_says() {
    let (_hub, tenant) = with_versions(&["1.0.0"]).await;
    for (refuse, told) in [(json!([]), 1), (json!(["uninstall"]), 0)] {
        let before = calls(&tenant).await.iter().filter(|told| told["call"] == "uninstall").count();
        let _ = tenant.install("lifecycle", &settings(json!({"config": {"refuse": refuse}}))).await;
        let _ = ready(&tenant).await;
        let _ = tenant.api.delete(&tenant.path("/plugins/lifecycle")).await.expect(202);
        until("the installation to be gone", async || {
            let reply = tenant.get("/plugins/lifecycle").await;
            if reply.status == 404 { Ok(()) } else { Err(reply.text) }
        })
        .await;
        let after = calls(&tenant).await.iter().filter(|told| told["call"] == "uninstall").count();
        assert_eq!(after - before, told, "{refuse}");
    }
}
