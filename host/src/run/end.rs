//! How a run ended, and what that does to its delivery, its poll, its installation and its journal.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{
    calls::{Refused, RunCalls, RunStop},
    emit,
    run::{Left, data_field, export_of, private},
    shadow::{self, ShadowJob},
};
use crate::{
    clock::Timestamp,
    directory::view::{InstallationView, PluginVersion, TenantView},
    hub::Hub,
    id::Key,
    outbound::deliver::retry_table,
    plugin::{
        call::{CallEnd, Ended},
        model::{PluginError, PollOutput},
    },
    queue::{
        attempt::AttemptEnd,
        reason::{Failure, ReasonClass},
        retry::{self, RetryTable},
    },
    store::ledger::{AttemptRow, Claimed, Effect, JournalChange, Outcome, PollSettled},
};

impl Hub {
    /// The end of an attempt whose plugin never ran. A removal goes on without it, and a schedule too.
    pub(super) fn failed_to_open(
        &self,
        claimed: &Claimed,
        installation: &InstallationView,
        failure: Failure,
        started_at: Timestamp,
    ) -> AttemptEnd {
        let outcome = self.try_again(claimed, installation, failure.clone(), None);
        let attempt = Self::attempt_row(Some(failure), None, None, started_at);
        let mut end = AttemptEnd::plain(outcome, Some(attempt));
        end.plugin = Some(installation.row.plugin.clone());
        self.lifecycle_ended(claimed, &mut end);
        self.poll_ended(installation, claimed, &mut end);
        end
    }

    const fn attempt_row(
        failure: Option<Failure>,
        plugin_version: Option<String>,
        detail: Option<String>,
        started_at: Timestamp,
    ) -> AttemptRow {
        AttemptRow { started_at, duration_us: 0, failure, status: None, plugin_version, detail }
    }

    /// Waiting by the retry table, or dead when it ends.
    fn try_again(
        &self,
        claimed: &Claimed,
        installation: &InstallationView,
        failure: Failure,
        after: Option<Duration>,
    ) -> Outcome {
        let table = retry_table(installation.row.retry_schedule.as_deref(), RetryTable::Plugin);
        match retry::next_delay(&table, claimed.tries, after, self.time_factor, self.ids.fraction()) {
            Some(delay) => Outcome::Waiting { run_at: self.queue_clock.now().after(delay), failure, burnt: true },
            None => Outcome::Dead(failure),
        }
    }

