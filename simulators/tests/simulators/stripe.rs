//! Stripe's webhooks: how they are signed, repeated, disturbed and forged.

use std::time::Duration;

use serde_json::json;
use switchyard_simulators::{
    faults::Fault,
    stripe::{Forgery, Sending, sign},
    subscriber::Script,
};

use crate::support::{LIMIT, NOW_MS, call, get, post_json, stripe, subscriber};

#[test]
fn the_signature_is_that_of_the_recorded_cases() {
    let body = "{\n  \"id\": \"evt_test_webhook\",\n  \"object\": \"event\"\n}";
    let tag = sign("whsec_test_secret", 1_700_000_000, body.as_bytes());
    assert_eq!(tag, "4f1cd7feda9826e746b7d482c4badebb657398df1099e1046364f6196a230150");
}

#[tokio::test]
async fn an_event_goes_out_by_itself_and_is_tried_until_it_is_taken() {
    let (stripe, sink) = (stripe().await, subscriber().await);
    sink.set_script("/hook", Script::statuses(&[503, 500, 200]));
    stripe.set_url(sink.url("/hook"));
    let subscription = stripe.subscribe("cus_1", "trialing");
    assert!(stripe.wait_until_taken(LIMIT).await);
    let attempts = stripe.attempts();
    assert_eq!(attempts.iter().map(|attempt| attempt.status).collect::<Vec<_>>(), [Some(503), Some(500), Some(200)]);
    stripe.set_status(&subscription, "active").unwrap();
    assert!(stripe.wait_until_taken(LIMIT).await);
    let body = &stripe.events()[1].body;
    assert_eq!(body["data"]["previous_attributes"], json!({"status": "trialing"}));
    assert_eq!(body["created"], NOW_MS / 1000);
    stripe.set_status(&subscription, "canceled").unwrap();
    assert!(stripe.set_status(&subscription, "active").is_err(), "what is over is not taken up again");
}

#[tokio::test]
async fn faults_double_disorder_and_spoil_webhooks() {
    let (stripe, sink) = (stripe().await, subscriber().await);
    stripe.set_url(sink.url("/hook"));
    stripe.faults().arm("webhook.customer.subscription.created", Fault::OutOfOrder, 1);
    stripe.faults().arm("webhook.customer.subscription.updated", Fault::Duplicate, 1);
    let subscription = stripe.subscribe("cus_1", "trialing");
    stripe.set_status(&subscription, "active").unwrap();
    assert!(stripe.wait_until_taken(LIMIT).await);
    let events = stripe.events();
    let sent: Vec<String> = stripe.attempts().into_iter().map(|attempt| attempt.event).collect();
    assert_eq!(sent, [&events[1].id, &events[1].id, &events[0].id].map(Clone::clone));
    stripe.faults().arm("webhook.*", Fault::WrongSignature, 1);
    let event = stripe.happen("payout.paid", json!({"id": "po_1"}));
    assert!(stripe.wait_until_taken(LIMIT).await);
    let genuine: Vec<bool> =
        stripe.attempts().iter().filter(|attempt| attempt.event == event).map(|attempt| attempt.genuine).collect();
    assert_eq!(genuine, [false, true], "a spoilt webhook is not taken, whatever the answer");
}

#[tokio::test]
async fn both_secrets_sign_while_one_is_rolled() {
    let (stripe, sink) = (stripe().await, subscriber().await);
    stripe.set_url(sink.url("/hook"));
    stripe.hold();
    stripe.rotate_secret("whsec_2");
    let event = stripe.happen("payout.paid", json!({"id": "po_1"}));
    assert!(stripe.attempts().is_empty(), "it is held");
    stripe.send(&event, &Sending::default()).await.unwrap();
    stripe.end_rotation();
    stripe.send(&event, &Sending { forgery: Forgery::None, age_s: 60 }).await.unwrap();
    let body = stripe.events()[0].body.to_string();
    let tag = |secret: &str, age: i64| format!("v1={}", sign(secret, NOW_MS / 1000 - age, body.as_bytes()));
    let headers: Vec<String> = stripe.attempts().into_iter().filter_map(|attempt| attempt.signature).collect();
    assert!(headers[0].contains(&tag("whsec_1", 0)) && headers[0].contains(&tag("whsec_2", 0)), "{}", headers[0]);
    assert!(!headers[1].contains(&tag("whsec_1", 60)) && headers[1].contains(&tag("whsec_2", 60)), "{}", headers[1]);
    stripe.send(&event, &Sending { forgery: Forgery::NoSignature, age_s: 0 }).await.unwrap();
    assert_eq!(stripe.attempts()[2].signature, None);
}

#[tokio::test]
async fn events_can_be_read_with_the_key_and_steered_from_outside() {
    let stripe = stripe().await;
    let base = stripe.base_url();
    let made = post_json(&format!("{base}/_sim/subscribe"), &json!({"customer": "cus_1"})).await.expect(200);
    let order = json!({"subscription": made["subscription"], "status": "past_due"});
    let _ = post_json(&format!("{base}/_sim/status"), &order).await.expect(200);
    get(&format!("{base}/v1/events")).await.expect(401);
    let read = async |path: &str| {
        let headers = [("authorization", "Bearer sk_1")];
        call(http::Method::GET, &format!("{base}{path}"), &headers, "").await.unwrap()
    };
    let page = read("/v1/events?limit=1").await.expect(200);
    assert_eq!((&page["has_more"], &page["data"][0]["type"]), (&json!(true), &json!("customer.subscription.updated")));
    let after = page["data"][0]["id"].as_str().unwrap();
    let page = read(&format!("/v1/events?starting_after={after}")).await.expect(200);
    assert_eq!((&page["has_more"], &page["data"][0]["type"]), (&json!(false), &json!("customer.subscription.created")));
    let subscription = made["subscription"].as_str().unwrap();
    assert_eq!(read(&format!("/v1/subscriptions/{subscription}")).await.expect(200)["status"], "past_due");
    read("/v1/subscriptions/sub_none").await.expect(404);
    let sent = post_json(&format!("{base}/_sim/send"), &json!({"event": after})).await;
    assert_eq!(sent.status, 409, "there is no URL yet");
    assert!(!stripe.wait_until_taken(Duration::from_millis(1)).await);
}
