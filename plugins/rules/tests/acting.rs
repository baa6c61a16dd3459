//! How often matching rules act, and what they emit.

use rules::Rules;
use serde_json::{Value, json};
use switchyard_sdk::prelude::*;
use switchyard_sdk::testing::MockHost;

/// An event on which these rules match.
fn event(id: &str, matched: &Value) -> Event {
    let mut event = Event::new("sms.received", json!({"from": "+4520123456"}));
    event.id = id.to_owned();
    event.extensions = Some(json!({"matched_rules": matched}));
    event
}

fn matched(name: &str, more: Value) -> Value {
    let mut rule =
        json!({"name": name, "mode": "live", "emits": [{"type": "sms.send", "data": {"to": "+4520123456"}}]});
    rule.as_object_mut().expect("a rule").extend(more.as_object().expect("an object").clone());
    rule
}

#[track_caller]
fn emitted(host: &MockHost, event: Event) -> Vec<Emit> {
    host.handle::<Rules>(json!({"rules": []}), event).expect("it ends well").events
}

/// The types of what is emitted on one event by one rule.
#[track_caller]
fn types(host: &MockHost, id: &str, rule: &Value) -> Vec<String> {
    emitted(host, event(id, &json!([rule]))).into_iter().map(|emit| emit.event_type).collect()
}

#[test]
fn what_matches_is_emitted_with_its_attributes_and_a_key_of_event_and_rule() {
    let host = MockHost::new();
    let rule = matched(
        "reply",
        json!({"emits": [
            {"type": "sms.send", "data": {"to": "+45"}, "subject": "s", "ordering_key": "o", "expires_after_s": 60},
            {"type": "note.made", "data": {}, "emergency": true},
        ]}),
    );
    let events = emitted(&host, event("evt_1", &json!([rule])));
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].dedupe_key.as_deref(), Some("rule:reply:0:evt_1"));
    assert_eq!((events[0].subject.as_deref(), events[0].ordering_key.as_deref()), (Some("s"), Some("o")));
    let noon = switchyard_sdk::testing::NOON;
    assert_eq!(events[0].expires_at, Some(noon + 60_000));
    assert_eq!(events[0].extensions, Some(json!({"rule": "reply"})));
    assert!(events[1].emergency && events[1].expires_at.is_none());
    assert_eq!(host.metric("matches"), 1.0);
}

#[test]
fn once_per_acts_once_for_a_key_and_again_for_a_replay_of_the_same_event() {
    let host = MockHost::new();
    let once = |key: &str| matched("welcome", json!({"once": format!("once/welcome/{key}")}));
    assert_eq!(types(&host, "evt_1", &once("a")), ["sms.send"]);
    assert_eq!(types(&host, "evt_2", &once("a")), Vec::<String>::new());
    assert_eq!(types(&host, "evt_3", &once("b")), ["sms.send"]);
    // The store drops what the replay emits, by its keys.
    assert_eq!(types(&host, "evt_1", &once("a")), ["sms.send"]);
}

#[test]
fn a_throttle_lets_so_many_through_in_a_period_and_counts_an_event_once() {
    let host = MockHost::new();
    let rule = matched("alarm", json!({"throttle": {"key": "throttle/alarm/0", "count": 2, "period_s": 60}}));
    assert_eq!(types(&host, "evt_1", &rule).len(), 1);
    assert_eq!(types(&host, "evt_1", &rule).len(), 1, "a replay takes no room");
    assert_eq!(types(&host, "evt_2", &rule).len(), 1);
    assert_eq!(types(&host, "evt_3", &rule).len(), 0);
    host.advance(61_000);
    assert_eq!(types(&host, "evt_4", &rule).len(), 1);
}

#[test]
fn what_is_throttled_does_not_count_as_done() {
    let host = MockHost::new();
    let throttle = json!({"key": "throttle/r/0", "count": 1, "period_s": 60});
    let rule = |key: &str| matched("r", json!({"throttle": throttle, "once": format!("once/r/{key}")}));
    assert_eq!(types(&host, "evt_1", &rule("a")).len(), 1);
    assert_eq!(types(&host, "evt_2", &rule("b")).len(), 0);
    host.advance(61_000);
    assert_eq!(types(&host, "evt_3", &rule("b")).len(), 1);
}

#[test]
fn a_shadow_is_recorded_and_emits_nothing() {
    let host = MockHost::new();
    let rule = matched("try", json!({"mode": "shadow", "once": "once/try/a"}));
    assert_eq!(types(&host, "evt_1", &rule), Vec::<String>::new());
    assert!(host.stored("once/try/a").is_none(), "it remembers nothing");
    assert!(format!("{:?}", host.logs()).contains("try"), "{:?}", host.logs());
}

#[test]
fn a_rule_that_fails_is_told_and_stops_no_other() {
    let host = MockHost::new();
    let failing = matched("bad", json!({"emits": [], "failure": {"field": "emit[0].data", "message": "no field"}}));
    let events = emitted(&host, event("evt_1", &json!([failing, matched("good", json!({}))])));
    let told = &events[0];
    assert_eq!((told.event_type.as_str(), told.data["rule"].as_str()), ("rule.failed", Some("bad")));
    assert_eq!(
        (told.data["field"].as_str(), told.data["event_type"].as_str()),
        (Some("emit[0].data"), Some("sms.received"))
    );
    assert_eq!(events[1].event_type, "sms.send");
    let mut again = event("evt_2", &json!([failing]));
    again.event_type = "rule.failed".to_owned();
    assert_eq!(emitted(&host, again), [], "a failure at a failure is not told");
}

#[test]
fn without_matches_nothing_happens() {
    let host = MockHost::new();
    assert_eq!(emitted(&host, Event::new("sms.received", json!({}))), []);
    let strange = host.handle::<Rules>(json!({}), event("evt_1", &json!("what"))).unwrap_err();
    assert_eq!(strange.detail().code, "bad_matched_rules");
}
