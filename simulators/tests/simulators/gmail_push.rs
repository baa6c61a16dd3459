//! Announcements: asked for, pushed until acknowledged, repeated, reordered, forged.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use http::Method;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::{Value, json};
use switchyard_simulators::{
    faults::Fault,
    gmail::{Forgery, PushOrder, Subscription, TOPIC, Topic},
    subscriber::{self, Received, Script},
};

use crate::{
    gmail_support::{World, mail, world, world_with},
    support::{LIMIT, Running, subscriber},
};

const PUSHER: &str = "push-sa@hub-test.iam.gserviceaccount.com";

async fn watched(world: &World) -> Running<subscriber::Handle> {
    let hub = subscriber().await;
    world.gmail.subscribe(Subscription::new(hub.url("/in"), PUSHER));
    watch(world).await;
    hub.wait_for("/in", 1, LIMIT).await.unwrap();
    hub
}

async fn watch(world: &World) -> Value {
    let wanted = json!({"topicName": TOPIC, "labelIds": ["INBOX", "SENT"], "labelFilterBehavior": "include"});
    world.call(Method::POST, "/watch", &wanted).await.expect(200)
}

fn envelope(request: &Received) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

fn news(request: &Received) -> Value {
    let data = envelope(request)["message"]["data"].as_str().unwrap().to_owned();
    serde_json::from_slice(&URL_SAFE.decode(data).unwrap()).unwrap()
}

