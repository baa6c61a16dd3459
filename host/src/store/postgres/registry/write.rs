//! What every change needs: values in the form of the database, and the count of the rows that it touched.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::{PgConnection, Postgres, postgres::PgArguments, query::Query};

use super::super::row::inconsistent;
use crate::{
    event::TenantId,
    id::Key,
    store::{StoreError, StoreResult},
};

/// A statement with its bound values.
pub(in super::super) type Bound<'q> = Query<'q, Postgres, PgArguments>;

/// Runs one statement and expects it to touch exactly one row.
pub(in super::super) async fn one_row(conn: &mut PgConnection, query: Bound<'_>) -> StoreResult<()> {
    match query.execute(conn).await?.rows_affected() {
        1 => Ok(()),
        0 => Err(StoreError::NotFound),
        rows => Err(StoreError::Inconsistent(format!("expected to write one row, wrote {rows}"))),
    }
}

/// A value of ours as JSON text.
pub(in super::super) fn json<T: Serialize>(value: &T) -> StoreResult<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Inconsistent(error.to_string()))
}

/// The word of one of our lower-case enums.
pub(super) fn word<T: Serialize>(value: &T) -> StoreResult<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        _ => Err(inconsistent("word")),
    }
}

/// Slots with their connections, from `con_..` texts.
pub(super) fn slots(texts: BTreeMap<String, String>) -> StoreResult<BTreeMap<String, Key>> {
    texts
        .into_iter()
        .map(|(slot, text)| Ok((slot, Key::parse("con", &text).ok_or_else(|| inconsistent("connection"))?)))
        .collect()
}

/// Refuses a row of a tenant that is not there, or not any more, and keeps the tenant until this transaction ends.
pub(in super::super) async fn require_tenant(conn: &mut PgConnection, tenant: &TenantId) -> StoreResult<()> {
    const EXISTS: &str = "select 1 from tenant where id = $1 for key share";
    let row = sqlx::query(EXISTS).bind(tenant.as_str()).fetch_optional(conn).await?;
    row.map(drop).ok_or(StoreError::NotFound)
}

/// Keeps everybody else from storing events of this tenant until this transaction ends. A delivery that is cancelled
/// here can then not become the one behind which another node stores a new one.
pub(super) async fn stop_accepts(conn: &mut PgConnection, tenant: &TenantId) -> StoreResult<()> {
    const LOCK: &str = "select 1 from tenant where id = $1 for update";
    sqlx::query(LOCK).bind(tenant.as_str()).fetch_optional(conn).await?;
    Ok(())
}

/// Cancels the live deliveries to a target that goes. Nobody in its lanes is left behind anyone. Call
/// [`stop_accepts`] before.
pub(super) async fn cancel_target(
    conn: &mut PgConnection,
    tenant: &TenantId,
    target: &str,
    now: crate::clock::Timestamp,
) -> StoreResult<()> {
    // Locked in the order in which everybody locks deliveries.
    const CANCEL: &str = "with going as materialized (select key from delivery where state in (0, 1, 2, 4) and state != 4 \
        and tenant = $1 and target = $2 order by key for update) \
        update delivery d set state = 5, behind = false, updated_at = $3 from going \
        where d.key = going.key and d.state in (0, 1, 2)";
    sqlx::query(CANCEL).bind(tenant.as_str()).bind(target).bind(now.0).execute(conn).await?;
    Ok(())
}
