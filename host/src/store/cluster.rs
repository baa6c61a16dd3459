//! What the nodes of one hub tell each other through their database. All leases are judged by the database's clock, since
//! the nodes' clocks differ.

use std::time::Duration;

use async_trait::async_trait;

use super::{StoreError, StoreResult};
use crate::{
    clock::Timestamp,
    event::TenantId,
    id::Key,
    queue::{
        lane::Lane,
        partition::{PARTITIONS, Partition, PartitionSet},
    },
};

/// A node's lease ends so long after its last beat.
pub const NODE_LIFE: Duration = Duration::from_secs(10);

/// A process that shares the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// Its id, new at every start.
    pub id: Key,
    /// Its name for people.
    pub name: String,
    /// Its roles: `api`, `worker`, `scheduler`.
    pub roles: Vec<String>,
    /// Its version.
    pub version: String,
}

impl NodeRow {
    /// Whether it has a role.
    #[must_use]
    pub fn has(&self, role: &str) -> bool {
        self.roles.iter().any(|known| known == role)
    }
}

/// A partition's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which partition.
    pub partition: Partition,
    /// Its owner; it may be dead.
    pub node: Option<Key>,
    /// How often it changed hands. It fences what an owner before writes.
    pub epoch: i64,
}

/// What a beat saw.
#[derive(Clone, Debug)]
pub struct Beaten {
    /// The nodes that live, this one included.
    pub nodes: Vec<NodeRow>,
    /// All partitions in order.
    pub leases: Vec<Lease>,
    /// The database's clock.
    pub now: Timestamp,
}

/// A partition that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its new lease.
    pub lease: Lease,
    /// Who had it before and died.
    pub former: Option<Key>,
}

/// What a node may claim: partitions at the epochs at which they are its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFence {
    /// The node.
    pub node: Key,
    /// By the partition's number; none for those of others.
    pub epochs: [Option<i64>; PARTITIONS as usize],
}

/// How far a node has read the changes. Opaque; begins with the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeMark {
    /// Transactions below this one were read.
    pub below: u64,
    /// Transactions at or above it that were read too.
    pub seen: Vec<u64>,
}

/// What admins changed on any node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Whose rows, each once.
    pub tenants: Vec<TenantId>,
    /// Whether what belongs to no tenant changed: plugin versions, apps, keys.
    pub hub: bool,
    /// Where to go on.
    pub mark: ChangeMark,
}

/// Lanes that other nodes rang for.
pub type Rung = tokio::sync::mpsc::Receiver<Vec<Lane>>;

/// Nodes, their leases, and how they wake each other. A database that one process has for itself needs none of it.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// Whether several processes may have this database open. If not, the other calls are not made.
    fn is_shared(&self) -> bool {
        false
    }

    /// Makes or renews the lease of a node for [`NODE_LIFE`], and looks around.
    async fn beat(&self, _node: &NodeRow) -> StoreResult<Beaten> {
        alone()
    }

    /// Takes those of the partitions that have no living owner; others are left out of the answer.
    async fn take(&self, _node: Key, _partitions: PartitionSet) -> StoreResult<Vec<Taken>> {
        alone()
    }

    /// Gives partitions of this node away: whoever has room may take them.
    async fn give(&self, _node: Key, _partitions: PartitionSet) -> StoreResult<()> {
        alone()
    }

    /// Ends a node's leases at once.
    async fn leave(&self, _node: Key) -> StoreResult<()> {
        alone()
    }

    /// Takes or renews a duty that one node has at a time, for [`NODE_LIFE`]; answers whether this node has it.
    async fn duty(&self, _node: Key, _name: &str) -> StoreResult<bool> {
        alone()
    }

    /// From here on only these partitions are claimed from, each while its epoch holds.
    fn set_fence(&self, _fence: NodeFence) {}

    /// What changed since a mark. A change is answered at least once.
    async fn changes(&self, _after: &ChangeMark) -> StoreResult<Changes> {
        alone()
    }

    /// Wakes the owners of lanes that have work now. May be lost: owners look by themselves, too.
    async fn ring(&self, _lanes: &[Lane]) -> StoreResult<()> {
        alone()
    }

    /// What other nodes ring for. The receiver ends when the connection does; then call again, and look at all lanes.
    async fn listen(&self) -> StoreResult<Rung> {
        alone()
    }
}

fn alone<T>() -> StoreResult<T> {
    Err(StoreError::Refused("this database belongs to one process, which has no other nodes".to_owned()))
}
