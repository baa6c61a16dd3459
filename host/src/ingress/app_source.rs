//! A request to an app: one registration at a provider, shared by tenants. The plugin verifies it with the app's secrets
//! and says to which account each event belongs; here the accounts become tenants, and everything is accepted at once.

use std::{collections::BTreeSet, sync::Arc};

use http::StatusCode;

use super::{
    app_calls::AppCalls,
    receive::inbound,
    verdict::{Said, Verdict, said},
};
use crate::{
    accept::Prepared,
    directory::view::{AppSourceView, AppView, InstallationView, PluginVersion, TenantView, View},
    failpoint::{self, Point},
    hub::Hub,
    id::Key,
    observe::metrics,
    plugin::{
        call::{Call, Ended, PluginLabel},
        limits::Limits,
        model::{CallContext, EmittedEvent, Received, SourceRef},
        virtual_time::VirtualClock,
    },
    queue::reason::{Failure, ReasonClass},
    run::{emit, journal::millis},
    store::{
        StoreError,
        ledger::{Accept, RawRequest, ScheduleName},
    },
};

/// Unknown accounts of one request that are named to the operator.
const NAMED: usize = 3;

/// What the events of a request become.
#[derive(Default)]
struct Mapped {
    prepared: Vec<Prepared>,
    receivers: Vec<(Arc<TenantView>, Arc<InstallationView>)>,
    /// Events that a tenant's installation may not emit, with code and text. They are that tenant's loss alone.
    refused: Vec<(&'static str, String)>,
    /// Accounts that no installation uses, and how many events were for them.
    unknown: BTreeSet<String>,
    lost: u64,
}

impl Hub {
    /// Runs a request through the `receive` of the app's plugin and stores what it says. `parked` names the parked request
    /// that it was.
    pub(super) async fn judge_app_request(
        self: &Arc<Self>,
        source: &AppSourceView,
        raw: &RawRequest,
        parked: Option<Key>,
    ) -> Result<Verdict, StoreError> {
        let view = self.directory.view();
        let neither = |code: &str, text: &str| Ok(Verdict::Neither(Failure::new(ReasonClass::Config, code, text)));
        let Some(app) = view.apps.get(&source.app).cloned() else {
            return neither("app_deleted", "the app was deleted");
        };
        let Some(version) = version_for(&view, &app) else {
            return neither("no_version", "the app's plugin has no version that takes requests");
        };
        let ended = match self.call_app_receive(&app, &version, raw).await {
            Ok(ended) => ended,
            Err(failure) => return Ok(Verdict::Neither(failure)),
        };
        let said = match said(ended) {
            Ok(said) => said,
            Err(verdict) => return Ok(verdict),
        };
        self.store_for_accounts(&app, &version, raw, parked, said).await
    }

    async fn call_app_receive(
        self: &Arc<Self>,
        app: &Arc<AppView>,
        version: &Arc<PluginVersion>,
        raw: &RawRequest,
    ) -> Result<Ended<Received>, Failure> {
        let guest = self
            .plugins
            .guest(&version.row.name, &version.row.version)
            .await
            .map_err(|error| Failure::new(ReasonClass::PluginBug, "not_loadable", error.to_string()))?;
        let url = |id: &str| format!("{}/in/{id}", self.public_url);
        let sources = app.row.sources.iter();
        let context = CallContext {
            tenant_id: String::new(),
            installation_id: String::new(),
            correlation_id: raw.correlation_id.to_string(),
            traceparent: crate::observe::trace::new_traceparent(&self.ids),
            reference: raw.key.to_string(),
            time_ms: millis(raw.received_at),
            sources: sources
                .map(|row| SourceRef { id: row.id.clone(), name: row.name.clone(), url: url(&row.id) })
                .collect(),
            config: "{}".to_owned(),
        };
        let calls =
            AppCalls { hub: self.clone(), app: app.clone(), version: version.clone(), received_at: raw.received_at };
        let call = Call {
            context,
            limits: Limits::resolve(&version.manifest.limits),
            seed: self.ids.random(),
            clock: VirtualClock::starting_at(millis(raw.received_at)),
            host: Box::new(calls),
            plugin: PluginLabel { name: version.row.name.clone(), version: version.row.version.clone() },
        };
        let ended = self.sandbox.receive(&guest, inbound(raw), call).await;
        ended.count("receive");
        Ok(ended)
    }

