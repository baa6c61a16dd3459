//! Opening the file: its lock, its checks, its schema, its connections.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use sqlx::{
    ConnectOptions, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{
    SqliteStore,
    checkpoint::Checkpoints,
    direct::WriteConnection,
    registry::api_key,
    row::Fields,
    schema,
    writer::{FilePlace, Memory, WatchedFile, Writer},
};
use crate::{
    clock::SharedClock,
    store::{StoreError, StoreResult},
};

/// Everything below it lacks a fix for a lost-write bug in write-ahead logs with two connections.
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);

/// The writer copies the log itself when that is so many times longer than it should be: the copying beside it lags.
const WRITER_COPIES_AT: u32 = 4;

/// Enough for each statement that goes through sqlx, in each of its sizes.
const CACHED_STATEMENTS: usize = 512;

/// How the file is used.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections that read beside the writer.
    pub readers: u32,
    /// Page cache of the writer in KiB; a group that does not fit is written twice.
    pub cache_kib: u32,
    /// Pages of log after which they are copied into the file, beside the writer.
    pub checkpoint_pages: u32,
    /// Files up to this size are checked page by page when they are opened; larger ones would hold up the start.
    pub check_up_to: u64,
    /// The most pages that the file may have; none means no bound. A full file refuses writes and loses nothing.
    pub max_pages: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self { readers: 4, cache_kib: 32 << 10, checkpoint_pages: 4000, check_up_to: 256 << 20, max_pages: None }
    }
}

/// See [`SqliteStore::open`].
pub(super) async fn open(url: &str, options: Options, clock: SharedClock) -> StoreResult<SqliteStore> {
    let path = path_of(url)?;
    let (lock, mut conn) = alone(&path, &options).await?;
    schema::up(&mut conn, None).await?;
    let stored = stored_clock(&mut conn).await?;
    let latest = Arc::new(AtomicI64::new(stored));
    let place = FilePlace::of(path.clone()).map_err(|error| away(&path, &error))?;
    let readers = SqlitePoolOptions::new()
        .max_connections(options.readers.max(1))
        .acquire_timeout(Duration::from_secs(5))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(base(&path).read_only(true).row_buffer_size(512))
        .await?;
    let checkpoints = Checkpoints::start(base(&path).connect().await?, options.checkpoint_pages);
    let memory =
        Memory { tenants: std::collections::HashSet::new(), latest: latest.clone(), stored, clock, checkpoints };
    let conn = WriteConnection::new(conn).await?;
    let writer = Writer::start(conn, WatchedFile { place: place.clone(), lock }, memory)?;
    Ok(SqliteStore { path, writer, place, readers, latest, walks: tokio::sync::Mutex::default() })
}

/// Makes the file if it is not there, keeps all others out of it, and looks whether it can be trusted.
pub(super) async fn alone(path: &Path, options: &Options) -> StoreResult<(File, SqliteConnection)> {
    let lock = lock(path)?;
    private(path).map_err(|error| away(path, &error))?;
    let mut conn = connect(path, options).await?;
    refuse_old_sqlite(&mut conn).await?;
    refuse_damaged(&mut conn, path, options).await?;
    Ok((lock, conn))
}

/// `sqlite:./data/hub.db`, `sqlite:///var/lib/hub.db` or a bare path.
pub(super) fn path_of(url: &str) -> StoreResult<PathBuf> {
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or(url);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    if path.is_empty() || path.starts_with(':') {
        return Err(StoreError::Refused(format!(
            "{url} names no file; use for example sqlite:./data/switchyard.db, since the ledger must outlive the process"
        )));
    }
    Ok(PathBuf::from(path))
}

pub(super) fn away(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()))
}

/// Opens a file, or makes it readable by this user alone.
fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// A name beside the database: `hub.db` and `.lock`.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Makes the folder, and locks the file beside the database.
pub(super) fn lock(path: &Path) -> StoreResult<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| away(folder, &error))?;
    }
    let lock_path = beside(path, ".lock");
    let lock = private(&lock_path).map_err(|error| away(&lock_path, &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::Refused(format!(
            "another switchyard has {} open; stop it first, or give this one its own SWITCHYARD_DATABASE_URL",
            path.display()
        ))),
        Err(TryLockError::Error(error)) => Err(away(&lock_path, &error)),
    }
}

