use serde_json::json;

use super::*;
use crate::plugin::model::{EventKind, EventType as TypeEntry, LimitsRequest, Manifest};

fn entry(name: &str, kind: EventKind, schema: Option<Value>) -> TypeEntry {
    TypeEntry {
        name: name.to_owned(),
        kind,
        ordering_key: None,
        description: "Something.".to_owned(),
        schema: schema.map(|schema| schema.to_string()),
        example: None,
    }
}

fn catalogue() -> Catalogue {
    let sms = json!({
        "type": "object", "required": ["to", "body"], "additionalProperties": false,
        "properties": {
            "to": {"type": "string", "pattern": "^\\+[0-9]+$"}, "body": {"type": "string"},
            "parts": {"type": "integer"}, "money": {"$ref": "#/$defs/money"}
        },
        "$defs": {"money": {"type": "object", "required": ["amount"], "properties": {"amount": {"type": "string"}}}}
    });
    let received = json!({
        "type": "object", "required": ["from"], "additionalProperties": false,
        "properties": {
            "from": {"type": "string"}, "text": {"type": "string"}, "count": {"type": "integer"},
            "who": {"type": "object", "additionalProperties": false, "properties": {"name": {"type": "string"}}}
        }
    });
    let manifest = Manifest {
        id: "twilio".to_owned(),
        version: "1.0.0".to_owned(),
        api: "0.1".to_owned(),
        description: String::new(),
        emits: vec![
            entry("sms.received", EventKind::Event, Some(received)),
            entry("sms.failed", EventKind::Event, None),
        ],
        handles: vec![entry("sms.send", EventKind::Command, Some(sms))],
        config_schema: "{}".to_owned(),
        connections: Vec::new(),
        secrets: Vec::new(),
        schedules: Vec::new(),
        limits: LimitsRequest::default(),
        metrics: Vec::new(),
        extensions: None,
    };
    Catalogue::build([(Timestamp(0), &manifest)])
}

fn faults(rules: &Value) -> Vec<String> {
    let rules: Rules = serde_json::from_value(rules.clone()).unwrap();
    let catalogue = catalogue();
    let now = "2026-11-21T09:00:00Z".parse().unwrap();
    let around = Surroundings { catalogue: &catalogue, grants: None, time_zone: "Europe/Copenhagen", now };
    check(&rules, &around).iter().map(ToString::to_string).collect()
}

/// The only fault of a rule on `sms.received` with these parts.
#[track_caller]
fn fault(parts: Value) -> String {
    let mut rule = json!({"name": "r", "on": "sms.received",
        "emit": [{"type": "sms.send", "data": "{'to': data.from, 'body': 'Hi'}"}]});
    rule.as_object_mut().unwrap().extend(parts.as_object().unwrap().clone());
    let mut found = faults(&json!({"rules": [rule]}));
    assert!(found.len() <= 1, "{found:#?}");
    found.pop().unwrap_or_default()
}

fn mapping(data: &str) -> Value {
    json!({"emit": [{"type": "sms.send", "data": data}]})
}

#[test]
fn a_sound_rule_has_no_fault() {
    assert_eq!(fault(json!({})), "");
    assert_eq!(fault(json!({"when": "has(data.text) && data.count > 2 && size(data.who.name) > 1"})), "");
    assert_eq!(fault(mapping("{'to': data.from, 'body': 'n: ' + string(data.count), 'parts': size(data.text)}")), "");
    assert_eq!(fault(json!({"emit": [{"type": "sms.send", "data": "data"}]})), "", "what only an event can tell");
}

