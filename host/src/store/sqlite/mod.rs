//! The store on one SQLite file: a writer that commits groups, and readers beside it.
//!
//! The path of a write: [`ledger`] hands a call to the [`writer`], which gathers a [`group`]; the group runs settle,
//! accept and claim in this order, each as one reading step that decides every caller and then writes for the winners.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use sqlx::{Sqlite, SqlitePool, pool::PoolConnection};

use super::StoreResult;
use crate::clock::{SharedClock, Timestamp};

/// Opening: lock, checks, migrations.
mod open;

/// The thread that owns the writing connection.
mod writer;

/// The hot statements, without sqlx's thread.
mod direct;

/// The way of the log into the file.
mod checkpoint;

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

/// Key-value rows and journals.
mod kv;

/// Schedules and their polls.
mod schedule;

/// Raw, parked and rejected requests.
mod intake;

/// Apps and their sources.
mod apps;

/// Logins and tokens.
mod logins;

/// Consents, plans and counts.
mod policy;

/// What waits.
mod lanes;

/// Lost workers and passed expiries.
mod rescue;

/// What goes.
mod prune;

/// What must not stay behind.
mod shred;

/// The schema, step by step.
mod schema;

/// A look at the file without the right to write it.
mod examine;

/// Copies of the whole file.
mod backup;

/// Everything on its way to another database.
mod unload;

/// The ledger's interface.
mod ledger;

/// The registry's interface and tables.
mod registry;

/// The records' interface and queries.
mod records;

/// Shadow runs.
mod shadow;

/// Requests of persons.
mod privacy;

/// Statements over many rows.
mod sql;

/// Decoding of rows.
mod row;

/// What failures mean.
mod error;

/// How the statements are carried out.
#[cfg(test)]
mod plans;

pub use backup::{back_up, restore};
pub use examine::{Examined, examine};
pub use open::Options;
pub use schema::{migrate_down, migrate_up, schema_steps};
pub(super) use unload::Source;

pub(super) use error::meaning;

/// A store on one SQLite file that no other process may open.
pub struct SqliteStore {
    path: std::path::PathBuf,
    writer: writer::Writer,
    place: writer::FilePlace,
    readers: SqlitePool,
    latest: Arc<AtomicI64>,
    walks: tokio::sync::Mutex<prune::Walks>,
}

impl SqliteStore {
    /// Opens or makes the file that `url` names: a path, or `sqlite:` and a path. Brings its schema up to this version.
    ///
    /// # Errors
    /// `Refused`, with what to do about it, if another process has it open, it was written by a newer version, it is
    /// damaged, or SQLite itself is too old to be trusted; `Unavailable` if it cannot be read or written.
    pub async fn open(url: &str, options: Options, clock: SharedClock) -> StoreResult<Self> {
        open::open(url, options, clock).await
    }

    /// Writes what waits and closes the file, so that another process may open it.
    pub async fn close(&self) {
        // Whoever closes last writes the log back into the file, and readers may not write.
        self.readers.close().await;
        self.writer.close().await;
    }

    async fn reader(&self) -> StoreResult<PoolConnection<Sqlite>> {
        Ok(self.readers.acquire().await?)
    }

    /// Remembers the latest time that a caller knew.
    fn saw(&self, now: Timestamp) {
        self.latest.fetch_max(now.0, Ordering::Relaxed);
    }

    fn latest(&self) -> Timestamp {
        Timestamp(self.latest.load(Ordering::Relaxed))
    }
}
