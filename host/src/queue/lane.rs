//! Lanes and their keys.

use std::fmt;

use sha2::{Digest, Sha256};

use super::partition::Partition;
use crate::event::{Target, TenantId, Urgency};

/// Deliveries of one tenant to one target that wait together; emergencies have their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// The tenant.
    pub tenant: TenantId,
    /// The target.
    pub target: Target,
    /// Whether it is the target's emergency lane.
    pub urgency: Urgency,
}

/// The 128 bits under which the store indexes a lane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneKey(pub [u8; 16]);

impl fmt::Debug for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl LaneKey {
    /// The partition that the lane belongs to.
    #[must_use]
    pub const fn partition(self) -> Partition {
        Partition::of(self)
    }
}

impl Lane {
    /// The shard number that is stored: 0, or 1 for emergencies.
    #[must_use]
    pub const fn shard(&self) -> i64 {
        match self.urgency {
            Urgency::Normal => 0,
            Urgency::Emergency => 1,
        }
    }

    /// Its key: the first 16 bytes of SHA-256 over tenant, target and shard.
    #[must_use]
    pub fn key(&self) -> LaneKey {
        let mut hash = Sha256::new();
        hash.update(self.tenant.as_str());
        hash.update([0]);
        hash.update(self.target.to_string());
        hash.update([0, u8::from(self.urgency == Urgency::Emergency)]);
        let digest = hash.finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        LaneKey(key)
    }
}
