//! Apps: the operator's registrations at providers, shared by tenants. Secrets go in and never come out.

use std::collections::BTreeMap;

use axum::{
    Json as Out,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{
    Api, Changing as _,
    auth::{May, Need as _, Operate},
    body::{Json, Params},
    connections::checked_text,
    paging::{PageParams, Paged, paged_by_name},
    problem::{Answer, Problem},
    routes::{Routes, doc},
    tenants::checked_name,
};
use crate::{
    clock::Timestamp,
    directory::{places, view::AppView},
    id::Key,
    store::{apps::AppRow, registry::SourceRow},
};

const TAG: &str = "apps";

/// The source that every app with a plugin has.
const SOURCE: &str = "default";

/// How long a secret may be, in bytes.
const MAX_SECRET: usize = 8192;

/// How many secrets an app may have.
const MAX_SECRETS: usize = 16;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .post("/v1/apps", doc(TAG, Operate::SCOPE, "Make an app").body::<NewApp>().answers::<App>(201, "Made."), create)
        .get("/v1/apps", doc(TAG, Operate::SCOPE, "List apps").query::<PageParams>().lists::<App>("A page."), list)
        .get("/v1/apps/{id}", doc(TAG, Operate::SCOPE, "Read an app").answers::<App>(200, "The app."), read)
        .patch(
            "/v1/apps/{id}",
            doc(TAG, Operate::SCOPE, "Change an app; fields left out stay, `secrets` are replaced as a whole")
                .body::<AppChange>()
                .answers::<App>(200, "Changed."),
            change,
        )
        .delete(
            "/v1/apps/{id}",
            doc(TAG, Operate::SCOPE, "Remove an app through which no connection logs in")
                .answers_as(204, "Removed.", None),
            delete,
        )
}

/// An app to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewApp {
    /// The provider's name: `quickbooks`.
    provider: String,
    /// For people, unique in the hub.
    name: String,
    /// The plugin whose `receive` takes the requests to its source, and whose manifest says where to log in.
    plugin: Option<String>,
    /// The OAuth client's id.
    client_id: Option<String>,
    /// The OAuth client's secret.
    client_secret: Option<String>,
    /// What proves the provider's requests, by field; the plugin names them as `app.<field>`.
    secrets: Option<BTreeMap<String, String>>,
}

/// Changes of an app.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AppChange {
    name: Option<String>,
    plugin: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    secrets: Option<BTreeMap<String, String>>,
}

