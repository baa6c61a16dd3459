//! Why a delivery failed: the classes that people group by.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::event::text::make_storable;

/// The class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonClass {
    /// A credential is missing, expired or not allowed to do this.
    Auth,
    /// The installation, the endpoint or the plugin is set up wrongly.
    Config,
    /// The provider does not answer or answers 5xx.
    ProviderDown,
    /// The provider or the hub asks to slow down.
    RateLimited,
    /// The event or the provider's data is not acceptable.
    BadData,
    /// The plugin broke: trap, limit, mismatch.
    PluginBug,
    /// A rule forbids it.
    Policy,
    /// The subscriber's endpoint refused, failed or did not answer.
    Subscriber,
    /// A provider write may or may not have happened.
    UnknownOutcome,
    /// Its time passed.
    Expired,
}

impl ReasonClass {
    /// All of them, for lists and parsers.
    pub const ALL: [Self; 10] = [
        Self::Auth,
        Self::Config,
        Self::ProviderDown,
        Self::RateLimited,
        Self::BadData,
        Self::PluginBug,
        Self::Policy,
        Self::Subscriber,
        Self::UnknownOutcome,
        Self::Expired,
    ];

    /// The word of the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Config => "config",
            Self::ProviderDown => "provider_down",
            Self::RateLimited => "rate_limited",
            Self::BadData => "bad_data",
            Self::PluginBug => "plugin_bug",
            Self::Policy => "policy",
            Self::Subscriber => "subscriber",
            Self::UnknownOutcome => "unknown_outcome",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for ReasonClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no class.
#[derive(Debug, thiserror::Error)]
#[error("unknown reason class")]
pub struct UnknownReason;

impl FromStr for ReasonClass {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|class| class.as_str() == text).ok_or(UnknownReason)
    }
}

/// One failure as it is stored, shown and grouped. Holds no secret and no personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The class.
    pub reason: ReasonClass,
    /// Stable identifier of `[a-z0-9_]`, at most 64 bytes.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
}

impl Failure {
    /// A failure of this class, code and sentence; over-long texts are cut, and what not every database stores is left out.
    #[must_use]
    pub fn new(reason: ReasonClass, code: impl Into<String>, message: impl Into<String>) -> Self {
        let (mut code, mut message) = (code.into(), message.into());
        make_storable(&mut message);
        truncate(&mut code, 64);
        truncate(&mut message, 1024);
        Self { reason, code, message }
    }

    /// Equal for equal failures at one target: 16 hex digits over target, class and code.
    #[must_use]
    pub fn fingerprint(&self, target: &str) -> String {
        let mut hash = Sha256::new();
        for part in [target, self.reason.as_str(), &self.code] {
            hash.update(part);
            hash.update([0]);
        }
        hex::encode(&hash.finalize()[..8])
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.reason, self.code, self.message)
    }
}

/// Cuts `text` to at most `limit` bytes at a character's edge.
fn truncate(text: &mut String, limit: usize) {
    if text.len() > limit {
        let edge = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(edge);
    }
}
