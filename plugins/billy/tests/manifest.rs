//! What the plugin says of itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use billy::Billy;
use serde_json::json;
use switchyard_sdk::dispatch::describe;
use switchyard_sdk::testing::config_schema_is_derived;

#[test]
fn every_example_conforms_to_its_schema_and_every_schema_requires_something() {
    let manifest = describe::<Billy>();
    for event_type in manifest.emits.iter().chain(&manifest.handles) {
        let (schema, example) = (event_type.schema.as_ref().unwrap(), event_type.example.as_ref().unwrap());
        let validator = jsonschema::draft202012::new(schema).unwrap();
        assert!(validator.is_valid(example), "{}: {:?}", event_type.name, validator.iter_errors(example).next());
        assert!(!validator.is_valid(&json!({})), "{} requires nothing", event_type.name);
    }
}

#[test]
fn an_invoice_without_lines_or_with_a_float_as_price_breaks_the_schema() {
    let manifest = describe::<Billy>();
    let create = manifest.handles.iter().find(|handled| handled.name == "invoice.create").unwrap();
    let validator = jsonschema::draft202012::new(create.schema.as_ref().unwrap()).unwrap();
    let with = |line| json!({ "customer": { "name": "Kunde" }, "lines": [line] });
    assert!(validator.is_valid(&with(json!({ "description": "x", "quantity": 1.5, "unit_price": "400" }))));
    assert!(!validator.is_valid(&with(json!({ "description": "x", "quantity": 1, "unit_price": 400.0 }))));
    assert!(!validator.is_valid(&json!({ "customer": { "name": "Kunde" }, "lines": [] })));
}

#[test]
fn the_config_schema_refuses_what_it_does_not_know() {
    let schema = describe::<Billy>().config_schema.unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    assert!(validator.is_valid(&json!({ "organization_id": "ORG" })));
    assert!(validator.is_valid(&json!({ "organization_id": "ORG", "tax_mode": "incl", "product_id": "P" })));
    assert!(!validator.is_valid(&json!({ "organization_id": "ORG", "tax_mode": "maybe" })));
    assert!(!validator.is_valid(&json!({ "organisation_id": "ORG" })));
}

#[test]
fn the_schema_of_the_config_is_the_one_that_its_types_have() {
    config_schema_is_derived::<Billy>(concat!(env!("CARGO_MANIFEST_DIR"), "/src/config.schema.json"));
}
