use serde_json::json;

use super::*;
use crate::{
    clock::Timestamp,
    event::{Event, Urgency, catalogue::Catalogue},
    id::Key,
    route::filter::EventFacts,
    rule::{
        evaluate::{Matched, evaluate},
        facts::RuleFacts,
        loops::circles,
    },
    store::registry::TenantRow,
};

fn tenant() -> TenantRow {
    TenantRow {
        id: "acme".parse().unwrap(),
        name: "Acme".to_owned(),
        time_zone: "Europe/Copenhagen".to_owned(),
        settings: json!({"reminder_days": 3, "vip": ["+4520"]}).to_string(),
        lockdown: false,
        command_handlers: std::collections::BTreeMap::new(),
        created_at: Timestamp(0),
        lockdown_since: None,
        data_key: Vec::new(),
    }
}

fn event(event_type: &str, data: &serde_json::Value) -> Event {
    Event {
        key: Key::default(),
        id: "evt_1".into(),
        tenant: "acme".parse().unwrap(),
        event_type: event_type.parse().unwrap(),
        source: "api".into(),
        subject: None,
        time: "2026-11-20T22:30:00Z".parse().unwrap(),
        accepted_at: Timestamp(0),
        ordering_key: None,
        correlation_id: "c".into(),
        traceparent: "t".into(),
        cause: None,
        request: None,
        hop: 0,
        urgency: Urgency::Normal,
        expires_at: None,
        private_to: None,
        extensions: None,
        data: data.to_string().into(),
    }
}

fn set(rules: &serde_json::Value) -> RuleSet {
    let (set, faults) = RuleSet::of_config(&json!({"rules": rules}).to_string());
    assert_eq!(faults, []);
    set
}

fn matched(set: &RuleSet, event_type: &str, data: &serde_json::Value) -> Vec<Matched> {
    let (event, tenant) = (event(event_type, data), tenant());
    let facts = EventFacts::new(&event, data);
    evaluate(set, &event.event_type, &RuleFacts::new(&facts, &tenant), &Catalogue::default())
}

fn rule(name: &str, on: &str, more: serde_json::Value) -> serde_json::Value {
    let mut rule = json!({"name": name, "on": on, "emit": [{"type": "note.made", "data": "{'from': data.from}"}]});
    rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rule
}

fn names(matched: &[Matched]) -> Vec<&str> {
    matched.iter().map(|matched| matched.name.as_str()).collect()
}

#[test]
fn rules_match_by_type_and_condition_over_data_settings_tenant_and_local_time() {
    let set = set(&json!([
        rule("exact", "sms.received", json!({})),
        rule("pattern", "sms.*", json!({"when": "data.text.contains('help')"})),
        rule("other", "call.received", json!({})),
        rule("settings", "*", json!({"when": "data.days > settings.reminder_days && data.from in settings.vip"})),
        rule("evening", "*", json!({"when": "local.hour == 23 && local.weekday == 5 && tenant.id == 'acme'"})),
        rule("off", "*", json!({"mode": "off"})),
    ]));
    let data = json!({"from": "+4520", "text": "please help", "days": 4});
    assert_eq!(names(&matched(&set, "sms.received", &data)), ["exact", "pattern", "settings", "evening"]);
}

#[test]
fn a_mapping_builds_what_is_emitted() {
    let set = set(&json!([{
        "name": "reply", "on": "sms.received", "once_per": "data.from", "throttle": {"count": 2, "period_s": 60},
        "emit": [{
            "type": "sms.send", "subject": "data.from", "expires_after_s": 60,
            "data": "{'to': data.from, 'body': 'Hi ' + data.name, 'tags': [event.type, 'auto'], 'n': {'a': size(data.name)}}",
        }],
    }]));
    let matched = matched(&set, "sms.received", &json!({"from": "+4520", "name": "Ada"}));
    let emitted = &matched[0].emits[0];
    assert_eq!(emitted.data, json!({"to": "+4520", "body": "Hi Ada", "tags": ["sms.received", "auto"], "n": {"a": 3}}));
    assert_eq!((emitted.subject.as_deref(), emitted.expires_after_s), (Some("+4520"), Some(60)));
    let once = matched[0].once.as_deref().unwrap();
    assert!(once.starts_with("once/reply/") && !once.contains("4520"), "{once}");
    assert!(matched[0].throttle.as_ref().unwrap().key.starts_with("throttle/reply/"));
}

