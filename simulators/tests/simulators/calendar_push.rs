//! Push channels: who is told, with which headers, for how long, and what else arrives.

use http::Method;
use serde_json::{Value, json};
use switchyard_simulators::{calendar::Forgery, faults::Fault, subscriber::Script};

use crate::{
    calendar_events::{Account, account, account_with, visit},
    support::{LIMIT, Running, subscriber},
};

const WATCH: &str = "/calendars/primary/events/watch";

fn channel(id: &str, hub: &Running<switchyard_simulators::subscriber::Handle>) -> Value {
    json!({ "id": id, "type": "web_hook", "address": hub.url("/in/gcal"), "token": "our secret", "params": { "ttl": "604800" } })
}

async fn watched() -> (Account, Running<switchyard_simulators::subscriber::Handle>, Value) {
    let (account, hub) = (account().await, subscriber().await);
    let made = account.call(Method::POST, WATCH, &channel("channel-1", &hub)).await.expect(200);
    (account, hub, made)
}

#[tokio::test]
async fn the_sync_message_comes_before_the_answer_and_every_change_is_told_with_gaps() {
    let (account, hub, made) = watched().await;
    assert_eq!(hub.requests("/in/gcal").len(), 1, "before the answer");
    assert_eq!((&made["kind"], made["expiration"].is_string()), (&json!("api#channel"), true));
    account.insert(&visit("abc01")).await.expect(200);
    account.cancel("primary", "abc01").unwrap();
    let told = hub.wait_for("/in/gcal", 3, LIMIT).await.unwrap();
    let header = |at: usize, name: &str| told[at].header(name).map(str::to_owned);
    assert_eq!(header(0, "x-goog-resource-state").as_deref(), Some("sync"));
    assert_eq!(header(0, "x-goog-message-number").as_deref(), Some("1"));
    for name in ["x-goog-channel-id", "x-goog-channel-expiration", "x-goog-resource-id", "x-goog-resource-uri"] {
        assert!(header(1, name).is_some(), "{name}");
    }
    assert_eq!(header(1, "x-goog-resource-state").as_deref(), Some("exists"));
    assert_eq!(header(1, "x-goog-channel-token").as_deref(), Some("our secret"));
    assert_eq!(header(1, "x-goog-resource-id").as_deref(), made["resourceId"].as_str());
    let number = |at: usize| header(at, "x-goog-message-number").unwrap().parse::<u64>().unwrap();
    assert!(number(1) > 1 && number(2) > 1 && number(1) != number(2));
    assert!(told.iter().all(|request| request.body.is_empty()));
}

#[tokio::test]
async fn an_id_is_used_once_a_stopped_channel_is_silent_and_two_overlap() {
    let (account, hub, made) = watched().await;
    account.call(Method::POST, WATCH, &channel("channel-1", &hub)).await.expect(400);
    account.call(Method::POST, WATCH, &channel("channel-2", &hub)).await.expect(200);
    assert_eq!(account.live_channels().len(), 2);
    account.make("primary", &visit("abc01")).unwrap();
    hub.wait_for("/in/gcal", 4, LIMIT).await.unwrap();
    let stop = json!({ "id": "channel-1", "resourceId": made["resourceId"] });
    account.call(Method::POST, "/channels/stop", &json!({ "id": "channel-1", "resourceId": "x" })).await.expect(404);
    account.call(Method::POST, "/channels/stop", &stop).await.expect(204);
    account.call(Method::POST, "/channels/stop", &stop).await.expect(404);
    account.cancel("primary", "abc01").unwrap();
    hub.wait_for("/in/gcal", 5, LIMIT).await.unwrap();
    assert!(account.wait_for_notifications(5, LIMIT).await);
    assert_eq!(hub.requests("/in/gcal").len(), 5);
}

#[tokio::test]
async fn a_channel_ends_and_one_that_was_stopped_may_speak_on() {
    let (account, hub) = (account_with(|options| options.orphan_posts = 1).await, subscriber().await);
    let made = account.call(Method::POST, WATCH, &channel("channel-1", &hub)).await.expect(200);
    let life = made["expiration"].as_str().unwrap().parse::<i64>().unwrap() - crate::support::NOW_MS;
    assert_eq!(life, 604_800, "a week, a thousand times as fast");
    let stop = json!({ "id": "channel-1", "resourceId": made["resourceId"] });
    account.call(Method::POST, "/channels/stop", &stop).await.expect(204);
    account.make("primary", &visit("abc01")).unwrap();
    account.make("primary", &visit("abc02")).unwrap();
    hub.wait_for("/in/gcal", 2, LIMIT).await.unwrap();
    account.call(Method::POST, WATCH, &channel("channel-2", &hub)).await.expect(200);
    assert!(account.expire_channel("channel-2") && account.live_channels().is_empty());
    account.make("primary", &visit("abc03")).unwrap();
    assert_eq!(hub.requests("/in/gcal").len(), 3);
}

#[tokio::test]
async fn a_channel_that_google_would_refuse_is_refused() {
    let (account, hub) = (account_with(|options| options.plain_http = false).await, subscriber().await);
    account.call(Method::POST, WATCH, &channel("channel-1", &hub)).await.expect(400);
    let mut good = channel("channel-1", &hub);
    good["address"] = json!("https://hub.example.test/in");
    for (name, value) in [
        ("id", json!("x".repeat(65))),
        ("id", json!("with space")),
        ("type", json!("carrier_pigeon")),
        ("token", json!("x".repeat(257))),
        ("params", json!({ "ttl": "-1" })),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        account.call(Method::POST, WATCH, &bad).await.expect(400);
    }
    assert!(account.channels().is_empty());
}

#[tokio::test]
async fn notifications_are_retried_on_503_and_not_on_400_and_can_be_repeated_and_forged() {
    let (account, hub, _) = watched().await;
    hub.set_script("/in/gcal", Script::statuses(&[503, 502, 200, 400]));
    account.make("primary", &visit("abc01")).unwrap();
    assert!(account.wait_for_notifications(2, LIMIT).await);
    assert_eq!(account.notifications()[1].statuses, [Some(503), Some(502), Some(200)]);
    account.make("primary", &visit("abc02")).unwrap();
    assert!(account.wait_for_notifications(3, LIMIT).await);
    assert_eq!(account.notifications()[2].statuses, [Some(400)]);
    assert_eq!(account.repeat(5).await.unwrap().len(), 15);
    account.forge(&Forgery { token: Some("guess".to_owned()), ..Forgery::default() }).await.unwrap();
    let last = hub.requests("/in/gcal").pop().unwrap();
    assert_eq!(last.header("x-goog-channel-token"), Some("guess"));
    account.faults().arm("webhook.notification", Fault::WrongSignature, 1);
    account.make("primary", &visit("abc03")).unwrap();
    assert!(account.wait_for_notifications(4, LIMIT).await);
    assert_eq!(hub.requests("/in/gcal").pop().unwrap().header("x-goog-channel-token"), Some("our secretx"));
}