pub(super) fn base(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(true)
        .statement_cache_capacity(CACHED_STATEMENTS)
        .disable_statement_logging()
}

async fn connect(path: &Path, options: &Options) -> StoreResult<SqliteConnection> {
    let mut writing = base(path)
        .serialized(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", options.checkpoint_pages.saturating_mul(WRITER_COPIES_AT).to_string())
        .pragma("journal_size_limit", (64 << 20).to_string())
        .pragma("cache_size", format!("-{}", options.cache_kib))
        .pragma("temp_store", "memory")
        .row_buffer_size(512);
    if let Some(pages) = options.max_pages {
        writing = writing.pragma("max_page_count", pages.to_string());
    }
    writing.connect().await.map_err(|error| match StoreError::from(error) {
        StoreError::Inconsistent(why) => damaged(path, &why),
        other => other,
    })
}

pub(super) fn damaged(path: &Path, why: &str) -> StoreError {
    StoreError::Refused(format!(
        "{} is damaged ({why}); keep it aside, restore the latest backup, and start again",
        path.display()
    ))
}

async fn refuse_old_sqlite(conn: &mut SqliteConnection) -> StoreResult<()> {
    let row = sqlx::query("select sqlite_version()").fetch_one(conn).await?;
    let text = Fields::of(&row).text()?;
    let mut parts = text.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    let version = (next(), next(), next());
    if version < OLDEST_SQLITE {
        return Err(StoreError::Refused(format!(
            "SQLite {text} can lose acknowledged writes; build switchyard with SQLite 3.51.3 or newer"
        )));
    }
    Ok(())
}

async fn refuse_damaged(conn: &mut SqliteConnection, path: &Path, options: &Options) -> StoreResult<()> {
    let size = std::fs::metadata(path).map_err(|error| away(path, &error))?.len();
    let found = if size > options.check_up_to {
        tracing::info!(
            file.bytes = size,
            "the database is too large to be checked whole at start; its registry is checked"
        );
        check_registry(conn).await
    } else {
        check(conn).await
    };
    match found {
        Ok(None) => Ok(()),
        Ok(Some(text)) | Err(StoreError::Inconsistent(text)) => Err(damaged(path, &text)),
        Err(other) => Err(other),
    }
}

/// Looks at every page; answers the first thing that is wrong.
pub(super) async fn check(conn: &mut SqliteConnection) -> StoreResult<Option<String>> {
    match sqlx::query("pragma quick_check(1)").fetch_all(conn).await.map_err(StoreError::from) {
        Ok(rows) => checked(&rows),
        // Damage that keeps even the check from running.
        Err(StoreError::Inconsistent(text)) => Ok(Some(text)),
        Err(other) => Err(other),
    }
}

/// Checks the tables that stay small and without which nothing can start. What grows is checked by whoever reads it: a
/// damaged page then fails that one call, and a check of it all would keep everything else waiting.
async fn check_registry(conn: &mut SqliteConnection) -> StoreResult<Option<String>> {
    const SMALL: &str = "select name from sqlite_schema where type = 'table' and name not in ('event', 'dedupe', \
        'person_index', 'delivery', 'attempt', 'journal', 'kv', 'raw_request', 'parked', 'rejection', 'plugin_wasm')";
    for row in sqlx::query(SMALL).fetch_all(&mut *conn).await? {
        let query = sqlx::query("select * from pragma_quick_check(?)").bind(Fields::of(&row).text()?);
        if let Some(text) = checked(&query.fetch_all(&mut *conn).await?)? {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// The first thing that a check found, if any.
fn checked(rows: &[sqlx::sqlite::SqliteRow]) -> StoreResult<Option<String>> {
    let first = rows.first().map(|row| Fields::of(row).text()).transpose()?;
    Ok(first.filter(|text| text != "ok"))
}

/// The latest time that was written: the stored one, or that of the youngest event, since the clock is not stored with
/// every group.
pub(super) async fn stored_clock(conn: &mut SqliteConnection) -> StoreResult<i64> {
    const YOUNGEST: &str = "select key from event order by seq desc limit 1";
    let bytes = api_key::meta(conn, "clock").await?;
    let stored = bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_be_bytes);
    let youngest = match sqlx::query(YOUNGEST).fetch_optional(&mut *conn).await? {
        Some(row) => Fields::of(&row).key()?.made_at().0,
        None => 0,
    };
    Ok(stored.max(youngest))
}
