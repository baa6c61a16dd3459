//! Endpoints: where subscribers want events.

use std::collections::BTreeMap;

use axum::{
    Json as Out,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Api, Changing as _,
    auth::{In, Manage, Need as _, Read},
    body::{Json, Params},
    broker_settings::{checked_exchange, no_exchange, sealed_broker},
    endpoint_settings::{
        checked_filter, checked_format, checked_number, checked_schedule, checked_scheme, checked_types, checked_url,
        sealed_headers, signing_secret,
    },
    paging::{PageParams, Paged, paged_by_name},
    problem::{Answer, Problem},
    routes::{Routes, doc},
};
use crate::{
    clock::Timestamp,
    directory::{
        places,
        view::{EndpointView, TenantView},
    },
    event::Target,
    id::Key,
    store::registry::{EndpointRow, EndpointState},
};

const TAG: &str = "endpoints";
const RATE: std::ops::RangeInclusive<u32> = 1..=10_000;
const CONCURRENCY: std::ops::RangeInclusive<u32> = 1..=1_000;
const TIMEOUT_MS: std::ops::RangeInclusive<u32> = 100..=60_000;
const MAX_DESCRIPTION: usize = 1_000;

pub(super) fn routes(routes: Routes) -> Routes {
    let (all, one) = ("/v1/tenants/{tenant}/endpoints", "/v1/tenants/{tenant}/endpoints/{id}");
    routes
        .post(
            all,
            doc(TAG, Manage::SCOPE, "Make an endpoint; its signing secret is answered this once")
                .body::<NewEndpoint>()
                .answers::<MadeEndpoint>(201, "Made."),
            create,
        )
        .get(all, doc(TAG, Read::SCOPE, "List endpoints").query::<PageParams>().lists::<Endpoint>("A page."), list)
        .get(one, doc(TAG, Read::SCOPE, "Read an endpoint").answers::<Endpoint>(200, "The endpoint."), read)
        .patch(
            one,
            doc(TAG, Manage::SCOPE, "Change an endpoint; fields left out stay, null resets")
                .body::<EndpointChange>()
                .answers::<Endpoint>(200, "Changed."),
            change,
        )
        .delete(
            one,
            doc(TAG, Manage::SCOPE, "Remove an endpoint; its live deliveries are cancelled")
                .answers_as(204, "Removed.", None),
            delete,
        )
}

/// An endpoint to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewEndpoint {
    /// `http`, or `amqp`: each event is published to an exchange.
    kind: Option<String>,
    /// An https URL on the public internet, or what the operator allows. Of an `amqp` endpoint
    /// `amqps://user:password@host/vhost`; user and password are not shown again.
    url: String,
    /// Of an `amqp` endpoint: where messages are published; empty is the broker's default exchange.
    exchange: Option<String>,
    /// Of an `amqp` endpoint: under which key; each event's type if left out.
    routing_key: Option<String>,
    /// Types and patterns: `invoice.paid`, `invoice.*`, `*`. Commands only by exact type.
    event_types: Vec<String>,
    /// CEL over `event` and `data`.
    #[schema(example = "data.total.currency == 'DKK'")]
    filter: Option<String>,
    description: Option<String>,
    /// `cloudevents` (structured) or `standard` (`{type,timestamp,data}`).
    format: Option<String>,
    /// `whsec_..` or `whsk_..`; made if left out.
    secret: Option<String>,
    /// What is made if no secret is given: `v1` (HMAC) or `v1a` (ed25519, its public key is published).
    signing: Option<String>,
    /// Own header fields.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Seconds before each attempt.
    retry_schedule: Option<Vec<u64>>,
    /// Starts per second.
    rate_per_s: Option<u32>,
    /// Attempts at once.
    concurrency: Option<u32>,
    /// Whether events with one ordering key wait for each other.
    #[serde(default)]
    ordered: bool,
    /// Time for one attempt, its answer's body included.
    timeout_ms: Option<u32>,
}

