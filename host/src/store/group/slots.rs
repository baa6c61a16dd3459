//! The kv rows that a group writes, under compare-and-swap.

use std::collections::HashMap;

use crate::{
    clock::Timestamp,
    event::TenantId,
    store::ledger::{Expected, KvWrite},
};

/// (tenant, plugin, key)
pub(in crate::store) type KvPlace = (String, String, String);

/// A value, the person whom it is about, and when it was written.
pub(in crate::store) type Written = (Option<Vec<u8>>, Option<[u8; 32]>, Timestamp);

/// One key as a group sees it.
#[derive(Clone, Default)]
pub(in crate::store) struct Slot {
    pub(in crate::store) version: u64,
    pub(in crate::store) present: bool,
    pub(in crate::store) expires_at: Option<Timestamp>,
    /// The last write of this group.
    pub(in crate::store) written: Option<Written>,
}

impl Slot {
    fn accepts(&self, expected: Expected, now: Timestamp) -> bool {
        match expected {
            Expected::Any => true,
            Expected::Absent => !self.present || self.expires_at.is_some_and(|at| at <= now),
            Expected::Version(version) => self.version == version,
        }
    }
}

/// The keys that a group writes, with what was there and what will be.
#[derive(Default)]
pub(in crate::store) struct Staged {
    pub(in crate::store) slots: HashMap<KvPlace, Slot>,
}

/// Where a write goes.
pub(in crate::store) fn place(tenant: &TenantId, plugin: &str, write: &KvWrite) -> KvPlace {
    (tenant.as_str().to_owned(), plugin.to_owned(), write.key.clone())
}

impl Staged {
    /// Stages all writes of one caller, or none of them if one of its swaps is lost.
    pub(in crate::store) fn swap(
        &mut self,
        tenant: &TenantId,
        plugin: &str,
        writes: &[KvWrite],
        now: Timestamp,
    ) -> bool {
        let mut undo = Vec::with_capacity(writes.len());
        for write in writes {
            let place = place(tenant, plugin, write);
            let slot = self.slots.entry(place.clone()).or_default();
            undo.push((place, slot.clone()));
            if !slot.accepts(write.expected, now) {
                // Backwards, so that a key written twice ends as it was.
                self.slots.extend(undo.into_iter().rev());
                return false;
            }
            slot.version += 1;
            slot.present = write.value.is_some();
            slot.expires_at = write.expires_at;
            slot.written = Some((write.value.clone(), write.person, now));
        }
        true
    }
}
