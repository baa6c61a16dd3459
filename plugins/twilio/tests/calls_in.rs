//! Calls in: documents, steps, events.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use serde_json::{Value, json};
use switchyard_sdk::testing::NOON;
use switchyard_sdk::{Emit, PluginError, Received};
use twilio::Twilio;

mod support;

use support::{CALLER, URL, answered, config, fields, form, host};

fn types(events: &[Emit]) -> Vec<&str> {
    events.iter().map(|event| event.event_type.as_str()).collect()
}

fn ringing(config: &Value) -> (Vec<Emit>, String) {
    answered(&host(), config, "/voice", &[("CallStatus", "ringing"), ("CallerName", "VVS & Søn <A>")])
}

#[test]
fn a_call_is_greeted_and_asked_and_becomes_an_event() {
    let (events, document) = ringing(&config());
    assert_eq!(types(&events), ["call.received", "_twilio.call"]);
    let expected = json!({
        "call_id": "CA1", "account": "AC1", "from": CALLER, "to": "+4570000001", "caller_name": "VVS & Søn <A>",
        "after_hours": false
    });
    assert_eq!(events[0].data, expected);
    assert_eq!(events[0].dedupe_key.as_deref(), Some("twilio:AC1:call:CA1:received"));
    assert_eq!(events[1].dedupe_key.as_deref(), Some("twilio:AC1:callback:CA1:voice"));
    assert_eq!(
        document,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Say language=\"da-DK\">Velkommen til +4570000001, VVS \
             &amp; Søn &lt;A&gt;.</Say><Gather action=\"{URL}/voice/gather?turn=0\" numDigits=\"1\" timeout=\"5\" \
             input=\"dtmf speech\" speechTimeout=\"auto\" language=\"da-DK\"><Say language=\"da-DK\">Tryk 1 for akut, 2 \
             for kontoret.</Say></Gather><Redirect>{URL}/voice/gather?turn=0</Redirect></Response>"
        )
    );
}

#[test]
fn the_same_request_has_the_same_events_and_the_same_answer() {
    assert_eq!(ringing(&config()), ringing(&config()));
}

#[test]
fn without_a_word_about_calls_a_call_is_an_event_and_ends_at_once() {
    let (events, document) = ringing(&json!({ "account_sid": "AC1" }));
    assert_eq!(types(&events), ["call.received", "_twilio.call"]);
    assert!(document.ends_with("<Response/>"), "{document}");
}

#[test]
fn keys_and_words_lead_to_the_same_choice_and_are_told() {
    for (name, value) in [("Digits", "1"), ("SpeechResult", "Der er VAND overalt")] {
        let given = [("CallStatus", "in-progress"), (name, value), ("Confidence", "0.9")];
        let (events, document) = answered(&host(), &config(), "/voice/gather?turn=0", &given);
        assert_eq!(types(&events), ["call.input_received", "_twilio.call"]);
        assert_eq!((&events[0].data["choice"], &events[0].data["turn"]), (&json!(0), &json!(0)), "{value}");
        assert_eq!(events[0].dedupe_key.as_deref(), Some("twilio:AC1:call:CA1:input:0"));
        assert_eq!(events[1].data["step"], "transfer");
        let dial = format!(
            "<Say language=\"da-DK\">Vi stiller om.</Say><Dial action=\"{URL}/voice/dial\" timeout=\"15\"><Number>\
             +4511111111</Number><Number>+4522222222</Number></Dial></Response>"
        );
        assert!(document.ends_with(&dial), "{document}");
    }
}

#[test]
fn what_is_not_understood_is_asked_again_and_ends_at_a_person_or_a_recording() {
    let entered = [("CallStatus", "in-progress"), ("Digits", "9")];
    let (events, document) = answered(&host(), &config(), "/voice/gather?turn=0", &entered);
    assert_eq!(types(&events), ["call.input_received", "_twilio.call"]);
    assert!(document.contains("Det forstod jeg ikke.") && document.contains("turn=1"), "{document}");
    // Silence is no input, and the last attempt leads on.
    let silent = [("CallStatus", "in-progress")];
    let (events, document) = answered(&host(), &config(), "/voice/gather?turn=1", &silent);
    assert_eq!(types(&events), ["_twilio.call"]);
    assert_eq!(events[0].data["step"], "voicemail");
    assert!(document.contains("<Record action="), "{document}");
    for turn in ["255", "256", "x", ""] {
        let (_, document) = answered(&host(), &config(), &format!("/voice/gather?turn={turn}"), &silent);
        assert!(document.contains("<Record"), "{turn}: {document}");
    }
}

#[test]
fn an_unanswered_forwarding_ends_in_a_recording_and_an_answered_one_in_a_farewell() {
    for status in ["busy", "no-answer", "failed", "canceled", "something-new"] {
        let dialled = [("CallStatus", "in-progress"), ("DialCallStatus", status)];
        let (events, document) = answered(&host(), &config(), "/voice/dial", &dialled);
        assert_eq!(events[0].data["step"], "voicemail", "{status}");
        assert_eq!(events[0].data["dial_status"], status);
        assert!(document.contains("Læg en besked") && document.contains("maxLength=\"60\""), "{document}");
    }
    let dialled = [("CallStatus", "in-progress"), ("DialCallStatus", "completed")];
    let (events, document) = answered(&host(), &config(), "/voice/dial", &dialled);
    assert!(events[0].data.get("step").is_none());
    assert!(document.ends_with("<Say language=\"da-DK\">Farvel.</Say><Hangup></Hangup></Response>"), "{document}");
}

