use std::time::Duration;

use serde_json::Value;

pub use crate::host::{Idempotency, Method};

/// Whether a type states a fact or asks for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A fact, routed to everybody who wants it.
    Event,
    /// A request, routed to the one installation that handles it.
    Command,
}

/// A type of event that the plugin emits or handles.
#[derive(Clone, Debug, PartialEq)]
pub struct EventType {
    /// `noun.past_verb` or `noun.verb`; an event may end in `.*`, or be `*`.
    pub name: String,
    /// Fact or request.
    pub kind: EventKind,
    /// Only in `handles`: a path into `data`; events with equal values there arrive one after the other.
    pub ordering_key: Option<String>,
    /// One sentence for the catalogue.
    pub description: String,
    /// JSON Schema (2020-12) of `data`.
    pub schema: Option<Value>,
    /// An example of `data` that conforms to the schema.
    pub example: Option<Value>,
}

impl EventType {
    /// A fact.
    pub fn event(name: &str, description: &str) -> Self {
        Self::of(name, EventKind::Event, description)
    }

    /// A request.
    pub fn command(name: &str, description: &str) -> Self {
        Self::of(name, EventKind::Command, description)
    }

    fn of(name: &str, kind: EventKind, description: &str) -> Self {
        let description = description.to_owned();
        Self { name: name.to_owned(), kind, ordering_key: None, description, schema: None, example: None }
    }

    /// With the schema of `data` and an example that conforms to it.
    pub fn data(mut self, schema: Value, example: Value) -> Self {
        self.schema = Some(schema);
        self.example = Some(example);
        self
    }

    /// Handled one after the other where this path into `data` (`data.calendar_id`) has equal values.
    pub fn ordered_by(mut self, path: &str) -> Self {
        self.ordering_key = Some(path.to_owned());
        self
    }
}

/// How a connection's credential is added to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionKind {
    /// The secret is the value of the header of this name.
    Header(String),
    /// HTTP Basic.
    Basic,
    /// `Authorization: Bearer` with a fixed token.
    Bearer,
    /// `Authorization: Bearer` with a token that the host obtains and refreshes.
    Oauth2 {
        /// Where the admin is sent to log in.
        authorize_url: String,
        /// Where codes and refresh tokens are exchanged.
        token_url: String,
        /// The scopes asked for.
        scopes: Vec<String>,
    },
    /// As OAuth 2, by a Google service account with these scopes.
    GoogleServiceAccount(Vec<String>),
    /// An HMAC-SHA256 of the body, in lower-case hex, in the header of this name.
    Hmac(String),
    /// A kind outside this list; a host that does not know it refuses the plugin.
    Other(String),
}

/// A provider that the plugin wants to call.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// The slot, unique among connections and secrets.
    pub name: String,
    /// How the credential is added.
    pub kind: ConnectionKind,
    /// https, host, optional path prefix.
    pub base_url: String,
    /// The methods wanted; any other is denied.
    pub methods: Vec<Method>,
    /// How the provider recognises a repeated write.
    pub idempotency: Idempotency,
    /// False: the plugin runs without it.
    pub required: bool,
    /// One sentence for the admin who binds it.
    pub description: String,
    /// Path and query of a GET without an effect, by which an admin tries the connection.
    pub probe: Option<String>,
    /// Calls per second that the provider grants an account; none means 10.
    pub rate_per_s: Option<f64>,
}

