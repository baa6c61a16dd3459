//! What SQLite's failures mean to callers.

use crate::store::StoreError;

/// Primary result codes of SQLite that mean "not now" rather than "never".
const AWAY: [i32; 8] = [5, 6, 7, 8, 10, 13, 14, 15];

/// Primary result codes that mean a damaged file.
const DAMAGED: [i32; 2] = [11, 26];

/// Extended result codes of a name that is taken: of a primary key, a unique index, a row id.
const UNIQUE: [i32; 3] = [19 | (6 << 8), 19 | (8 << 8), 19 | (10 << 8)];

/// What a failure of the database means, by its extended result code.
pub(in crate::store) fn meaning(code: i32, message: &str) -> StoreError {
    let primary = code & 0xff;
    if AWAY.contains(&primary) {
        StoreError::Unavailable(message.to_owned())
    } else if DAMAGED.contains(&primary) {
        StoreError::Inconsistent(format!("{message}; restore a backup"))
    } else if UNIQUE.contains(&code) {
        StoreError::Conflict(message.to_owned())
    } else {
        StoreError::Inconsistent(message.to_owned())
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match &error {
            rusqlite::Error::SqliteFailure(inner, message) => {
                let told = message.clone().unwrap_or_else(|| inner.to_string());
                meaning(inner.extended_code, &told)
            }
            other => Self::Inconsistent(other.to_string()),
        }
    }
}
