//! One attempt from its slot to its settle.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;

use super::{
    Health,
    dispatch::Slot,
    reason::{Failure, ReasonClass},
};
use crate::{
    accept::Prepared,
    clock::Timestamp,
    directory::view::TenantView,
    event::Target,
    hub::Hub,
    observe::steps::{Ended, StepKind},
    run::shadow::ShadowJob,
    store::{
        StoreError,
        ledger::{
            Accept, Accepted, AttemptRow, Claimed, Effect, EventOutcome, JournalChange, KvWrite, Outcome, PollSettled,
            Settle, Settled,
        },
    },
};

/// After so many tries a fault of the hub itself ends a delivery.
const FAULTY_TRIES: u32 = 8;

/// How an attempt ended, before it is written.
pub struct AttemptEnd {
    /// What becomes of the delivery.
    pub outcome: Outcome,
    /// The record; none when nothing happened.
    pub attempt: Option<AttemptRow>,
    /// What becomes of the journal.
    pub journal: JournalChange,
    /// kv operations.
    pub kv: Vec<KvWrite>,
    /// Whose kv and cursor.
    pub plugin: Option<String>,
    /// What a poll leaves.
    pub poll: Option<PollSettled>,
    /// Events to accept with the settle.
    pub emitted: Vec<Prepared>,
    /// Further changes.
    pub effects: Vec<Effect>,
    /// What it says of the target.
    pub health: Health,
    /// Until when the target asked for silence.
    pub silent_until: Option<Timestamp>,
    /// Another version that runs on the same event once this end is stored.
    pub shadow: Option<Box<ShadowJob>>,
}

impl AttemptEnd {
    /// An end that changes nothing but the delivery.
    #[must_use]
    pub const fn plain(outcome: Outcome, attempt: Option<AttemptRow>) -> Self {
        Self {
            outcome,
            attempt,
            journal: JournalChange::Keep,
            kv: Vec::new(),
            plugin: None,
            poll: None,
            emitted: Vec::new(),
            effects: Vec::new(),
            health: Health::Neutral,
            silent_until: None,
            shadow: None,
        }
    }
}

impl Hub {
    /// Starts an attempt of a claimed delivery.
    pub fn attempt(self: &Arc<Self>, claimed: Claimed, slot: Slot) {
        let hub = self.clone();
        self.tasks.spawn(async move { hub.run_attempt(claimed, slot).await });
    }

    async fn run_attempt(self: Arc<Self>, claimed: Claimed, slot: Slot) {
        let step = self.begin_step(&claimed.event.traceparent);
        let performing = AssertUnwindSafe(self.perform(&claimed)).catch_unwind();
        let end = tokio::select! {
            () = self.hard_stop.cancelled() => AttemptEnd::plain(Outcome::Released { failure: None }, None),
            ended = performing => ended.unwrap_or_else(|_| self.panicked(&claimed)),
        };
        self.end_step(step, || attempt_step(&claimed, &end.outcome));
        self.finish_attempt(&claimed, end, slot).await;
    }

