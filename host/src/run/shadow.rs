//! Shadow runs: after the live version did its work, another version runs on the same event with the live run's record,
//! and what they leave is compared. One at a time, from a short queue that drops what does not fit: a shadow never
//! delays, fails or starves a live run.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    compare::{self, LiveEnd},
    emit,
    journal::{Record, Recorded},
    run::{Left, context, private},
    shadow_calls::{ShadowCalls, live_writes},
};
use crate::{
    directory::view::{InstallationView, PluginVersion, TenantView},
    event::TenantId,
    hub::Hub,
    observe::metrics,
    plugin::{
        call::{Call, CallEnd, PluginLabel},
        limits::Limits,
        model::SwapResult,
        virtual_time::VirtualClock,
    },
    store::{
        ledger::Claimed,
        shadow::{ShadowOutcome, ShadowRun},
    },
};

/// Shadow runs that wait.
const MOST_WAITING: usize = 64;

/// Of one tenant.
const MOST_OF_TENANT: usize = 16;

/// Bytes of all records that wait.
const MOST_BYTES: usize = 16 << 20;

/// A live run that ended, to be followed by its shadow.
pub struct ShadowJob {
    tenant: TenantId,
    plugin: String,
    version: String,
    shadow_version: String,
    claimed: Claimed,
    record: Record,
    live: LiveEnd,
    bytes: usize,
}

/// Shadow runs that wait, bounded in number, in bytes and for each tenant.
#[derive(Default)]
pub struct ShadowQueue {
    waiting: Mutex<Waiting>,
    bell: Notify,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Box<ShadowJob>>,
    bytes: usize,
    served: Option<TenantId>,
}

impl ShadowQueue {
    /// Takes a job, or drops and counts it when too many wait.
    pub fn push(&self, job: Box<ShadowJob>) {
        let mut waiting = self.locked();
        let of_tenant = waiting.jobs.iter().filter(|waiting| waiting.tenant == job.tenant).count();
        let fits = waiting.jobs.len() < MOST_WAITING
            && of_tenant < MOST_OF_TENANT
            && waiting.bytes.saturating_add(job.bytes) <= MOST_BYTES;
        if !fits {
            drop(waiting);
            metrics::shadow_ended("dropped");
            return;
        }
        waiting.bytes += job.bytes;
        waiting.jobs.push_back(job);
        drop(waiting);
        self.bell.notify_one();
    }

    /// The next job: the oldest of a tenant that was not served last, else the oldest.
    async fn next(&self) -> Box<ShadowJob> {
        loop {
            if let Some(job) = self.locked().take() {
                return job;
            }
            self.bell.notified().await;
        }
    }

