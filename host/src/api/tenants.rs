//! Tenants.

use std::collections::BTreeMap;

use axum::{Json as Out, extract::State, http::StatusCode, response::IntoResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{
    Api, Changing as _,
    auth::{Caller, In, Manage, May, Need as _, Operate, Read},
    body::{Json, Params},
    paging::{PageParams, Paged, paged_by_name},
    problem::{Answer, Code, Problem},
    routes::{Routes, doc},
};
use crate::{
    clock::Timestamp,
    event::{EventType, Target, TenantId},
    policy::settings,
    store::registry::TenantRow,
};

const TAG: &str = "tenants";
const MAX_SETTINGS: usize = 64 << 10;

pub(super) fn routes(routes: Routes) -> Routes {
    let one = "/v1/tenants/{tenant}";
    routes
        .post(
            "/v1/tenants",
            doc(TAG, Operate::SCOPE, "Make a tenant").body::<NewTenant>().answers::<Tenant>(201, "Made."),
            create,
        )
        .get(
            "/v1/tenants",
            doc(TAG, Read::SCOPE, "List the tenants that the key sees")
                .query::<PageParams>()
                .lists::<Tenant>("A page."),
            list,
        )
        .get(one, doc(TAG, Read::SCOPE, "Read a tenant").answers::<Tenant>(200, "The tenant."), read)
        .patch(
            one,
            doc(TAG, Manage::SCOPE, "Change a tenant; fields left out stay")
                .body::<TenantChange>()
                .answers::<Tenant>(200, "Changed."),
            change,
        )
        .delete(
            one,
            doc(
                TAG,
                Operate::SCOPE,
                "Remove a tenant with everything it has and destroy its data key; its name is free when its rows are gone",
            )
            .answers_as(204, "Removed.", None),
            delete,
        )
}

/// A tenant to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTenant {
    /// `[a-z0-9][a-z0-9-]{0,62}`, for ever.
    #[schema(example = "acme")]
    id: String,
    /// For people; the id without it.
    name: Option<String>,
    /// IANA time zone; `UTC` without it.
    #[schema(example = "Europe/Copenhagen")]
    time_zone: Option<String>,
    /// A JSON object: `business_hours` is followed by the hub, the rest is yours.
    #[schema(example = json!({"business_hours": {"week": {"mon": ["08:00-16:00"]}, "holidays": ["2026-12-24"]}}))]
    settings: Option<Map<String, Value>>,
    /// Whether commands, polls and endpoint deliveries are held.
    #[serde(default)]
    lockdown: bool,
    /// Which plugin handles a command when two could.
    #[serde(default)]
    command_handlers: BTreeMap<String, String>,
}

/// Changes of a tenant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TenantChange {
    name: Option<String>,
    time_zone: Option<String>,
    settings: Option<Map<String, Value>>,
    lockdown: Option<bool>,
    command_handlers: Option<BTreeMap<String, String>>,
}

