//! The clock and the randomness of a guest. Both follow from the run's record, so that a run which is executed
//! again takes the same path.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::ChaCha20Rng};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};

/// Nanoseconds by which each reading moves the clock, so that a loop on the clock ends.
const STEP_NS: u64 = 1_000;

const NS_PER_MS: u64 = 1_000_000;

/// The guest's clock, shared with whoever keeps the run's journal. It stands still but for readings.
#[derive(Debug)]
pub struct VirtualClock(AtomicU64);

impl VirtualClock {
    /// A clock standing at `at_ms` since 1970.
    #[must_use]
    pub fn starting_at(at_ms: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(at_ms.saturating_mul(NS_PER_MS))))
    }

    /// Moves the clock to `at_ms`, the recorded time of an answer, unless it is past that already.
    pub fn advance_to(&self, at_ms: u64) {
        self.0.fetch_max(at_ms.saturating_mul(NS_PER_MS), Ordering::Relaxed);
    }

    /// Where the clock stands, without moving it.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed) / NS_PER_MS
    }

    fn read(&self) -> u64 {
        self.0.fetch_add(STEP_NS, Ordering::Relaxed)
    }
}

struct GuestClock(Arc<VirtualClock>);

impl HostWallClock for GuestClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(STEP_NS)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.read())
    }
}

impl HostMonotonicClock for GuestClock {
    fn resolution(&self) -> u64 {
        STEP_NS
    }

    fn now(&self) -> u64 {
        self.0.read()
    }
}

/// Gives the guest `clock`, and generators that follow from `seed`. The order of a Rust guest's `HashMap` comes
/// from the insecure seed, which therefore has to be set too.
pub(super) fn install(wasi: &mut WasiCtxBuilder, clock: &Arc<VirtualClock>, seed: [u8; 32]) {
    let mut root = ChaCha20Rng::from_seed(seed);
    let (mut secure, mut insecure, mut order) = ([0; 32], [0; 32], [0; 16]);
    root.fill_bytes(&mut secure);
    root.fill_bytes(&mut insecure);
    root.fill_bytes(&mut order);
    wasi.wall_clock(GuestClock(Arc::clone(clock)))
        .monotonic_clock(GuestClock(Arc::clone(clock)))
        .secure_random(ChaCha20Rng::from_seed(secure))
        .insecure_random(ChaCha20Rng::from_seed(insecure))
        .insecure_random_seed(u128::from_le_bytes(order));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_stands_still_and_never_goes_back() {
        let clock = VirtualClock::starting_at(5_000);
        assert_eq!(clock.now_ms(), 5_000);
        clock.advance_to(6_000);
        clock.advance_to(4_000);
        assert_eq!(clock.now_ms(), 6_000);
        for _ in 0..1_000 {
            clock.read();
        }
        assert_eq!(clock.now_ms(), 6_001, "a thousand readings take a millisecond");
    }
}
