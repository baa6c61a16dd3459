//! What came in and became no event: parked requests and rejections.

use axum::{
    Json as Out,
    extract::{Path, State},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    auth::{In, Manage, Need as _, Read},
    body::Params,
    paging::{PageParams, Paged, page, paged},
    problem::{Answer, Problem},
    routes::{Routes, doc},
};
use crate::{
    clock::Timestamp,
    event::TenantId,
    id::Key,
    store::{
        ledger::Rejection,
        records::{Page, ParkedRow},
        registry::AuditEntry,
    },
};

const TAG: &str = "inbound";
/// A source keeps at most so many parked requests.
const MAX_PARKED: u32 = 1_000;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get(
            "/v1/tenants/{tenant}/parked",
            doc(TAG, Read::SCOPE, "List requests that could not be judged yet, newest first")
                .query::<PageParams>()
                .lists::<Parked>("A page."),
            parked,
        )
        .post(
            "/v1/tenants/{tenant}/parked/{id}/retry",
            doc(TAG, Manage::SCOPE, "Judge a parked request now").answers::<Judged>(200, "Judged."),
            retry,
        )
        .get(
            "/v1/tenants/{tenant}/rejections",
            doc(TAG, Read::SCOPE, "List refused requests, newest first")
                .query::<PageParams>()
                .lists::<Refused>("A page."),
            rejections,
        )
}

/// A parked request without its body.
#[derive(Serialize, ToSchema)]
pub(super) struct Parked {
    id: String,
    source_id: String,
    plugin: String,
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    reason: &'static str,
    code: String,
    message: String,
    tries: u32,
    bytes: u64,
    correlation_id: String,
}

/// A refused request, as far as it was kept.
#[derive(Serialize, ToSchema)]
pub(super) struct Refused {
    id: String,
    source_id: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The status that was answered.
    status: u16,
    /// `unauthenticated`, `rejected`, `too_large`, `rate_limited`, `duplicate` or `unknown_account`.
    code: String,
    /// Why, for the tenant's admin; the sender was not told.
    reason: String,
    bytes: u64,
    remote_addr: Option<String>,
    correlation_id: String,
}

/// What became of a parked request.
#[derive(Serialize, ToSchema)]
pub(super) struct Judged {
    /// False if it is an event now, or was refused; true if it stays parked.
    parked: bool,
}

pub(super) fn shown(row: ParkedRow) -> Parked {
    Parked {
        id: row.key.with_prefix("req"),
        source_id: row.source_id,
        plugin: row.plugin,
        received_at: row.received_at,
        reason: row.failure.reason.as_str(),
        code: row.failure.code,
        message: row.failure.message,
        tries: row.tries,
        bytes: row.bytes,
        correlation_id: row.correlation_id.to_string(),
    }
}

pub(super) fn refused(row: Rejection) -> Refused {
    Refused {
        id: row.key.with_prefix("req"),
        source_id: row.source_id,
        at: row.at,
        status: row.status,
        code: row.code,
        reason: row.reason,
        bytes: row.bytes,
        remote_addr: row.remote_addr,
        correlation_id: row.correlation_id.to_string(),
    }
}

async fn parked(
    State(api): State<Api>,
    within: In<Read>,
    Params(params): Params<PageParams>,
) -> Answer<Out<Paged<Parked>>> {
    let page = page("req", params.limit, params.after.as_deref())?;
    let rows = api.hub.store.parked(within.id(), page).await?;
    Ok(Out(paged(rows, page, |row| row.key.with_prefix("req"), shown)))
}

async fn rejections(
    State(api): State<Api>,
    within: In<Read>,
    Params(params): Params<PageParams>,
) -> Answer<Out<Paged<Refused>>> {
    let page = page("req", params.limit, params.after.as_deref())?;
    let rows = api.hub.store.rejections(within.id(), page).await?;
    Ok(Out(paged(rows, page, |row| row.key.with_prefix("req"), refused)))
}

async fn retry(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
) -> Answer<Out<Judged>> {
    let audit = api.audit(&within.caller, Some(within.id()), "parked.retried", id.as_str());
    retried(&api, within.id(), &id, audit).await.map(Out)
}

/// Judges one parked request of a tenant or an app.
pub(super) async fn retried(api: &Api, owner: &TenantId, id: &str, audit: AuditEntry) -> Answer<Judged> {
    let missing = || Problem::not_found("parked request");
    let key = Key::parse("req", id).ok_or_else(missing)?;
    let rows = api.hub.store.parked(owner, Page { limit: MAX_PARKED, after: None }).await?;
    let row = rows.into_iter().find(|row| row.key == key).ok_or_else(missing)?;
    let due = api.hub.store.parked_due(owner, &row.plugin, MAX_PARKED).await?;
    let request = due.into_iter().find(|parked| parked.request.key == key).ok_or_else(missing)?;
    api.hub.store.audit(audit).await?;
    let judged = api.hub.judge_one_parked(request).await?;
    Ok(Judged { parked: !judged })
}
