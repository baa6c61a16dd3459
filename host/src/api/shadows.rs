//! How the shadow version of an installation compares with the one that does the work.

use std::collections::BTreeMap;

use axum::{
    Json as Out,
    extract::{Path, State},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    Api,
    auth::{In, Need as _, Read},
    body::Params,
    installations::found,
    paging::{PageParams, Paged, page, paged},
    problem::Answer,
    routes::{Routes, doc},
};
use crate::{
    clock::Timestamp,
    store::shadow::{ShadowOutcome, ShadowRun, ShadowTotal},
};

const TAG: &str = "installations";

pub(super) fn routes(routes: Routes) -> Routes {
    let one = "/v1/tenants/{tenant}/plugins/{name}/shadow";
    routes
        .get(
            one,
            doc(TAG, Read::SCOPE, "Read how shadow versions compared with the version that did the work")
                .answers::<Shadow>(200, "Totals by version."),
            read,
        )
        .get(
            &format!("{one}/runs"),
            doc(TAG, Read::SCOPE, "List the last shadow runs of an installation, newest delivery first")
                .query::<PageParams>()
                .lists::<Run>("A page."),
            list,
        )
}

/// Shadow runs of an installation.
#[derive(Serialize, ToSchema)]
struct Shadow {
    /// The version that does the work.
    running_version: Option<String>,
    /// The version that runs beside it; null while there is none.
    shadow_version: Option<String>,
    /// Totals of that version and of earlier ones.
    totals: Vec<Totals>,
}

/// Runs of one shadow version, also those no longer kept.
#[derive(Default, Serialize, ToSchema)]
struct Totals {
    shadow_version: String,
    runs: u64,
    /// It ended alike and left the same.
    same: u64,
    /// It left something else.
    differs: u64,
    /// It made a call that the live run did not make.
    diverged: u64,
    /// It broke, or refused what was carried out.
    failed: u64,
    #[schema(value_type = String, format = DateTime)]
    first_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_at: Timestamp,
}

/// One shadow run.
#[derive(Serialize, ToSchema)]
pub(super) struct Run {
    delivery: String,
    /// The version that did the work.
    version: String,
    shadow_version: String,
    /// `same`, `differs`, `diverged` or `failed`.
    #[schema(value_type = String)]
    outcome: ShadowOutcome,
    /// Where: `differences`, writes `not_made`, the `call` that diverged, the `failure`. No values.
    #[schema(value_type = Object)]
    detail: Value,
    duration_ms: u64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

pub(super) fn shown(run: ShadowRun) -> Run {
    Run {
        delivery: run.delivery.with_prefix("dlv"),
        version: run.version,
        shadow_version: run.shadow_version,
        outcome: run.outcome,
        detail: serde_json::from_str(&run.detail).unwrap_or_default(),
        duration_ms: run.duration_us.div_ceil(1000),
        at: run.at,
    }
}

fn summed(totals: Vec<ShadowTotal>) -> Vec<Totals> {
    let mut versions = BTreeMap::<String, Totals>::new();
    for ShadowTotal { shadow_version, outcome, total, first_at, last_at } in totals {
        let of = versions.entry(shadow_version.clone()).or_insert_with(|| Totals {
            shadow_version,
            first_at,
            ..Totals::default()
        });
        of.runs += total;
        (of.first_at, of.last_at) = (of.first_at.min(first_at), of.last_at.max(last_at));
        *match outcome {
            ShadowOutcome::Same => &mut of.same,
            ShadowOutcome::Differs => &mut of.differs,
            ShadowOutcome::Diverged => &mut of.diverged,
            ShadowOutcome::Failed => &mut of.failed,
        } += total;
    }
    versions.into_values().collect()
}

async fn read(
    State(api): State<Api>,
    within: In<Read>,
    Path((_, name)): Path<(String, String)>,
) -> Answer<Out<Shadow>> {
    let view = found(&within.tenant, &name)?;
    let totals = api.hub.store.shadow_totals(within.id(), &name).await?;
    Ok(Out(Shadow {
        running_version: view.version.as_ref().map(|version| version.row.version.clone()),
        shadow_version: view.row.shadow_version.clone(),
        totals: summed(totals),
    }))
}

async fn list(
    State(api): State<Api>,
    within: In<Read>,
    Path((_, name)): Path<(String, String)>,
    Params(params): Params<PageParams>,
) -> Answer<Out<Paged<Run>>> {
    let _ = found(&within.tenant, &name)?;
    let page = page("dlv", params.limit, params.after.as_deref())?;
    let runs = api.hub.store.shadow_runs(within.id(), &name, page).await?;
    Ok(Out(paged(runs, page, |run| run.delivery.with_prefix("dlv"), shown)))
}
