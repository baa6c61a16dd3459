//! Order: of the live deliveries with one (lane, ordering key), exactly one is not behind.

use std::collections::{HashMap, HashSet};

use super::{
    accept::NewRow,
    direct::{Each, Values, WriteConnection},
};
pub(super) use crate::store::group::Place;
use crate::{id::Key, store::StoreResult};

pub(super) static HEAD: Each = Each(
    "select 1 from delivery where lane = ? and ordering_key = ? and ordering_key is not null and state in (0, 1, 2) \
     limit 1",
);

fn bind_place<'s, 'c>(query: Values<'s, 'c>, place: &Place) -> Values<'s, 'c> {
    query.bind(&place.0.0[..]).bind(&*place.1)
}

/// Which places of `rows` have a live delivery.
pub(super) fn heads(conn: &mut WriteConnection, rows: &[&NewRow]) -> StoreResult<HashSet<Place>> {
    let wanted: HashSet<Place> =
        rows.iter().filter_map(|row| row.ordering_key.clone().map(|key| (row.lane, key))).collect();
    occupied(conn, wanted)
}

/// Which of `places` have a live delivery.
pub(super) fn occupied(conn: &mut WriteConnection, places: HashSet<Place>) -> StoreResult<HashSet<Place>> {
    let wanted: Vec<Place> = places.into_iter().collect();
    let occupied = HEAD.read(conn, &wanted, bind_place, |place, _| Ok(place.clone()))?;
    Ok(occupied.into_iter().collect())
}

pub(super) static NEXT: Each = Each(
    "select d.key from delivery d where d.lane = ?1 and d.ordering_key = ?2 and d.ordering_key is not null \
       and d.state in (0, 1, 2) and not exists (select 1 from delivery h where h.lane = ?1 and h.ordering_key = ?2 \
         and h.ordering_key is not null and h.state in (0, 1, 2) and h.behind = 0) \
     order by d.key limit 1",
);

pub(super) static RELEASE: Each =
    Each("update delivery set behind = 0 where behind = 1 and state in (0, 2) and key = ?");

/// Lets the oldest live delivery of each place go, where the one before it has left. Answers where one was let go.
pub(super) fn release(conn: &mut WriteConnection, places: &[Place]) -> StoreResult<HashSet<Place>> {
    let next = NEXT.read(conn, places, bind_place, |place, fields| Ok((place.clone(), fields.key()?)))?;
    // A place may be named more than once; the map keeps one of the equal answers.
    let next: HashMap<Place, Key> = next.into_iter().collect();
    let keys: Vec<Key> = next.values().copied().collect();
    RELEASE.write_all(conn, &keys, |query, key| query.bind(&key.0[..]))?;
    Ok(next.into_keys().collect())
}
