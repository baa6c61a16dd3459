//! What calls are given and what they leave.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A public inbound address of an installation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRef {
    /// Stable identifier, part of the URL.
    pub id: String,
    /// The name under which the admin created it, unique in the installation.
    pub name: String,
    /// Full public URL.
    pub url: String,
}

/// What a call is about. Part of the run's record: equal, byte for byte, in every execution of that record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallContext {
    /// The tenant for whom the call runs; empty for an app's `receive`.
    pub tenant_id: String,
    /// The installation for whom the call runs; empty for an app's `receive`.
    pub installation_id: String,
    /// Links everything that one inbound request or command caused.
    pub correlation_id: String,
    /// W3C trace context of this run.
    pub traceparent: String,
    /// 32 lower-case hex digits, the same in every attempt and replay of the delivery.
    pub reference: String,
    /// The run's time.
    pub time_ms: u64,
    /// The inbound addresses of the installation.
    pub sources: Vec<SourceRef>,
    /// The installation's config, JSON.
    pub config: String,
}

/// A stored event or command as `handle` gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandledEvent {
    /// Unique in the tenant; a replay keeps it.
    pub id: String,
    /// `noun.past_verb`, `noun.verb`, or a private type with a leading underscore.
    #[serde(rename = "type")]
    pub type_: String,
    /// Who emitted it: a URI reference.
    pub source: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When the fact happened, or the command was given.
    pub time_ms: u64,
    /// Events with equal keys reach one target in the order of acceptance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<String>,
    /// The payload, JSON.
    pub data: String,
    /// Further CloudEvents attributes, a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<String>,
}

/// An event or command that a plugin asks the host to accept. `data` and `extensions` were checked to be JSON;
/// grants, schemas and the limits of keys were not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmittedEvent {
    /// The type asked for.
    #[serde(rename = "type")]
    pub type_: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// None means the time of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
    /// Events with equal keys reach one target in the order of acceptance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<String>,
    /// Drops a second event of the installation with an equal key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedupe_key: Option<String>,
    /// Only from an app's `receive`: the provider's name of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// When the event is no longer worth delivering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
    /// Asks for the emergency lane.
    #[serde(default)]
    pub emergency: bool,
    /// The payload, JSON.
    pub data: String,
    /// Data added inside the contract's line, JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<String>,
}

/// What a successful run leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// To be accepted in this order.
    pub events: Vec<EmittedEvent>,
}

/// What a poll found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollOutput {
    /// To be accepted in this order.
    pub events: Vec<EmittedEvent>,
    /// Where to go on; none forgets it.
    pub cursor: Option<String>,
    /// Call again at once, as a new run.
    pub has_more: bool,
    /// Next call not later than this.
    pub next_in_ms: Option<u64>,
}

/// What broke, as the console groups it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A credential is missing, expired or not allowed to do this.
    Auth,
    /// The installation or the manifest is set up wrongly.
    Config,
    /// The provider does not answer or answers 5xx.
    ProviderDown,
    /// The provider or the host asks to slow down.
    RateLimited,
    /// The event or the provider's data is not acceptable.
    BadData,
    /// The plugin met a state that it should never meet.
    PluginBug,
    /// A rule forbids it.
    Policy,
    /// A provider write may or may not have happened.
    UnknownOutcome,
    /// A class of the plugin's own, at most 64 bytes.
    Other(String),
}

impl Reason {
    /// The class as it is stored and shown: `provider_down`; a class of the plugin's own as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Auth => "auth",
            Self::Config => "config",
            Self::ProviderDown => "provider_down",
            Self::RateLimited => "rate_limited",
            Self::BadData => "bad_data",
            Self::PluginBug => "plugin_bug",
            Self::Policy => "policy",
            Self::UnknownOutcome => "unknown_outcome",
            Self::Other(class) => class,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What went wrong, for people and for grouping; already cut to the contract's sizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// The class it counts under.
    pub reason: Reason,
    /// `[a-z0-9_]`, 1 to 64 bytes.
    pub code: String,
    /// At most 1 KiB.
    pub message: String,
    /// JSON, at most 16 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
}

/// Why a call did not succeed, as the disposition that the host carries out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginError {
    /// Trying again cannot help.
    Reject(ErrorDetail),
    /// Try again later.
    Retry {
        /// What went wrong.
        error: ErrorDetail,
        /// Not before this long from now.
        after_ms: Option<u64>,
    },
    /// A person must act.
    NeedsAttention(ErrorDetail),
    /// None of these; handled like `Retry` without a time.
    Other(ErrorDetail),
}

impl PluginError {
    /// What went wrong, whatever the disposition.
    #[must_use]
    pub const fn detail(&self) -> &ErrorDetail {
        match self {
            Self::Reject(error) | Self::Retry { error, .. } | Self::NeedsAttention(error) | Self::Other(error) => error,
        }
    }

    /// The disposition's name: `reject`, `retry`, `needs_attention` or `other`.
    #[must_use]
    pub const fn disposition(&self) -> &'static str {
        match self {
            Self::Reject(_) => "reject",
            Self::Retry { .. } => "retry",
            Self::NeedsAttention(_) => "needs_attention",
            Self::Other(_) => "other",
        }
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ErrorDetail { reason, code, message, .. } = self.detail();
        write!(f, "{} ({reason}, {code}): {message}", self.disposition())
    }
}

/// An HTTP method.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
    /// Any other token.
    Other(String),
}

impl Method {
    /// The method as it stands in a request line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Other(token) => token,
        }
    }

    /// Whether the method itself only reads: GET and HEAD.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a provider recognises a write that it receives twice.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Idempotency {
    /// It does not.
    None,
    /// By a key in the header of this name.
    Header(String),
    /// By a key in the query parameter of this name.
    Query(String),
    /// By an id that the plugin chose and put into the path or the body.
    OwnId,
    /// A convention that the host does not know; handled as `None`.
    Other(String),
}