/// Changes of an endpoint.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EndpointChange {
    /// Of an `amqp` endpoint with user and password again.
    url: Option<String>,
    exchange: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    routing_key: Option<Option<String>>,
    event_types: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    filter: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    format: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<u64>>)]
    retry_schedule: Option<Option<Vec<u64>>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>)]
    rate_per_s: Option<Option<u32>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>)]
    concurrency: Option<Option<u32>>,
    ordered: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>)]
    timeout_ms: Option<Option<u32>>,
}

/// Tells null, which resets, from a field that is left out.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// An endpoint. Secrets and the values of its headers are not shown.
#[derive(Serialize, ToSchema)]
pub(super) struct Endpoint {
    id: String,
    /// `http` or `amqp`.
    kind: &'static str,
    /// Of an `amqp` endpoint without user and password.
    url: String,
    exchange: Option<String>,
    routing_key: Option<String>,
    event_types: Vec<String>,
    filter: Option<String>,
    description: Option<String>,
    format: String,
    /// The names of its own header fields.
    headers: Vec<String>,
    retry_schedule: Option<Vec<u64>>,
    rate_per_s: Option<u32>,
    concurrency: Option<u32>,
    ordered: bool,
    timeout_ms: Option<u32>,
    /// `active`, `paused` or `disabled`.
    #[schema(value_type = String)]
    state: EndpointState,
    /// Why it takes nothing.
    reason: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    state_since: Option<Timestamp>,
    /// Since when every attempt has failed.
    #[schema(value_type = Option<String>, format = DateTime)]
    failing_since: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_success: Option<Timestamp>,
    /// Active signing secrets, the current one included.
    active_secrets: usize,
    #[schema(value_type = Vec<String>)]
    old_secrets_until: Vec<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// An endpoint just made, with its secret.
#[derive(Serialize, ToSchema)]
struct MadeEndpoint {
    #[serde(flatten)]
    endpoint: Endpoint,
    /// The signing secret, shown this once; none of a key pair that the hub made.
    secret: Option<String>,
    /// The public key of a pair, also at `/.well-known/switchyard/{tenant}/keys.json`.
    public_key: Option<String>,
}

pub(super) fn shown(row: &EndpointRow, headers: &[(String, String)], now: Timestamp) -> Endpoint {
    let active = |until: Option<Timestamp>| until.is_none_or(|until| until > now);
    Endpoint {
        id: row.key.with_prefix("ep"),
        kind: kind_of(row),
        url: row.url.clone(),
        exchange: row.amqp.as_ref().map(|exchange| exchange.name.clone()),
        routing_key: row.amqp.as_ref().and_then(|exchange| exchange.routing_key.clone()),
        event_types: row.event_types.clone(),
        filter: row.filter.clone(),
        description: row.description.clone(),
        format: row.format.clone(),
        headers: headers.iter().map(|(name, _)| name.clone()).collect(),
        retry_schedule: row.retry_schedule.clone(),
        rate_per_s: row.rate_per_s,
        concurrency: row.concurrency,
        ordered: row.ordered,
        timeout_ms: row.timeout_ms,
        state: row.state,
        reason: row.state_reason.as_ref().map(|(text, _)| text.clone()),
        state_since: row.state_reason.as_ref().map(|(_, since)| *since),
        failing_since: row.failing_since,
        last_success: row.last_success,
        active_secrets: row.secrets.iter().filter(|secret| active(secret.expires_at)).count(),
        old_secrets_until: row
            .secrets
            .iter()
            .filter_map(|secret| secret.expires_at)
            .filter(|until| *until > now)
            .collect(),
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}

const fn kind_of(row: &EndpointRow) -> &'static str {
    if row.amqp.is_some() { "amqp" } else { "http" }
}

/// What the audit keeps: a URL may hold a token in its query.
fn audited(row: &EndpointRow) -> Value {
    json!({
        "kind": kind_of(row),
        "url": row.url.split('?').next(),
        "exchange": row.amqp.as_ref().map(|exchange| &exchange.name),
        "routing_key": row.amqp.as_ref().and_then(|exchange| exchange.routing_key.as_ref()),
        "event_types": row.event_types,
        "filter": row.filter,
        "format": row.format,
        "state": row.state,
        "retry_schedule": row.retry_schedule,
        "rate_per_s": row.rate_per_s,
        "concurrency": row.concurrency,
        "ordered": row.ordered,
        "timeout_ms": row.timeout_ms,
        "secrets": row.secrets.len(),
    })
}

pub(super) fn found<'a>(tenant: &'a TenantView, id: &str) -> Answer<&'a EndpointView> {
    let view = Key::parse("ep", id).and_then(|key| tenant.endpoints.get(&key));
    view.map(|view| &**view).ok_or_else(|| Problem::not_found("endpoint"))
}

