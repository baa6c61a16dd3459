//! An immutable fact or command, and where it can go.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{clock::Timestamp, id::Key};

/// A name breaks the rule of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must match {pattern}")]
pub struct InvalidName {
    /// What was named: `tenant`, `event type`.
    pub what: &'static str,
    /// The rule as a regular expression.
    pub pattern: &'static str,
}

/// The name of a tenant: `[a-z0-9][a-z0-9-]{0,62}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Stands where a tenant would for what came to an app, which belongs to the operator. No tenant can have this name,
    /// and no name that a caller gives can become it.
    #[must_use]
    pub fn of_app(app: Key) -> Self {
        Self(app.with_prefix("app").into())
    }

    /// The app, if it stands for one.
    #[must_use]
    pub fn app(&self) -> Option<Key> {
        Key::parse("app", &self.0)
    }

    /// Reads what was stored: a tenant, or what stands for an app.
    #[must_use]
    pub fn stored(text: &str) -> Option<Self> {
        text.parse().ok().or_else(|| Key::parse("app", text).map(Self::of_app))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shaped = matches!(text.len(), 1..=63)
            && !text.starts_with('-')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if shaped {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName { what: "tenant", pattern: "[a-z0-9][a-z0-9-]{0,62}" })
        }
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The type of an event: dotted lower-case words of `[a-z0-9_]`, at most 128 bytes (`invoice.paid`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct EventType(Arc<str>);

impl EventType {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether only the installation itself sees it (leading underscore).
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.0.starts_with('_')
    }
}

impl FromStr for EventType {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |w: &str| !w.is_empty() && w.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if text.len() <= 128 && text.contains('.') && text.split('.').all(word) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName { what: "event type", pattern: "[a-z0-9_]+(\\.[a-z0-9_]+)+, at most 128 bytes" })
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether an event takes the emergency lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    /// The lane of everything else.
    #[default]
    Normal,
    /// Its own lane per target, served first.
    Emergency,
}

/// An event as stored (CloudEvents 1.0).
#[derive(Clone, Debug)]
pub struct Event {
    /// Internal key; grows in the order of acceptance.
    pub key: Key,
    /// Public id, unique in the tenant: the sender's, or `evt_` and the key.
    pub id: Arc<str>,
    /// Whose event it is.
    pub tenant: TenantId,
    /// The type.
    pub event_type: EventType,
    /// URI reference of the emitter: `api`, the API client's source, `switchyard:plugin/billy`, `switchyard:host`.
    pub source: Arc<str>,
    /// What it is about.
    pub subject: Option<String>,
    /// When the fact happened or the command was given.
    pub time: Timestamp,
    /// When the hub stored it.
    pub accepted_at: Timestamp,
    /// Events with equal keys reach an ordered target in the order of acceptance.
    pub ordering_key: Option<String>,
    /// Links everything that one cause led to.
    pub correlation_id: Arc<str>,
    /// W3C trace context of the cause.
    pub traceparent: Arc<str>,
    /// The delivery whose run emitted it.
    pub cause: Option<Key>,
    /// The inbound request that it came from.
    pub request: Option<Key>,
    /// How many runs lie between the first cause and this event; more than 16 is a loop.
    pub hop: u8,
    /// Its lane.
    pub urgency: Urgency,
    /// After this moment a delivery of it is dead, `expired`.
    pub expires_at: Option<Timestamp>,
    /// For a private event: the plugin whose installation alone sees it.
    pub private_to: Option<String>,
    /// Unknown CloudEvents attributes as a JSON object.
    pub extensions: Option<String>,
    /// The payload: one JSON value.
    pub data: Arc<str>,
}

/// Where a delivery goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A subscriber's endpoint.
    Endpoint(Key),
    /// The tenant's installation of the plugin of this name.
    Plugin(Arc<str>),
    /// A command that no installation handles.
    Unrouted,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(key) => write!(f, "ep_{key}"),
            Self::Plugin(name) => write!(f, "plugin:{name}"),
            Self::Unrouted => f.write_str("unrouted"),
        }
    }
}

impl FromStr for Target {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "unrouted" {
            return Ok(Self::Unrouted);
        }
        if let Some(name) = text.strip_prefix("plugin:") {
            return Ok(Self::Plugin(name.into()));
        }
        Key::parse("ep", text)
            .map(Self::Endpoint)
            .ok_or(InvalidName { what: "target", pattern: "ep_[0-9a-f]{32}|plugin:[a-z][a-z0-9-]*|unrouted" })
    }
}
