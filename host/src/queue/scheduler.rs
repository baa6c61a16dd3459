//! Who starts next: a pure state machine over lanes, tenants in turn and limits. It reads no clock, no database and
//! no target; the shell feeds it inputs and carries its commands out.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{
    lane::{Lane, LaneKey},
    lane_state::{Health, LaneState},
    pool::{Pool, PoolKind},
};
use crate::{clock::Timestamp, event::Urgency, id::Key, store::ledger::ReadyDelivery};

/// How many next deliveries a lane keeps in memory.
pub const WINDOW: u32 = 64;

/// Below so many of them the next are read.
const REFILL_BELOW: usize = 16;

/// What a lane may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneLimits {
    /// Which pool its attempts take slots of.
    pub pool: PoolKind,
    /// Attempts under way at once, at least 1.
    pub concurrency: u32,
    /// Starts per second.
    pub rate_per_s: Option<u32>,
    /// Whether its target is blocked: nothing starts and nothing is read.
    pub held: bool,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A delivery is about to be inserted: may it start at once?
    Offer {
        /// Its lane.
        lane: Arc<Lane>,
        /// The lane's key.
        key: LaneKey,
        /// The lane's limits now.
        limits: LaneLimits,
        /// The delivery.
        delivery: Key,
    },
    /// Work of a lane was committed that is due at a time.
    Queued {
        /// The lane.
        lane: Arc<Lane>,
        /// Its key.
        key: LaneKey,
        /// Its limits now.
        limits: LaneLimits,
        /// When the work is due.
        due_at: Timestamp,
    },
    /// The answer to [`Command::Read`].
    Head {
        /// The lane.
        key: LaneKey,
        /// In the order of start, future ones included.
        deliveries: Vec<ReadyDelivery>,
        /// How many were asked for.
        limit: u32,
    },
    /// The read failed; it is tried again after a second.
    ReadFailed {
        /// The lane.
        key: LaneKey,
    },
    /// An attempt, or an offer that was not used, gives its slot back.
    Finished {
        /// The lane.
        key: LaneKey,
        /// The delivery.
        delivery: Key,
        /// What it says of the target's health.
        health: Health,
        /// The target asked for silence until then.
        silent_until: Option<Timestamp>,
        /// Whether work of the lane became due by it, at a time.
        due_at: Option<Timestamp>,
    },
    /// The limits of a lane changed.
    Limits {
        /// The lane.
        key: LaneKey,
        /// Its limits now.
        limits: LaneLimits,
    },
    /// The lane's tenant is gone: nothing waits in it any more. What runs gives its slots back as ever.
    Forget {
        /// The lane.
        key: LaneKey,
    },
    /// Time passed.
    Tick,
    /// Nothing starts any more.
    Stop,
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The offered delivery holds a slot and is to be inserted as running.
    Granted,
    /// Read the head of a lane and answer with [`Input::Head`].
    Read {
        /// The lane.
        key: LaneKey,
        /// At most so many.
        limit: u32,
    },
    /// Claim and run these, which hold slots.
    Start {
        /// The lane.
        key: LaneKey,
        /// Which.
        delivery: ReadyDelivery,
    },
}

/// The breaker and the read-again time.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Slots for sends to endpoints.
    pub send_slots: u32,
    /// Slots for plugin runs.
    pub run_slots: u32,
    /// Runs of one tenant at once while others wait.
    pub runs_per_tenant: u32,
    /// The first time that a breaker stays open; it doubles up to 60 times that.
    pub breaker_open: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { send_slots: 512, run_slots: 64, runs_per_tenant: 2, breaker_open: Duration::from_secs(30) }
    }
}

/// The state of the scheduler. See [`Scheduler::step`].
pub struct Scheduler {
    lanes: HashMap<LaneKey, LaneState>,
    timers: BTreeSet<(Timestamp, LaneKey)>,
    sends: Pool,
    runs: Pool,
    tuning: Tuning,
    stopped: bool,
}

