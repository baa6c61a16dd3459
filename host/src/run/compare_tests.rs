use super::*;
use crate::plugin::{
    call::LimitKind,
    host_calls::Stop,
    model::{ErrorDetail, Reason},
    virtual_time::VirtualClock,
};

fn event(data: &str) -> EmittedEvent {
    EmittedEvent { type_: "invoice.created".to_owned(), data: data.to_owned(), ..EmittedEvent::default() }
}

fn left(events: Vec<EmittedEvent>) -> Left {
    Left { events, poll: None }
}

fn calls() -> ShadowCalls {
    ShadowCalls::new(Vec::new(), VirtualClock::starting_at(0))
}

fn judged(live: &LiveEnd, shadow: Result<&Left, &CallEnd>) -> (ShadowOutcome, Value) {
    judge(live, &KvWrites::new(), shadow, &calls(), None, "a sentence")
}

fn error(code: &str) -> PluginError {
    PluginError::Reject(ErrorDetail {
        reason: Reason::BadData,
        code: code.to_owned(),
        message: String::new(),
        details: None,
    })
}

#[test]
fn what_says_the_same_in_other_words_is_the_same() {
    let live = LiveEnd::Left(vec![event(r#"{"a":1,"b":[true,null]}"#)], None);
    let shadow = left(vec![event(r#"{ "b": [true, null], "a": 1 }"#)]);
    assert_eq!(judged(&live, Ok(&shadow)), (ShadowOutcome::Same, json!({})));
}

#[test]
fn differences_are_named_by_place_and_never_by_value() {
    let live = LiveEnd::Left(vec![event(r#"{"to":"+4520123456","n":{"x":1},"l":[1,2]}"#), event("{}")], None);
    let mut other = event(r#"{"to":"+4599999999","n":{"x":1,"y":2},"l":[1]}"#);
    other.subject = Some("inv-1".to_owned());
    let (outcome, detail) = judged(&live, Ok(&left(vec![other])));
    assert_eq!(outcome, ShadowOutcome::Differs);
    let places = [
        "events: 2 live, 1 shadow",
        "events[0].subject",
        "events[0].data/to",
        "events[0].data/n/y",
        "events[0].data/l",
    ];
    assert_eq!(detail["differences"], json!(places));
    assert!(!detail.to_string().contains("+45"), "{detail}");
}

#[test]
fn the_cursor_and_kv_count() {
    let poll = |cursor: &str| PollOutput { cursor: Some(cursor.to_owned()), ..PollOutput::default() };
    let live = LiveEnd::Left(Vec::new(), Some(poll("1")));
    let shadow = Left { events: Vec::new(), poll: Some(poll("2")) };
    let kv = KvWrites::from([("seen/1".to_owned(), [1; 32])]);
    let (_, detail) = judge(&live, &kv, Ok(&shadow), &calls(), None, "");
    assert_eq!(detail["differences"], json!(["cursor", "kv seen/1: live only"]));
}

#[test]
fn many_differences_are_cut() {
    let data = |n: u32| json!((0..200).map(|at| at * n).collect::<Vec<u32>>()).to_string();
    let live = LiveEnd::Left(vec![event(&data(1))], None);
    let (_, detail) = judged(&live, Ok(&left(vec![event(&data(2))])));
    assert_eq!((detail["differences"].as_array().map(Vec::len), &detail["more"]), (Some(MOST), &json!(true)));
}

#[test]
fn a_call_of_its_own_is_told_apart_from_a_failure() {
    let live = LiveEnd::Left(Vec::new(), None);
    let stopped = CallEnd::Stopped(Stop::new(Diverged("GET billy /x".to_owned())));
    assert_eq!(judged(&live, Err(&stopped)), (ShadowOutcome::Diverged, json!({"call": "GET billy /x"})));
    let spun = CallEnd::Limit { which: LimitKind::Cpu, allowed: 200 };
    let (outcome, detail) = judged(&live, Err(&spun));
    assert_eq!((outcome, &detail["failure"]["code"]), (ShadowOutcome::Failed, &json!("cpu_limit")));
    assert_eq!(judged(&live, Err(&CallEnd::Error(error("no")))).0, ShadowOutcome::Failed);
}

#[test]
fn ends_that_are_no_success_are_compared_by_what_they_say() {
    let refused = LiveEnd::Refused(error("no"));
    assert_eq!(judged(&refused, Err(&CallEnd::Error(error("no")))).0, ShadowOutcome::Same);
    assert_eq!(judged(&refused, Err(&CallEnd::Error(error("never")))).0, ShadowOutcome::Differs);
    assert_eq!(judged(&refused, Ok(&left(Vec::new()))).0, ShadowOutcome::Differs);
    let broke = LiveEnd::Broke("cpu_limit".to_owned());
    let spun = CallEnd::Limit { which: LimitKind::Cpu, allowed: 200 };
    assert_eq!(judged(&broke, Err(&spun)).0, ShadowOutcome::Same);
    assert_eq!(judged(&broke, Ok(&left(Vec::new()))).0, ShadowOutcome::Differs);
}
