//! Destroying wrapped keys that were deleted or replaced.
//!
//! PostgreSQL keeps the old version of a row in its page until the page is cleaned, and cleaning leaves the bytes in the
//! page's free space. So the small tables that hold keys are written anew after such a change, which takes the old file
//! away. What this cannot reach: the write-ahead log until it is recycled, replicas, archives and backups.

use std::time::Duration;

use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection};

use super::PostgresStore;
use crate::store::{StoreError, StoreResult};

/// The tables with wrapped keys; both are small.
pub(super) const KEYS: &[&str] = &["tenant", "meta"];

/// How often, and how long apart, it is tried. Whoever reads or accepts meanwhile waits at most for [`SESSION`]'s limit.
const TRIES: u32 = 25;
const APART: Duration = Duration::from_millis(200);

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How long the rewriting may wait for its lock, and with it whoever comes after it.
const SESSION: &str = "set lock_timeout = '100ms'; set statement_timeout = '30s'";

/// Writes the tables anew. What cannot be done now is said in the log; the old bytes go with the next rewriting.
pub(super) async fn rewrite(store: &PostgresStore, tables: &[&'static str]) {
    if let Err(error) = try_rewrite(store, tables).await {
        tracing::warn!(
            tables = %tables.join(", "),
            %error,
            "deleted keys may still be in the tables' files; their owner can run `vacuum full` on them"
        );
    }
}

async fn try_rewrite(store: &PostgresStore, tables: &[&'static str]) -> StoreResult<()> {
    // A connection of its own, as the owner of the tables and with another limit than the pool's.
    let options = store.pool.connect_options();
    let connected = tokio::time::timeout(CONNECT, options.connect()).await;
    let mut conn = connected.map_err(|_| StoreError::Unavailable("the server did not answer in time".to_owned()))??;
    sqlx::raw_sql(SESSION).execute(&mut conn).await?;
    let now: String = sqlx::query_scalar("select pg_current_xact_id()::xid::text").fetch_one(&mut conn).await?;
    for &table in tables {
        rewrite_one(&mut conn, table, &now).await?;
    }
    Ok(conn.close().await?)
}

async fn rewrite_one(conn: &mut PgConnection, table: &'static str, now: &str) -> StoreResult<()> {
    // Whoever looks at an older state of the database still sees the rows, so they would be copied as well.
    const NOBODY_SEES_THEM: &str = "select not exists (select 1 from pg_stat_activity where datname = current_database() \
        and pid <> pg_backend_pid() and age(backend_xmin) >= age($1::text::xid))";
    let mut last = StoreError::Unavailable("a long transaction still sees the deleted rows".to_owned());
    for _ in 0..TRIES {
        if sqlx::query_scalar(NOBODY_SEES_THEM).bind(now).fetch_one(&mut *conn).await? {
            match conn.execute(AssertSqlSafe(format!("vacuum (full) {table}"))).await.map_err(StoreError::from) {
                Ok(_) => return Ok(()),
                // The lock was not given in time.
                Err(error @ StoreError::Contended(_)) => last = error,
                Err(error) => return Err(error),
            }
        }
        tokio::time::sleep(APART).await;
    }
    Err(last)
}