/// An app. Its secrets are never shown.
#[derive(Serialize, ToSchema)]
struct App {
    id: String,
    provider: String,
    name: String,
    plugin: Option<String>,
    client_id: Option<String>,
    /// Whether it has a client secret.
    has_client_secret: bool,
    /// The fields of its secrets.
    secret_fields: Vec<String>,
    sources: Vec<Source>,
    /// Where providers send a person back after a login; register it with the app.
    redirect_uri: String,
    /// How many connections log in through it.
    connections: usize,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A public inbound URL of an app.
#[derive(Serialize, ToSchema)]
#[schema(as = AppSource)]
struct Source {
    name: String,
    id: String,
    url: String,
}

fn shown(api: &Api, app: &AppView) -> App {
    let row = &app.row;
    let uses = |tenant: &crate::directory::view::TenantView| {
        tenant.connections.values().filter(|connection| connection.row.app == Some(row.key)).count()
    };
    App {
        id: row.key.with_prefix("app"),
        provider: row.provider.clone(),
        name: row.name.clone(),
        plugin: row.plugin.clone(),
        client_id: row.client_id.clone(),
        has_client_secret: row.client_secret.is_some(),
        secret_fields: app.secrets.keys().cloned().collect(),
        sources: row
            .sources
            .iter()
            .map(|source| Source {
                name: source.name.clone(),
                id: source.id.clone(),
                url: format!("{}/in/{}", api.hub.public_url, source.id),
            })
            .collect(),
        redirect_uri: format!("{}/oauth/callback", api.hub.public_url),
        connections: api.hub.directory.view().tenants.values().map(|tenant| uses(tenant)).sum(),
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}

fn audited(row: &AppRow) -> Value {
    json!({"provider": row.provider, "name": row.name, "plugin": row.plugin, "client_id": row.client_id,
        "has_client_secret": row.client_secret.is_some(), "has_secrets": row.secrets.is_some()})
}

pub(super) fn found(api: &Api, id: &str) -> Answer<std::sync::Arc<AppView>> {
    let view = api.hub.directory.view();
    let app = Key::parse("app", id).and_then(|key| view.apps.get(&key).cloned());
    app.ok_or_else(|| Problem::not_found("app"))
}

fn checked_plugin(api: &Api, name: String) -> Answer<String> {
    if api.hub.directory.view().plugins.contains_key(&name) {
        return Ok(name);
    }
    Err(Problem::field("plugin", "there is no such plugin; GET /v1/plugins lists those that are there"))
}

fn checked_secret(field: &str, text: String) -> Answer<Zeroizing<String>> {
    let text = Zeroizing::new(text);
    if text.is_empty() || text.len() > MAX_SECRET || text.trim() != text.as_str() || text.chars().any(char::is_control)
    {
        let words = "must have 1 to 8192 bytes without control characters, and no white space at its ends";
        return Err(Problem::field(field, words));
    }
    Ok(text)
}

async fn sealed_client_secret(api: &Api, key: Key, text: String) -> Answer<Vec<u8>> {
    let text = checked_secret("client_secret", text)?;
    let hub_key = api.hub.directory.hub_key().await?;
    Ok(api.hub.vault.seal(&hub_key, places::app_client_secret(&key), text.as_bytes())?)
}

/// Secrets as one sealed object; none for an empty one.
async fn sealed_secrets(api: &Api, key: Key, secrets: BTreeMap<String, String>) -> Answer<Option<Vec<u8>>> {
    if secrets.len() > MAX_SECRETS {
        return Err(Problem::field("secrets", "has more than 16 fields"));
    }
    let is_name = |name: &str| {
        (1..=63).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'))
    };
    let mut checked = BTreeMap::new();
    for (field, text) in secrets {
        if !is_name(&field) {
            return Err(Problem::field("secrets", "field names have 1 to 63 of a-z, 0-9, `_` and `-`"));
        }
        let text = checked_secret(&format!("secrets.{field}"), text)?;
        checked.insert(field, text);
    }
    if checked.is_empty() {
        return Ok(None);
    }
    let members: BTreeMap<&str, &str> = checked.iter().map(|(field, text)| (field.as_str(), text.as_str())).collect();
    let plain = Zeroizing::new(json!(members).to_string());
    let hub_key = api.hub.directory.hub_key().await?;
    Ok(Some(api.hub.vault.seal(&hub_key, places::app_secrets(&key), plain.as_bytes())?))
}

/// An app with a plugin has one source; an app without has none.
fn with_source(api: &Api, mut row: AppRow) -> AppRow {
    if row.plugin.is_none() {
        row.sources.clear();
    } else if row.sources.is_empty() {
        row.sources.push(SourceRow { id: api.hub.ids.next().with_prefix("src"), name: SOURCE.to_owned(), queue: None });
    }
    row
}

async fn create(State(api): State<Api>, may: May<Operate>, Json(new): Json<NewApp>) -> Answer<impl IntoResponse> {
    let (key, now) = (api.hub.ids.next(), api.hub.clock.now());
    let client_secret = match new.client_secret {
        Some(text) => Some(sealed_client_secret(&api, key, text).await?),
        None => None,
    };
    let row = AppRow {
        key,
        provider: checked_text("provider", new.provider)?,
        name: checked_name(new.name)?,
        plugin: new.plugin.map(|name| checked_plugin(&api, name)).transpose()?,
        client_id: new.client_id.map(|id| checked_text("client_id", id)).transpose()?,
        client_secret,
        secrets: sealed_secrets(&api, key, new.secrets.unwrap_or_default()).await?,
        sources: Vec::new(),
        created_at: now,
        updated_at: now,
    };
    let row = with_source(&api, row);
    let audit = api.audit(&may.caller, None, "app.created", key.with_prefix("app"));
    api.hub.store.create_app(row.clone(), audit.showing(None, Some(&audited(&row)))).await?;
    api.hub.directory.refresh_apps().await?;
    Ok((StatusCode::CREATED, Out(shown(&api, &*found(&api, &key.with_prefix("app"))?))))
}

async fn list(State(api): State<Api>, _may: May<Operate>, Params(page): Params<PageParams>) -> Answer<Out<Paged<App>>> {
    let view = api.hub.directory.view();
    let entries = view.apps.values().map(|app| (app.row.key.with_prefix("app"), shown(&api, app)));
    paged_by_name(entries.collect(), &page).map(Out)
}

async fn read(State(api): State<Api>, _may: May<Operate>, Path(id): Path<String>) -> Answer<Out<App>> {
    Ok(Out(shown(&api, &*found(&api, &id)?)))
}

async fn change(
    State(api): State<Api>,
    may: May<Operate>,
    Path(id): Path<String>,
    Json(change): Json<AppChange>,
) -> Answer<Out<App>> {
    let before = found(&api, &id)?;
    let mut row = before.row.clone();
    row.updated_at = api.hub.clock.now();
    if let Some(name) = change.name {
        row.name = checked_name(name)?;
    }
    if let Some(plugin) = change.plugin {
        row.plugin = Some(checked_plugin(&api, plugin)?);
    }
    if let Some(client_id) = change.client_id {
        row.client_id = Some(checked_text("client_id", client_id)?);
    }
    if let Some(text) = change.client_secret {
        row.client_secret = Some(sealed_client_secret(&api, row.key, text).await?);
    }
    if let Some(secrets) = change.secrets {
        row.secrets = sealed_secrets(&api, row.key, secrets).await?;
    }
    let row = with_source(&api, row);
    let audit = api.audit(&may.caller, None, "app.changed", id.as_str());
    let audit = audit.showing(Some(&audited(&before.row)), Some(&audited(&row)));
    api.hub.store.update_app(row, audit).await?;
    api.hub.directory.refresh_apps().await?;
    Ok(Out(shown(&api, &*found(&api, &id)?)))
}

async fn delete(State(api): State<Api>, may: May<Operate>, Path(id): Path<String>) -> Answer<StatusCode> {
    let row = &found(&api, &id)?.row;
    let audit = api.audit(&may.caller, None, "app.deleted", id.as_str());
    api.hub.store.delete_app(row.key, audit.showing(Some(&audited(row)), None)).await?;
    api.hub.directory.refresh_apps().await?;
    let hub = api.hub.clone();
    api.hub.tasks.spawn(async move { hub.remove_leaving().await });
    Ok(StatusCode::NO_CONTENT)
}
