//! What a plugin says of itself.

use serde::{Deserialize, Serialize};

use super::{Idempotency, Method};

/// All that the host knows of a plugin before it runs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The plugin's name for ever.
    pub id: String,
    /// Semantic version.
    pub version: String,
    /// The contract's line, `0.1`.
    pub api: String,
    /// One sentence for the list of plugins.
    pub description: String,
    /// Types it may emit, commands it gives included.
    pub emits: Vec<EventType>,
    /// Types it handles, commands it claims included.
    pub handles: Vec<EventType>,
    /// JSON Schema (2020-12) of the installation's config.
    pub config_schema: String,
    /// Providers it wants to call.
    pub connections: Vec<ConnectionSpec>,
    /// Secrets it wants to check against.
    pub secrets: Vec<SecretSpec>,
    /// When to call `poll`.
    pub schedules: Vec<Schedule>,
    /// Limits it asks for.
    pub limits: LimitsRequest,
    /// Metrics it reports.
    pub metrics: Vec<MetricSpec>,
    /// Data added inside the contract's line, JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<String>,
}

/// Whether a type states a fact or asks for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A fact.
    Event,
    /// A request.
    Command,
}

/// A type of event that the plugin emits or handles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventType {
    /// An exact type, or a pattern: `lead.*`, `*`.
    pub name: String,
    /// Fact or request.
    pub kind: EventKind,
    /// Only in `handles`: a path into `data`, such as `data.calendar_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<String>,
    /// One sentence for the catalogue.
    pub description: String,
    /// JSON Schema of `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// An example of `data`, JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

/// How a connection's credential is added to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionKind {
    /// As the value of the header of this name.
    Header(String),
    /// HTTP Basic.
    Basic,
    /// A fixed bearer token.
    Bearer,
    /// A bearer token that the host obtains and refreshes.
    Oauth2 {
        /// Where the admin is sent to log in.
        authorize_url: String,
        /// Where codes and refresh tokens are exchanged.
        token_url: String,
        /// The scopes asked for.
        scopes: Vec<String>,
    },
    /// A bearer token by a Google service account with these scopes.
    GoogleServiceAccount(Vec<String>),
    /// An HMAC-SHA256 of the body in the header of this name.
    Hmac(String),
    /// A kind that this host does not know; refused by validation.
    Other(String),
}

impl ConnectionKind {
    /// The kind's name in the interface: `header`, `google_service_account`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Header(_) => "header",
            Self::Basic => "basic",
            Self::Bearer => "bearer",
            Self::Oauth2 { .. } => "oauth2",
            Self::GoogleServiceAccount(_) => "google_service_account",
            Self::Hmac(_) => "hmac",
            Self::Other(name) => name,
        }
    }
}

/// A provider that the plugin wants to call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionSpec {
    /// The slot.
    pub name: String,
    /// How the credential is added.
    pub kind: ConnectionKind,
    /// https, host, optional path prefix.
    pub base_url: String,
    /// The methods wanted.
    pub methods: Vec<Method>,
    /// How the provider recognises a repeated write.
    pub idempotency: Idempotency,
    /// Whether the plugin needs it to run.
    pub required: bool,
    /// One sentence for the admin who binds it.
    pub description: String,
    /// Data added inside the contract's line, JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<String>,
}

/// How the text of a key becomes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyEncoding {
    /// The UTF-8 bytes of the text.
    Text,
    /// Hex digits.
    Hex,
    /// Standard base64, with or without the prefix `whsec_`.
    Base64,
}

/// What a secret is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretKind {
    /// A key for `verify-mac`.
    MacKey(KeyEncoding),
    /// A shared token for `verify-token`.
    Token,
    /// Public keys for `verify-jwt`.
    Jwt {
        /// Accepted `iss` values.
        issuers: Vec<String>,
        /// https URL of the key set.
        jwks_url: String,
    },
    /// 32 random bytes that the host makes.
    Generated,
    /// A kind that this host does not know; refused by validation.
    Other(String),
}

/// A secret that the plugin wants to check against, and never sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretSpec {
    /// The slot.
    pub name: String,
    /// What it is for.
    pub kind: SecretKind,
    /// Whether the plugin needs it to run.
    pub required: bool,
    /// One sentence for the admin who enters it.
    pub description: String,
}

/// When a schedule is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// At the times of a cron expression of five fields.
    Cron {
        /// Minute, hour, day of month, month, day of week.
        expression: String,
        /// IANA name; none means the tenant's time zone.
        time_zone: Option<String>,
    },
    /// Every so many milliseconds after the last start.
    Every(u64),
}

/// A reason to call `poll`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// The name given to `poll`.
    pub name: String,
    /// When it is due.
    pub trigger: Trigger,
    /// One sentence for the admin.
    pub description: String,
}

/// Limits of one call as the manifest asks for them. None means the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitsRequest {
    /// Linear memory in bytes.
    pub memory_bytes: Option<u64>,
    /// CPU time in the sandbox, milliseconds.
    pub cpu_ms: Option<u64>,
    /// Elapsed time, milliseconds.
    pub wall_ms: Option<u64>,
    /// Bytes of the result.
    pub output_bytes: Option<u64>,
    /// Calls of `http.send`.
    pub http_calls: Option<u32>,
    /// Operations of `kv` and `crypto` together.
    pub kv_operations: Option<u32>,
    /// Bytes of one answer of `http.send`.
    pub response_bytes: Option<u64>,
    /// Log lines.
    pub log_lines: Option<u32>,
    /// Bytes of log messages and fields.
    pub log_bytes: Option<u64>,
}

/// How a metric is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// A sum that only grows.
    Counter,
    /// A distribution of values.
    Histogram,
}

/// A metric that the plugin reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricSpec {
    /// `[a-z][a-z0-9_]{0,62}`.
    pub name: String,
    /// How it is kept.
    pub kind: MetricKind,
    /// Base unit.
    pub unit: String,
    /// Label names, at most 4.
    pub labels: Vec<String>,
    /// One sentence.
    pub description: String,
}
