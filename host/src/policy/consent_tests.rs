use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::{event::Urgency, id::Key};

fn event(event_type: &str, data: &Value, time: i64) -> Event {
    Event {
        key: Key([1; 16]),
        id: "evt_1".into(),
        tenant: "acme".parse().unwrap(),
        event_type: event_type.parse().unwrap(),
        source: "switchyard:plugin/twilio".into(),
        subject: None,
        time: Timestamp(time),
        accepted_at: Timestamp(1_000),
        ordering_key: None,
        correlation_id: "c".into(),
        traceparent: "t".into(),
        cause: None,
        request: Some(Key([2; 16])),
        hop: 0,
        urgency: Urgency::Normal,
        expires_at: None,
        private_to: None,
        extensions: None,
        data: Arc::from(data.to_string()),
    }
}

fn said(event_type: &str, data: &Value) -> Option<(ConsentState, ConsentSource)> {
    said_by(&event(event_type, data, 500), data).map(|saying| (saying.state, saying.source))
}

#[test]
fn a_message_and_what_the_carrier_tells_are_understood() {
    use ConsentSource::{Carrier21610, Event as AnEvent, StartKeyword, StopKeyword};
    use ConsentState::{Granted, Withdrawn};
    let from = "+4520123456";
    let cases = [
        ("sms.received", json!({"from": from, "body": " stop! "}), Some((Withdrawn, StopKeyword))),
        ("sms.received", json!({"from": from, "body": "Start"}), Some((Granted, StartKeyword))),
        ("sms.received", json!({"from": from, "body": "Water in the cellar"}), None),
        ("sms.received", json!({"from": from, "body": "basta", "opt_out": "STOP"}), Some((Withdrawn, StopKeyword))),
        ("sms.received", json!({"from": from, "body": "help", "opt_out": "HELP"}), None),
        ("sms.received", json!({"from": "ACME", "body": "stop"}), None),
        ("sms.received", json!({"body": "stop"}), None),
        ("sms.opt_out", json!({"from": from, "reason": "keyword"}), Some((Withdrawn, StopKeyword))),
        ("sms.opt_out", json!({"from": from, "reason": "21610"}), Some((Withdrawn, Carrier21610))),
        ("sms.opt_out", json!({"from": from, "reason": "by telephone"}), Some((Withdrawn, AnEvent))),
        ("sms.opt_in", json!({"from": from, "reason": "opt_out_type"}), Some((Granted, StartKeyword))),
        ("sms.sent", json!({"from": from, "body": "stop"}), None),
    ];
    for (event_type, data, expected) in cases {
        assert_eq!(said(event_type, &data), expected, "{event_type} {data}");
    }
}

#[test]
fn a_run_may_withdraw_and_not_grant() {
    let (out, back) =
        (json!({"from": "+4520123456", "reason": "21610"}), json!({"from": "+4520123456", "reason": "x"}));
    let of_a_run = |event_type: &str, data: &Value| {
        let event = Event { cause: Some(Key([3; 16])), request: None, ..event(event_type, data, 500) };
        said_by(&event, data)
    };
    assert!(of_a_run("sms.opt_out", &out).is_some());
    assert!(of_a_run("sms.opt_in", &back).is_none());
    let yes = json!({"from": "+4520123456", "body": "YES"});
    assert!(of_a_run("sms.received", &yes).is_none());
}

#[test]
fn nobody_speaks_for_a_time_to_come() {
    let data = json!({"from": "+4520123456", "body": "stop"});
    assert_eq!(said_by(&event("sms.received", &data, 9_999), &data).unwrap().at, Timestamp(1_000));
    assert_eq!(said_by(&event("sms.received", &data, 500), &data).unwrap().at, Timestamp(500));
}

#[test]
fn who_wants_no_messages_gets_no_calls_unless_they_were_granted() {
    let to = |channel| Reached { channel, address: "+4520123456".to_owned(), field: "to".to_owned() };
    let known = |sms: Option<ConsentState>, call: Option<ConsentState>| {
        move |channel| match channel {
            Channel::Sms => sms,
            Channel::Call => call,
            Channel::Email => None,
        }
    };
    let (granted, withdrawn) = (Some(ConsentState::Granted), Some(ConsentState::Withdrawn));
    for (sms, call, may_text, may_call) in [
        (None, None, true, true),
        (granted, None, true, true),
        (withdrawn, None, false, false),
        (withdrawn, granted, false, true),
        (granted, withdrawn, true, false),
        (None, withdrawn, true, false),
    ] {
        assert_eq!(refusal(&to(Channel::Sms), known(sms, call)).is_none(), may_text, "{sms:?} {call:?}");
        assert_eq!(refusal(&to(Channel::Call), known(sms, call)).is_none(), may_call, "{sms:?} {call:?}");
    }
    let failure = refusal(&to(Channel::Sms), known(withdrawn, None)).unwrap();
    assert_eq!((failure.reason, &*failure.code), (ReasonClass::Policy, "opted_out"));
    assert!(!failure.message.contains("20123456") && failure.message.contains("`to`"), "{failure}");
}