#[test]
fn a_rule_that_cannot_act_says_why_without_a_value_and_stops_no_other() {
    let set = set(&json!([
        rule("broken", "sms.received", json!({"emit": [{"type": "note.made", "data": "{'x': data.secret + 1}"}]})),
        rule("list", "sms.received", json!({"emit": [{"type": "note.made", "data": "data.list"}]})),
        rule("sound", "sms.received", json!({})),
    ]));
    let matched = matched(&set, "sms.received", &json!({"from": "+4520", "secret": "hidden", "list": [1]}));
    assert_eq!(names(&matched), ["broken", "list", "sound"]);
    let why = |n: usize| matched[n].failure.as_ref().unwrap().message.clone();
    assert!(why(0).contains("types") && !why(0).contains("hidden"), "{}", why(0));
    assert_eq!(why(1), "it must make a map");
    assert_eq!(matched[2].emits[0].data, json!({"from": "+4520"}));
}

#[test]
fn what_a_mapping_makes_has_a_bound() {
    let copies = (0..100).map(|n| format!("'k{n}': data.text")).collect::<Vec<_>>().join(", ");
    let set = set(&json!([rule("much", "a.b", json!({"emit": [{"type": "c.d", "data": format!("{{{copies}}}")}]}))]));
    let matched = matched(&set, "a.b", &json!({"text": "x".repeat(4_000)}));
    assert!(matched[0].failure.as_ref().unwrap().message.contains("more data"), "{:?}", matched[0].failure);
}

#[test]
fn a_failure_is_heard_by_its_exact_name_only() {
    let set = set(&json!([
        rule("all", "*", json!({})),
        rule("prefix", "rule.*", json!({})),
        rule("told", "rule.failed", json!({}))
    ]));
    assert_eq!(names(&matched(&set, "rule.failed", &json!({"from": "x"}))), ["told"]);
}

#[test]
fn every_fault_names_rule_field_line_and_column() {
    let config = json!({"rules": [
        {"name": "A", "on": "sms.received", "emit": [{"type": "a.b", "data": "{}"}]},
        {"name": "syntax", "on": "sms.received", "when": "true &&\n  == 1", "emit": [{"type": "a.b", "data": "{}"}]},
        {"name": "unknown", "on": "sms.received", "emit": [{"type": "a.b", "data": "{'x': nothing.y}"}]},
        {"name": "empty", "on": [], "emit": []},
        {"name": "cron", "on": "sms.received", "cron": "* * * * *", "emit": [{"type": "a.b", "data": "{}"}]},
        {"name": "clock", "on": "schedule", "emit": [{"type": "a.b", "data": "{}"}]},
        {"name": "clock", "on": "_poll.due", "throttle": {"count": 0, "period_s": 0}, "emit": [{"type": "a.b", "data": "{}"}]},
    ]});
    let (set, faults) = RuleSet::of_config(&config.to_string());
    assert_eq!(set.rules().len(), 0);
    let found: Vec<_> = faults.iter().map(|fault| (fault.path(), fault.at.map(|at| at.0))).collect();
    for expected in [
        ("rules[0].name", None),
        ("rules[1].when", Some(2)),
        ("rules[2].emit[0].data", Some(1)),
        ("rules[3].on", None),
        ("rules[3].emit", None),
        ("rules[4].cron", None),
        ("rules[5].cron", None),
        ("rules[6].name", None),
        ("rules[6].on", None),
        ("rules[6].throttle.count", None),
        ("rules[6].throttle.period_s", None),
    ] {
        let (path, line) = expected;
        assert!(found.contains(&(path.to_owned(), line)), "{path} in {found:?}");
    }
    assert!(faults[2].sentence().contains("rule `unknown`, line 1, column 7"), "{}", faults[2].sentence());
    assert!(faults[2].message.contains("`local`"), "{}", faults[2].message);
}

#[test]
fn circles_are_found_with_their_rules_in_order() {
    let emits = |name: &str, on: &str, emits: &str, mode: &str| json!({"name": name, "on": on, "mode": mode, "emit": [{"type": emits, "data": "{}"}]});
    let set = set(&json!([
        emits("one", "a.b", "b.c", "live"),
        emits("two", "b.*", "c.d", "live"),
        emits("three", "c.d", "a.b", "live"),
        emits("self", "x.y", "x.y", "live"),
        emits("ends", "c.d", "z.z", "live"),
        emits("shadow", "q.q", "q.q", "shadow"),
    ]));
    assert_eq!(circles(set.rules(), &Catalogue::default()), [vec!["one", "two", "three"], vec!["self"]]);
}
