//! Installations: plugins switched on for a tenant.

use std::collections::BTreeMap;

use axum::{
    Json as Out,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{
    Api, Changing as _,
    auth::{In, Manage, Need as _, Read},
    body::{Json, Params},
    connection_probe::{self, Check},
    installation_check::Setting,
    paging::{PageParams, Paged, paged_by_name},
    problem::{Answer, Problem},
    routes::{Routes, doc},
};
use crate::{
    clock::Timestamp,
    directory::view::{InstallationView, PluginVersion, TenantView},
    event::Target,
    plugin::model::SourceRef,
    run::run::private,
    schedule::timetable::Timetable,
    store::registry::{InstallState, InstallationRow, Mode, QueueRow, ScheduleRow, SourceRow},
};

const TAG: &str = "installations";

pub(super) fn routes(routes: Routes) -> Routes {
    let one = "/v1/tenants/{tenant}/plugins/{name}";
    routes
        .get(
            "/v1/tenants/{tenant}/plugins",
            doc(TAG, Read::SCOPE, "List a tenant's installations")
                .query::<PageParams>()
                .lists::<Installation>("A page."),
            list,
        )
        .get(one, doc(TAG, Read::SCOPE, "Read an installation").answers::<Installation>(200, "The installation."), read)
        .put(
            one,
            doc(
                TAG,
                Manage::SCOPE,
                "Install a plugin, or replace its installation. Also takes it out of `broken` and `blocked`.",
            )
            .body::<InstallationIn>()
            .answers::<Installation>(200, "Replaced.")
            .answers::<Installation>(201, "Installed."),
            put,
        )
        .delete(
            one,
            doc(TAG, Manage::SCOPE, "Remove an installation, after its `uninstall` where it has one")
                .answers_as(204, "Removed.", None)
                .answers_as(202, "`uninstall` runs; then it is removed.", None),
            delete,
        )
}

/// What an installation shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InstallationIn {
    /// `live`, or `off`: requests are parked, deliveries held, polls stopped.
    #[serde(default = "live")]
    #[schema(value_type = String, example = "live")]
    pub(super) mode: Mode,
    /// The pinned version; null follows the newest.
    pub(super) version: Option<String>,
    /// A version that runs on the same events after the one in force, for comparison: it sends nothing and keeps nothing.
    pub(super) shadow_version: Option<String>,
    /// As the plugin's config schema says.
    #[serde(default)]
    pub(super) config: Map<String, Value>,
    /// `<slot>` or `<slot>@<source>` to the id of a connection.
    #[serde(default)]
    pub(super) connections: BTreeMap<String, String>,
    /// Names of public inbound URLs; `["default"]` for a plugin that takes requests. Or objects, for sources that are fed
    /// from a queue of a broker: `{"name":"orders","kind":"amqp","url":"amqps://..","queue":"orders"}`.
    pub(super) sources: Option<Vec<SourceIn>>,
    /// `emits:<type or pattern>` and `emergency`.
    #[serde(default)]
    pub(super) grants: Vec<String>,
    /// Seconds before each attempt, instead of the plugin table.
    pub(super) retry_schedule: Option<Vec<u64>>,
    /// Times of your own for schedules of the plugin, by name:
    /// `{"sync":{"cron":"0 2 * * *","time_zone"?,"missed":"skip|run_once"?,"jitter_s"?}}`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub(super) schedules: BTreeMap<String, Timetable>,
}

/// Where requests come from.
#[derive(Deserialize, ToSchema)]
#[serde(untagged, expecting = "a name, or an object with `name`, `kind`, and for `amqp` `url` and `queue`")]
pub(super) enum SourceIn {
    /// A public inbound URL of this name.
    Name(String),
    /// A source with more to say.
    Described(DescribedSource),
}

/// A source with more to say.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DescribedSource {
    name: String,
    /// `http`, a public inbound URL; or `amqp`, a queue that the hub consumes.
    kind: Option<String>,
    /// `amqps://user:password@host/vhost`; may be left out where the source has the same queue already. User and password
    /// are not shown again.
    url: Option<String>,
    queue: Option<String>,
}

/// The address of a queue, if it is given, and its name.
pub(super) type QueueIn = (Option<String>, String);

impl SourceIn {
    /// Its name, and what feeds it, if a queue does.
    pub(super) fn parts(self, field: &str) -> Answer<(String, Option<QueueIn>)> {
        let source = match self {
            Self::Name(name) => return Ok((name, None)),
            Self::Described(source) => source,
        };
        let refused = |part: &str, text: &str| Err(Problem::field(format!("{field}.{part}"), text));
        match (source.kind.as_deref().unwrap_or("http"), source.url, source.queue) {
            ("http", None, None) => Ok((source.name, None)),
            ("http", Some(_), _) => refused("url", "only a source of kind `amqp` has one; leave it out"),
            ("http", None, Some(_)) => refused("queue", "only a source of kind `amqp` has one; leave it out"),
            ("amqp", url, Some(queue)) => Ok((source.name, Some((url, queue)))),
            ("amqp", _, None) => refused("queue", "name the queue that the hub shall consume"),
            _ => refused("kind", "must be `http` or `amqp`"),
        }
    }
}

