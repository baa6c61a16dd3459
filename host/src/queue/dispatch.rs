//! The shell of the scheduler: carries out its commands, and gives every attempt its slot.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{
    Health, PoolKind,
    lane::{Lane, LaneKey},
    scheduler::{Command, Input, LaneLimits},
};
use crate::{
    clock::Timestamp,
    directory::view::{Hold, TenantView},
    event::{Target, TenantId, Urgency},
    hub::Hub,
    id::Key,
    policy,
    store::ledger::{ClaimRequest, ReadyDelivery},
};

/// Attempts under way at once at an endpoint that sets no limit.
const ENDPOINT_CONCURRENCY: u32 = 64;

/// Runs under way at once of an installation.
const PLUGIN_CONCURRENCY: u32 = 8;

/// A slot of the scheduler. Given back when dropped.
pub struct Slot {
    hub: Arc<Hub>,
    lane: LaneKey,
    delivery: Key,
    open: bool,
}

impl Slot {
    /// Gives the slot back with what the attempt taught: the target's health, a silence that it asked for, and when the
    /// lane has work again because of this attempt.
    pub fn finish(mut self, health: Health, silent_until: Option<Timestamp>, due_at: Option<Timestamp>) {
        self.open = false;
        let input = Input::Finished { key: self.lane, delivery: self.delivery, health, silent_until, due_at };
        self.hub.feed(input);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.open {
            let (key, delivery) = (self.lane, self.delivery);
            self.hub.feed(Input::Finished { key, delivery, health: Health::Neutral, silent_until: None, due_at: None });
        }
    }
}

/// Why a target of the tenant takes nothing now; this is what shows as `held`.
#[must_use]
pub fn hold(tenant: &TenantView, target: &Target, urgency: Urgency) -> Option<Hold> {
    let lockdown = || policy::lockdown(tenant, target).filter(|_| urgency == Urgency::Normal);
    match target {
        Target::Endpoint(key) => tenant.endpoints.get(key)?.hold().or_else(lockdown),
        Target::Plugin(name) => tenant.installations.get(&**name)?.hold(tenant).or_else(lockdown),
        Target::Unrouted => None,
    }
}

/// What a lane may do now.
#[must_use]
pub fn limits(tenant: &TenantView, lane: &Lane) -> LaneLimits {
    let held = hold(tenant, &lane.target, lane.urgency).is_some();
    match &lane.target {
        Target::Endpoint(key) => {
            let row = tenant.endpoints.get(key).map(|endpoint| &endpoint.row);
            let concurrency = row.and_then(|row| row.concurrency).unwrap_or(ENDPOINT_CONCURRENCY);
            LaneLimits { pool: PoolKind::Send, concurrency, rate_per_s: row.and_then(|row| row.rate_per_s), held }
        }
        Target::Plugin(_) | Target::Unrouted => {
            LaneLimits { pool: PoolKind::Run, concurrency: PLUGIN_CONCURRENCY, rate_per_s: None, held }
        }
    }
}

impl Hub {
    /// Asks for a slot for a delivery that is about to be inserted.
    #[must_use]
    pub fn offer(self: &Arc<Self>, tenant: &TenantView, lane: &Arc<Lane>, key: LaneKey, delivery: Key) -> Option<Slot> {
        let limits = limits(tenant, lane);
        let commands = self.step(Input::Offer { lane: lane.clone(), key, limits, delivery });
        let granted = commands.contains(&Command::Granted);
        self.carry_out(commands);
        granted.then(|| Slot { hub: self.clone(), lane: key, delivery, open: true })
    }

    /// Tells the scheduler of committed work that is due at a time.
    pub fn lane_has_work(self: &Arc<Self>, tenant: &TenantView, lane: &Arc<Lane>, key: LaneKey, due_at: Timestamp) {
        let limits = limits(tenant, lane);
        self.feed(Input::Queued { lane: lane.clone(), key, limits, due_at });
    }

    /// Tells the scheduler that these lanes have work now: after a replay, a retry by hand, a rescue.
    pub fn wake(self: &Arc<Self>, lanes: &[Lane]) {
        self.wake_at(lanes.iter().map(|lane| (lane.clone(), self.clock.now())));
    }

    /// Tells the scheduler when lanes have work: at start.
    pub fn wake_at(self: &Arc<Self>, lanes: impl IntoIterator<Item = (Lane, Timestamp)>) {
        let view = self.directory.view();
        for (lane, due_at) in lanes {
            if let Some(tenant) = view.tenants.get(&lane.tenant) {
                let key = lane.key();
                self.lane_has_work(tenant, &Arc::new(lane), key, due_at);
            }
        }
    }

