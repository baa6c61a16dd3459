//! One group of callers: decide each, write once.

use super::{
    accept::{self, Part, Prepared},
    claim,
    direct::WriteConnection,
    settle,
    writer::Memory,
};
use crate::{
    clock::Timestamp,
    failpoint::{self, Around, Point},
    store::{
        StoreError, StoreResult,
        ledger::{Accepted, ClaimRequest, Claimed, Intent, IntentOutcome, Settle, Settled},
    },
};

/// How far the clock may run ahead of the stored one.
pub(super) const CLOCK_STEP_MS: i64 = 1000;

/// What a caller asks of a group.
pub(super) enum Call {
    Accept(Prepared),
    Claim(Vec<ClaimRequest>, Timestamp),
    Intend(Intent),
    Settle(Box<Settle>, Prepared),
}

/// What it is answered.
pub(super) enum Reply {
    Accepted(Accepted),
    Claimed(Vec<Claimed>),
    Intended(IntentOutcome),
    Settled(Settled),
}

impl Call {
    /// Roughly how many bytes it writes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Accept(prepared) => prepared.size(),
            Self::Claim(requests, _) => requests.len() * 64,
            Self::Intend(intent) => intent.journal.len() + settle::kv_size(&intent.kv),
            Self::Settle(settle, emitted) => settle::size(settle) + emitted.size(),
        }
    }

    /// The latest time it knows.
    fn latest(&self) -> Timestamp {
        match self {
            Self::Accept(prepared) => prepared.latest(),
            Self::Claim(_, now) => *now,
            Self::Intend(_) => Timestamp::default(),
            Self::Settle(settle, _) => settle.now,
        }
    }

    /// The fail points around its commit.
    fn points(&self) -> Around {
        match self {
            Self::Accept(prepared) if prepared.is_received() => (Point::ReceiveBeforeCommit, Point::ReceiveAfterCommit),
            Self::Accept(prepared) if prepared.starts_polls() => (Point::PollBeforeCommit, Point::PollAfterCommit),
            Self::Accept(_) => (Point::AcceptBeforeCommit, Point::AcceptAfterCommit),
            Self::Claim(..) => (Point::ClaimBeforeCommit, Point::ClaimAfterCommit),
            Self::Intend(_) => (Point::IntentBeforeCommit, Point::IntentAfterCommit),
            Self::Settle(settle, _) if settle.poll.is_some() => (Point::CursorBeforeCommit, Point::CursorAfterCommit),
            Self::Settle(..) => (Point::SettleBeforeCommit, Point::SettleAfterCommit),
        }
    }
}

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

/// The fail points between the last write and the commit.
pub(super) async fn before_commit(calls: &[Call]) -> StoreResult<()> {
    for call in calls {
        failpoint::pass(call.points().0).await?;
    }
    failpoint::pass(Point::GroupBeforeCommit).await?;
    failpoint::pass(Point::GroupSync).await
}

/// The fail points between the commit and the answers.
pub(super) async fn after_commit(calls: &[Call]) -> StoreResult<()> {
    for call in calls {
        failpoint::pass(call.points().1).await?;
    }
    failpoint::pass(Point::GroupAfterCommit).await
}
