//! What the ledger writes and answers.

use std::sync::Arc;

use super::policy::PolicyChange;
use crate::{
    clock::Timestamp,
    event::{Event, Target, TenantId},
    id::Key,
    queue::{
        lane::{Lane, LaneKey},
        reason::Failure,
    },
};

/// Inbound requests that became no events, or not yet.
mod intake;

/// What a run and an attempt write.
mod settle;

pub use intake::{Parked, ParkedRequest, Rejection};
pub use settle::{
    AttemptRow, Effect, Expected, Intent, IntentOutcome, JournalChange, KvRow, KvWrite, Outcome, PollSettled, Settle,
    Settled,
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
    /// What it changes for the policy, in the same transaction.
    pub changes: Vec<PolicyChange>,
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
    /// Deliveries that were to begin [claimed](Start::Claimed) and are queued, since their lanes belong to another node
    /// by now.
    pub not_started: Vec<Key>,
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
