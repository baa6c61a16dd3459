//! The kv rows that a group writes, held from the reading of their versions to the commit.

use std::collections::{BTreeSet, HashMap};

use sqlx::PgConnection;

use super::{order::all_touched, row::Fields};
use crate::{
    event::TenantId,
    store::{
        StoreResult,
        group::{KvPlace, Slot, Staged, place},
        ledger::KvWrite,
    },
};

// In the order of the keys, which all nodes keep.
const LOCK: &str = "select k.tenant, k.plugin, k.key, k.version, k.value is not null, k.expires_at \
    from unnest($1::text[], $2::text[], $3::text[]) as w (tenant, plugin, key) \
    join kv k on k.tenant = w.tenant and k.plugin = w.plugin and k.key = w.key \
    order by k.tenant, k.plugin, k.key for update of k";

// What is not there cannot be locked, so it is made: of two nodes that want it, one makes it and the other waits.
const MAKE: &str = "insert into kv (tenant, plugin, key, version, updated_at) \
    select w.tenant, w.plugin, w.key, 0, 0 from unnest($1::text[], $2::text[], $3::text[]) as w (tenant, plugin, key) \
    on conflict (tenant, plugin, key) do nothing";

const WRITE: &str = "update kv k set version = w.version, value = w.value, expires_at = w.expires_at, \
    person = w.person, updated_at = w.updated_at \
    from unnest($1::text[], $2::text[], $3::text[], $4::int8[], $5::bytea[], $6::int8[], $7::bytea[], $8::int8[]) \
        as w (tenant, plugin, key, version, value, expires_at, person, updated_at) \
    where k.tenant = w.tenant and k.plugin = w.plugin and k.key = w.key";

const DROP: &str = "delete from kv k using unnest($1::text[], $2::text[], $3::text[]) as w (tenant, plugin, key) \
    where k.tenant = w.tenant and k.plugin = w.plugin and k.key = w.key and k.version = 0";

/// Locks the keys that any caller of the group writes, and reads them.
pub(super) async fn lock<'a>(
    conn: &mut PgConnection,
    writes: impl Iterator<Item = (&'a TenantId, &'a str, &'a KvWrite)>,
) -> StoreResult<Staged> {
    let wanted: BTreeSet<KvPlace> = writes.map(|(tenant, plugin, write)| place(tenant, plugin, write)).collect();
    let mut slots = HashMap::new();
    if wanted.is_empty() {
        return Ok(Staged { slots });
    }
    read(conn, wanted.iter(), &mut slots).await?;
    let absent: Vec<&KvPlace> = wanted.iter().filter(|place| !slots.contains_key(*place)).collect();
    if !absent.is_empty() {
        let (tenants, plugins, keys) = columns(absent.iter().copied());
        let made = sqlx::query(MAKE).bind(tenants).bind(plugins).bind(keys).execute(&mut *conn).await?.rows_affected();
        if made < absent.len() as u64 {
            // Another node made some of them meanwhile: they are read as it left them.
            read(conn, absent.iter().copied(), &mut slots).await?;
        }
        for place in absent {
            slots.entry(place.clone()).or_default();
        }
    }
    Ok(Staged { slots })
}

async fn read<'p>(
    conn: &mut PgConnection,
    wanted: impl Iterator<Item = &'p KvPlace>,
    slots: &mut HashMap<KvPlace, Slot>,
) -> StoreResult<()> {
    let (tenants, plugins, keys) = columns(wanted);
    let rows = sqlx::query(LOCK).bind(tenants).bind(plugins).bind(keys).fetch_all(conn).await?;
    for row in &rows {
        let mut fields = Fields::of(row);
        let place = (fields.text()?, fields.text()?, fields.text()?);
        let (version, present, expires_at) = (fields.number()?, fields.flag()?, fields.opt_time()?);
        slots.insert(place, Slot { version, present, expires_at, written: None });
    }
    Ok(())
}

/// Writes what was staged, and takes back the rows that were made for swaps that lost.
pub(super) async fn write(conn: &mut PgConnection, staged: Staged) -> StoreResult<()> {
    let (written, unused): (Vec<_>, Vec<_>) = staged.slots.iter().partition(|(_, slot)| slot.written.is_some());
    let unused: Vec<_> = unused.into_iter().filter(|(_, slot)| slot.version == 0).map(|(place, _)| place).collect();
    if !unused.is_empty() {
        let (tenants, plugins, keys) = columns(unused.into_iter());
        sqlx::query(DROP).bind(tenants).bind(plugins).bind(keys).execute(&mut *conn).await?;
    }
    if written.is_empty() {
        return Ok(());
    }
    let (tenants, plugins, keys) = columns(written.iter().map(|(place, _)| *place));
    let (mut versions, mut expiries) = (Vec::new(), Vec::new());
    let (mut values, mut persons, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for (_, slot) in &written {
        versions.push(i64::try_from(slot.version).unwrap_or(i64::MAX));
        expiries.push(slot.expires_at.map(|at| at.0));
        let (value, person, at) = match &slot.written {
            Some((value, person, at)) => (value.as_deref(), person.as_ref().map(|person| &person[..]), at.0),
            None => (None, None, 0),
        };
        values.push(value);
        persons.push(person);
        times.push(at);
    }
    let touched = sqlx::query(WRITE)
        .bind(tenants)
        .bind(plugins)
        .bind(keys)
        .bind(versions)
        .bind(values)
        .bind(expiries)
        .bind(persons)
        .bind(times)
        .execute(conn)
        .await?
        .rows_affected();
    all_touched(written.len(), touched)
}

/// Places as three columns.
fn columns<'p>(places: impl Iterator<Item = &'p KvPlace>) -> (Vec<&'p str>, Vec<&'p str>, Vec<&'p str>) {
    let (mut tenants, mut plugins, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for (tenant, plugin, key) in places {
        tenants.push(tenant.as_str());
        plugins.push(plugin.as_str());
        keys.push(key.as_str());
    }
    (tenants, plugins, keys)
}
