//! What people look at. Lists are by keyset: newest first, `after` is the key of the last row of the page before.

use std::sync::Arc;

use async_trait::async_trait;

use super::{StoreResult, registry::AuditEntry};
use crate::{
    clock::Timestamp,
    event::{Event, Target, TenantId},
    id::Key,
    queue::{lane::Lane, reason::Failure, state::State},
};

/// A page of a list.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// At most so many rows.
    pub limit: u32,
    /// Rows after this one.
    pub after: Option<Key>,
}

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Exact type, or a prefix pattern `invoice.*`.
    pub event_type: Option<String>,
    /// This correlation id.
    pub correlation_id: Option<String>,
    /// This subject (external id).
    pub subject: Option<String>,
    /// Accepted at or after.
    pub since: Option<Timestamp>,
    /// Accepted before.
    pub until: Option<Timestamp>,
}

/// Which deliveries.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// In one of these states; empty means any.
    pub states: Vec<State>,
    /// Of this reason class.
    pub reason: Option<String>,
    /// To this target.
    pub target: Option<Target>,
    /// Of this event.
    pub event: Option<Key>,
    /// With this fingerprint.
    pub fingerprint: Option<String>,
    /// Of events of this type.
    pub event_type: Option<String>,
    /// Made at or after.
    pub since: Option<Timestamp>,
}

/// A delivery as stored.
#[derive(Clone, Debug)]
pub struct DeliveryRow {
    /// Its key; `dlv_..` outside.
    pub key: Key,
    /// The tenant.
    pub tenant: TenantId,
    /// The event's key.
    pub event: Key,
    /// The event's public id.
    pub event_id: Arc<str>,
    /// The event's type.
    pub event_type: String,
    /// The event's correlation id.
    pub correlation_id: Arc<str>,
    /// Where it goes.
    pub target: Target,
    /// Its lane.
    pub lane: Lane,
    /// Stored state.
    pub state: State,
    /// When it is due, while live.
    pub due_at: Timestamp,
    /// Attempts ever, which is its fence.
    pub epoch: u32,
    /// Attempts of this retry cycle.
    pub tries: u32,
    /// Lost workers.
    pub crashes: u32,
    /// The last failure.
    pub failure: Option<Failure>,
    /// Groups it with equal dead letters.
    pub fingerprint: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
    /// When its event expires.
    pub expires_at: Option<Timestamp>,
    /// Whether it waits behind a delivery with its ordering key.
    pub behind: bool,
}

/// An attempt as stored.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// Its number: the epoch.
    pub number: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// `succeeded`, `failed` or `lost`.
    pub outcome: String,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// The subscriber's status.
    pub status: Option<u16>,
    /// Version of the plugin.
    pub plugin_version: Option<String>,
    /// Facts as one JSON object.
    pub detail: Option<String>,
}

/// Dead letters that failed alike.
#[derive(Clone, Debug)]
pub struct DeadGroup {
    /// Their fingerprint.
    pub fingerprint: String,
    /// Their target.
    pub target: Target,
    /// The newest failure.
    pub failure: Failure,
    /// How many.
    pub count: u64,
    /// When the first died.
    pub first_at: Timestamp,
    /// When the last died.
    pub last_at: Timestamp,
    /// One of them.
    pub sample: Key,
}

/// Which deliveries a person acts on.
#[derive(Clone, Debug)]
pub enum Selection {
    /// These.
    Deliveries(Vec<Key>),
    /// The dead ones with this fingerprint.
    Fingerprint(String),
    /// All dead ones of an endpoint or plugin, made since a time.
    Target(Target, Option<Timestamp>),
    /// The dead ones of a target that were made in a window.
    Window {
        /// Whose.
        target: Target,
        /// Made at or after.
        from: Option<Timestamp>,
        /// Made before.
        to: Option<Timestamp>,
    },
    /// All dead ones.
    AllDead,
}

