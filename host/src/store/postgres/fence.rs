//! Whether this node still owns the lanes that it starts.
//!
//! A transaction that starts deliveries locks the rows of their partitions first and finds the same node and epoch in
//! them. So a partition that has moved on starts nothing here, and cannot move on before that transaction has ended:
//! whoever takes it over finds all that was started.

use sqlx::PgConnection;

use super::row::Fields;
use crate::{
    queue::partition::{Partition, PartitionSet},
    store::{StoreResult, cluster::NodeFence, postgres::row::inconsistent},
};

// A share lock, since taking over is an update that leaves the row's key alone.
const LOCK: &str = "select p.number from unnest($1::int2[], $2::int8[]) as w (number, epoch) \
    join lane_partition p on p.number = w.number and p.epoch = w.epoch and p.node = $3 order by p.number for share of p";

/// Which of `wanted` this node owns, until the end of the transaction. Without a fence that is all of them.
pub(super) async fn lock(
    conn: &mut PgConnection,
    fence: Option<&NodeFence>,
    wanted: PartitionSet,
) -> StoreResult<PartitionSet> {
    let Some(fence) = fence else { return Ok(PartitionSet::all()) };
    let epoch = |partition: Partition| fence.epochs.get(usize::from(partition.number())).copied().flatten();
    let (numbers, epochs): (Vec<i16>, Vec<i64>) = wanted
        .iter()
        .filter_map(|partition| epoch(partition).map(|epoch| (i16::from(partition.number()), epoch)))
        .unzip();
    if numbers.is_empty() {
        return Ok(PartitionSet::none());
    }
    let rows = sqlx::query(LOCK).bind(numbers).bind(epochs).bind(&fence.node.0[..]).fetch_all(conn).await?;
    rows.iter().map(|row| Partition::new(Fields::of(row).number()?).ok_or_else(|| inconsistent("partition"))).collect()
}