    fn locked(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take(&mut self) -> Option<Box<ShadowJob>> {
        let other = self.jobs.iter().position(|job| Some(&job.tenant) != self.served.as_ref());
        let job = self.jobs.remove(other.unwrap_or(0))?;
        self.bytes = self.bytes.saturating_sub(job.bytes);
        self.served = Some(job.tenant.clone());
        Some(job)
    }
}

/// The live end to compare with, where the installation has a shadow for this run. Taken before the output is used up.
pub(super) fn live_end(
    installation: &InstallationView,
    version: &PluginVersion,
    claimed: &Claimed,
    result: &Result<Left, CallEnd>,
) -> Option<LiveEnd> {
    let shadow = installation.row.shadow_version.as_ref()?;
    if *shadow == version.row.version || private::is_lifecycle(claimed.event.event_type.as_str()) {
        return None;
    }
    match result {
        Ok(left) => Some(LiveEnd::Left(left.events.clone(), left.poll.clone())),
        Err(CallEnd::Error(error)) => Some(LiveEnd::Refused(error.clone())),
        Err(CallEnd::Stopped(_) | CallEnd::HostFault(_)) => None,
        Err(end) => Some(LiveEnd::Broke(end.code().to_owned())),
    }
}

impl ShadowJob {
    /// The job that follows a live run whose record this is. `refused` is the code under which the host did not accept
    /// what the run left.
    pub(super) fn following(
        installation: &InstallationView,
        version: &PluginVersion,
        claimed: &Claimed,
        record: &Record,
        live: LiveEnd,
        refused: Option<&str>,
    ) -> Option<Box<Self>> {
        let live = match (live, refused) {
            (LiveEnd::Left(..), Some(code)) => LiveEnd::Broke(code.to_owned()),
            (live, _) => live,
        };
        Some(Box::new(Self {
            tenant: installation.row.tenant.clone(),
            plugin: installation.row.plugin.clone(),
            version: version.row.version.clone(),
            shadow_version: installation.row.shadow_version.clone()?,
            claimed: claimed.clone(),
            bytes: weight(record) + claimed.event.data.len(),
            record: record.clone(),
            live,
        }))
    }
}

/// Roughly how many bytes a record takes.
fn weight(record: &Record) -> usize {
    let answer = |recorded: &Recorded| match recorded {
        Recorded::Http(Ok(response)) => response.body.len(),
        Recorded::KvGet(Ok(Some(entry))) | Recorded::KvSwap(Ok(SwapResult::Stale(Some(entry)))) => entry.value.len(),
        Recorded::KvGetMany(Ok(entries)) => entries.iter().flatten().map(|entry| entry.value.len()).sum(),
        Recorded::KvKeys(Ok(page)) => page.keys.iter().map(String::len).sum(),
        _ => 0,
    };
    let answers: usize = record.entries.iter().map(|entry| 256 + entry.answer.as_ref().map_or(0, answer)).sum();
    1024 + record.config.len() + answers
}

/// How a shadow run ended.
struct Ended {
    outcome: ShadowOutcome,
    detail: Value,
}

fn broken(code: &str, message: &str) -> Ended {
    Ended { outcome: ShadowOutcome::Failed, detail: json!({"failure": {"code": code, "message": message}}) }
}

impl Hub {
    /// Runs shadows one after the other, until `stop`. What waits then is forgotten: it was a comparison.
    pub async fn run_shadows(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let job = tokio::select! {
                () = stop.cancelled() => return,
                job = self.shadows.next() => job,
            };
            let running = AssertUnwindSafe(self.run_shadow(&job)).catch_unwind();
            tokio::select! {
                () = stop.cancelled() => return,
                ended = running => if ended.is_err() {
                    tracing::error!(delivery.id = %job.claimed.delivery, "a shadow run panicked");
                },
            }
        }
    }

    async fn run_shadow(self: &Arc<Self>, job: &ShadowJob) {
        let started = self.clock.monotonic();
        let view = self.directory.view();
        let Some(tenant) = view.tenants.get(&job.tenant) else { return };
        let Some(installation) = tenant.installations.get(&job.plugin) else { return };
        // Promoted, replaced or switched off since.
        if installation.row.shadow_version.as_ref() != Some(&job.shadow_version) {
            return;
        }
        let Ended { outcome, detail } = match view.version(&job.plugin, &job.shadow_version) {
            Some(version) => self.shadow_of(tenant, installation, version, job).await,
            None => broken("version_gone", "the shadow version was removed"),
        };
        let run = ShadowRun {
            delivery: job.claimed.delivery,
            tenant: job.tenant.clone(),
            plugin: job.plugin.clone(),
            version: job.version.clone(),
            shadow_version: job.shadow_version.clone(),
            outcome,
            detail: detail.to_string(),
            duration_us: u64::try_from((self.clock.monotonic().saturating_sub(started)).as_micros())
                .unwrap_or(u64::MAX),
            at: self.clock.now(),
        };
        metrics::shadow_ended(outcome.as_str());
        if let Err(error) = self.store.shadow_ran(run).await {
            tracing::warn!(%error, delivery.id = %job.claimed.delivery, "a shadow run could not be kept");
        }
    }