    /// Gives the scheduler the limits of a tenant's lanes again, after an admin or the hub changed them.
    pub fn reconsider(self: &Arc<Self>, tenant: &TenantId) {
        let view = self.directory.view();
        let Some(tenant) = view.tenants.get(tenant) else { return };
        let lanes: Vec<_> = {
            let scheduler = self.scheduler.lock().unwrap_or_else(PoisonError::into_inner);
            scheduler.lanes_of(&tenant.row.id).collect()
        };
        for (key, lane) in lanes {
            self.feed(Input::Limits { key, limits: limits(tenant, &lane) });
        }
    }

    /// Until when a lane is silent, for the view of its deliveries.
    #[must_use]
    pub fn silent_until(&self, lane: &Lane) -> Option<Timestamp> {
        let scheduler = self.scheduler.lock().unwrap_or_else(PoisonError::into_inner);
        scheduler.silent_until(lane.key(), self.clock.now())
    }

    /// Feeds the scheduler and carries out what it commands.
    pub fn feed(self: &Arc<Self>, input: Input) {
        let commands = self.step(input);
        self.carry_out(commands);
    }

    fn step(&self, input: Input) -> Vec<Command> {
        let now = self.clock.now();
        let mut scheduler = self.scheduler.lock().unwrap_or_else(PoisonError::into_inner);
        let before = scheduler.next_tick();
        let commands = scheduler.step(input, now);
        let after = scheduler.next_tick();
        drop(scheduler);
        if after.is_some() && (before.is_none() || after < before) {
            self.tick_moved.notify_one();
        }
        commands
    }

    fn carry_out(self: &Arc<Self>, commands: Vec<Command>) {
        let mut starts = Vec::new();
        for command in commands {
            match command {
                Command::Granted => {}
                Command::Read { key, limit } => {
                    let hub = self.clone();
                    self.tasks.spawn(async move { hub.read_head(key, limit).await });
                }
                Command::Start { key, delivery } => starts.push((key, delivery)),
            }
        }
        if !starts.is_empty() {
            let hub = self.clone();
            self.tasks.spawn(async move { hub.start(starts).await });
        }
    }

    async fn read_head(self: Arc<Self>, key: LaneKey, limit: u32) {
        let input = match self.store.lane_head(key, limit).await {
            Ok(deliveries) => Input::Head { key, deliveries, limit },
            Err(error) => {
                tracing::warn!(%error, "reading the head of a lane failed");
                Input::ReadFailed { key }
            }
        };
        self.feed(input);
    }

    /// Claims deliveries that hold slots, and starts those that were still there.
    async fn start(self: Arc<Self>, starts: Vec<(LaneKey, ReadyDelivery)>) {
        let mut slots: std::collections::HashMap<Key, Slot> = starts
            .iter()
            .map(|(lane, ready)| {
                (ready.delivery, Slot { hub: self.clone(), lane: *lane, delivery: ready.delivery, open: true })
            })
            .collect();
        if let Some((_, suspect)) = starts.iter().find(|(_, ready)| ready.suspect)
            && let Err(error) = self.store.set_meta("running_alone", suspect.delivery.0.to_vec()).await
        {
            tracing::error!(%error, "a suspect cannot be marked, so it does not run");
            return;
        }
        let requests = starts.iter().map(|(_, ready)| ClaimRequest { delivery: ready.delivery, epoch: ready.epoch });
        match self.store.claim(requests.collect(), self.clock.now()).await {
            Ok(claimed) => {
                for claimed in claimed {
                    if let Some(slot) = slots.remove(&claimed.delivery) {
                        self.attempt(claimed, slot);
                    }
                }
                // What is left was cancelled or replayed meanwhile; the dropped slots say so.
            }
            Err(error) => {
                tracing::warn!(%error, "claiming deliveries failed; they are read again");
                let again = self.clock.now().after(Duration::from_secs(1));
                for (_, slot) in slots.drain() {
                    slot.finish(Health::Neutral, None, Some(again));
                }
            }
        }
    }

    /// Ticks the scheduler when it asked for it, until `stop`.
    pub async fn run_ticks(self: Arc<Self>, stop: tokio_util::sync::CancellationToken) {
        loop {
            let next = self.scheduler.lock().unwrap_or_else(PoisonError::into_inner).next_tick();
            // A bound on the sleep lets a wall clock that stepped back delay nothing for long.
            let wait = next.map_or(Duration::from_secs(1), |at| at.since(self.clock.now())).min(Duration::from_secs(1));
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.tick_moved.notified() => {}
                () = tokio::time::sleep(wait) => self.feed(Input::Tick),
            }
        }
    }
}
