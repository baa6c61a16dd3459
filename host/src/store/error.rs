//! What a driver's failures mean to callers, by the database that they come from.

use sqlx::postgres::PgDatabaseError;

use super::{StoreError, postgres, sqlite};

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::RowNotFound => Self::NotFound,
            sqlx::Error::Database(inner) => match inner.try_downcast_ref::<PgDatabaseError>() {
                Some(error) => postgres::meaning(error),
                None => {
                    let code = inner.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or(1);
                    sqlite::meaning(code, inner.message())
                }
            },
            sqlx::Error::PoolTimedOut => Self::Unavailable("no connection became free".to_owned()),
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::Unavailable(error.to_string())
            }
            // A server that is killed in the middle of an answer leaves half of one.
            sqlx::Error::Protocol(_) => Self::Unavailable(error.to_string()),
            other => Self::Inconsistent(other.to_string()),
        }
    }
}
