//! What a run and an attempt write: intents, kv operations, ends.

use super::{Accept, Accepted};
use crate::{clock::Timestamp, event::TenantId, id::Key, queue::reason::Failure, store::policy::Counted};

/// Writes before a provider write.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The tenant.
    pub tenant: TenantId,
    /// The delivery.
    pub delivery: Key,
    /// Its fence.
    pub epoch: u32,
    /// The journal, sealed.
    pub journal: Vec<u8>,
    /// The kv operations so far.
    pub kv: Vec<KvWrite>,
    /// The plugin whose kv it is.
    pub plugin: String,
}

/// What became of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntentOutcome {
    /// Committed.
    Committed,
    /// The delivery runs elsewhere or has ended; nothing was written.
    LostLease,
    /// A compare-and-swap lost; nothing was written.
    LostSwap,
}

/// One staged kv operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvWrite {
    /// The key.
    pub key: String,
    /// What must be there.
    pub expected: Expected,
    /// The value, or none to delete.
    pub value: Option<Vec<u8>>,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Keyed hash of the person whom it is about.
    pub person: Option<[u8; 32]>,
}

/// What a kv write expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Anything.
    Any,
    /// Nothing, or an expired value.
    Absent,
    /// This version.
    Version(u64),
}

/// One kv key as read. The version of an absent key is that of its tombstone, 0 if it never was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvRow {
    /// The value.
    pub value: Option<Vec<u8>>,
    /// Its version, which grows with every write, also over deletes.
    pub version: u64,
}

/// The end of an attempt.
#[derive(Clone, Debug)]
pub struct Settle {
    /// The tenant.
    pub tenant: TenantId,
    /// The delivery.
    pub delivery: Key,
    /// Its fence.
    pub epoch: u32,
    /// When it ended.
    pub now: Timestamp,
    /// What becomes of the delivery.
    pub outcome: Outcome,
    /// The attempt to record; none when the attempt is given back before anything happened.
    pub attempt: Option<AttemptRow>,
    /// What becomes of the journal.
    pub journal: JournalChange,
    /// kv operations of the plugin.
    pub kv: Vec<KvWrite>,
    /// The plugin whose kv and cursor it is.
    pub plugin: Option<String>,
    /// The cursor of a poll and when the schedule is due again.
    pub poll: Option<PollSettled>,
    /// Events to accept in the same transaction.
    pub emitted: Accept,
    /// What else changes.
    pub effects: Vec<Effect>,
    /// Of a command that a plugin carries out: how it counts. Once for the delivery, when it is delivered first.
    pub counted: Option<Counted>,
}

/// What becomes of the delivery.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Delivered.
    Delivered,
    /// Due again.
    Waiting {
        /// When.
        run_at: Timestamp,
        /// Why.
        failure: Failure,
        /// False gives the try back (policy waits, rate limits of our own).
        burnt: bool,
    },
    /// Dead.
    Dead(Failure),
    /// Queued again without a burnt try: shutdown, hold, lost swap.
    Released {
        /// Why, if a person should read it on the held delivery.
        failure: Option<Failure>,
    },
}

/// What becomes of the journal.
#[derive(Clone, Debug)]
pub enum JournalChange {
    /// It stays as it is.
    Keep,
    /// It is replaced by this sealed record.
    Put(Vec<u8>),
    /// No write is confirmed or unresolved: nothing is kept.
    Clear,
}

/// The record of an attempt.
#[derive(Clone, Debug)]
pub struct AttemptRow {
    /// When it started.
    pub started_at: Timestamp,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// Why it failed; none if it succeeded.
    pub failure: Option<Failure>,
    /// HTTP status of the subscriber.
    pub status: Option<u16>,
    /// Version of the plugin that ran.
    pub plugin_version: Option<String>,
    /// Facts as one JSON object: response capture, guest log, usage, calls. At most 128 KiB.
    pub detail: Option<String>,
}

/// What a poll leaves.
#[derive(Clone, Debug)]
pub struct PollSettled {
    /// The schedule.
    pub schedule: String,
    /// The new cursor; `None` keeps it (the poll failed), `Some(None)` forgets it.
    pub cursor: Option<Option<String>>,
    /// When it is due again; none while the poll is still live.
    pub due_at: Option<Timestamp>,
    /// When it last succeeded, if it did now.
    pub succeeded_at: Option<Timestamp>,
}

/// A change of a target's row that goes with a settle.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// An attempt at an endpoint succeeded: its failing streak ends.
    EndpointSucceeded(Key),
    /// An attempt failed: the streak begins at this time unless it runs already.
    EndpointFailed(Key, Timestamp),
    /// The endpoint is disabled, with the reason.
    EndpointDisabled(Key, String),
    /// The connection's credential was refused. With a version of its tokens only if that is still in force.
    ConnectionNeedsLogin(Key, String, Option<u64>),
    /// The installation waits for a person, with the reason.
    InstallationBlocked(String, Failure),
    /// The version traps again and again and is broken for this tenant.
    VersionBroken(String, String),
    /// The installation's state after a lifecycle call: ready, or failed with the reason.
    InstallationState(String, Result<(), String>),
    /// How `lifecycle.upgrade` to this version ended: it is in force from now on, or the reason why the one before stays.
    InstallationUpgraded(String, String, Result<(), String>),
    /// The installation is removed (after `uninstall`).
    InstallationRemoved(String),
}

/// What a settle did.
#[derive(Clone, Debug)]
pub enum Settled {
    /// Committed; the answer for the emitted events, and the delivery that may start now because this one left its
    /// place in the order.
    Done {
        /// For `emitted`.
        accepted: Accepted,
        /// Whether another delivery of the lane became ready.
        released_next: bool,
    },
    /// The delivery runs elsewhere or has ended; nothing was written.
    LostLease,
    /// A compare-and-swap lost; nothing was written.
    LostSwap,
}
