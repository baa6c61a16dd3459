//! The command `sms.send`, also when its answer is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use std::time::Duration;

use serde_json::{Value, json};
use switchyard_sdk::testing::{Answer, MockHost, REFERENCE};
use switchyard_sdk::{Event, Output, PluginError, Reason};
use twilio::Twilio;

const POST: &str = "/2010-04-01/Accounts/AC1/Messages.json";

fn send(host: &MockHost) -> Result<Output, PluginError> {
    let config = json!({ "account_sid": "AC1", "from": "+4570000001" });
    host.handle::<Twilio>(config, Event::new("sms.send", json!({ "to": "+4520123456", "body": "Hej & velkommen" })))
}

fn message(sid: &str, created: &str) -> Value {
    json!({
        "sid": sid, "status": "queued", "from": "+4570000001", "to": "+4520123456", "body": "Hej & velkommen",
        "direction": "outbound-api", "date_created": created, "date_sent": null
    })
}

fn page(messages: Vec<Value>) -> Answer {
    Answer::json(200, json!({ "messages": messages, "next_page_uri": null }))
}

const AFTER: &str = "Fri, 20 Nov 2026 11:59:55 +0000";

#[test]
fn a_message_is_sent_with_a_callback_that_carries_our_reference() {
    let host = MockHost::new().answer("twilio", "POST", POST, Answer::json(201, message("SM1", AFTER)));
    let output = send(&host).unwrap();
    let body = String::from_utf8(host.requests()[0].body.clone().unwrap()).unwrap();
    let expected = format!(
        "To=%2B4520123456&From=%2B4570000001&Body=Hej%20%26%20velkommen&StatusCallback=https%3A%2F%2Fhub.test%2Fin%2F\
         src_0%2Fstatus%3Fref%3D{REFERENCE}"
    );
    assert_eq!(body, expected);
    assert_eq!(output.events[0].event_type, "sms.sent");
    assert_eq!(output.events[0].data["message_id"], "SM1");
    assert_eq!(output.events[0].dedupe_key.as_deref(), Some("twilio:AC1:message:SM1:sent"));
}

#[test]
fn a_lost_answer_is_looked_up_and_the_message_adopted() {
    let host = MockHost::new().answer("twilio", "POST", POST, Answer::lost(Duration::from_secs(10))).answer(
        "twilio",
        "GET",
        POST,
        page(vec![message("SM0", "Fri, 20 Nov 2026 08:00:00 +0000"), message("SM1", AFTER)]),
    );
    let output = send(&host).unwrap();
    assert_eq!(output.events[0].data["message_id"], "SM1");
    assert_eq!(host.calls().iter().filter(|call| call.starts_with("POST")).count(), 1);
    let path = &host.requests()[1].path;
    assert!(path.ends_with("?To=%2B4520123456&From=%2B4570000001&DateSent%3E=2026-11-20&PageSize=100"), "{path}");
}

#[test]
fn another_commands_message_is_not_adopted() {
    let host = MockHost::new()
        .answer("twilio", "POST", POST, Answer::json(201, message("SM1", AFTER)))
        .answer("twilio", "POST", POST, Answer::lost(Duration::from_secs(10)))
        .answer("twilio", "GET", POST, page(vec![message("SM1", AFTER)]))
        .answer("twilio", "POST", POST, Answer::json(201, message("SM2", AFTER)));
    assert_eq!(send(&host).unwrap().events[0].data["message_id"], "SM1");
    host.next_reference("ffffffffffffffffffffffffffffffff");
    assert_eq!(send(&host).unwrap().events[0].data["message_id"], "SM2");
}

#[test]
fn a_message_that_may_still_be_under_way_is_not_sent_twice() {
    let host = MockHost::new().answer("twilio", "POST", POST, Answer::lost(Duration::from_secs(1))).answer(
        "twilio",
        "GET",
        POST,
        page(vec![]),
    );
    let error = send(&host).unwrap_err();
    let PluginError::Retry { error, after } = error else { panic!("{error}") };
    assert_eq!((error.reason, after), (Reason::UnknownOutcome, Some(Duration::from_secs(4))));
    assert_eq!(host.calls().len(), 2);
}

