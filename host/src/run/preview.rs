//! What a replay of a delivery would do, without doing it: the plugin runs on the current version with the delivery's
//! journal, reads for real, and is stopped before its first new write. Nothing is stored.

use std::{fmt, sync::Arc};

use serde_json::Value;

use super::{
    calls::{Refused, RunCalls, RunStop},
    emit,
    end::failure_of,
    journal::{Entry, EntryOutcome, JournalMismatch},
    run::Left,
};
use crate::{
    directory::view::{InstallationView, TenantView},
    hub::Hub,
    plugin::{
        call::{CallEnd, Ended},
        host_calls::Stop,
        model::HttpRequest,
    },
    queue::reason::{Failure, ReasonClass},
    store::ledger::Claimed,
};

/// Previews of runs at once, of all tenants.
pub const AT_ONCE: usize = 4;

/// A write at which a preview ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Its method.
    pub method: String,
    /// The slot of its connection.
    pub connection: String,
    /// Its path without the query.
    pub path: String,
    /// Whether it repeats, under its key, a write of which nobody knows whether it happened.
    pub repeats: bool,
}

impl Reached {
    pub(super) fn of(request: &HttpRequest, repeats: bool) -> Self {
        Self {
            method: request.method.to_string(),
            connection: request.connection.clone(),
            path: request.path.split('?').next().unwrap_or_default().to_owned(),
            repeats,
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.method, self.connection, self.path)
    }
}

/// What a preview of a run found.
#[derive(Clone, Debug)]
pub enum Found {
    /// It would fail so.
    Fails(Failure),
    /// It would leave the path of its journal.
    Mismatch(JournalMismatch),
    /// It would go on to this write.
    Reaches(Reached),
    /// It would end well without a new write, and emit events of these types.
    Completes(Vec<String>),
    /// The hub could not tell.
    Unproven(String),
}

/// A preview of one run.
pub struct Preview {
    /// What it found.
    pub found: Found,
    /// The version that ran.
    pub version: Option<String>,
    /// The calls on the way, as on an attempt's page.
    pub calls: Vec<Value>,
    /// Recorded writes that a replay without the journal may make a second time.
    pub doubles: Vec<String>,
}

impl Preview {
    const fn without_run(found: Found) -> Self {
        Self { found, version: None, calls: Vec::new(), doubles: Vec::new() }
    }
}

/// Whether a write was, or may have been, executed.
#[must_use]
pub const fn is_effect(entry: &Entry) -> bool {
    matches!(entry.outcome, EntryOutcome::Confirmed | EntryOutcome::Intent | EntryOutcome::Unknown)
}

impl Hub {
    /// Runs the plugin as a replay of `claimed` by a person would, up to its first new write. `claimed` need not hold its
    /// delivery: nothing is written. Only GET and HEAD leave the hub; also a request that says `read-only` ends it.
    pub async fn preview_run(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        installation: &Arc<InstallationView>,
        claimed: &Claimed,
        discard_journal: bool,
    ) -> Preview {
        let mut doubles = Vec::new();
        let mut claimed = Claimed { replayed: true, ..claimed.clone() };
        if discard_journal {
            match self.stored_journal(tenant, &claimed).await {
                Ok(journal) => doubles.extend(journal.into_iter().flat_map(|journal| {
                    let entries = journal.record().entries.iter().filter(|entry| is_effect(entry));
                    entries.map(|entry| entry.call.clone()).collect::<Vec<_>>()
                })),
                Err(failure) => return Preview::without_run(Found::Fails(failure)),
            }
            claimed.journalled = false;
        }
        let installation = &self.running_for(installation, &claimed);
        let (journal, version) = match self.open_journal(tenant, installation, &claimed).await {
            Ok(opened) => opened,
            Err(failure) => return Preview { doubles, ..Preview::without_run(Found::Fails(failure)) },
        };
        let guest = match self.plugins.guest(&version.row.name, &version.row.version).await {
            Ok(guest) => guest,
            Err(error) => {
                let failure = Failure::new(ReasonClass::PluginBug, "not_loadable", error.to_string());
                return Preview { doubles, ..Preview::without_run(Found::Fails(failure)) };
            }
        };
        let calls = |calls: RunCalls| calls.dry();
        let call = self.call_for(tenant, installation, &version, &claimed, journal, calls);
        let ended = self.call_guest(&guest, call, &claimed).await;
        ended.count("preview");
        let (found, calls) = self.judge_preview(tenant, installation, &claimed, ended);
        Preview { found, version: Some(version.row.version.clone()), calls, doubles }
    }

    fn judge_preview(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        installation: &InstallationView,
        claimed: &Claimed,
        ended: Ended<Left>,
    ) -> (Found, Vec<Value>) {
        let sentence = ended.failure().unwrap_or_default();
        let Ok(calls) = ended.host.into_any().downcast::<RunCalls>() else {
            return (Found::Unproven("the run lost its host".to_owned()), Vec::new());
        };
        let result = match ended.result {
            Ok(left) => {
                calls.journal.finish().map(|()| left).map_err(|end| CallEnd::Stopped(Stop::new(RunStop::Mismatch(end))))
            }
            Err(end) => Err(end),
        };
        let found = match result {
            Ok(left) => match emit::check(self, tenant, installation, &calls.version, claimed, &left.events) {
                Ok(()) => Found::Completes(left.events.into_iter().map(|event| event.type_).collect()),
                Err(failure) => Found::Fails(failure),
            },
            Err(end) => match (calls.needs_login(), end) {
                (Some(Refused { text, .. }), _) => Found::Fails(Failure::new(ReasonClass::Auth, "needs_login", text)),
                (None, CallEnd::Error(error)) => Found::Fails(failure_of(&error)),
                (None, CallEnd::Stopped(stop)) => stopped(&stop),
                (None, CallEnd::HostFault(text)) => Found::Unproven(text),
                (None, end) => Found::Fails(Failure::new(ReasonClass::PluginBug, end.code().to_owned(), sentence)),
            },
        };
        (found, calls.summary(false))
    }
}

fn stopped(stop: &Stop) -> Found {
    match stop.0.downcast_ref::<RunStop>() {
        Some(RunStop::Mismatch(mismatch)) => Found::Mismatch(mismatch.clone()),
        Some(RunStop::Reached(reached)) => Found::Reaches(reached.clone()),
        Some(full @ RunStop::JournalFull) => {
            Found::Fails(Failure::new(ReasonClass::PluginBug, "journal_limit", full.to_string()))
        }
        Some(RunStop::LostSwap | RunStop::LostLease | RunStop::NoTurn(_) | RunStop::Store(_)) | None => {
            Found::Unproven(stop.to_string())
        }
    }
}
