//! What PostgreSQL's failures mean to callers.

use sqlx::postgres::PgDatabaseError;

use crate::store::StoreError;

/// A row of a day that has no partition.
const NO_PARTITION: &str = "no partition of relation";

/// What a failure means, by its SQLSTATE.
///
/// The text is the server's first line alone: its detail may quote values of the row.
pub(in crate::store) fn meaning(error: &PgDatabaseError) -> StoreError {
    let told = match error.constraint() {
        Some(constraint) => format!("{} ({}, {constraint})", error.message(), error.code()),
        None => format!("{} ({})", error.message(), error.code()),
    };
    match error.code() {
        // Serialization, deadlock, lock not available: the other one was first.
        "40001" | "40P01" | "55P03" => StoreError::Contended(told),
        "23514" if error.message().starts_with(NO_PARTITION) => StoreError::Contended(told),
        // A day that was dropped while a statement had it in its plan.
        "42P01" => StoreError::Contended(told),
        "23505" => StoreError::Conflict(told),
        // Read-only, for example a standby that has not been promoted.
        "25006" => StoreError::Unavailable(format!("the database does not take writes now: {told}")),
        // Cancelled by a time limit.
        "57014" => StoreError::Unavailable(told),
        code if ["08", "53", "57", "58"].contains(&code.get(..2).unwrap_or_default()) => StoreError::Unavailable(told),
        _ => StoreError::Inconsistent(told),
    }
}