impl Connection {
    /// A required connection for GET and POST, at a provider that does not recognise repeated writes.
    pub fn new(name: &str, kind: ConnectionKind, base_url: &str, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            base_url: base_url.to_owned(),
            methods: vec![Method::Get, Method::Post],
            idempotency: Idempotency::None,
            required: true,
            description: description.to_owned(),
            probe: None,
            rate_per_s: None,
        }
    }

    /// Tried by a GET of this path, which must change nothing and cost little: `/v1/me`. `{config.<field>}` in it stands
    /// for a field of the installation's config.
    pub fn probe(mut self, path: &str) -> Self {
        self.probe = Some(path.to_owned());
        self
    }

    /// Used at most so often; more calls wait for their turn.
    pub fn rate_per_s(mut self, calls: f64) -> Self {
        self.rate_per_s = Some(calls);
        self
    }

    /// What travels in the contract's `extensions`, if anything does.
    pub fn extensions(&self) -> Option<Value> {
        let mut members = serde_json::Map::new();
        if let Some(path) = &self.probe {
            members.insert("probe".to_owned(), serde_json::json!({"method": "GET", "path": path}));
        }
        if let Some(calls) = self.rate_per_s {
            members.insert("rate_per_s".to_owned(), calls.into());
        }
        if members.is_empty() { None } else { Some(Value::Object(members)) }
    }

    /// For these methods.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = methods.into_iter().collect();
        self
    }

    /// At a provider that recognises repeated writes so.
    pub fn idempotency(mut self, idempotency: Idempotency) -> Self {
        self.idempotency = idempotency;
        self
    }

    /// The plugin runs without it.
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }
}

/// How the text of a key becomes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEncoding {
    /// The UTF-8 bytes of the text.
    Text,
    /// Hex digits.
    Hex,
    /// Standard base64, with or without the prefix `whsec_`.
    Base64,
}

/// What a secret is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// A key for `verify_mac`.
    MacKey(KeyEncoding),
    /// A shared token for `verify_token`.
    Token,
    /// Public keys for `verify_jwt`.
    Jwt {
        /// Accepted `iss` values.
        issuers: Vec<String>,
        /// https URL of the key set.
        jwks_url: String,
    },
    /// 32 random bytes that the host makes and keeps.
    Generated,
    /// A kind outside this list; a host that does not know it refuses the plugin.
    Other(String),
}

/// A secret that the plugin checks against and never sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// The slot, unique among connections and secrets; calls name a value as `<slot>.<field>`.
    pub name: String,
    /// What it is for.
    pub kind: SecretKind,
    /// False: the plugin runs without it.
    pub required: bool,
    /// One sentence for the admin who enters it.
    pub description: String,
}

impl Secret {
    /// A required secret.
    pub fn new(name: &str, kind: SecretKind, description: &str) -> Self {
        Self { name: name.to_owned(), kind, required: true, description: description.to_owned() }
    }

    /// The plugin runs without it.
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }
}

/// When a schedule is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// At the times of a cron expression of five fields.
    Cron {
        /// Minute, hour, day of month, month, day of week.
        expression: String,
        /// IANA name; none means the tenant's.
        time_zone: Option<String>,
    },
    /// Every so often after the last start, at least a minute.
    Every(Duration),
}

/// A reason to call `poll`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The name given to `poll`.
    pub name: String,
    /// When it is due.
    pub trigger: Trigger,
    /// One sentence for the admin.
    pub description: String,
}

impl Schedule {
    /// Due every so often.
    pub fn every(name: &str, period: Duration, description: &str) -> Self {
        Self { name: name.to_owned(), trigger: Trigger::Every(period), description: description.to_owned() }
    }

    /// Due at the times of a cron expression, in the tenant's time zone.
    pub fn cron(name: &str, expression: &str, description: &str) -> Self {
        let trigger = Trigger::Cron { expression: expression.to_owned(), time_zone: None };
        Self { name: name.to_owned(), trigger, description: description.to_owned() }
    }
}

/// Limits of one call; none means the host's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory in bytes; default 64 MiB.
    pub memory_bytes: Option<u64>,
    /// CPU time in the sandbox; default 200 ms.
    pub cpu: Option<Duration>,
    /// Elapsed time; default 30 s.
    pub wall: Option<Duration>,
    /// Bytes of the result; default 1 MiB.
    pub output_bytes: Option<u64>,
    /// Provider calls; default 64.
    pub http_calls: Option<u32>,
    /// Key-value and crypto operations together; default 2,000.
    pub kv_operations: Option<u32>,
    /// Bytes of one provider answer; default 1 MiB, at most 4 MiB.
    pub response_bytes: Option<u64>,
    /// Log lines; default 1,000.
    pub log_lines: Option<u32>,
    /// Bytes of log; default 64 KiB.
    pub log_bytes: Option<u64>,
}

