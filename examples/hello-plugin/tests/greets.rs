//! The plugin, run natively.

use hello_plugin::Hello;
use serde_json::json;
use switchyard_sdk::testing::MockHost;
use switchyard_sdk::{Event, PluginError, Reason};

#[test]
fn whoever_asks_is_greeted() {
    let asked = Event::new("greeting.requested", json!({ "name": "Ada" }));
    let output = MockHost::new().handle::<Hello>(json!({ "greeting": "Hello" }), asked).unwrap();
    assert_eq!(output.events.len(), 1);
    assert_eq!(output.events[0].event_type, "greeting.made");
    assert_eq!(output.events[0].data, json!({ "text": "Hello, Ada!" }));
}

#[test]
fn a_request_without_a_name_is_rejected_as_bad_data() {
    let error = MockHost::new()
        .handle::<Hello>(json!({ "greeting": "Hello" }), Event::new("greeting.requested", json!({})))
        .unwrap_err();
    assert!(matches!(&error, PluginError::Reject(detail) if detail.reason == Reason::BadData), "{error}");
    assert!(error.to_string().contains("`name`"), "{error}");
}

#[test]
fn a_config_that_does_not_fit_needs_attention_and_names_the_field() {
    let asked = Event::new("greeting.requested", json!({ "name": "Ada" }));
    let error = MockHost::new().handle::<Hello>(json!({ "greeting": 7 }), asked).unwrap_err();
    assert!(matches!(&error, PluginError::NeedsAttention(detail) if detail.reason == Reason::Config), "{error}");
    assert!(error.to_string().contains("greeting"), "{error}");
}
