//! Copies the write-ahead log into the file, beside the writer.
//!
//! If the writer did it, as SQLite does by itself, every group that waits then would wait for thousands of pages and a
//! sync. A connection of its own copies what is committed while the writer goes on; the writer steps in only when the
//! log has grown to several times that size.

use std::sync::Arc;

use sqlx::{Connection as _, SqliteConnection};
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Pages that a group changes whatever is in it: the last ones of each table and index.
const PAGES_OF_A_GROUP: usize = 12;

/// Bytes of rows that make a page.
const BYTES_OF_A_PAGE: usize = 3 << 10;

/// The writer's side: counts what it commits, and wakes the copying.
pub(super) struct Checkpoints {
    every: usize,
    since: usize,
    due: Arc<Notify>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Checkpoints {
    /// Starts to copy after about each `every` pages of log.
    pub(super) fn start(conn: SqliteConnection, every: u32) -> Self {
        let (due, stop) = (Arc::new(Notify::new()), CancellationToken::new());
        let task = tokio::spawn(copy(conn, due.clone(), stop.clone()));
        Self { every: usize::try_from(every).unwrap_or(usize::MAX), since: 0, due, stop, task }
    }

    /// Notes a committed group with so many bytes of rows.
    pub(super) fn committed(&mut self, bytes: usize) {
        self.since += PAGES_OF_A_GROUP + bytes / BYTES_OF_A_PAGE;
        if self.since >= self.every {
            self.since = 0;
            self.due.notify_one();
        }
    }

    /// Ends the copying and closes its connection.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        // An error means that the runtime took the task down already.
        self.task.await.ok();
    }
}

async fn copy(mut conn: SqliteConnection, due: Arc<Notify>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = due.notified() => {}
        }
        // Passive: it waits for nobody, and neither the writer nor a reader waits for it.
        if let Err(error) = sqlx::query("pragma wal_checkpoint(passive)").execute(&mut conn).await {
            tracing::warn!(%error, "the write-ahead log could not be copied into the database");
        }
    }
    // The writer closes last and copies what is left.
    conn.close().await.ok();
}