    pub(super) async fn judge_run(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        installation: &InstallationView,
        version: &Arc<PluginVersion>,
        claimed: &Claimed,
        ended: Ended<Left>,
        started_at: Timestamp,
    ) -> AttemptEnd {
        let sentence = ended.failure();
        let Ended { result, host, usage, stderr, .. } = ended;
        let Ok(calls) = host.into_any().downcast::<RunCalls>() else {
            let failure = Failure::new(ReasonClass::PluginBug, "host_fault", "the run lost its host");
            return AttemptEnd::plain(Outcome::Dead(failure), None);
        };
        let mut calls = *calls;
        let result = match result {
            Ok(left) => match calls.journal.finish() {
                Ok(()) => Ok(left),
                Err(mismatch) => {
                    Err(CallEnd::Stopped(crate::plugin::host_calls::Stop::new(RunStop::Mismatch(mismatch))))
                }
            },
            Err(end) => Err(end),
        };
        let trapped = matches!(result, Err(CallEnd::Trap { .. } | CallEnd::Limit { .. } | CallEnd::Malformed { .. }));
        let function = export_of(claimed.event.event_type.as_str());
        let broken = self.traps.note(&tenant.row.id, &version.row.name, &version.row.version, function, trapped);
        let live = shadow::live_end(installation, version, claimed, &result);
        let details = match &result {
            Err(CallEnd::Error(error)) => error.detail().details.clone(),
            _ => None,
        };
        let mut end = match result {
            Ok(left) => match emit::prepare(self, tenant, installation, version, claimed, left.events).await {
                Ok(emitted) => self.succeeded(installation, claimed, left.poll, emitted, &mut calls),
                Err(failure) => AttemptEnd::plain(Outcome::Dead(failure), None),
            },
            Err(end) => self.failed(installation, claimed, end, sentence.as_deref().unwrap_or_default(), &mut calls),
        };
        if broken {
            end.effects.push(Effect::VersionBroken(version.row.name.clone(), version.row.version.clone()));
        }
        self.lifecycle_ended(claimed, &mut end);
        self.poll_ended(installation, claimed, &mut end);
        let failure = match &end.outcome {
            Outcome::Delivered => None,
            Outcome::Waiting { failure, .. } | Outcome::Dead(failure) => Some(failure.clone()),
            Outcome::Released { failure } => failure.clone(),
        };
        let settles_silently =
            matches!(&end.outcome, Outcome::Released { failure: None } | Outcome::Waiting { burnt: false, .. });
        if !settles_silently {
            let detail = json!({
                "usage": { "cpu_ms": usage.cpu_ms, "wall_ms": usage.wall_ms, "peak_memory_bytes": usage.peak_memory_bytes,
                    "http_calls": usage.http_calls, "kv_operations": usage.kv_operations },
                "calls": calls.summary(failure.is_some()),
                "details": details,
                "log": calls.log_lines(),
                "stderr": stderr,
                "emitted": end.emitted.iter().map(|event| json!({"id": event.event().id, "type": event.event().event_type})).collect::<Vec<_>>(),
            });
            let ran = Some(version.row.version.clone());
            end.attempt = Some(Self::attempt_row(failure, ran, Some(detail.to_string()), started_at));
        }
        end.plugin = Some(installation.row.plugin.clone());
        end.journal = self.journal_change(tenant, claimed, &calls);
        end.shadow = live.and_then(|live| {
            let refused = match &end.outcome {
                Outcome::Delivered => None,
                Outcome::Dead(failure) => Some(&*failure.code),
                // It runs again, and the shadow follows the run that ends the delivery.
                Outcome::Waiting { .. } | Outcome::Released { .. } => return None,
            };
            ShadowJob::following(installation, version, claimed, calls.journal.record(), live, refused)
        });
        end
    }

    fn journal_change(&self, tenant: &TenantView, claimed: &Claimed, calls: &RunCalls) -> JournalChange {
        if !calls.journal.has_effects() {
            // The intents of this attempt were stored without their answers; the writes were refused or never sent.
            let stored = claimed.journalled || calls.journal.was_intended();
            return if stored { JournalChange::Clear } else { JournalChange::Keep };
        }
        match calls.sealed_journal(&tenant.key) {
            Ok(sealed) => JournalChange::Put(sealed),
            Err(error) => {
                // What the last intent committed stays: the run is served less, but never wrongly.
                tracing::error!(%error, delivery.id = %claimed.delivery, "a journal could not be sealed");
                JournalChange::Keep
            }
        }
    }

    fn succeeded(
        &self,
        installation: &InstallationView,
        claimed: &Claimed,
        poll: Option<PollOutput>,
        emitted: Vec<crate::accept::Prepared>,
        calls: &mut RunCalls,
    ) -> AttemptEnd {
        let mut end = AttemptEnd::plain(Outcome::Delivered, None);
        end.emitted = emitted;
        end.kv = calls.take_staged();
        if let Some(output) = poll {
            let schedule = schedule_of(claimed);
            let now = self.queue_clock.now();
            let regular = self.next_run(claimed, installation, now);
            let sooner =
                output.next_in_ms.map(|ms| now.after(self.time_factor.scale(Duration::from_millis(ms.max(1000)))));
            let due_at = if output.has_more { Some(now) } else { [regular, sooner].into_iter().flatten().min() };
            end.poll = Some(PollSettled {
                schedule,
                cursor: Some(output.cursor),
                due_at,
                succeeded_at: Some(self.clock.now()),
            });
        }
        if claimed.event.event_type.as_str() == private::SCHEDULE_DUE {
            let due_at = self.next_run(claimed, installation, self.queue_clock.now());
            let succeeded_at = Some(self.clock.now());
            end.poll = Some(PollSettled { schedule: schedule_of(claimed), cursor: None, due_at, succeeded_at });
        }
        if let Some(Refused { connection, text, version }) = calls.needs_login() {
            // The plugin went on without it; its next calls would be refused as well.
            end.effects.push(Effect::ConnectionNeedsLogin(connection, text, version));
        }
        end
    }

