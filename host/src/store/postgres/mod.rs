//! The store on PostgreSQL, which several nodes share.
//!
//! The path of a write is that of the SQLite store: a writer gathers a group, which runs settle, accept and claim in one
//! transaction. What differs is that others write too. So every step that reads in order to write holds the rows it
//! read, in an order that all nodes keep: tenants, deliveries, orders, lane partitions, kv rows, schedules, names.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use sqlx::{PgPool, Postgres, pool::PoolConnection};

use super::{StoreResult, cluster::NodeFence};
use crate::{clock::SharedClock, id::Ids};

/// Opening: checks, roles, migrations, connections.
mod open;

/// Sending at once.
mod nodelay;

/// The roles that row-level security tells apart.
mod roles;

/// The schema, step by step.
mod schema;

/// Transactions of their own, and reads in a tenant's name.
mod transaction;

/// Partitions of the tables that grow.
mod days;

/// The task that commits groups.
mod writer;

/// How a transaction ended whose commit was not answered.
mod outcome;

/// One group of callers.
mod group;

/// Intents and settles.
mod settle;

/// Effects of settles on targets.
mod effect;

/// Events, deliveries and what is stored with them.
mod accept;

/// Which events were there before.
mod duplicate;

/// Order among deliveries with one key.
mod order;

/// Claims.
mod claim;

/// Nodes and what they tell each other.
mod cluster;

/// Whether this node still owns the lanes that it starts.
mod fence;

/// Key-value rows that a group writes.
mod swap;

/// Polls that a group starts and settles.
mod polls;

/// Raw, parked and rejected requests.
mod intake;

/// What waits.
mod lanes;

/// Lost workers and passed expiries.
mod rescue;

/// What plugins keep.
mod kv;

/// Schedules that are due.
mod schedule;

/// What goes row by row.
mod prune;

/// How long events stay.
mod retention;

/// The records' interface and queries.
mod records;

/// Shadow runs.
mod shadow;

/// Requests of persons.
mod privacy;

/// The ledger's interface.
mod ledger;

/// The registry's interface and tables.
mod registry;

/// Apps and their sources.
mod apps;

/// Logins and tokens.
mod logins;

/// Consents, plans and counts.
mod policy;

/// What must not stay behind.
mod shred;

/// A look at the database without writing it.
mod examine;

/// Rows of another database on their way into this one.
mod load;

/// Decoding of rows.
mod row;

/// What failures mean.
mod error;

pub use examine::{Examined, examine, label, now};
pub(super) use load::Target;
pub use open::Options;
pub use schema::{migrate_down, migrate_up, schema_steps};

pub(super) use error::meaning;

/// A store on a PostgreSQL database, beside those of other nodes.
pub struct PostgresStore {
    writer: writer::Writer,
    /// For reads, and for writes outside of groups.
    pool: PgPool,
    place: open::Place,
    days: Arc<days::Days>,
    fence: Arc<ArcSwapOption<NodeFence>>,
    clock: SharedClock,
    /// For the time between tries.
    ids: Ids,
    walks: tokio::sync::Mutex<retention::Walks>,
}

impl PostgresStore {
    /// Connects to the database that `url` names, `postgres://user:password@host/database`, and brings its schema up to
    /// this version.
    ///
    /// # Errors
    /// `Refused`, with what to do about it, if the user is not let in, the database is not there, too old, or has a newer
    /// schema, or rights are missing; `Unavailable` if it cannot be reached or does not take writes. Neither tells the
    /// password.
    pub async fn open(url: &str, options: Options, clock: SharedClock) -> StoreResult<Self> {
        open::open(url, options, clock).await
    }

    /// From now on deliveries start only in the lanes that `fence` says this node owns. Without one, which is for tools
    /// and tests, they start in all.
    pub fn set_fence(&self, fence: Option<NodeFence>) {
        self.fence.store(fence.map(Arc::new));
    }

    /// Writes what waits and closes the connections. Every call after it fails.
    pub async fn close(&self) {
        self.writer.close().await;
        self.pool.close().await;
    }

    /// A connection that works as the hub and sees all tenants.
    async fn reader(&self) -> StoreResult<PoolConnection<Postgres>> {
        Ok(self.pool.acquire().await?)
    }
}