const fn live() -> Mode {
    Mode::Live
}

/// An installation.
#[derive(Serialize, ToSchema)]
pub(super) struct Installation {
    name: String,
    #[schema(value_type = String)]
    mode: Mode,
    /// The pinned version.
    version: Option<String>,
    /// The version in force. One with a `lifecycle` takes over once its `upgrade` succeeded.
    running_version: Option<String>,
    shadow_version: Option<String>,
    #[schema(value_type = Object)]
    config: Value,
    connections: BTreeMap<String, String>,
    sources: Vec<Source>,
    grants: Vec<String>,
    /// Patterns that the plugin asks to emit and no grant covers.
    missing_grants: Vec<String>,
    retry_schedule: Option<Vec<u64>>,
    /// `installing`, `ready` or `failed`; `removing` while `uninstall` runs.
    #[schema(value_type = String)]
    state: InstallState,
    /// Why it failed, or why it takes nothing now.
    reason: Option<String>,
    /// Why it takes nothing now.
    hold: Option<Hold>,
    /// Of the answer to a change: whether config and connections work, by one harmless call each.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<Check>>,
    #[schema(value_type = Vec<Object>)]
    schedules: Vec<ScheduleRow>,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// Where requests come from.
#[derive(Serialize, ToSchema)]
struct Source {
    name: String,
    id: String,
    /// `http` or `amqp`.
    kind: &'static str,
    /// The public inbound URL; of a queue the broker's, without user and password.
    url: String,
    /// The queue that the hub consumes.
    queue: Option<String>,
}

/// Why a target takes nothing now.
#[derive(Serialize, ToSchema)]
pub(super) struct Hold {
    /// Reason class.
    pub(super) reason: &'static str,
    pub(super) code: String,
    pub(super) message: String,
    #[schema(value_type = String, format = DateTime)]
    pub(super) since: Timestamp,
}

impl From<crate::directory::view::Hold> for Hold {
    fn from(hold: crate::directory::view::Hold) -> Self {
        let failure = hold.failure;
        Self { reason: failure.reason.as_str(), code: failure.code, message: failure.message, since: hold.since }
    }
}

fn shown(api: &Api, tenant: &TenantView, view: &InstallationView) -> Installation {
    let row = &view.row;
    let hold = view.hold(tenant).or_else(|| view.setting_up()).map(Hold::from);
    let refused = || {
        let upgrade = row.upgrade.as_ref().filter(|_| view.is_upgrading())?;
        Some(format!("the upgrade to {} was refused: {}", upgrade.to, upgrade.refused.as_ref()?))
    };
    let held = || hold.as_ref().map(|hold| hold.message.clone());
    let reason = row.state_reason.clone().or_else(refused).or_else(held);
    Installation {
        name: row.plugin.clone(),
        mode: row.mode,
        version: row.version.clone(),
        running_version: view.version.as_ref().map(|version| version.row.version.clone()),
        shadow_version: row.shadow_version.clone(),
        config: serde_json::from_str(&row.config).unwrap_or_default(),
        connections: row.connections.iter().map(|(slot, key)| (slot.clone(), key.with_prefix("con"))).collect(),
        sources: api.hub.sources(view).into_iter().zip(&row.sources).map(shown_source).collect(),
        grants: row.grants.clone(),
        missing_grants: view.grants.open_requests(),
        retry_schedule: row.retry_schedule.clone(),
        state: row.state,
        reason,
        hold,
        checks: None,
        schedules: row.schedules.clone(),
        updated_at: row.updated_at,
    }
}

fn shown_source((public, row): (SourceRef, &SourceRow)) -> Source {
    let (name, id) = (public.name, public.id);
    match &row.queue {
        None => Source { name, id, kind: "http", url: public.url, queue: None },
        Some(queue) => Source { name, id, kind: "amqp", url: queue.shown_url.clone(), queue: Some(queue.name.clone()) },
    }
}

/// What the audit keeps: config may hold personal values, so only its fields' names.
fn audited(row: &InstallationRow) -> Value {
    let config: Map<String, Value> = serde_json::from_str(&row.config).unwrap_or_default();
    json!({
        "mode": row.mode,
        "version": row.version,
        "shadow_version": row.shadow_version,
        "config_fields": config.keys().collect::<Vec<_>>(),
        "connections": row.connections.iter().map(|(slot, key)| (slot.clone(), key.with_prefix("con"))).collect::<BTreeMap<_, _>>(),
        "sources": row.sources.iter().map(audited_source).collect::<Vec<_>>(),
        "grants": row.grants,
        "retry_schedule": row.retry_schedule,
    })
}

fn audited_source(source: &SourceRow) -> Value {
    let described = |queue: &QueueRow| json!({"name": source.name, "url": queue.shown_url, "queue": queue.name});
    source.queue.as_ref().map_or_else(|| json!(source.name), described)
}

pub(super) fn found<'a>(tenant: &'a TenantView, name: &str) -> Answer<&'a InstallationView> {
    tenant.installations.get(name).map(|view| &**view).ok_or_else(|| Problem::not_found("installation"))
}

