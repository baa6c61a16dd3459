use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use switchyard_tests::{
    api::{Api, Reply, SOON, text, until},
    hub::Hub,
    world::{ACCOUNT_SID, subscriber},
};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::senders::{STANDARD_KEY, Sender, Signed, TOKEN, now, push_plugins, twilio_signature};

/// How often the same is sent, and how many of them together: one address has only so many connections.
const REPETITIONS: usize = 1_000;
const TOGETHER: usize = 250;

/// Sends the same request a thousand times, each from a task of its own; all are answered.
async fn a_thousand(api: &Api, path: &str, fields: &[(&str, &str)], body: &str) -> Vec<Reply> {
    let gate = Arc::new(Semaphore::new(TOGETHER));
    let fields: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let (path, body) = (path.to_owned(), Bytes::from(body.to_owned()));
    let tasks: Vec<_> = (0..REPETITIONS)
        .map(|_| {
            let (api, gate, path, fields, body) =
                (api.clone(), gate.clone(), path.clone(), fields.clone(), body.clone());
            tokio::spawn(async move {
                let _turn = gate.acquire().await.expect("the gate stays open");
                let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                api.raw("POST", &path, &fields, body).await
            })
        })
        .collect();
    let mut replies = Vec::with_capacity(REPETITIONS);
    for task in tasks {
        replies.push(task.await.expect("each is answered"));
    }
    replies
}

#[tokio::test]
async fn g66_a_thousand_duplicates_at_once_are_one_event_and_all_are_answered_well() {
    let hub = Hub::builder().set("SWITCHYARD_RATES__SOURCE_BURST", "5000").start().await;
    push_plugins(&hub).await;
    let (sender, at) = (Sender::standard(&hub, "sender", &STANDARD_KEY, 300).await, subscriber().await);
    let _ = sender.tenant.endpoint(&at, "/hook", &["order.placed"], json!({})).await;
    let body = r#"{"order":1}"#;
    let signed = Signed::new(&STANDARD_KEY, "msg_1", &now().to_string(), body.as_bytes());
    for reply in a_thousand(&hub.without_key(), &sender.path, &signed.fields(), body).await {
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    assert_eq!(sender.counts().await, (1, 0, 0));

    // The same through the interface, where the first is told apart from the others.
    let event = json!({"type": "order.placed", "id": "order-2", "data": {"order": 2}}).to_string();
    let replies =
        a_thousand(&hub, &sender.tenant.path("/events"), &[("content-type", "application/json")], &event).await;
    let said: Vec<Value> = replies.into_iter().map(|reply| reply.expect(202)).collect();
    assert!(said.iter().all(|said| said["id"] == "order-2"));
    assert_eq!(said.iter().filter(|said| said["duplicate"] == false).count(), 1);
    assert_eq!(sender.counts().await, (2, 0, 0));

    let arrived = at.wait_for("/hook", 2, SOON).await.expect("both are delivered");
    assert_eq!(arrived.len(), 2);
    let deliveries = sender.tenant.list("/deliveries?limit=200").await;
    assert_eq!(deliveries.len(), 2, "{deliveries:?}");
}

#[tokio::test]
async fn g67_what_a_provider_says_late_does_not_undo_what_it_said_before() {
    let hub = Hub::start().await;
    push_plugins(&hub).await;
    let sender = Sender::twilio(&hub, "sender").await;
    for (count, status) in [(1, "delivered"), (2, "sent"), (3, "queued")] {
        let form =
            [("AccountSid", ACCOUNT_SID), ("MessageSid", "SM1"), ("MessageStatus", status), ("To", "+4520123456")];
        let body = format!("AccountSid={ACCOUNT_SID}&MessageSid=SM1&MessageStatus={status}&To=%2B4520123456");
        let signature = twilio_signature(TOKEN, &sender.url, &form);
        let fields =
            [("content-type", "application/x-www-form-urlencoded"), ("x-twilio-signature", signature.as_str())];
        let reply = hub.without_key().raw("POST", &sender.path, &fields, body).await;
        assert_eq!(reply.status, 200, "{status}: {}", reply.text);
        until("the callback to be handled", async || {
            let mut handled = sender.tenant.list("/deliveries?target=plugin:twilio&state=delivered").await;
            handled.retain(|delivery| delivery["event_type"] == "_twilio.callback");
            if handled.len() == count { Ok(()) } else { Err(json!(handled).to_string()) }
        })
        .await;
    }
    let said = sender.tenant.list("/events?type=sms.status").await;
    assert_eq!(said.len(), 1, "{said:?}");
    let event = sender.tenant.get(&format!("/events/{}", text(&said[0], "id"))).await.expect(200);
    assert_eq!(event["data"]["status"], "delivered", "{event}");
}

/// Sends a captured request until its window is over, as an observer of the answers sees it.
async fn until_refused(hub: &Hub, path: &str, signed: &Signed, body: &'static str) {
    let refused = async {
        loop {
            let reply = hub.without_key().raw("POST", path, &signed.fields(), body).await;
            match reply.status {
                200 => sleep(Duration::from_millis(100)).await,
                status => return assert_eq!(status, 401, "{}", reply.text),
            }
        }
    };
    timeout(SOON * 2, refused).await.expect("the window ends");
}

async fn forget_dedupe_keys(hub: &Hub) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(hub.database());
    let pool = sqlx::SqlitePool::connect_with(options).await.expect("the file opens");
    let forgotten = sqlx::raw_sql("delete from dedupe").execute(&pool).await.expect("the statement runs");
    assert_eq!(forgotten.rows_affected(), 1);
    pool.close().await;
}

#[tokio::test]
async fn g68_a_captured_request_is_a_duplicate_inside_its_window_and_refused_after_it() {
    let mut hub = Hub::start().await;
    push_plugins(&hub).await;
    let sender = Sender::standard(&hub, "sender", &STANDARD_KEY, 6).await;
    let body = r#"{"order":1}"#;
    let signed = Signed::new(&STANDARD_KEY, "msg_1", &now().to_string(), body.as_bytes());
    let first = hub.without_key().raw("POST", &sender.path, &signed.fields(), body).await;
    assert_eq!(first.status, 200, "{}", first.text);
    // Inside the window: the same answer, and no second event.
    let again = hub.without_key().raw("POST", &sender.path, &signed.fields(), body).await;
    assert!(matches!(again.status, 200 | 401), "{}", again.text);
    until_refused(&hub, &sender.path, &signed, body).await;
    assert_eq!(sender.tenant.list("/events").await.len(), 1);
    // Long after it, when nothing remembers the request: the signature alone refuses it.
    assert!(hub.stop().await.success());
    forget_dedupe_keys(&hub).await;
    hub.restart().await;
    let late = hub.without_key().raw("POST", &sender.path, &signed.fields(), body).await;
    assert_eq!(late.status, 401, "{}", late.text);
    let events = hub.get(&sender.tenant.path("/events")).await.expect(200);
    assert_eq!(events["data"].as_array().map(Vec::len), Some(1), "{events}");
    let rejections = hub.get(&sender.tenant.path("/rejections")).await.expect(200);
    assert!(text(&rejections["data"][0], "reason").contains("too old"), "{rejections}");
}
