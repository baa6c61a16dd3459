//! Patterns over event types: an exact type, a prefix `invoice.*`, or `*`.

use std::{fmt, str::FromStr};

use crate::event::{EventType, InvalidName};

/// A pattern over event types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypePattern {
    /// This type only.
    Exact(EventType),
    /// Types below this prefix, which ends in a dot.
    Below(String),
    /// Every type.
    Any,
}

impl TypePattern {
    /// Whether `event_type` matches. A private type only matches exactly.
    #[must_use]
    pub fn matches(&self, event_type: &EventType) -> bool {
        match self {
            Self::Exact(exact) => exact == event_type,
            Self::Below(prefix) => event_type.as_str().starts_with(prefix.as_str()) && !event_type.is_private(),
            Self::Any => !event_type.is_private(),
        }
    }

    /// Whether it names one type, as commands ask for.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }
}

impl FromStr for TypePattern {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let Some(prefix) = text.strip_suffix(".*") else { return text.parse().map(Self::Exact) };
        // The prefix must itself be made of the words of a type.
        format!("{prefix}.x").parse::<EventType>()?;
        Ok(Self::Below(format!("{prefix}.")))
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => exact.fmt(f),
            Self::Below(prefix) => write!(f, "{prefix}*"),
            Self::Any => f.write_str("*"),
        }
    }
}
