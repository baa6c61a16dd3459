//! Schedules: making polls due, trying parked requests again, expiry and pruning.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{TimeFactor, Timestamp},
    event::{Event, Urgency},
    hub::Hub,
    id::Key,
    plugin::model::{Manifest, Trigger},
    queue::{
        dispatch::hold,
        lane::{Lane, LaneKey},
        reason::{Failure, ReasonClass},
    },
    run::run::private,
    store::ledger::{Accept, PollDue},
};

/// When parked requests are judged again without any other cause.
const PARKED_EVERY: Duration = Duration::from_secs(300);

/// How often expiry and pruning look.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// How long a dedupe key is kept: longer than any provider repeats, and longer than events live.
const DEDUPE_WINDOW: Duration = Duration::from_secs(35 * 24 * 3600);

/// The schedules are not read more often than this, unless the bell rings.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);

/// At most so many rows in one transaction of a sweep.
const SWEEP_ROWS: u32 = 500;

/// When a schedule is due again after a start at `now`; none if the manifest has no such schedule.
#[must_use]
pub fn next_due(manifest: &Manifest, schedule: &str, now: Timestamp, factor: TimeFactor) -> Option<Timestamp> {
    let spec = manifest.schedules.iter().find(|spec| spec.name == schedule)?;
    match &spec.trigger {
        Trigger::Every(ms) => Some(now.after(factor.scale(Duration::from_millis(*ms)))),
        Trigger::Cron { expression, time_zone } => next_cron(expression, time_zone.as_deref(), now),
    }
}

/// The next time of a five-field cron expression in a zone, by default UTC.
#[must_use]
pub fn next_cron(expression: &str, time_zone: Option<&str>, now: Timestamp) -> Option<Timestamp> {
    let cron: croner::Cron = expression.parse().ok()?;
    let zone = jiff::tz::TimeZone::get(time_zone.unwrap_or("UTC")).ok()?;
    let local = jiff::Timestamp::from_millisecond(now.0).ok()?.to_zoned(zone);
    let next = cron.find_next_occurrence(&local, false).ok()?;
    Some(Timestamp(next.timestamp().as_millisecond()))
}

fn too_late() -> Failure {
    Failure::new(ReasonClass::Expired, "expired", "Its time passed before it could be delivered.")
}

impl Hub {
    /// Makes polls due at their times, until `stop`.
    pub async fn run_schedules(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let wait = match self.make_polls_due().await {
                Ok(wait) => wait.min(Duration::from_secs(5)),
                Err(error) => {
                    tracing::warn!(%error, "schedules could not be read; they are read again");
                    Duration::from_secs(1)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.polls_moved.notified() => {}
                // A due schedule that cannot start, since its tenant is not cached yet, must not make this loop spin.
                () = tokio::time::sleep(wait.max(SHORTEST_WAIT)) => {}
            }
        }
    }

    async fn make_polls_due(self: &Arc<Self>) -> Result<Duration, crate::store::StoreError> {
        if !self.node.leads() {
            return Ok(Duration::from_secs(1));
        }
        let now = self.queue_clock.now();
        for due in self.store.polls_due(now, 256).await? {
            self.start_poll(due).await?;
        }
        let next = self.store.next_poll().await?;
        Ok(next.map_or(Duration::from_secs(5), |at| at.since(self.queue_clock.now())))
    }

    async fn start_poll(self: &Arc<Self>, due: PollDue) -> Result<(), crate::store::StoreError> {
        let view = self.directory.view();
        let Some(tenant) = view.tenants.get(&due.name.tenant) else { return Ok(()) };
        let data = json!({"schedule": due.name.schedule, "cursor": due.cursor});
        let event = self.private_event(&due.name.tenant, &due.name.plugin, private::POLL_DUE, &data);
        let prepared = self.prepare(tenant, event, &data, None, None);
        let accept =
            Accept { events: vec![prepared.to_new_event()], polls_started: vec![due.name], ..Accept::default() };
        let accepted = self.store.accept(accept).await?;
        self.emitted_stored(vec![prepared], accepted);
        Ok(())
    }

