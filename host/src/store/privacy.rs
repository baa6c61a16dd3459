//! What persons ask for: everything that is kept about them, or that it goes.
//!
//! A request is carried out in steps. Each reads the next rows of one [`Place`], and each writes what it found, what it
//! emptied and how far it came in one transaction, so that whoever goes on after a crash goes on there. The hub never
//! stores whom it looks for, only the keyed hash.

use async_trait::async_trait;

use super::{
    StoreResult,
    records::{Page, Touched},
    registry::AuditEntry,
};
use crate::{
    clock::Timestamp,
    connection::vault::PersonKind,
    event::{Event, Target, TenantId},
    id::Key,
    queue::{reason::Failure, state::State},
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// All that is kept.
    Export,
    /// That it goes.
    Erase,
}

impl Asked {
    /// The word in the database and the interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Export => "export",
            Self::Erase => "erase",
        }
    }
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is being carried out.
    Running,
    /// It was.
    Done,
}

impl Standing {
    /// The word in the database and the interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
        }
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivacyRow {
    /// Its key; `prv_..` outside.
    pub key: Key,
    /// The tenant.
    pub tenant: TenantId,
    /// What is asked for.
    pub asked: Asked,
    /// By what the person is known.
    pub kind: PersonKind,
    /// The keyed hash of that.
    pub person: [u8; 32],
    /// Where it stands.
    pub standing: Standing,
    /// How far it came: a JSON object of whoever carries it out.
    pub progress: String,
    /// How many steps were written; each expects the number that it read.
    pub turn: u64,
    /// When its next step is due.
    pub due_at: Timestamp,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When its last step was written.
    pub updated_at: Timestamp,
    /// `key_..` of who asked, `host` for an erasure that is carried out again.
    pub actor: String,
}

/// A part of what is kept about a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Events.
    Events,
    /// Deliveries with their attempts and journals.
    Deliveries,
    /// Requests to the tenant's sources that became events.
    Requests,
    /// Requests to apps that became events of the tenant's.
    AppRequests,
    /// Requests that nobody could judge yet.
    Parked,
    /// Requests that were refused.
    Rejections,
    /// What plugins keep.
    Kv,
    /// Whether persons want to be reached.
    Consents,
}

impl Place {
    /// All of them, in the order in which they are looked at: a delivery is judged by its event.
    pub const ALL: [Self; 8] = [
        Self::Events,
        Self::Deliveries,
        Self::Requests,
        Self::AppRequests,
        Self::Parked,
        Self::Rejections,
        Self::Kv,
        Self::Consents,
    ];

    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Deliveries => "deliveries",
            Self::Requests => "requests",
            Self::AppRequests => "app_requests",
            Self::Parked => "parked",
            Self::Rejections => "rejections",
            Self::Kv => "kv",
            Self::Consents => "consents",
        }
    }
}

/// An event as it is looked through.
#[derive(Clone, Debug)]
pub struct KeptEvent {
    /// The event.
    pub event: Event,
    /// Keyed hashes of the persons whom its marked fields name, 32 bytes each, one after the other.
    pub persons: Vec<u8>,
    /// Whether it was emptied.
    pub erased: bool,
}

/// An attempt as it is looked through.
#[derive(Clone, Debug)]
pub struct KeptAttempt {
    /// Its number.
    pub number: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// `succeeded`, `failed` or `lost`.
    pub outcome: String,
    /// What a person reads.
    pub message: Option<String>,
    /// Facts as one JSON object: capture, guest log, calls.
    pub detail: Option<String>,
}

/// A delivery as it is looked through.
#[derive(Clone, Debug)]
pub struct KeptDelivery {
    /// Its key.
    pub key: Key,
    /// Where it goes.
    pub target: Target,
    /// Its state.
    pub state: State,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its last failure.
    pub failure: Option<Failure>,
    /// With which deliveries it keeps order.
    pub ordering_key: Option<String>,
    /// Its attempts.
    pub attempts: Vec<KeptAttempt>,
    /// Its sealed journal.
    pub journal: Option<Vec<u8>>,
    /// What it carries.
    pub event: KeptEvent,
}

/// A request as it is looked through.
#[derive(Clone, Debug)]
pub struct KeptRequest {
    /// Its key.
    pub key: Key,
    /// The tenant, or the app.
    pub owner: TenantId,
    /// Its source.
    pub source_id: String,
    /// The method.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// Header fields: JSON pairs.
    pub headers: String,
    /// The body.
    pub body: Vec<u8>,
    /// When it arrived.
    pub received_at: Timestamp,
    /// From where.
    pub remote_addr: Option<String>,
    /// What came from it.
    pub correlation_id: String,
}

