//! Where calls stand: any order and any repetition of callbacks leads to the same end, and nothing goes back.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use proptest::prelude::*;
use serde_json::{Value, json};
use switchyard_sdk::testing::{Answer, MockHost};
use switchyard_sdk::{Emit, Event};
use twilio::Twilio;

mod support;

use support::{answered, config, host};

/// Takes a request in and handles what it became, as the hub does: each dedupe key once.
fn told(host: &MockHost, seen: &mut Vec<String>, path: &str, more: &[(&str, &str)]) -> Vec<Emit> {
    let (events, _) = answered(host, &config(), path, more);
    let mut emitted = Vec::new();
    for private in events.iter().filter(|event| event.event_type == "_twilio.call") {
        let key = private.dedupe_key.clone().unwrap();
        if !seen.contains(&key) {
            seen.push(key);
            let event = Event::new("_twilio.call", private.data.clone());
            emitted.extend(host.handle::<Twilio>(config(), event).unwrap().events);
        }
    }
    emitted
}

type Step = (&'static str, Vec<(&'static str, &'static str)>);

/// All that one call sends: by way of the menu and an unanswered forwarding to a recording, in the order of life.
fn story(end: &'static str) -> Vec<Step> {
    let status = |status, sequence| ("/call-status", vec![("CallStatus", status), ("SequenceNumber", sequence)]);
    vec![
        status("initiated", "0"),
        status("ringing", "1"),
        ("/voice", vec![("CallStatus", "ringing")]),
        status("in-progress", "2"),
        ("/voice/gather?turn=0", vec![("CallStatus", "in-progress"), ("Digits", "1")]),
        ("/voice/dial", vec![("CallStatus", "in-progress"), ("DialCallStatus", "no-answer")]),
        ("/voice/recorded", vec![("CallStatus", "in-progress")]),
        status(end, "3"),
    ]
}

fn states(events: &[Emit]) -> Vec<&str> {
    events.iter().map(|event| event.data["state"].as_str().unwrap()).collect()
}

#[test]
fn a_call_in_good_order_tells_each_transition_once() {
    let (host, mut seen) = (host(), Vec::new());
    let emitted: Vec<Emit> =
        story("completed").iter().flat_map(|(path, more)| told(&host, &mut seen, path, more)).collect();
    assert_eq!(states(&emitted), ["initiated", "initiated", "active", "transfer", "voicemail", "ended"]);
    let last = emitted.last().unwrap();
    assert_eq!(last.dedupe_key.as_deref(), Some("twilio:AC1:call:CA1:ended"));
    let expected = json!({
        "call_id": "CA1", "account": "AC1", "status": "completed", "sequence": 3, "direction": "inbound",
        "from": "+4520123456", "to": "+4570000001", "state": "ended", "previous": "voicemail", "outcome": "completed"
    });
    assert_eq!(last.data, expected);
    assert!(host.stored("open/CA1").is_none(), "a call that is over is not asked about");
    let known: Value = serde_json::from_slice(&host.stored("call/CA1").unwrap()).unwrap();
    assert_eq!(known["history"].as_array().map(Vec::len), Some(6), "{known}");
}

#[test]
fn statuses_in_between_may_be_missing() {
    for (end, outcome) in [
        ("completed", "completed"),
        ("busy", "busy"),
        ("no-answer", "no_answer"),
        ("failed", "failed"),
        ("canceled", "canceled"),
    ] {
        let (host, mut seen) = (host(), Vec::new());
        let emitted = told(&host, &mut seen, "/call-status", &[("CallStatus", end), ("SequenceNumber", "0")]);
        assert_eq!((states(&emitted), &emitted[0].data["outcome"]), (vec!["ended"], &json!(outcome)));
    }
}

#[test]
fn an_older_number_does_not_overtake_a_newer_one_but_for_the_end() {
    let (host, mut seen) = (host(), Vec::new());
    let mut tell = |status, sequence| {
        states(&told(&host, &mut seen, "/call-status", &[("CallStatus", status), ("SequenceNumber", sequence)]))
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(tell("ringing", "5"), ["initiated"]);
    assert!(tell("in-progress", "4").is_empty(), "it was sent before what is known");
    assert_eq!(tell("completed", "3"), ["ended"], "an end is an end");
    assert!(tell("in-progress", "9").is_empty(), "nothing follows");
    assert!(tell("something-new", "10").is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_order_and_repetition_ends_in_the_same_state_and_never_goes_back(
        order in Just((0..8).chain(0..8).chain(0..8).collect::<Vec<usize>>()).prop_shuffle(),
        end in prop::sample::select(vec!["completed", "busy", "no-answer", "failed", "canceled"]),
        deduplicated in any::<bool>(),
    ) {
        const RANKS: [&str; 5] = ["initiated", "active", "transfer", "voicemail", "ended"];
        let (host, story, mut seen) = (host(), story(end), Vec::new());
        let mut emitted = Vec::new();
        for at in order {
            // The hub's own memory of duplicates is a help and no condition.
            if !deduplicated {
                seen.clear();
            }
            let (path, more) = &story[at];
            emitted.extend(told(&host, &mut seen, path, more));
        }
        let ranks: Vec<usize> =
            states(&emitted).iter().map(|state| RANKS.iter().position(|known| known == state).unwrap()).collect();
        prop_assert!(ranks.is_sorted(), "{ranks:?}");
        let keys: std::collections::BTreeSet<_> = emitted.iter().map(|event| event.dedupe_key.clone()).collect();
        prop_assert_eq!(keys.len(), emitted.len(), "each transition is told once");
        let last = emitted.last().unwrap();
        prop_assert_eq!(&last.data["state"], "ended");
        prop_assert_eq!(&last.data["status"], end);
        prop_assert_eq!(ranks.iter().filter(|rank| **rank == 4).count(), 1);
        prop_assert!(host.stored("open/CA1").is_none());
    }
}

const FETCH: &str = "/2010-04-01/Accounts/AC1/Calls/CA1.json";

fn polled(host: &MockHost) -> Vec<Emit> {
    host.poll::<Twilio>(config(), "calls", None).unwrap().events
}

/// A call that was recorded, and whose end nobody told.
fn left_open() -> MockHost {
    let (host, mut seen) = (host(), Vec::new());
    let _ = told(&host, &mut seen, "/voice", &[("CallStatus", "ringing")]);
    let _ = told(&host, &mut seen, "/voice/dial", &[("CallStatus", "in-progress"), ("DialCallStatus", "busy")]);
    assert!(host.stored("open/CA1").is_some());
    host
}

#[test]
fn a_call_whose_end_was_never_told_is_asked_about() {
    let recording = json!({ "sid": "RE7", "status": "completed", "duration": "9", "source": "RecordVerb" });
    let host = left_open()
        .answer(
            "twilio",
            "GET",
            FETCH,
            Answer::json(200, json!({ "sid": "CA1", "status": "completed", "duration": "33" })),
        )
        .answer(
            "twilio",
            "GET",
            "/2010-04-01/Accounts/AC1/Calls/CA1/Recordings.json",
            Answer::json(200, json!({ "recordings": [recording, { "no": "sid" }] })),
        );
    assert!(polled(&host).is_empty() && host.calls().is_empty(), "something was heard of it just now");
    let events = polled(&host);
    let types: Vec<&str> = events.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(types, ["call.state_changed", "call.recording_ready"]);
    assert_eq!((&events[0].data["outcome"], &events[0].data["duration_s"]), (&json!("completed"), &json!(33)));
    assert_eq!(events[1].dedupe_key.as_deref(), Some("twilio:AC1:recording:RE7"), "as the callback's");
    assert!(polled(&host).is_empty(), "it is over");
}

#[test]
fn a_call_that_goes_on_stays_open_and_one_that_is_gone_has_failed() {
    let going = Answer::json(200, json!({ "sid": "CA1", "status": "in-progress" }));
    let gone = Answer::json(404, json!({ "code": 20404, "status": 404 }));
    let host = left_open().answer("twilio", "GET", FETCH, going).answer("twilio", "GET", FETCH, gone);
    assert!(polled(&host).is_empty() && host.calls().is_empty());
    assert!(polled(&host).is_empty() && host.calls().len() == 1);
    let events = polled(&host);
    assert_eq!((states(&events), &events[0].data["outcome"]), (vec!["ended"], &json!("failed")));
}
