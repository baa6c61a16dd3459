//! The command `call.create`, also when its answer is lost or hostile; people who opted out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use std::time::Duration;

use serde_json::{Value, json};
use switchyard_sdk::testing::{Answer, MockHost, REFERENCE};
use switchyard_sdk::{Event, HttpError, Output, PluginError, Reason};
use twilio::Twilio;

const CALLS: &str = "/2010-04-01/Accounts/AC1/Calls.json";
const MESSAGES: &str = "/2010-04-01/Accounts/AC1/Messages.json";
const PERSON: &str = "+4520123456";
const AFTER: &str = "Fri, 20 Nov 2026 11:59:55 +0000";

fn config() -> Value {
    json!({ "account_sid": "AC1", "from": "+4570000001", "voice": { "language": "da-DK" } })
}

fn place(host: &MockHost) -> Result<Output, PluginError> {
    let data = json!({ "to": PERSON, "say": "Hej & {from}", "connect_to": "+4511111111", "timeout_s": 20 });
    host.handle::<Twilio>(config(), Event::new("call.create", data))
}

fn call(sid: &str, created: &str) -> Value {
    json!({
        "sid": sid, "status": "queued", "from": "+4570000001", "to": PERSON, "direction": "outbound-api",
        "date_created": created, "start_time": null
    })
}

fn page(calls: Vec<Value>) -> Answer {
    Answer::json(200, json!({ "calls": calls, "next_page_uri": null }))
}

fn posts(host: &MockHost) -> usize {
    host.calls().iter().filter(|call| call.starts_with("POST")).count()
}

fn types(output: &Output) -> Vec<&str> {
    output.events.iter().map(|event| event.event_type.as_str()).collect()
}

