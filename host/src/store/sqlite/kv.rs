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
        ledger::{Expected, KvRow, KvWrite},
    },
};

/// (tenant, plugin, key)
type Place = (String, String, String);

/// A value, the person whom it is about, and when it was written.
type Written = (Option<Vec<u8>>, Option<[u8; 32]>, Timestamp);

/// One key as a group sees it.
#[derive(Clone, Default)]
struct Slot {
    version: u64,
    present: bool,
    expires_at: Option<Timestamp>,
    /// The last write of this group.
    written: Option<Written>,
}

impl Slot {
    fn accepts(&self, expected: Expected, now: Timestamp) -> bool {
        match expected {
            Expected::Any => true,
            Expected::Absent => !self.present || self.expires_at.is_some_and(|at| at <= now),
            Expected::Version(version) => self.version == version,
        }
    }
}

/// The keys that a group writes, with what was there and what will be.
#[derive(Default)]
pub(super) struct Staged {
    slots: HashMap<Place, Slot>,
}

static READ: Each =
    Each("select version, value is not null, expires_at from kv where tenant = ? and plugin = ? and key = ?");

static WRITE: Each = Each(
    "insert into kv (tenant, plugin, key, version, value, expires_at, person, updated_at) \
     values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do update set version = excluded.version, value = excluded.value, \
     expires_at = excluded.expires_at, person = excluded.person, updated_at = excluded.updated_at",
);

fn place(tenant: &TenantId, plugin: &str, write: &KvWrite) -> Place {
    (tenant.as_str().to_owned(), plugin.to_owned(), write.key.clone())
}

impl Staged {
    /// Reads the keys that any caller of the group writes.
    pub(super) fn read<'a>(
        conn: &mut WriteConnection,
        writes: impl Iterator<Item = (&'a TenantId, &'a str, &'a KvWrite)>,
    ) -> StoreResult<Self> {
        let mut slots: HashMap<Place, Slot> =
            writes.map(|(tenant, plugin, write)| (place(tenant, plugin, write), Slot::default())).collect();
        let wanted: Vec<Place> = slots.keys().cloned().collect();
        slots.extend(READ.read(
            conn,
            &wanted,
            |query, (tenant, plugin, key)| query.bind(tenant).bind(plugin).bind(key),
            |place, fields| {
                let (version, present, expires_at) = (fields.number()?, fields.flag()?, fields.opt_time()?);
                Ok((place.clone(), Slot { version, present, expires_at, written: None }))
            },
        )?);
        Ok(Self { slots })
    }

    /// Stages all writes of one caller, or none of them if one of its swaps is lost.
    pub(super) fn swap(&mut self, tenant: &TenantId, plugin: &str, writes: &[KvWrite], now: Timestamp) -> bool {
        let mut undo = Vec::with_capacity(writes.len());
        for write in writes {
            let place = place(tenant, plugin, write);
            let slot = self.slots.entry(place.clone()).or_default();
            undo.push((place, slot.clone()));
            if !slot.accepts(write.expected, now) {
                // Backwards, so that a key written twice ends as it was.
                self.slots.extend(undo.into_iter().rev());
                return false;
            }
            slot.version += 1;
            slot.present = write.value.is_some();
            slot.expires_at = write.expires_at;
            slot.written = Some((write.value.clone(), write.person, now));
        }
        true
    }

    /// Writes what was staged.
    pub(super) fn write(self, conn: &mut WriteConnection) -> StoreResult<()> {
        let written: Vec<_> = self.slots.iter().filter(|(_, slot)| slot.written.is_some()).collect();
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
