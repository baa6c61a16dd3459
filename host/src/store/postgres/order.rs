//! Order: of the live deliveries with one (lane, ordering key), exactly one is not behind.
//!
//! Whoever adds to an order or takes from it holds the order's lock first, so that two nodes do not both find it empty,
//! or both let its next one go.

use std::collections::{BTreeSet, HashMap, HashSet};

use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;

use super::{accept::NewRow, row::Fields};
pub(super) use crate::store::group::Place;
use crate::{
    id::Key,
    queue::lane::LaneKey,
    store::{StoreError, StoreResult},
};

/// The number under which an order is locked.
fn lock_number(place: &Place) -> i64 {
    let digest = Sha256::new().chain_update(place.0.0).chain_update(&place.1).finalize();
    let mut number = [0; 8];
    number.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(number)
}

/// Locks orders until the end of the transaction. All that a transaction needs are locked at once, since all nodes take
/// them in the same order.
pub(super) async fn lock<'p>(conn: &mut PgConnection, places: impl IntoIterator<Item = &'p Place>) -> StoreResult<()> {
    const LOCK: &str = "select count(pg_advisory_xact_lock(w.number)) from unnest($1::int8[]) as w (number)";
    let numbers: BTreeSet<i64> = places.into_iter().map(lock_number).collect();
    if !numbers.is_empty() {
        sqlx::query(LOCK).bind(numbers.into_iter().collect::<Vec<_>>()).execute(conn).await?;
    }
    Ok(())
}

/// The orders that `rows` go into.
pub(super) fn places<'r>(rows: impl IntoIterator<Item = &'r NewRow>) -> impl Iterator<Item = Place> {
    rows.into_iter().filter_map(|row| row.ordering_key.clone().map(|key| (row.lane, key)))
}

/// Lanes and keys as two columns.
fn columns(places: &[Place]) -> (Vec<&[u8]>, Vec<&str>) {
    places.iter().map(|place| (&place.0.0[..], place.1.as_str())).unzip()
}

/// Which of `places` have a live delivery. Nobody changes that until the end of the transaction.
pub(super) async fn occupied(conn: &mut PgConnection, places: HashSet<Place>) -> StoreResult<HashSet<Place>> {
    lock(conn, &places).await?;
    occupied_now(conn, places).await
}

/// Which of `places`, which are locked, have a live delivery.
pub(super) async fn occupied_now(conn: &mut PgConnection, places: HashSet<Place>) -> StoreResult<HashSet<Place>> {
    const HEAD: &str = "select w.lane, w.ordering_key from unnest($1::bytea[], $2::text[]) as w (lane, ordering_key) \
        cross join lateral (select 1 from delivery d where d.lane = w.lane and d.ordering_key = w.ordering_key \
            and d.ordering_key is not null and d.state in (0, 1, 2) limit 1) h";
    if places.is_empty() {
        return Ok(places);
    }
    let wanted: Vec<Place> = places.into_iter().collect();
    let (lanes, keys) = columns(&wanted);
    let rows = sqlx::query(HEAD).bind(lanes).bind(keys).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok((fields.lane_key()?, fields.text()?))
        })
        .collect()
}

/// Lets the oldest live delivery of each place go, where the one before it has left. Answers where one was let go.
pub(super) async fn release(conn: &mut PgConnection, places: &[Place]) -> StoreResult<HashSet<Place>> {
    lock(conn, places).await?;
    release_now(conn, places).await
}

/// The same where the places are locked.
pub(super) async fn release_now(conn: &mut PgConnection, places: &[Place]) -> StoreResult<HashSet<Place>> {
    const NEXT: &str = "select w.lane, w.ordering_key, n.key \
        from unnest($1::bytea[], $2::text[]) as w (lane, ordering_key) \
        join lateral (select d.key from delivery d where d.lane = w.lane and d.ordering_key = w.ordering_key \
            and d.ordering_key is not null and d.state in (0, 1, 2) order by d.key limit 1) n on true \
        left join lateral (select true as stands from delivery h where h.lane = w.lane \
            and h.ordering_key = w.ordering_key and h.ordering_key is not null and h.state in (0, 1, 2) and not h.behind \
            limit 1) h on true \
        where h.stands is null";
    const RELEASE: &str = "update delivery d set behind = false from unnest($1::bytea[]) as w (key) \
        where d.key = w.key and d.behind and d.state + 0 in (0, 2)";
    if places.is_empty() {
        return Ok(HashSet::new());
    }
    let (lanes, ordering) = columns(places);
    let rows = sqlx::query(NEXT).bind(lanes).bind(ordering).fetch_all(&mut *conn).await?;
    // A place may be named more than once; the map keeps one of the equal answers.
    let next: HashMap<Place, Key> = rows
        .iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            let (lane, ordering): (LaneKey, String) = (fields.lane_key()?, fields.text()?);
            Ok(((lane, ordering), fields.key()?))
        })
        .collect::<StoreResult<_>>()?;
    let keys: Vec<&[u8]> = next.values().map(|key| &key.0[..]).collect();
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    let wanted = keys.len();
    let touched = sqlx::query(RELEASE).bind(keys).execute(conn).await?.rows_affected();
    all_touched(wanted, touched)?;
    Ok(next.into_keys().collect())
}

/// A row that was locked, or made under a lock, and is not written is an inconsistency.
pub(super) fn all_touched(wanted: usize, touched: u64) -> StoreResult<()> {
    if touched == wanted as u64 {
        Ok(())
    } else {
        Err(StoreError::Inconsistent(format!("expected to write {wanted} rows, wrote {touched}")))
    }
}
