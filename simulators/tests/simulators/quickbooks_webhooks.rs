//! Webhooks about changes in QuickBooks: both formats, signatures, repeats, and what waits behind a request that fails.

use serde_json::{Value, json};
use switchyard_simulators::{
    faults::Fault,
    quickbooks::{Forgery, Format, webhook::sign},
    subscriber::{Handle as Hub, Script, Step},
};

use crate::{
    quickbooks::{Books, REALM, VERIFIER},
    support::{LIMIT, Running, subscriber},
};

async fn listening() -> (Books, Running<Hub>) {
    let (books, hub) = (Books::open().await, subscriber().await);
    books.company.set_webhook_url(hub.url("/in/qbo"));
    (books, hub)
}

async fn bodies(hub: &Hub, count: usize) -> Vec<Value> {
    let requests = hub.wait_for("/in/qbo", count, LIMIT).await.unwrap();
    for request in &requests {
        assert_eq!(request.header("intuit-signature"), Some(sign(VERIFIER, &request.body).as_str()));
    }
    requests.iter().map(|request| request.json()).collect()
}

#[tokio::test]
async fn a_change_is_told_as_an_array_of_cloudevents() {
    let (books, hub) = listening().await;
    let id = books.customer("Kunde ApS").await;
    let body = bodies(&hub, 1).await.remove(0);
    let event = &body.as_array().unwrap()[0];
    assert_eq!((&event["type"], &event["intuitentityid"]), (&json!("qbo.customer.created.v1"), &json!(id)));
    assert_eq!((&event["specversion"], &event["intuitaccountid"]), (&json!("1.0"), &json!(REALM)));
    assert_eq!(event["time"], "2026-11-20T13:31:25.000851517Z");
}

#[tokio::test]
async fn the_older_format_comes_with_either_form_of_time() {
    let (books, hub) = listening().await;
    let formats = [(Format::Legacy, "2026-11-20T05:31:25-0800"), (Format::LegacyUtc, "2026-11-20T13:31:25.000Z")];
    for (count, (format, time)) in formats.into_iter().enumerate() {
        books.company.set_behaviour(|behaviour| behaviour.format = format);
        let id = books.customer(&format!("{format:?}")).await;
        let seen = hub.wait_for("/in/qbo", count + 1, LIMIT).await.unwrap();
        let body = seen.last().unwrap().json();
        let notification = &body["eventNotifications"][0];
        let entity = json!({"name": "Customer", "id": id, "operation": "Create", "lastUpdated": time});
        assert_eq!(
            (&notification["realmId"], &notification["dataChangeEvent"]["entities"][0]),
            (&json!(REALM), &entity)
        );
    }
}

#[tokio::test]
async fn a_request_that_fails_is_tried_again_and_later_changes_wait_behind_it() {
    let (books, hub) = listening().await;
    hub.set_script("/in/qbo", Script::statuses(&[503, 401, 200]));
    let first = books.customer("A").await;
    hub.wait_for("/in/qbo", 1, LIMIT).await.unwrap();
    let second = books.customer("B").await;
    let requests = hub.wait_for("/in/qbo", 4, LIMIT).await.unwrap();
    let of = |at: usize| requests[at].json()[0]["intuitentityid"].as_str().unwrap().to_owned();
    assert_eq!([of(0), of(1), of(2), of(3)], [first.clone(), first.clone(), first, second]);
    assert_eq!(requests[0].body, requests[2].body);
}

#[tokio::test]
async fn a_hub_that_never_answers_has_three_seconds() {
    let (books, hub) = listening().await;
    hub.set_script("/in/qbo", Script { steps: [Step::Hang].into(), ..Script::statuses(&[]) });
    books.customer("A").await;
    assert!(books.company.wait_for_webhooks(1, LIMIT).await);
    let sent = books.company.webhooks().remove(0);
    assert_eq!(sent.attempts[0].error.as_deref(), Some("no answer in time"));
    assert_eq!((sent.attempts[1].status, sent.taken), (Some(200), true));
}

#[tokio::test]
async fn webhooks_come_twice_late_badly_signed_and_in_another_order_on_request() {
    let (books, hub) = listening().await;
    let faults = books.company.faults();
    faults.arm("webhook.changes", Fault::Duplicate, 1);
    faults.arm("webhook.changes", Fault::Delay { ms: 60_000 }, 1);
    books.customer("A").await;
    let seen = bodies(&hub, 2).await;
    assert_eq!(seen[0], seen[1]);
    faults.arm("webhook.changes", Fault::WrongSignature, 1);
    hub.set_script("/in/qbo", Script::statuses(&[401, 200]));
    books.customer("B").await;
    let requests = hub.wait_for("/in/qbo", 4, LIMIT).await.unwrap();
    let signed =
        |at: usize| requests[at].header("intuit-signature") == Some(sign(VERIFIER, &requests[at].body).as_str());
    assert!(!signed(2) && signed(3) && requests[2].body == requests[3].body);
    // Several changes that are told together are turned round.
    faults.arm("webhook.changes", Fault::OutOfOrder, 1);
    books.company.set_behaviour(|behaviour| behaviour.lose_webhooks = true);
    books.customer("lost").await;
    books.company.set_behaviour(|behaviour| behaviour.lose_webhooks = false);
    let id = books.customer("C").await;
    let last = hub.wait_for("/in/qbo", 5, LIMIT).await.unwrap();
    assert_eq!(last[4].json()[0]["intuitentityid"], id.as_str());
    assert_eq!(books.company.untold(), 0);
}

#[tokio::test]
async fn the_same_bytes_are_sent_again_and_forged_ones_carry_no_good_signature() {
    let (books, hub) = listening().await;
    books.customer("A").await;
    bodies(&hub, 1).await;
    assert!(books.company.wait_for_webhooks(1, LIMIT).await);
    assert_eq!(books.company.replay(0).await.unwrap().status, Some(200));
    assert!(books.company.replay(9).await.is_none());
    let requests = hub.wait_for("/in/qbo", 2, LIMIT).await.unwrap();
    assert_eq!(requests[0].body, requests[1].body);
    for forgery in [Forgery::WrongKey, Forgery::NoSignature, Forgery::Reserialised, Forgery::AlteredBody] {
        books.company.forge(br#"[{"intuitentityid":"101"}]"#.to_vec(), forgery).await.unwrap();
    }
    let requests = hub.wait_for("/in/qbo", 6, LIMIT).await.unwrap();
    for request in &requests[2..] {
        assert_ne!(request.header("intuit-signature"), Some(sign(VERIFIER, &request.body).as_str()));
    }
}

#[test]
fn the_signature_is_the_one_of_intuits_own_library() {
    let body = r#"{"eventNotifications":[{"realmId":"1185883450","dataChangeEvent":{"entities":[{"name":"Customer","id":"1","operation":"Create","lastUpdated":"2015-10-05T14:42:19-0700"}]}}]}"#;
    assert_eq!(sign(VERIFIER, body.as_bytes()), "JC2GUwciPmRBwEO7WvrRmKqu9tGOKL8FFallocTFi8Q=");
}