    /// Accepts everything that the request said in one transaction, whatever tenants it is for.
    async fn store_for_accounts(
        self: &Arc<Self>,
        app: &AppView,
        version: &PluginVersion,
        raw: &RawRequest,
        parked: Option<Key>,
        said: Said,
    ) -> Result<Verdict, StoreError> {
        let Said { events, reply, poll_now } = said;
        let mapped = match self.map_accounts(app, version, raw, events).await {
            Ok(mapped) => mapped,
            Err(failure) => return Ok(Verdict::Neither(failure)),
        };
        let Mapped { prepared, receivers, refused, unknown, lost } = mapped;
        for (code, reason) in refused {
            self.note_rejection(&raw.tenant, &raw.source_id, StatusCode::OK, code, reason, 0, None).await;
        }
        if lost > 0 {
            metrics::unknown_accounts(lost);
            let reason = in_words(app, &unknown);
            let size = raw.body.len() as u64;
            self.note_rejection(&raw.tenant, &raw.source_id, StatusCode::OK, "unknown_account", reason, size, None)
                .await;
        }
        let polls_now = receivers.iter().flat_map(|(tenant, installation)| {
            let has = move |name: &&String| installation.row.schedules.iter().any(|schedule| schedule.name == **name);
            poll_now.iter().filter(has).map(move |schedule| ScheduleName {
                tenant: tenant.row.id.clone(),
                plugin: installation.row.plugin.clone(),
                schedule: schedule.clone(),
            })
        });
        let accept = Accept {
            request: (!prepared.is_empty()).then(|| raw.clone()),
            events: prepared.iter().map(Prepared::to_new_event).collect(),
            polls_now: polls_now.collect(),
            parked: parked.map(|key| (raw.tenant.clone(), key)),
            polls_started: Vec::new(),
        };
        let reply = reply.filter(|reply| (200..300).contains(&reply.status));
        if accept.events.is_empty() && accept.polls_now.is_empty() && accept.parked.is_none() {
            return Ok(Verdict::Answered(reply));
        }
        let polls = !accept.polls_now.is_empty();
        let accepted = match self.store.accept(accept).await {
            Ok(accepted) => accepted,
            // One of its tenants was deleted meanwhile; without it the request is good when it is judged again.
            Err(StoreError::NotFound) => {
                let text = "a tenant of the request was deleted while it was judged";
                return Ok(Verdict::Neither(Failure::new(ReasonClass::Config, "tenant_deleted", text)));
            }
            Err(error) => return Err(error),
        };
        self.emitted_stored(prepared, accepted);
        failpoint::pass(Point::ReceiveBeforeAnswer).await?;
        if polls {
            self.polls_moved.notify_one();
        }
        Ok(Verdict::Answered(reply))
    }

    /// Finds who each event is for. An event without an account, or one that breaks its schema, spoils the request: it is
    /// parked until the plugin is mended. One for which a tenant's admin has not granted what it takes is left out, since
    /// the others must not wait for that admin.
    async fn map_accounts(
        self: &Arc<Self>,
        app: &AppView,
        version: &PluginVersion,
        raw: &RawRequest,
        events: Vec<EmittedEvent>,
    ) -> Result<Mapped, Failure> {
        let view = self.directory.view();
        let origin = emit::Origin {
            correlation_id: raw.correlation_id.clone(),
            traceparent: crate::observe::trace::new_traceparent(&self.ids).into(),
            cause: None,
            request: Some(raw.key),
            hop: 0,
            time: raw.received_at,
            version,
        };
        let mut mapped = Mapped::default();
        for mut event in events {
            let account = event.account.take().filter(|account| !account.is_empty()).ok_or_else(|| {
                let text = format!("{} received for an app and named no account", version.row.name);
                Failure::new(ReasonClass::PluginBug, "emit_account", text)
            })?;
            let Some((tenant, installation)) = receiver(&view, app, &version.row.name, &account) else {
                mapped.lost += 1;
                if mapped.unknown.len() < NAMED {
                    mapped.unknown.insert(account);
                }
                continue;
            };
            match emit::prepare_one(self, &tenant, &installation, &origin, event).await {
                Ok(prepared) => mapped.prepared.push(prepared),
                Err(failure) => match grant_of_one_tenant(&failure) {
                    Some(code) => mapped.refused.push((code, format!("{}: {}", tenant.row.id, failure.message))),
                    None => return Err(failure),
                },
            }
            if mapped.receivers.iter().all(|(known, _)| known.row.id != tenant.row.id) {
                mapped.receivers.push((tenant, installation));
            }
        }
        Ok(mapped)
    }
}

impl Hub {
    /// The name of the plugin that takes an app's requests, for the page of what is parked.
    pub(super) fn plugin_of_app(&self, source: &AppSourceView) -> String {
        let view = self.directory.view();
        view.apps.get(&source.app).and_then(|app| app.row.plugin.clone()).unwrap_or_default()
    }
}

/// The newest version of the app's plugin, if it takes requests.
fn version_for(view: &View, app: &AppView) -> Option<Arc<PluginVersion>> {
    let versions = view.plugins.get(app.row.plugin.as_ref()?)?;
    crate::directory::newest(versions).filter(|version| version.exports.ingest).cloned()
}

/// The tenant whose connection has this account, and its installation of the app's plugin that uses the connection.
/// (provider, account) is unique among all connections.
fn receiver(
    view: &View,
    app: &AppView,
    plugin: &str,
    account: &str,
) -> Option<(Arc<TenantView>, Arc<InstallationView>)> {
    let (tenant, connection) = view.account(&app.row.provider, account)?;
    let installation = tenant.installations.get(plugin)?;
    let uses = installation.row.connections.values().any(|bound| *bound == connection);
    uses.then(|| (tenant.clone(), installation.clone()))
}

/// The code of a failure that another tenant's grants would not have brought.
fn grant_of_one_tenant(failure: &Failure) -> Option<&'static str> {
    ["emit_not_granted", "emit_emergency"].into_iter().find(|code| *code == failure.code)
}

/// What the operator reads of accounts that nobody uses. An address is not shown whole: it names a person.
fn in_words(app: &AppView, unknown: &BTreeSet<String>) -> String {
    let shown = |account: &String| match account.split_once('@') {
        Some((name, domain)) => format!("{}***@{domain}", name.chars().next().unwrap_or_default()),
        None => account.clone(),
    };
    let names: Vec<String> = unknown.iter().map(shown).collect();
    format!("no installation uses the account {} at {}", names.join(", "), app.row.provider)
}
