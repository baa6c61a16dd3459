use std::time::Duration;

use serde_json::{Value, json};
use switchyard_simulators::{
    clock::{Clock as _, SystemClock},
    subscriber::{Script, Step},
};
use switchyard_tests::{
    api::{text, until},
    place::Place,
    world::subscriber,
};

switchyard_tests::on_both_databases! {
    e53_a_wish_to_be_left_alone_is_kept_within_a_day_and_holds_the_whole_lane,
    e54_one_endpoint_that_is_down_keeps_nothing_from_the_ninety_nine_others,
}

/// Endpoints of which one is down.
const ENDPOINTS: usize = 100;
const EVENTS: usize = 20;

/// A crowd on a busy machine.
const AT_LAST: Duration = Duration::from_secs(60);

/// The date in so many seconds, as HTTP writes it.
fn http_date(seconds: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(SystemClock.now_ms()).expect("a time of today");
    let at = at + jiff::SignedDuration::from_secs(seconds);
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn seconds_between(from: &Value, to: &Value) -> i64 {
    let at = |value: &Value| value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()).expect("a time");
    at(to).duration_since(at(from)).as_secs()
}

async fn e53_a_wish_to_be_left_alone_is_kept_within_a_day_and_holds_the_whole_lane(place: &Place) {
    let (hub, at) = (place.builder().start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    const DAY: i64 = 86_400;
    // Without a wish the table waits 20 to 24 s at 60 times the speed of life.
    let ours = 19..=30;
    let cases = [
        ("600".to_owned(), 598..=660),
        (http_date(900), 840..=960),
        (http_date(-900), ours.clone()),
        ("-5".to_owned(), ours.clone()),
        ("0".to_owned(), ours.clone()),
        ("soon".to_owned(), ours.clone()),
        ("1e9".to_owned(), ours.clone()),
        ("315360000".to_owned(), DAY - 2..=DAY + 60),
        ("99999999999999999999999999".to_owned(), DAY - 2..=DAY + 60),
        (http_date(10 * 365 * DAY), DAY - 2..=DAY + 60),
    ];
    for (number, (wish, expected)) in cases.into_iter().enumerate() {
        for status in [429, 503] {
            let (path, event_type) = (format!("/{number}/{status}"), format!("case.n{number}_{status}"));
            let step = Step::Status { status, retry_after: Some(wish.clone()), body: String::new() };
            at.set_script(&path, Script::always(step));
            let more = json!({"retry_schedule": [0, 1200], "concurrency": 1});
            let endpoint = tenant.endpoint(&at, &path, &[&event_type], more).await;
            let _ = tenant.publish(&json!({"type": event_type, "data": {}})).await;
            let waiting = tenant.delivery_in(&endpoint, "waiting").await;
            let waits = seconds_between(&waiting["attempts"][0]["started_at"], &waiting["next_attempt_at"]);
            assert!(expected.contains(&waits), "{status} with {wish:?} waits {waits} s, not {expected:?}: {waiting:#}");
            if *expected.start() > *ours.end() {
                let _ = tenant.publish(&json!({"type": event_type, "data": {"n": 2}})).await;
                until("the next one to wait too", async || {
                    let rows = tenant.list(&format!("/deliveries?target={endpoint}&state=waiting")).await;
                    if rows.len() == 2 { Ok(()) } else { Err(json!(rows).to_string()) }
                })
                .await;
                assert_eq!(at.requests(&path).len(), 1, "{status} with {wish:?}: the endpoint was not left alone");
            }
        }
    }
}

async fn e54_one_endpoint_that_is_down_keeps_nothing_from_the_ninety_nine_others(place: &Place) {
    let (hub, at) = (place.builder().start().await, subscriber().await);
    let tenant = hub.tenant("acme").await;
    let down = tenant.endpoint(&at, "/down", &["a.b"], json!({"timeout_ms": 500})).await;
    at.set_script("/down", Script::always(Step::Hang));
    for n in 1..ENDPOINTS {
        let _ = tenant.endpoint(&at, &format!("/well/{n}"), &["a.b"], json!({})).await;
    }
    for n in 0..EVENTS {
        let _ = tenant.publish(&json!({"type": "a.b", "data": {"n": n}})).await;
    }
    let well = (ENDPOINTS - 1) * EVENTS;
    let arrived = at.wait_for_where(well, AT_LAST, |request| request.path.starts_with("/well/")).await;
    assert_eq!(arrived.expect("the others are served").len(), well, "an event came twice");
    let _ = at.wait_for("/down", 1, AT_LAST).await.expect("the dead one is tried");
    let rows = tenant.list(&format!("/deliveries?target={down}")).await;
    assert_eq!(rows.len(), EVENTS);
    assert!(rows.iter().all(|row| matches!(row["state"].as_str(), Some("waiting" | "running" | "queued"))), "{rows:?}");
    // Its breaker is seen as open, and what waits there is served once it is well again.
    until("its breaker to be seen", async || {
        let metrics = hub.get("/metrics").await.text;
        let open = metrics.lines().any(|line| line == "switchyard_breakers_open{kind=\"endpoint\"} 1");
        if open { Ok(()) } else { Err(metrics.lines().filter(|line| line.contains("breakers")).collect()) }
    })
    .await;
    at.set_script("/down", Script::default());
    until("all to be delivered", async || {
        let open = tenant.list(&format!("/deliveries?target={down}&state=queued,waiting,running")).await;
        for row in open.iter().filter(|row| row["state"] == "waiting") {
            // By hand, so that nobody waits for the retry table.
            let _ = tenant.post(&format!("/deliveries/{}/retry", text(row, "id")), &json!({})).await;
        }
        if open.is_empty() { Ok(()) } else { Err(format!("{} are open", open.len())) }
    })
    .await;
}
