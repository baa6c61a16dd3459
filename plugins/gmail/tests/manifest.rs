//! What the plugin says of itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use gmail::Gmail;
use serde_json::{Value, json};
use switchyard_sdk::dispatch::describe;
use switchyard_sdk::testing::config_schema_is_derived;

#[test]
fn every_example_conforms_to_its_schema_and_every_schema_has_one() {
    let manifest = describe::<Gmail>();
    for event_type in manifest.emits.iter().chain(&manifest.handles) {
        let (schema, example) = (event_type.schema.as_ref().unwrap(), event_type.example.as_ref().unwrap());
        let validator = jsonschema::draft202012::new(schema).unwrap();
        assert!(validator.is_valid(example), "{}: {:?}", event_type.name, validator.iter_errors(example).next());
        assert!(!validator.is_valid(&json!({})), "{} requires nothing", event_type.name);
    }
}

#[test]
fn the_config_schema_asks_for_the_mailbox_and_refuses_what_it_does_not_know() {
    let schema = describe::<Gmail>().config_schema.unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let valid = |config: Value| validator.is_valid(&config);
    let push = |topic: &str| json!({ "topic": topic, "service_account": "sa@p.iam.gserviceaccount.com" });
    assert!(valid(json!({ "mailbox": "a@b.test" })));
    assert!(valid(json!({ "mailbox": "a@b.test", "from_name": "Firma", "push": push("projects/p/topics/t") })));
    assert!(!valid(json!({})));
    assert!(!valid(json!({ "mailbox": "nobody" })));
    assert!(!valid(json!({ "mailbox": "a@b.test", "mail": 1 })));
    assert!(!valid(json!({ "mailbox": "a@b.test", "poll_minutes": 0 })));
    assert!(!valid(json!({ "mailbox": "a@b.test", "labels": [] })));
    assert!(!valid(json!({ "mailbox": "a@b.test", "push": push("gmail") })));
    assert!(!valid(json!({ "mailbox": "a@b.test", "push": { "topic": "projects/p/topics/t" } })));
}

#[test]
fn a_command_is_judged_by_its_schema_before_it_reaches_the_plugin() {
    let manifest = describe::<Gmail>();
    let schema = manifest.handles[0].schema.as_ref().unwrap();
    let validator = jsonschema::draft202012::new(schema).unwrap();
    let valid = |data: Value| validator.is_valid(&data);
    assert!(valid(json!({ "to": ["a@b.test"], "text": "x" })));
    assert!(valid(json!({ "to": [{ "email": "a@b.test", "name": "A" }], "html": "x", "subject": "s" })));
    assert!(!valid(json!({ "to": ["a@b.test"] })));
    assert!(!valid(json!({ "to": [], "text": "x" })));
    assert!(!valid(json!({ "to": ["nobody"], "text": "x" })));
    assert!(!valid(json!({ "to": ["a@b.test\r\nBcc: c@d.test"], "text": "x" })));
    assert!(!valid(json!({ "to": [{ "name": "A" }], "text": "x" })));
}

#[test]
fn two_descriptions_are_equal() {
    assert_eq!(describe::<Gmail>(), describe::<Gmail>());
}

#[test]
fn the_schema_of_the_config_is_the_one_that_its_types_have() {
    config_schema_is_derived::<Gmail>(concat!(env!("CARGO_MANIFEST_DIR"), "/src/config.schema.json"));
}
