//! What plugins keep: key-value rows, and the journals of their runs.

use sqlx::PgConnection;

use super::row::Fields;
use crate::{
    clock::Timestamp,
    event::TenantId,
    id::Key,
    store::{StoreResult, ledger::KvRow},
};

/// One key; an expired value is absent and keeps its version.
pub(super) async fn get(
    conn: &mut PgConnection,
    tenant: &TenantId,
    plugin: &str,
    key: &str,
    now: Timestamp,
) -> StoreResult<KvRow> {
    const GET: &str = "select version, case when expires_at is null or expires_at > $4 then value end from kv \
        where tenant = $1 and plugin = $2 and key = $3";
    let query = sqlx::query(GET).bind(tenant.as_str()).bind(plugin).bind(key).bind(now.0);
    let Some(row) = query.fetch_optional(conn).await? else { return Ok(KvRow::default()) };
    let mut fields = Fields::of(&row);
    Ok(KvRow { version: fields.number()?, value: fields.opt_bytes()? })
}

/// Keys with a value that begin with `prefix`, in byte order.
pub(super) async fn keys(
    conn: &mut PgConnection,
    place: (&TenantId, &str),
    prefix: &str,
    after: Option<&str>,
    limit: u32,
    now: Timestamp,
) -> StoreResult<Vec<String>> {
    // A prefix without a successor has no upper end.
    const KEYS: &str = "select key from kv where tenant = $1 and plugin = $2 and key >= $3 \
        and ($4::text is null or key < $4) and ($5::text is null or key > $5) \
        and value is not null and (expires_at is null or expires_at > $6) order by key limit $7";
    let rows = sqlx::query(KEYS)
        .bind(place.0.as_str())
        .bind(place.1)
        .bind(prefix)
        .bind(successor(prefix))
        .bind(after)
        .bind(now.0)
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| Fields::of(row).text()).collect()
}

/// The first text after all that begin with `prefix`, in the order of bytes.
fn successor(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// The bytes of keys and values that an installation holds; deleted ones count nothing.
pub(super) async fn bytes(conn: &mut PgConnection, tenant: &TenantId, plugin: &str) -> StoreResult<u64> {
    const BYTES: &str = "select coalesce(sum(octet_length(key) + octet_length(value)), 0)::bigint from kv \
        where tenant = $1 and plugin = $2 and value is not null";
    let row = sqlx::query(BYTES).bind(tenant.as_str()).bind(plugin).fetch_one(conn).await?;
    Fields::of(&row).number()
}

/// The sealed journal of a delivery.
pub(super) async fn journal(conn: &mut PgConnection, tenant: &TenantId, delivery: Key) -> StoreResult<Option<Vec<u8>>> {
    const JOURNAL: &str = "select j.record from delivery d left join journal j on j.delivery = d.key and j.delivery = $2 \
        where d.tenant = $1 and d.key = $2";
    let row = sqlx::query(JOURNAL).bind(tenant.as_str()).bind(&delivery.0[..]).fetch_one(conn).await?;
    Fields::of(&row).opt_bytes()
}
