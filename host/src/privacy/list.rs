//! The list of erasures beside a database file: one line of JSON each, with keyed hashes alone. A copy of the file that was
//! made before an erasure does not know of it, and this does.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Timestamp,
    config::Database,
    id::Key,
    store::privacy::{PrivacyRow, Standing},
};

/// One erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    /// `prv_..`.
    pub(super) request: String,
    /// Of which tenant.
    pub(super) tenant: String,
    /// `phone` or `email`.
    pub(super) kind: String,
    /// The keyed hash in hex.
    pub(super) person: String,
    /// When it was asked.
    pub(super) at: Timestamp,
}

impl Line {
    pub(super) fn of(row: &PrivacyRow) -> Self {
        Self {
            request: row.key.with_prefix("prv"),
            tenant: row.tenant.to_string(),
            kind: row.kind.as_str().to_owned(),
            person: hex::encode(row.person),
            at: row.created_at,
        }
    }

    /// The request once more, from its beginning; none if the line is not whole.
    pub(super) fn again(&self, now: Timestamp) -> Option<PrivacyRow> {
        let mut person = [0; 32];
        hex::decode_to_slice(&self.person, &mut person).ok()?;
        Some(PrivacyRow {
            key: self.key()?,
            tenant: self.tenant.parse().ok()?,
            asked: crate::store::privacy::Asked::Erase,
            kind: self.kind.parse().ok()?,
            person,
            standing: Standing::Running,
            progress: super::progress::Progress::default().to_text(),
            turn: 0,
            due_at: now,
            created_at: self.at,
            updated_at: now,
            actor: "host".to_owned(),
        })
    }

    pub(super) fn key(&self) -> Option<Key> {
        Key::parse("prv", &self.request)
    }
}

/// Where the list lies; none for a server, whose requests are in the database alone.
pub(super) fn path(database: &Database) -> Option<PathBuf> {
    match database {
        Database::Sqlite(path) => Some(path.with_extension("erasures")),
        Database::Postgres(_) => None,
    }
}

/// Adds erasures, on the disk when it returns.
pub(super) fn append(path: &Path, lines: &[Line]) -> io::Result<()> {
    let mut text = String::new();
    for line in lines {
        text.push_str(&serde_json::to_string(line)?);
        text.push('\n');
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Reads it; no list is an empty one. A line that a power cut left unfinished is skipped: its erasure was not answered.
pub(super) fn read(path: &Path) -> io::Result<Vec<Line>> {
    let mut text = String::new();
    match File::open(path) {
        Ok(mut file) => file.read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// How many erasures the list of this database has.
pub(crate) fn count(database: &Path) -> io::Result<usize> {
    read(&database.with_extension("erasures")).map(|lines| lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_read_again_and_a_torn_line_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&Database::Sqlite(folder.path().join("hub.db"))).unwrap();
        assert!(read(&path).unwrap().is_empty());
        let line = Line {
            request: Key([7; 16]).with_prefix("prv"),
            tenant: "acme".to_owned(),
            kind: "phone".to_owned(),
            person: hex::encode([9; 32]),
            at: Timestamp(1_800_000_000_000),
        };
        append(&path, std::slice::from_ref(&line)).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"request\":\"prv_").unwrap();
        assert_eq!(read(&path).unwrap(), std::slice::from_ref(&line));
        let row = line.again(Timestamp(5)).unwrap();
        assert_eq!((row.key, row.person, row.created_at), (Key([7; 16]), [9; 32], line.at));
        assert_eq!(Line::of(&row), line);
    }
}
