//! Why a delivery did not succeed.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The class of a failure. Whoever fails names it; nothing guesses it from an error's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonClass {
    /// A credential was refused or has run out: a person must log in.
    Auth,
    /// Something is configured wrongly: a connection unbound, a command unrouted, a URL that may not be called.
    Config,
    /// A provider does not answer, or answers that it is broken.
    ProviderDown,
    /// Somebody asked us to slow down.
    RateLimited,
    /// The event's data was refused and would be refused again.
    BadData,
    /// The plugin trapped, ran out of its limits or broke its contract.
    PluginBug,
    /// A rule of the tenant or of the hub said no.
    Policy,
    /// The subscriber's endpoint failed.
    Subscriber,
    /// Nobody knows whether a write was executed.
    UnknownOutcome,
    /// The event's time ran out before it could be delivered.
    Expired,
}

impl ReasonClass {
    /// All classes.
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

    /// The name used in the database, the API and metrics.
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
        f.pad(self.as_str())
    }
}

/// The text names no reason class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a reason class")]
pub struct UnknownReason;

impl FromStr for ReasonClass {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        Self::ALL.into_iter().find(|class| class.as_str() == text).ok_or(UnknownReason)
    }
}

/// 16 hex digits that are equal for equal failures, under which dead letters are grouped. It follows from the kind of target
/// (`endpoint`, `plugin`), the class and the code alone, and is stored: it must never come out otherwise in a later version.
#[must_use]
pub fn fingerprint(target_kind: &str, reason: ReasonClass, code: &str) -> String {
    let mut hash = Sha256::new();
    for part in [target_kind, reason.as_str(), code] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex::encode(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_one_name_everywhere() {
        for class in ReasonClass::ALL {
            assert_eq!(class.to_string().parse(), Ok(class));
            assert_eq!(serde_json::to_string(&class).unwrap(), format!("\"{class}\""));
            assert_eq!(serde_json::from_str::<ReasonClass>(&format!("\"{class}\"")).unwrap(), class);
        }
        assert_eq!("Auth".parse::<ReasonClass>(), Err(UnknownReason));
    }

    #[test]
    fn equal_failures_share_a_fingerprint_and_others_do_not() {
        let base = fingerprint("endpoint", ReasonClass::Subscriber, "http_500");
        assert_eq!(base, "e116de45bb55f656", "stored fingerprints must stay valid");
        assert_ne!(base, fingerprint("plugin", ReasonClass::Subscriber, "http_500"));
        assert_ne!(base, fingerprint("endpoint", ReasonClass::RateLimited, "http_500"));
        assert_ne!(base, fingerprint("endpoint", ReasonClass::Subscriber, "http_502"));
    }
}
