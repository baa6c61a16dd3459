//! Identifiers from a seed: the same seed and the same calls give the same identifiers.

use std::sync::{Mutex, PoisonError};

use rand::{Rng, SeedableRng, rngs::ChaCha20Rng};

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Makes provider-style identifiers.
pub(crate) struct Ids(Mutex<ChaCha20Rng>);

impl Ids {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Mutex::new(ChaCha20Rng::seed_from_u64(seed)))
    }

    fn fill<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
        bytes
    }

    /// `prefix` and 32 hex digits, as Twilio writes its SIDs.
    pub(crate) fn sid(&self, prefix: &str) -> String {
        format!("{prefix}{}", hex::encode(self.fill::<16>()))
    }

    /// 22 letters and digits, as Billy writes its ids.
    pub(crate) fn base62(&self) -> String {
        self.fill::<22>().iter().map(|byte| char::from(BASE62[usize::from(*byte) % BASE62.len()])).collect()
    }

    /// A version 4 UUID in its usual form.
    pub(crate) fn uuid(&self) -> String {
        let mut bytes = self.fill::<16>();
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let text = hex::encode(bytes);
        format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
    }

    /// Puts `items` into an order that differs from the given one whenever there are two or more.
    pub(crate) fn disorder<T>(&self, items: &mut [T]) {
        if items.len() < 2 {
            return;
        }
        let turn = usize::from(self.fill::<1>()[0]) % (items.len() - 1) + 1;
        items.rotate_left(turn);
    }
}
