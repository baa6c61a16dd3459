//! A run's turn at a connection: it waits inside its call while the connection's pace allows none, for as long as that
//! costs nobody anything, and else goes back to the queue.

use std::time::Duration;

use super::calls::{RunCalls, RunStop};
use crate::{
    connection::pace::{NoTurn, Patience},
    directory::view::PluginVersion,
    id::Key,
    plugin::{
        host_calls::Stop,
        limits::Limits,
        model::{ConnectionSpec, HttpError},
    },
};

/// How long a run that has called nobody yet waits before it goes back to the queue.
const FIRST: Duration = Duration::from_secs(5);

/// How long a preview waits for its turn at a connection, at one call.
const PREVIEW: Duration = Duration::from_secs(2);

/// What is kept of a run's wall time for the call itself and for what follows it.
const RESERVE: Duration = Duration::from_secs(5);

/// What is kept of a run's wall time for the plugin's own end after a call.
const FOR_THE_END: Duration = Duration::from_secs(2);

/// Why a call is not made now.
pub(super) enum Turned {
    /// The plugin sees it.
    Seen(HttpError),
    /// The attempt ends without having cost a try: nothing of it was sent.
    Stopped(Stop),
}

impl RunCalls {
    /// Waits for a turn at the connection. `timeout` is what the plugin gives the whole call.
    ///
    /// The first live call of an attempt that finds no turn ends the attempt, and the delivery comes back when there is
    /// one. A later call is worth a longer wait, since what was read before would have to be read again; what it waits
    /// is bounded by the call's own time-out and by the run's wall limit.
    pub(super) async fn turn(
        &mut self,
        connection: Key,
        spec: Option<&ConnectionSpec>,
        timeout: Duration,
    ) -> Result<(), Turned> {
        let first = !self.dry && !self.sent;
        let most = if self.dry {
            PREVIEW
        } else if first {
            FIRST.min(self.wall_left())
        } else {
            timeout.min(self.wall_left())
        };
        let rate = spec.and_then(ConnectionSpec::rate_per_s);
        let clock = self.hub.clock.clone();
        let patience = Patience { most, yields: first };
        match self.hub.paces.turn(connection, rate, patience, || clock.monotonic()).await {
            Ok(()) => {
                self.sent = true;
                Ok(())
            }
            Err(NoTurn::Later(wait)) if first => Err(Turned::Stopped(Stop::new(RunStop::NoTurn(wait)))),
            Err(NoTurn::Later(wait)) => Err(Turned::Seen(HttpError::RateLimited(whole_ms(wait)))),
            Err(NoTurn::Down(wait)) => Err(Turned::Seen(HttpError::Unreachable(Some(whole_ms(wait))))),
        }
    }

    /// The time that a call may take: what the plugin gives it, or less where the run would pass its wall limit over it. A
    /// provider that answers slowly is no bug of the plugin's, so it sees the time-out and ends by itself.
    pub(super) fn time_for_a_call(&mut self, wanted: Duration) -> Result<Duration, HttpError> {
        let now = self.hub.clock.monotonic();
        let spent = now.saturating_sub(*self.calling_since.get_or_insert(now));
        let wall = wall_limit(&self.version);
        let left = wall.saturating_sub(spent).saturating_sub(FOR_THE_END.min(wall / 10));
        if left < FOR_THE_END.min(wall / 10) {
            // Nothing is sent that could not be answered.
            return Err(HttpError::Unreachable(None));
        }
        Ok(wanted.min(left))
    }

    fn wall_left(&self) -> Duration {
        let wall = wall_limit(&self.version);
        let spent = self.hub.clock.monotonic().saturating_sub(self.started);
        wall.saturating_sub(spent).saturating_sub(RESERVE.min(wall / 3))
    }
}

fn wall_limit(version: &PluginVersion) -> Duration {
    Duration::from_millis(Limits::resolve(&version.manifest.limits).wall_ms)
}

fn whole_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}
