//! The gate of every connection of this process.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::breaker::{Budget, DEFAULT_RATE, Gate, Signal, Wait};
use crate::id::Key;

/// Runs that wait for their turn at one connection before further ones are turned away at once. They keep the pace
/// full; more would only sit in slots that other tenants need.
const WAITERS: u32 = 4;

/// Rate and breaker by connection. Kept in memory: a restart begins at full pace.
#[derive(Default)]
pub struct Paces(Mutex<HashMap<Key, Gate>>);

/// Why a call has no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTurn {
    /// Not within the caller's patience; there may be one after this time.
    Later(Duration),
    /// The breaker is open for this time.
    Down(Duration),
}

/// How a call waits for its turn.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The longest wait.
    pub most: Duration,
    /// Whether it is turned away where others wait already. It is for callers who can come back later at no cost.
    pub yields: bool,
}

impl Paces {
    /// Waits for a turn at a connection, in the order of asking, and takes it. `rate` is the full pace in calls per
    /// second, for a connection that was not used before; `monotonic` tells the time.
    ///
    /// # Errors
    /// No turn within `patience`, or the breaker is open.
    pub async fn turn(
        &self,
        connection: Key,
        rate: Option<f64>,
        patience: Patience,
        monotonic: impl Fn() -> Duration,
    ) -> Result<(), NoTurn> {
        let mut left = patience.most;
        loop {
            let now = monotonic();
            let reserved = self.with(connection, rate, now, |gate| {
                let crowded = patience.yields && gate.waiting >= WAITERS;
                gate.reserve(now, if crowded { Duration::ZERO } else { left })
            });
            let reserved = match reserved {
                Ok(reserved) => reserved,
                Err(Wait::Rate(wait)) => return Err(NoTurn::Later(wait)),
                Err(Wait::Down(wait)) => return Err(NoTurn::Down(wait)),
            };
            if !reserved.wait.is_zero() {
                let _waiting = self.waiting(connection, rate, now);
                tokio::time::sleep(reserved.wait).await;
                left = left.saturating_sub(reserved.wait);
            }
            let now = monotonic();
            match self.with(connection, rate, now, |gate| gate.enter(now, &reserved)) {
                Ok(true) => return Ok(()),
                // The provider asked for less meanwhile, which took every reservation back.
                Ok(false) => {}
                Err(wait) => return Err(NoTurn::Down(wait)),
            }
        }
    }

    /// Reports a call; `fraction` in `[0, 1)` is chance for the breaker's time. A connection that had no turn yet is
    /// passed over, since only its first turn tells its full pace.
    pub fn record(&self, connection: Key, now: Duration, signal: Signal, fraction: f64) {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get_mut(&connection) {
            gate.record(now, signal, fraction);
        }
    }

    /// What is left of a connection's pace; none if it was not used since the start.
    #[must_use]
    pub fn budget(&self, connection: Key, now: Duration) -> Option<Budget> {
        let gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.get(&connection).map(|gate| gate.budget(now))
    }

    /// Connections whose breaker is not closed.
    #[must_use]
    pub fn open(&self) -> Vec<Key> {
        let gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.iter().filter(|(_, gate)| gate.breaker.is_open()).map(|(key, _)| *key).collect()
    }

    /// How many connections are used more slowly than they could be, because their providers asked for it.
    #[must_use]
    pub fn slowed(&self) -> usize {
        let gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.values().filter(|gate| gate.pace.is_lowered()).count()
    }

    /// Forgets a connection, after its secret changed or it was removed.
    pub fn forget(&self, connection: Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&connection);
    }

    fn with<T>(&self, connection: Key, rate: Option<f64>, now: Duration, act: impl FnOnce(&mut Gate) -> T) -> T {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(gates.entry(connection).or_insert_with(|| Gate::new(rate.unwrap_or(DEFAULT_RATE), now)))
    }

    /// Counts one who waits until it is dropped, also when its run ends meanwhile.
    fn waiting(&self, connection: Key, rate: Option<f64>, now: Duration) -> Waiting<'_> {
        self.with(connection, rate, now, |gate| gate.waiting += 1);
        Waiting { paces: self, connection }
    }
}

struct Waiting<'p> {
    paces: &'p Paces,
    connection: Key,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut gates = self.paces.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get_mut(&self.connection) {
            gate.waiting = gate.waiting.saturating_sub(1);
        }
    }
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