fn token(request: &Received) -> String {
    request.header("authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned()
}

#[tokio::test]
async fn a_watch_announces_at_once_and_every_change_after_it() {
    let world = world().await;
    let hub = watched(&world).await;
    world.gmail.receive(mail("a", "<a@x.test>", "x"));
    let requests = hub.wait_for("/in", 2, LIMIT).await.unwrap();
    let body = envelope(&requests[1]);
    let message = &body["message"];
    assert_eq!((&message["messageId"], &message["publishTime"]), (&message["message_id"], &message["publish_time"]));
    assert_eq!(body["subscription"], "projects/hub-test/subscriptions/gmail-push");
    let news = news(&requests[1]);
    assert_eq!(news, json!({"emailAddress": "office@firma.test", "historyId": world.gmail.history_id().to_string()}));
    // What nobody asked for is not announced.
    world.gmail.receive_with_labels(mail("spam", "<s@x.test>", "x"), &["SPAM"]);
    world.gmail.receive(mail("b", "<b@x.test>", "x"));
    assert!(world.gmail.wait_for_acks(3, LIMIT).await);
    assert_eq!(world.gmail.pushes().len(), 3);
}

#[tokio::test]
async fn a_push_is_signed_with_a_published_key_over_the_claims_of_its_subscription() {
    let world = world().await;
    let hub = watched(&world).await;
    let token = token(&hub.requests("/in")[0]);
    let keys: JwkSet = serde_json::from_value(world.google.signing_keys().jwks()).unwrap();
    let header = jsonwebtoken::decode_header(&token).unwrap();
    let key = DecodingKey::from_jwk(keys.find(&header.kid.unwrap()).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_exp = false;
    validation.set_audience(&[hub.url("/in")]);
    let claims = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap().claims;
    assert_eq!((&claims["email"], &claims["email_verified"]), (&json!(PUSHER), &json!(true)));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
}

#[tokio::test]
async fn a_push_comes_again_until_it_is_acknowledged() {
    let world = world().await;
    let hub = watched(&world).await;
    hub.set_script("/in", Script::statuses(&[500, 401, 429, 204]));
    world.gmail.receive(mail("a", "<a@x.test>", "x"));
    assert!(world.gmail.wait_for_acks(2, LIMIT).await);
    let pushed = world.gmail.pushes().pop().unwrap();
    assert_eq!((pushed.statuses, pushed.acked), (vec![500, 401, 429, 204], true));
    let ids: Vec<Value> =
        hub.requests("/in")[1..].iter().map(|request| envelope(request)["message"]["messageId"].clone()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn duplicates_have_the_same_message_id_or_another_one() {
    let world = world().await;
    let hub = watched(&world).await;
    world.gmail.faults().arm("push", Fault::Duplicate, 1);
    world.gmail.receive(mail("a", "<a@x.test>", "x"));
    assert!(world.gmail.wait_for_acks(3, LIMIT).await);
    world.gmail.republish(true);
    assert!(world.gmail.wait_for_acks(4, LIMIT).await);
    let ids: Vec<Value> =
        hub.requests("/in").iter().map(|request| envelope(request)["message"]["messageId"].clone()).collect();
    assert_eq!(ids[1], ids[2]);
    assert_ne!(ids[2], ids[3]);
    assert_eq!(news(&hub.requests("/in")[1]), news(&hub.requests("/in")[3]));
}

#[tokio::test]
async fn a_notification_can_be_overtaken_and_ids_can_be_numbers() {
    let world = world_with(|options| options.behaviour.numeric_history_id = true).await;
    let hub = watched(&world).await;
    world.gmail.faults().arm("push", Fault::OutOfOrder, 1);
    world.gmail.receive(mail("a", "<a@x.test>", "x"));
    world.gmail.receive(mail("b", "<b@x.test>", "x"));
    let requests = hub.wait_for("/in", 3, LIMIT).await.unwrap();
    let ids: Vec<u64> = requests.iter().map(|request| news(request)["historyId"].as_u64().unwrap()).collect();
    assert!(ids[1] > ids[2] && ids[2] > ids[0], "{ids:?}");
}

#[tokio::test]
async fn a_watch_ends_after_seven_days_and_a_new_one_replaces_it() {
    let world = world().await;
    let hub = watched(&world).await;
    let answer = watch(&world).await;
    let expires: i64 = answer["expiration"].as_str().unwrap().parse().unwrap();
    assert_eq!(expires, crate::support::NOW_MS + 7 * 86_400_000);
    // A thousand times as fast as in life.
    world.clock.advance(Duration::from_secs(7 * 86_400 / 1000 + 1));
    assert!(!world.gmail.is_watched());
    world.gmail.receive(mail("a", "<a@x.test>", "x"));
    watch(&world).await;
    assert!(world.gmail.is_watched());
    assert!(world.gmail.wait_for_acks(3, LIMIT).await);
    assert_eq!(hub.requests("/in").len(), 3, "nothing was announced in between");
    world.call(Method::POST, "/stop", &Value::Null).await.expect(204);
    assert!(!world.gmail.is_watched());
}

#[tokio::test]
async fn a_topic_must_be_there_and_gmail_must_be_allowed_to_publish() {
    let world = world().await;
    world.gmail.add_topic("projects/p/topics/closed", Topic { publisher: false });
    for (topic, status) in [("gmail", 400), ("projects/p/topics/none", 400), ("projects/p/topics/closed", 403)] {
        world.call(Method::POST, "/watch", &json!({"topicName": topic})).await.expect(status);
    }
    let wanted = json!({"topicName": TOPIC, "labelIds": ["Nothing"]});
    world.call(Method::POST, "/watch", &wanted).await.expect(400);
    world.call(Method::POST, "/watch", &json!({"topicName": TOPIC, "labelFilterBehavior": "some"})).await.expect(400);
    world
        .call(Method::POST, "/watch", &json!({"topicName": TOPIC, "labelFilterBehavior": "INCLUDE"}))
        .await
        .expect(200);
}

#[tokio::test]
async fn more_than_one_notification_a_second_is_dropped_where_that_is_wanted() {
    let world = world_with(|options| options.behaviour.limit_notifications = true).await;
    let hub = watched(&world).await;
    for n in 0..3 {
        world.gmail.receive(mail("a", &format!("<{n}@x.test>"), "x"));
    }
    world.clock.advance(Duration::from_millis(1));
    world.gmail.receive(mail("a", "<last@x.test>", "x"));
    hub.wait_for("/in", 3, LIMIT).await.unwrap();
    assert_eq!(world.gmail.pushes().len(), 3);
}

#[tokio::test]
async fn every_forgery_is_one_and_reaches_the_hub() {
    let world = world().await;
    let hub = watched(&world).await;
    let keys: JwkSet = serde_json::from_value(world.google.signing_keys().jwks()).unwrap();
    for forgery in Forgery::ALL {
        let order = PushOrder { forgery, ..PushOrder::default() };
        assert_eq!(world.gmail.push(&order).await.unwrap().status, 200);
        let request = hub.requests("/in").pop().unwrap();
        let good =
            request.headers.iter().filter(|(name, _)| name.as_str().eq_ignore_ascii_case("authorization")).count() == 1
                && is_good(&token(&request), &keys, &hub.url("/in"));
        assert!(!good, "{forgery:?}");
    }
    let body = PushOrder { body: Some("odd".to_owned()), ..PushOrder::default() };
    world.gmail.push(&body).await.unwrap();
    assert_eq!(hub.requests("/in").pop().unwrap().body, "odd".as_bytes());
}

/// Whether a token is what a careful receiver takes.
fn is_good(token: &str, keys: &JwkSet, audience: &str) -> bool {
    let Ok(header) = jsonwebtoken::decode_header(token) else { return false };
    let Some(key) = header.kid.as_deref().and_then(|id| keys.find(id)) else { return false };
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_exp = false;
    validation.set_audience(&[audience]);
    validation.set_issuer(&["https://accounts.google.com"]);
    let Ok(decoded) = jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(key).unwrap(), &validation) else {
        return false;
    };
    let (claims, now) = (decoded.claims, crate::support::NOW_MS / 1000);
    claims["exp"].as_i64().unwrap() > now
        && claims["iat"].as_i64().unwrap() <= now
        && claims["email"] == PUSHER
        && claims["email_verified"] == true
}
