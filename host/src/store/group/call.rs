//! What a caller asks of a group and is answered.

use super::{ends, prepared::Prepared};
use crate::{
    clock::Timestamp,
    failpoint::{self, Around, Point},
    store::{
        StoreResult,
        ledger::{Accepted, ClaimRequest, Claimed, Intent, IntentOutcome, Settle, Settled},
    },
};

/// What a caller asks of a group.
pub(in crate::store) enum Call {
    Accept(Prepared),
    Claim(Vec<ClaimRequest>, Timestamp),
    Intend(Intent),
    Settle(Box<Settle>, Prepared),
}

/// What it is answered.
pub(in crate::store) enum Reply {
    Accepted(Accepted),
    Claimed(Vec<Claimed>),
    Intended(IntentOutcome),
    Settled(Settled),
}

impl Call {
    /// Roughly how many bytes it writes.
    pub(in crate::store) fn size(&self) -> usize {
        match self {
            Self::Accept(prepared) => prepared.size(),
            Self::Claim(requests, _) => requests.len() * 64,
            Self::Intend(intent) => intent.journal.len() + ends::kv_size(&intent.kv),
            Self::Settle(settle, emitted) => ends::size(settle) + emitted.size(),
        }
    }

    /// The latest time it knows.
    pub(in crate::store) fn latest(&self) -> Timestamp {
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

/// The fail points between the last write and the commit.
pub(in crate::store) async fn before_commit(calls: &[Call]) -> StoreResult<()> {
    for call in calls {
        failpoint::pass(call.points().0).await?;
    }
    failpoint::pass(Point::GroupBeforeCommit).await?;
    failpoint::pass(Point::GroupSync).await
}

/// The fail points between the commit and the answers.
pub(in crate::store) async fn after_commit(calls: &[Call]) -> StoreResult<()> {
    for call in calls {
        failpoint::pass(call.points().1).await?;
    }
    failpoint::pass(Point::GroupAfterCommit).await
}
