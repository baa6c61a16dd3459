//! Connections: a tenant's credentials at providers. Secrets go in and never come out.

use axum::{
    Json as Out,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Api, Changing as _,
    auth::{In, Manage, Need as _, Read},
    body::{Json, Params},
    forecast::Budget,
    paging::{PageParams, Paged, paged_by_name},
    problem::{Answer, Problem},
    routes::{Routes, doc},
    tenants::checked_name,
};
use crate::{
    clock::Timestamp,
    connection::{
        credential::{ConnectionKind, Credential, CredentialError},
        tokens::obtains_tokens,
    },
    directory::{
        places,
        view::{ConnectionView, TenantView},
    },
    event::Target,
    id::Key,
    store::registry::{ConnectionRow, SealedSecret},
};

const TAG: &str = "connections";

/// Why a connection of kind `oauth2` needs a login from its beginning.
const NOBODY_YET: &str = "nobody has logged in yet; POST to its /authorize and open the URL";

pub(super) fn routes(routes: Routes) -> Routes {
    let (all, one) = ("/v1/tenants/{tenant}/connections", "/v1/tenants/{tenant}/connections/{id}");
    routes
        .post(
            all,
            doc(TAG, Manage::SCOPE, "Make a connection").body::<NewConnection>().answers::<Connection>(201, "Made."),
            create,
        )
        .get(all, doc(TAG, Read::SCOPE, "List connections").query::<PageParams>().lists::<Connection>("A page."), list)
        .get(one, doc(TAG, Read::SCOPE, "Read a connection").answers::<Connection>(200, "The connection."), read)
        .patch(
            one,
            doc(TAG, Manage::SCOPE, "Change name, account or base URL; fields left out stay")
                .body::<ConnectionChange>()
                .answers::<Connection>(200, "Changed."),
            change,
        )
        .delete(
            one,
            doc(TAG, Manage::SCOPE, "Remove a connection that nothing uses").answers_as(204, "Removed.", None),
            delete,
        )
}

/// A connection to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewConnection {
    /// The provider's name: `billy`.
    provider: String,
    /// For people, unique in the tenant.
    name: String,
    /// `header`, `basic`, `bearer`, `oauth2`, `google_service_account`, `hmac` or `generated`.
    kind: String,
    /// The account at the provider, unique with the provider.
    account: Option<String>,
    /// Instead of the base URL in the plugin's manifest.
    base_url: Option<String>,
    /// header `{name,value}`, basic `{username,password}`, bearer `{token}`, oauth2 `{app,refresh_token?}`,
    /// google_service_account `{key,subject?}`, hmac `{secret}`, generated `{}`.
    #[serde(default)]
    #[schema(value_type = Object)]
    secret: Value,
}

/// Changes of a connection.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConnectionChange {
    name: Option<String>,
    account: Option<String>,
    base_url: Option<String>,
}