async fn create(State(api): State<Api>, within: In<Manage>, Json(new): Json<NewEndpoint>) -> Answer<impl IntoResponse> {
    let (key, now) = (api.hub.ids.next(), api.hub.clock.now());
    let tenant = &within.tenant;
    let scheme = new.signing.as_deref().map(checked_scheme).transpose()?;
    let made = signing_secret(&api, tenant, key, new.secret, scheme)?;
    let (url, amqp) = match new.kind.as_deref().unwrap_or("http") {
        "http" => (checked_url(&api, new.url)?, no_exchange(new.exchange, new.routing_key)?),
        "amqp" => {
            let (shown, sealed) =
                sealed_broker(&api, tenant, places::endpoint_broker(within.id(), &key), "url", &new.url)?;
            (shown, Some(checked_exchange(sealed, new.exchange, new.routing_key)?))
        }
        _ => return Err(Problem::field("kind", "must be `http` or `amqp`")),
    };
    let row = EndpointRow {
        key,
        tenant: within.id().clone(),
        url,
        amqp,
        event_types: checked_types(new.event_types)?,
        filter: new.filter.map(checked_filter).transpose()?,
        description: new.description.map(checked_description).transpose()?,
        format: checked_format(new.format.unwrap_or_else(|| "cloudevents".to_owned()))?,
        secrets: vec![made.sealed],
        state: EndpointState::Active,
        state_reason: None,
        retry_schedule: new.retry_schedule.map(checked_schedule).transpose()?,
        rate_per_s: new.rate_per_s.map(|value| checked_number("rate_per_s", value, RATE)).transpose()?,
        concurrency: new.concurrency.map(|value| checked_number("concurrency", value, CONCURRENCY)).transpose()?,
        ordered: new.ordered,
        headers: sealed_headers(&api, tenant, key, &new.headers)?,
        timeout_ms: new.timeout_ms.map(|value| checked_number("timeout_ms", value, TIMEOUT_MS)).transpose()?,
        failing_since: None,
        last_success: None,
        created_at: now,
        updated_at: now,
    };
    let audit = api.audit(&within.caller, Some(within.id()), "endpoint.created", key.with_prefix("ep"));
    api.hub.store.create_endpoint(row.clone(), audit.showing(None, Some(&audited(&row)))).await?;
    api.tenant_changed(within.id()).await?;
    let headers: Vec<_> = new.headers.into_iter().collect();
    let endpoint = shown(&row, &headers, now);
    Ok((StatusCode::CREATED, Out(MadeEndpoint { endpoint, secret: made.shown, public_key: made.public })))
}

fn checked_description(text: String) -> Answer<String> {
    if text.len() > MAX_DESCRIPTION {
        return Err(Problem::field("description", format!("at most {MAX_DESCRIPTION} bytes")));
    }
    Ok(text)
}

async fn list(
    State(api): State<Api>,
    within: In<Read>,
    Params(page): Params<PageParams>,
) -> Answer<Out<Paged<Endpoint>>> {
    let now = api.hub.clock.now();
    let endpoints = within.tenant.endpoints.values();
    let entries = endpoints.map(|view| (view.row.key.with_prefix("ep"), shown(&view.row, &view.headers, now)));
    paged_by_name(entries.collect(), &page).map(Out)
}

