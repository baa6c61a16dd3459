//! The gate of every connection of this process.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::breaker::{DEFAULT_RATE, Gate, Signal, Wait};
use crate::id::Key;

/// Rate and breaker by connection. Kept in memory: a restart begins at full pace.
#[derive(Default)]
pub struct Paces(Mutex<HashMap<Key, Gate>>);

impl Paces {
    /// Lets a call of the connection through, or says why not. `now` is monotonic.
    ///
    /// # Errors
    /// The rate is used up, or the breaker is open.
    pub fn try_pass(&self, connection: Key, now: Duration) -> Result<(), Wait> {
        self.with(connection, now, |gate| gate.try_pass(now))
    }

    /// Reports a call that was let through; `fraction` in `[0, 1)` is chance for the breaker's time.
    pub fn record(&self, connection: Key, now: Duration, signal: Signal, fraction: f64) {
        self.with(connection, now, |gate| gate.record(now, signal, fraction));
    }

    /// Connections whose breaker is not closed.
    #[must_use]
    pub fn open(&self) -> Vec<Key> {
        let gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.iter().filter(|(_, gate)| gate.breaker.is_open()).map(|(key, _)| *key).collect()
    }

    /// Forgets a connection, after its secret changed or it was removed.
    pub fn forget(&self, connection: Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&connection);
    }

    fn with<T>(&self, connection: Key, now: Duration, act: impl FnOnce(&mut Gate) -> T) -> T {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(gates.entry(connection).or_insert_with(|| Gate::new(DEFAULT_RATE, now)))
    }
}