    /// An event that only one installation sees, made by the host.
    #[must_use]
    pub fn private_event(
        &self,
        tenant: &crate::event::TenantId,
        plugin: &str,
        event_type: &'static str,
        data: &serde_json::Value,
    ) -> Event {
        let (key, now) = (self.ids.next(), self.clock.now());
        Event {
            key,
            id: key.with_prefix("evt").into(),
            tenant: tenant.clone(),
            event_type: event_type.parse().unwrap_or_else(|_| unreachable!("{event_type} is a type")),
            source: "switchyard:host".into(),
            subject: None,
            time: now,
            accepted_at: now,
            ordering_key: None,
            correlation_id: key.to_string().into(),
            traceparent: crate::observe::trace::new_traceparent(&self.ids).into(),
            cause: None,
            request: None,
            hop: 0,
            // The emergency lane passes the events that wait until the installation is set up.
            urgency: if private::is_lifecycle(event_type) { Urgency::Emergency } else { Urgency::Normal },
            expires_at: None,
            private_to: Some(plugin.to_owned()),
            extensions: None,
            data: data.to_string().into(),
        }
    }

    /// Makes a lifecycle call due: `install`, `upgrade` or `uninstall`, as a delivery with retries and dead letters.
    ///
    /// # Errors
    /// The database failed.
    pub async fn call_lifecycle(
        self: &Arc<Self>,
        tenant: &crate::event::TenantId,
        plugin: &str,
        event_type: &'static str,
        data: &serde_json::Value,
    ) -> Result<(), crate::store::StoreError> {
        let view = self.directory.view();
        let Some(view) = view.tenants.get(tenant) else { return Ok(()) };
        let event = self.private_event(tenant, plugin, event_type, data);
        let prepared = self.prepare(view, event, data, None, None);
        let accept = Accept { events: vec![prepared.to_new_event()], ..Accept::default() };
        let accepted = self.store.accept(accept).await?;
        self.emitted_stored(vec![prepared], accepted);
        Ok(())
    }

    /// Judges parked requests again when something changed, and every five minutes, until `stop`.
    pub async fn run_parked(self: Arc<Self>, stop: CancellationToken) {
        let every = self.time_factor.scale(PARKED_EVERY);
        loop {
            if self.node.leads()
                && let Err(error) = self.judge_parked().await
            {
                tracing::warn!(%error, "parked requests could not be judged; they stay parked");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.parked_moved.notified() => {}
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// Removes what deleted tenants have left, step by step, so that others' writes come between. What a stop leaves, the
    /// next start's first sweep takes.
    pub async fn remove_leaving(self: Arc<Self>) {
        while !self.tasks.is_closed() {
            match self.store.remove_leaving().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "a deleted tenant's rows could not be removed; the next sweep goes on");
                    return;
                }
            }
        }
    }

    /// Expires and prunes, a bounded part at a time, until `stop`.
    pub async fn run_sweeps(self: Arc<Self>, stop: CancellationToken) {
        loop {
            if let Err(error) = self.sweep().await {
                tracing::warn!(%error, "a sweep failed; the next one goes on");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP_EVERY) => {}
            }
        }
    }

    /// Lanes that are held, with the time since when.
    fn held_lanes(&self) -> Vec<(LaneKey, Timestamp)> {
        let view = self.directory.view();
        let lanes: Vec<_> = self.locked_scheduler().lanes().map(|(key, lane)| (key, lane.clone())).collect();
        let since = |lane: &Lane| Some(hold(view.tenants.get(&lane.tenant)?, &lane.target, lane.urgency)?.since);
        lanes.into_iter().filter_map(|(key, lane)| Some((key, since(&lane)?))).collect()
    }

    async fn sweep(self: &Arc<Self>) -> Result<(), crate::store::StoreError> {
        let now = self.clock.now();
        let held = self.held_lanes();
        loop {
            let late = self.store.overdue(now, &held, SWEEP_ROWS).await?;
            let lanes: HashMap<Key, Lane> = late.iter().map(|late| (late.delivery, late.lane.clone())).collect();
            let (ends, told): (Vec<_>, Vec<_>) = self.deaths(late, &too_late()).into_iter().unzip();
            let told: Vec<_> = ends.iter().map(|end| end.delivery).zip(told).collect();
            let ended: HashSet<Key> = self.store.expire(ends, now).await?.into_iter().collect();
            if ended.is_empty() {
                break;
            }
            for (_, told) in told.into_iter().filter(|(delivery, _)| ended.contains(delivery)) {
                if let Some(told) = told {
                    told.stored(self);
                }
            }
            self.wake_known(ended.iter().filter_map(|delivery| lanes.get(delivery)));
        }
        if !self.node.leads() {
            return Ok(());
        }
        self.call_all_upgrades().await;
        let retention = &self.settings.retention;
        let before =
            |age: Duration| Timestamp(now.0.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
        let (events, dedupe) = (before(retention.events), before(DEDUPE_WINDOW));
        while self.store.prune(events, dedupe, SWEEP_ROWS).await? >= u64::from(SWEEP_ROWS) {}
        Ok(())
    }
}

#[cfg(test)]
mod cron_tests;
