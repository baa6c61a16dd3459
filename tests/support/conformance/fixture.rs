//! What every case begins with.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use switchyard::{
    clock::{Clock, ManualClock, Timestamp},
    event::{Event, EventType, Target, TenantId, Urgency},
    id::{Ids, Key},
    queue::reason::{Failure, ReasonClass},
    store::{
        SharedStore,
        ledger::{
            Accept, AttemptRow, ClaimRequest, Claimed, DedupeKey, EventOutcome, JournalChange, NewDelivery, NewEvent,
            Outcome, Settle, Settled, Start,
        },
        records::DeliveryRow,
        registry::{
            AuditEntry, EndpointRow, EndpointState, InstallState, InstallationRow, Mode, ScheduleRow, SourceRow,
            TenantRow,
        },
    },
};

/// One database that a case may open, close and open again.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Opens it with this clock.
    async fn open(&self, clock: Arc<ManualClock>) -> SharedStore;

    /// Closes what was opened last.
    async fn close(&self);
}

/// An open store with two tenants, `acme` and `globex`.
pub struct Fixture {
    /// The store under test.
    pub store: SharedStore,
    /// The clock that it was opened with.
    pub clock: Arc<ManualClock>,
    /// Makes keys.
    pub ids: Ids,
    /// The tenant that most cases use.
    pub acme: TenantId,
    /// The other tenant.
    pub globex: TenantId,
    backend: Box<dyn Backend>,
}

impl Fixture {
    /// Opens the backend and makes both tenants.
    pub async fn on(backend: impl Backend + 'static) -> Self {
        let clock = ManualClock::starting_at(Timestamp(1_800_000_000_000));
        let ids = Ids::seeded(clock.clone(), [7; 32]);
        let store = backend.open(clock.clone()).await;
        let tenant = |name: &str| name.parse::<TenantId>().expect("a tenant's name");
        let fixture =
            Self { store, clock, ids, acme: tenant("acme"), globex: tenant("globex"), backend: Box::new(backend) };
        for tenant in [&fixture.acme, &fixture.globex] {
            fixture.make_tenant(tenant).await;
        }
        fixture
    }

