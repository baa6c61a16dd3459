use super::convert::{idempotency_into, method_into, millis};
use super::plugin_world::exports::switchyard::plugin::plugin as wit;
use crate::manifest::{
    Connection, ConnectionKind, EventKind, EventType, KeyEncoding, Limits, Manifest, Metric, MetricKind, Schedule,
    Secret, SecretKind, Trigger,
};

/// The contract's line that the bindings are made from.
const API: &str = "0.1";

pub(super) fn manifest_into(manifest: Manifest) -> wit::Manifest {
    wit::Manifest {
        id: manifest.id,
        version: manifest.version,
        api: API.to_owned(),
        description: manifest.description,
        emits: manifest.emits.into_iter().map(event_type_into).collect(),
        handles: manifest.handles.into_iter().map(event_type_into).collect(),
        config_schema: manifest.config_schema.map_or_else(|| "{\"type\":\"object\"}".to_owned(), |s| s.to_string()),
        connections: manifest.connections.into_iter().map(connection_into).collect(),
        secrets: manifest.secrets.into_iter().map(secret_into).collect(),
        schedules: manifest.schedules.into_iter().map(schedule_into).collect(),
        limits: limits_into(manifest.limits),
        metrics: manifest.metrics.into_iter().map(metric_into).collect(),
        extensions: None,
    }
}

fn event_type_into(event_type: EventType) -> wit::EventType {
    wit::EventType {
        name: event_type.name,
        kind: match event_type.kind {
            EventKind::Event => wit::EventKind::Event,
            EventKind::Command => wit::EventKind::Command,
        },
        ordering_key: event_type.ordering_key,
        description: event_type.description,
        schema: event_type.schema.map(|schema| schema.to_string()),
        example: event_type.example.map(|example| example.to_string()),
    }
}

fn connection_into(connection: Connection) -> wit::Connection {
    let extensions = connection.extensions().map(|extensions| extensions.to_string());
    let kind = match connection.kind {
        ConnectionKind::Header(name) => wit::ConnectionKind::Header(name),
        ConnectionKind::Basic => wit::ConnectionKind::Basic,
        ConnectionKind::Bearer => wit::ConnectionKind::Bearer,
        ConnectionKind::Oauth2 { authorize_url, token_url, scopes } => {
            wit::ConnectionKind::Oauth2(wit::Oauth2 { authorize_url, token_url, scopes })
        }
        ConnectionKind::GoogleServiceAccount(scopes) => wit::ConnectionKind::GoogleServiceAccount(scopes),
        ConnectionKind::Hmac(name) => wit::ConnectionKind::Hmac(name),
        ConnectionKind::Other(name) => wit::ConnectionKind::Other(name),
    };
    wit::Connection {
        name: connection.name,
        kind,
        base_url: connection.base_url,
        methods: connection.methods.into_iter().map(method_into).collect(),
        idempotency: idempotency_into(connection.idempotency),
        required: connection.required,
        description: connection.description,
        extensions,
    }
}

fn secret_into(secret: Secret) -> wit::Secret {
    let kind = match secret.kind {
        SecretKind::MacKey(KeyEncoding::Text) => wit::SecretKind::MacKey(wit::KeyEncoding::Text),
        SecretKind::MacKey(KeyEncoding::Hex) => wit::SecretKind::MacKey(wit::KeyEncoding::Hex),
        SecretKind::MacKey(KeyEncoding::Base64) => wit::SecretKind::MacKey(wit::KeyEncoding::Base64),
        SecretKind::Token => wit::SecretKind::Token,
        SecretKind::Jwt { issuers, jwks_url } => wit::SecretKind::Jwt(wit::JwtIssuer { issuers, jwks_url }),
        SecretKind::Generated => wit::SecretKind::Generated,
        SecretKind::Other(name) => wit::SecretKind::Other(name),
    };
    wit::Secret { name: secret.name, kind, required: secret.required, description: secret.description }
}

fn schedule_into(schedule: Schedule) -> wit::Schedule {
    let trigger = match schedule.trigger {
        Trigger::Cron { expression, time_zone } => wit::Trigger::Cron(wit::Cron { expression, time_zone }),
        Trigger::Every(period) => wit::Trigger::Every(millis(period)),
    };
    wit::Schedule { name: schedule.name, trigger, description: schedule.description }
}

fn limits_into(limits: Limits) -> wit::Limits {
    wit::Limits {
        memory_bytes: limits.memory_bytes,
        cpu: limits.cpu.map(millis),
        wall: limits.wall.map(millis),
        output_bytes: limits.output_bytes,
        http_calls: limits.http_calls,
        kv_operations: limits.kv_operations,
        response_bytes: limits.response_bytes,
        log_lines: limits.log_lines,
        log_bytes: limits.log_bytes,
    }
}

fn metric_into(metric: Metric) -> wit::Metric {
    wit::Metric {
        name: metric.name,
        kind: match metric.kind {
            MetricKind::Counter => wit::MetricKind::Counter,
            MetricKind::Histogram => wit::MetricKind::Histogram,
        },
        unit: metric.unit,
        labels: metric.labels,
        description: metric.description,
    }
}