impl Scheduler {
    /// An empty scheduler.
    #[must_use]
    pub fn new(tuning: Tuning) -> Self {
        Self {
            lanes: HashMap::new(),
            timers: BTreeSet::new(),
            sends: Pool::new(tuning.send_slots, tuning.send_slots),
            runs: Pool::new(tuning.run_slots, tuning.runs_per_tenant),
            tuning,
            stopped: false,
        }
    }

    /// Takes one input at `now` and answers what is to be done. Every [`Command::Granted`] and [`Command::Start`] is
    /// answered by exactly one [`Input::Finished`], every [`Command::Read`] by one `Head` or `ReadFailed`.
    pub fn step(&mut self, input: Input, now: Timestamp) -> Vec<Command> {
        let mut commands = Vec::new();
        match input {
            Input::Offer { lane, key, limits, delivery } => {
                self.offer(&lane, key, limits, delivery, now, &mut commands)
            }
            Input::Queued { lane, key, limits, due_at } => {
                let state = self.lanes.entry(key).or_insert_with(|| LaneState::new(lane, limits));
                state.limits = limits;
                state.work_due(due_at, now);
                self.advance(key, now, &mut commands);
            }
            Input::Head { key, deliveries, limit } => {
                if let Some(state) = self.lanes.get_mut(&key) {
                    state.head_read(deliveries, limit, now);
                }
                self.advance(key, now, &mut commands);
            }
            Input::ReadFailed { key } => {
                if let Some(state) = self.lanes.get_mut(&key) {
                    state.read_failed(now);
                }
                self.advance(key, now, &mut commands);
            }
            Input::Finished { key, delivery, health, silent_until, due_at } => {
                self.finished(key, delivery, health, silent_until, due_at, now);
                self.advance(key, now, &mut commands);
            }
            Input::Limits { key, limits } => {
                if let Some(state) = self.lanes.get_mut(&key) {
                    state.limits = limits;
                }
                self.advance(key, now, &mut commands);
            }
            Input::Forget { key } => {
                if let Some(state) = self.lanes.get_mut(&key) {
                    state.forget();
                }
                self.advance(key, now, &mut commands);
            }
            Input::Tick => self.tick(now, &mut commands),
            Input::Stop => self.stopped = true,
        }
        self.pump(PoolKind::Send, now, &mut commands);
        self.pump(PoolKind::Run, now, &mut commands);
        commands
    }