    async fn perform(self: &Arc<Self>, claimed: &Claimed) -> AttemptEnd {
        let now = self.clock.now();
        if !self.node.is_trusted() {
            // Another node may have given this delivery back by now, and run it.
            return AttemptEnd::plain(Outcome::Released { failure: None }, None);
        }
        let view = self.directory.view();
        let Some(tenant) = view.tenants.get(&claimed.lane.tenant).cloned() else {
            return AttemptEnd::plain(Outcome::Released { failure: None }, None);
        };
        // A person who replays what has expired wants it all the same; the store has dropped that delivery's expiry.
        if !claimed.replayed && claimed.event.expires_at.is_some_and(|at| at <= now) {
            let failure = Failure::new(ReasonClass::Expired, "expired", "its time passed before it was delivered");
            return AttemptEnd::plain(Outcome::Dead(failure), None);
        }
        // An opt-out is final whatever else holds the target; what only delays is shown by the hold.
        let asked = self.ask_policy(&tenant, claimed).await;
        if let Err(Outcome::Dead(failure)) = asked {
            return AttemptEnd::plain(Outcome::Dead(failure), None);
        }
        if super::dispatch::hold(&tenant, &claimed.lane.target, claimed.lane.urgency).is_some() {
            return AttemptEnd::plain(Outcome::Released { failure: None }, None);
        }
        if let Err(outcome) = asked {
            return AttemptEnd::plain(outcome, None);
        }
        let is_known = |tenant: &TenantView| match &claimed.lane.target {
            Target::Endpoint(key) => tenant.endpoints.contains_key(key),
            Target::Plugin(name) => tenant.installations.contains_key(&**name),
            Target::Unrouted => true,
        };
        let mut tenant = tenant;
        if !is_known(&tenant) {
            // What was just made, here or on another node, may have work before this process has seen it.
            if let Err(error) = self.directory.refresh_tenant(&claimed.lane.tenant).await {
                tracing::warn!(%error, delivery.id = %claimed.delivery, "a tenant could not be loaded");
                return AttemptEnd::plain(Outcome::Released { failure: None }, None);
            }
            tenant = self.directory.tenant(&claimed.lane.tenant).unwrap_or(tenant);
        }
        match &claimed.lane.target {
            Target::Endpoint(key) => match tenant.endpoints.get(key).cloned() {
                Some(endpoint) => self.deliver(&tenant, &endpoint, claimed).await,
                None => gone("endpoint_deleted", "the endpoint was deleted"),
            },
            Target::Plugin(name) => match tenant.installations.get(&**name).cloned() {
                Some(installation) => self.run(&tenant, &installation, claimed).await,
                None => gone("plugin_removed", "the plugin was removed from the tenant"),
            },
            Target::Unrouted => gone("no_handler", "no installed plugin handles the command"),
        }
    }

    fn panicked(&self, claimed: &Claimed) -> AttemptEnd {
        tracing::error!(delivery.id = %claimed.delivery, "an attempt panicked");
        let failure = Failure::new(ReasonClass::PluginBug, "host_fault", "the hub failed while it ran this attempt");
        AttemptEnd::plain(self.in_a_minute(claimed, failure), None)
    }

    /// What a fault of the hub makes of an attempt: another one in a minute, but not for ever.
    fn in_a_minute(&self, claimed: &Claimed, failure: Failure) -> Outcome {
        if claimed.tries >= FAULTY_TRIES {
            return Outcome::Dead(failure);
        }
        let run_at = self.queue_clock.now().after(self.time_factor.scale(Duration::from_secs(60)));
        Outcome::Waiting { run_at, failure, burnt: true }
    }

    async fn finish_attempt(self: &Arc<Self>, claimed: &Claimed, mut end: AttemptEnd, slot: Slot) {
        if let Some(tenant) = self.directory.tenant(&claimed.lane.tenant) {
            end.emitted.extend(self.tell_of_end(&tenant, claimed, &end.outcome, &end.effects));
        }
        count_attempt(&claimed.lane.target, &end.outcome);
        let counted = self.counted_in(claimed);
        let AttemptEnd {
            outcome,
            attempt,
            journal,
            kv,
            plugin,
            poll,
            mut emitted,
            effects,
            health,
            silent_until,
            shadow,
        } = end;
        let events = emitted.iter().map(Prepared::to_new_event).collect();
        let mut settle = Settle {
            tenant: claimed.lane.tenant.clone(),
            delivery: claimed.delivery,
            epoch: claimed.epoch,
            now: self.queue_clock.now(),
            outcome,
            attempt,
            journal,
            kv,
            plugin,
            poll,
            emitted: Accept { events, ..Accept::default() },
            effects,
            counted,
        };
        let count = settled_as(claimed, &settle.outcome, settle.now);
        let (touches_registry, polled) = (!settle.effects.is_empty(), settle.poll.is_some());
        if matches!(settle.outcome, Outcome::Released { .. }) {
            // What holds the lane may be newer than what the scheduler knows; it must not start again at once.
            self.reconsider_lane(claimed.lane.key(), &claimed.lane);
        }
        match self.settle_surely(claimed, &mut settle, &mut emitted).await {
            Some(Settled::Done { accepted, released_next }) => {
                count();
                if touches_registry {
                    self.refresh(&claimed.lane.tenant).await;
                }
                self.emitted_stored(emitted, accepted);
                if polled {
                    self.polls_moved.notify_one();
                }
                let due_at = if released_next { Some(self.queue_clock.now()) } else { due_again(&settle) };
                slot.finish(health, silent_until, due_at);
                if let Some(job) = shadow {
                    self.shadows.push(job);
                }
            }
            Some(Settled::LostSwap) => {
                drop(emitted);
                self.release(claimed, settle.journal, slot).await;
            }
            Some(Settled::LostLease) => {
                tracing::info!(delivery.id = %claimed.delivery, "a late attempt found its delivery ended or running elsewhere");
            }
            None => {
                tracing::error!(delivery.id = %claimed.delivery, "an attempt could not be settled before the hub stopped")
            }
        }
    }

