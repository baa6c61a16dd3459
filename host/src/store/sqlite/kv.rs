//! What plugins keep: key-value rows, read and staged under compare-and-swap, and the journals of their runs.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::{
    direct::{Each, WriteConnection},
    row::Fields,
};
use crate::{
    clock::Timestamp,
    event::TenantId,
    id::Key,
    store::{
        StoreResult,
        group::{KvPlace, Slot, Staged, place},
        ledger::{KvRow, KvWrite},
    },
};

static READ: Each =
    Each("select version, value is not null, expires_at from kv where tenant = ? and plugin = ? and key = ?");

static WRITE: Each = Each(
    "insert into kv (tenant, plugin, key, version, value, expires_at, person, updated_at) \
     values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do update set version = excluded.version, value = excluded.value, \
     expires_at = excluded.expires_at, person = excluded.person, updated_at = excluded.updated_at",
);

/// Reads the keys that any caller of the group writes.
pub(super) fn read_staged<'a>(
    conn: &mut WriteConnection,
    writes: impl Iterator<Item = (&'a TenantId, &'a str, &'a KvWrite)>,
) -> StoreResult<Staged> {
    let mut slots: HashMap<KvPlace, Slot> =
        writes.map(|(tenant, plugin, write)| (place(tenant, plugin, write), Slot::default())).collect();
    let wanted: Vec<KvPlace> = slots.keys().cloned().collect();
    slots.extend(READ.read(
        conn,
        &wanted,
        |query, (tenant, plugin, key)| query.bind(tenant).bind(plugin).bind(key),
        |place, fields| {
            let (version, present, expires_at) = (fields.number()?, fields.flag()?, fields.opt_time()?);
            Ok((place.clone(), Slot { version, present, expires_at, written: None }))
        },
    )?);
    Ok(Staged { slots })
}

/// Writes what was staged.
pub(super) fn write_staged(staged: Staged, conn: &mut WriteConnection) -> StoreResult<()> {
    let written: Vec<_> = staged.slots.iter().filter(|(_, slot)| slot.written.is_some()).collect();
    WRITE.write_all(conn, &written, |query, ((tenant, plugin, key), slot)| {
        let (value, person, at) = slot.written.clone().unwrap_or_default();
        query
            .bind(tenant)
            .bind(plugin)
            .bind(key)
            .bind(i64::try_from(slot.version).unwrap_or(i64::MAX))
            .bind(value)
            .bind(slot.expires_at.map(|at| at.0))
            .bind(person.map(|person| person.to_vec()))
            .bind(at.0)
    })
}

/// One key; an expired value is absent and keeps its version.
pub(super) async fn get(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    plugin: &str,
    key: &str,
    now: Timestamp,
) -> StoreResult<KvRow> {
    const GET: &str = "select version, case when expires_at is null or expires_at > ?4 then value end from kv \
        where tenant = ?1 and plugin = ?2 and key = ?3";
    let query = sqlx::query(GET).bind(tenant.as_str().to_owned()).bind(plugin.to_owned()).bind(key.to_owned());
    let Some(row) = query.bind(now.0).fetch_optional(conn).await? else { return Ok(KvRow::default()) };
    let mut fields = Fields::of(&row);
    Ok(KvRow { version: fields.number()?, value: fields.opt_bytes()? })
}

/// Keys with a value that begin with `prefix`, in byte order.
pub(super) async fn keys(
    conn: &mut SqliteConnection,
    place: (&TenantId, &str),
    prefix: &str,
    after: Option<&str>,
    limit: u32,
    now: Timestamp,
) -> StoreResult<Vec<String>> {
    // A prefix without a successor has no upper end; every text sorts before every blob.
    const KEYS: &str = "select key from kv where tenant = ?1 and plugin = ?2 and key >= ?3 \
        and key < coalesce(?4, x'') and (?5 is null or key > ?5) \
        and value is not null and (expires_at is null or expires_at > ?6) order by key limit ?7";
    let rows = sqlx::query(KEYS)
        .bind(place.0.as_str().to_owned())
        .bind(place.1.to_owned())
        .bind(prefix.to_owned())
        .bind(successor(prefix))
        .bind(after.map(str::to_owned))
        .bind(now.0)
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| Fields::of(row).text()).collect()
}

/// The first text after all that begin with `prefix`.
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
pub(super) async fn bytes(conn: &mut SqliteConnection, tenant: &TenantId, plugin: &str) -> StoreResult<u64> {
    const BYTES: &str = "select coalesce(sum(length(cast(key as blob)) + length(value)), 0) from kv \
        where tenant = ? and plugin = ? and value is not null";
    let query = sqlx::query(BYTES).bind(tenant.as_str().to_owned()).bind(plugin.to_owned());
    Fields::of(&query.fetch_one(conn).await?).number()
}

/// The sealed journal of a delivery.
pub(super) async fn journal(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    delivery: Key,
) -> StoreResult<Option<Vec<u8>>> {
    const JOURNAL: &str = "select j.record from delivery d left join journal j on j.delivery = d.key \
        where d.tenant = ? and d.key = ?";
    let query = sqlx::query(JOURNAL).bind(tenant.as_str().to_owned()).bind(delivery.0.to_vec());
    Fields::of(&query.fetch_one(conn).await?).opt_bytes()
}
