//! What the guest says of itself. A test changes [`MODE`], [`VERSION`] or [`API`] in the compiled file, since
//! `describe` has no argument that could carry a command.

use std::{collections::HashMap, hint::black_box};

use crate::{
    asks,
    bindings::{
        exports::switchyard::plugin::plugin::{
            Connection, ConnectionKind, EventKind, EventType, KeyEncoding, Limits, Manifest, Schedule, Secret,
            SecretKind, Trigger,
        },
        switchyard::plugin::{
            metrics,
            types::{Idempotency, Method},
        },
    },
    crimes,
};

static MODE: [u8; 15] = *b"describe-mode-0";

static VERSION: [u8; 22] = *b"describe-version-0.1.0";

static API: [u8; 16] = *b"describe-api-0.1";

/// The version that the guest says it is.
pub(crate) fn version() -> String {
    String::from_utf8_lossy(&black_box(&VERSION)[17..]).into_owned()
}

pub(crate) fn describe() -> Manifest {
    let mode = black_box(&MODE)[14];
    let description = match mode {
        b'1' => format!("{:?}", (0..20).map(|n| (n, n)).collect::<HashMap<u8, u8>>()),
        b'2' => crimes::commit("loop", 0).to_string(),
        b'3' => asks::ask("kv", 0).to_string(),
        b'4' => {
            metrics::counter_add("calls_total", 1, &[]);
            String::new()
        }
        b'5' => crimes::commit("alloc", 32 << 20).to_string(),
        b'6' => "x".repeat(2 << 20),
        b'7' => crimes::commit("trap", 0).to_string(),
        b'8' => String::new(),
        _ => "Misbehaves on command.".to_owned(),
    };
    Manifest {
        id: "misbehave".to_owned(),
        version: version(),
        api: String::from_utf8_lossy(&black_box(&API)[13..]).into_owned(),
        description,
        emits: vec![event("test.done", EventKind::Event)],
        // The others are what reaches people; to call one of them an event does not make it one.
        handles: vec![
            event("test.do", EventKind::Command),
            event("sms.send", EventKind::Command),
            event("email.send", EventKind::Command),
            event("call.create", EventKind::Event),
            event("appointment.create", EventKind::Command),
            event("appointment.update", EventKind::Command),
        ],
        config_schema: "{\"type\":\"object\"}".to_owned(),
        connections: vec![
            connection("provider", ConnectionKind::Header("x-token".to_owned())),
            connection("basic", ConnectionKind::Basic),
            connection("bearer", ConnectionKind::Bearer),
            connection("unbound", ConnectionKind::Bearer),
        ],
        secrets: vec![Secret {
            name: "inbound".to_owned(),
            kind: SecretKind::MacKey(KeyEncoding::Text),
            required: false,
            description: "For the tests.".to_owned(),
        }],
        schedules: vec![Schedule {
            name: "news".to_owned(),
            trigger: Trigger::Every(60_000),
            description: "Looks for news.".to_owned(),
        }],
        limits: Limits {
            memory_bytes: (mode == b'9').then_some(1 << 40),
            // For work that is long on a slow machine, and not what its test is about.
            cpu: (mode == b'p').then_some(2_000),
            // Less than the default, so that a test of it is quick.
            wall: Some(10_000),
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

fn connection(name: &str, kind: ConnectionKind) -> Connection {
    Connection {
        name: name.to_owned(),
        kind,
        base_url: "https://provider.example".to_owned(),
        methods: vec![Method::Get, Method::Post, Method::Put],
        idempotency: Idempotency::None,
        required: false,
        description: "For the tests.".to_owned(),
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
