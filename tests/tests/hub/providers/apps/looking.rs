use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use switchyard_simulators::clock::{Clock as _, SystemClock};
use switchyard_tests::api::text;

use super::pacing::{World, bearer};

/// The check of a name in what a test or an installation answers.
fn check<'v>(answer: &'v Value, name: &str) -> &'v Value {
    let checks = answer["checks"].as_array().unwrap_or_else(|| panic!("no checks: {answer}"));
    checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no check {name}: {answer}"))
}

async fn tested(world: &World) -> Value {
    world.tenant.post(&format!("/connections/{}/test", world.connection), &Value::Null).await.expect(200)
}

#[tokio::test]
async fn a_test_makes_one_harmless_call_with_the_credential() {
    let world = World::new().await;
    world.ledgers.seen.lock().unwrap().clear();
    let answer = tested(&world).await;
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(check(&answer, "provider")["message"], "GET /v1/me: status 200: the provider takes the credential");
    let seen = world.ledgers.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].0, "GET /v1/me");
    assert_eq!(seen[0].1["authorization"], "Bearer MARKER-a-token-for-ledgers");
    assert!(seen[0].1.contains_key("x-correlation-id") && seen[0].1.contains_key("traceparent"));
    assert!(!answer.to_string().contains("secret-of-the-provider"), "the body is nobody's: {answer}");
}

#[tokio::test]
async fn each_answer_is_explained_and_shows_no_secret() {
    let world = World::new().await;
    for (status, words) in [
        (401, "refuses the credential"),
        (403, "a scope or a permission is missing"),
        (404, "nothing at this address"),
        (429, "asks for fewer calls"),
        (302, "base URL"),
        (500, "trouble of its own"),
    ] {
        world.ledgers.status.store(status, Ordering::SeqCst);
        let answer = tested(&world).await;
        let provider = check(&answer, "provider");
        assert_eq!(
            (answer["ok"].as_bool(), provider["ok"].as_bool()),
            (Some(false), Some(false)),
            "{status}: {answer}"
        );
        assert!(text(provider, "message").contains(words), "{status}: {answer}");
        assert!(!answer.to_string().contains("MARKER"), "{answer}");
    }
}

#[tokio::test]
async fn what_cannot_be_reached_says_where_to_look() {
    let world = World::new().await;
    let path = format!("/connections/{}", world.connection);
    for (base_url, words) in [
        ("http://127.0.0.1:1", "nobody listens at this address"),
        ("https://no-such-host.invalid", "could not be resolved"),
    ] {
        let _ = world.tenant.api.patch(&world.tenant.path(&path), &json!({"base_url": base_url})).await.expect(200);
        let answer = tested(&world).await;
        assert!(text(check(&answer, "provider"), "message").contains(words), "{answer}");
        assert_eq!(answer["ok"], false);
    }
}

#[tokio::test]
async fn switching_a_plugin_on_says_whether_config_and_connections_work() {
    let world = World::new().await;
    assert_eq!(check(&world.installed, "config")["ok"], true);
    assert_eq!(check(&world.installed, "connections.ledgers")["ok"], true, "{}", world.installed);
    world.ledgers.status.store(401, Ordering::SeqCst);
    let wanted = json!({"grants": ["emits:*"], "connections": {"ledgers": world.connection}});
    let installed = world.tenant.install("ledgers", &wanted).await;
    let check = check(&installed, "connections.ledgers");
    assert!(check["ok"] == false && text(check, "message").contains("refuses the credential"), "{installed}");
    assert_eq!(installed["state"], "ready", "an admin may go on all the same");
}

#[tokio::test]
async fn a_connection_that_no_plugin_can_try_is_not_called() {
    let world = World::new().await;
    let mut other = bearer("http://127.0.0.1:1");
    other["name"] = json!("other");
    let id = world.tenant.connection(&other).await;
    let answer = world.tenant.post(&format!("/connections/{id}/test"), &Value::Null).await.expect(200);
    assert!(text(check(&answer, "provider"), "message").contains("proven by the next call"), "{answer}");
}

#[tokio::test]
async fn the_forecast_says_what_ends_when_and_how_much_depends_on_it() {
    let world = World::new().await;
    world.read_entries(json!({"expires": SystemClock.now_ms() + 86_400_000})).await;
    let _ = world.tenant.delivery_in("plugin:ledgers", "delivered").await;
    let rotated = json!({"secret": {"token": "another-token"}, "overlap_s": 3600});
    let _ = world.tenant.post(&format!("/connections/{}/rotate", world.connection), &rotated).await.expect(200);
    let key = json!({"name": "nightly job", "tenant": "acme", "scope": "publisher", "expires_at": in_days(3)});
    let _ = world.hub.key(&key).await;
    let forecast = world.tenant.get("/forecast").await.expect(200);
    let expires = forecast["expires"].as_array().expect("a list");
    let kinds: Vec<String> = expires.iter().map(|expiry| text(expiry, "kind")).collect();
    assert_eq!(kinds, ["old_secret", "registration", "api_key"], "what ends first comes first: {forecast}");
    let registration = &expires[1];
    assert_eq!(registration["id"], "ledgers/channel");
    assert_eq!(registration["what"], "The channel of the ledgers");
    assert_eq!((registration["renews"].as_bool(), registration["events_7d"].as_u64()), (Some(true), Some(1)));
    assert_eq!(expires[0]["events_7d"], 1, "{forecast}");
    assert_eq!(expires[2]["events_7d"], 1, "one event came by the API: {forecast}");
    assert_eq!(forecast["budgets"][0]["provider"], "ledgers", "{forecast}");
    let status = world.hub.get("/v1/status").await.expect(200);
    assert!(status["tenants"][0]["ending_keys"].to_string().contains("nightly job"), "{status}");
    assert!(!forecast.to_string().contains("MARKER"));
}

fn in_days(days: i64) -> String {
    let seconds = SystemClock.now_ms() / 1000 + days * 86_400;
    jiff::Timestamp::from_second(seconds).expect("a time").to_string()
}