    /// When [`Input::Tick`] is next useful.
    #[must_use]
    pub fn next_tick(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The lanes in memory.
    pub fn lanes(&self) -> impl Iterator<Item = (LaneKey, &Arc<Lane>)> {
        self.lanes.iter().map(|(key, state)| (*key, &state.lane))
    }

    /// A lane that is in memory.
    #[must_use]
    pub fn lane(&self, key: LaneKey) -> Option<&Arc<Lane>> {
        self.lanes.get(&key).map(|state| &state.lane)
    }

    /// The lanes in which attempts are under way.
    pub fn busy(&self) -> impl Iterator<Item = LaneKey> {
        self.lanes.iter().filter(|(_, state)| state.is_busy()).map(|(key, _)| *key)
    }

    /// Until when a lane is silent: an open breaker, or a target that asked for it.
    #[must_use]
    pub fn silent_until(&self, key: LaneKey, now: Timestamp) -> Option<Timestamp> {
        self.lanes.get(&key)?.silent_until.filter(|until| *until > now)
    }

    /// Slots in use: sends, runs.
    #[must_use]
    pub const fn in_flight(&self) -> (u32, u32) {
        (self.sends.in_use(), self.runs.in_use())
    }

    /// Lanes of a pool whose breaker is open, or half open: it has not yet been trusted again.
    #[must_use]
    pub fn open_breakers(&self, pool: PoolKind) -> usize {
        self.lanes.values().filter(|state| state.limits.pool == pool && state.is_tripped()).count()
    }

    /// Lanes in memory.
    #[must_use]
    pub fn lanes_in_memory(&self) -> usize {
        self.lanes.len()
    }

    fn offer(
        &mut self,
        lane: &Arc<Lane>,
        key: LaneKey,
        limits: LaneLimits,
        delivery: Key,
        now: Timestamp,
        commands: &mut Vec<Command>,
    ) {
        let pool = pool_of(limits.pool, &mut self.sends, &mut self.runs);
        if self.stopped || limits.held || !pool.has_idle_slot(&lane.tenant) {
            return;
        }
        let state = self.lanes.entry(key).or_insert_with(|| LaneState::new(lane.clone(), limits));
        state.limits = limits;
        if state.is_empty() && state.may_start(now) {
            state.start(delivery, now);
            pool.take(&lane.tenant);
            commands.push(Command::Granted);
        }
    }

    fn finished(
        &mut self,
        key: LaneKey,
        delivery: Key,
        health: Health,
        silent_until: Option<Timestamp>,
        due_at: Option<Timestamp>,
        now: Timestamp,
    ) {
        let Some(state) = self.lanes.get_mut(&key) else { return };
        let Some(ended) = state.finish(delivery) else { return };
        pool_of(state.limits.pool, &mut self.sends, &mut self.runs).give(&state.lane.tenant, delivery, now);
        state.judge(&ended, health, now, self.tuning.breaker_open);
        if ended.seen_due {
            state.work_due(now, now);
        }
        if let Some(until) = silent_until {
            state.silence(until);
        }
        if let Some(due_at) = due_at {
            state.work_due(due_at, now);
        }
    }

    fn tick(&mut self, now: Timestamp, commands: &mut Vec<Command>) {
        while let Some((at, key)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            if let Some(state) = self.lanes.get_mut(&key) {
                state.timer = None;
                state.time_passed(now);
            }
            self.advance(key, now, commands);
        }
    }

    /// Brings a lane's read, turn and timer in step with its state; drops it when nothing is left to remember.
    fn advance(&mut self, key: LaneKey, now: Timestamp, commands: &mut Vec<Command>) {
        let Some(state) = self.lanes.get_mut(&key) else { return };
        if !self.stopped && state.wants_read(REFILL_BELOW) {
            state.begin_read();
            commands.push(Command::Read { key, limit: WINDOW });
        }
        if state.has_ready() && !state.in_turn && state.may_start(now) {
            state.in_turn = true;
            let emergency = state.lane.urgency == Urgency::Emergency;
            pool_of(state.limits.pool, &mut self.sends, &mut self.runs).enqueue(&state.lane.tenant, key, emergency);
        }
        let wake = state.wake_at(now);
        if state.timer != wake {
            if let Some(old) = state.timer {
                self.timers.remove(&(old, key));
            }
            if let Some(at) = wake {
                self.timers.insert((at, key));
            }
            state.timer = wake;
        }
        if state.can_be_dropped() {
            self.lanes.remove(&key);
        }
    }

    /// Starts what the pool has slots for, emergencies first, then tenants in turn.
    fn pump(&mut self, kind: PoolKind, now: Timestamp, commands: &mut Vec<Command>) {
        while !self.stopped {
            let pool = pool_of(kind, &mut self.sends, &mut self.runs);
            if let Some((key, delivery)) = pool.next_suspect(now) {
                if self.lanes.get(&key).is_some_and(|state| !state.limits.held) {
                    commands.push(Command::Start { key, delivery });
                    break;
                }
                // Its lane was held while it waited for the others to end.
                self.finished(key, delivery.delivery, Health::Neutral, None, Some(now), now);
                self.advance(key, now, commands);
                continue;
            }
            let Some(key) = pool.next_lane(now) else { break };
            let Some(state) = self.lanes.get_mut(&key) else { continue };
            state.in_turn = false;
            if state.may_start(now)
                && let Some(delivery) = state.take_ready()
            {
                state.start(delivery.delivery, now);
                let pool = pool_of(kind, &mut self.sends, &mut self.runs);
                if delivery.suspect {
                    pool.set_aside(&state.lane.tenant, key, delivery, now);
                } else {
                    pool.take(&state.lane.tenant);
                    commands.push(Command::Start { key, delivery });
                }
            }
            self.advance(key, now, commands);
        }
    }
}

const fn pool_of<'a>(kind: PoolKind, sends: &'a mut Pool, runs: &'a mut Pool) -> &'a mut Pool {
    match kind {
        PoolKind::Send => sends,
        PoolKind::Run => runs,
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "scheduler_model_tests.rs"]
mod model_tests;
