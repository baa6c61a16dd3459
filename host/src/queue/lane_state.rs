//! What the scheduler remembers of one lane.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{lane::Lane, scheduler::LaneLimits};
use crate::{clock::Timestamp, id::Key, store::ledger::ReadyDelivery};

/// Failures in a row that open the breaker.
const BREAKER_FAILURES: u32 = 10;

/// The longest time that a breaker stays open, in multiples of the first.
const BREAKER_MAX: u32 = 60;

/// A lane forgets the failures of its target when none came for so many times the first opening.
const FORGET_AFTER: u32 = 2 * BREAKER_MAX;

/// What an attempt says of its target's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answered well.
    Good,
    /// It did not answer, or answered that it is in trouble.
    Bad,
    /// It says nothing of it.
    Neutral,
}

/// A delivery that holds a slot.
pub(super) struct Running {
    delivery: Key,
    /// A read saw it due while it held its slot: it ended and was replayed meanwhile, so the lane reads again after it.
    pub(super) seen_due: bool,
    /// How often the breaker had opened when it started.
    openings: u32,
}

/// One lane in memory.
pub(super) struct LaneState {
    pub(super) lane: Arc<Lane>,
    pub(super) limits: LaneLimits,
    /// Whether it stands in its tenant's turn.
    pub(super) in_turn: bool,
    /// The timer that is set for it.
    pub(super) timer: Option<Timestamp>,
    pub(super) silent_until: Option<Timestamp>,
    running: Vec<Running>,
    ready: VecDeque<ReadyDelivery>,
    /// The database may hold due deliveries that are not in `ready`.
    backlog: bool,
    reading: bool,
    /// Work arrived while a read was under way, which may not have seen it.
    arrived_while_reading: bool,
    next_due: Option<Timestamp>,
    /// GCRA: the time in microseconds up to which starts are paid for.
    paid_until_us: i64,
    failures: u32,
    /// How often the breaker opened in a row; while above zero the lane runs at `ramp` attempts.
    trips: u32,
    ramp: u32,
    /// How often the breaker opened at all, to tell attempts that started before it did.
    openings: u32,
    forget_at: Option<Timestamp>,
}

impl LaneState {
    pub(super) const fn new(lane: Arc<Lane>, limits: LaneLimits) -> Self {
        Self {
            lane,
            limits,
            in_turn: false,
            timer: None,
            silent_until: None,
            running: Vec::new(),
            ready: VecDeque::new(),
            backlog: false,
            reading: false,
            arrived_while_reading: false,
            next_due: None,
            paid_until_us: 0,
            failures: 0,
            trips: 0,
            ramp: u32::MAX,
            openings: 0,
            forget_at: None,
        }
    }