    /// Closes the store and opens it again.
    pub async fn reopen(&mut self) {
        self.backend.close().await;
        self.store = self.backend.open(self.clock.clone()).await;
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves the clock.
    pub fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// An audit entry of this moment.
    #[must_use]
    pub fn audit(&self, tenant: &TenantId, action: &str) -> AuditEntry {
        AuditEntry {
            at: self.now(),
            tenant: Some(tenant.clone()),
            actor: "cli".into(),
            action: action.into(),
            target: "thing".into(),
            before: None,
            after: Some("{}".into()),
        }
    }

    /// The row of a tenant of this name.
    #[must_use]
    pub fn tenant_row(&self, tenant: &TenantId) -> TenantRow {
        TenantRow {
            id: tenant.clone(),
            name: format!("{tenant} A/S"),
            time_zone: "Europe/Copenhagen".into(),
            settings: "{}".into(),
            lockdown: false,
            command_handlers: BTreeMap::new(),
            created_at: self.now(),
            lockdown_since: None,
            data_key: vec![1, 2, 3],
        }
    }

    /// Makes a tenant.
    pub async fn make_tenant(&self, tenant: &TenantId) {
        let audit = self.audit(tenant, "tenant.created");
        self.store.create_tenant(self.tenant_row(tenant), audit).await.expect("the tenant is made");
    }

    /// An installation without sources and schedules.
    #[must_use]
    pub fn installation(&self, tenant: &TenantId, plugin: &str) -> InstallationRow {
        InstallationRow {
            tenant: tenant.clone(),
            plugin: plugin.into(),
            mode: Mode::Live,
            version: None,
            config: "{}".into(),
            connections: BTreeMap::new(),
            grants: vec!["emits:*".into()],
            retry_schedule: None,
            state: InstallState::Ready,
            state_reason: None,
            blocked: None,
            broken: None,
            updated_at: self.now(),
            shadow_version: None,
            in_force: None,
            upgrade: None,
            sources: Vec::new(),
            schedules: Vec::new(),
        }
    }

    /// Installs `billy` for the tenant with one source and one schedule that is due.
    pub async fn install_billy(&self, tenant: &TenantId) -> InstallationRow {
        let mut row = self.installation(tenant, "billy");
        row.sources.push(SourceRow { id: self.ids.next().with_prefix("src"), name: "default".into(), queue: None });
        row.schedules.push(ScheduleRow::new("payments".into(), None, None));
        self.store.put_installation(row, self.audit(tenant, "plugin.installed")).await.expect("it is installed")
    }

    /// An active endpoint.
    #[must_use]
    pub fn endpoint_row(&self, tenant: &TenantId) -> EndpointRow {
        EndpointRow {
            key: self.ids.next(),
            tenant: tenant.clone(),
            url: "https://example.com/hooks".into(),
            amqp: None,
            event_types: vec!["*".into()],
            filter: None,
            description: None,
            format: "standard".into(),
            secrets: Vec::new(),
            state: EndpointState::Active,
            state_reason: None,
            retry_schedule: None,
            rate_per_s: None,
            concurrency: None,
            ordered: false,
            headers: None,
            timeout_ms: None,
            failing_since: None,
            last_success: None,
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    /// An event of the type `invoice.paid`.
    #[must_use]
    pub fn event(&self, tenant: &TenantId) -> Event {
        let key = self.ids.next();
        Event {
            key,
            id: key.with_prefix("evt").into(),
            tenant: tenant.clone(),
            event_type: "invoice.paid".parse::<EventType>().expect("an event type"),
            source: "api".into(),
            subject: None,
            time: self.now(),
            accepted_at: self.now(),
            ordering_key: None,
            correlation_id: format!("cor-{key}").into(),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
            cause: None,
            request: None,
            hop: 0,
            urgency: Urgency::Normal,
            expires_at: None,
            private_to: None,
            extensions: None,
            data: r#"{"amount":"125.00"}"#.into(),
        }
    }

    /// The event with one delivery, queued.
    #[must_use]
    pub fn queued(&self, event: Event, target: &Target) -> NewEvent {
        self.starting(event, target, Start::Queued)
    }

    /// The event with one delivery.
    #[must_use]
    pub fn starting(&self, event: Event, target: &Target, start: Start) -> NewEvent {
        let ordering_key = event.ordering_key.clone();
        let delivery = NewDelivery { key: self.ids.next(), target: target.clone(), start, ordering_key, told: None };
        NewEvent {
            event: Arc::new(event),
            dedupe: None,
            persons: Vec::new(),
            changes: Vec::new(),
            deliveries: vec![delivery],
        }
    }

    /// A target of some endpoint.
    #[must_use]
    pub fn endpoint(&self) -> Target {
        Target::Endpoint(self.ids.next())
    }

    /// Accepts one event and answers what became of it.
    pub async fn accept(&self, new: NewEvent) -> EventOutcome {
        let accept = Accept { events: vec![new], ..Accept::default() };
        let mut accepted = self.store.accept(accept).await.expect("the accept is committed");
        accepted.events.pop().expect("one outcome an event")
    }

    /// Accepts a fresh event for `target` and answers the key of its delivery, which is queued.
    pub async fn deliver(&self, target: &Target) -> Key {
        self.deliver_event(self.event(&self.acme), target).await
    }

    /// Accepts this event for `target` and answers the key of its delivery, which is queued.
    pub async fn deliver_event(&self, event: Event, target: &Target) -> Key {
        let new = self.queued(event, target);
        let key = new.deliveries[0].key;
        assert_eq!(self.accept(new).await, EventOutcome::Stored);
        key
    }

    /// The delivery as stored.
    pub async fn row(&self, key: Key) -> DeliveryRow {
        self.store.delivery(&self.acme, key).await.expect("the delivery is there")
    }

    /// Claims the delivery at this epoch, if it can be.
    pub async fn claim_at(&self, delivery: Key, epoch: u32) -> Option<Claimed> {
        let requests = vec![ClaimRequest { delivery, epoch }];
        self.store.claim(requests, self.now()).await.expect("the claim is committed").pop()
    }

    /// Claims the delivery at the epoch that is stored.
    pub async fn claim(&self, delivery: Key) -> Claimed {
        let epoch = self.row(delivery).await.epoch;
        self.claim_at(delivery, epoch).await.expect("it can be claimed")
    }

    /// The end of this attempt, with nothing beside the outcome.
    #[must_use]
    pub fn settle_of(&self, claimed: &Claimed, outcome: Outcome) -> Settle {
        let failure = match &outcome {
            Outcome::Waiting { failure, .. } | Outcome::Dead(failure) => Some(failure.clone()),
            Outcome::Delivered | Outcome::Released { .. } => None,
        };
        Settle {
            tenant: claimed.lane.tenant.clone(),
            delivery: claimed.delivery,
            epoch: claimed.epoch,
            now: self.now(),
            outcome,
            attempt: Some(self.attempt(failure)),
            journal: JournalChange::Keep,
            kv: Vec::new(),
            plugin: None,
            poll: None,
            emitted: Accept::default(),
            effects: Vec::new(),
            counted: None,
        }
    }

    /// The record of an attempt.
    #[must_use]
    pub fn attempt(&self, failure: Option<Failure>) -> AttemptRow {
        AttemptRow {
            started_at: self.now(),
            duration_us: 1500,
            failure,
            status: Some(200),
            plugin_version: None,
            detail: Some("{}".into()),
        }
    }

    /// Settles with this outcome; it must win.
    pub async fn settle(&self, claimed: &Claimed, outcome: Outcome) -> bool {
        let settle = self.settle_of(claimed, outcome);
        match self.store.settle(settle).await.expect("the settle is committed") {
            Settled::Done { released_next, .. } => released_next,
            lost => panic!("expected to hold the lease: {lost:?}"),
        }
    }

    /// Claims the delivery and lets it die.
    pub async fn kill(&self, delivery: Key) {
        let claimed = self.claim(delivery).await;
        self.settle(&claimed, Outcome::Dead(failure())).await;
    }
}

/// A failure of a subscriber.
#[must_use]
pub fn failure() -> Failure {
    Failure::new(ReasonClass::Subscriber, "http_500", "The endpoint answered 500.")
}

/// A target that is a plugin's installation.
#[must_use]
pub fn plugin(name: &str) -> Target {
    Target::Plugin(name.into())
}

/// A dedupe key of the API with a hash of this byte.
#[must_use]
pub fn dedupe(key: &str, hash: u8) -> DedupeKey {
    DedupeKey { scope: "api:api".into(), key: key.into(), hash: [hash; 32] }
}
