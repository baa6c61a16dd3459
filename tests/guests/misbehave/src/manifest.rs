//! What the guest says of itself. A test changes the last digit of [`MODE`] in the compiled file, since `describe`
//! has no argument that could carry a command.

use std::{collections::HashMap, hint::black_box};

use crate::{
    asks,
    bindings::{
        exports::switchyard::plugin::plugin::{EventKind, EventType, Limits, Manifest, Schedule, Trigger},
        switchyard::plugin::metrics,
    },
    crimes,
};

static MODE: [u8; 15] = *b"describe-mode-0";

pub(crate) fn describe() -> Manifest {
    let description = match black_box(&MODE)[14] {
        b'1' => format!("{:?}", (0..20).map(|n| (n, n)).collect::<HashMap<u8, u8>>()),
        b'2' => crimes::commit("loop", 0).to_string(),
        b'3' => asks::ask("kv", 0).to_string(),
        b'4' => {
            metrics::counter_add("calls_total", 1, &[]);
            String::new()
        }
        b'5' => crimes::commit("alloc", 32 << 20).to_string(),
        b'6' => "x".repeat(2 << 20),
        _ => "Misbehaves on command.".to_owned(),
    };
    Manifest {
        id: "misbehave".to_owned(),
        version: "0.1.0".to_owned(),
        api: "0.1".to_owned(),
        description,
        emits: vec![event("test.done", EventKind::Event)],
        handles: vec![event("test.do", EventKind::Command)],
        config_schema: "{\"type\":\"object\"}".to_owned(),
        connections: vec![],
        secrets: vec![],
        schedules: vec![Schedule {
            name: "news".to_owned(),
            trigger: Trigger::Every(60_000),
            description: "Looks for news.".to_owned(),
        }],
        limits: Limits {
            memory_bytes: None,
            cpu: None,
            wall: None,
            output_bytes: None,
            http_calls: None,
            kv_operations: None,
            response_bytes: None,
            log_lines: None,
            log_bytes: None,
        },
        metrics: vec![],
        extensions: None,
    }
}

fn event(name: &str, kind: EventKind) -> EventType {
    EventType {
        name: name.to_owned(),
        kind,
        ordering_key: None,
        description: "For the tests.".to_owned(),
        schema: None,
        example: None,
    }
}
