//! Starting what is due: polls of plugins and rules at times. Runs that were missed are counted and told.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    cron::Cron,
    timetable::{Missed, missed_runs},
};
use crate::{
    clock::Timestamp,
    directory::view::{InstallationView, TenantView},
    hub::Hub,
    plugin::model::Trigger,
    policy::Standing,
    rule,
    run::run::private,
    store::{
        StoreError,
        ledger::{Accept, PollDue},
    },
};

/// The schedules are not read more often than this, unless the bell rings.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);

impl Hub {
    /// Starts polls and rules at their times, until `stop`.
    pub async fn run_schedules(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let wait = match self.start_what_is_due().await {
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

    async fn start_what_is_due(self: &Arc<Self>) -> Result<Duration, StoreError> {
        if !self.node.leads() {
            return Ok(Duration::from_secs(1));
        }
        let now = self.queue_clock.now();
        for due in self.store.polls_due(now, 256).await? {
            self.start_due(due, now).await?;
        }
        let next = self.store.next_poll().await?;
        Ok(next.map_or(Duration::from_secs(5), |at| at.since(self.queue_clock.now())))
    }

    async fn start_due(self: &Arc<Self>, due: PollDue, now: Timestamp) -> Result<(), StoreError> {
        let view = self.directory.view();
        let Some(tenant) = view.tenants.get(&due.name.tenant) else { return Ok(()) };
        let Some(installation) = tenant.installations.get(&due.name.plugin) else { return Ok(()) };
        let missed = match times(tenant, installation, &due.name.schedule) {
            Some((times, policy)) => {
                let missed = missed_runs(&times, due.due_at, now);
                if missed > 0 && !self.tell_missed(tenant, installation, &due, missed, policy, now).await? {
                    return Ok(());
                }
                missed
            }
            None => 0,
        };
        let data = json!({
            "schedule": due.name.schedule, "cursor": due.cursor, "due_at": due.due_at, "missed": missed,
        });
        // A rule at a time is evaluated as a rule on an event is, so it is no poll.
        let event_type = if due.name.plugin == rule::PLUGIN { private::SCHEDULE_DUE } else { private::POLL_DUE };
        let event = self.private_event(&due.name.tenant, &due.name.plugin, event_type, &data);
        let prepared = self.prepare(tenant, event, &data, None, None, &Standing::default());
        let accept =
            Accept { events: vec![prepared.to_new_event()], polls_started: vec![due.name], ..Accept::default() };
        let accepted = self.store.accept(accept).await?;
        self.emitted_stored(vec![prepared], accepted);
        Ok(())
    }

    /// Tells of missed runs, once for the time that was missed first, and counts them. Answers whether to run now. Told
    /// first: after a crash in between it is told again, which its dedupe key ends.
    async fn tell_missed(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        installation: &InstallationView,
        due: &PollDue,
        missed: u32,
        policy: Missed,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let name = &due.name;
        if let Some(told) = self.tell_of_missed(tenant, name, due.due_at, missed, policy) {
            let accept = Accept { events: vec![told.to_new_event()], ..Accept::default() };
            let accepted = self.store.accept(accept).await?;
            self.emitted_stored(vec![told], accepted);
        }
        crate::observe::metrics::schedule_missed(missed);
        tracing::warn!(tenant = %name.tenant, plugin.name = name.plugin, schedule = name.schedule, missed,
            policy = policy.as_str(), "runs of a schedule were missed");
        let next = match policy {
            Missed::RunOnce => now,
            Missed::Skip => self
                .next_due(tenant, installation, &name.schedule, now)
                // A schedule without another time is not looked at again for a day.
                .unwrap_or_else(|| now.after(Duration::from_secs(24 * 3600))),
        };
        let counted = self.store.missed_runs(name, due.due_at, next, missed, self.clock.now()).await?;
        Ok(counted && policy == Missed::RunOnce)
    }

    /// When a schedule is due again after a start at `now`; none if there is no such schedule any more.
    #[must_use]
    pub fn next_due(
        &self,
        tenant: &TenantView,
        installation: &InstallationView,
        schedule: &str,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let zone = &tenant.row.time_zone;
        let row = installation.row.schedules.iter().find(|row| row.name == schedule);
        if let Some(timetable) = row.and_then(|row| row.timetable.as_ref()) {
            return timetable.next_after(zone, now, self.ids.fraction());
        }
        let manifest = &installation.version.as_ref()?.manifest;
        let spec = manifest.schedules.iter().find(|spec| spec.name == schedule)?;
        match &spec.trigger {
            Trigger::Every(ms) => Some(now.after(self.time_factor.scale(Duration::from_millis(*ms)))),
            Trigger::Cron { expression, time_zone } => {
                Cron::parse(expression, time_zone.as_deref().unwrap_or(zone)).ok()?.next_after(now)
            }
        }
    }
}

/// The times of a schedule that follows the clock, and what becomes of missed ones. One that runs every so often has no
/// times to miss.
fn times(tenant: &TenantView, installation: &InstallationView, schedule: &str) -> Option<(Cron, Missed)> {
    let zone = &tenant.row.time_zone;
    let row = installation.row.schedules.iter().find(|row| row.name == schedule);
    if let Some(timetable) = row.and_then(|row| row.timetable.as_ref()) {
        return Some((timetable.times(zone).ok()?, timetable.missed));
    }
    let manifest = &installation.version.as_ref()?.manifest;
    let spec = manifest.schedules.iter().find(|spec| spec.name == schedule)?;
    match &spec.trigger {
        Trigger::Every(_) => None,
        Trigger::Cron { expression, time_zone } => {
            let times = Cron::parse(expression, time_zone.as_deref().unwrap_or(zone)).ok()?;
            Some((times, Missed::RunOnce))
        }
    }
}
