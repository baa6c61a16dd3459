//! What SQLite's failures mean to callers.

use crate::store::StoreError;

/// Primary result codes of SQLite that mean "not now" rather than "never".
const AWAY: [i32; 8] = [5, 6, 7, 8, 10, 13, 14, 15];

/// Primary result codes that mean a damaged file.
const DAMAGED: [i32; 2] = [11, 26];

/// Primary result code of a broken constraint.
const CONSTRAINT: i32 = 19;

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::RowNotFound => Self::NotFound,
            sqlx::Error::Database(inner) => {
                let code = inner.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or(1) & 0xff;
                if AWAY.contains(&code) {
                    Self::Unavailable(inner.message().to_owned())
                } else if DAMAGED.contains(&code) {
                    Self::Inconsistent(format!("{}; restore a backup", inner.message()))
                } else if code == CONSTRAINT && inner.is_unique_violation() {
                    Self::Conflict(inner.message().to_owned())
                } else {
                    Self::Inconsistent(inner.message().to_owned())
                }
            }
            sqlx::Error::PoolTimedOut => Self::Unavailable("no reader became free".to_owned()),
            sqlx::Error::Io(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::Unavailable(error.to_string())
            }
            other => Self::Inconsistent(other.to_string()),
        }
    }
}