async fn list(
    State(api): State<Api>,
    within: In<Read>,
    Params(page): Params<PageParams>,
) -> Answer<Out<Paged<Installation>>> {
    let tenant = &within.tenant;
    let entries = tenant.installations.iter().map(|(name, view)| (name.clone(), shown(&api, tenant, view)));
    paged_by_name(entries.collect(), &page).map(Out)
}

async fn read(
    State(api): State<Api>,
    within: In<Read>,
    Path((_, name)): Path<(String, String)>,
) -> Answer<Out<Installation>> {
    let view = found(&within.tenant, &name)?;
    Ok(Out(shown(&api, &within.tenant, view)))
}

async fn put(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, name)): Path<(String, String)>,
    Json(wanted): Json<InstallationIn>,
) -> Answer<impl IntoResponse> {
    let created = save(&api, &within, &name, wanted).await?;
    let tenant = api.hub.directory.tenant(within.id()).ok_or_else(|| Problem::not_found("tenant"))?;
    let view = found(&tenant, &name)?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let mut answer = shown(&api, &tenant, view);
    if view.row.mode == Mode::Live {
        answer.checks = Some(connection_probe::of_installation(&api, &tenant, view).await);
    }
    Ok((status, Out(answer)))
}

/// Checks and stores an installation and brings it into force. Answers whether it is a new one.
pub(super) async fn save(api: &Api, within: &In<Manage>, name: &str, wanted: InstallationIn) -> Answer<bool> {
    let before = within.tenant.installations.get(name).map(|view| &**view);
    let directory = api.hub.directory.view();
    let setting = Setting {
        api,
        ids: &api.hub.ids,
        now: api.hub.clock.now(),
        view: &directory,
        tenant: &within.tenant,
        plugin: name,
        before: before.map(|view| &view.row),
    };
    let (mut row, version) = setting.checked(wanted)?;
    let install = installs(before, &version);
    let installing = before.is_some_and(|before| before.row.state == InstallState::Installing);
    if install || (installing && version.exports.lifecycle) {
        row.state = InstallState::Installing;
    }
    let action = if before.is_some() { "installation.changed" } else { "installation.created" };
    let audit = api.audit(&within.caller, Some(within.id()), action, name);
    let audit = audit.showing(before.map(|view| audited(&view.row)).as_ref(), Some(&audited(&row)));
    api.hub.store.put_installation(row, audit).await?;
    api.tenant_changed(within.id()).await?;
    if install {
        api.hub.call_lifecycle(within.id(), name, private::INSTALL, &json!({})).await?;
    }
    // What is due may be due at other times now.
    api.hub.polls_moved.notify_one();
    api.wake_targets(within.id(), [Target::Plugin(name.into())]);
    Ok(before.is_none())
}

/// Whether a change asks for `install`: of a new or failed installation, or of one that is being installed on another
/// version. The `upgrade` of one that works follows by itself.
fn installs(before: Option<&InstallationView>, version: &PluginVersion) -> bool {
    let Some(before) = before else { return version.exports.lifecycle };
    let again = match before.row.state {
        InstallState::Failed => true,
        InstallState::Installing => before.row.in_force.as_ref() != Some(&version.row.version),
        InstallState::Ready | InstallState::Removing => false,
    };
    version.exports.lifecycle && again
}

async fn delete(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, name)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let view = found(&within.tenant, &name)?;
    let lifecycle = view.version.as_ref().is_some_and(|version| version.exports.lifecycle);
    let audit = api.audit(&within.caller, Some(within.id()), "installation.deleted", name.as_str());
    let audit = audit.showing(Some(&audited(&view.row)), None);
    // A second DELETE, or one of an installation that does not run, does not wait for `uninstall`.
    let uninstall = lifecycle && view.row.state == InstallState::Ready && view.row.mode == Mode::Live;
    if uninstall {
        let row = InstallationRow { state: InstallState::Removing, ..view.row.clone() };
        api.hub.store.put_installation(row, audit).await?;
        api.tenant_changed(within.id()).await?;
        api.hub.call_lifecycle(within.id(), &name, private::UNINSTALL, &json!({})).await?;
        return Ok(StatusCode::ACCEPTED);
    }
    api.hub.store.delete_installation(within.id(), &name, audit).await?;
    api.tenant_changed(within.id()).await?;
    Ok(StatusCode::NO_CONTENT)
}