/// A tenant.
#[derive(Serialize, ToSchema)]
pub(super) struct Tenant {
    id: String,
    name: String,
    time_zone: String,
    #[schema(value_type = Object)]
    settings: Value,
    lockdown: bool,
    /// Since when it is locked down.
    #[schema(value_type = Option<String>, format = DateTime)]
    lockdown_since: Option<Timestamp>,
    command_handlers: BTreeMap<String, String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

fn shown(row: &TenantRow) -> Tenant {
    Tenant {
        id: row.id.to_string(),
        name: row.name.clone(),
        time_zone: row.time_zone.clone(),
        settings: serde_json::from_str(&row.settings).unwrap_or_else(|_| json!({})),
        lockdown: row.lockdown,
        lockdown_since: row.lockdown_since,
        command_handlers: row.command_handlers.clone(),
        created_at: row.created_at,
    }
}

/// What the audit keeps: no settings, which may hold anything.
fn audited(row: &TenantRow) -> Value {
    json!({"name": row.name, "time_zone": row.time_zone, "lockdown": row.lockdown, "command_handlers": row.command_handlers})
}

async fn create(State(api): State<Api>, may: May<Operate>, Json(new): Json<NewTenant>) -> Answer<impl IntoResponse> {
    let id: TenantId = new.id.parse().map_err(|error| Problem::field("id", format!("{error}")))?;
    let now = api.hub.clock.now();
    let row = TenantRow {
        name: checked_name(new.name.unwrap_or_else(|| id.to_string()))?,
        time_zone: checked_zone(new.time_zone.unwrap_or_else(|| "UTC".to_owned()))?,
        settings: checked_settings(new.settings.unwrap_or_default())?,
        lockdown: new.lockdown,
        command_handlers: checked_handlers(new.command_handlers)?,
        created_at: now,
        lockdown_since: new.lockdown.then_some(now),
        data_key: api.hub.vault.new_tenant_key(id.as_str())?,
        id,
    };
    let audit = api.audit(&may.caller, Some(&row.id), "tenant.created", row.id.to_string());
    api.hub.store.create_tenant(row.clone(), audit.showing(None, Some(&audited(&row)))).await?;
    api.tenant_changed(&row.id).await?;
    Ok((StatusCode::CREATED, Out(shown(&row))))
}

async fn list(State(api): State<Api>, caller: Caller, Params(page): Params<PageParams>) -> Answer<Out<Paged<Tenant>>> {
    let view = api.hub.directory.view();
    let visible = view.tenants.values().filter(|tenant| caller.sees(&tenant.row.id));
    let mut entries: Vec<_> = visible.map(|tenant| (tenant.row.id.to_string(), shown(&tenant.row))).collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    paged_by_name(entries, &page).map(Out)
}

async fn read(within: In<Read>) -> Out<Tenant> {
    Out(shown(&within.tenant.row))
}

async fn change(State(api): State<Api>, within: In<Manage>, Json(change): Json<TenantChange>) -> Answer<Out<Tenant>> {
    let old = &within.tenant.row;
    let mut row = old.clone();
    if let Some(name) = change.name {
        row.name = checked_name(name)?;
    }
    if let Some(zone) = change.time_zone {
        row.time_zone = checked_zone(zone)?;
    }
    if let Some(settings) = change.settings {
        row.settings = checked_settings(settings)?;
    }
    if let Some(handlers) = change.command_handlers {
        row.command_handlers = checked_handlers(handlers)?;
    }
    if let Some(lockdown) = change.lockdown
        && lockdown != old.lockdown
    {
        row.lockdown = lockdown;
        row.lockdown_since = lockdown.then(|| api.hub.clock.now());
    }
    let audit = api.audit(&within.caller, Some(&row.id), "tenant.changed", row.id.to_string());
    api.hub.store.update_tenant(row.clone(), audit.showing(Some(&audited(old)), Some(&audited(&row)))).await?;
    api.tenant_changed(&row.id).await?;
    if old.settings != row.settings || old.time_zone != row.time_zone {
        api.hub.ask_policy_again(&row.id);
    }
    if old.lockdown && !row.lockdown {
        let endpoints = within.tenant.endpoints.keys().map(|key| Target::Endpoint(*key));
        let plugins = within.tenant.installations.keys().map(|name| Target::Plugin(name.as_str().into()));
        api.wake_targets(&row.id, endpoints.chain(plugins));
    }
    Ok(Out(shown(&row)))
}

async fn delete(State(api): State<Api>, within: In<Operate>) -> Answer<StatusCode> {
    let id = within.id();
    let mut was = audited(&within.tenant.row);
    was["deliveries"] = json!(by_state(&api, id).await?);
    // A row of the hub: nobody could read one of a tenant that is gone.
    let audit = api.audit(&within.caller, None, "tenant.deleted", id.to_string());
    api.hub.store.delete_tenant(id, audit.showing(Some(&was), None)).await?;
    api.hub.directory.refresh_keys().await?;
    api.tenant_changed(id).await?;
    let hub = api.hub.clone();
    api.hub.tasks.spawn(async move { hub.remove_leaving().await });
    Ok(StatusCode::NO_CONTENT)
}

/// How many deliveries a tenant has that are live or dead: they end with it.
async fn by_state(api: &Api, tenant: &TenantId) -> Answer<BTreeMap<&'static str, u64>> {
    let counts = api.hub.store.counts(Some(tenant)).await?;
    Ok(counts.by_state.into_iter().map(|(state, count)| (state.as_str(), count)).collect())
}

/// Checks a name for people.
pub(super) fn checked_name(name: String) -> Answer<String> {
    if name.trim().is_empty() || name.len() > 200 || name.chars().any(char::is_control) {
        return Err(Problem::field("name", "must have 1 to 200 bytes and no control characters"));
    }
    Ok(name)
}

fn checked_zone(zone: String) -> Answer<String> {
    match jiff::tz::TimeZone::get(&zone) {
        Ok(_) => Ok(zone),
        Err(_) => Err(Problem::field("time_zone", format!("`{zone}` is no IANA time zone such as Europe/Copenhagen"))),
    }
}

fn checked_settings(settings: Map<String, Value>) -> Answer<String> {
    settings::read(&settings).map_err(|fault| Problem::field(format!("settings.{}", fault.field), fault.message))?;
    let text = Value::Object(settings).to_string();
    if text.len() > MAX_SETTINGS {
        return Err(Problem::new(Code::BodyTooLarge, format!("settings: at most {MAX_SETTINGS} bytes")));
    }
    Ok(text)
}

fn checked_handlers(handlers: BTreeMap<String, String>) -> Answer<BTreeMap<String, String>> {
    if handlers.len() > 200 {
        return Err(Problem::field("command_handlers", "at most 200 entries"));
    }
    for command in handlers.keys() {
        let parsed = command.parse::<EventType>();
        parsed.map_err(|error| Problem::field(format!("command_handlers.{command}"), error.to_string()))?;
    }
    Ok(handlers)
}
