//! The manifest. Nothing is judged here; `manifest::validate` does that on plain data.

use super::{idempotency, method};
use crate::plugin::{
    bindings::plugin::exports::switchyard::plugin::plugin as raw,
    model::{
        ConnectionKind, ConnectionSpec, EventKind, EventType, KeyEncoding, LimitsRequest, Manifest, MetricKind,
        MetricSpec, Schedule, SecretKind, SecretSpec, Trigger,
    },
};

pub(in crate::plugin) fn manifest(raw: raw::Manifest) -> Manifest {
    Manifest {
        id: raw.id,
        version: raw.version,
        api: raw.api,
        description: raw.description,
        emits: raw.emits.into_iter().map(event_type).collect(),
        handles: raw.handles.into_iter().map(event_type).collect(),
        config_schema: raw.config_schema,
        connections: raw.connections.into_iter().map(connection).collect(),
        secrets: raw.secrets.into_iter().map(secret).collect(),
        schedules: raw.schedules.into_iter().map(schedule).collect(),
        limits: limits(&raw.limits),
        metrics: raw.metrics.into_iter().map(metric).collect(),
        extensions: raw.extensions,
    }
}

fn event_type(raw: raw::EventType) -> EventType {
    EventType {
        name: raw.name,
        kind: match raw.kind {
            raw::EventKind::Event => EventKind::Event,
            raw::EventKind::Command => EventKind::Command,
        },
        ordering_key: raw.ordering_key,
        description: raw.description,
        schema: raw.schema,
        example: raw.example,
    }
}

fn connection(raw: raw::Connection) -> ConnectionSpec {
    let kind = match raw.kind {
        raw::ConnectionKind::Header(name) => ConnectionKind::Header(name),
        raw::ConnectionKind::Basic => ConnectionKind::Basic,
        raw::ConnectionKind::Bearer => ConnectionKind::Bearer,
        raw::ConnectionKind::Oauth2(raw) => {
            ConnectionKind::Oauth2 { authorize_url: raw.authorize_url, token_url: raw.token_url, scopes: raw.scopes }
        }
        raw::ConnectionKind::GoogleServiceAccount(scopes) => ConnectionKind::GoogleServiceAccount(scopes),
        raw::ConnectionKind::Hmac(header) => ConnectionKind::Hmac(header),
        raw::ConnectionKind::Other(name) => ConnectionKind::Other(name),
    };
    ConnectionSpec {
        name: raw.name,
        kind,
        base_url: raw.base_url,
        methods: raw.methods.into_iter().map(method).collect(),
        idempotency: idempotency(raw.idempotency),
        required: raw.required,
        description: raw.description,
        extensions: raw.extensions,
    }
}

fn secret(raw: raw::Secret) -> SecretSpec {
    let kind = match raw.kind {
        raw::SecretKind::MacKey(raw::KeyEncoding::Text) => SecretKind::MacKey(KeyEncoding::Text),
        raw::SecretKind::MacKey(raw::KeyEncoding::Hex) => SecretKind::MacKey(KeyEncoding::Hex),
        raw::SecretKind::MacKey(raw::KeyEncoding::Base64) => SecretKind::MacKey(KeyEncoding::Base64),
        raw::SecretKind::Token => SecretKind::Token,
        raw::SecretKind::Jwt(raw) => SecretKind::Jwt { issuers: raw.issuers, jwks_url: raw.jwks_url },
        raw::SecretKind::Generated => SecretKind::Generated,
        raw::SecretKind::Other(name) => SecretKind::Other(name),
    };
    SecretSpec { name: raw.name, kind, required: raw.required, description: raw.description }
}

fn schedule(raw: raw::Schedule) -> Schedule {
    let trigger = match raw.trigger {
        raw::Trigger::Cron(raw) => Trigger::Cron { expression: raw.expression, time_zone: raw.time_zone },
        raw::Trigger::Every(wait) => Trigger::Every(wait),
    };
    Schedule { name: raw.name, trigger, description: raw.description }
}

const fn limits(raw: &raw::Limits) -> LimitsRequest {
    LimitsRequest {
        memory_bytes: raw.memory_bytes,
        cpu_ms: raw.cpu,
        wall_ms: raw.wall,
        output_bytes: raw.output_bytes,
        http_calls: raw.http_calls,
        kv_operations: raw.kv_operations,
        response_bytes: raw.response_bytes,
        log_lines: raw.log_lines,
        log_bytes: raw.log_bytes,
    }
}

fn metric(raw: raw::Metric) -> MetricSpec {
    MetricSpec {
        name: raw.name,
        kind: match raw.kind {
            raw::MetricKind::Counter => MetricKind::Counter,
            raw::MetricKind::Histogram => MetricKind::Histogram,
        },
        unit: raw.unit,
        labels: raw.labels,
        description: raw.description,
    }
}
