//! What waits: lanes with work, and the head of one lane.

use sqlx::SqliteConnection;

use super::{accept::bytes, row::Fields};
use crate::{
    id::Key,
    queue::{lane::LaneKey, partition::PartitionSet},
    store::{
        StoreResult,
        ledger::{LaneHead, ReadyDelivery},
    },
};

/// From this many lost workers on a delivery runs alone.
pub(super) const SUSPECT_CRASHES: u32 = 3;

/// One seek in the ready index for each lane, however many deliveries wait in it.
pub(super) const LANES: &str = "with recursive head (lane) as ( \
      select (select lane from delivery where state in (0, 2) and behind = 0 order by lane limit 1) \
      union all \
      select (select lane from delivery where state in (0, 2) and behind = 0 and lane > head.lane order by lane limit 1) \
      from head where head.lane is not null \
    ) \
    select d.tenant, d.target, d.shard, d.due_at from head \
    cross join delivery d on d.key = (select f.key from delivery f \
      where f.lane = head.lane and f.state in (0, 2) and f.behind = 0 order by f.due_at, f.key limit 1) \
    where head.lane is not null";

/// The lanes of `partitions` with deliveries that could start, and when their first is due. One process owns a file and so
/// asks for all of them; leaving some out costs no less than reading them.
pub(super) async fn lanes(conn: &mut SqliteConnection, partitions: PartitionSet) -> StoreResult<Vec<LaneHead>> {
    let rows = sqlx::query(LANES).fetch_all(conn).await?;
    let mut heads = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut fields = Fields::of(row);
        let head = LaneHead { lane: fields.lane()?, due_at: fields.time()? };
        if partitions.is_all() || partitions.contains(head.lane.key().partition()) {
            heads.push(head);
        }
    }
    Ok(heads)
}

pub(super) const HEAD: &str = "select key, epoch, due_at, crashes from delivery \
    where lane = ? and state in (0, 2) and behind = 0 order by due_at, key limit ?";

/// The next deliveries of a lane in the order of start.
pub(super) async fn lane_head(
    conn: &mut SqliteConnection,
    lane: LaneKey,
    limit: u32,
) -> StoreResult<Vec<ReadyDelivery>> {
    let rows = sqlx::query(HEAD).bind(bytes(Key(lane.0))).bind(limit).fetch_all(conn).await?;
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
