//! A look at a database without the right to write it, also while a hub has it open.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use sqlx::{Connection as _, SqliteConnection};

use super::{
    open::{self, beside, path_of},
    registry::{api_key, data_key},
    row::Fields,
    schema,
};
use crate::{
    clock::Timestamp,
    store::{StoreError, StoreResult, examine::Kept},
};

/// What was found.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The version of SQLite.
    pub sqlite: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of its log.
    pub log_bytes: u64,
    /// Whether its pages were looked at; large files are left out.
    pub checked: bool,
    /// The first thing that is wrong with its pages.
    pub damage: Option<String>,
    /// Whether a running hub has it open.
    pub in_use: bool,
    /// The latest time that was stored.
    pub last_seen: Timestamp,
    /// What the hub keeps there.
    pub kept: Kept,
}

/// Reads what there is to know of a file; none if it is not there. Pages are looked at up to a file of `check_up_to`
/// bytes.
///
/// # Errors
/// It cannot be read at all.
pub async fn examine(url: &str, check_up_to: u64) -> StoreResult<Option<Examined>> {
    let path = path_of(url)?;
    let bytes = match std::fs::metadata(&path) {
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(open::away(&path, &error)),
    };
    let in_use = in_use(&path)?;
    let mut conn = schema::reading(&path).await?;
    let sqlite = sqlx::query("select sqlite_version()").fetch_one(&mut conn).await?;
    let checked = bytes <= check_up_to;
    let damage = if checked { open::check(&mut conn).await? } else { None };
    let mut found = Examined {
        sqlite: Fields::of(&sqlite).text()?,
        bytes,
        log_bytes: std::fs::metadata(beside(&path, "-wal")).map_or(0, |meta| meta.len()),
        checked,
        damage,
        in_use,
        last_seen: Timestamp(0),
        kept: Kept::default(),
    };
    if found.damage.is_none() {
        read(&mut conn, &mut found).await?;
    }
    conn.close().await?;
    Ok(Some(found))
}

/// Reads the rows, if the schema has their tables.
async fn read(conn: &mut SqliteConnection, found: &mut Examined) -> StoreResult<()> {
    const TABLES: &str = "select count(*) from sqlite_schema where type = 'table' and name in ('meta', 'tenant')";
    const FINGERPRINTS: &str =
        "select substr(name, 12), cast(value as text) from meta where name like 'master_key:%' order by name";
    found.kept.steps = schema::steps(conn).await?;
    let tables = sqlx::query(TABLES).fetch_one(&mut *conn).await?;
    if Fields::of(&tables).int()? != 2 {
        return Ok(());
    }
    found.last_seen = Timestamp(open::stored_clock(conn).await?);
    for row in sqlx::query(FINGERPRINTS).fetch_all(&mut *conn).await? {
        let mut fields = Fields::of(&row);
        found.kept.fingerprints.push((fields.text()?, fields.text()?));
    }
    found.kept.keys = data_key::list(conn).await?;
    found.kept.plugin_cache_key = api_key::meta(conn, "plugin_cache_key").await?.and_then(|key| key.try_into().ok());
    Ok(())
}

/// Whether another process holds the lock beside the file. Asking takes it for a moment, together with others who ask.
fn in_use(path: &Path) -> StoreResult<bool> {
    let lock_path = beside(path, ".lock");
    let lock = match File::open(&lock_path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(open::away(&lock_path, &error)),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(StoreError::Unavailable(format!("{}: {error}", lock_path.display()))),
    }
}
