//! Places where a test makes the hub die, fail or wait. Compiled in only where debug assertions are, so never into a
//! release, which refuses the variable as an unknown setting.
//!
//! `SWITCHYARD_FAILPOINTS` lists them, separated by semicolons: `intent.after_commit=abort`,
//! `settle.before_commit=3:error`, `group.sync=*:300ms`. Before the colon stands the passing at which the place acts: the
//! first if left out, each one if `*`. `abort` ends the process at once, as a power cut would; `error` makes the database
//! seem away, where somebody can be told so; a duration lets the passing wait. A list that names no place or no action
//! ends the process, since a test that meets nothing would pass for the wrong reason.

use crate::store::StoreResult;

/// The places before and after one kind of commit.
pub type Around = (Point, Point);

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident = $name:literal,)*) => {
        /// A place. [`Point::ALL`] is what the tests go through, so a new place is tested by being listed here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point {
            $($(#[$doc])* $point,)*
        }

        impl Point {
            /// Every place.
            pub const ALL: &[Self] = &[$(Self::$point,)*];

            /// Its name in `SWITCHYARD_FAILPOINTS`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

points! {
    /// An event of a client or of the hub itself is written, not committed.
    AcceptBeforeCommit = "accept.before_commit",
    /// It is committed, and its caller does not know.
    AcceptAfterCommit = "accept.after_commit",
    /// A client's event is committed, and nothing of it has started.
    PublishBeforeStart = "publish.before_start",
    /// Its deliveries have started, and the client has no answer.
    PublishBeforeAnswer = "publish.before_answer",
    /// A provider's request with its events is written, not committed.
    ReceiveBeforeCommit = "receive.before_commit",
    /// It is committed, and nobody knows.
    ReceiveAfterCommit = "receive.after_commit",
    /// Its events have started, and the provider has no answer.
    ReceiveBeforeAnswer = "receive.before_answer",
    /// A due poll is written, not committed.
    PollBeforeCommit = "poll.before_commit",
    /// It is committed, and has not started.
    PollAfterCommit = "poll.after_commit",
    /// The end of a poll with its cursor is written, not committed.
    CursorBeforeCommit = "cursor.before_commit",
    /// It is committed.
    CursorAfterCommit = "cursor.after_commit",
    /// Deliveries are claimed, not committed.
    ClaimBeforeCommit = "claim.before_commit",
    /// They are claimed, and nothing of them has started.
    ClaimAfterCommit = "claim.after_commit",
    /// A provider write is announced, not committed.
    IntentBeforeCommit = "intent.before_commit",
    /// It is announced, and nothing was sent.
    IntentAfterCommit = "intent.after_commit",
    /// A provider call is ready, and no byte of it has left.
    ProviderBeforeSend = "provider.before_send",
    /// Its answer was read, and is not recorded.
    ProviderAfterAnswer = "provider.after_answer",
    /// A request to a subscriber is signed, and no byte of it has left.
    EndpointBeforeSend = "endpoint.before_send",
    /// Its answer was read, and is not recorded.
    EndpointAfterAnswer = "endpoint.after_answer",
    /// The end of an attempt is written, not committed.
    SettleBeforeCommit = "settle.before_commit",
    /// It is committed, and what follows from it has not started.
    SettleAfterCommit = "settle.after_commit",
    /// A group of callers is written, not committed.
    GroupBeforeCommit = "group.before_commit",
    /// A group is about to be synced; a delay here is a slow disk.
    GroupSync = "group.sync",
    /// A group is committed, and none of its callers knows.
    GroupAfterCommit = "group.after_commit",
    /// A row of the registry is written, not committed.
    RegistryBeforeCommit = "registry.before_commit",
    /// It is committed.
    RegistryAfterCommit = "registry.after_commit",
    /// A request that could not be judged is written, not committed.
    ParkBeforeCommit = "park.before_commit",
    /// It is committed.
    ParkAfterCommit = "park.after_commit",
    /// A parked request is removed, not committed.
    UnparkBeforeCommit = "unpark.before_commit",
    /// It is committed.
    UnparkAfterCommit = "unpark.after_commit",
    /// A rejection is written, not committed.
    RejectBeforeCommit = "reject.before_commit",
    /// It is committed.
    RejectAfterCommit = "reject.after_commit",
    /// Deliveries are queued again, not committed.
    ReplayBeforeCommit = "replay.before_commit",
    /// They are committed, and have not started.
    ReplayAfterCommit = "replay.after_commit",
    /// Another act of a person on deliveries is written, not committed: discard, retry, cancel, routing anew.
    ActBeforeCommit = "act.before_commit",
    /// It is committed.
    ActAfterCommit = "act.after_commit",
    /// At start, what was running is given back, not committed.
    RescueBeforeCommit = "rescue.before_commit",
    /// It is committed.
    RescueAfterCommit = "rescue.after_commit",
    /// What is too late was ended, not committed.
    ExpireBeforeCommit = "expire.before_commit",
    /// It is committed.
    ExpireAfterCommit = "expire.after_commit",
    /// A step of pruning is written, not committed.
    PruneBeforeCommit = "prune.before_commit",
    /// It is committed.
    PruneAfterCommit = "prune.after_commit",
    /// The next access token of a connection is claimed, not committed.
    RefreshClaimBeforeCommit = "refresh_claim.before_commit",
    /// It is claimed, and nobody was asked for it.
    RefreshClaimAfterCommit = "refresh_claim.after_commit",
    /// A request for an access token is ready, and no byte of it has left.
    RefreshBeforeSend = "refresh.before_send",
    /// Its answer was read, and is not stored.
    RefreshAfterAnswer = "refresh.after_answer",
    /// The new tokens are written, not committed.
    RefreshBeforeCommit = "refresh.before_commit",
    /// They are committed, and nobody uses them yet.
    RefreshAfterCommit = "refresh.after_commit",
    /// The schema is about to be brought up to date.
    MigrationBefore = "migration.before",
    /// It is up to date, and nothing else has been done.
    MigrationAfter = "migration.after",
}

/// Around a write to the registry.
pub const REGISTRY: Around = (Point::RegistryBeforeCommit, Point::RegistryAfterCommit);
/// Around parking.
pub const PARK: Around = (Point::ParkBeforeCommit, Point::ParkAfterCommit);
/// Around unparking.
pub const UNPARK: Around = (Point::UnparkBeforeCommit, Point::UnparkAfterCommit);
/// Around keeping rejections.
pub const REJECT: Around = (Point::RejectBeforeCommit, Point::RejectAfterCommit);
/// Around a replay.
pub const REPLAY: Around = (Point::ReplayBeforeCommit, Point::ReplayAfterCommit);
/// Around another act on deliveries.
pub const ACT: Around = (Point::ActBeforeCommit, Point::ActAfterCommit);
/// Around claiming a refresh.
pub const REFRESH_CLAIM: Around = (Point::RefreshClaimBeforeCommit, Point::RefreshClaimAfterCommit);
/// Around storing what it brought.
pub const REFRESH: Around = (Point::RefreshBeforeCommit, Point::RefreshAfterCommit);
/// Around giving back.
pub const RESCUE: Around = (Point::RescueBeforeCommit, Point::RescueAfterCommit);
/// Around expiry.
pub const EXPIRE: Around = (Point::ExpireBeforeCommit, Point::ExpireAfterCommit);
/// Around pruning.
pub const PRUNE: Around = (Point::PruneBeforeCommit, Point::PruneAfterCommit);

/// Acts if the place is listed and this is the passing it names. Only `error` makes it fail.
#[cfg(not(debug_assertions))]
pub async fn pass(_point: Point) -> StoreResult<()> {
    Ok(())
}

/// Acts if the place is listed and this is the passing it names. Only `error` makes it fail.
#[cfg(debug_assertions)]
pub async fn pass(point: Point) -> StoreResult<()> {
    listed::pass(point).await
}

#[cfg(debug_assertions)]
mod listed {
    use std::{
        sync::{
            OnceLock,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use super::Point;
    use crate::store::{StoreError, StoreResult};

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Action {
        Abort,
        Error,
        Delay(Duration),
    }

    #[derive(Debug)]
    pub(super) struct Armed {
        pub(super) point: Point,
        /// The passing, from 1; none is each one.
        pub(super) at: Option<u32>,
        pub(super) action: Action,
        passed: AtomicU32,
    }

    pub(super) fn parse(entry: &str) -> Option<Armed> {
        let (name, rule) = entry.split_once('=')?;
        let point = *Point::ALL.iter().find(|point| point.name() == name.trim())?;
        let (at, action) = match rule.split_once(':') {
            None => (Some(1), rule),
            Some(("*", action)) => (None, action),
            Some((at, action)) => (Some(at.parse().ok()?), action),
        };
        let action = match action.trim() {
            "abort" => Action::Abort,
            "error" => Action::Error,
            delay => Action::Delay(Duration::from_millis(delay.strip_suffix("ms")?.parse().ok()?)),
        };
        Some(Armed { point, at, action, passed: AtomicU32::new(0) })
    }

    fn armed() -> &'static [Armed] {
        static ARMED: OnceLock<Vec<Armed>> = OnceLock::new();
        ARMED.get_or_init(|| {
            let list = std::env::var("SWITCHYARD_FAILPOINTS").unwrap_or_default();
            let entries = list.split(';').filter(|entry| !entry.trim().is_empty());
            let parsed: Option<Vec<_>> = entries.map(parse).collect();
            parsed.unwrap_or_else(|| {
                eprintln!("SWITCHYARD_FAILPOINTS={list} names a place or an action that does not exist");
                std::process::exit(64)
            })
        })
    }

    pub(super) async fn pass(point: Point) -> StoreResult<()> {
        for armed in armed().iter().filter(|armed| armed.point == point) {
            let passing = armed.passed.fetch_add(1, Ordering::SeqCst) + 1;
            if armed.at.is_some_and(|at| at != passing) {
                continue;
            }
            match armed.action {
                Action::Abort => std::process::abort(),
                Action::Error => return Err(StoreError::Unavailable(format!("fail point {}", point.name()))),
                Action::Delay(delay) => tokio::time::sleep(delay).await,
            }
        }
        Ok(())
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use super::{
        Point,
        listed::{Action, parse},
    };

    #[test]
    fn every_place_has_a_name_of_its_own() {
        let names: HashSet<_> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
    }

    #[test]
    fn an_entry_says_where_when_and_what() {
        let read = |entry| parse(entry).map(|armed| (armed.point, armed.at, armed.action));
        assert_eq!(read("intent.after_commit=abort"), Some((Point::IntentAfterCommit, Some(1), Action::Abort)));
        assert_eq!(read("settle.before_commit=3:error"), Some((Point::SettleBeforeCommit, Some(3), Action::Error)));
        let slow = Action::Delay(Duration::from_millis(300));
        assert_eq!(read("group.sync=*:300ms"), Some((Point::GroupSync, None, slow)));
        for wrong in ["", "intent", "intent.after=abort", "group.sync=explode", "group.sync=x:abort", "group.sync=3s"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