/// A connection. Its secret is never shown.
#[derive(Serialize, ToSchema)]
pub(super) struct Connection {
    id: String,
    provider: String,
    name: String,
    kind: String,
    account: Option<String>,
    base_url: Option<String>,
    /// `ok` or `needs_login`.
    state: &'static str,
    /// Why it needs a person.
    reason: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    needs_login_since: Option<Timestamp>,
    /// What is left of its pace, if it was used since the hub started. Only where one connection is read or listed.
    budget: Option<Budget>,
    /// When each old secret stops proving signatures.
    #[schema(value_type = Vec<String>)]
    old_secrets_until: Vec<Timestamp>,
    /// The app through which it logs in.
    app: Option<String>,
    /// Installations that use it: `plugin/slot`.
    used_by: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

pub(super) fn shown(tenant: &TenantView, row: &ConnectionRow) -> Connection {
    let uses = tenant.installations.values().flat_map(|installation| {
        let slots = installation.row.connections.iter().filter(|(_, key)| **key == row.key);
        slots.map(|(slot, _)| format!("{}/{slot}", installation.row.plugin))
    });
    Connection {
        id: row.key.with_prefix("con"),
        provider: row.provider.clone(),
        name: row.name.clone(),
        kind: row.kind.clone(),
        account: row.account.clone(),
        base_url: row.base_url.clone(),
        state: if row.needs_login.is_some() { "needs_login" } else { "ok" },
        reason: row.needs_login.as_ref().map(|(text, _)| text.clone()),
        needs_login_since: row.needs_login.as_ref().map(|(_, since)| *since),
        budget: None,
        old_secrets_until: row.secrets.iter().filter_map(|secret| secret.expires_at).collect(),
        app: row.app.map(|key| key.with_prefix("app")),
        used_by: uses.collect(),
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}

fn audited(row: &ConnectionRow) -> Value {
    json!({"provider": row.provider, "name": row.name, "kind": row.kind, "base_url": row.base_url, "secrets": row.secrets.len()})
}

pub(super) fn found<'a>(tenant: &'a TenantView, id: &str) -> Answer<&'a ConnectionView> {
    let view = Key::parse("con", id).and_then(|key| tenant.connections.get(&key));
    view.map(|view| &**view).ok_or_else(|| Problem::not_found("connection"))
}

fn refused(error: &CredentialError) -> Problem {
    Problem::field(error.field.as_str(), error.problem)
}

pub(super) fn kind_of(text: &str) -> Answer<ConnectionKind> {
    text.parse::<ConnectionKind>().map_err(|error| refused(&error))
}

/// Checks a secret. The error never repeats a value.
pub(super) fn checked_secret(
    api: &Api,
    provider: &str,
    kind: ConnectionKind,
    secret: &Value,
) -> Answer<(Credential, Option<Key>)> {
    let credential = Credential::from_api(kind, secret, &api.hub.ids).map_err(|error| refused(&error))?;
    let Some(id) = credential.app() else { return Ok((credential, None)) };
    let view = api.hub.directory.view();
    let app = Key::parse("app", id).and_then(|key| view.apps.get(&key));
    // Tenants do not see apps of other providers.
    let app = app.filter(|app| app.row.provider == provider);
    let app = app.ok_or_else(|| Problem::field("secret.app", format!("there is no app {id} of {provider}")))?;
    if app.row.client_id.is_none() {
        return Err(Problem::field("secret.app", "this app has no client_id; an operator must set it"));
    }
    let key = app.row.key;
    Ok((credential, Some(key)))
}

/// Seals a secret for its row.
pub(super) fn sealed(api: &Api, tenant: &TenantView, key: Key, credential: &Credential) -> Answer<SealedSecret> {
    let place = places::connection_secret(&tenant.row.id, &key);
    let sealed = api.hub.vault.seal(&tenant.key, place, &credential.to_stored())?;
    Ok(SealedSecret { sealed, expires_at: None })
}

fn checked_base_url(api: &Api, url: String) -> Answer<String> {
    match api.hub.client.policy().check_url(&url) {
        Ok(_) => Ok(url),
        Err(error) => Err(Problem::field("base_url", error.to_string())),
    }
}

pub(super) fn checked_text(field: &str, text: String) -> Answer<String> {
    if text.is_empty() || text.len() > 200 || text.chars().any(char::is_control) {
        return Err(Problem::field(field, "must have 1 to 200 bytes and no control characters"));
    }
    Ok(text)
}