/// How a metric is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A sum that only grows.
    Counter,
    /// A distribution of values.
    Histogram,
}

/// A metric that the plugin reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The host adds a prefix, the tenant and the plugin.
    pub name: String,
    /// How it is kept.
    pub kind: MetricKind,
    /// Base unit: `seconds`, `bytes`, or `1`.
    pub unit: String,
    /// Label names, at most 4.
    pub labels: Vec<String>,
    /// One sentence.
    pub description: String,
}

/// All that the host knows of a plugin before it runs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The plugin's name for ever.
    pub id: String,
    /// Semantic version.
    pub version: String,
    /// One sentence for the list of plugins.
    pub description: String,
    /// Types it may emit.
    pub emits: Vec<EventType>,
    /// Types it handles.
    pub handles: Vec<EventType>,
    /// JSON Schema of the config; none means that of [`crate::Plugin::Config`].
    pub config_schema: Option<Value>,
    /// Providers it wants to call.
    pub connections: Vec<Connection>,
    /// Secrets it wants to check against.
    pub secrets: Vec<Secret>,
    /// When to call `poll`.
    pub schedules: Vec<Schedule>,
    /// Limits it asks for.
    pub limits: Limits,
    /// Metrics it reports.
    pub metrics: Vec<Metric>,
}

impl Manifest {
    /// A plugin that neither emits nor handles anything yet.
    pub fn new(id: &str, version: &str, description: &str) -> Self {
        Self {
            id: id.to_owned(),
            version: version.to_owned(),
            description: description.to_owned(),
            emits: Vec::new(),
            handles: Vec::new(),
            config_schema: None,
            connections: Vec::new(),
            secrets: Vec::new(),
            schedules: Vec::new(),
            limits: Limits::default(),
            metrics: Vec::new(),
        }
    }

    /// One more type that it emits.
    pub fn emits(mut self, event_type: EventType) -> Self {
        self.emits.push(event_type);
        self
    }

    /// One more type that it handles.
    pub fn handles(mut self, event_type: EventType) -> Self {
        self.handles.push(event_type);
        self
    }

    /// One more connection.
    pub fn connection(mut self, connection: Connection) -> Self {
        self.connections.push(connection);
        self
    }

    /// One more secret.
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// One more schedule.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedules.push(schedule);
        self
    }

    /// With these limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// One more metric.
    pub fn metric(mut self, metric: Metric) -> Self {
        self.metrics.push(metric);
        self
    }
}

/// JSON that is written down in the plugin; null if the text is no JSON, which the plugin's tests tell.
pub fn literal(text: &str) -> Value {
    crate::json::parse(text.as_bytes()).unwrap_or_default()
}

/// JSON that is written down in the plugin, in which `"$name"` stands for what `named` has under `name`; other texts with
/// a dollar sign stay. Text costs a component its length; code that builds the same JSON is many times larger.
pub fn spelled(text: &str, named: &dyn Fn(&str) -> Option<Value>) -> Value {
    let mut value = literal(text);
    replace(&mut value, named);
    value
}

fn replace(value: &mut Value, named: &dyn Fn(&str) -> Option<Value>) {
    match value {
        Value::Object(members) => members.values_mut().for_each(|member| replace(member, named)),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, named)),
        Value::String(text) => {
            if let Some(found) = text.strip_prefix('$').and_then(named) {
                *value = found;
            }
        }
        _ => {}
    }
}

/// The schema of an object with these required and known members, which takes further ones.
pub fn object(required: &[&str], properties: Value) -> Value {
    let mut object = literal(r#"{"type": "object", "required": [], "properties": {}, "additionalProperties": true}"#);
    object["required"] = required.iter().copied().collect();
    object["properties"] = properties;
    object
}

/// The members of both objects, those of `second` last.
pub fn joined(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::Object(mut first), Value::Object(second)) => {
            first.extend(second);
            Value::Object(first)
        }
        (first, _) => first,
    }
}
