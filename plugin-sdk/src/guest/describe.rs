//! The manifest as it lies in memory, see [`super::convert`].
#![allow(dead_code, reason = "who reads what is written here is the host")]

use super::convert::{json_into, millis};
use super::layout::{List, Maybe, Text, each};
use crate::host;
use crate::json;
use crate::manifest::{self, KeyEncoding};

/// The contract's line that the bindings are made from.
const API: &str = "0.1";

#[repr(C)]
pub struct Manifest {
    id: Text,
    version: Text,
    api: Text,
    description: Text,
    emits: List<EventType>,
    handles: List<EventType>,
    config_schema: Text,
    connections: List<Connection>,
    secrets: List<Secret>,
    schedules: List<Schedule>,
    limits: Limits,
    metrics: List<Metric>,
    extensions: Maybe<Text>,
}

#[repr(C)]
struct EventType {
    name: Text,
    is_command: bool,
    ordering_key: Maybe<Text>,
    description: Text,
    schema: Maybe<Text>,
    example: Maybe<Text>,
}

#[repr(C)]
struct Connection {
    name: Text,
    kind: ConnectionKind,
    base_url: Text,
    methods: List<Method>,
    idempotency: Idempotency,
    required: bool,
    description: Text,
    extensions: Maybe<Text>,
}

#[repr(C, u8)]
enum ConnectionKind {
    Header(Text),
    Basic,
    Bearer,
    Oauth2(Oauth2),
    GoogleServiceAccount(List<Text>),
    Hmac(Text),
    Other(Text),
}

#[repr(C)]
struct Oauth2 {
    authorize_url: Text,
    token_url: Text,
    scopes: List<Text>,
}

#[repr(C, u8)]
enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Other(Text),
}

#[repr(C, u8)]
enum Idempotency {
    None,
    Header(Text),
    Query(Text),
    OwnId,
    Other(Text),
}

#[repr(C)]
struct Secret {
    name: Text,
    kind: SecretKind,
    required: bool,
    description: Text,
}

#[repr(C, u8)]
enum SecretKind {
    /// 0 is text, 1 is hex, 2 is base64.
    MacKey(u8),
    Token,
    Jwt(JwtIssuer),
    Generated,
    Other(Text),
}

#[repr(C)]
struct JwtIssuer {
    issuers: List<Text>,
    jwks_url: Text,
}

#[repr(C)]
struct Schedule {
    name: Text,
    trigger: Trigger,
    description: Text,
}

#[repr(C, u8)]
enum Trigger {
    Cron(Cron),
    Every(u64),
}

#[repr(C)]
struct Cron {
    expression: Text,
    time_zone: Maybe<Text>,
}

#[repr(C)]
struct Limits {
    memory_bytes: Maybe<u64>,
    cpu: Maybe<u64>,
    wall: Maybe<u64>,
    output_bytes: Maybe<u64>,
    http_calls: Maybe<u32>,
    kv_operations: Maybe<u32>,
    response_bytes: Maybe<u64>,
    log_lines: Maybe<u32>,
    log_bytes: Maybe<u64>,
}

#[repr(C)]
struct Metric {
    name: Text,
    is_histogram: bool,
    unit: Text,
    labels: List<Text>,
    description: Text,
}

fn texts(texts: Vec<String>) -> List<Text> {
    each(texts, Text::from).into()
}

