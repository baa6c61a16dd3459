//! One group of callers: lock what they want, decide each, write once.

use sqlx::PgConnection;

use super::{accept, claim, fence, order, settle, writer::Memory};
use crate::{
    queue::partition::PartitionSet,
    store::{
        StoreError, StoreResult,
        group::{Call, Part, Reply},
        ledger::Settled,
    },
};

/// Decides every caller and writes for those that won. An error means that nothing may be committed.
///
/// Locks come first and in an order that all nodes keep: tenants, deliveries, orders, lane partitions, kv rows, schedules,
/// names; of each kind in the order of their keys.
pub(super) async fn run(
    conn: &mut PgConnection,
    calls: &[Call],
    memory: &Memory,
    careful: bool,
) -> StoreResult<Vec<StoreResult<Reply>>> {
    let now = memory.clock.now();
    let tenants = accept::lock_tenants(conn, calls).await?;
    let locked = settle::lock(conn, calls).await?;
    let places: Vec<_> = locked.left(calls).chain(order::places(accept::rows(calls))).collect();
    order::lock(conn, &places).await?;
    let wanted: PartitionSet =
        claim::partitions(calls, |key| locked.lane(key)).iter().chain(accept::partitions(calls).iter()).collect();
    let owned = if wanted.is_empty() {
        PartitionSet::none()
    } else {
        fence::lock(conn, memory.fence.load().as_deref(), wanted).await?
    };
    let mut replies: Vec<Option<StoreResult<Reply>>> = calls.iter().map(|_| None).collect();
    let released = settle::run(conn, calls, &locked, now, &mut replies).await?;
    let ground = accept::Ground { tenants: &tenants, owned, now, careful };
    accept_all(conn, calls, &released, &ground, &mut replies).await?;
    claim::run(conn, calls, &locked, owned, &mut replies).await?;
    let unanswered = || Err(StoreError::Inconsistent("a caller of the group was left out".to_owned()));
    Ok(replies.into_iter().map(|reply| reply.unwrap_or_else(unanswered)).collect())
}

/// Accepts what callers bring and what the settles that won emit, by the same code.
async fn accept_all(
    conn: &mut PgConnection,
    calls: &[Call],
    released: &[Option<bool>],
    ground: &accept::Ground<'_>,
    replies: &mut [Option<StoreResult<Reply>>],
) -> StoreResult<()> {
    let mut parts = Vec::new();
    for (place, call) in calls.iter().enumerate() {
        match call {
            Call::Accept(prepared) => parts.push(Part { place, prepared, settled: None }),
            Call::Settle(_, prepared) => {
                if released[place].is_some() {
                    parts.push(Part { place, prepared, settled: released[place] });
                }
            }
            Call::Claim(..) | Call::Intend(_) => {}
        }
    }
    let accepted = accept::run(conn, &parts, ground).await?;
    for (part, accepted) in parts.iter().zip(accepted) {
        replies[part.place] = Some(match part.settled {
            None => accepted.map(Reply::Accepted),
            // The delivery's end is written by now: it must not be committed without what it emits.
            Some(released_next) => Ok(Reply::Settled(Settled::Done { accepted: accepted?, released_next })),
        });
    }
    Ok(())
}
