//! Slots shared by all tenants, given out in turn.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::lane::LaneKey;
use crate::{clock::Timestamp, event::TenantId, id::Key, store::ledger::ReadyDelivery};

/// How long a suspect lets others pass before the pool is emptied for it.
const SUSPECT_PATIENCE: Duration = Duration::from_secs(1);

/// Which slots an attempt takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// Sends to endpoints.
    Send,
    /// Plugin runs.
    Run,
}

#[derive(Default)]
struct Turn {
    lanes: VecDeque<LaneKey>,
    running: u32,
    in_ring: bool,
}

struct Suspect {
    tenant: TenantId,
    lane: LaneKey,
    delivery: ReadyDelivery,
    since: Timestamp,
}

/// A pool of slots with its waiting lanes.
pub(super) struct Pool {
    capacity: u32,
    /// Slots of one tenant while others wait.
    per_tenant: u32,
    /// Slots of one tenant at any time, so that a newcomer always finds one.
    most_per_tenant: u32,
    in_use: u32,
    emergencies: VecDeque<LaneKey>,
    ring: VecDeque<TenantId>,
    turns: HashMap<TenantId, Turn>,
    suspects: VecDeque<Suspect>,
    alone: Option<Key>,
}

impl Pool {
    pub(super) fn new(capacity: u32, per_tenant: u32) -> Self {
        Self {
            capacity: capacity.max(1),
            per_tenant: per_tenant.max(1),
            most_per_tenant: (capacity - capacity / 4).max(1),
            in_use: 0,
            emergencies: VecDeque::new(),
            ring: VecDeque::new(),
            turns: HashMap::new(),
            suspects: VecDeque::new(),
            alone: None,
        }
    }

    pub(super) const fn in_use(&self) -> u32 {
        self.in_use
    }

    /// Whether a newcomer of `tenant` may start past nobody: a slot is free and no one waits for it.
    pub(super) fn has_idle_slot(&self, tenant: &TenantId) -> bool {
        self.in_use < self.capacity
            && self.alone.is_none()
            && self.suspects.is_empty()
            && self.ring.is_empty()
            && self.turns.get(tenant).is_none_or(|turn| turn.running < self.most_per_tenant)
    }

    pub(super) fn take(&mut self, tenant: &TenantId) {
        self.in_use += 1;
        self.turns.entry(tenant.clone()).or_default().running += 1;
    }

    pub(super) fn give(&mut self, tenant: &TenantId, delivery: Key, now: Timestamp) {
        self.in_use = self.in_use.saturating_sub(1);
        if self.alone == Some(delivery) {
            self.alone = None;
            // The others have their turn before the next suspect.
            if let Some(next) = self.suspects.front_mut() {
                next.since = now;
            }
        }
        if let Some(turn) = self.turns.get_mut(tenant) {
            turn.running = turn.running.saturating_sub(1);
            if turn.running == 0 && turn.lanes.is_empty() && !turn.in_ring {
                self.turns.remove(tenant);
            }
        }
    }

    pub(super) fn enqueue(&mut self, tenant: &TenantId, lane: LaneKey, emergency: bool) {
        if emergency {
            self.emergencies.push_back(lane);
            return;
        }
        let turn = self.turns.entry(tenant.clone()).or_default();
        turn.lanes.push_back(lane);
        if !turn.in_ring {
            turn.in_ring = true;
            self.ring.push_back(tenant.clone());
        }
    }

    /// The lane whose turn it is, if a slot is free. The caller takes the slot.
    pub(super) fn next_lane(&mut self, now: Timestamp) -> Option<LaneKey> {
        if self.in_use >= self.capacity || self.alone.is_some() {
            return None;
        }
        if let Some(lane) = self.emergencies.pop_front() {
            return Some(lane);
        }
        if self.suspect_is_impatient(now) {
            return None;
        }
        for _ in 0..self.ring.len() {
            let tenant = self.ring.pop_front()?;
            let others_wait = !self.ring.is_empty();
            let Some(turn) = self.turns.get_mut(&tenant) else { continue };
            let most = if others_wait { self.per_tenant.min(self.most_per_tenant) } else { self.most_per_tenant };
            if turn.running >= most {
                self.ring.push_back(tenant);
                continue;
            }
            let lane = turn.lanes.pop_front();
            if turn.lanes.is_empty() {
                turn.in_ring = false;
                if turn.running == 0 {
                    self.turns.remove(&tenant);
                }
            } else {
                self.ring.push_back(tenant);
            }
            if lane.is_some() {
                return lane;
            }
        }
        None
    }

    /// Keeps a suspect until it can run alone.
    pub(super) fn set_aside(&mut self, tenant: &TenantId, lane: LaneKey, delivery: ReadyDelivery, now: Timestamp) {
        self.suspects.push_back(Suspect { tenant: tenant.clone(), lane, delivery, since: now });
    }

    /// A suspect that runs alone from now on, with its slot taken: when nothing runs, and nothing else waits or its
    /// patience is over.
    pub(super) fn next_suspect(&mut self, now: Timestamp) -> Option<(LaneKey, ReadyDelivery)> {
        let others_wait = !self.emergencies.is_empty() || (!self.ring.is_empty() && !self.suspect_is_impatient(now));
        if self.in_use > 0 || self.alone.is_some() || others_wait {
            return None;
        }
        let suspect = self.suspects.pop_front()?;
        self.alone = Some(suspect.delivery.delivery);
        self.take(&suspect.tenant);
        Some((suspect.lane, suspect.delivery))
    }

    /// Whether it remembers nobody.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.turns.is_empty() && self.ring.is_empty() && self.emergencies.is_empty() && self.suspects.is_empty()
    }

    fn suspect_is_impatient(&self, now: Timestamp) -> bool {
        self.suspects.front().is_some_and(|suspect| now.since(suspect.since) >= SUSPECT_PATIENCE)
    }
}
