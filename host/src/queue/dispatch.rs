//! The shell of the scheduler: carries out its commands, and gives every attempt its slot.

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Health, PoolKind,
    lane::{Lane, LaneKey},
    scheduler::{Command, Input, LaneLimits, Scheduler},
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

/// After a failure of the database what was to start is read again.
const READ_AGAIN: Duration = Duration::from_secs(1);

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
        // What waits in a lane that this node gives away is found by the next owner.
        let due_at = due_at.filter(|_| self.hub.node.owns(self.lane));
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
        Target::Plugin(name) => {
            let installation = tenant.installations.get(&**name)?;
            // Lifecycle calls go by the emergency lane, so that they pass what waits for them.
            let setting_up = || installation.setting_up().filter(|_| urgency == Urgency::Normal);
            installation.hold(tenant).or_else(setting_up).or_else(lockdown)
        }
        Target::Unrouted => None,
    }
}

/// What a lane may do now. The lanes of a tenant that is gone are held.
#[must_use]
pub fn limits(tenant: Option<&TenantView>, lane: &Lane) -> LaneLimits {
    let held = tenant.is_none_or(|tenant| hold(tenant, &lane.target, lane.urgency).is_some());
    match &lane.target {
        Target::Endpoint(key) => {
            let row = tenant.and_then(|tenant| tenant.endpoints.get(key)).map(|endpoint| &endpoint.row);
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
    pub fn offer(self: &Arc<Self>, lane: &Arc<Lane>, key: LaneKey, delivery: Key) -> Option<Slot> {
        if !self.node.owns(key) {
            return None;
        }
        let commands = self.step_limited(lane, |limits| Input::Offer { lane: lane.clone(), key, limits, delivery });
        let granted = commands.contains(&Command::Granted);
        self.carry_out(commands);
        granted.then(|| Slot { hub: self.clone(), lane: key, delivery, open: true })
    }

    /// Tells the scheduler of committed work that is due at a time: this node's, or that of the lane's owner.
    pub fn lane_has_work(self: &Arc<Self>, lane: &Arc<Lane>, key: LaneKey, due_at: Timestamp) {
        if !self.node.owns(key) {
            return self.node.ring(lane);
        }
        let commands = self.step_limited(lane, |limits| Input::Queued { lane: lane.clone(), key, limits, due_at });
        self.carry_out(commands);
    }

    /// Tells the scheduler that these lanes have work now: after a replay, a retry by hand, a rescue.
    pub fn wake(self: &Arc<Self>, lanes: &[Lane]) {
        self.wake_at(lanes.iter().map(|lane| (lane.clone(), self.queue_clock.now())));
    }

    /// Tells the scheduler when lanes have work: at start.
    pub fn wake_at(self: &Arc<Self>, lanes: impl IntoIterator<Item = (Lane, Timestamp)>) {
        for (lane, due_at) in lanes {
            let key = lane.key();
            self.lane_has_work(&Arc::new(lane), key, due_at);
        }
    }

    /// Has lanes read again in which deliveries ended, so that what waited behind them in order may start. A lane of this
    /// node that is not in memory has nothing that waits.
    pub fn wake_known<'l>(self: &Arc<Self>, lanes: impl IntoIterator<Item = &'l Lane>) {
        for lane in lanes {
            let key = lane.key();
            let known = self.locked_scheduler().lane(key).cloned();
            if let Some(known) = known.or_else(|| (!self.node.owns(key)).then(|| Arc::new(lane.clone()))) {
                self.lane_has_work(&known, key, self.queue_clock.now());
            }
        }
    }

    /// Gives the scheduler the limits of a tenant's lanes again, after an admin or the hub changed them.
    pub fn reconsider(self: &Arc<Self>, tenant: &TenantId) {
        let lanes: Vec<_> = {
            let scheduler = self.locked_scheduler();
            scheduler
                .lanes()
                .filter(|(_, lane)| lane.tenant == *tenant)
                .map(|(key, lane)| (key, lane.clone()))
                .collect()
        };
        let gone = self.directory.tenant(tenant).is_none();
        for (key, lane) in lanes {
            if gone {
                self.feed(Input::Forget { key });
            } else {
                self.reconsider_lane(key, &lane);
            }
        }
    }

    /// Gives the scheduler the limits of one lane again.
    pub fn reconsider_lane(self: &Arc<Self>, key: LaneKey, lane: &Lane) {
        let commands = self.step_limited(lane, |limits| Input::Limits { key, limits });
        self.carry_out(commands);
    }

    /// Until when a lane is silent, for the view of its deliveries.
    #[must_use]
    pub fn silent_until(&self, lane: &Lane) -> Option<Timestamp> {
        self.locked_scheduler().silent_until(lane.key(), self.queue_clock.now())
    }

    /// Feeds the scheduler and carries out what it commands.
    pub fn feed(self: &Arc<Self>, input: Input) {
        let commands = self.step(input);
        self.carry_out(commands);
    }

    /// A step whose input has a lane's limits. They are read while the scheduler is locked: an admin's change replaces
    /// the snapshot first and feeds limits after, so the last limits fed are never older than the snapshot.
    fn step_limited(&self, lane: &Lane, input: impl FnOnce(LaneLimits) -> Input) -> Vec<Command> {
        let mut scheduler = self.locked_scheduler();
        let limits = limits(self.directory.tenant(&lane.tenant).as_deref(), lane);
        let (commands, sooner) = stepped(&mut scheduler, input(limits), self.queue_clock.now());
        drop(scheduler);
        if sooner {
            self.tick_moved.notify_one();
        }
        commands
    }

    fn step(&self, input: Input) -> Vec<Command> {
        let (commands, sooner) = stepped(&mut self.locked_scheduler(), input, self.queue_clock.now());
        if sooner {
            self.tick_moved.notify_one();
        }
        commands
    }

    /// The scheduler, for the time of one look or one step.
    pub(crate) fn locked_scheduler(&self) -> MutexGuard<'_, Scheduler> {
        self.scheduler.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut requests = Vec::with_capacity(starts.len());
        for (_, ready) in starts {
            if ready.suspect && !self.mark_alone(ready.delivery).await {
                if let Some(slot) = slots.remove(&ready.delivery) {
                    slot.finish(Health::Neutral, None, Some(self.queue_clock.now().after(READ_AGAIN)));
                }
                continue;
            }
            requests.push(ClaimRequest { delivery: ready.delivery, epoch: ready.epoch });
        }
        match self.store.claim(requests, self.queue_clock.now()).await {
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
                let again = self.queue_clock.now().after(READ_AGAIN);
                for (_, slot) in slots.drain() {
                    slot.finish(Health::Neutral, None, Some(again));
                }
            }
        }
    }

    /// Notes durably which suspect runs alone, so that it is known if the process dies with it.
    async fn mark_alone(&self, suspect: Key) -> bool {
        match self.store.set_meta(&self.node.running_alone(), suspect.0.to_vec()).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, delivery.id = %suspect, "a suspect cannot be marked, so it does not run yet");
                false
            }
        }
    }

    /// Ticks the scheduler when it asked for it, until `stop`.
    pub async fn run_ticks(self: Arc<Self>, stop: tokio_util::sync::CancellationToken) {
        loop {
            let next = self.locked_scheduler().next_tick();
            // A bound on the sleep lets a wall clock that stepped back delay nothing for long.
            let wait =
                next.map_or(Duration::from_secs(1), |at| at.since(self.queue_clock.now())).min(Duration::from_secs(1));
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.tick_moved.notified() => {}
                () = tokio::time::sleep(wait) => self.feed(Input::Tick),
            }
        }
    }
}

/// One step, and whether the next tick moved ahead by it.
fn stepped(scheduler: &mut Scheduler, input: Input, now: Timestamp) -> (Vec<Command>, bool) {
    let before = scheduler.next_tick();
    let commands = scheduler.step(input, now);
    let after = scheduler.next_tick();
    (commands, after.is_some() && (before.is_none() || after < before))
}
