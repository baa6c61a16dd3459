//! The hot statements, run on the writer's own thread.
//!
//! sqlx hands every statement to a thread of its own and waits for its answer, and it builds and frees a list of values
//! for each. A group has many small statements, so that cost more than SQLite itself. Here they run directly, through
//! rusqlite, on the connection that sqlx opened; what is rare stays with sqlx. One transaction may use both.

use std::ops::{Deref, DerefMut};

use rusqlite::{CachedStatement, ToSql};
use sqlx::SqliteConnection;

use super::row::Fields;
use crate::store::{StoreError, StoreResult};

/// Enough for every statement that is run directly.
const CACHED_STATEMENTS: usize = 64;

/// The writing connection, for sqlx by dereference and for [`Each`].
pub(super) struct WriteConnection {
    // Dropped first: its statements must be gone when the connection closes.
    direct: rusqlite::Connection,
    sqlx: SqliteConnection,
}

impl WriteConnection {
    /// Takes a connection that was opened in SQLite's serialized mode.
    ///
    /// # Errors
    /// SQLite does not give its handle.
    pub(super) async fn new(mut sqlx: SqliteConnection) -> StoreResult<Self> {
        let handle = sqlx.lock_handle().await?.as_raw_handle();
        #[expect(unsafe_code, reason = "rusqlite cannot know that the handle outlives its connection")]
        // SAFETY: the handle is open as long as `sqlx`, and `direct`, which does not close it, is dropped before. The
        // connection is in serialized mode, so both may use it from their threads.
        let direct = unsafe { rusqlite::Connection::from_handle(handle.as_ptr()) }?;
        direct.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        Ok(Self { direct, sqlx })
    }

    /// Runs a statement without values.
    pub(super) fn run(&mut self, sql: &'static str) -> StoreResult<()> {
        self.direct.prepare_cached(sql)?.raw_execute()?;
        Ok(())
    }

    /// Gives the connection back, to be closed.
    pub(super) fn into_sqlx(self) -> SqliteConnection {
        let Self { direct, sqlx } = self;
        drop(direct);
        sqlx
    }
}

impl Deref for WriteConnection {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.sqlx
    }
}

impl DerefMut for WriteConnection {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.sqlx
    }
}

/// A statement that is prepared once and run for one item after the other.
pub(super) struct Each(pub(super) &'static str);

/// The values of one run, bound from left to right.
pub(super) struct Values<'s, 'c> {
    statement: &'s mut CachedStatement<'c>,
    bound: usize,
    failed: Option<rusqlite::Error>,
}

impl Values<'_, '_> {
    /// Binds the next value.
    pub(super) fn bind(mut self, value: impl ToSql) -> Self {
        self.bound += 1;
        if let Err(error) = self.statement.raw_bind_parameter(self.bound, value) {
            self.failed.get_or_insert(error);
        }
        self
    }

    fn done(self) -> StoreResult<()> {
        self.failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

impl Each {
    /// Writes all items and answers how many rows were touched.
    pub(super) fn write<T>(
        &self,
        conn: &mut WriteConnection,
        items: &[T],
        bind: impl for<'s, 'c> Fn(Values<'s, 'c>, &T) -> Values<'s, 'c>,
    ) -> StoreResult<usize> {
        if items.is_empty() {
            return Ok(0);
        }
        let mut statement = conn.direct.prepare_cached(self.0)?;
        let mut touched = 0;
        for item in items {
            bind(Values { statement: &mut statement, bound: 0, failed: None }, item).done()?;
            touched += statement.raw_execute()?;
        }
        Ok(touched)
    }

    /// Like [`write`](Self::write), but a row that was not touched is an inconsistency: the fence was read before.
    pub(super) fn write_all<T>(
        &self,
        conn: &mut WriteConnection,
        items: &[T],
        bind: impl for<'s, 'c> Fn(Values<'s, 'c>, &T) -> Values<'s, 'c>,
    ) -> StoreResult<()> {
        let touched = self.write(conn, items, bind)?;
        if touched == items.len() {
            Ok(())
        } else {
            Err(StoreError::Inconsistent(format!("expected to write {} rows, wrote {touched}", items.len())))
        }
    }

    /// Reads the rows that each item asks for, together with the item.
    pub(super) fn read<T, R>(
        &self,
        conn: &mut WriteConnection,
        items: &[T],
        bind: impl for<'s, 'c> Fn(Values<'s, 'c>, &T) -> Values<'s, 'c>,
        mut decode: impl FnMut(&T, &mut Fields<'_>) -> StoreResult<R>,
    ) -> StoreResult<Vec<R>> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let mut statement = conn.direct.prepare_cached(self.0)?;
        let mut found = Vec::with_capacity(items.len());
        for item in items {
            bind(Values { statement: &mut statement, bound: 0, failed: None }, item).done()?;
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next()? {
                found.push(decode(item, &mut Fields::direct(row))?);
            }
        }
        Ok(found)
    }
}