#[test]
fn outside_the_hours_callers_hear_so_and_leave_a_message() {
    const DAY: u64 = 86_400_000;
    for (name, time) in [("evening", NOON + 8 * 3_600_000), ("weekend", NOON + DAY), ("closed", NOON + 3 * DAY)] {
        let request = form("/voice", &fields(&[("CallStatus", "ringing")])).at(time);
        let received = host().receive::<Twilio>(config(), request).unwrap();
        let Received::Accepted { events, reply: Some(reply), .. } = received else { panic!("{received:?}") };
        let document = String::from_utf8(reply.body).unwrap();
        assert!(document.contains("Vi har lukket.") && document.contains("<Record"), "{name}: {document}");
        assert!(!document.contains("Velkommen") && !document.contains("<Gather"), "{name}: {document}");
        assert_eq!((&events[0].data["after_hours"], &events[1].data["step"]), (&json!(true), &json!("voicemail")));
    }
}

#[test]
fn a_zone_that_nobody_knows_parks_the_request_and_names_the_field() {
    let mut config = config();
    config["voice"]["hours"]["time_zone"] = json!("Mars/Olympus");
    let request = form("/voice", &fields(&[("CallStatus", "ringing")]));
    let error = host().receive::<Twilio>(config, request).unwrap_err();
    assert!(matches!(&error, PluginError::NeedsAttention(_)) && error.to_string().contains("time_zone"), "{error}");
}

#[test]
fn after_a_failure_the_fallback_apologises_and_goes_straight_to_a_person() {
    let failed = [("CallStatus", "ringing"), ("ErrorCode", "11200"), ("ErrorUrl", "https://hub.test/in/src_0/voice")];
    let (events, document) = answered(&host(), &config(), "/voice/fallback", &failed);
    assert_eq!(types(&events), ["call.received", "_twilio.call"]);
    assert_eq!(events[0].dedupe_key.as_deref(), Some("twilio:AC1:call:CA1:received"), "the call is told once");
    assert!(document.contains("something went wrong") && document.contains("<Dial"), "{document}");
    assert!(!document.contains("<Gather"), "{document}");
}

#[test]
fn a_recording_is_told_when_it_can_be_fetched() {
    let recorded = |status: &str| {
        let more = [
            ("RecordingSid", "RE1"),
            ("RecordingUrl", "https://api.twilio.com/r/RE1"),
            ("RecordingStatus", status),
            ("RecordingDuration", "12"),
            ("RecordingSource", "RecordVerb"),
        ];
        host().receive::<Twilio>(config(), form("/voice/recording", &fields(&more))).unwrap()
    };
    let Received::Accepted { events, .. } = recorded("completed") else { panic!("not accepted") };
    assert_eq!(types(&events), ["call.recording_ready"]);
    assert_eq!(events[0].dedupe_key.as_deref(), Some("twilio:AC1:recording:RE1"));
    assert_eq!((&events[0].data["duration_s"], &events[0].data["call_id"]), (&json!(12), &json!("CA1")));
    for status in ["in-progress", "absent", "failed"] {
        assert!(matches!(recorded(status), Received::Handled(reply) if reply.status == 204), "{status}");
    }
}

#[test]
fn a_status_callback_is_known_by_its_path_or_by_its_parameters() {
    for path in ["/call-status", "", "/voice", "/anything"] {
        let more = [("CallStatus", "completed"), ("SequenceNumber", "3"), ("CallDuration", "17")];
        let (events, document) = answered(&host(), &config(), path, &more);
        assert_eq!(types(&events), ["_twilio.call"], "{path}");
        assert_eq!(events[0].dedupe_key.as_deref(), Some("twilio:AC1:callback:CA1:3:completed"));
        assert_eq!((&events[0].data["sequence"], &events[0].data["duration_s"]), (&json!(3), &json!(17)));
        assert!(document.is_empty(), "{document}");
    }
}

#[test]
fn a_config_with_a_text_that_names_something_unknown_is_refused_by_its_schema() {
    let schema = switchyard_sdk::dispatch::describe::<Twilio>().config_schema.unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    assert!(validator.is_valid(&config()), "{:?}", validator.iter_errors(&config()).next());
    for (at, value) in [
        ("greeting", json!("Hej {navn}")),
        ("language", json!("da_DK")),
        ("forward", json!({ "numbers": [] })),
        ("forward", json!({ "numbers": ["112"] })),
        ("menu", json!({ "prompt": "x", "choices": [{ "then": "sing" }] })),
        ("hours", json!({ "time_zone": "UTC", "open": [{ "days": ["mon"], "from": "8:00", "until": "16:00" }] })),
        ("grreeting", json!("Hej")),
    ] {
        let mut wrong = config();
        wrong["voice"][at] = value.clone();
        assert!(!validator.is_valid(&wrong), "{at}: {value}");
    }
}