#[test]
fn a_message_never_found_is_sent_at_most_three_times() {
    let mut host = MockHost::new();
    for _ in 0..3 {
        host = host.answer("twilio", "POST", POST, Answer::lost(Duration::from_secs(10))).answer(
            "twilio",
            "GET",
            POST,
            page(vec![]),
        );
    }
    let error = send(&host).unwrap_err();
    assert_eq!(error.detail().reason, Reason::UnknownOutcome);
    assert_eq!(host.calls().iter().filter(|call| call.starts_with("POST")).count(), 3);
}

#[test]
fn a_callback_that_is_faster_than_the_command_does_not_take_its_event_away() {
    let host = MockHost::new().answer("twilio", "POST", POST, Answer::json(201, message("SM1", AFTER)));
    let callback = json!({ "message_id": "SM1", "account": "AC1", "status": "sent", "hub_ref": REFERENCE });
    let event = Event::new("_twilio.callback", callback);
    let status = host.handle::<Twilio>(json!({ "account_sid": "AC1" }), event).unwrap();
    let sent = send(&host).unwrap();
    assert_eq!((status.events.len(), sent.events.len()), (1, 1));
    assert_ne!(status.events[0].dedupe_key, sent.events[0].dedupe_key);
}

#[test]
fn a_callback_that_named_our_reference_proves_the_message() {
    let host = MockHost::new().answer("twilio", "POST", POST, Answer::lost(Duration::from_secs(1))).answer(
        "twilio",
        "GET",
        "/2010-04-01/Accounts/AC1/Messages/SM7.json",
        Answer::json(200, message("SM7", AFTER)),
    );
    let callback =
        json!({ "message_id": "SM7", "account": "AC1", "status": "sent", "to": "+4520123456", "hub_ref": REFERENCE });
    host.handle::<Twilio>(json!({ "account_sid": "AC1" }), Event::new("_twilio.callback", callback)).unwrap();
    assert_eq!(send(&host).unwrap().events[0].data["message_id"], "SM7");
}

#[test]
fn a_recipient_who_opted_out_ends_the_command_with_two_facts() {
    let refusal = json!({ "code": 21610, "message": "Attempt to send to unsubscribed recipient", "status": 400 });
    let host = MockHost::new().answer("twilio", "POST", POST, Answer::json(400, refusal));
    let events = send(&host).unwrap().events;
    let types: Vec<&str> = events.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(types, ["sms.opt_out", "sms.failed"]);
    assert_eq!(events[0].data, json!({ "from": "+4520123456", "to": "+4570000001", "reason": "21610" }));
    assert_eq!(events[0].dedupe_key.as_deref(), Some("twilio:AC1:optout:+4520123456:+4570000001:2026-11-20"));
}

#[test]
fn refusals_say_what_to_do() {
    let refused = |status: u16, code: u64| {
        let host = MockHost::new().answer("twilio", "POST", POST, Answer::json(status, json!({ "code": code })));
        send(&host).unwrap_err()
    };
    let bad = refused(400, 21211);
    assert!(matches!(&bad, PluginError::Reject(detail) if detail.code == "twilio_21211"), "{bad}");
    let missing = refused(404, 20404);
    assert!(matches!(&missing, PluginError::NeedsAttention(detail) if detail.reason == Reason::Config), "{missing}");
    let host = MockHost::new().answer("twilio", "POST", POST, Answer::rate_limited(Duration::from_secs(3)));
    let slow = send(&host).unwrap_err();
    assert!(matches!(&slow, PluginError::Retry { after: Some(wait), .. } if wait.as_secs() == 3), "{slow}");
}

#[test]
fn without_a_sender_the_config_field_is_named() {
    let event = Event::new("sms.send", json!({ "to": "+4520123456", "body": "x" }));
    let error = MockHost::new().handle::<Twilio>(json!({ "account_sid": "AC1" }), event).unwrap_err();
    assert!(error.to_string().contains("`from`"), "{error}");
}
