//! Destroying what was deleted or replaced: SQLite leaves old bytes in the free space of its pages, and older pages in its
//! log, where whoever copies the files would find a wrapped key.

use std::{path::Path, time::Duration};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use super::{open, row::Fields};
use crate::store::StoreResult;

/// How often, and how long apart, the log is tried. A reader that holds an older page is done in a moment.
const TRIES: u32 = 40;
const APART: Duration = Duration::from_millis(25);

/// From here on what this transaction deletes or replaces is overwritten with zeros.
pub(super) async fn begin(conn: &mut SqliteConnection) -> StoreResult<()> {
    sqlx::query("pragma secure_delete = on").execute(conn).await?;
    Ok(())
}

/// Back to the usual: zeros cost a write for each freed page. A transaction that fails before it leaves them on, which
/// is slow and not wrong.
pub(super) async fn end(conn: &mut SqliteConnection) -> StoreResult<()> {
    sqlx::query("pragma secure_delete = off").execute(conn).await?;
    Ok(())
}

/// Brings the log into the file and empties it. What cannot be emptied now is overwritten with the next pages of it.
pub(super) async fn empty_log(path: &Path) {
    match try_empty_log(path).await {
        Ok(true) => {}
        Ok(false) => tracing::warn!("the database's log is in use; old copies in it go when it is next overwritten"),
        Err(error) => tracing::warn!(%error, "the database's log could not be emptied; old copies in it go later"),
    }
}

/// Writes the file anew without its free space, if it is no larger than this, and empties the log; answers whether it
/// was. Whoever writes meanwhile waits.
pub(super) async fn write_anew(path: &Path, largest: u64) -> StoreResult<bool> {
    let size = std::fs::metadata(path).map_or(u64::MAX, |file| file.len());
    if size > largest {
        tracing::warn!(
            bytes = size,
            "the database is too large to be written anew beside its work; what was erased leaves its free space as \
             that is used again, or with `vacuum` while no hub runs"
        );
        empty_log(path).await;
        return Ok(false);
    }
    let mut conn = open::base(path).connect().await?;
    sqlx::query("vacuum").execute(&mut conn).await?;
    conn.close().await?;
    empty_log(path).await;
    Ok(true)
}

async fn try_empty_log(path: &Path) -> StoreResult<bool> {
    // Another connection, so that the writer never waits for readers; and it never waits while it holds the lock.
    let mut conn = open::base(path).busy_timeout(Duration::ZERO).connect().await?;
    for _ in 0..TRIES {
        let row = sqlx::query("pragma wal_checkpoint(truncate)").fetch_one(&mut conn).await?;
        if !Fields::of(&row).flag()? {
            conn.close().await?;
            return Ok(true);
        }
        tokio::time::sleep(APART).await;
    }
    conn.close().await?;
    Ok(false)
}
