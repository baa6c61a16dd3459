//! The types that the host itself emits.

use serde_json::{Value, json};

use crate::plugin::model::{EventKind, EventType};

/// Their definitions.
pub(super) fn all() -> Vec<EventType> {
    let mut types = of_deliveries();
    types.extend(of_connections_and_plugins());
    types.extend(of_endpoints());
    types.push(of_schedules());
    types.push(of(
        "person.erased",
        "A person's data was erased; plugins forget what they keep about the person.",
        &object(
            &["person", "kind"],
            json!({
                "person": {"type": "string", "description": "Keyed hash of the phone number or address."},
                "kind": {"enum": ["phone", "email"]}
            }),
        ),
        &json!({"person": "3f1c9a0e5b7d42688b1f6a90c2d4e7f1", "kind": "phone"}),
    ));
    types
}

fn of_deliveries() -> Vec<EventType> {
    let example = json!({
        "delivery_id": "dlv_0190a6b2c4d47f3a8b5e9c1d2f3a4b5c",
        "event_id": "evt_0190a6b2c4d17e2b9a4d8b0c1e2f3a4b",
        "event_type": "invoice.paid",
        "target": "ep_0190a6b2c4d07d1a8c3b7a9f0d1e2c3b",
        "reason": "subscriber",
        "code": "http_500",
        "message": "the endpoint answered 500"
    });
    let schema = object(
        &["delivery_id", "event_id", "event_type", "target", "reason", "code", "message"],
        json!({
            "delivery_id": {"type": "string"},
            "event_id": {"type": "string"},
            "event_type": {"type": "string"},
            "target": {"type": "string"},
            "reason": {"type": "string"},
            "code": {"type": "string"},
            "message": {"type": "string"}
        }),
    );
    vec![
        of("delivery.died", "A delivery was given up and waits as a dead letter for a person.", &schema, &example),
        of("delivery.held", "Deliveries to a target are held until a person acts.", &schema, &example),
    ]
}

fn of_connections_and_plugins() -> Vec<EventType> {
    vec![
        of(
            "connection.login_needed",
            "A provider refused a connection's credential; what needs it is held until a person renews it.",
            &object(
                &["connection_id", "provider", "name", "message"],
                json!({
                    "connection_id": {"type": "string"},
                    "provider": {"type": "string"},
                    "name": {"type": "string"},
                    "message": {"type": "string"}
                }),
            ),
            &json!({
                "connection_id": "con_0190a6b2c4d37c0a9b2c6d8e0f1a2b3c",
                "provider": "billy",
                "name": "Main account",
                "message": "Billy answered 401"
            }),
        ),
        of(
            "plugin.broken",
            "A version of a plugin keeps failing and is held until a new version arrives or a person says go on.",
            &object(
                &["plugin", "version", "message"],
                json!({
                    "plugin": {"type": "string"},
                    "version": {"type": "string"},
                    "message": {"type": "string"}
                }),
            ),
            &json!({"plugin": "billy", "version": "1.4.0", "message": "trapped 5 times in a row: unreachable"}),
        ),
    ]
}

fn of_endpoints() -> Vec<EventType> {
    let schema = object(
        &["endpoint_id", "url", "message"],
        json!({
            "endpoint_id": {"type": "string"},
            "url": {"type": "string"},
            "message": {"type": "string"},
            "since": {"type": "string", "format": "date-time"}
        }),
    );
    let example = json!({
        "endpoint_id": "ep_0190a6b2c4d07d1a8c3b7a9f0d1e2c3b",
        "url": "https://example.com/hooks",
        "message": "every attempt since 2026-11-20T09:00:00Z failed",
        "since": "2026-11-20T09:00:00Z"
    });
    let test = object(&["test", "endpoint_id"], json!({"test": {"const": true}, "endpoint_id": {"type": "string"}}));
    let test_example = json!({"test": true, "endpoint_id": "ep_0190a6b2c4d07d1a8c3b7a9f0d1e2c3b"});
    vec![
        of("endpoint.failing", "Every attempt at an endpoint has failed for a while.", &schema, &example),
        of("endpoint.disabled", "An endpoint was disabled; its deliveries are held.", &schema, &example),
        of("endpoint.recovered", "An endpoint that failed takes deliveries again.", &schema, &example),
        of("endpoint.test", "A person asked for a test; it goes to that endpoint alone.", &test, &test_example),
    ]
}

fn of_schedules() -> EventType {
    of(
        "schedule.missed",
        "A schedule could not run at its time, since the hub or its installation was down.",
        &object(
            &["plugin", "schedule", "due_at", "missed", "policy"],
            json!({
                "plugin": {"type": "string"},
                "schedule": {"type": "string"},
                "due_at": {"type": "string", "format": "date-time", "description": "The first time that was missed."},
                "missed": {"type": "integer", "description": "How many times passed."},
                "policy": {"enum": ["skip", "run_once"], "description": "Whether it runs once now or not at all."}
            }),
        ),
        &json!({
            "plugin": "rules", "schedule": "overdue-reminders", "due_at": "2026-11-21T08:00:00.000Z", "missed": 2,
            "policy": "run_once"
        }),
    )
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "required": required, "properties": properties})
}

fn of(name: &str, description: &str, schema: &Value, example: &Value) -> EventType {
    EventType {
        name: name.to_owned(),
        kind: EventKind::Event,
        ordering_key: None,
        description: description.to_owned(),
        schema: Some(schema.to_string()),
        example: Some(example.to_string()),
    }
}