    /// When the schedule that a run belongs to is due again.
    fn next_run(&self, claimed: &Claimed, installation: &InstallationView, now: Timestamp) -> Option<Timestamp> {
        let view = self.directory.view();
        let tenant = view.tenants.get(&claimed.event.tenant)?;
        // Its times may have been changed while it ran.
        let installation = tenant.installations.get(&installation.row.plugin)?;
        self.next_due(tenant, installation, &schedule_of(claimed), now)
    }

    /// A poll that died must not stop its schedule.
    fn poll_ended(&self, installation: &InstallationView, claimed: &Claimed, end: &mut AttemptEnd) {
        let died = matches!(end.outcome, Outcome::Dead(_));
        if died && private::is_scheduled(claimed.event.event_type.as_str()) {
            let schedule = schedule_of(claimed);
            let due_at = self.next_run(claimed, installation, self.queue_clock.now());
            end.poll = Some(PollSettled { schedule, cursor: None, due_at, succeeded_at: None });
        }
    }

    fn lifecycle_ended(&self, claimed: &Claimed, end: &mut AttemptEnd) {
        let plugin = match &claimed.lane.target {
            crate::event::Target::Plugin(name) => name.to_string(),
            crate::event::Target::Endpoint(_) | crate::event::Target::Unrouted => return,
        };
        let result = match &end.outcome {
            Outcome::Delivered => Ok(()),
            Outcome::Dead(failure) => Err(failure.message.clone()),
            Outcome::Waiting { .. } | Outcome::Released { .. } => return,
        };
        match claimed.event.event_type.as_str() {
            private::INSTALL => end.effects.push(Effect::InstallationState(plugin, result)),
            private::UPGRADE => {
                let to = data_field(claimed, "to_version").unwrap_or_default();
                end.effects.push(Effect::InstallationUpgraded(plugin, to, result));
            }
            // After its retry table the removal goes on without it.
            private::UNINSTALL => end.effects.push(Effect::InstallationRemoved(plugin)),
            _ => {}
        }
    }

