//! Writes deliveries that wait straight through the store, while no hub has the database open.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use switchyard::{
    clock::SharedClock,
    event::{Event, EventType, Target, TenantId, Urgency},
    id::{Ids, Key},
    queue::reason::{Failure, ReasonClass},
    store::{
        SharedStore,
        ledger::{Accept, AttemptRow, ClaimRequest, JournalChange, NewDelivery, NewEvent, Outcome, Settle, Start},
        postgres::{self, PostgresStore},
        sqlite::{self, SqliteStore},
    },
};

/// Events in one call, and calls at once.
const EVENTS: usize = 50;
const CALLS: usize = 32;

/// When what failed is due again.
const LATER: Duration = Duration::from_secs(10 * 3600);

/// The lanes of one tenant.
pub(super) struct Lanes {
    tenant: TenantId,
    paused: Vec<Target>,
    open: Target,
}

impl Lanes {
    pub(super) fn of(tenant: &str, paused: &[String], open: &str) -> anyhow::Result<Self> {
        let target = |id: &String| Key::parse("ep", id).map(Target::Endpoint).context("an endpoint's id");
        let paused = paused.iter().map(target).collect::<anyhow::Result<_>>()?;
        Ok(Self { tenant: tenant.parse()?, paused, open: target(&open.to_owned())? })
    }
}

/// The store of a hub that is stopped.
pub(super) struct Filler {
    store: SharedStore,
    ids: Ids,
    clock: SharedClock,
}

impl Filler {
    /// Opens a server's database by its URL, or a file by its path.
    pub(super) async fn open(database: &str, clock: SharedClock) -> anyhow::Result<Self> {
        let store: SharedStore = if database.starts_with("postgres") {
            Arc::new(PostgresStore::open(database, postgres::Options::default(), clock.clone()).await?)
        } else {
            Arc::new(SqliteStore::open(database, sqlite::Options::default(), clock.clone()).await?)
        };
        Ok(Self { store, ids: Ids::from_os(clock.clone()), clock })
    }

    /// Has `count` events wait for each paused endpoint; answers their ids.
    pub(super) async fn queue(&self, lanes: &Lanes, count: usize) -> anyhow::Result<Vec<u128>> {
        let made = self.accept(&lanes.tenant, &lanes.paused, "queue.waited", count).await?;
        Ok(made.into_iter().map(|(event, _)| u128::from_be_bytes(event.0)).collect())
    }

    /// Has `count` deliveries to the open endpoint fail once; they are due again much later.
    pub(super) async fn postpone(&self, lanes: &Lanes, count: usize) -> anyhow::Result<usize> {
        let made = self.accept(&lanes.tenant, std::slice::from_ref(&lanes.open), "queue.failed", count).await?;
        let now = self.clock.now();
        let requests = made.iter().map(|(_, delivery)| ClaimRequest { delivery: *delivery, epoch: 0 }).collect();
        let claimed = self.store.claim(requests, now).await?;
        ensure!(claimed.len() == count, "not all were claimed");
        let settles = claimed.iter().map(|claimed| {
            let failure = Failure::new(ReasonClass::Subscriber, "http_503", "the endpoint answered 503");
            let attempt = AttemptRow {
                started_at: now,
                duration_us: 1000,
                failure: Some(failure.clone()),
                status: Some(503),
                plugin_version: None,
                detail: None,
            };
            self.store.settle(Settle {
                tenant: lanes.tenant.clone(),
                delivery: claimed.delivery,
                epoch: claimed.epoch,
                now,
                outcome: Outcome::Waiting { run_at: now.after(LATER), failure, burnt: true },
                attempt: Some(attempt),
                journal: JournalChange::Keep,
                kv: Vec::new(),
                plugin: None,
                poll: None,
                emitted: Accept::default(),
                effects: Vec::new(),
                counted: None,
            })
        });
        try_join_all(settles).await?;
        Ok(count)
    }

    /// Writes what is left and lets go of the database.
    pub(super) async fn close(self) {
        self.store.close().await;
    }

    /// Inserts events with a queued delivery for each target; answers each event with its last delivery.
    async fn accept(
        &self,
        tenant: &TenantId,
        targets: &[Target],
        event_type: &str,
        count: usize,
    ) -> anyhow::Result<Vec<(Key, Key)>> {
        let event_type: EventType = event_type.parse()?;
        let mut made = Vec::with_capacity(count);
        while made.len() < count {
            let mut calls = Vec::new();
            while calls.len() < CALLS && made.len() < count {
                let more = (count - made.len()).min(EVENTS);
                let events: Vec<_> = (0..more).map(|_| self.event(tenant, &event_type, targets)).collect();
                made.extend(events.iter().map(|new| {
                    (new.event.key, new.deliveries.last().map(|delivery| delivery.key).unwrap_or_default())
                }));
                calls.push(self.store.accept(Accept { events, ..Accept::default() }));
            }
            try_join_all(calls).await?;
        }
        Ok(made)
    }

    fn event(&self, tenant: &TenantId, event_type: &EventType, targets: &[Target]) -> NewEvent {
        let (key, now) = (self.ids.next(), self.clock.now());
        let event = Event {
            key,
            id: key.with_prefix("evt").into(),
            tenant: tenant.clone(),
            event_type: event_type.clone(),
            source: "api".into(),
            subject: None,
            time: now,
            accepted_at: now,
            ordering_key: None,
            correlation_id: key.to_string().into(),
            traceparent: "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01".into(),
            cause: None,
            request: None,
            hop: 0,
            urgency: Urgency::Normal,
            expires_at: None,
            private_to: None,
            extensions: None,
            data: format!(r#"{{"pad":"{}"}}"#, "x".repeat(200)).into(),
        };
        let delivery = |target: &Target| NewDelivery {
            key: self.ids.next(),
            target: target.clone(),
            start: Start::Queued,
            ordering_key: None,
            told: None,
        };
        let deliveries = targets.iter().map(delivery).collect();
        NewEvent { event: Arc::new(event), dedupe: None, persons: Vec::new(), changes: Vec::new(), deliveries }
    }
}