impl From<manifest::Manifest> for Manifest {
    fn from(manifest: manifest::Manifest) -> Self {
        let schema = manifest.config_schema.map_or_else(|| r#"{"type":"object"}"#.to_owned(), |it| json::write(&it));
        Self {
            id: manifest.id.into(),
            version: manifest.version.into(),
            api: API.to_owned().into(),
            description: manifest.description.into(),
            emits: each(manifest.emits, EventType::from).into(),
            handles: each(manifest.handles, EventType::from).into(),
            config_schema: schema.into(),
            connections: each(manifest.connections, Connection::from).into(),
            secrets: each(manifest.secrets, Secret::from).into(),
            schedules: each(manifest.schedules, Schedule::from).into(),
            limits: manifest.limits.into(),
            metrics: each(manifest.metrics, Metric::from).into(),
            extensions: Maybe::None,
        }
    }
}

impl From<manifest::EventType> for EventType {
    fn from(event_type: manifest::EventType) -> Self {
        Self {
            name: event_type.name.into(),
            is_command: event_type.kind == manifest::EventKind::Command,
            ordering_key: event_type.ordering_key.into(),
            description: event_type.description.into(),
            schema: json_into(event_type.schema.as_ref()),
            example: json_into(event_type.example.as_ref()),
        }
    }
}

impl From<manifest::Connection> for Connection {
    fn from(connection: manifest::Connection) -> Self {
        let extensions = json_into(connection.extensions().as_ref());
        let kind = match connection.kind {
            manifest::ConnectionKind::Header(name) => ConnectionKind::Header(name.into()),
            manifest::ConnectionKind::Basic => ConnectionKind::Basic,
            manifest::ConnectionKind::Bearer => ConnectionKind::Bearer,
            manifest::ConnectionKind::Oauth2 { authorize_url, token_url, scopes } => ConnectionKind::Oauth2(Oauth2 {
                authorize_url: authorize_url.into(),
                token_url: token_url.into(),
                scopes: texts(scopes),
            }),
            manifest::ConnectionKind::GoogleServiceAccount(scopes) => {
                ConnectionKind::GoogleServiceAccount(texts(scopes))
            }
            manifest::ConnectionKind::Hmac(name) => ConnectionKind::Hmac(name.into()),
            manifest::ConnectionKind::Other(name) => ConnectionKind::Other(name.into()),
        };
        Self {
            name: connection.name.into(),
            kind,
            base_url: connection.base_url.into(),
            methods: each(connection.methods, Method::from).into(),
            idempotency: connection.idempotency.into(),
            required: connection.required,
            description: connection.description.into(),
            extensions,
        }
    }
}

impl From<host::Method> for Method {
    fn from(method: host::Method) -> Self {
        match method {
            host::Method::Get => Self::Get,
            host::Method::Head => Self::Head,
            host::Method::Post => Self::Post,
            host::Method::Put => Self::Put,
            host::Method::Patch => Self::Patch,
            host::Method::Delete => Self::Delete,
            host::Method::Other(token) => Self::Other(token.into()),
        }
    }
}

impl From<host::Idempotency> for Idempotency {
    fn from(idempotency: host::Idempotency) -> Self {
        match idempotency {
            host::Idempotency::None => Self::None,
            host::Idempotency::Header(name) => Self::Header(name.into()),
            host::Idempotency::Query(name) => Self::Query(name.into()),
            host::Idempotency::OwnId => Self::OwnId,
            host::Idempotency::Other(name) => Self::Other(name.into()),
        }
    }
}

impl From<manifest::Secret> for Secret {
    fn from(secret: manifest::Secret) -> Self {
        let kind = match secret.kind {
            manifest::SecretKind::MacKey(KeyEncoding::Text) => SecretKind::MacKey(0),
            manifest::SecretKind::MacKey(KeyEncoding::Hex) => SecretKind::MacKey(1),
            manifest::SecretKind::MacKey(KeyEncoding::Base64) => SecretKind::MacKey(2),
            manifest::SecretKind::Token => SecretKind::Token,
            manifest::SecretKind::Jwt { issuers, jwks_url } => {
                SecretKind::Jwt(JwtIssuer { issuers: texts(issuers), jwks_url: jwks_url.into() })
            }
            manifest::SecretKind::Generated => SecretKind::Generated,
            manifest::SecretKind::Other(name) => SecretKind::Other(name.into()),
        };
        Self { name: secret.name.into(), kind, required: secret.required, description: secret.description.into() }
    }
}

impl From<manifest::Schedule> for Schedule {
    fn from(schedule: manifest::Schedule) -> Self {
        let trigger = match schedule.trigger {
            manifest::Trigger::Cron { expression, time_zone } => {
                Trigger::Cron(Cron { expression: expression.into(), time_zone: time_zone.into() })
            }
            manifest::Trigger::Every(period) => Trigger::Every(millis(period)),
        };
        Self { name: schedule.name.into(), trigger, description: schedule.description.into() }
    }
}

impl From<manifest::Limits> for Limits {
    fn from(limits: manifest::Limits) -> Self {
        Self {
            memory_bytes: limits.memory_bytes.into(),
            cpu: limits.cpu.map(millis).into(),
            wall: limits.wall.map(millis).into(),
            output_bytes: limits.output_bytes.into(),
            http_calls: limits.http_calls.into(),
            kv_operations: limits.kv_operations.into(),
            response_bytes: limits.response_bytes.into(),
            log_lines: limits.log_lines.into(),
            log_bytes: limits.log_bytes.into(),
        }
    }
}

impl From<manifest::Metric> for Metric {
    fn from(metric: manifest::Metric) -> Self {
        Self {
            name: metric.name.into(),
            is_histogram: metric.kind == manifest::MetricKind::Histogram,
            unit: metric.unit.into(),
            labels: texts(metric.labels),
            description: metric.description.into(),
        }
    }
}
