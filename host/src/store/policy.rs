//! What the policy is asked about: consents, plans, and commands that were carried out.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{StoreResult, registry::AuditEntry};
use crate::{
    clock::Timestamp,
    event::TenantId,
    id::Key,
    policy::{
        address::Channel,
        consent::{ConsentSource, ConsentState},
        plan::{DayUsage, LocalDay, Plan, Room, Telling},
    },
    queue::lane::Lane,
};

/// How much of what was said of a person on a channel is kept.
pub const KEPT_SAYINGS: u32 = 100;

/// How many days counts are kept beyond the events that they counted.
const KEPT_DAYS: i64 = 400;

/// The first day whose counts are kept while events are kept since `before`.
pub(in crate::store) const fn kept_since(before: Timestamp) -> i64 {
    before.0 / 86_400_000 - KEPT_DAYS
}

/// The keyed hash of a person.
pub type Person = [u8; 32];

/// What an event changes for the policy, stored with it.
#[derive(Clone, Debug)]
pub enum PolicyChange {
    /// Somebody said whether they want to be reached.
    Consent(ConsentSaid),
    /// The plans that follow this customer are in this state.
    Plan(Telling),
}

/// Something said of a person's consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentSaid {
    /// To whom.
    pub tenant: TenantId,
    /// The channel.
    pub channel: Channel,
    /// Of whom.
    pub person: Person,
    /// The address, sealed.
    pub address: Vec<u8>,
    /// What they want.
    pub state: ConsentState,
    /// Who said it.
    pub source: ConsentSource,
    /// When it was said. What was said later stands; of two at once the one that withdraws.
    pub at: Timestamp,
    /// The event that brought it.
    pub event: Option<Key>,
    /// Now.
    pub now: Timestamp,
}

impl ConsentSaid {
    /// Whether it stands against what was said before.
    #[must_use]
    pub fn stands(&self, before: &Self) -> bool {
        self.at > before.at || (self.at == before.at && self.state == ConsentState::Withdrawn)
    }
}

/// What a person said last of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsentRow {
    /// The channel.
    pub channel: Channel,
    /// Of whom.
    pub person: Person,
    /// The address, sealed; none once the person was erased.
    pub address: Option<Vec<u8>>,
    /// What they want.
    pub state: ConsentState,
    /// Who said it.
    pub source: ConsentSource,
    /// When it was said.
    pub at: Timestamp,
    /// When it was stored.
    pub updated_at: Timestamp,
}

/// Something that was said, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastConsent {
    /// When it was said.
    pub at: Timestamp,
    /// What they wanted.
    pub state: ConsentState,
    /// Who said it.
    pub source: ConsentSource,
    /// The event that brought it.
    pub event: Option<Key>,
    /// When it was stored.
    pub recorded_at: Timestamp,
}

/// Which consents.
#[derive(Clone, Debug, Default)]
pub struct ConsentFilter {
    /// On this channel.
    pub channel: Option<Channel>,
    /// In this state.
    pub state: Option<ConsentState>,
    /// Of this person.
    pub person: Option<Person>,
    /// After this one: person and channel.
    pub after: Option<(Person, Channel)>,
}

/// A tenant's plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRow {
    /// Whose.
    pub tenant: TenantId,
    /// What it allows.
    pub plan: Plan,
    /// When an operator last changed it.
    pub updated_at: Timestamp,
}

/// A command that counts against the tenant's plan if its attempt succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Its type.
    pub command: String,
    /// The day on which it is counted.
    pub day: i64,
}

/// Room that a running command asks for.
#[derive(Clone, Debug)]
pub struct Reservation {
    /// Whose.
    pub tenant: TenantId,
    /// The delivery, which runs.
    pub delivery: Key,
    /// Its command.
    pub command: String,
    /// What the plan allows.
    pub plan: Plan,
    /// The day.
    pub today: LocalDay,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// It has its place until the attempt is settled. Also one that counts already, since it was delivered before.
    Yes,
    /// There is none now.
    No(Room),
}

/// Decides on a reservation: `running` are those of other deliveries, by command.
pub(in crate::store) fn decide(asked: &Reservation, used: &[DayUsage], running: &BTreeMap<String, u64>) -> Reserved {
    match asked.plan.room(&asked.command, used, running, asked.today) {
        Room::Free => Reserved::Yes,
        room @ (Room::Taken | Room::Full { .. }) => Reserved::No(room),
    }
}

/// Of what a group says of consents: for each person and channel what stands, in their order.
pub(in crate::store) fn standing<'a>(
    said: impl Iterator<Item = &'a ConsentSaid>,
) -> BTreeMap<(&'a TenantId, Person, &'static str), &'a ConsentSaid> {
    let mut standing = BTreeMap::new();
    for said in said {
        let place = standing.entry((&said.tenant, said.person, said.channel.as_str())).or_insert(said);
        if said.stands(place) {
            *place = said;
        }
    }
    standing
}

/// Consents, plans and counts. Every call names the tenant.
#[async_trait]
pub trait Policies: Send + Sync {
    /// Consents by person and channel, at most `limit`.
    async fn consents(&self, tenant: &TenantId, filter: ConsentFilter, limit: u32) -> StoreResult<Vec<ConsentRow>>;

    /// What was said of a person on a channel, newest first: at most [`KEPT_SAYINGS`].
    async fn consent_history(
        &self,
        tenant: &TenantId,
        channel: Channel,
        person: Person,
    ) -> StoreResult<Vec<PastConsent>>;

    /// Stores what an admin says of a person, which stands against all that was said before.
    async fn put_consent(&self, said: ConsentSaid, audit: AuditEntry) -> StoreResult<()>;

    /// What is known of these persons, on any channel.
    async fn consents_of(
        &self,
        tenant: &TenantId,
        persons: Vec<Person>,
    ) -> StoreResult<Vec<(Person, Channel, ConsentState)>>;

    /// Replaces a tenant's plan, or makes it.
    async fn put_plan(&self, plan: PlanRow, audit: AuditEntry) -> StoreResult<()>;

    /// Takes a tenant's plan away: everything is allowed. `NotFound` if it has none.
    async fn delete_plan(&self, tenant: &TenantId, audit: AuditEntry) -> StoreResult<()>;

    /// The commands that a tenant had carried out since a day.
    async fn usage(&self, tenant: &TenantId, since_day: i64) -> StoreResult<Vec<DayUsage>>;

    /// Reserves room for a running command. A delivery asks as often as it starts; its place is given back with its
    /// settle, or counts nothing once it does not run any more.
    async fn reserve(&self, reservation: Reservation) -> StoreResult<Reserved>;

    /// Makes deliveries due at a time that began to wait before `now` because the policy said so, and would wait longer; at
    /// most `limit`. What it said may be different by then. Answers the lane of each.
    async fn ask_again(&self, tenant: &TenantId, now: Timestamp, due: Timestamp, limit: u32) -> StoreResult<Vec<Lane>>;
}
