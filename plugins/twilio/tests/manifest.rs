//! What the plugin says of itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use switchyard_sdk::dispatch::describe;
use switchyard_sdk::testing::config_schema_is_derived;
use twilio::Twilio;

#[test]
fn every_example_conforms_to_its_schema_and_every_schema_has_one() {
    let manifest = describe::<Twilio>();
    for event_type in manifest.emits.iter().chain(&manifest.handles) {
        let (schema, example) = (event_type.schema.as_ref().unwrap(), event_type.example.as_ref().unwrap());
        let validator = jsonschema::draft202012::new(schema).unwrap();
        assert!(validator.is_valid(example), "{}: {:?}", event_type.name, validator.iter_errors(example).next());
        assert!(!validator.is_valid(&serde_json::json!({})), "{} requires nothing", event_type.name);
    }
}

#[test]
fn the_config_schema_asks_for_the_account_and_refuses_what_it_does_not_know() {
    let schema = describe::<Twilio>().config_schema.unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let valid = |config: serde_json::Value| validator.is_valid(&config);
    assert!(valid(serde_json::json!({ "account_sid": "AC00000000000000000000000000000001" })));
    assert!(!valid(serde_json::json!({})));
    assert!(!valid(serde_json::json!({ "account_sid": "AC1", "acount": 1 })));
    assert!(!valid(serde_json::json!({ "account_sid": "AC1", "shared_keys": [{ "id": "k", "algorithm": "MD5" }] })));
}

#[test]
fn two_descriptions_are_equal() {
    assert_eq!(describe::<Twilio>(), describe::<Twilio>());
}

#[test]
fn the_schema_of_the_config_is_the_one_that_its_types_have() {
    config_schema_is_derived::<Twilio>(concat!(env!("CARGO_MANIFEST_DIR"), "/src/config.schema.json"));
}