/// A refused request as it is looked through.
#[derive(Clone, Debug)]
pub struct KeptRejection {
    /// Its key.
    pub key: Key,
    /// Its source.
    pub source_id: String,
    /// When.
    pub at: Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// A value of a plugin as it is looked through.
#[derive(Clone, Debug)]
pub struct KeptValue {
    /// Whose.
    pub plugin: String,
    /// Under which key.
    pub key: String,
    /// How often it was written.
    pub version: u64,
    /// The value; none of a deleted one.
    pub value: Option<Vec<u8>>,
    /// Whom the plugin said that it is about.
    pub person: Option<[u8; 32]>,
}

/// What a person said last of a channel, as it is looked through.
#[derive(Clone, Debug)]
pub struct KeptConsent {
    /// The person.
    pub person: [u8; 32],
    /// `sms`, `call` or `email`.
    pub channel: String,
    /// `granted` or `withdrawn`.
    pub state: String,
    /// Who said so.
    pub source: String,
    /// When it was said.
    pub at: Timestamp,
    /// Whether the address is kept beside the person's hash.
    pub addressed: bool,
}

/// A row of a place.
#[derive(Clone, Debug)]
pub enum Kept {
    /// Of [`Place::Events`].
    Event(Box<KeptEvent>),
    /// Of [`Place::Deliveries`].
    Delivery(Box<KeptDelivery>),
    /// Of [`Place::Requests`] and [`Place::AppRequests`].
    Request(Box<KeptRequest>),
    /// Of [`Place::Parked`].
    Parked(Box<KeptRequest>),
    /// Of [`Place::Rejections`].
    Rejection(KeptRejection),
    /// Of [`Place::Kv`].
    Value(KeptValue),
    /// Of [`Place::Consents`].
    Consent(KeptConsent),
}

/// The next rows of a place.
#[derive(Clone, Debug, Default)]
pub struct KeptRows {
    /// The rows.
    pub rows: Vec<Kept>,
    /// Where to go on; none after the last one.
    pub next: Option<String>,
}

/// How much is read at once: rows are taken while both hold, and always one.
#[derive(Clone, Copy, Debug)]
pub struct Portion {
    /// Rows.
    pub rows: u32,
    /// Bytes of what they hold.
    pub bytes: u64,
}

/// What is written over a row. Ids, types, times and hashes stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emptied {
    /// An event: its data becomes this tombstone, its attributes and its persons go, its live and dead deliveries are
    /// cancelled, and none is ever made again.
    Event {
        /// Which.
        key: Key,
        /// The tombstone, a JSON object.
        data: String,
        /// What it is about, without the person.
        subject: Option<String>,
    },
    /// A delivery that is over.
    Delivery {
        /// Which.
        key: Key,
        /// Its last failure's words; none keeps them.
        message: Option<String>,
        /// Whether its ordering key goes.
        without_order: bool,
        /// Attempts by number, with other words and facts; none keeps what is there.
        attempts: Vec<(u32, Option<String>, Option<String>)>,
        /// Its journal, emptied and sealed; none keeps it.
        journal: Option<Vec<u8>>,
    },
    /// A request: head and body go but for the method and the URL's path.
    Request {
        /// The tenant, or the app.
        owner: TenantId,
        /// Which.
        key: Key,
        /// What came from it, by which it is found.
        correlation_id: String,
        /// The URL without its query.
        url: String,
        /// The tombstone.
        body: Vec<u8>,
    },
    /// A parked request: it becomes a rejection without its body, `erased`.
    Parked(Key),
    /// A rejection: its words go, and the address that it came from.
    Rejection(Key),
    /// A value of a plugin, if it is still of this version.
    Value {
        /// Whose.
        plugin: String,
        /// Under which key.
        key: String,
        /// How often it was written.
        version: u64,
        /// The value without the person; none when it goes as a whole, with its key.
        value: Option<Vec<u8>>,
    },
    /// Consents: the addresses go. What the person wants stays under the keyed hash, or the next message would go to
    /// somebody who asked for none.
    Consents([u8; 32]),
}

/// One step of a request.
#[derive(Clone, Debug)]
pub struct PrivacyStep {
    /// The tenant.
    pub tenant: TenantId,
    /// Which request.
    pub request: Key,
    /// The number of steps before it.
    pub turn: u64,
    /// How far it is now.
    pub progress: String,
    /// Where it stands now.
    pub standing: Standing,
    /// When its next step is due.
    pub due_at: Timestamp,
    /// Now.
    pub now: Timestamp,
    /// What is written over rows.
    pub emptied: Vec<Emptied>,
    /// The next part of an export, with its number, sealed.
    pub piece: Option<(u32, Vec<u8>)>,
    /// Whether the tenant's exports go, which may name who was erased; those under way begin anew with this progress.
    pub ends_exports: Option<String>,
    /// What the last step says of it.
    pub audit: Option<AuditEntry>,
}

/// Requests of persons.
#[async_trait]
pub trait Privacy: Send + Sync {
    /// Keeps a new request. `NotFound` without its tenant, `Conflict` if there is one of this key.
    async fn begin_privacy(&self, request: PrivacyRow, audit: AuditEntry) -> StoreResult<()>;

    /// One request.
    async fn privacy_request(&self, tenant: &TenantId, request: Key) -> StoreResult<PrivacyRow>;

    /// The requests of a tenant, newest first.
    async fn privacy_requests(&self, tenant: &TenantId, page: Page) -> StoreResult<Vec<PrivacyRow>>;

    /// Requests whose next step is due, those that waited longest first.
    async fn privacy_due(&self, now: Timestamp, limit: u32) -> StoreResult<Vec<PrivacyRow>>;

    /// Every erasure that was ever asked for of the tenants that are there.
    async fn erasures(&self) -> StoreResult<Vec<PrivacyRow>>;

    /// The next rows of a place, in an order of its own that no change of a row moves.
    async fn kept(
        &self,
        tenant: &TenantId,
        place: Place,
        after: Option<&str>,
        portion: Portion,
    ) -> StoreResult<KeptRows>;

    /// Writes a step, and answers the deliveries that it cancelled; none if the request has another number of steps by now,
    /// or is over: then nothing was written.
    async fn privacy_step(&self, step: PrivacyStep) -> StoreResult<Option<Touched>>;

    /// A part of an export, sealed; none if there is none of this number, or it went.
    async fn privacy_piece(&self, tenant: &TenantId, request: Key, number: u32) -> StoreResult<Option<Vec<u8>>>;

    /// Removes parts of exports that were done before this time, at most `limit`; answers how many.
    async fn forget_pieces(&self, before: Timestamp, limit: u32) -> StoreResult<u64>;

    /// Has what was emptied leave the free space of the database too, as far as that can be done beside its work; answers
    /// whether it was.
    async fn shred_emptied(&self) -> StoreResult<bool>;
}
