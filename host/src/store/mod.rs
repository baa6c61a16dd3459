//! The one door to the database. Only below here is SQL; every call names its tenant where it touches a tenant's rows.
//!
//! Written for two databases: behaviour is specified by the conformance suite in `tests`, which takes the store as a
//! parameter. A write is one transaction; a call that answers `Ok` is durable.

use async_trait::async_trait;

use crate::{
    clock::Timestamp,
    event::TenantId,
    id::Key,
    queue::{lane::LaneKey, partition::PartitionSet},
};

/// What the ledger writes: accepts, claims, intents, settles.
pub mod ledger;

/// What admins create: tenants, plugins, installations, connections, endpoints, keys.
pub mod registry;

/// What operators register at providers.
pub mod apps;

/// Logins by OAuth and the tokens of connections.
pub mod logins;

/// What the policy is asked about.
pub mod policy;

/// What people look at: events, deliveries, dead letters, traces.
pub mod records;

/// What is kept of shadow runs.
pub mod shadow;

/// What persons ask for.
pub mod privacy;

/// What the nodes of one hub tell each other.
pub mod cluster;

/// What a look from outside finds.
pub mod examine;

/// From a file to a server.
pub mod transfer;

/// The schema of a database.
pub mod schema;

/// The store on one SQLite file.
pub mod sqlite;

/// The store on PostgreSQL, which several nodes share.
pub mod postgres;

/// Groups of callers, and what is decided of them without a database.
mod group;

/// What failures of the drivers mean.
mod error;

use ledger::{
    Accept, Accepted, ClaimRequest, Claimed, Death, Intent, IntentOutcome, LaneHead, LiveDelivery, Parked,
    ParkedRequest, PollDue, ReadyDelivery, Rejection, Rescued, Settle, Settled,
};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, full or too slow; nothing was changed.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// Another transaction stood in the way, and nothing was changed. A store tries again by itself: this never leaves it.
    #[error("another transaction stood in the way: {0}")]
    Contended(String),
    /// The writer's queue is full.
    #[error("the database is overloaded")]
    Overloaded,
    /// The row is not there, or belongs to another tenant.
    #[error("not found")]
    NotFound,
    /// A unique name or a state stands against it; the text says which.
    #[error("conflict: {0}")]
    Conflict(String),
    /// The file belongs to a newer version, another process or another key; the text says what to do.
    #[error("{0}")]
    Refused(String),
    /// A row does not hold what the code wrote: a bug or a damaged file.
    #[error("inconsistent data: {0}")]
    Inconsistent(String),
}

/// The result of every store call.
pub type StoreResult<T> = Result<T, StoreError>;

