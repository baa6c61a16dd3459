//! What the ledger writes and answers.

use std::sync::Arc;

use crate::{
    clock::Timestamp,
    event::{Event, Target, TenantId},
    id::Key,
    queue::{
        lane::{Lane, LaneKey},
        reason::Failure,
    },
};

/// Events to store in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Accept {
    /// The inbound request they came from; kept if at least one of them is new.
    pub request: Option<RawRequest>,
    /// In the order of acceptance. They may belong to several tenants (an app's request).
    pub events: Vec<NewEvent>,
    /// Schedules that become due in the same transaction.
    pub polls_now: Vec<ScheduleName>,
    /// The parked request that this settles; it is removed.
    pub parked: Option<(TenantId, Key)>,
    /// The schedules whose poll these events are; each is marked as having a live poll.
    pub polls_started: Vec<ScheduleName>,
}

/// A schedule of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleName {
    /// The tenant.
    pub tenant: TenantId,
    /// The plugin.
    pub plugin: String,
    /// The name in the manifest.
    pub schedule: String,
}

/// An inbound request as it arrived.
#[derive(Clone, Debug)]
pub struct RawRequest {
    /// Its key.
    pub key: Key,
    /// The tenant of the source.
    pub tenant: TenantId,
    /// The source it came to.
    pub source_id: String,
    /// Upper-case method.
    pub method: String,
    /// The public URL with the exact path and query.
    pub url: String,
    /// Header fields in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The exact bytes.
    pub body: bytes::Bytes,
    /// When its last byte arrived.
    pub received_at: Timestamp,
    /// The peer, after trusted proxies.
    pub remote_addr: Option<String>,
    /// Its correlation id.
    pub correlation_id: Arc<str>,
}

/// One event with all that is stored beside it.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The event.
    pub event: Arc<Event>,
    /// Under which key a second one is a duplicate.
    pub dedupe: Option<DedupeKey>,
    /// Keyed hashes of the persons whom its data names.
    pub persons: Vec<[u8; 32]>,
    /// Its deliveries, one a target.
    pub deliveries: Vec<NewDelivery>,
}

/// The identity of an event at its sender, unique on (tenant, scope, key) for 35 days.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DedupeKey {
    /// `plugin:<name>` for an installation, `api:<source>` for the API.
    pub scope: String,
    /// At most 255 bytes, from signed bytes only.
    pub key: String,
    /// SHA-256 of type and data, to tell a repeat from a reused id.
    pub hash: [u8; 32],
}

/// A delivery to insert.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// Its key.
    pub key: Key,
    /// Where it goes.
    pub target: Target,
    /// How it begins.
    pub start: Start,
    /// The ordering key, if the target asked for order.
    pub ordering_key: Option<String>,
    /// Of one that is dead at once: the event that tells of it, stored with it or not at all.
    pub told: Option<Box<NewEvent>>,
}

/// How a delivery begins.
#[derive(Clone, Debug)]
pub enum Start {
    /// Queued, due at once; the store puts it behind a live one with its ordering key.
    Queued,
    /// Running at epoch 1, tries 1: the scheduler granted the slot before the insert. Never with an ordering key.
    Claimed,
    /// Dead at once (unrouted, refused by policy, loop).
    Dead(Failure),
}

/// What became of the events of an accept.
#[derive(Clone, Debug, Default)]
pub struct Accepted {
    /// One entry an event, in the order given.
    pub events: Vec<EventOutcome>,
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventOutcome {
    /// It is stored.
    Stored,
    /// An event with its dedupe key, or its id, was there before.
    Duplicate {
        /// The public id of the first one, which may be pruned by now.
        first_id: Arc<str>,
        /// Its correlation id if it is still there.
        correlation_id: Option<Arc<str>>,
        /// Whether type and data are equal.
        same: bool,
    },
}

/// A delivery to start.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRequest {
    /// Which.
    pub delivery: Key,
    /// The epoch that was read; the claim makes it one more.
    pub epoch: u32,
}

