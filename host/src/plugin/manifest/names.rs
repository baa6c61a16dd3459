//! Names and patterns of event types.

use std::fmt;

/// Types that only the host emits: a plugin that could would forge the hub's own voice.
pub const HOST_TYPES: [&str; 9] = [
    "delivery.died",
    "delivery.held",
    "connection.login_needed",
    "plugin.broken",
    "endpoint.failing",
    "endpoint.disabled",
    "endpoint.recovered",
    "person.erased",
    "schedule.missed",
];

/// Beginnings of private types that the host makes for an installation.
const HOST_PRIVATE: [&str; 4] = ["_poll.", "_schedule.", "_lifecycle.", "_host."];

const TYPE_BYTES: usize = 128;

/// `[a-z][a-z0-9-]{0,62}`.
pub(super) fn is_name(text: &str) -> bool {
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.len() <= 63 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(rest)
}

/// `[a-z][a-z0-9_]{0,62}`.
pub(super) fn is_metric_name(text: &str) -> bool {
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.len() <= 63 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(rest)
}

/// A line of the contract as numbers; none where it is no line.
pub(super) fn line(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A guest's text inside an error message: short, on one line.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A type of event, or a pattern that stands for several.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TypePattern {
    /// One type: `invoice.paid`, or the private `_twilio.callback`.
    Exact(String),
    /// All types that begin so, the dot included: `invoice.*`.
    Prefix(String),
    /// All types: `*`.
    All,
}

impl TypePattern {
    /// Reads `invoice.paid`, `invoice.*` or `*`. None where it is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        let (body, is_prefix) = text.strip_suffix(".*").map_or((text, false), |body| (body, true));
        let name = body.strip_prefix('_').unwrap_or(body);
        let part = |part: &str| {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) && part.chars().all(fits)
        };
        let parts = name.split('.').count();
        if text.len() > TYPE_BYTES || !name.split('.').all(part) || (parts < 2 && !is_prefix) {
            return None;
        }
        match (is_prefix, body.starts_with('_')) {
            // A private type is only ever named in full.
            (true, true) => None,
            (true, false) => Some(Self::Prefix(format!("{body}."))),
            (false, _) => Some(Self::Exact(body.to_owned())),
        }
    }

    /// Whether `type_` is meant. A pattern never means a private type.
    #[must_use]
    pub fn matches(&self, type_: &str) -> bool {
        match self {
            Self::Exact(name) => name == type_,
            Self::Prefix(prefix) => type_.starts_with(prefix.as_str()),
            Self::All => !type_.starts_with('_'),
        }
    }

    /// Whether it is one type only.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }

    /// Whether it names a private type.
    #[must_use]
    pub fn is_private(&self) -> bool {
        matches!(self, Self::Exact(name) if name.starts_with('_'))
    }

    /// Whether only the host emits it.
    #[must_use]
    pub fn is_of_the_host(&self) -> bool {
        matches!(self, Self::Exact(name) if is_host_type(name))
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::All => f.write_str("*"),
        }
    }
}

/// Whether only the host emits `type_`.
pub(in crate::plugin) fn is_host_type(type_: &str) -> bool {
    HOST_TYPES.contains(&type_) || HOST_PRIVATE.iter().any(|prefix| type_.starts_with(prefix))
}
