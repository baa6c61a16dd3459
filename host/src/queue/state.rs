//! The states of a delivery and their only legal transitions.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A stored state. `held` is not one: it is how a queued or waiting delivery shows while its target is blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Ready to start.
    Queued,
    /// An attempt is under way.
    Running,
    /// Starts again at its time.
    Waiting,
    /// Done.
    Delivered,
    /// Given up, and visible until replayed or discarded.
    Dead,
    /// Called off by a person or with its event. Final.
    Cancelled,
}

impl State {
    /// The number under which the store keeps it.
    #[must_use]
    pub const fn code(self) -> i64 {
        match self {
            Self::Queued => 0,
            Self::Running => 1,
            Self::Waiting => 2,
            Self::Delivered => 3,
            Self::Dead => 4,
            Self::Cancelled => 5,
        }
    }

    /// The state kept under `code`.
    #[must_use]
    pub const fn from_code(code: i64) -> Option<Self> {
        Some(match code {
            0 => Self::Queued,
            1 => Self::Running,
            2 => Self::Waiting,
            3 => Self::Delivered,
            4 => Self::Dead,
            5 => Self::Cancelled,
            _ => return None,
        })
    }

    /// Whether it can still be delivered by itself.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Waiting)
    }

    /// The word of the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        (0..=5).filter_map(Self::from_code).find(|state| state.as_str() == text).ok_or(UnknownState)
    }
}

/// The text names no state.
#[derive(Debug, thiserror::Error)]
#[error("expected queued, running, waiting, delivered, dead or cancelled")]
pub struct UnknownState;

/// What moves a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A scheduler starts an attempt.
    Claim,
    /// The attempt succeeded.
    Succeed,
    /// The attempt failed and another one is due later.
    Retry,
    /// The attempt, or the policy before it, ended the delivery.
    Die,
    /// The attempt was given back unburnt: shutdown, hold, lost swap.
    Release,
    /// The worker was lost.
    Rescue,
    /// A person called it off, or discarded the dead letter.
    Cancel,
    /// A person wants it again.
    Replay,
}

/// The transition is not in the table.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a {from} delivery cannot take {cause:?}")]
pub struct IllegalTransition {
    /// The state it was in.
    pub from: State,
    /// What should have moved it.
    pub cause: Cause,
}

/// The total transition function:
///
/// ```text
/// queued, waiting -claim-> running      running -succeed-> delivered    running -retry-> waiting
/// queued, waiting, running -die-> dead  running -release, rescue-> queued
/// queued, waiting, running, dead -cancel-> cancelled                    dead, delivered -replay-> queued
/// ```
///
/// # Errors
/// Every pair that is not in the table.
pub const fn transition(from: State, cause: Cause) -> Result<State, IllegalTransition> {
    match (from, cause) {
        (State::Queued | State::Waiting, Cause::Claim) => Ok(State::Running),
        (State::Running, Cause::Succeed) => Ok(State::Delivered),
        (State::Running, Cause::Retry) => Ok(State::Waiting),
        (State::Queued | State::Waiting | State::Running, Cause::Die) => Ok(State::Dead),
        (State::Running, Cause::Release | Cause::Rescue) => Ok(State::Queued),
        (State::Queued | State::Waiting | State::Running | State::Dead, Cause::Cancel) => Ok(State::Cancelled),
        (State::Dead | State::Delivered, Cause::Replay) => Ok(State::Queued),
        (from, cause) => Err(IllegalTransition { from, cause }),
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
