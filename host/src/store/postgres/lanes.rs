//! What waits: lanes with work, and the head of one lane.
//!
//! Deliveries are partitioned by day and most days have no live row, so lanes are looked for only in those that have.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::{days, row::Fields};
use crate::{
    queue::{
        lane::{Lane, LaneKey},
        partition::{Partition, PartitionSet},
    },
    store::{
        StoreResult,
        ledger::{LaneHead, ReadyDelivery},
    },
};

/// From this many lost workers on a delivery runs alone.
pub(super) const SUSPECT_CRASHES: u32 = 3;

/// The ranges of lane keys of some partitions, as two arrays: the first keys and the last. Neighbours are one range.
#[derive(Default)]
pub(super) struct Ranges {
    pub(super) first: Vec<[u8; 16]>,
    pub(super) last: Vec<[u8; 16]>,
}

impl Ranges {
    pub(super) fn of(partitions: PartitionSet) -> Self {
        let mut ranges = Self::default();
        let mut before: Option<Partition> = None;
        for partition in partitions.iter() {
            let follows = before.is_some_and(|before| before.number() + 1 == partition.number());
            match ranges.last.last_mut().filter(|_| follows) {
                Some(last) => *last = partition.last().0,
                None => {
                    ranges.first.push(partition.first().0);
                    ranges.last.push(partition.last().0);
                }
            }
            before = Some(partition);
        }
        ranges
    }
}

/// The days in which something could start: one look at the ready index of each.
const LIVE_DAYS: &str = "select d.first, d.until from unnest($1::bytea[], $2::bytea[]) as d (first, until) \
    cross join lateral (select 1 from delivery where key >= d.first and key < d.until \
      and state in (0, 2) and not behind order by lane limit 1) as live";

/// One seek in the ready index of one day for each lane, however many deliveries wait in it.
const LANES: &str = "select f.tenant, f.target, f.shard, f.due_at \
    from unnest($3::bytea[], $4::bytea[]) as own (first, last) \
    cross join lateral (with recursive head (lane) as ( \
        (select lane from delivery where key >= $1 and key < $2 and state in (0, 2) and not behind \
          and lane >= own.first and lane <= own.last order by lane limit 1) \
        union all \
        select (select lane from delivery where key >= $1 and key < $2 and state in (0, 2) and not behind \
          and lane > head.lane and lane <= own.last order by lane limit 1) \
        from head where head.lane is not null \
      ) select lane from head where lane is not null) as head \
    cross join lateral (select tenant, target, shard, due_at from delivery where key >= $1 and key < $2 \
      and lane = head.lane and state in (0, 2) and not behind order by due_at, key limit 1) as f";

/// The lanes of `partitions` with deliveries that could start, and when their first is due.
pub(super) async fn lanes(conn: &mut PgConnection, partitions: PartitionSet) -> StoreResult<Vec<LaneHead>> {
    let mut heads: HashMap<Lane, LaneHead> = HashMap::new();
    let ranges = Ranges::of(partitions);
    for (first, until) in live_days(conn).await? {
        let query = sqlx::query(LANES).bind(first).bind(until).bind(&ranges.first).bind(&ranges.last);
        for row in &query.fetch_all(&mut *conn).await? {
            let mut fields = Fields::of(row);
            let head = LaneHead { lane: fields.lane()?, due_at: fields.time()? };
            let known = heads.entry(head.lane.clone()).or_insert_with(|| head.clone());
            known.due_at = known.due_at.min(head.due_at);
        }
    }
    Ok(heads.into_values().collect())
}

async fn live_days(conn: &mut PgConnection) -> StoreResult<Vec<([u8; 16], [u8; 16])>> {
    let days = days::all(conn).await?;
    let (first, until): (Vec<_>, Vec<_>) =
        days.into_iter().map(|day| (days::first_key(day).0, days::first_key(day + 1).0)).unzip();
    let rows = sqlx::query(LIVE_DAYS).bind(first).bind(until).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok((fields.array()?, fields.array()?))
        })
        .collect()
}

const HEAD: &str = "select key, epoch, due_at, crashes from delivery \
    where lane = $1 and state in (0, 2) and not behind order by due_at, key limit $2";

/// The next deliveries of a lane in the order of start.
pub(super) async fn lane_head(conn: &mut PgConnection, lane: LaneKey, limit: u32) -> StoreResult<Vec<ReadyDelivery>> {
    let rows = sqlx::query(HEAD).bind(&lane.0[..]).bind(i64::from(limit)).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok(ReadyDelivery {
                delivery: fields.key()?,
                epoch: fields.number()?,
                due_at: fields.time()?,
                suspect: fields.number::<u32>()? >= SUSPECT_CRASHES,
            })
        })
        .collect()
}