async fn create(
    State(api): State<Api>,
    within: In<Manage>,
    Json(new): Json<NewConnection>,
) -> Answer<impl IntoResponse> {
    let kind = kind_of(&new.kind)?;
    let (key, now) = (api.hub.ids.next(), api.hub.clock.now());
    let provider = checked_text("provider", new.provider)?;
    let (credential, app) = checked_secret(&api, &provider, kind, &new.secret)?;
    let nobody = kind == ConnectionKind::Oauth2 && credential.refresh_token().is_none();
    let row = ConnectionRow {
        key,
        tenant: within.id().clone(),
        provider,
        name: checked_name(new.name)?,
        kind: kind.as_str().to_owned(),
        account: new.account.map(|account| checked_text("account", account)).transpose()?,
        base_url: new.base_url.map(|url| checked_base_url(&api, url)).transpose()?,
        secrets: vec![sealed(&api, &within.tenant, key, &credential)?],
        needs_login: nobody.then(|| (NOBODY_YET.to_owned(), now)),
        created_at: now,
        updated_at: now,
        app,
        token_version: 0,
    };
    let audit = api.audit(&within.caller, Some(within.id()), "connection.created", key.with_prefix("con"));
    api.hub.store.create_connection(row.clone(), audit.showing(None, Some(&audited(&row)))).await?;
    api.tenant_changed(within.id()).await?;
    Ok((StatusCode::CREATED, Out(shown(&within.tenant, &row))))
}

async fn list(
    State(api): State<Api>,
    within: In<Read>,
    Params(page): Params<PageParams>,
) -> Answer<Out<Paged<Connection>>> {
    let tenant = &within.tenant;
    let entries = tenant.connections.values().map(|view| {
        let budget = Budget::of(&api, view.row.key);
        (view.row.key.with_prefix("con"), Connection { budget, ..shown(tenant, &view.row) })
    });
    paged_by_name(entries.collect(), &page).map(Out)
}

async fn read(
    State(api): State<Api>,
    within: In<Read>,
    Path((_, id)): Path<(String, String)>,
) -> Answer<Out<Connection>> {
    let row = &found(&within.tenant, &id)?.row;
    Ok(Out(Connection { budget: Budget::of(&api, row.key), ..shown(&within.tenant, row) }))
}

async fn change(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
    Json(change): Json<ConnectionChange>,
) -> Answer<Out<Connection>> {
    let mut row = found(&within.tenant, &id)?.row.clone();
    if let Some(name) = change.name {
        row.name = checked_name(name)?;
    }
    if let Some(account) = change.account {
        row.account = Some(checked_text("account", account)?);
    }
    if let Some(url) = change.base_url {
        row.base_url = Some(checked_base_url(&api, url)?);
    }
    if kind_of(&row.kind).is_ok_and(obtains_tokens) {
        // A refresh may have stored another secret than the one seen here, and a name logs nobody in.
        row.secrets.clear();
    }
    update(&api, &within, row, "connection.changed").await.map(Out)
}

pub(super) async fn update(api: &Api, within: &In<Manage>, row: ConnectionRow, action: &str) -> Answer<Connection> {
    let before = found(&within.tenant, &row.key.with_prefix("con"))?;
    let audit = api.audit(&within.caller, Some(within.id()), action, row.key.with_prefix("con"));
    let audit = audit.showing(Some(&audited(&before.row)), Some(&audited(&row)));
    let key = row.key;
    api.hub.store.update_connection(row, audit).await?;
    api.tenant_changed(within.id()).await?;
    // A new secret may be what held deliveries wait for.
    let users =
        within.tenant.installations.values().filter(|view| view.row.connections.values().any(|bound| *bound == key));
    api.wake_targets(within.id(), users.map(|view| Target::Plugin(view.row.plugin.as_str().into())));
    let tenant = api.hub.directory.tenant(within.id()).ok_or_else(|| Problem::not_found("tenant"))?;
    Ok(shown(&tenant, &found(&tenant, &key.with_prefix("con"))?.row))
}

async fn delete(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let row = &found(&within.tenant, &id)?.row;
    let audit = api.audit(&within.caller, Some(within.id()), "connection.deleted", id.as_str());
    api.hub.store.delete_connection(within.id(), row.key, audit.showing(Some(&audited(row)), None)).await?;
    api.tenant_changed(within.id()).await?;
    Ok(StatusCode::NO_CONTENT)
}
