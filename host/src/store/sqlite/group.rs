//! One group of callers: decide each, write once.

use super::{accept, claim, direct::WriteConnection, settle, writer::Memory};
use crate::store::{
    StoreError, StoreResult,
    group::{Call, Part, Reply},
    ledger::Settled,
};

/// How far the clock may run ahead of the stored one.
pub(super) const CLOCK_STEP_MS: i64 = 1000;

/// Decides every caller and writes for those that won. An error means that nothing may be committed.
pub(super) async fn run(
    conn: &mut WriteConnection,
    calls: &[Call],
    memory: &mut Memory,
) -> StoreResult<Vec<StoreResult<Reply>>> {
    for call in calls {
        memory.latest.fetch_max(call.latest().0, std::sync::atomic::Ordering::Relaxed);
    }
    let mut replies: Vec<Option<StoreResult<Reply>>> = calls.iter().map(|_| None).collect();
    let released = settle::run(conn, calls, memory, &mut replies).await?;
    accept_all(conn, calls, &released, memory, &mut replies).await?;
    claim::run(conn, calls, &mut replies)?;
    let unanswered = || Err(StoreError::Inconsistent("a caller of the group was left out".to_owned()));
    Ok(replies.into_iter().map(|reply| reply.unwrap_or_else(unanswered)).collect())
}

/// Accepts what callers bring and what the settles that won emit, by the same code.
async fn accept_all(
    conn: &mut WriteConnection,
    calls: &[Call],
    released: &[Option<bool>],
    memory: &mut Memory,
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
    let accepted = accept::run(conn, &parts, memory).await?;
    for (part, accepted) in parts.iter().zip(accepted) {
        replies[part.place] = Some(match part.settled {
            None => accepted.map(Reply::Accepted),
            // The delivery's end is written by now: it must not be committed without what it emits.
            Some(released_next) => Ok(Reply::Settled(Settled::Done { accepted: accepted?, released_next })),
        });
    }
    Ok(())
}

/// The latest time that was ever written, for a queue whose clock must not step back.
pub(super) async fn store_clock(conn: &mut WriteConnection, latest: i64) -> StoreResult<()> {
    const STORE: &str =
        "insert into meta (name, value) values ('clock', ?) on conflict do update set value = excluded.value";
    sqlx::query(STORE).bind(latest.to_be_bytes().to_vec()).execute(&mut **conn).await?;
    Ok(())
}
