//! How the broker is now, for whoever has another way to go while it is not up.

use std::sync::Arc;

use tokio::sync::watch;

/// How a connection, or the broker as a whole, is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerState {
    /// It works, and has for a while.
    Up,
    /// The broker takes no messages for now: it is short of memory or disk.
    Blocked {
        /// The broker's word for it.
        reason: Arc<str>,
    },
    /// There is no connection that could be relied upon.
    Down {
        /// Why, for a person. Holds no password.
        reason: Arc<str>,
    },
}

impl BrokerState {
    /// Down for a reason.
    pub(super) fn down(reason: impl Into<Arc<str>>) -> Self {
        Self::Down { reason: reason.into() }
    }

    /// `up`, `blocked` or `down`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Blocked { .. } => "blocked",
            Self::Down { .. } => "down",
        }
    }

    /// The reason, unless it is up.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Up => None,
            Self::Blocked { reason } | Self::Down { reason } => Some(reason),
        }
    }
}

/// The two connections to the broker. They are separate, since a broker that blocks those who publish must still get
/// the acknowledgements of those who consume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerStatus {
    /// The connection that rings.
    pub publish: BrokerState,
    /// The connection that hears.
    pub consume: BrokerState,
}

impl BrokerStatus {
    /// What both together amount to: up if both are, else what keeps the one that is worse.
    #[must_use]
    pub fn state(&self) -> &BrokerState {
        match (&self.publish, &self.consume) {
            (BrokerState::Down { .. }, _) => &self.publish,
            (_, BrokerState::Down { .. }) => &self.consume,
            (BrokerState::Up, other) => other,
            (publish, _) => publish,
        }
    }

    /// Whether bells can be relied upon, so that nobody has to look for work all the time.
    #[must_use]
    pub fn is_up(&self) -> bool {
        *self.state() == BrokerState::Up
    }
}

/// Which of the two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Publish,
    Consume,
}

impl Side {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Consume => "consume",
        }
    }
}

/// Where the two supervisors write what others watch.
#[derive(Debug)]
pub(super) struct Board(watch::Sender<BrokerStatus>);

impl Board {
    /// A board on which both connections are yet to be made.
    pub(super) fn new() -> Self {
        let state = BrokerState::down("not connected yet");
        Self(watch::Sender::new(BrokerStatus { publish: state.clone(), consume: state }))
    }

    pub(super) fn watch(&self) -> watch::Receiver<BrokerStatus> {
        self.0.subscribe()
    }

    pub(super) fn is_up(&self) -> bool {
        self.0.borrow().is_up()
    }

    /// Notes a state; what changes is logged and counted.
    pub(super) fn note(&self, side: Side, state: BrokerState) {
        let changed = self.0.send_if_modified(|status| {
            let known = match side {
                Side::Publish => &mut status.publish,
                Side::Consume => &mut status.consume,
            };
            let changed = *known != state;
            if changed && known.word() != state.word() {
                tell(side, &state);
            }
            *known = state;
            changed
        });
        if changed {
            crate::observe::metrics::broker_up(self.is_up());
        }
    }
}

fn tell(side: Side, state: &BrokerState) {
    let (connection, reason) = (side.word(), state.reason().unwrap_or_default());
    match state {
        BrokerState::Up => tracing::info!(connection, "the broker is up"),
        _ => tracing::warn!(connection, reason, "the broker is {}; the database is looked at instead", state.word()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_connection_speaks_for_both() {
        let blocked = BrokerState::Blocked { reason: "low on memory".into() };
        let down = BrokerState::down("refused");
        for (publish, consume, expected) in [
            (BrokerState::Up, BrokerState::Up, "up"),
            (blocked.clone(), BrokerState::Up, "blocked"),
            (BrokerState::Up, blocked.clone(), "blocked"),
            (blocked.clone(), down.clone(), "down"),
            (down.clone(), BrokerState::Up, "down"),
            (BrokerState::Up, down, "down"),
        ] {
            let status = BrokerStatus { publish, consume };
            assert_eq!(status.state().word(), expected, "{status:?}");
            assert_eq!(status.is_up(), expected == "up");
        }
    }
}