async fn read(
    State(api): State<Api>,
    within: In<Read>,
    Path((_, id)): Path<(String, String)>,
) -> Answer<Out<Endpoint>> {
    let view = found(&within.tenant, &id)?;
    Ok(Out(shown(&view.row, &view.headers, api.hub.clock.now())))
}

async fn change(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
    Json(change): Json<EndpointChange>,
) -> Answer<Out<Endpoint>> {
    let view = found(&within.tenant, &id)?;
    let mut row = view.row.clone();
    if let Some(before) = row.amqp.take() {
        let mut sealed = before.url;
        if let Some(url) = change.url {
            let place = places::endpoint_broker(within.id(), &row.key);
            (row.url, sealed) = sealed_broker(&api, &within.tenant, place, "url", &url)?;
        }
        let exchange = change.exchange.unwrap_or(before.name);
        let routing_key = change.routing_key.unwrap_or(before.routing_key);
        row.amqp = Some(checked_exchange(sealed, Some(exchange), routing_key)?);
    } else {
        no_exchange(change.exchange, change.routing_key.flatten())?;
        if let Some(url) = change.url {
            row.url = checked_url(&api, url)?;
        }
    }
    if let Some(types) = change.event_types {
        row.event_types = checked_types(types)?;
    }
    if let Some(filter) = change.filter {
        row.filter = filter.map(checked_filter).transpose()?;
    }
    if let Some(description) = change.description {
        row.description = description.map(checked_description).transpose()?;
    }
    if let Some(format) = change.format {
        row.format = checked_format(format)?;
    }
    if let Some(headers) = change.headers {
        row.headers = sealed_headers(&api, &within.tenant, row.key, &headers)?;
    }
    if let Some(schedule) = change.retry_schedule {
        row.retry_schedule = schedule.map(checked_schedule).transpose()?;
    }
    if let Some(rate) = change.rate_per_s {
        row.rate_per_s = rate.map(|value| checked_number("rate_per_s", value, RATE)).transpose()?;
    }
    if let Some(concurrency) = change.concurrency {
        row.concurrency = concurrency.map(|value| checked_number("concurrency", value, CONCURRENCY)).transpose()?;
    }
    if let Some(timeout) = change.timeout_ms {
        row.timeout_ms = timeout.map(|value| checked_number("timeout_ms", value, TIMEOUT_MS)).transpose()?;
    }
    row.ordered = change.ordered.unwrap_or(row.ordered);
    update(&api, &within, view, row, "endpoint.changed").await.map(Out)
}

/// Stores a changed endpoint, brings it into force and wakes its lanes.
pub(super) async fn update(
    api: &Api,
    within: &In<Manage>,
    before: &EndpointView,
    mut row: EndpointRow,
    action: &str,
) -> Answer<Endpoint> {
    row.updated_at = api.hub.clock.now();
    let key = row.key;
    let audit = api.audit(&within.caller, Some(within.id()), action, key.with_prefix("ep"));
    let audit = audit.showing(Some(&audited(&before.row)), Some(&audited(&row)));
    api.hub.store.update_endpoint(row, audit).await?;
    api.tenant_changed(within.id()).await?;
    api.wake_targets(within.id(), [Target::Endpoint(key)]);
    let tenant = api.hub.directory.tenant(within.id()).ok_or_else(|| Problem::not_found("tenant"))?;
    let view = found(&tenant, &key.with_prefix("ep"))?;
    Ok(shown(&view.row, &view.headers, api.hub.clock.now()))
}

async fn delete(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let row = &found(&within.tenant, &id)?.row;
    let audit = api.audit(&within.caller, Some(within.id()), "endpoint.deleted", id.as_str());
    api.hub.store.delete_endpoint(within.id(), row.key, audit.showing(Some(&audited(row)), None)).await?;
    api.tenant_changed(within.id()).await?;
    Ok(StatusCode::NO_CONTENT)
}
