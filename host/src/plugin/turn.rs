//! Turns of guests that use much CPU time.
//!
//! The sandbox has fewer threads than slots. If all guests that are busy took turns, a short call would wait for a
//! tick of each of them, each time that it waits for anything. So a call that has used more than [`SHORT_MS`] goes on
//! only with a turn, of which there is one a thread: short calls meet at most one tick of a long one. Long calls take
//! their turns in order, a tick each.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// CPU milliseconds after which a call needs turns.
pub(super) const SHORT_MS: u64 = 5;

/// The turns of one sandbox.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    /// One turn for each of `threads`.
    pub(super) fn new(threads: usize) -> Self {
        Self(Arc::new(Semaphore::new(threads)))
    }

    /// The turns as one call takes them.
    pub(super) fn of_one_call(&self) -> Turn {
        Turn { turns: self.clone(), held: Arc::default() }
    }
}

/// The turn of one call, held or not. Dropped with the call.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    turns: Turns,
    held: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Turn {
    /// Gives the turn to the next in line: while a call waits for its host it needs none.
    pub(super) fn give(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Gives the turn and waits for the next one.
    pub(super) fn next(&self) -> BoxFuture<'static, ()> {
        self.give();
        let Self { turns, held } = self.clone();
        Box::pin(async move {
            // The semaphore is never closed.
            if let Ok(turn) = turns.0.acquire_owned().await {
                *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(turn);
            }
        })
    }
}
