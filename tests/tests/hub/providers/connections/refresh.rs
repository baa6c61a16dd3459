use std::time::Duration;

use serde_json::json;
use switchyard_simulators::oauth::Rotation;
use switchyard_tests::api::{text, until};

use super::{World, google, hub_beside, rotating};

#[tokio::test]
async fn a_call_gets_an_access_token_and_the_next_one_the_same() {
    let (world, connection) = World::logged_in(google(|_| {}).await).await;
    for id in ["c-1", "c-2", "c-3"] {
        world.call(id).await;
        let _ = world.delivery(id, "delivered").await;
    }
    let answers = world.answered(3).await;
    assert!(text(&answers[0]["data"], "body").contains("owner@customer.example"), "{answers:?}");
    assert_eq!(world.refreshes(), 1);
    assert_eq!(world.shown(&connection).await["state"], "ok");
}

/// Asks for calls in one request.
async fn call_many(world: &World, count: u32) {
    let many: Vec<_> = (0..count)
        .map(|n| {
            json!({"type": "api.call", "id": format!("m-{n}"), "source": "tests", "specversion": "1.0",
                "data": {"method": "GET", "path": "/oauth2/v3/userinfo"}})
        })
        .collect();
    let headers = [("content-type", "application/cloudevents-batch+json")];
    let body = json!(many).to_string();
    let accepted = world.tenant.api.raw("POST", &world.tenant.path("/events"), &headers, body).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_calls_that_find_the_token_over_refresh_it_once() {
    let (mut world, connection) = World::logged_in(google(rotating).await).await;
    world.call("first").await;
    let _ = world.answered(1).await;
    world.hub.kill().await;
    let over = "update connection set refresh_at = 1, access_expires_at = 1 returning x''";
    let _ = crate::operations::query(&world.hub, over).await;
    world.hub.restart().await;
    call_many(&world, 100).await;
    // At ten calls a second, which is the connection's pace.
    for so_many in [26, 51, 76, 101] {
        let _ = world.answered(so_many).await;
    }
    let counts = world.grants().counts();
    assert_eq!((counts.refreshes, counts.reuses, counts.refusals), (2, 0, 0));
    assert_eq!(world.grants().live_grants(), 1);
    assert_eq!(world.shown(&connection).await["state"], "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e55_a_hundred_calls_at_the_end_of_a_token_refresh_it_once_and_lose_no_grant() {
    let (world, connection) = World::logged_in(google(rotating).await).await;
    world.call("first").await;
    let _ = world.answered(1).await;
    world.grants().expire_tokens();
    let before = world.grants().counts();
    call_many(&world, 100).await;
    // At ten calls a second, which is the connection's pace.
    for so_many in [26, 51, 76, 101] {
        let _ = world.answered(so_many).await;
    }
    let after = world.grants().counts();
    assert_eq!((after.refreshes - before.refreshes, after.reuses, after.refusals), (1, 0, before.refusals));
    assert_eq!(world.grants().live_grants(), 1);
    assert_eq!(world.shown(&connection).await["state"], "ok");
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end_and_a_rotated_one_is_kept_over_a_restart() {
    let short = |rules: &mut switchyard_simulators::oauth::Rules| {
        rotating(rules);
        rules.access_lifetime = Duration::from_secs(2);
    };
    let (mut world, connection) = World::logged_in(google(short).await).await;
    let calls = std::cell::Cell::new(0);
    until("three refreshes", async || {
        calls.set(calls.get() + 1);
        world.call(&format!("c-{}", calls.get())).await;
        let _ = world.answered(calls.get()).await;
        if world.refreshes() >= 3 { Ok(()) } else { Err(world.refreshes().to_string()) }
    })
    .await;
    world.hub.kill().await;
    world.hub.restart().await;
    world.grants().expire_tokens();
    world.call("after").await;
    let _ = world.answered(calls.get() + 1).await;
    assert_eq!(world.grants().counts().reuses, 0);
    assert_eq!(world.shown(&connection).await["state"], "ok");
}

#[tokio::test]
async fn an_access_token_outlives_the_process() {
    let (mut world, _) = World::logged_in(google(|_| {}).await).await;
    world.call("before").await;
    let _ = world.answered(1).await;
    world.hub.kill().await;
    world.hub.restart().await;
    world.call("after").await;
    let _ = world.answered(2).await;
    assert_eq!(world.refreshes(), 1);
}

#[tokio::test]
async fn a_death_between_the_answer_and_its_record_repeats_the_refresh() {
    let google = google(|_| {}).await;
    let builder = hub_beside(&google).set("SWITCHYARD_FAILPOINTS", "refresh.after_answer=abort");
    let mut world = World::start(google, builder).await;
    let refresh_token = world.consented();
    let connection = world.connection(json!({"refresh_token": refresh_token})).await;
    world.install(&connection).await;
    world.call("c-1").await;
    let _ = world.hub.ended(Duration::from_secs(30)).await.expect("it dies");
    world.hub.unset("SWITCHYARD_FAILPOINTS");
    world.hub.restart().await;
    let _ = world.answered(1).await;
    assert_eq!((world.refreshes(), world.grants().live_grants()), (2, 1));
}

#[tokio::test]
async fn a_death_after_the_record_of_a_rotated_token_loses_nothing() {
    let google = google(rotating).await;
    let builder = hub_beside(&google).set("SWITCHYARD_FAILPOINTS", "refresh.after_commit=abort");
    let mut world = World::start(google, builder).await;
    let refresh_token = world.consented();
    let connection = world.connection(json!({"refresh_token": refresh_token})).await;
    world.install(&connection).await;
    world.call("c-1").await;
    let _ = world.hub.ended(Duration::from_secs(30)).await.expect("it dies");
    world.hub.unset("SWITCHYARD_FAILPOINTS");
    world.hub.restart().await;
    let _ = world.answered(1).await;
    assert_eq!((world.refreshes(), world.grants().counts().reuses), (1, 0));
    world.grants().expire_tokens();
    world.call("c-2").await;
    let _ = world.answered(2).await;
    assert_eq!((world.refreshes(), world.grants().counts().reuses), (2, 0));
}

#[tokio::test]
async fn a_rotated_token_that_died_with_the_process_needs_a_login_and_loses_no_call() {
    let google = google(rotating).await;
    let builder = hub_beside(&google).set("SWITCHYARD_FAILPOINTS", "refresh.after_answer=abort");
    let mut world = World::start(google, builder).await;
    let refresh_token = world.consented();
    let connection = world.connection(json!({"refresh_token": refresh_token})).await;
    world.install(&connection).await;
    world.call("c-1").await;
    let _ = world.hub.ended(Duration::from_secs(30)).await.expect("it dies");
    world.hub.unset("SWITCHYARD_FAILPOINTS");
    world.hub.restart().await;
    let _ = world.state(&connection, "needs_login").await;
    let _ = world.delivery("c-1", "held").await;
    let rotation = json!({"secret": {"app": world.app, "refresh_token": world.consented()}});
    let _ = world.tenant.post(&format!("/connections/{connection}/rotate"), &rotation).await.expect(200);
    let _ = world.answered(1).await;
}

#[tokio::test]
async fn renaming_a_connection_keeps_the_refresh_token_that_a_refresh_stored() {
    let (world, connection) = World::logged_in(google(rotating).await).await;
    world.call("c-1").await;
    let _ = world.answered(1).await;
    let path = world.tenant.path(&format!("/connections/{connection}"));
    let renamed = world.tenant.api.patch(&path, &json!({"name": "post"})).await.expect(200);
    assert_eq!(renamed["name"], "post");
    world.grants().set_rotation(Rotation::Never);
    world.grants().expire_tokens();
    world.call("c-2").await;
    let _ = world.answered(2).await;
    assert_eq!(world.grants().counts().reuses, 0);
}