#[test]
fn types_that_there_are_not_are_refused_in_on_and_emit() {
    let unknown = fault(json!({"on": "sms.recieved"}));
    assert!(
        unknown.starts_with("rules[0].on: rule `r`: there is no event type `sms.recieved`; there are"),
        "{unknown}"
    );
    assert!(unknown.contains("sms.received"), "{unknown}");
    assert!(fault(json!({"on": "nothing.*"})).contains("covers no event type"));
    assert!(fault(json!({"on": "sms.send"})).contains("is a command"));
    assert!(fault(json!({"emit": [{"type": "sms.sent_it", "data": "{}"}]})).contains("emit[0].type"));
    let own = json!({"rules": [{"name": "r", "on": "order.placed", "emit": [{"type": "order.noted", "data": "{}"}]}],
        "own_types": ["order.placed", "order.noted"]});
    assert_eq!(faults(&own), Vec::<String>::new());
    assert!(faults(&json!({"rules": [], "own_types": ["Order"]}))[0].starts_with("own_types: `Order`"));
}

#[test]
fn a_mapping_is_held_against_the_schema_of_its_type() {
    let missing = fault(mapping("{\n  'to': data.from\n}"));
    assert!(missing.contains("line 1") && missing.contains("lacks body"), "{missing}");
    let extra = fault(mapping("{'to': data.from,\n 'body': 'x',\n 'colour': 'red'}"));
    assert!(extra.contains("line 3, column 12") && extra.contains("no field `colour`"), "{extra}");
    assert!(fault(mapping("{'to': data.from, 'body': size(data.text)}")).contains("data.body must be of type string"));
    assert!(fault(mapping("{'to': '12', 'body': 'x'}")).contains("data.to"));
    assert!(fault(mapping("{'to': data.from, 'body': 'x', 'parts': data.count > 1}")).contains("makes a boolean"));
    assert!(fault(mapping("{'to': data.from, 'body': 'x', 'money': {'currency': 'DKK'}}")).contains("lacks amount"));
    assert!(fault(mapping("[1]")).contains("must make a map"));
}

#[test]
fn fields_that_the_events_cannot_have_are_refused_where_their_schemas_are_closed() {
    let typo = fault(json!({"when": "data.from == 'a' ||\n data.txt == 'b'"}));
    assert!(typo.contains("line 2") && typo.contains("`data` has no field `txt`; it has"), "{typo}");
    assert!(fault(json!({"once_per": "data.who.nam"})).contains("`data.who` has no field `nam`"));
    assert!(fault(mapping("{'to': data.sender, 'body': 'x'}")).contains("no field `sender`"));
    assert_eq!(
        fault(json!({"on": ["sms.received", "sms.failed"], "when": "data.txt == 'b'"})),
        "",
        "another may have it"
    );
}

#[test]
fn what_is_no_condition_or_no_text_is_refused() {
    assert!(fault(json!({"when": "size(data.text)"})).contains("must be true or false"));
    assert!(fault(json!({"when": "'yes'"})).contains("must be true or false"));
    let subject =
        json!({"emit": [{"type": "sms.send", "subject": "size(data.text)", "data": "{'to': data.from, 'body': ''}"}]});
    assert!(fault(subject).contains("emit[0].subject"));
}

#[test]
fn a_schedule_needs_times_that_come() {
    let at = |parts: Value| {
        let mut rule =
            json!({"name": "r", "on": "schedule", "emit": [{"type": "sms.send", "data": "{'to': '+45', 'body': ''}"}]});
        rule.as_object_mut().unwrap().extend(parts.as_object().unwrap().clone());
        faults(&json!({"rules": [rule]})).join("; ")
    };
    assert_eq!(
        at(json!({"cron": "0 9 * * 1-5", "time_zone": "Europe/Copenhagen", "missed": "skip", "jitter_s": 60})),
        ""
    );
    assert!(at(json!({})).contains("rules[0].cron"));
    assert!(at(json!({"cron": "0 0 31 2 *"})).contains("never comes true"));
    assert!(at(json!({"cron": ", * * * *"})).contains("empty"));
    assert!(at(json!({"cron": "0 9 * * *", "time_zone": "Nowhere"})).contains("rules[0].time_zone"));
    assert!(at(json!({"cron": "0 9 * * *", "jitter_s": 7200})).contains("rules[0].jitter_s"));
}
