//! One plugin run, from its record to its end.

use std::sync::Arc;

use super::{
    calls::{RunCalls, RunStop},
    journal::{Journal, Record, millis},
};
use crate::{
    connection::vault::Place,
    directory::view::{InstallationView, PluginVersion, TenantView},
    hub::Hub,
    plugin::{
        call::{Call, Ended, PluginLabel},
        limits::Limits,
        model::{CallContext, EmittedEvent, HandledEvent, PollOutput, SourceRef},
        virtual_time::VirtualClock,
    },
    queue::{
        attempt::AttemptEnd,
        reason::{Failure, ReasonClass},
    },
    store::{StoreError, ledger::Claimed},
};

/// The private events with which the host makes a plugin run.
pub mod private {
    /// A poll is due; data `{"schedule", "cursor", "due_at", "missed"}`.
    pub const POLL_DUE: &str = "_poll.due";
    /// A rule is due at a time; data as that of a poll.
    pub const SCHEDULE_DUE: &str = "_schedule.due";
    /// The plugin was switched on.
    pub const INSTALL: &str = "_lifecycle.install";
    /// The plugin is to be removed.
    pub const UNINSTALL: &str = "_lifecycle.uninstall";
    /// Another version takes over; data `{"from_version", "to_version"}`.
    pub const UPGRADE: &str = "_lifecycle.upgrade";

    /// Whether a schedule made it.
    #[must_use]
    pub fn is_scheduled(event_type: &str) -> bool {
        matches!(event_type, POLL_DUE | SCHEDULE_DUE)
    }

    /// Whether it is a call of `lifecycle`.
    #[must_use]
    pub fn is_lifecycle(event_type: &str) -> bool {
        matches!(event_type, INSTALL | UNINSTALL | UPGRADE)
    }
}

/// What a successful call leaves, whatever its kind.
pub(super) struct Left {
    pub(super) events: Vec<EmittedEvent>,
    pub(super) poll: Option<PollOutput>,
}

impl Hub {
    /// Runs the plugin of an installation for a claimed delivery.
    pub async fn run(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        installation: &Arc<InstallationView>,
        claimed: &Claimed,
    ) -> AttemptEnd {
        let (started_at, started) = (self.clock.now(), self.clock.monotonic());
        let installation = &self.running_for(installation, claimed);
        let opened = match self.open_journal(tenant, installation, claimed).await {
            Ok(opened) => opened,
            Err(failure) => return self.failed_to_open(claimed, installation, failure, started_at),
        };
        let (journal, version) = opened;
        let guest = match self.plugins.guest(&version.row.name, &version.row.version).await {
            Ok(guest) => guest,
            Err(error) => {
                let failure = Failure::new(ReasonClass::PluginBug, "not_loadable", error.to_string());
                return self.failed_to_open(claimed, installation, failure, started_at);
            }
        };
        let call = self.call_for(tenant, installation, &version, claimed, journal, |calls| calls);
        let ended = self.call_guest(&guest, call, claimed).await;
        ended.count(export_of(claimed.event.event_type.as_str()));
        let mut end = self.judge_run(tenant, installation, &version, claimed, ended, started_at).await;
        if let Some(attempt) = &mut end.attempt {
            attempt.duration_us = u64::try_from((self.clock.monotonic() - started).as_micros()).unwrap_or(u64::MAX);
        }
        end
    }

    /// The call of one run, whose imports are answered from `journal` and then for real.
    pub(super) fn call_for(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        installation: &Arc<InstallationView>,
        version: &Arc<PluginVersion>,
        claimed: &Claimed,
        journal: Journal,
        arrange: impl FnOnce(RunCalls) -> RunCalls,
    ) -> Call {
        let record = journal.record();
        let clock = VirtualClock::starting_at(record.started_at_ms);
        let seed = record.seed;
        let context = context(tenant, installation, claimed, record);
        let calls = RunCalls::new(
            self.clone(),
            tenant.clone(),
            installation.clone(),
            version.clone(),
            claimed.clone(),
            journal,
            clock.clone(),
        );
        Call {
            context,
            limits: Limits::resolve(&version.manifest.limits),
            seed,
            clock,
            host: Box::new(arrange(calls)),
            plugin: PluginLabel { name: version.row.name.clone(), version: version.row.version.clone() },
        }
    }

    /// Calls the export that the event is for.
    pub(super) async fn call_guest(
        &self,
        guest: &Arc<crate::plugin::guest::Guest>,
        call: Call,
        claimed: &Claimed,
    ) -> Ended<Left> {
        let event = &claimed.event;
        let field = |name: &str| data_field(claimed, name);
        let plain = |output: crate::plugin::model::Output| Left { events: output.events, poll: None };
        match event.event_type.as_str() {
            private::POLL_DUE => {
                let (schedule, cursor) = (field("schedule").unwrap_or_default(), field("cursor"));
                let ended = self.sandbox.poll(guest, schedule, cursor, call).await;
                map(ended, |mut output: PollOutput| Left {
                    events: std::mem::take(&mut output.events),
                    poll: Some(output),
                })
            }
            private::INSTALL => map(self.sandbox.install(guest, call).await, plain),
            private::UNINSTALL => map(self.sandbox.uninstall(guest, call).await, plain),
            private::UPGRADE => {
                let from = field("from_version").unwrap_or_default();
                map(self.sandbox.upgrade(guest, from, call).await, plain)
            }
            _ => {
                let attributes = self.matched_rules(claimed, &call.context.config);
                map(self.sandbox.handle(guest, handled(claimed, attributes), call).await, plain)
            }
        }
    }

