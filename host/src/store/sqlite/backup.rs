//! Copies of the whole file: one made while the hub works, and its way back.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use sqlx::Connection as _;

use super::{
    open::{self, away, beside, path_of},
    schema,
};
use crate::store::{StoreError, StoreResult};

/// Writes a copy of the database, as it is at this moment, to a file that is not there yet, and looks whether it is
/// whole. A hub may use the database meanwhile; its log grows until the copy is written. Answers the bytes of the copy.
///
/// # Errors
/// `Refused` if there is no database, the copy's file exists, or the copy is not whole; `Unavailable` if one of them
/// cannot be read or written. No part of a copy stays.
pub async fn back_up(url: &str, copy: &Path) -> StoreResult<u64> {
    let path = path_of(url)?;
    if !path.exists() {
        return Err(StoreError::Refused(format!("there is no database {}", path.display())));
    }
    let taken = || StoreError::Refused(format!("{} exists; a backup never replaces a file", copy.display()));
    if copy.exists() {
        return Err(taken());
    }
    let draft = beside(copy, ".partial");
    // Made before SQLite would make it, so that nobody else may read it.
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft);
    made.map_err(|error| away(&draft, &error))?;
    let written = write_copy(&path, &draft).await;
    // A link, unlike a renaming, never replaces a file that appeared meanwhile.
    let linked = written.and_then(|bytes| match std::fs::hard_link(&draft, copy) {
        Ok(()) => sync(copy).map(|()| bytes),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(taken()),
        Err(error) => Err(away(copy, &error)),
    });
    // What was answered says more than a failure of this would.
    std::fs::remove_file(&draft).ok();
    linked
}

async fn write_copy(path: &Path, copy: &Path) -> StoreResult<u64> {
    let mut conn = schema::reading(path).await?;
    let to = copy.to_string_lossy().into_owned();
    sqlx::query("vacuum into ?").bind(to).execute(&mut conn).await?;
    let steps = schema::steps(&mut conn).await?;
    conn.close().await?;
    let mut conn = schema::reading(copy).await?;
    if let Some(why) = open::check(&mut conn).await? {
        return Err(StoreError::Refused(format!("the copy is not whole ({why}); check the disk it is on")));
    }
    if schema::steps(&mut conn).await? != steps {
        return Err(StoreError::Refused("the copy does not have the database's schema".to_owned()));
    }
    conn.close().await?;
    Ok(std::fs::metadata(copy).map_err(|error| away(copy, &error))?.len())
}

/// Puts a copy where the database belongs. Nothing is replaced: the old files must be out of the way.
///
/// # Errors
/// `Refused` if a hub has the place, files are there already, or the copy is damaged; `Unavailable` if one of them cannot
/// be read or written.
pub async fn restore(url: &str, copy: &Path) -> StoreResult<()> {
    let path = path_of(url)?;
    let lock = open::lock(&path)?;
    for ending in ["", "-wal", "-shm"] {
        let old = beside(&path, ending);
        if old.exists() {
            return Err(StoreError::Refused(format!(
                "{} is in the way; move it, and what else begins with its name, to another folder first",
                old.display()
            )));
        }
    }
    if !copy.exists() {
        return Err(StoreError::Refused(format!("there is no file {}", copy.display())));
    }
    let mut conn = schema::reading(copy).await?;
    let (damage, steps) = (open::check(&mut conn).await?, schema::steps(&mut conn).await);
    conn.close().await?;
    if let Some(why) = damage {
        return Err(open::damaged(copy, &why));
    }
    if !steps?.iter().any(|step| step.applied) {
        return Err(StoreError::Refused(format!("{} is no database of switchyard", copy.display())));
    }
    let draft = beside(&path, ".restoring");
    copy_private(copy, &draft).map_err(|error| away(&draft, &error))?;
    std::fs::rename(&draft, &path).map_err(|error| away(&path, &error))?;
    sync(&path)?;
    drop(lock);
    Ok(())
}

fn copy_private(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut target)?;
    target.sync_all()
}

/// The file and its name are on the disk.
fn sync(path: &Path) -> StoreResult<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(path).and_then(|file| file.sync_all()).and_then(|()| File::open(folder)?.sync_all());
    synced.map_err(|error| away(path, &error))
}
