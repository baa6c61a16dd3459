//! What tenants write into rules: conditions, mappings and keys, compiled, checked and evaluated on an event.

use std::collections::BTreeMap;

use serde_json::json;
use switchyard::{
    clock::Timestamp,
    event::{Event, Urgency, catalogue::Catalogue},
    id::Key,
    route::filter::EventFacts,
    rule::{
        check::{Surroundings, check},
        definition::Rules,
        evaluate::evaluate,
        facts::RuleFacts,
        set::RuleSet,
    },
    store::registry::TenantRow,
};
use switchyard_fuzz::fuzz;

fn tenant() -> TenantRow {
    TenantRow {
        id: "acme".parse().unwrap(),
        name: "Acme".to_owned(),
        time_zone: "Europe/Copenhagen".to_owned(),
        settings: r#"{"a": [1, {"b": "c"}]}"#.to_owned(),
        lockdown: false,
        command_handlers: BTreeMap::new(),
        created_at: Timestamp(0),
        lockdown_since: None,
        data_key: Vec::new(),
    }
}

fn event() -> Event {
    Event {
        key: Key::default(),
        id: "evt_1".into(),
        tenant: "acme".parse().unwrap(),
        event_type: "endpoint.test".parse().unwrap(),
        source: "api".into(),
        subject: None,
        time: Timestamp(1_700_000_000_000),
        accepted_at: Timestamp(1_700_000_000_000),
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
        data: "{}".into(),
    }
}

#[test]
fn fuzz_rules() {
    let (tenant, event) = (tenant(), event());
    let data = json!({"test": true, "t": "x".repeat(2_000), "l": [1, [2, {"m": null}]], "m": {"n": -1.5}});
    let catalogue = Catalogue::build([]);
    let seeds: [&[u8]; 8] = [
        b"data.test && settings.a[1].b == 'c'|{'test': true, 'endpoint_id': data.t}",
        b"local.hour > 7 && local.weekday < 6|{'a': [data, data, {'b': data.l}], 'c': size(data.t)}",
        b"|{'x': {'x': {'x': {'x': {'x': data.m.n + 1.0}}}}}",
        b"true|data",
        b"has(data.m) ? data.t.matches('^x') : false|{'\\u0000': 'a' + 'b', 'a': 1, 'a': 2}",
        b"tenant.name == 'Acme'|[[[[[[[[data]]]]]]]]",
        b"data.l[1][1].m == null|{1: 2}",
        b"event.type in ['a.b']|{'n': 1e999, 'm': -9223372036854775808, 'u': 18446744073709551615u}",
    ];
    let words =
        ["data.", "settings.", "local.", "tenant.", "{'", "': ", "}", "[", "]", " ? ", " : ", "has(", "|", " + "];
    fuzz(&seeds, &words, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (when, mapping) = text.split_once('|').unwrap_or(("true", &text));
        let rule = json!({"name": "r", "on": "endpoint.test", "when": when, "once_per": mapping,
            "emit": [{"type": "endpoint.test", "data": mapping, "subject": when}]});
        let config = json!({"rules": [rule]});
        let rules: Rules = serde_json::from_value(config.clone()).expect("texts are texts");
        let around =
            Surroundings { catalogue: &catalogue, grants: None, time_zone: "UTC", now: Timestamp(1_700_000_000_000) };
        let found = check(&rules, &around).len();
        let (set, faults) = RuleSet::of_config(&config.to_string());
        assert!(faults.is_empty() != set.rules().is_empty(), "a rule is sound or has a fault");
        let facts = EventFacts::new(&event, &data);
        let matched = evaluate(&set, &event.event_type, &RuleFacts::new(&facts, &tenant), &catalogue);
        for rule in &matched {
            assert!(rule.failure.is_none() || rule.emits.is_empty(), "what fails emits nothing");
            assert!(rule.emits.iter().all(|emitted| catalogue.check("endpoint.test", &emitted.data).is_ok()));
        }
        (found.min(4), matched.len(), matched.first().map(|rule| rule.failure.is_some()))
    });
}
