//! What a plugin may ask the host for, and what it is answered.

use serde::{Deserialize, Serialize};

use super::{Idempotency, Method, base64_bytes};

/// One HTTP field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Lower-case field name.
    pub name: String,
    /// The exact bytes of the value.
    #[serde(with = "base64_bytes")]
    pub value: Vec<u8>,
}

impl Header {
    /// A field with a text value.
    #[must_use]
    pub fn text(name: &str, value: &str) -> Self {
        Self { name: name.to_ascii_lowercase(), value: value.as_bytes().to_vec() }
    }
}

/// One request to a provider. Nothing of it was checked against grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// The connection's slot.
    pub connection: String,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Fields to add.
    pub headers: Vec<Header>,
    /// The body.
    #[serde(with = "base64_bytes::optional", default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Vec<u8>>,
    /// Time for the whole exchange; none means 15,000 ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Handled as GET is, never as a write.
    #[serde(default)]
    pub read_only: bool,
    /// How the provider recognises this write; none means as the manifest says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// Data added inside the contract's line, JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<String>,
}

/// A provider's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// Fields without `set-cookie`.
    pub headers: Vec<Header>,
    /// The decompressed body.
    #[serde(with = "base64_bytes")]
    pub body: Vec<u8>,
}

/// Why there is no answer from a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpError {
    /// A rule or a grant forbids it; the text names the manifest field or the rule.
    Denied(String),
    /// The connection is unbound or its credential was refused.
    NeedsLogin(String),
    /// Wait this many milliseconds.
    RateLimited(u64),
    /// No connection could be made; wait this many milliseconds if known.
    Unreachable(Option<u64>),
    /// A read, or a write that may be repeated, got no answer in time.
    Timeout,
    /// The body passed this limit in bytes; nothing was sent.
    RequestTooLarge(u64),
    /// The answer passed the limit.
    ResponseTooLarge {
        /// The status code that came before the body.
        status: u16,
        /// The limit in bytes.
        limit: u64,
    },
    /// A write that may not be repeated got no answer, or a 5xx.
    UnknownOutcome {
        /// When it was first sent.
        sent_at_ms: u64,
        /// What happened.
        message: String,
    },
    /// The run has used up its calls.
    BudgetExhausted,
    /// Any other cause.
    Other(String),
}

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvEntry {
    /// At most 256 KiB.
    #[serde(with = "base64_bytes")]
    pub value: Vec<u8>,
    /// Grows with every write to the key; never 0.
    pub version: u64,
}

/// A part of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvPage {
    /// In byte order.
    pub keys: Vec<String>,
    /// Where to go on; none at the end.
    pub cursor: Option<String>,
}

/// Why a kv operation failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvError {
    /// A key must have 1 to 512 bytes.
    InvalidKey,
    /// The value passed this limit in bytes.
    TooLarge(u64),
    /// The installation's total would be passed.
    QuotaExceeded,
    /// A write inside `receive`.
    ReadOnly,
    /// The run has used up its operations.
    BudgetExhausted,
    /// Any other cause.
    Other(String),
}

/// How a value is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvOptions {
    /// The key expires this many milliseconds after it became durable.
    pub ttl_ms: Option<u64>,
    /// The phone number or e-mail address of the person whom the value is about.
    pub person: Option<String>,
}

/// What a compare-and-swap did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwapResult {
    /// Written, under this version.
    Swapped(u64),
    /// Not written: this is what is there now.
    Stale(Option<KvEntry>),
}

/// A MAC algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mac {
    /// HMAC-SHA1.
    HmacSha1,
    /// HMAC-SHA256.
    HmacSha256,
    /// HMAC-SHA512.
    HmacSha512,
}

/// Why a check could not be made, or a token is not valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CryptoError {
    /// Not in the manifest, or nothing usable is bound.
    NoSuchSecret,
    /// The secret is of another kind.
    WrongKind,
    /// The token is not valid, with the reason.
    Invalid(String),
    /// The key set could not be fetched.
    Unavailable,
    /// The call has used up its operations.
    BudgetExhausted,
    /// Any other cause.
    Other(String),
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Each step.
    Trace,
    /// For the author.
    Debug,
    /// A fact of the run.
    Info,
    /// Unexpected, and handled.
    Warn,
    /// The run will fail.
    Error,
}

/// A named value of a log line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogField {
    /// Dotted lower-case name.
    pub name: String,
    /// At most 1 KiB.
    pub value: String,
}

/// One line of the run record, already cut to the contract's sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// At most 4 KiB.
    pub message: String,
    /// Named values.
    pub fields: Vec<LogField>,
}

/// A label of a metric with its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricLabel {
    /// A label of the manifest.
    pub name: String,
    /// At most 64 bytes.
    pub value: String,
}

/// What a plugin reported.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricValue {
    /// Added to a counter.
    Add(u64),
    /// Added to a histogram; finite.
    Record(f64),
}

/// One reported number. Its name was not checked against the manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricSample {
    /// The metric's name.
    pub name: String,
    /// The number.
    pub value: MetricValue,
    /// Labels with their values.
    pub labels: Vec<MetricLabel>,
}