    /// Opens the stored record or begins one, and finds the version that it runs on.
    pub(super) async fn open_journal(
        &self,
        tenant: &TenantView,
        installation: &InstallationView,
        claimed: &Claimed,
    ) -> Result<(Journal, Arc<PluginVersion>), Failure> {
        let current = installation.version.clone();
        let fresh = |version: &PluginVersion| {
            Journal::begin(Record {
                started_at_ms: millis(self.clock.now()),
                seed: self.ids.random(),
                version: version.row.version.clone(),
                config: installation.row.config.clone(),
                sources: self.sources(installation),
                traceparent: claimed.event.traceparent.to_string(),
                entries: Vec::new(),
            })
        };
        let none = || Failure::new(ReasonClass::Config, "no_version", "the plugin has no version to run");
        if !claimed.journalled {
            let version = current.ok_or_else(none)?;
            return Ok((fresh(&version), version));
        }
        let Some(mut journal) = self.stored_journal(tenant, claimed).await? else {
            let version = current.ok_or_else(none)?;
            return Ok((fresh(&version), version));
        };
        if claimed.replayed {
            let version = current.ok_or_else(none)?;
            journal.move_to(&version.row.version, &installation.row.config);
            return Ok((journal, version));
        }
        let wanted = journal.record().version.clone();
        let view = self.directory.view();
        let version = view.version(&installation.row.plugin, &wanted).cloned().ok_or_else(|| {
            let text = format!("the journal belongs to version {wanted}, which is gone: replay on the current version");
            Failure::new(ReasonClass::Config, "version_gone", text)
        })?;
        Ok((journal, version))
    }

    /// The stored record of a delivery, if it has a confirmed or unresolved write.
    pub(super) async fn stored_journal(
        &self,
        tenant: &TenantView,
        claimed: &Claimed,
    ) -> Result<Option<Journal>, Failure> {
        let broken = |text: String| Failure::new(ReasonClass::PluginBug, "journal_unreadable", text);
        let sealed = match self.store.journal(&tenant.row.id, claimed.delivery).await {
            Ok(Some(sealed)) => sealed,
            Ok(None) => return Ok(None),
            Err(error) => return Err(Failure::new(ReasonClass::ProviderDown, "database", error.to_string())),
        };
        let row = claimed.delivery.to_string();
        let plain = self
            .vault
            .open(&tenant.key, journal_place(tenant.row.id.as_str(), &row), &sealed)
            .map_err(|error| broken(error.to_string()))?;
        let record = serde_json::from_slice(&plain).map_err(|error| broken(error.to_string()))?;
        Ok(Journal::reopen(record))
    }

    /// The public addresses of an installation.
    #[must_use]
    pub fn sources(&self, installation: &InstallationView) -> Vec<SourceRef> {
        let url = |id: &str| format!("{}/in/{id}", self.public_url);
        let sources = installation.row.sources.iter();
        sources.map(|row| SourceRef { id: row.id.clone(), name: row.name.clone(), url: url(&row.id) }).collect()
    }
}

/// What a call is about, from the delivery and its record.
pub(super) fn context(
    tenant: &TenantView,
    installation: &InstallationView,
    claimed: &Claimed,
    record: &Record,
) -> CallContext {
    CallContext {
        tenant_id: tenant.row.id.to_string(),
        installation_id: format!("{}/{}", tenant.row.id, installation.row.plugin),
        correlation_id: claimed.event.correlation_id.to_string(),
        traceparent: record.traceparent.clone(),
        reference: claimed.delivery.to_string(),
        time_ms: record.started_at_ms,
        sources: record.sources.clone(),
        config: record.config.clone(),
    }
}

/// A text of a private event's data.
pub(super) fn data_field(claimed: &Claimed, name: &str) -> Option<String> {
    let data: serde_json::Value = serde_json::from_str(&claimed.event.data).unwrap_or_default();
    data.get(name).and_then(serde_json::Value::as_str).map(str::to_owned)
}

/// The place of a delivery's journal in the vault's associated data.
#[must_use]
pub const fn journal_place<'a>(tenant: &'a str, delivery: &'a str) -> Place<'a> {
    Place { tenant, table: "journal", row: delivery.as_bytes(), column: "record" }
}

fn handled(claimed: &Claimed, attributes: Option<String>) -> HandledEvent {
    let event = &claimed.event;
    HandledEvent {
        id: event.id.to_string(),
        type_: event.event_type.to_string(),
        source: event.source.to_string(),
        subject: event.subject.clone(),
        time_ms: millis(event.time),
        ordering_key: event.ordering_key.clone(),
        data: event.data.to_string(),
        extensions: attributes.or_else(|| event.extensions.clone()),
    }
}

/// The export that an event is for, as the metrics name it.
pub(super) fn export_of(event_type: &str) -> &'static str {
    match event_type {
        private::POLL_DUE => "poll",
        private::INSTALL => "install",
        private::UNINSTALL => "uninstall",
        private::UPGRADE => "upgrade",
        _ => "handle",
    }
}

fn map<T, U>(ended: Ended<T>, take: impl FnOnce(T) -> U) -> Ended<U> {
    let Ended { result, host, usage, stderr, plugin } = ended;
    Ended { result: result.map(take), host, usage, stderr, plugin }
}

/// The store failed under a run.
impl From<StoreError> for RunStop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