#[test]
fn a_call_is_placed_with_its_document_and_a_callback_that_carries_our_reference() {
    let host = MockHost::new().answer("twilio", "POST", CALLS, Answer::json(201, call("CA9", AFTER)));
    let output = place(&host).unwrap();
    assert_eq!(types(&output), ["call.created", "call.state_changed"]);
    assert_eq!(output.events[0].data["hub_ref"], REFERENCE);
    assert_eq!(output.events[1].data["state"], "initiated");
    let body = host.requests()[0].body.clone().unwrap();
    let form: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let field = |name: &str| {
        form.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    let document = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Say language=\"da-DK\">Hej &amp; {from}</Say>\
        <Dial callerId=\"+4570000001\"><Number>+4511111111</Number></Dial></Response>";
    assert_eq!(field("Twiml"), [document]);
    assert_eq!(field("StatusCallback"), [format!("https://hub.test/in/src_0/call-status?ref={REFERENCE}")]);
    assert_eq!(field("StatusCallbackEvent"), ["initiated", "ringing", "answered", "completed"]);
    assert_eq!((field("To"), field("Timeout")), (vec![PERSON], vec!["20"]));
}

#[test]
fn a_lost_answer_is_looked_up_and_the_call_adopted() {
    let calls = vec![call("CA2", AFTER), call("CA0", "Fri, 20 Nov 2026 08:00:00 +0000")];
    let host = MockHost::new().answer("twilio", "POST", CALLS, Answer::lost(Duration::from_secs(10))).answer(
        "twilio",
        "GET",
        CALLS,
        page(calls),
    );
    assert_eq!(place(&host).unwrap().events[0].data["call_id"], "CA2");
    assert_eq!(posts(&host), 1);
}

#[test]
fn a_callback_that_named_our_reference_proves_the_call() {
    let host = MockHost::new().answer("twilio", "POST", CALLS, Answer::lost(Duration::from_secs(1))).answer(
        "twilio",
        "GET",
        "/2010-04-01/Accounts/AC1/Calls/CA7.json",
        Answer::json(200, call("CA7", AFTER)),
    );
    let report = json!({ "call_id": "CA7", "account": "AC1", "status": "ringing", "to": PERSON, "hub_ref": REFERENCE });
    let told = host.handle::<Twilio>(config(), Event::new("_twilio.call", report)).unwrap();
    assert_eq!(types(&told), ["call.state_changed"]);
    let placed = place(&host).unwrap();
    assert_eq!((types(&placed), &placed.events[0].data["call_id"]), (vec!["call.created"], &json!("CA7")));
}

#[test]
fn another_commands_call_is_not_adopted() {
    let host = MockHost::new()
        .answer("twilio", "POST", CALLS, Answer::json(201, call("CA1", AFTER)))
        .answer("twilio", "POST", CALLS, Answer::lost(Duration::from_secs(10)))
        .answer("twilio", "GET", CALLS, page(vec![call("CA1", AFTER)]))
        .answer("twilio", "POST", CALLS, Answer::json(201, call("CA2", AFTER)));
    assert_eq!(place(&host).unwrap().events[0].data["call_id"], "CA1");
    host.next_reference("ffffffffffffffffffffffffffffffff");
    assert_eq!(place(&host).unwrap().events[0].data["call_id"], "CA2");
}

#[test]
fn a_call_that_may_still_be_under_way_is_not_placed_twice() {
    let host = MockHost::new().answer("twilio", "POST", CALLS, Answer::lost(Duration::from_secs(1))).answer(
        "twilio",
        "GET",
        CALLS,
        page(vec![]),
    );
    let error = place(&host).unwrap_err();
    assert!(matches!(&error, PluginError::Retry { error, .. } if error.reason == Reason::UnknownOutcome), "{error}");
    assert_eq!(posts(&host), 1);
}

#[test]
fn hostile_answers_end_in_the_right_class_and_never_in_a_panic() {
    let hostile = |answer: Answer| place(&MockHost::new().answer("twilio", "POST", CALLS, answer)).unwrap_err();
    let refused = hostile(Answer::json(400, json!({ "code": 21211, "message": "The 'To' number +4520123456 is bad" })));
    assert!(matches!(&refused, PluginError::Reject(detail) if detail.code == "twilio_21211"), "{refused}");
    assert_eq!(refused.detail().details.as_ref().unwrap()["said"], "The 'To' number +... is bad");
    for (status, reason) in
        [(400, Reason::BadData), (401, Reason::Auth), (418, Reason::BadData), (429, Reason::RateLimited)]
    {
        for body in ["<html>", "", "[1]", "{\"code\":\"x\"}", "{\"code\":-1}", "null", "\u{0}"] {
            assert_eq!(hostile(Answer::body(status, body)).detail().reason, reason, "{status} {body}");
        }
    }
    let redirected = hostile(Answer::body(302, ""));
    assert_eq!(redirected.detail().reason, Reason::Config);
    let large = hostile(Answer::error(HttpError::ResponseTooLarge { status: 201, limit: 1 }));
    assert_eq!(large.detail().reason, Reason::BadData);
}

#[test]
fn an_answer_that_names_no_call_is_looked_up_and_never_repeated() {
    for body in ["", "<html>", "{}", "{\"sid\":7}", "{\"sid\":null}", "[]", "{\"sid\":\"CA1\""] {
        let found = MockHost::new().answer("twilio", "POST", CALLS, Answer::body(201, body)).answer(
            "twilio",
            "GET",
            CALLS,
            page(vec![call("CA4", AFTER)]),
        );
        assert_eq!(place(&found).unwrap().events[0].data["call_id"], "CA4", "{body}");
        let missing = MockHost::new().answer("twilio", "POST", CALLS, Answer::body(201, body)).answer(
            "twilio",
            "GET",
            CALLS,
            page(vec![json!({ "sid": 1 }), json!("x"), Value::Null]),
        );
        let error = place(&missing).unwrap_err();
        assert!(matches!(&error, PluginError::Reject(detail) if detail.reason == Reason::UnknownOutcome), "{error}");
        assert_eq!(posts(&missing), 1, "{body}");
    }
}

#[test]
fn a_call_with_nothing_to_do_or_without_a_number_is_refused() {
    let host = MockHost::new();
    let nothing = host.handle::<Twilio>(config(), Event::new("call.create", json!({ "to": PERSON }))).unwrap_err();
    assert_eq!(nothing.detail().code, "nothing_to_do");
    let event = Event::new("call.create", json!({ "to": PERSON, "say": "x" }));
    let error = host.handle::<Twilio>(json!({ "account_sid": "AC1" }), event).unwrap_err();
    assert!(error.to_string().contains("`from`"), "{error}");
    assert!(host.calls().is_empty());
}

fn wish(host: &MockHost, name: &str, to: &str) {
    let data = json!({ "from": PERSON, "to": to, "reason": "keyword", "messaging_service_id": "MG1" });
    assert!(host.handle::<Twilio>(config(), Event::new(name, data)).unwrap().events.is_empty());
}

fn text(host: &MockHost, config: Value) -> Result<Output, PluginError> {
    host.handle::<Twilio>(config, Event::new("sms.send", json!({ "to": PERSON, "body": "Hej" })))
}

#[test]
fn nobody_who_opted_out_is_texted_until_they_opt_in_again() {
    let message = json!({ "sid": "SM1", "status": "queued" });
    let host = MockHost::new().answer("twilio", "POST", MESSAGES, Answer::json(201, message));
    wish(&host, "sms.opt_out", "+4570000001");
    let by_service = json!({ "account_sid": "AC1", "messaging_service_sid": "MG1" });
    for config in [config(), by_service] {
        let error = text(&host, config).unwrap_err();
        assert!(
            matches!(&error, PluginError::Reject(detail) if detail.reason == Reason::Policy && detail.code == "opted_out"),
            "{error}"
        );
    }
    assert!(host.calls().is_empty(), "Twilio was not asked");
    wish(&host, "sms.opt_in", "+4570000001");
    assert_eq!(types(&text(&host, config()).unwrap()), ["sms.sent"]);
}

#[test]
fn a_refusal_with_21610_is_remembered() {
    let refusal = json!({ "code": 21610, "message": "Attempt to send to unsubscribed recipient", "status": 400 });
    let host = MockHost::new().answer("twilio", "POST", MESSAGES, Answer::json(400, refusal));
    assert_eq!(types(&text(&host, config()).unwrap()), ["sms.opt_out", "sms.failed"]);
    let again = text(&host, config()).unwrap_err();
    assert_eq!((&again.detail().reason, posts(&host)), (&Reason::Policy, 1));
}
