//! An accept with what can be computed of it on the caller's task.

use crate::{
    clock::Timestamp,
    event::{Event, TenantId},
    id::Key,
    queue::{
        lane::{Lane, LaneKey},
        state::State,
    },
    store::ledger::{Accept, NewDelivery, NewEvent, Start},
};

/// An accept with the rows of its deliveries, computed on the caller's task.
pub(in crate::store) struct Prepared {
    pub(in crate::store) accept: Accept,
    /// For each event its deliveries.
    pub(in crate::store) rows: Vec<Vec<NewRow>>,
}

/// A delivery as it will be stored.
pub(in crate::store) struct NewRow {
    pub(in crate::store) key: Key,
    pub(in crate::store) tenant: TenantId,
    pub(in crate::store) event: Key,
    pub(in crate::store) target: String,
    pub(in crate::store) shard: i64,
    pub(in crate::store) lane: LaneKey,
    pub(in crate::store) start: Start,
    pub(in crate::store) fingerprint: Option<String>,
    pub(in crate::store) ordering_key: Option<String>,
    pub(in crate::store) at: Timestamp,
    pub(in crate::store) due_at: Timestamp,
    pub(in crate::store) expires_at: Option<Timestamp>,
}

impl NewRow {
    /// The row of a delivery of `event` made at `at`.
    pub(in crate::store) fn of(event: &Event, delivery: &NewDelivery, at: Timestamp) -> Self {
        let lane = Lane { tenant: event.tenant.clone(), target: delivery.target.clone(), urgency: event.urgency };
        let target = delivery.target.to_string();
        let fingerprint = match &delivery.start {
            Start::Dead(failure) => Some(failure.fingerprint(&target)),
            Start::Queued | Start::Claimed => None,
        };
        Self {
            key: delivery.key,
            tenant: event.tenant.clone(),
            event: event.key,
            target,
            shard: lane.shard(),
            lane: lane.key(),
            start: delivery.start.clone(),
            fingerprint,
            ordering_key: delivery.ordering_key.clone(),
            at,
            // By the queue's clock, which made the key, if this machine's is ahead of it: another node starts it.
            due_at: at.min(delivery.key.made_at()),
            expires_at: event.expires_at,
        }
    }

    /// The state that it begins in.
    pub(in crate::store) const fn state(&self) -> State {
        match self.start {
            Start::Queued => State::Queued,
            Start::Claimed => State::Running,
            Start::Dead(_) => State::Dead,
        }
    }
}

impl Prepared {
    /// Computes lanes and fingerprints.
    pub(in crate::store) fn of(accept: Accept) -> Self {
        let rows = |new| with_told(new).flat_map(rows_of).collect();
        Self { rows: accept.events.iter().map(rows).collect(), accept }
    }

    /// Whether a provider's request brought it.
    pub(in crate::store) const fn is_received(&self) -> bool {
        self.accept.request.is_some()
    }

    /// Whether it makes polls due.
    pub(in crate::store) const fn starts_polls(&self) -> bool {
        !self.accept.polls_started.is_empty()
    }

    /// Roughly how many bytes it writes.
    pub(in crate::store) fn size(&self) -> usize {
        let request = self.accept.request.as_ref().map_or(0, |request| request.body.len() + 1024);
        let events: usize = self.accept.events.iter().flat_map(with_told).map(|new| new.event.data.len() + 1024).sum();
        request + events + self.rows.iter().map(Vec::len).sum::<usize>() * 512
    }

    /// The latest time it knows.
    pub(in crate::store) fn latest(&self) -> Timestamp {
        self.accept.events.iter().map(|new| new.event.accepted_at).max().unwrap_or_default()
    }
}

/// An event, and the events that tell of deliveries of it that are dead at once. Those tell of no further ones.
pub(in crate::store) fn with_told(new: &NewEvent) -> impl Iterator<Item = &NewEvent> {
    std::iter::once(new).chain(new.deliveries.iter().filter_map(|delivery| delivery.told.as_deref()))
}

/// The deliveries of an event, as they will be stored.
pub(in crate::store) fn rows_of(new: &NewEvent) -> impl Iterator<Item = NewRow> {
    new.deliveries.iter().map(|delivery| NewRow::of(&new.event, delivery, new.event.accepted_at))
}

/// One accept of the group.
pub(in crate::store) struct Part<'a> {
    /// Its place among the callers.
    pub(in crate::store) place: usize,
    pub(in crate::store) prepared: &'a Prepared,
    /// For what a settle emits: whether that settle let another delivery of its order go.
    pub(in crate::store) settled: Option<bool>,
}
