use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::ChaCha20Rng};
use switchyard::clock::SystemClock;

/// Random choices that follow from a seed, which is printed.
pub struct Chance {
    rng: ChaCha20Rng,
    /// What it follows from.
    pub seed: u64,
}

impl Chance {
    /// Follows from the variable `SEED`, or else from the time of day. Prints the seed, so that a run can be repeated.
    ///
    /// # Panics
    /// `SEED` is no number.
    #[must_use]
    pub fn from_environment() -> Self {
        let given = std::env::var("SEED").ok().filter(|text| !text.is_empty());
        let seed = match given {
            Some(text) => text.parse().expect("SEED is a number"),
            None => u64::try_from(SystemClock::shared().now().0).unwrap_or(0),
        };
        println!("SEED={seed}");
        Self::seeded(seed)
    }

    /// Follows from `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { rng: ChaCha20Rng::seed_from_u64(seed), seed }
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.rng.next_u64() % end
    }

    /// A time between two.
    pub fn between_ms(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least + 1))
    }
}