    async fn shadow_of(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        installation: &InstallationView,
        version: &Arc<PluginVersion>,
        job: &ShadowJob,
    ) -> Ended {
        let guest = match self.plugins.guest(&version.row.name, &version.row.version).await {
            Ok(guest) => guest,
            Err(error) => return broken("not_loadable", &error.to_string()),
        };
        let clock = VirtualClock::starting_at(job.record.started_at_ms);
        let call = Call {
            context: context(tenant, installation, &job.claimed, &job.record),
            limits: Limits::resolve(&version.manifest.limits),
            seed: job.record.seed,
            clock: clock.clone(),
            host: Box::new(ShadowCalls::new(job.record.entries.clone(), clock)),
            plugin: PluginLabel { name: version.row.name.clone(), version: version.row.version.clone() },
        };
        let ended = self.call_guest(&guest, call, &job.claimed).await;
        ended.count("shadow");
        let sentence = ended.failure().unwrap_or_default();
        let Ok(calls) = ended.host.into_any().downcast::<ShadowCalls>() else {
            return broken("host_fault", "the run lost its host");
        };
        let as_shadow = installation.on(version);
        let refused = ended
            .result
            .as_ref()
            .ok()
            .and_then(|left| emit::check(self, tenant, &as_shadow, version, &job.claimed, &left.events).err());
        let kv = live_writes(&job.record.entries);
        let (outcome, detail) = compare::judge(&job.live, &kv, ended.result.as_ref(), &calls, refused, &sentence);
        Ended { outcome, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::{
        clock::Timestamp,
        event::{Event, Target, Urgency},
        id::Key,
        queue::lane::Lane,
    };

    fn claimed(tenant: &str, nth: u8) -> Claimed {
        let tenant: TenantId = tenant.parse().unwrap();
        let event = Event {
            key: Key([nth; 16]),
            id: "evt".into(),
            tenant: tenant.clone(),
            event_type: "invoice.create".parse().unwrap(),
            source: "api".into(),
            subject: None,
            time: Timestamp(0),
            accepted_at: Timestamp(0),
            ordering_key: None,
            correlation_id: "cor".into(),
            traceparent: "".into(),
            cause: None,
            request: None,
            hop: 0,
            urgency: Urgency::Normal,
            expires_at: None,
            private_to: None,
            extensions: None,
            data: "{}".into(),
        };
        Claimed {
            delivery: Key([nth; 16]),
            lane: Lane { tenant, target: Target::Plugin("billy".into()), urgency: Urgency::Normal },
            epoch: 1,
            tries: 1,
            crashes: 0,
            journalled: false,
            replayed: false,
            created_at: Timestamp(0),
            event: Arc::new(event),
        }
    }

    fn job(tenant: &str, nth: u8, bytes: usize) -> Box<ShadowJob> {
        let claimed = claimed(tenant, nth);
        Box::new(ShadowJob {
            tenant: tenant.parse().unwrap(),
            plugin: "billy".to_owned(),
            version: "1.0.0".to_owned(),
            shadow_version: "2.0.0".to_owned(),
            record: Record {
                started_at_ms: 0,
                seed: [0; 32],
                version: "1.0.0".to_owned(),
                config: "{}".to_owned(),
                sources: Vec::new(),
                traceparent: String::new(),
                entries: Vec::new(),
            },
            claimed,
            live: LiveEnd::Broke("trap".to_owned()),
            bytes,
        })
    }

    fn taken(queue: &ShadowQueue) -> Vec<String> {
        std::iter::from_fn(|| queue.locked().take()).map(|job| job.tenant.to_string()).collect()
    }

    #[test]
    fn tenants_take_turns_and_none_fills_the_queue() {
        let queue = ShadowQueue::default();
        for nth in 0..40 {
            queue.push(job("acme", nth, 10));
        }
        queue.push(job("globex", 0, 10));
        queue.push(job("globex", 1, 10));
        let turns = taken(&queue);
        assert_eq!(turns[..5], ["acme", "globex", "acme", "globex", "acme"]);
        assert_eq!(turns.iter().filter(|tenant| *tenant == "acme").count(), MOST_OF_TENANT);
        assert_eq!(queue.locked().bytes, 0);
    }

    #[test]
    fn what_is_too_large_is_dropped() {
        let queue = ShadowQueue::default();
        queue.push(job("acme", 0, MOST_BYTES + 1));
        queue.push(job("acme", 1, MOST_BYTES));
        queue.push(job("acme", 2, 1));
        assert_eq!(taken(&queue).len(), 1);
    }
}
