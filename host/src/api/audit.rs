//! Who changed what.

use axum::{Json as Out, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    auth::{In, Manage, May, Need as _, Operate},
    body::Params,
    paging::{self, Paged},
    problem::{Answer, Problem},
    routes::{Routes, doc},
};
use crate::{clock::Timestamp, event::TenantId, store::records::AuditRow};

const TAG: &str = "audit";

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get(
            "/v1/tenants/{tenant}/audit",
            doc(TAG, Manage::SCOPE, "List what was changed in a tenant, newest first")
                .query::<AuditParams>()
                .lists::<Change>("A page."),
            of_tenant,
        )
        .get(
            "/v1/audit",
            doc(TAG, Operate::SCOPE, "List what was changed in the hub, newest first")
                .query::<AuditParams>()
                .lists::<Change>("A page."),
            of_hub,
        )
}

/// Which part of the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct AuditParams {
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<u64>,
}

/// One change.
#[derive(Serialize, ToSchema)]
struct Change {
    number: u64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `key_..`, `host` or `cli`.
    actor: String,
    /// `endpoint.created`.
    action: String,
    target: String,
    tenant: Option<String>,
    #[schema(value_type = Option<Object>)]
    before: Option<Value>,
    #[schema(value_type = Option<Object>)]
    after: Option<Value>,
}

fn shown(row: AuditRow) -> Change {
    let parsed = |text: Option<String>| text.and_then(|text| serde_json::from_str(&text).ok());
    Change {
        number: row.number,
        at: row.entry.at,
        actor: row.entry.actor,
        action: row.entry.action,
        target: row.entry.target,
        tenant: row.entry.tenant.map(|tenant| tenant.to_string()),
        before: parsed(row.entry.before),
        after: parsed(row.entry.after),
    }
}

async fn of_tenant(
    State(api): State<Api>,
    within: In<Manage>,
    Params(params): Params<AuditParams>,
) -> Answer<Out<Paged<Change>>> {
    listed(&api, Some(within.id()), &params).await.map(Out)
}

async fn of_hub(
    State(api): State<Api>,
    _: May<Operate>,
    Params(params): Params<AuditParams>,
) -> Answer<Out<Paged<Change>>> {
    listed(&api, None, &params).await.map(Out)
}

async fn listed(api: &Api, tenant: Option<&TenantId>, params: &AuditParams) -> Answer<Paged<Change>> {
    let limit = paging::limit(params.limit)?;
    let mut rows = api.hub.store.audit_rows(tenant, limit + 1, params.after).await.map_err(Problem::from)?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = if more { rows.last().map(|row| row.number.to_string()) } else { None };
    Ok(Paged { data: rows.into_iter().map(shown).collect(), next })
}
