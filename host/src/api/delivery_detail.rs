//! One delivery with its attempts and what its journal has.

use axum::{
    Json as Out,
    extract::{Path, State},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Api,
    auth::{In, Need as _, Read},
    deliveries::{Delivery, key, shown},
    problem::{Answer, internal},
    routes::{Routes, doc},
    shadows,
};
use crate::{
    clock::Timestamp,
    directory::view::TenantView,
    id::Key,
    run::{
        journal::{EntryOutcome, Record},
        run::journal_place,
    },
    store::records::AttemptRecord,
};

const TAG: &str = "deliveries";

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get(
        "/v1/tenants/{tenant}/deliveries/{id}",
        doc(TAG, Read::SCOPE, "Read a delivery with its attempts and what its journal has")
            .answers::<DeliveryDetail>(200, "The delivery."),
        read,
    )
}

/// A delivery with all that is known of it.
#[derive(Serialize, ToSchema)]
struct DeliveryDetail {
    #[serde(flatten)]
    delivery: Delivery,
    attempts: Vec<Attempt>,
    /// What a run has recorded; null without a recorded write.
    journal: Option<JournalSummary>,
    /// How the shadow version compared on this delivery; null where none ran.
    shadow: Option<shadows::Run>,
}

/// One attempt.
#[derive(Serialize, ToSchema)]
pub(super) struct Attempt {
    number: u32,
    #[schema(value_type = String, format = DateTime)]
    pub(super) started_at: Timestamp,
    duration_ms: u64,
    /// `succeeded`, `failed` or `lost`.
    outcome: String,
    reason: Option<&'static str>,
    code: Option<String>,
    message: Option<String>,
    /// The subscriber's HTTP status.
    status: Option<u16>,
    plugin_version: Option<String>,
    /// Response capture, calls, usage and log, as far as there are any.
    #[schema(value_type = Object)]
    pub(super) detail: Value,
}

/// The journal of a delivery without its contents.
#[derive(Serialize, ToSchema)]
struct JournalSummary {
    /// The version it belongs to.
    version: String,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    calls: Vec<JournalCall>,
    /// Confirmed writes: a retry is served their recorded answers.
    confirmed: usize,
    /// Writes of which nobody knows whether they happened.
    unresolved: usize,
}

/// One recorded call.
#[derive(Serialize, ToSchema)]
struct JournalCall {
    index: usize,
    /// `POST billy /invoices`.
    call: String,
    /// `read`, `intent`, `confirmed`, `failed` or `unknown`.
    #[schema(value_type = String)]
    outcome: EntryOutcome,
    /// The provider's status.
    status: Option<u16>,
    /// The idempotency key it was sent under.
    key: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

pub(super) fn shown_attempt(record: AttemptRecord) -> Attempt {
    Attempt {
        number: record.number,
        started_at: record.started_at,
        duration_ms: record.duration_us.div_ceil(1000),
        outcome: record.outcome,
        reason: record.failure.as_ref().map(|failure| failure.reason.as_str()),
        code: record.failure.as_ref().map(|failure| failure.code.clone()),
        message: record.failure.map(|failure| failure.message),
        status: record.status,
        plugin_version: record.plugin_version,
        detail: record.detail.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_else(|| json!({})),
    }
}

async fn read(
    State(api): State<Api>,
    within: In<Read>,
    Path((_, id)): Path<(String, String)>,
) -> Answer<Out<DeliveryDetail>> {
    let key = key(&id)?;
    let row = api.hub.store.delivery(within.id(), key).await?;
    let attempts = api.hub.store.attempts(within.id(), key).await?;
    Ok(Out(DeliveryDetail {
        delivery: shown(&api, &within.tenant, &row),
        attempts: attempts.into_iter().map(shown_attempt).collect(),
        journal: journal(&api, &within.tenant, key).await?,
        shadow: api.hub.store.shadow_run(within.id(), key).await?.map(shadows::shown),
    }))
}

async fn journal(api: &Api, tenant: &TenantView, delivery: Key) -> Answer<Option<JournalSummary>> {
    let Some(record) = record(api, tenant, delivery).await? else { return Ok(None) };
    let count = |wanted: &[EntryOutcome]| record.entries.iter().filter(|entry| wanted.contains(&entry.outcome)).count();
    let at = |ms: u64| Timestamp(i64::try_from(ms).unwrap_or(i64::MAX));
    Ok(Some(JournalSummary {
        confirmed: count(&[EntryOutcome::Confirmed]),
        unresolved: count(&[EntryOutcome::Intent, EntryOutcome::Unknown]),
        started_at: at(record.started_at_ms),
        calls: record
            .entries
            .into_iter()
            .enumerate()
            .map(|(index, entry)| JournalCall {
                index,
                call: entry.call,
                outcome: entry.outcome,
                status: entry.status,
                key: entry.key,
                at: at(entry.at_ms),
            })
            .collect(),
        version: record.version,
    }))
}

/// The opened journal of a delivery.
pub(super) async fn record(api: &Api, tenant: &TenantView, delivery: Key) -> Answer<Option<Record>> {
    let Some(sealed) = api.hub.store.journal(&tenant.row.id, delivery).await? else { return Ok(None) };
    let row = delivery.to_string();
    let plain = api.hub.vault.open(&tenant.key, journal_place(tenant.row.id.as_str(), &row), &sealed)?;
    serde_json::from_slice(&plain).map(Some).map_err(|error| internal(&error))
}
