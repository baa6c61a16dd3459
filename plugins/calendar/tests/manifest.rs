//! What the plugin says of itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

mod support;

use calendar::Calendar;
use serde_json::json;
use switchyard_sdk::dispatch::describe;
use switchyard_sdk::testing::config_schema_is_derived;

#[test]
fn every_example_conforms_to_its_schema_and_every_schema_requires_something() {
    let manifest = describe::<Calendar>();
    for event_type in manifest.emits.iter().chain(&manifest.handles) {
        let (schema, example) = (event_type.schema.as_ref().unwrap(), event_type.example.as_ref().unwrap());
        let validator = jsonschema::draft202012::new(schema).unwrap();
        assert!(validator.is_valid(example), "{}: {:?}", event_type.name, validator.iter_errors(example).next());
        assert!(!validator.is_valid(&json!({})), "{} requires nothing", event_type.name);
    }
    assert_eq!(describe::<Calendar>(), manifest);
}

#[test]
fn the_config_schema_asks_for_calendars_and_a_zone_and_refuses_what_it_does_not_know() {
    let schema = describe::<Calendar>().config_schema.unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    assert!(validator.is_valid(&support::config()));
    for (field, value) in [("calendars", json!([])), ("time_zones", json!("x")), ("holidays", json!(["tomorrow"]))] {
        let mut config = support::config();
        config[field] = value;
        assert!(!validator.is_valid(&config), "{config}");
    }
    assert!(!validator.is_valid(&json!({ "calendars": [{ "id": "primary" }] })));
}

#[test]
fn the_schema_of_the_config_is_the_one_that_its_types_have() {
    config_schema_is_derived::<Calendar>(concat!(env!("CARGO_MANIFEST_DIR"), "/src/config.schema.json"));
}
