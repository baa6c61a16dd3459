use serde_json::{Value, json};
use switchyard_simulators::subscriber::Script;
use switchyard_tests::{
    api::{SOON, Tenant, faulty, text, until},
    hub::Hub,
    world::subscriber,
};

/// The moment at which a delivery was made, and the one a millisecond later.
fn made_at(delivery: &Value) -> (String, String) {
    let at: jiff::Timestamp = text(delivery, "created_at").parse().expect("a time");
    (at.to_string(), (at + jiff::SignedDuration::from_millis(1)).to_string())
}

async fn progress(tenant: &Tenant, endpoint: &str, since: &Value) -> Value {
    let since = since.as_str().expect("a time");
    tenant.get(&format!("/endpoints/{endpoint}/replay?since={since}")).await.expect(200)
}

/// The rows of an endpoint in the order in which they were made, once all are in a state.
async fn all_in(tenant: &Tenant, endpoint: &str, state: &str, count: usize) -> Vec<Value> {
    let mut rows = until(&format!("{count} to be {state}"), async || {
        let rows = tenant.list(&format!("/deliveries?target={endpoint}&state={state}")).await;
        if rows.len() == count { Ok(rows) } else { Err(format!("{} are", rows.len())) }
    })
    .await;
    rows.reverse();
    rows
}

#[tokio::test]
async fn a_window_of_an_endpoints_dead_or_of_all_its_deliveries_is_replayed() {
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({"retry_schedule": [0], "concurrency": 1})).await;
    let other = tenant.endpoint(&at, "/other", &["a.b"], json!({"retry_schedule": [0]})).await;
    at.set_script("/hook", Script::statuses(&[500]));
    at.set_script("/other", Script::statuses(&[500]));
    for n in 1..=5 {
        let _ = tenant.publish(&json!({"type": "a.b", "data": {"n": n}})).await;
        let _ = all_in(&tenant, &endpoint, "dead", n).await;
    }
    let dead = all_in(&tenant, &endpoint, "dead", 5).await;
    at.set_script("/hook", Script::default());
    let path = format!("/endpoints/{endpoint}/replay");
    // From the second to before the fourth.
    let window = json!({"from": made_at(&dead[1]).0, "to": made_at(&dead[3]).0});
    let begun = tenant.post(&path, &window).await.expect(202);
    assert_eq!((&begun["replayed"], &begun["more"]), (&json!(2), &json!(false)), "{begun}");
    let again = at.wait_for("/hook", 7, SOON).await.expect("two are sent again");
    let mut numbers: Vec<_> = again[5..].iter().map(|request| request.json()["data"]["n"].as_i64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [Some(2), Some(3)]);
    let _ = all_in(&tenant, &endpoint, "dead", 3).await;
    let done = until("the replay to be over", async || {
        let seen = progress(&tenant, &endpoint, &begun["at"]).await;
        if seen["delivered"] == 2 { Ok(seen) } else { Err(seen.to_string()) }
    })
    .await;
    assert_eq!((&done["waiting"], &done["running"], &done["dead"]), (&json!(0), &json!(0), &json!(0)), "{done}");
    // Those that were delivered too, each as itself.
    let everything = json!({"from": made_at(&dead[1]).0, "include_delivered": true});
    let begun = tenant.post(&path, &everything).await.expect(202);
    assert_eq!(begun["replayed"], 4, "{begun}");
    let all = at.wait_for("/hook", 11, SOON).await.expect("four are sent");
    let ids: std::collections::BTreeSet<_> = all.iter().filter_map(|request| request.webhook_id()).collect();
    assert_eq!(ids.len(), 5, "a webhook-id changed");
    // The other endpoint and what lies before the window are as they were.
    assert_eq!(all_in(&tenant, &other, "dead", 5).await.len(), 5);
    assert_eq!(all_in(&tenant, &endpoint, "dead", 1).await[0]["id"], dead[0]["id"]);

    for (wrong, field) in [
        (json!({"from": made_at(&dead[3]).0, "to": made_at(&dead[1]).0}), "to"),
        (json!({"rate_per_s": 0}), "rate_per_s"),
        (json!({"rate_per_s": 1001}), "rate_per_s"),
    ] {
        let problem = tenant.post(&path, &wrong).await.problem(400, "invalid_request");
        assert_eq!(faulty(&problem), [field], "{problem}");
    }
    let actions: Vec<_> = tenant.list("/audit").await.iter().map(|row| text(row, "action")).collect();
    assert_eq!(actions.iter().filter(|action| *action == "deliveries.replayed").count(), 2, "{actions:?}");
}

#[tokio::test]
async fn a_replay_keeps_its_rate_shows_its_progress_and_can_be_stopped() {
    const DEAD: usize = 30;
    let (hub, at) = (Hub::start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let endpoint = tenant.endpoint(&at, "/hook", &["a.b"], json!({"retry_schedule": [0]})).await;
    at.set_script("/hook", Script::statuses(&[404]));
    for n in 0..DEAD {
        let _ = tenant.publish(&json!({"type": "a.b", "data": {"n": n}})).await;
    }
    let _ = all_in(&tenant, &endpoint, "dead", DEAD).await;
    at.set_script("/hook", Script::default());
    let path = format!("/endpoints/{endpoint}/replay");
    let begun = tenant.post(&path, &json!({"rate_per_s": 2})).await.expect(202);
    assert_eq!(begun["replayed"], DEAD, "{begun}");
    let seen = progress(&tenant, &endpoint, &begun["at"]).await;
    let time = |name: &str| text(&seen, name).parse::<jiff::Timestamp>().expect("a time");
    let start: jiff::Timestamp = text(&begun, "at").parse().expect("a time");
    // Half a second between two starts.
    let spread = time("last_at").duration_since(start).as_millis();
    assert!((14_000..=16_000).contains(&spread), "{DEAD} are spread over {spread} ms");
    let _ = at.wait_for("/hook", DEAD + 2, SOON).await.expect("it begins");
    let seen = progress(&tenant, &endpoint, &begun["at"]).await;
    assert!(seen["waiting"].as_u64().is_some_and(|waiting| waiting > 0), "{seen}");

    let stopped = hub.delete(&tenant.path(&path)).await.expect(200);
    let aborted = stopped["aborted"].as_u64().expect("a number") as usize;
    assert!((1..DEAD - 1).contains(&aborted), "{stopped}");
    let rest = all_in(&tenant, &endpoint, "dead", aborted).await;
    assert!(rest.iter().all(|row| row["code"] == "http_404"), "they are dead as they were: {rest:?}");
    let after = until("what had begun to end", async || {
        let seen = progress(&tenant, &endpoint, &begun["at"]).await;
        let over = seen["waiting"] == 0 && seen["running"] == 0 && seen["retrying"] == 0;
        if over { Ok(seen) } else { Err(seen.to_string()) }
    })
    .await;
    assert_eq!(after["delivered"], DEAD - aborted, "{after}");
    assert_eq!(at.requests("/hook").len(), 2 * DEAD - aborted, "something was sent after the stop");
    assert_eq!(hub.delete(&tenant.path(&path)).await.expect(200)["aborted"], 0, "nothing is left to stop");
    // What was stopped can be replayed again, and nothing is lost.
    let again = tenant.post(&path, &json!({})).await.expect(202);
    assert_eq!(again["replayed"], aborted, "{again}");
    let _ = all_in(&tenant, &endpoint, "delivered", DEAD).await;
}