/// Accepts, claims, intents and settles. Concurrent calls are committed in groups: the writer takes whatever waits
/// (at most 256 callers and 8 MiB), decides each caller, writes once, commits, and takes what gathered meanwhile.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Stores events with their dedupe keys, deliveries, person index and raw request, or says which are duplicates.
    /// A duplicate stores nothing; the other events of the same call are stored.
    async fn accept(&self, accept: Accept) -> StoreResult<Accepted>;

    /// Moves queued or waiting deliveries to running, if state and epoch are still as named; the others are left out
    /// of the answer. Counts the attempt, both in `epoch` (for ever) and in `tries` (of this retry cycle).
    async fn claim(&self, requests: Vec<ClaimRequest>, now: Timestamp) -> StoreResult<Vec<Claimed>>;

    /// Commits the journal and the staged kv operations before a provider write, if the epoch still holds.
    async fn intend(&self, intent: Intent) -> StoreResult<IntentOutcome>;

    /// Ends an attempt: outcome, attempt row, journal, kv, cursor, emitted events and effects on the target's row.
    async fn settle(&self, settle: Settle) -> StoreResult<Settled>;

    /// The lanes of these partitions with live deliveries that are not running, with the time when the first is due.
    /// Reads one row a lane.
    async fn lanes(&self, partitions: PartitionSet) -> StoreResult<Vec<LaneHead>>;

    /// The next deliveries of a lane in the order of start, at most `limit`, future ones included. Deliveries behind
    /// another one with their ordering key are not among them.
    async fn lane_head(&self, lane: LaneKey, limit: u32) -> StoreResult<Vec<ReadyDelivery>>;

    /// Gives every running delivery of these partitions back (its worker is gone): the try is not burnt, a lost attempt is recorded, and
    /// plugin targets count a crash; from three crashes on the delivery is a suspect. `killed_alone` is the end of a
    /// suspect that was the only run when the process died: it becomes dead instead.
    async fn rescue(
        &self,
        killed_alone: Option<Death>,
        partitions: PartitionSet,
        now: Timestamp,
    ) -> StoreResult<Vec<Rescued>>;

    /// The running delivery of this key, if it is a suspect.
    async fn running_suspect(&self, key: Key) -> StoreResult<Option<LiveDelivery>>;

    /// Live, not running deliveries that are too late, at most `limit`: their expiry has passed, or their lane is held.
    /// Lanes in `held_since` are held since that time: what waits in them ends 7 days after it was made, or after the
    /// block began, whichever is later.
    async fn overdue(
        &self,
        now: Timestamp,
        held_since: &[(LaneKey, Timestamp)],
        limit: u32,
    ) -> StoreResult<Vec<LiveDelivery>>;

    /// Ends live, not running deliveries whose epoch is as named; the others stay. Answers those that ended.
    async fn expire(&self, deaths: Vec<Death>, now: Timestamp) -> StoreResult<Vec<Key>>;

    /// Deletes events older than `before` with everything that hangs on them, unless a delivery of theirs is live, and
    /// dedupe keys older than `dedupe_before`; at most `limit` events. Answers how many events went. PostgreSQL drops a day
    /// of very many events as a whole once all of it is old, which `limit` does not bound.
    async fn prune(&self, before: Timestamp, dedupe_before: Timestamp, limit: u32) -> StoreResult<u64>;

    /// Keeps a request that `receive` could not judge. Beyond 1,000 requests or 64 MiB of its source the oldest go.
    /// Answers how many went.
    async fn park(&self, request: ParkedRequest) -> StoreResult<u64>;

    /// The parked requests of an installation that are due to be tried again, oldest first.
    async fn parked_due(&self, tenant: &TenantId, plugin: &str, limit: u32) -> StoreResult<Vec<ParkedRequest>>;

    /// Which installations have parked requests.
    async fn parked_installations(&self) -> StoreResult<Vec<Parked>>;

    /// Removes a parked request that turned out to be refused or empty. An accepted one goes with [`Accept::parked`].
    async fn unpark(&self, tenant: &TenantId, key: Key) -> StoreResult<()>;

    /// Keeps rejections without their bodies: the newest 1,000 of a source, counted beyond that.
    async fn reject(&self, rejections: Vec<Rejection>) -> StoreResult<()>;

    /// The schedules that are due at `now` and have no live poll.
    async fn polls_due(&self, now: Timestamp, limit: u32) -> StoreResult<Vec<PollDue>>;

    /// Runs of a schedule were missed: counts them, and makes it due at `next`, if it is still due at `seen` and has no
    /// live poll. Answers whether it was.
    async fn missed_runs(
        &self,
        name: &ledger::ScheduleName,
        seen: Timestamp,
        next: Timestamp,
        missed: u32,
        now: Timestamp,
    ) -> StoreResult<bool>;

    /// When the next schedule is due, if any.
    async fn next_poll(&self) -> StoreResult<Option<Timestamp>>;

    /// One value of an installation's kv; none if absent or expired.
    async fn kv_get(&self, tenant: &TenantId, plugin: &str, key: &str, now: Timestamp) -> StoreResult<ledger::KvRow>;

    /// Keys that begin with `prefix`, in byte order, after `after`.
    async fn kv_keys(
        &self,
        tenant: &TenantId,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
        now: Timestamp,
    ) -> StoreResult<Vec<String>>;

    /// The bytes an installation's kv holds.
    async fn kv_bytes(&self, tenant: &TenantId, plugin: &str) -> StoreResult<u64>;

    /// The sealed journal of a delivery.
    async fn journal(&self, tenant: &TenantId, delivery: Key) -> StoreResult<Option<Vec<u8>>>;

    /// The stored clock of the queue: the latest time that was ever written. SQLite's queue uses the later of it and
    /// the wall clock.
    async fn last_seen(&self) -> StoreResult<Timestamp>;

    /// Whether the database is still the one that was opened; `Refused`, with what to do, if it was replaced or removed.
    async fn in_place(&self) -> StoreResult<()>;

    /// Writes what waits and closes the database, so that its file is whole and another process may open it. Every call
    /// after it fails.
    async fn close(&self);
}

/// A database with everything the hub keeps in it.
pub trait Store:
    Ledger
    + registry::Registry
    + apps::Apps
    + logins::Logins
    + policy::Policies
    + records::Records
    + shadow::Shadows
    + privacy::Privacy
    + cluster::Cluster
{
}

impl<T> Store for T where
    T: Ledger
        + registry::Registry
        + apps::Apps
        + logins::Logins
        + policy::Policies
        + records::Records
        + shadow::Shadows
        + privacy::Privacy
        + cluster::Cluster
{
}

/// A store that everything in a hub shares.
pub type SharedStore = std::sync::Arc<dyn Store>;
