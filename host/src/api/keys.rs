//! API keys: stored hashed, shown once.

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
    auth::{Caller, Manage, May, Need as _},
    body::{Json, Params},
    paging::{PageParams, Paged, paged_by_name},
    problem::{Answer, Code, Problem},
    routes::{Routes, doc},
    tenants::checked_name,
};
use crate::{
    clock::Timestamp,
    event::TenantId,
    id::Key,
    secret::{
        ExposeSecret as _,
        api_key::{self, NewApiKey},
    },
    store::registry::{ApiKeyRow, Scope},
};

const TAG: &str = "keys";
/// Characters of a key that stay readable, to recognise it by.
const HINT: usize = 8;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .post(
            "/v1/keys",
            doc(TAG, Manage::SCOPE, "Make a key; its text is answered this once")
                .body::<NewKey>()
                .answers::<MadeKey>(201, "Made."),
            create,
        )
        .get(
            "/v1/keys",
            doc(TAG, Manage::SCOPE, "List the keys that the caller may manage")
                .query::<PageParams>()
                .lists::<ApiKey>("A page."),
            list,
        )
        .delete("/v1/keys/{id}", doc(TAG, Manage::SCOPE, "Revoke a key").answers_as(204, "Revoked.", None), revoke)
        .post(
            "/v1/keys/{id}/rotate",
            doc(TAG, Manage::SCOPE, "Give a key a new text; the old one ends at once")
                .answers::<MadeKey>(200, "Rotated."),
            rotate,
        )
}

/// A key to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewKey {
    /// For people.
    name: Option<String>,
    /// None for an operator; else the tenant that it is for.
    tenant: Option<String>,
    /// `reader`, `publisher`, `admin` or `operator`.
    #[schema(value_type = String)]
    scope: Scope,
    /// Whether it may set `urgency: emergency`.
    #[serde(default)]
    emergency: bool,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// A key without its text.
#[derive(Serialize, ToSchema)]
struct ApiKey {
    id: String,
    name: String,
    /// Its first characters.
    hint: String,
    tenant: Option<String>,
    #[schema(value_type = String)]
    scope: Scope,
    emergency: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// To the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

/// A key just made.
#[derive(Serialize, ToSchema)]
struct MadeKey {
    #[serde(flatten)]
    about: ApiKey,
    /// The text, shown this once.
    key: String,
}

fn shown(row: &ApiKeyRow) -> ApiKey {
    ApiKey {
        id: row.key.with_prefix("key"),
        name: row.name.clone(),
        hint: row.hint.clone(),
        tenant: row.tenant.as_ref().map(ToString::to_string),
        scope: row.scope,
        emergency: row.emergency,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
    }
}

fn audited(row: &ApiKeyRow) -> Value {
    json!({"name": row.name, "tenant": row.tenant, "scope": row.scope, "emergency": row.emergency, "expires_at": row.expires_at})
}

fn hint(made: &NewApiKey) -> String {
    made.text.expose_secret().chars().take(HINT).collect()
}

/// A tenant's key is managed by operators and the tenant's admins, an operator's by operators.
fn manages(caller: &Caller, row: &ApiKeyRow) -> bool {
    caller.is_operator() || row.tenant.as_ref().is_some_and(|tenant| caller.sees(tenant))
}

/// The tenant that a new key is for. An admin's keys are for its own tenant, also when the field is left out.
fn tenant_of(api: &Api, caller: &Caller, new: &NewKey) -> Answer<Option<TenantId>> {
    if new.scope == Scope::Operator {
        caller.require(Scope::Operator)?;
        return match new.tenant {
            None => Ok(None),
            Some(_) => Err(Problem::field("tenant", "an operator's key has no tenant")),
        };
    }
    let named = match &new.tenant {
        Some(text) => Some(text.parse::<TenantId>().map_err(|error| Problem::field("tenant", format!("{error}")))?),
        None => caller.key.tenant.clone(),
    };
    let Some(tenant) = named else { return Err(Problem::field("tenant", "name the tenant that the key is for")) };
    if !caller.sees(&tenant) || api.hub.directory.tenant(&tenant).is_none() {
        return Err(Problem::field("tenant", "there is no such tenant"));
    }
    Ok(Some(tenant))
}

async fn create(State(api): State<Api>, may: May<Manage>, Json(new): Json<NewKey>) -> Answer<impl IntoResponse> {
    let caller = &may.caller;
    let tenant = tenant_of(&api, caller, &new)?;
    let now = api.hub.clock.now();
    if new.emergency && !caller.is_operator() && !caller.may_emergency() {
        let problem = Problem::new(Code::Forbidden, "this key may not grant emergency; an operator may");
        return Err(problem.with_error("emergency", "not granted to this key"));
    }
    if new.expires_at.is_some_and(|end| end <= now) {
        return Err(Problem::field("expires_at", "must be in the future"));
    }
    let made = api_key::generate(&api.hub.ids);
    let row = ApiKeyRow {
        key: api.hub.ids.next(),
        hash: made.hash,
        hint: hint(&made),
        name: new.name.map(checked_name).transpose()?.unwrap_or_default(),
        tenant,
        scope: new.scope,
        emergency: new.emergency,
        created_at: now,
        expires_at: new.expires_at,
        last_used_at: None,
    };
    let audit = api.audit(caller, row.tenant.as_ref(), "key.created", row.key.with_prefix("key"));
    api.hub.store.create_api_key(row.clone(), audit.showing(None, Some(&audited(&row)))).await?;
    api.hub.directory.refresh_keys().await?;
    let made = MadeKey { about: shown(&row), key: made.text.expose_secret().to_owned() };
    Ok((StatusCode::CREATED, Out(made)))
}

async fn list(
    State(api): State<Api>,
    may: May<Manage>,
    Params(page): Params<PageParams>,
) -> Answer<Out<Paged<ApiKey>>> {
    // From the database, since the cache does not follow when a key was last used.
    let rows = api.hub.store.api_keys().await?;
    let managed = rows.iter().filter(|row| manages(&may.caller, row));
    let mut entries: Vec<_> = managed.map(|row| (row.key.with_prefix("key"), shown(row))).collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    paged_by_name(entries, &page).map(Out)
}

fn found(api: &Api, caller: &Caller, id: &str) -> Answer<ApiKeyRow> {
    let key = Key::parse("key", id);
    let view = api.hub.directory.view();
    let row = view.keys.values().find(|row| Some(row.key) == key && manages(caller, row));
    row.map(|row| (**row).clone()).ok_or_else(|| Problem::not_found("key"))
}

async fn revoke(State(api): State<Api>, may: May<Manage>, Path(id): Path<String>) -> Answer<StatusCode> {
    let row = found(&api, &may.caller, &id)?;
    let audit = api.audit(&may.caller, row.tenant.as_ref(), "key.revoked", id);
    api.hub.store.delete_api_key(row.key, audit.showing(Some(&audited(&row)), None)).await?;
    api.hub.directory.refresh_keys().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn rotate(State(api): State<Api>, may: May<Manage>, Path(id): Path<String>) -> Answer<Out<MadeKey>> {
    let old = found(&api, &may.caller, &id)?;
    let made = api_key::generate(&api.hub.ids);
    let row = ApiKeyRow { hash: made.hash, hint: hint(&made), ..old };
    let audit = api.audit(&may.caller, row.tenant.as_ref(), "key.rotated", id);
    api.hub.store.update_api_key(row.clone(), audit).await?;
    api.hub.directory.refresh_keys().await?;
    Ok(Out(MadeKey { about: shown(&row), key: made.text.expose_secret().to_owned() }))
}
