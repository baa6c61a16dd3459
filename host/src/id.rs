//! Identifiers: UUIDv7 as 32 hex digits behind a prefix. The only file, with `secret.rs`, that makes randomness.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use rand::{Rng, SeedableRng, rngs::ChaCha20Rng};

use crate::clock::{SharedClock, Timestamp};

/// The 128 bits behind an identifier. Ordered by the time of making, within one [`Ids`] strictly.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// Reads `<prefix>_<32 lower-case hex digits>`.
    #[must_use]
    pub fn parse(prefix: &str, text: &str) -> Option<Self> {
        let hex = text.strip_prefix(prefix)?.strip_prefix('_')?;
        hex.parse().ok()
    }

    /// When it was made.
    #[must_use]
    pub fn made_at(self) -> Timestamp {
        let [a, b, c, d, e, f, ..] = self.0;
        Timestamp(i64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    /// Writes `<prefix>_<32 hex digits>`.
    #[must_use]
    pub fn with_prefix(self, prefix: &str) -> String {
        format!("{prefix}_{self}")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        // Not `hex::encode`, which collects character by character: this is done several times an event.
        hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 32 lower-case hex digits.
#[derive(Debug, thiserror::Error)]
#[error("expected 32 lower-case hex digits")]
pub struct MalformedKey;

impl FromStr for Key {
    type Err = MalformedKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(MalformedKey);
        }
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| MalformedKey)?;
        Ok(Self(bytes))
    }
}

/// Makes identifiers and random bytes from a clock and a generator given at the top.
#[derive(Clone)]
pub struct Ids {
    inner: Arc<Mutex<Inner>>,
    clock: SharedClock,
}

struct Inner {
    rng: ChaCha20Rng,
    last: u128,
}

impl Ids {
    /// Seeds the generator from the operating system.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the operating system for randomness")]
    pub fn from_os(clock: SharedClock) -> Self {
        Self::seeded(clock, rand::random())
    }

    /// A generator whose output follows from `seed` and the clock, for tests.
    #[must_use]
    pub fn seeded(clock: SharedClock, seed: [u8; 32]) -> Self {
        let inner = Inner { rng: ChaCha20Rng::from_seed(seed), last: 0 };
        Self { inner: Arc::new(Mutex::new(inner)), clock }
    }

    /// The next key: a UUIDv7 (RFC 9562) larger than every key before it, also when the clock steps back.
    #[must_use]
    pub fn next(&self) -> Key {
        let millis = u128::try_from(self.clock.now().0).unwrap_or(0) & ((1 << 48) - 1);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // Counter of 74 bits below the time: random on a new millisecond, a random step ahead within one.
        let fresh = (millis << 74) | (u128::from(inner.rng.next_u64()) << 8);
        let step = u128::from(inner.rng.next_u32()) + 1;
        let value = if fresh > inner.last { fresh } else { inner.last + step };
        inner.last = value;
        drop(inner);
        let time = value >> 74;
        let rand_a = (value >> 62) & 0xfff;
        let rand_b = value & ((1 << 62) - 1);
        let bits = (time << 80) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b;
        Key(bits.to_be_bytes())
    }

    /// `N` unpredictable bytes.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).rng.fill_bytes(&mut bytes);
        bytes
    }

    /// A number in `[0, 1)`, for jitter.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        let bits = u32::from_le_bytes(self.random());
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}