    fn failed(
        &self,
        installation: &InstallationView,
        claimed: &Claimed,
        end: CallEnd,
        sentence: &str,
        calls: &mut RunCalls,
    ) -> AttemptEnd {
        let code = end.code().to_owned();
        let mut settled = match end {
            CallEnd::Error(error) => self.disposed(installation, claimed, error),
            CallEnd::Stopped(stop) => match stop.0.downcast_ref::<RunStop>() {
                Some(RunStop::Mismatch(mismatch)) => {
                    let failure = Failure::new(ReasonClass::PluginBug, "journal_mismatch", mismatch.to_string());
                    AttemptEnd::plain(Outcome::Dead(failure), None)
                }
                Some(RunStop::LostSwap | RunStop::LostLease) => {
                    AttemptEnd::plain(Outcome::Released { failure: None }, None)
                }
                Some(RunStop::NoTurn(wait)) => AttemptEnd::plain(self.without_a_turn(*wait), None),
                Some(full @ RunStop::JournalFull) => {
                    let failure = Failure::new(ReasonClass::PluginBug, "journal_limit", full.to_string());
                    AttemptEnd::plain(self.try_again(claimed, installation, failure, None), None)
                }
                Some(RunStop::Store(_) | RunStop::Reached(_)) | None => {
                    let failure = Failure::new(ReasonClass::ProviderDown, "database", sentence);
                    AttemptEnd::plain(self.try_again(claimed, installation, failure, None), None)
                }
            },
            CallEnd::HostFault(_) => {
                let failure = Failure::new(ReasonClass::PluginBug, "host_fault", sentence);
                AttemptEnd::plain(self.try_again(claimed, installation, failure, None), None)
            }
            CallEnd::Trap { .. } | CallEnd::Limit { .. } | CallEnd::Malformed { .. } | CallEnd::MissingExport(_) => {
                let failure = Failure::new(ReasonClass::PluginBug, code, sentence);
                AttemptEnd::plain(self.try_again(claimed, installation, failure, None), None)
            }
        };
        if let Some(Refused { connection, text, version }) = calls.needs_login() {
            // The connection's own state says it, whatever the plugin made of the error.
            let failure = Failure::new(ReasonClass::Auth, "needs_login", text.clone());
            settled.outcome = if requires(installation, connection) {
                Outcome::Released { failure: Some(failure) }
            } else {
                // A connection that the plugin can do without holds nothing, so the retry table spaces the attempts.
                self.try_again(claimed, installation, failure, None)
            };
            // Nor is the installation blocked: what waits runs by itself after the login, without another person's word.
            settled.effects.retain(|effect| !matches!(effect, Effect::InstallationBlocked(..)));
            settled.effects.push(Effect::ConnectionNeedsLogin(connection, text, version));
        }
        settled
    }

    /// The delivery comes back when its connection has a turn, and no try is lost. The pace is real time and not scaled.
    fn without_a_turn(&self, wait: Duration) -> Outcome {
        let text = "the connection's rate is used up; it goes on by itself".to_owned();
        let failure = Failure::new(ReasonClass::RateLimited, "connection_pace", text);
        Outcome::Waiting { run_at: self.queue_clock.now().after(wait), failure, burnt: false }
    }

    /// Carries out the disposition that a plugin returned.
    fn disposed(&self, installation: &InstallationView, claimed: &Claimed, error: PluginError) -> AttemptEnd {
        let failure = failure_of(&error);
        let outcome = match error {
            PluginError::Reject(_) => Outcome::Dead(failure),
            PluginError::Retry { after_ms, .. } => {
                self.try_again(claimed, installation, failure, after_ms.map(Duration::from_millis))
            }
            PluginError::Other(_) => self.try_again(claimed, installation, failure, None),
            PluginError::NeedsAttention(_) => {
                let mut end = AttemptEnd::plain(Outcome::Released { failure: Some(failure.clone()) }, None);
                end.effects.push(Effect::InstallationBlocked(installation.row.plugin.clone(), failure));
                return end;
            }
        };
        AttemptEnd::plain(outcome, None)
    }
}

/// Whether the loss of a connection holds what the installation has to do.
fn requires(installation: &InstallationView, connection: Key) -> bool {
    let Some(version) = &installation.version else { return false };
    let mut required = version.manifest.connections.iter().filter(|spec| spec.required);
    required.any(|spec| installation.row.connections.get(&spec.name) == Some(&connection))
}

/// A plugin's error as it is stored: its own class counts as `plugin_bug` only where it names none of ours.
#[must_use]
pub fn failure_of(error: &PluginError) -> Failure {
    let detail = error.detail();
    let reason = detail.reason.as_str().parse().unwrap_or(ReasonClass::ProviderDown);
    Failure::new(reason, detail.code.clone(), detail.message.clone())
}

fn schedule_of(claimed: &Claimed) -> String {
    let data: serde_json::Value = serde_json::from_str(&claimed.event.data).unwrap_or_default();
    data.get("schedule").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}
