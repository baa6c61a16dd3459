//! This process as one node of a hub. With SQLite it is the only one and owns every partition; with PostgreSQL the nodes
//! share the partitions under leases, wake each other, and follow each other's changes.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::{
    broker::{BellSettings, Bells, BrokerAddress, Rung},
    clock::{ServerClock, SharedClock},
    id::Key,
    queue::{
        lane::{Lane, LaneKey},
        partition::{PARTITIONS, Partition, PartitionSet},
    },
    store::cluster::{Lease, NodeRow},
};

/// Leases: joining, beating, taking, giving, leaving.
mod member;

/// How many partitions each node should have.
mod balance;

/// Waking the owner of a lane.
mod bells;

/// Following what admins change on other nodes.
mod feed;

pub use bells::BellState;

/// At most so many lanes wait to be rung for; beyond that their owners find the work by themselves.
const RINGING: usize = 10_000;

/// A node among its peers.
pub struct Node {
    /// What it tells of itself.
    pub row: NodeRow,
    shared: bool,
    clock: SharedClock,
    /// Partitions in which this node starts work, a bit each.
    owned: AtomicU64,
    /// How often each partition was lost to another node.
    losses: [AtomicU32; PARTITIONS as usize],
    /// Monotonic milliseconds until which the leases hold for sure.
    trusted_until: AtomicU64,
    /// Monotonic milliseconds until which the scheduler's duty is this node's.
    leads_until: AtomicU64,
    /// The clock that the nodes have in common.
    server_clock: Option<Arc<ServerClock>>,
    /// How far it is ahead of this node's, in milliseconds.
    skew_ms: AtomicI64,
    seen: ArcSwap<Seen>,
    /// Lanes of others that have work, until somebody rings.
    ringing: Mutex<HashSet<Lane>>,
    to_ring: Notify,
    /// Whether the database's notifications arrive.
    database_rings: AtomicBool,
    /// The broker's bells, if there is one.
    broker: Option<Arc<Bells>>,
}

/// A time in which a partition was this node's without a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    partition: Partition,
    losses: u32,
}

/// The nodes and leases at the last beat.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The nodes that lived.
    pub nodes: Vec<NodeRow>,
    /// All partitions.
    pub leases: Vec<Lease>,
}

impl Node {
    /// A node that has its database for itself.
    #[must_use]
    pub fn alone(row: NodeRow, clock: SharedClock) -> Arc<Self> {
        let owned = if row.has(balance::WORKER) { PartitionSet::all() } else { PartitionSet::none() };
        Arc::new(Self::new(row, clock, false, owned, u64::MAX))
    }

    /// A node of a shared database; it owns nothing yet.
    #[must_use]
    pub fn among_others(
        row: NodeRow,
        clock: SharedClock,
        server_clock: Arc<ServerClock>,
        broker: Option<BrokerAddress>,
    ) -> Arc<Self> {
        let broker = broker.map(|address| Bells::new(BellSettings::new(address, &row.id.to_string())));
        let server_clock = Some(server_clock);
        Arc::new(Self { broker, server_clock, ..Self::new(row, clock, true, PartitionSet::none(), 0) })
    }

    fn new(row: NodeRow, clock: SharedClock, shared: bool, owned: PartitionSet, until: u64) -> Self {
        Self {
            row,
            shared,
            clock,
            owned: AtomicU64::new(owned.bits()),
            losses: std::array::from_fn(|_| AtomicU32::new(0)),
            trusted_until: AtomicU64::new(until),
            leads_until: AtomicU64::new(until),
            server_clock: None,
            skew_ms: AtomicI64::new(0),
            seen: ArcSwap::default(),
            ringing: Mutex::default(),
            to_ring: Notify::new(),
            database_rings: AtomicBool::new(false),
            broker: None,
        }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> Key {
        self.row.id
    }

    /// Whether other nodes may be there.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        self.shared
    }

    /// The partitions in which this node starts work.
    #[must_use]
    pub fn owned(&self) -> PartitionSet {
        PartitionSet::from_bits(self.owned.load(Ordering::Acquire))
    }

    /// Whether this node starts the work of a lane.
    #[must_use]
    pub fn owns(&self, lane: LaneKey) -> bool {
        self.owned().contains(lane.partition())
    }

    /// Whether the leases hold for sure. If not, nothing new may have an effect outside: another node may have taken over.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        !self.shared || self.monotonic_ms() < self.trusted_until.load(Ordering::Acquire)
    }

    /// This node's ownership of a lane's partition, as it is now.
    #[must_use]
    pub fn term(&self, lane: LaneKey) -> Term {
        let partition = lane.partition();
        Term { partition, losses: self.losses[usize::from(partition.number())].load(Ordering::Acquire) }
    }

    /// Whether the ownership has lasted without a break, and lasts for sure. To be asked right before something has an
    /// effect outside: a process may have slept since its work began, another node have taken over and done it.
    #[must_use]
    pub fn holds(&self, term: Term) -> bool {
        self.is_trusted() && self.losses[usize::from(term.partition.number())].load(Ordering::Acquire) == term.losses
    }

    /// Whether this node makes polls and schedules due, and prunes.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.row.has(member::SCHEDULER) && self.monotonic_ms() < self.leads_until.load(Ordering::Acquire)
    }

    /// How far the database's clock is ahead of this node's, in milliseconds; negative if it is behind.
    #[must_use]
    pub fn skew_ms(&self) -> i64 {
        self.skew_ms.load(Ordering::Relaxed)
    }

    /// The nodes and leases at the last beat.
    #[must_use]
    pub fn seen(&self) -> Arc<Seen> {
        self.seen.load_full()
    }

    /// How the nodes wake each other at the moment.
    #[must_use]
    pub fn bells(&self) -> BellState {
        BellState {
            broker: self.broker.as_ref().map(|bells| bells.status().borrow().clone()),
            database: self.database_rings.load(Ordering::Relaxed),
        }
    }

    /// Asks for the owner of a lane to be woken, soon and together with others.
    pub fn ring(&self, lane: &Lane) {
        if self.broker.as_ref().is_some_and(|bells| bells.ring(lane, lane.key()) == Rung::Taken) {
            return;
        }
        let mut ringing = self.ringing.lock().unwrap_or_else(PoisonError::into_inner);
        if ringing.len() < RINGING && ringing.insert(lane.clone()) {
            self.to_ring.notify_one();
        }
    }

    /// Where the store keeps which delivery this node runs alone.
    #[must_use]
    pub fn running_alone(&self) -> String {
        if self.shared { member::running_alone(self.row.id) } else { "running_alone".to_owned() }
    }

    fn monotonic_ms(&self) -> u64 {
        millis(self.clock.monotonic())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
