//! Key-value data as a run sees it: what is stored, and what it staged over it.

use std::{collections::BTreeMap, time::Duration};

use super::calls::{RunCalls, RunStop};
use crate::{
    connection::vault::PersonKind,
    plugin::{
        host_calls::{Answer, Stop},
        model::{KvError, KvOptions},
    },
    store::{
        StoreError,
        ledger::{Expected, KvWrite},
    },
};

/// The largest value of a key.
const VALUE_BYTES: u64 = 256 << 10;

/// The most that an installation keeps.
const TOTAL_BYTES: u64 = 16 << 20;

/// What a run wrote and the store does not have yet.
pub(super) struct StagedKv {
    pub(super) staged: BTreeMap<String, Staged>,
    /// Bytes that the installation holds in the store, once a write made it necessary to know.
    held_bytes: Option<u64>,
    /// By how much what is staged grows or shrinks them.
    growth: i64,
}

pub(super) struct Staged {
    pub(super) value: Option<Vec<u8>>,
    version: u64,
    expected: Expected,
    ttl: Option<Duration>,
    person: Option<[u8; 32]>,
}

impl StagedKv {
    pub(super) const fn new() -> Self {
        Self { staged: BTreeMap::new(), held_bytes: None, growth: 0 }
    }
}

impl RunCalls {
    /// The staged kv operations, for the commit that they go with.
    pub fn take_staged(&mut self) -> Vec<KvWrite> {
        let now = self.hub.clock.now();
        // What is staged is the store's from here on, and counted there.
        (self.kv.held_bytes, self.kv.growth) = (None, 0);
        std::mem::take(&mut self.kv.staged)
            .into_iter()
            .map(|(key, staged)| KvWrite {
                key,
                expected: staged.expected,
                value: staged.value,
                expires_at: staged.ttl.map(|ttl| now.after(ttl)),
                person: staged.person,
            })
            .collect()
    }

    pub(super) async fn read(&self, key: &str) -> Result<(Option<Vec<u8>>, u64), Stop> {
        if let Some(staged) = self.kv.staged.get(key) {
            return Ok((staged.value.clone(), staged.version));
        }
        let (tenant, plugin) = (&self.tenant.row.id, &self.installation.row.plugin);
        let row = self.hub.store.kv_get(tenant, plugin, key, self.hub.clock.now()).await.map_err(stop)?;
        Ok((row.value, row.version))
    }

    pub(super) async fn stage(
        &mut self,
        key: &str,
        value: Option<Vec<u8>>,
        expected: Expected,
        options: KvOptions,
    ) -> Answer<u64, KvError> {
        if let Err(error) = check_sizes(key, value.as_deref()) {
            return Ok(Err(error));
        }
        let (before, stored_version) = self.read(key).await?;
        let size = |value: Option<&[u8]>| value.map_or(0, |value| key.len() as i64 + value.len() as i64);
        let growth = size(value.as_deref()) - size(before.as_deref());
        if growth > 0 && !self.fits(growth).await? {
            return Ok(Err(KvError::QuotaExceeded));
        }
        self.kv.growth += growth;
        let kind = |value: &str| PersonKind::of(value);
        let person = options.person.and_then(|person| self.tenant.key.person_hash(kind(&person), &person));
        // A key that this run staged keeps the expectation of its first write: the later ones are on its own value.
        let (version, expected) = match self.kv.staged.get(key) {
            Some(staged) => (staged.version, staged.expected),
            None => (stored_version + 1, expected),
        };
        let ttl = options.ttl_ms.map(Duration::from_millis);
        self.kv.staged.insert(key.to_owned(), Staged { value, version, expected, ttl, person });
        Ok(Ok(version))
    }

    /// Whether the installation may hold `growth` bytes more than what is stored and staged.
    async fn fits(&mut self, growth: i64) -> Result<bool, Stop> {
        let held = match self.kv.held_bytes {
            Some(held) => held,
            None => self.hub.store.kv_bytes(&self.tenant.row.id, &self.installation.row.plugin).await.map_err(stop)?,
        };
        self.kv.held_bytes = Some(held);
        Ok(held.saturating_add_signed(self.kv.growth + growth) <= TOTAL_BYTES)
    }
}

fn check_sizes(key: &str, value: Option<&[u8]>) -> Result<(), KvError> {
    if !matches!(key.len(), 1..=512) {
        return Err(KvError::InvalidKey);
    }
    if value.is_some_and(|value| value.len() as u64 > VALUE_BYTES) {
        return Err(KvError::TooLarge(VALUE_BYTES));
    }
    Ok(())
}

pub(super) fn stop(error: StoreError) -> Stop {
    Stop::new(RunStop::Store(error))
}