/// A replay.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The tenant.
    pub tenant: TenantId,
    /// What.
    pub selection: Selection,
    /// Whether deliveries that were delivered are taken too.
    pub include_delivered: bool,
    /// Whether the journal is dropped, so that every call is made anew.
    pub discard_journal: bool,
    /// Spread: the n-th becomes due n times this many milliseconds later.
    pub spacing_ms: u64,
    /// At most so many in one transaction; call again while it answers as many.
    pub limit: u32,
    /// Now.
    pub now: Timestamp,
}

/// What a replay or discard touched.
#[derive(Clone, Debug, Default)]
pub struct Touched {
    /// The deliveries.
    pub deliveries: Vec<Key>,
    /// Their lanes, each once.
    pub lanes: Vec<Lane>,
}

/// Deliveries to add to an event, as it is routed now.
#[derive(Clone, Debug)]
pub struct EventRoutes {
    /// The event's key.
    pub event: Key,
    /// One a target; an `unrouted` one is dead and says why.
    pub deliveries: Vec<super::ledger::NewDelivery>,
    /// When the new deliveries are due.
    pub due_at: Timestamp,
}

/// What was added to an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rerouted {
    /// Targets that had no delivery.
    pub targets: Vec<Target>,
    /// Of an event with an `unrouted` dead letter: whether that was cancelled, since the event has a handler now. Else it
    /// stays dead, with the reason of today.
    pub handled: Option<bool>,
}

/// How far the replays of a target have come.
#[derive(Clone, Debug, Default)]
pub struct ReplayProgress {
    /// Not started yet.
    pub waiting: u64,
    /// Under way.
    pub running: u64,
    /// Tried, and to be tried again.
    pub retrying: u64,
    /// Delivered.
    pub delivered: u64,
    /// Dead again, or still.
    pub dead: u64,
    /// When the next of those that wait may start.
    pub next_at: Option<Timestamp>,
    /// When the last of them may start.
    pub last_at: Option<Timestamp>,
}

/// Counts for the status page.
#[derive(Clone, Debug, Default)]
pub struct StateCounts {
    /// (state, count) of live and dead deliveries; delivered ones are not counted.
    pub by_state: Vec<(State, u64)>,
    /// When the oldest live delivery became due.
    pub oldest_due: Option<Timestamp>,
    /// Parked requests.
    pub parked: u64,
    /// Rejections ever counted, also those no longer kept.
    pub rejected: u64,
}

/// What went where lately.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Deliveries by target: `plugin:..`, `ep_..`.
    pub by_target: Vec<(String, u64)>,
    /// Events that came by the API.
    pub published: u64,
    /// Whether there were more than were counted.
    pub at_least: bool,
}

impl Recent {
    /// Deliveries to a target.
    #[must_use]
    pub fn of(&self, target: &str) -> u64 {
        self.by_target.iter().find(|(known, _)| known == target).map_or(0, |(_, count)| *count)
    }
}

/// A parked request without its body.
#[derive(Clone, Debug)]
pub struct ParkedRow {
    /// Its key; `req_..` outside.
    pub key: Key,
    /// The source.
    pub source_id: String,
    /// The plugin.
    pub plugin: String,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Why it is parked.
    pub failure: Failure,
    /// How often it was tried.
    pub tries: u32,
    /// Bytes of its body.
    pub bytes: u64,
    /// Its correlation id.
    pub correlation_id: Arc<str>,
}

/// An audit row.
#[derive(Clone, Debug)]
pub struct AuditRow {
    /// Its number.
    pub number: u64,
    /// What happened.
    pub entry: AuditEntry,
}

/// Reads for people, and what they do with deliveries. Every call names the tenant; rows of others are not found.
#[async_trait]
pub trait Records: Send + Sync {
    /// Events, newest first.
    async fn events(&self, tenant: &TenantId, filter: EventFilter, page: Page) -> StoreResult<Vec<Arc<Event>>>;

    /// One event by its public id.
    async fn event(&self, tenant: &TenantId, id: &str) -> StoreResult<Arc<Event>>;

