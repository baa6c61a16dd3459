use serde_json::json;
use switchyard_simulators::{
    faults::{Fault, FaultBody},
    oauth::{Consent, Decision},
    subscriber::{Script, Step},
};
use switchyard_tests::{api::text, hub::Hub, world::subscriber};

use super::{CLIENT_ID, CLIENT_SECRET, SCOPE, World, google, hub_beside};

#[tokio::test]
async fn e55_a_grant_that_ended_holds_its_calls_tells_once_and_goes_on_after_the_login() {
    let (world, connection) = World::logged_in(google(|_| {}).await).await;
    world.call("c-0").await;
    let _ = world.answered(1).await;
    assert_eq!(world.grants().revoke_grants(None), 1);
    for n in 1..=5 {
        world.call(&format!("c-{n}")).await;
    }
    let shown = world.state(&connection, "needs_login").await;
    assert!(text(&shown, "reason").contains("expired or revoked"), "{shown}");
    for n in 1..=5 {
        let held = world.delivery(&format!("c-{n}"), "held").await;
        assert_eq!(held["tries"], 0, "waiting for a person burns no try: {held}");
    }
    let told = world.told("connection.login_needed").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["data"]["connection_id"], json!(connection), "{told:?}");
    let rotation = json!({"secret": {"app": world.app, "refresh_token": world.consented()}});
    let _ = world.tenant.post(&format!("/connections/{connection}/rotate"), &rotation).await.expect(200);
    let _ = world.answered(6).await;
    assert_eq!(world.shown(&connection).await["state"], "ok");
}

#[tokio::test]
async fn a_token_that_ends_before_its_time_is_refreshed_once_and_the_call_repeated() {
    let (world, _) = World::logged_in(google(|_| {}).await).await;
    world.call("c-1").await;
    let _ = world.answered(1).await;
    world.grants().expire_tokens();
    world.call_by("c-2", "POST").await;
    let _ = world.answered(2).await;
    let delivered = world.delivery("c-2", "delivered").await;
    assert_eq!(delivered["tries"], 1, "{delivered}");
    assert_eq!(world.refreshes(), 2);
}

#[tokio::test]
async fn a_provider_that_refuses_also_the_new_token_needs_a_login() {
    let (world, connection) = World::logged_in(google(|_| {}).await).await;
    world.google.faults().arm("userinfo", Fault::WrongToken, 1_000);
    world.call("c-1").await;
    let shown = world.state(&connection, "needs_login").await;
    assert!(text(&shown, "reason").contains("401"), "{shown}");
    let _ = world.delivery("c-1", "held").await;
    let asked = world.google.counts()["userinfo"].received;
    assert_eq!((asked, world.refreshes()), (2, 2), "one call, one repeat");
}

#[tokio::test]
async fn a_token_endpoint_that_fails_is_tried_again_and_never_asks_for_a_login() {
    let (world, connection) = World::logged_in(google(|_| {}).await).await;
    let faults = [
        Fault::FailBefore { status: 500, body: FaultBody::Html },
        Fault::FailBefore { status: 503, body: FaultBody::Empty },
        Fault::FailAfter { status: 500, body: FaultBody::Provider },
        Fault::RateLimit { retry_after_s: None },
        Fault::DropAfter,
    ];
    for (n, fault) in (1..).zip(faults) {
        world.grants().expire_tokens();
        world.google.faults().arm("token.refresh", fault.clone(), 1);
        world.call(&format!("c-{n}")).await;
        let _ = world.answered(n).await;
        assert_eq!(world.shown(&connection).await["state"], "ok", "{fault:?}");
    }
    assert!(world.told("connection.login_needed").await.is_empty());
}

#[tokio::test]
async fn a_token_endpoint_that_answers_nonsense_is_tried_again() {
    let nonsense = subscriber().await;
    let google = google(|_| {}).await;
    let base = nonsense.url("");
    let base = base.trim_end_matches('/');
    let origins = format!("https://oauth2.googleapis.com={base},https://www.googleapis.com={}", google.base_url());
    let builder = Hub::builder().time_factor(120).set("SWITCHYARD_PROVIDER_ORIGINS", &origins);
    let world = World::start(google, builder).await;
    let connection = world.connection(json!({"refresh_token": world.consented()})).await;
    world.install(&connection).await;
    let said = |body: &str| Step::Status { status: 200, retry_after: None, body: body.to_owned() };
    let steps = [
        Step::Huge { bytes: 10 << 20 },
        Step::Drip { bytes: 5, every_ms: 10 },
        Step::Redirect { to: "https://evil.example/".to_owned() },
        Step::Reset,
        Step::Close,
        said("<html>"),
        said("{}"),
        said("{\"access_token\":\"a\\r\\nb: c\",\"token_type\":\"Bearer\"}"),
        Step::Status { status: 400, retry_after: None, body: "[".repeat(100_000) },
    ];
    let consent = Consent { account: "owner@customer.example".to_owned(), realm: None, decision: Decision::Allow };
    let good = world.grants().issue(CLIENT_ID, &consent, &[SCOPE]).access_token;
    let good = said(&json!({"access_token": good, "expires_in": 3599, "token_type": "Bearer"}).to_string());
    let so_many = steps.len();
    nonsense.set_script("/token", Script { steps: steps.into(), then: good });
    world.call("c-1").await;
    let _ = world.answered(1).await;
    assert_eq!(nonsense.requests("/token").len(), so_many + 1);
    assert_eq!(world.shown(&connection).await["state"], "ok");
    let delivered = world.delivery("c-1", "delivered").await;
    assert_eq!(delivered["tries"], so_many + 1, "{delivered}");
}

#[tokio::test]
async fn no_token_and_no_secret_is_shown_or_logged() {
    let google = google(|_| {}).await;
    let builder = hub_beside(&google).set("SWITCHYARD_LOG", "trace,json");
    let world = World::start(google, builder).await;
    let refresh_token = world.consented();
    let connection = world.connection(json!({"refresh_token": refresh_token})).await;
    world.install(&connection).await;
    world.call("c-1").await;
    let _ = world.answered(1).await;
    let _ = world.grants().revoke_grants(None);
    world.call("c-2").await;
    let _ = world.state(&connection, "needs_login").await;
    let mut seen = vec![("the log", world.hub.log())];
    for path in ["/connections", "/deliveries", "/events", "/audit"] {
        seen.push((path, json!(world.tenant.all(path).await).to_string()));
    }
    seen.push(("apps", world.hub.get("/v1/apps").await.text));
    let delivery = text(&world.delivery("c-1", "delivered").await, "id");
    seen.push(("a delivery", world.tenant.get(&format!("/deliveries/{delivery}")).await.text));
    for (place, text) in seen {
        for secret in [refresh_token.as_str(), CLIENT_SECRET, "ya29."] {
            assert!(!text.contains(secret), "{place} shows {secret}");
        }
    }
}

#[tokio::test]
async fn a_token_endpoint_that_never_answers_is_given_up_and_its_call_tried_again() {
    let (world, connection) = World::logged_in(google(|_| {}).await).await;
    world.google.faults().arm("token.refresh", Fault::HangAfter, 1);
    world.call("c-1").await;
    let _ = world.answered(1).await;
    let delivered = world.delivery("c-1", "delivered").await;
    assert_eq!(delivered["tries"], 2, "{delivered}");
    assert_eq!(world.shown(&connection).await["state"], "ok");
    assert!(world.told("connection.login_needed").await.is_empty());
}
