//! Order: of the live deliveries with one (lane, ordering key), exactly one is not behind.

use std::collections::HashSet;

use sqlx::SqliteConnection;

use super::{
    accept::{NewRow, bytes},
    row::Fields,
    sql::{Bound, Rows},
};
use crate::{id::Key, queue::lane::LaneKey, store::StoreResult};

/// A lane and an ordering key.
pub(super) type Place = (LaneKey, String);

pub(super) static HEADS: Rows = Rows::new(
    "with wanted (lane, ordering_key) as (values ",
    "(?, ?)",
    ") select w.lane, w.ordering_key from wanted w where exists (select 1 from delivery d \
     where d.lane = w.lane and d.ordering_key = w.ordering_key and d.ordering_key is not null and d.state in (0, 1, 2))",
);

fn bind_place<'q>(query: Bound<'q>, place: &Place) -> Bound<'q> {
    query.bind(place.0.0.to_vec()).bind(place.1.clone())
}

/// Which places of `rows` have a live delivery.
pub(super) async fn heads(conn: &mut SqliteConnection, rows: &[&NewRow]) -> StoreResult<HashSet<Place>> {
    let wanted: HashSet<Place> =
        rows.iter().filter_map(|row| row.ordering_key.clone().map(|key| (row.lane, key))).collect();
    occupied(conn, wanted).await
}

/// Which of `places` have a live delivery.
pub(super) async fn occupied(conn: &mut SqliteConnection, places: HashSet<Place>) -> StoreResult<HashSet<Place>> {
    let wanted: Vec<Place> = places.into_iter().collect();
    let rows = HEADS.read(conn, &wanted, bind_place).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok((fields.lane_key()?, fields.text()?))
        })
        .collect()
}

pub(super) static NEXT: Rows = Rows::new(
    "with wanted (lane, ordering_key) as (values ",
    "(?, ?)",
    ") select w.lane, w.ordering_key, (select d.key from delivery d where d.lane = w.lane \
       and d.ordering_key = w.ordering_key and d.ordering_key is not null and d.state in (0, 1, 2) \
       order by d.key limit 1) as next from wanted w \
     where next is not null and not exists (select 1 from delivery h where h.lane = w.lane \
       and h.ordering_key = w.ordering_key and h.ordering_key is not null and h.state in (0, 1, 2) and h.behind = 0)",
);

pub(super) static RELEASE: Rows =
    Rows::new("update delivery set behind = 0 where behind = 1 and state in (0, 2) and key in (", "?", ")");

/// Lets the oldest live delivery of each place go, where the one before it has left. Answers where one was let go.
pub(super) async fn release(conn: &mut SqliteConnection, places: &[Place]) -> StoreResult<HashSet<Place>> {
    let mut released = HashSet::new();
    let mut keys: Vec<Key> = Vec::new();
    for row in NEXT.read(conn, places, bind_place).await? {
        let mut fields = Fields::of(&row);
        let place = (fields.lane_key()?, fields.text()?);
        let key = fields.key()?;
        if released.insert(place) {
            keys.push(key);
        }
    }
    RELEASE.write_all(conn, &keys, |query, key| query.bind(bytes(*key))).await?;
    Ok(released)
}