    /// Gives an attempt back because a compare-and-swap lost; it runs again at once, served the writes that it did.
    async fn release(self: &Arc<Self>, claimed: &Claimed, journal: JournalChange, slot: Slot) {
        let mut settle = Settle {
            tenant: claimed.lane.tenant.clone(),
            delivery: claimed.delivery,
            epoch: claimed.epoch,
            now: self.queue_clock.now(),
            outcome: Outcome::Released { failure: None },
            attempt: None,
            journal,
            kv: Vec::new(),
            plugin: None,
            poll: None,
            emitted: Accept::default(),
            effects: Vec::new(),
            counted: self.counted_in(claimed),
        };
        if self.settle_surely(claimed, &mut settle, &mut Vec::new()).await.is_some() {
            slot.finish(Health::Neutral, None, due_again(&settle));
        }
    }

    /// Settles, and tries again while the database is away: the outcome of what was done outside must not be lost. What
    /// the database refuses for good is settled once more without kv, events and effects, so that nothing stays running.
    async fn settle_surely(
        self: &Arc<Self>,
        claimed: &Claimed,
        settle: &mut Settle,
        emitted: &mut Vec<Prepared>,
    ) -> Option<Settled> {
        let (mut wait, mut reduced) = (Duration::from_millis(100), false);
        loop {
            match self.store.settle(settle.clone()).await {
                Ok(settled) => return Some(settled),
                Err(StoreError::Unavailable(_) | StoreError::Overloaded) => {
                    tokio::select! {
                        () = self.hard_stop.cancelled() => return None,
                        () = tokio::time::sleep(wait) => wait = (wait * 2).min(Duration::from_secs(5)),
                    }
                }
                Err(error) => {
                    tracing::error!(%error, delivery.id = %settle.delivery, "an attempt cannot be settled as it ended");
                    if reduced {
                        return None;
                    }
                    reduced = true;
                    let failure = Failure::new(
                        ReasonClass::PluginBug,
                        "not_settled",
                        "the hub could not store how this attempt ended",
                    );
                    settle.outcome = self.in_a_minute(claimed, failure);
                    (settle.attempt, settle.poll) = (None, None);
                    settle.kv.clear();
                    settle.effects.clear();
                    emitted.clear();
                    if let Some(tenant) = self.directory.tenant(&settle.tenant) {
                        emitted.extend(self.tell_of_end(&tenant, claimed, &settle.outcome, &[]));
                    }
                    let events = emitted.iter().map(Prepared::to_new_event).collect();
                    settle.emitted = Accept { events, ..Accept::default() };
                }
            }
        }
    }

    /// Starts the deliveries of emitted events that were stored.
    pub fn emitted_stored(self: &Arc<Self>, emitted: Vec<Prepared>, accepted: Accepted) {
        for (prepared, outcome) in emitted.into_iter().zip(accepted.events) {
            match outcome {
                EventOutcome::Stored => prepared.stored_without(self, &accepted.not_started),
                EventOutcome::Duplicate { .. } => crate::observe::metrics::event_duplicate(prepared.origin()),
            }
        }
    }