/// A delivery that runs now.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Its key.
    pub delivery: Key,
    /// Its lane.
    pub lane: Lane,
    /// The fence, and the number of this attempt: it never starts again.
    pub epoch: u32,
    /// Attempts of this retry cycle, this one included; a replay starts it again.
    pub tries: u32,
    /// Lost workers so far.
    pub crashes: u32,
    /// Whether a journal with a confirmed or unresolved write is stored.
    pub journalled: bool,
    /// Whether a person asked for it (replay) and no journal was stored since, so that it runs on the current version.
    pub replayed: bool,
    /// When the delivery was made.
    pub created_at: Timestamp,
    /// The event.
    pub event: Arc<Event>,
}

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

/// A lane with work.
#[derive(Clone, Debug)]
pub struct LaneHead {
    /// The lane.
    pub lane: Lane,
    /// When its first delivery is due.
    pub due_at: Timestamp,
}

/// A delivery that waits in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyDelivery {
    /// Its key.
    pub delivery: Key,
    /// Its epoch.
    pub epoch: u32,
    /// When it is due.
    pub due_at: Timestamp,
    /// Whether it must run alone.
    pub suspect: bool,
}

/// A live delivery that may have to end without an attempt.
#[derive(Clone, Debug)]
pub struct LiveDelivery {
    /// Its key.
    pub delivery: Key,
    /// Its fence.
    pub epoch: u32,
    /// Its lane.
    pub lane: Lane,
    /// The event.
    pub event: Arc<Event>,
}

/// The end of a delivery without an attempt.
#[derive(Clone, Debug)]
pub struct Death {
    /// Which.
    pub delivery: Key,
    /// Its fence.
    pub epoch: u32,
    /// Why.
    pub failure: Failure,
    /// The event that tells of it, stored in the same transaction if the delivery ends.
    pub told: Option<NewEvent>,
}

/// A delivery whose worker was lost.
#[derive(Clone, Debug)]
pub struct Rescued {
    /// Its key.
    pub delivery: Key,
    /// Its lane.
    pub lane: Lane,
    /// How often its worker was lost.
    pub crashes: u32,
}

/// A request kept until `receive` can judge it.
#[derive(Clone, Debug)]
pub struct ParkedRequest {
    /// The request, with its tenant and source.
    pub request: RawRequest,
    /// The plugin whose `receive` takes it.
    pub plugin: String,
    /// Why it is parked.
    pub failure: Failure,
    /// How often it was tried.
    pub tries: u32,
}

/// An installation with parked requests.
#[derive(Clone, Debug)]
pub struct Parked {
    /// The tenant.
    pub tenant: TenantId,
    /// The plugin.
    pub plugin: String,
    /// How many.
    pub count: u64,
}

/// A refused request: what is known without its body.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// Its key.
    pub key: Key,
    /// The tenant, where the source is known.
    pub tenant: TenantId,
    /// The source.
    pub source_id: String,
    /// When.
    pub at: Timestamp,
    /// The answer's status.
    pub status: u16,
    /// Stable code: `unauthenticated`, `rejected`, `too_large`, `rate_limited`, `duplicate`.
    pub code: String,
    /// For the tenant's admin, at most 256 bytes.
    pub reason: String,
    /// Bytes of the body.
    pub bytes: u64,
    /// The peer.
    pub remote_addr: Option<String>,
    /// The correlation id that was answered.
    pub correlation_id: Arc<str>,
}

/// A schedule that is due.
#[derive(Clone, Debug)]
pub struct PollDue {
    /// Which.
    pub name: ScheduleName,
    /// When it was due.
    pub due_at: Timestamp,
    /// Where to go on.
    pub cursor: Option<String>,
}

/// A lane that got work, for the scheduler that owns it.
#[derive(Clone, Debug)]
pub struct LaneWork {
    /// Its key.
    pub lane: LaneKey,
    /// When the work is due.
    pub due_at: Timestamp,
}
