use std::path::Path;

use serde_json::{Value, json};
use switchyard::clock::Timestamp;
use switchyard_chaos::inside::{Inside, WrongClock};
use switchyard_simulators::subscriber::{self, Script, Step};
use switchyard_tests::{
    api::{SOON, Tenant},
    world::subscriber,
};

/// An hour back.
const BACK_MS: i64 = -3_600_000;

/// Where a hub in this folder keeps everything.
fn settings(folder: &Path) -> String {
    format!("database_url = \"sqlite:{}/hub.db\"", folder.display())
}

fn step(key: &str, n: u32) -> Value {
    json!({"type": "a.b", "id": format!("{key}-{n}"), "ordering_key": key, "data": {}})
}

async fn arrivals(at: &subscriber::Handle, wanted: &[&str]) {
    let is_last =
        |request: &subscriber::Received| request.webhook_id() == wanted.last().copied() && request.status == Some(200);
    let _ = at.wait_for_where(1, SOON, is_last).await.expect("the last arrives while the clock is wrong");
    let mut first = Vec::new();
    for request in at.requests("/hook") {
        let id = request.webhook_id().unwrap_or_default().to_owned();
        if !first.contains(&id) {
            first.push(id);
        }
    }
    assert_eq!(first, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d40_a_clock_that_steps_back_an_hour_freezes_no_retry_and_keeps_order_also_over_a_restart() {
    let (folder, at) = (tempfile::tempdir().expect("a folder"), subscriber().await);
    let clock = WrongClock::ahead_by(0);
    let hub = Inside::start(folder.path(), &settings(folder.path()), &clock).await;
    let tenant = hub.api.tenant("acme").await;
    let more = json!({"ordered": true, "retry_schedule": [0, 60, 60, 60, 60, 60, 60, 60]});
    let _ = tenant.endpoint(&at, "/hook", &["a.b"], more).await;
    // Signatures are stamped by the wall clock, so that a subscriber would find them stale.
    at.set_secrets("/hook", &[]).expect("none");
    at.set_script("/hook", Script::always(Step::status(503)));
    let _ = tenant.publish(&step("s", 1)).await;
    let _ = at.wait_for("/hook", 1, SOON).await.expect("a first attempt");
    clock.put_ahead_by(BACK_MS);
    let _ = tenant.publish(&step("s", 2)).await;
    // The next attempt is due by a clock that an hour would have to pass on twice.
    let _ = at.wait_for("/hook", 3, SOON).await.expect("attempts go on");
    at.set_script("/hook", Script::default());
    arrivals(&at, &["s-1", "s-2"]).await;

    at.set_script("/hook", Script::always(Step::status(503)));
    let _ = tenant.publish(&step("s", 3)).await;
    let seen = at.requests("/hook").len();
    let _ = at.wait_for("/hook", seen + 1, SOON).await.expect("a first attempt");
    let before = hub.stop().await;

    // A new process knows only what is stored.
    let clock = WrongClock::ahead_by(BACK_MS);
    let hub = Inside::start(folder.path(), &settings(folder.path()), &clock).await;
    let latest = hub.last_seen().await;
    assert!(latest >= before, "the queue's clock stepped back from {before} to {latest}");
    let tenant = Tenant { api: hub.api.clone(), id: "acme".to_owned() };
    let _ = tenant.publish(&step("s", 4)).await;
    let seen = at.requests("/hook").len();
    let _ = at.wait_for("/hook", seen + 1, SOON).await.expect("attempts go on after the restart");
    at.set_script("/hook", Script::default());
    arrivals(&at, &["s-1", "s-2", "s-3", "s-4"]).await;
    let told = tenant.get("/events/s-4").await.expect(200);
    let accepted: Timestamp = told["accepted_at"].as_str().unwrap_or_default().parse().expect("a time");
    assert!(accepted < before, "stamps follow the wall clock, right or wrong: {told}");
    let _ = hub.stop().await;
}