    /// Reads a tenant again after the hub itself changed its rows, and gives its lanes their limits.
    pub async fn refresh(self: &Arc<Self>, tenant: &crate::event::TenantId) {
        if let Err(error) = self.directory.refresh_tenant(tenant).await {
            tracing::error!(%error, tenant = %tenant, "a tenant could not be read again");
        }
        self.reconsider(tenant);
    }
}

/// When the delivery itself is due again.
fn due_again(settle: &Settle) -> Option<Timestamp> {
    match &settle.outcome {
        Outcome::Waiting { run_at, .. } => Some(*run_at),
        // What is released with a failure waits for a person; if its hold is not seen yet, it is seen in a second.
        Outcome::Released { failure: Some(_) } => Some(settle.now.after(Duration::from_secs(1))),
        Outcome::Released { failure: None } => Some(settle.now),
        Outcome::Delivered | Outcome::Dead(_) => None,
    }
}

fn count_attempt(target: &Target, outcome: &Outcome) {
    let target = target_word(target);
    let outcome = match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Waiting { .. } => "waiting",
        Outcome::Dead(_) => "dead",
        Outcome::Released { .. } => "released",
    };
    crate::observe::metrics::attempt_ended(target, outcome);
}

/// Counts a delivery once its settlement is stored: what it became and why, and how long a good one took.
fn settled_as(claimed: &Claimed, outcome: &Outcome, now: Timestamp) -> impl FnOnce() + use<> {
    let (word, reason) = match outcome {
        Outcome::Delivered => ("delivered", "none"),
        Outcome::Waiting { failure, .. } => ("waiting", failure.reason.as_str()),
        Outcome::Dead(failure) => ("dead", failure.reason.as_str()),
        Outcome::Released { .. } => ("queued", "none"),
    };
    let took = matches!(outcome, Outcome::Delivered).then(|| now.since(claimed.event.accepted_at));
    let target = target_word(&claimed.lane.target);
    move || {
        crate::observe::metrics::delivery_settled(word, reason);
        if let Some(took) = took {
            crate::observe::metrics::delivered_after(target, took);
        }
    }
}

const fn target_word(target: &Target) -> &'static str {
    match target {
        Target::Endpoint(_) => "endpoint",
        Target::Plugin(_) | Target::Unrouted => "plugin",
    }
}

fn gone(code: &str, text: &str) -> AttemptEnd {
    AttemptEnd::plain(Outcome::Dead(Failure::new(ReasonClass::Config, code, text)), None)
}

/// An attempt as a step of its event's trace.
fn attempt_step(claimed: &Claimed, outcome: &Outcome) -> Ended {
    let (name, kind) = match &claimed.lane.target {
        Target::Endpoint(_) => ("send".to_owned(), StepKind::Client),
        Target::Plugin(plugin) => (format!("run {plugin}"), StepKind::Internal),
        Target::Unrouted => ("route".to_owned(), StepKind::Internal),
    };
    let failed = match outcome {
        Outcome::Delivered | Outcome::Released { failure: None } => None,
        Outcome::Waiting { failure, .. } | Outcome::Dead(failure) | Outcome::Released { failure: Some(failure) } => {
            Some(format!("{} {}", failure.reason.as_str(), failure.code))
        }
    };
    let attributes = vec![
        ("switchyard.tenant", claimed.lane.tenant.to_string()),
        ("switchyard.event.id", claimed.event.id.to_string()),
        ("switchyard.event.type", claimed.event.event_type.as_str().to_owned()),
        ("switchyard.delivery.id", claimed.delivery.with_prefix("dlv")),
        ("switchyard.target", claimed.lane.target.to_string()),
        ("switchyard.attempt", claimed.epoch.to_string()),
    ];
    Ended { name, kind, attributes, failed }
}