    /// Deliveries, newest first.
    async fn deliveries(&self, tenant: &TenantId, filter: DeliveryFilter, page: Page) -> StoreResult<Vec<DeliveryRow>>;

    /// One delivery.
    async fn delivery(&self, tenant: &TenantId, key: Key) -> StoreResult<DeliveryRow>;

    /// The attempts of a delivery in order.
    async fn attempts(&self, tenant: &TenantId, delivery: Key) -> StoreResult<Vec<AttemptRecord>>;

    /// Dead letters grouped by fingerprint, newest first; `after` is not used, at most `limit` groups.
    async fn dead_groups(&self, tenant: &TenantId, limit: u32) -> StoreResult<Vec<DeadGroup>>;

    /// The inbound requests of a correlation id, without bodies: (key, source, method, url, received at).
    async fn requests(
        &self,
        tenant: &TenantId,
        correlation_id: &str,
    ) -> StoreResult<Vec<(Key, String, String, String, Timestamp)>>;

    /// How many deliveries each target got since then, and how many events the API took. At most 50,000 of each are counted.
    async fn recent(&self, tenant: &TenantId, since: Timestamp) -> StoreResult<Recent>;

    /// Rejections, newest first.
    async fn rejections(&self, tenant: &TenantId, page: Page) -> StoreResult<Vec<super::ledger::Rejection>>;

    /// Parked requests, newest first.
    async fn parked(&self, tenant: &TenantId, page: Page) -> StoreResult<Vec<ParkedRow>>;

    /// Audit rows of a tenant (none: of the hub), newest first; `before` is the number of the last row seen.
    async fn audit_rows(
        &self,
        tenant: Option<&TenantId>,
        limit: u32,
        before: Option<u64>,
    ) -> StoreResult<Vec<AuditRow>>;

    /// Re-queues dead (and, if asked, delivered) deliveries as the same rows: state queued, tries 0, journal kept or
    /// dropped, epoch kept. In an ordered lane a row goes behind a live one with its key. Those that are `unrouted` are
    /// left alone: their events are to be routed anew, by [`Records::add_deliveries`].
    async fn replay(&self, replay: Replay, audit: AuditEntry) -> StoreResult<Touched>;

    /// The replayed deliveries of a target whose state changed at `since` or later.
    async fn replay_progress(
        &self,
        tenant: &TenantId,
        target: &Target,
        since: Timestamp,
    ) -> StoreResult<ReplayProgress>;

    /// Gives up the replays of a target that have not begun: dead again, with the failure that they had. One that had been
    /// delivered before is dead as well, `policy`, `replay_aborted`. At most `limit`; call again while it answers as many.
    async fn abort_replay(
        &self,
        tenant: &TenantId,
        target: &Target,
        limit: u32,
        audit: AuditEntry,
    ) -> StoreResult<Touched>;

    /// Discards dead letters: cancelled, with the reason in the audit row.
    async fn discard(
        &self,
        tenant: &TenantId,
        selection: Selection,
        limit: u32,
        audit: AuditEntry,
    ) -> StoreResult<Touched>;

    /// Makes a waiting delivery due now.
    async fn retry_now(&self, tenant: &TenantId, delivery: Key, audit: AuditEntry) -> StoreResult<Lane>;

    /// Cancels a live delivery. A running attempt ends unrecorded: its settle finds another state.
    async fn cancel(&self, tenant: &TenantId, delivery: Key, audit: AuditEntry) -> StoreResult<Lane>;

    /// Adds deliveries to events for targets that have none (replay of events). An event's `unrouted` dead letter is
    /// cancelled in the same transaction if none of its new deliveries is `unrouted`, else it gets their reason. Answers
    /// what was done for each event, in the order given.
    async fn add_deliveries(
        &self,
        tenant: &TenantId,
        routes: Vec<EventRoutes>,
        audit: AuditEntry,
    ) -> StoreResult<Vec<Rerouted>>;

    /// Counts of a tenant, or of all.
    async fn counts(&self, tenant: Option<&TenantId>) -> StoreResult<StateCounts>;
}