    /// Whether nothing waits before a newcomer.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && !self.backlog && !self.reading
    }

    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether its own limits let one more start now.
    pub(super) fn may_start(&self, now: Timestamp) -> bool {
        let concurrency = self.limits.concurrency.max(1).min(self.ramp);
        !self.limits.held
            && self.running.len() < concurrency as usize
            && self.silent_until.is_none_or(|until| until <= now)
            && self.paid_at().is_none_or(|at| at <= now)
    }

    pub(super) fn start(&mut self, delivery: Key, now: Timestamp) {
        self.running.push(Running { delivery, seen_due: false, openings: self.openings });
        if let Some(rate) = self.limits.rate_per_s {
            let step = 1_000_000 / i64::from(rate.max(1));
            self.paid_until_us = self.paid_until_us.max(now.0.saturating_mul(1000)).saturating_add(step);
        }
    }

    /// What is known of the delivery that gives its slot back, if it held one.
    pub(super) fn finish(&mut self, delivery: Key) -> Option<Running> {
        let place = self.running.iter().position(|running| running.delivery == delivery)?;
        Some(self.running.swap_remove(place))
    }

    pub(super) fn take_ready(&mut self) -> Option<ReadyDelivery> {
        self.ready.pop_front()
    }

    pub(super) fn work_due(&mut self, due_at: Timestamp, now: Timestamp) {
        if due_at > now {
            self.next_due = Some(self.next_due.map_or(due_at, |due| due.min(due_at)));
        } else if self.reading {
            self.arrived_while_reading = true;
        } else {
            self.backlog = true;
        }
    }

    pub(super) fn wants_read(&self, below: usize) -> bool {
        self.backlog && !self.reading && !self.limits.held && self.ready.len() < below
    }

    pub(super) const fn begin_read(&mut self) {
        self.backlog = false;
        self.reading = true;
        // What the read sees replaces it; what happens meanwhile sets it again.
        self.next_due = None;
    }

    pub(super) fn head_read(&mut self, deliveries: Vec<ReadyDelivery>, limit: u32, now: Timestamp) {
        self.reading = false;
        let full = deliveries.len() >= limit as usize;
        let mut all_due = true;
        for delivery in deliveries {
            if delivery.due_at > now {
                self.work_due(delivery.due_at, now);
                all_due = false;
                break;
            }
            if let Some(running) = self.running.iter_mut().find(|running| running.delivery == delivery.delivery) {
                running.seen_due = true;
                continue;
            }
            match self.ready.iter_mut().find(|ready| ready.delivery == delivery.delivery) {
                Some(ready) if ready.epoch < delivery.epoch => *ready = delivery,
                Some(_) => {}
                None => self.ready.push_back(delivery),
            }
        }
        self.backlog |= (full && all_due) || self.arrived_while_reading;
        self.arrived_while_reading = false;
    }

    pub(super) fn read_failed(&mut self, now: Timestamp) {
        self.reading = false;
        self.arrived_while_reading = false;
        self.work_due(now.after(Duration::from_secs(1)), now);
    }

    pub(super) fn time_passed(&mut self, now: Timestamp) {
        if self.next_due.is_some_and(|due| due <= now) {
            self.next_due = None;
            self.work_due(now, now);
        }
        if self.silent_until.is_some_and(|until| until <= now) {
            self.silent_until = None;
        }
        if self.forget_at.is_some_and(|at| at <= now) {
            (self.failures, self.trips, self.ramp, self.forget_at) = (0, 0, u32::MAX, None);
        }
    }

    pub(super) fn silence(&mut self, until: Timestamp) {
        self.silent_until = Some(self.silent_until.map_or(until, |now| now.max(until)));
    }

    /// The breaker: ten failures in a row open it, twice as long each time; after that one probe runs, and each
    /// success doubles what may run until the lane is at its limit again. Attempts that started before it opened say
    /// nothing any more: they would open it again, once for each.
    pub(super) fn judge(&mut self, ended: &Running, health: Health, now: Timestamp, open: Duration) {
        if ended.openings != self.openings {
            return;
        }
        match health {
            Health::Neutral => {}
            Health::Good => {
                self.failures = 0;
                self.ramp = self.ramp.saturating_mul(2);
                if self.ramp >= self.limits.concurrency {
                    self.ramp = u32::MAX;
                    self.trips = 0;
                    self.forget_at = None;
                }
            }
            Health::Bad => {
                self.failures += 1;
                self.forget_at = Some(now.after(open.saturating_mul(FORGET_AFTER)));
                if self.failures >= BREAKER_FAILURES || self.ramp == 1 {
                    let times = 1_u32.checked_shl(self.trips).unwrap_or(BREAKER_MAX).min(BREAKER_MAX);
                    self.silence(now.after(open.saturating_mul(times)));
                    self.trips = self.trips.saturating_add(1);
                    self.openings = self.openings.wrapping_add(1);
                    self.failures = 0;
                    self.ramp = 1;
                }
            }
        }
    }

    /// Nothing waits any more and no limit has to be remembered; nothing is read for it again.
    pub(super) fn forget(&mut self) {
        self.ready.clear();
        (self.backlog, self.arrived_while_reading) = (false, false);
        (self.next_due, self.silent_until, self.forget_at) = (None, None, None);
        self.limits = LaneLimits { held: true, rate_per_s: None, ..self.limits };
    }

    /// Whether attempts of it are under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// Whether its breaker is open or half open.
    pub(super) const fn is_tripped(&self) -> bool {
        self.trips > 0
    }

    /// When the lane should be looked at without any other input.
    pub(super) fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        let start = if self.has_ready() && !self.limits.held {
            self.silent_until.max(self.paid_at()).filter(|at| *at > now)
        } else {
            None
        };
        let due = if self.limits.held { None } else { self.next_due };
        let forget = self.silent_until.max(self.paid_at()).filter(|at| *at > now);
        [start, due, forget, self.forget_at].into_iter().flatten().min()
    }

    /// Nothing runs, nothing is known to wait, and no limit has to be remembered.
    pub(super) fn can_be_dropped(&self) -> bool {
        self.is_empty()
            && self.running.is_empty()
            && self.next_due.is_none()
            && self.timer.is_none()
            && self.forget_at.is_none()
    }

    fn paid_at(&self) -> Option<Timestamp> {
        self.limits.rate_per_s?;
        // A start is allowed from the moment up to which earlier ones are paid, rounded up to the millisecond.
        Some(Timestamp(self.paid_until_us.saturating_add(999).div_euclid(1000)))
    }
}
