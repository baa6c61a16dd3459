//! A connection that is there again when it was lost. The library's own recovery is not used: it hides for how long there
//! was none, and gives up.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt as _;
use lapin::Event;
use tokio::{
    select,
    sync::Notify,
    time::{Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    address::BrokerAddress,
    dial::{Dialling, Link, dial, short},
    status::{Board, BrokerState, Side},
};
use crate::id::Ids;

/// The bounds of the wait before a connection is tried again.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What is said of a broker that is connected and does not answer.
pub(super) const UNANSWERED: &str = "the broker did not answer in time";

/// Time for the broker to answer what is no message.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How often a connection is looked at that says nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is done with a connection.
pub(super) trait Session: Send + Sync {
    /// Works on a fresh connection until that is no longer possible, and answers why not. Rings `ready` once what the
    /// broker must hold is declared.
    fn run(&self, link: &Link, ready: &Notify) -> impl Future<Output = String> + Send;
}

/// Keeps one connection.
pub(super) struct Supervisor {
    pub(super) side: Side,
    pub(super) address: BrokerAddress,
    pub(super) dialling: Dialling,
    /// For how long a connection that was lost must hold before it is relied upon again.
    pub(super) stable: Duration,
    pub(super) board: Arc<Board>,
    pub(super) ids: Ids,
}

/// What a supervisor remembers from one connection to the next.
struct Past {
    /// Connections that did not come to be relied upon, in a row.
    failures: u32,
    /// Whether the next one must hold for a while first.
    distrusted: bool,
}

impl Supervisor {
    /// Keeps the connection, for ever or until `stop`.
    pub(super) async fn keep(&self, session: &impl Session, stop: &CancellationToken) {
        let mut past = Past { failures: 0, distrusted: false };
        while let Some(reason) = self.one(session, &mut past, stop).await {
            self.board.note(self.side, BrokerState::down(reason));
            (past.failures, past.distrusted) = (past.failures.saturating_add(1), true);
            select! {
                () = stop.cancelled() => return,
                () = sleep(wait_before(past.failures, self.ids.fraction())) => {}
            }
        }
        self.board.note(self.side, BrokerState::down("the hub stops"));
    }

    /// One connection from its beginning to its end. Answers why it ended; nothing when it was told to stop.
    async fn one(&self, session: &impl Session, past: &mut Past, stop: &CancellationToken) -> Option<String> {
        let dialled = select! {
            () = stop.cancelled() => return None,
            dialled = dial(&self.address, &self.dialling) => dialled,
        };
        let link = match dialled {
            Ok(link) => link,
            Err(error) => return Some(error.to_string()),
        };
        let reason = select! {
            () = stop.cancelled() => None,
            reason = self.attend(session, &link, past) => Some(reason),
        };
        link.close().await;
        reason
    }

    /// Runs the session, and keeps the board true meanwhile.
    async fn attend(&self, session: &impl Session, link: &Link, past: &mut Past) -> String {
        let mut events = link.connection().events_listener();
        let ready = Notify::new();
        let mut running = pin!(session.run(link, &ready));
        let mut proving = pin!(sleep(self.stable));
        let (mut is_ready, mut blocked, mut proven) = (false, false, false);
        loop {
            let on_trial = is_ready && !blocked && !proven;
            select! {
                biased;
                event = events.next() => match event {
                    Some(Event::ConnectionBlocked(reason)) => {
                        (blocked, past.distrusted) = (true, true);
                        self.board.note(self.side, BrokerState::Blocked { reason: short(&reason).into() });
                    }
                    Some(Event::ConnectionUnblocked) => {
                        (blocked, proven) = (false, false);
                        self.begin_trial(proving.as_mut(), past);
                    }
                    Some(Event::Error(error)) if !link.connection().status().connected() => return said(&error),
                    Some(_) => {}
                    None => return "the connection ended".to_owned(),
                },
                reason = &mut running => return reason,
                () = ready.notified(), if !is_ready => {
                    is_ready = true;
                    self.begin_trial(proving.as_mut(), past);
                }
                () = proving.as_mut(), if on_trial => {
                    (proven, past.failures) = (true, 0);
                    self.board.note(self.side, BrokerState::Up);
                }
                () = sleep(LOOK_EVERY) => {
                    if !link.connection().status().connected() {
                        return "the connection ended".to_owned();
                    }
                }
            }
        }
    }

    /// Begins the time for which the connection must hold; a first connection need not.
    fn begin_trial(&self, mut proving: Pin<&mut Sleep>, past: &Past) {
        let stable = if past.distrusted { self.stable } else { Duration::ZERO };
        proving.set(sleep(stable));
        if !stable.is_zero() {
            self.board.note(self.side, BrokerState::down("connected again, and not yet for long enough to rely on it"));
        }
    }
}

/// Waits for the broker's answer, but not for ever.
pub(crate) async fn answered<T>(asked: impl Future<Output = lapin::Result<T>>) -> Result<T, String> {
    match timeout(ANSWER_LIMIT, asked).await {
        Ok(answer) => answer.map_err(|error| said(&error)),
        Err(_) => Err(UNANSWERED.to_owned()),
    }
}

/// A failure in words for a person.
pub(super) fn said(error: &lapin::Error) -> String {
    short(&error.to_string())
}

/// The wait before the next connection: anything from the shortest to a bound that doubles with each failure, so that
/// many hubs that lost one broker do not come back all at once.
pub(crate) fn wait_before(failures: u32, fraction: f64) -> Duration {
    let bound = SHORTEST_WAIT.saturating_mul(1 << failures.min(16)).min(LONGEST_WAIT);
    SHORTEST_WAIT + (bound - SHORTEST_WAIT).mul_f64(fraction.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_wait_is_never_shorter_than_a_tenth_of_a_second_nor_longer_than_five(
            failures in 0_u32..1_000_000, fraction in 0.0_f64..1.0,
        ) {
            let wait = wait_before(failures, fraction);
            prop_assert!(wait >= SHORTEST_WAIT && wait <= LONGEST_WAIT);
        }
    }

    #[test]
    fn the_bound_of_the_wait_doubles() {
        assert_eq!(wait_before(0, 1.0), Duration::from_millis(100));
        assert_eq!(wait_before(1, 1.0), Duration::from_millis(200));
        assert_eq!(wait_before(5, 1.0), Duration::from_millis(3200));
        assert_eq!(wait_before(6, 1.0), Duration::from_secs(5));
        assert_eq!(wait_before(6, 0.0), Duration::from_millis(100));
    }
}
