//! Deliveries: what goes where, and how far it is. `held` is a view over queued and waiting ones.

use axum::{
    Json as Out,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    auth::{In, Manage, Need as _, Read},
    body::Params,
    paging::{Paged, page},
    problem::{Answer, Problem},
    routes::{Routes, doc},
};
use crate::{
    clock::Timestamp,
    directory::view::TenantView,
    event::{EventType, Target, Urgency},
    id::Key,
    queue::{dispatch::hold, reason::ReasonClass, state::State as Stored},
    run::{
        journal::{EntryOutcome, Record},
        run::journal_place,
    },
    store::records::{AttemptRecord, DeliveryFilter, DeliveryRow},
};

const TAG: &str = "deliveries";
/// Pages read to fill one page of a view state, so that a long backlog of others costs a bounded number of reads.
const MAX_READS: usize = 10;
const STATES: &str = "queued, running, waiting, held, delivered, dead or cancelled";

pub(super) fn routes(routes: Routes) -> Routes {
    let one = |action: &str| format!("/v1/tenants/{{tenant}}/deliveries/{{id}}{action}");
    routes
        .get(
            "/v1/tenants/{tenant}/deliveries",
            doc(TAG, Read::SCOPE, "List deliveries, newest first").query::<ListParams>().lists::<Delivery>("A page."),
            list,
        )
        .get(
            &one(""),
            doc(TAG, Read::SCOPE, "Read a delivery with its attempts and what its journal has")
                .answers::<DeliveryDetail>(200, "The delivery."),
            read,
        )
        .post(
            &one("/retry"),
            doc(TAG, Manage::SCOPE, "Make a waiting delivery due now").answers::<Delivery>(200, "Due."),
            retry,
        )
        .post(
            &one("/cancel"),
            doc(TAG, Manage::SCOPE, "Call off a live delivery").answers::<Delivery>(200, "Cancelled."),
            cancel,
        )
}

/// Which deliveries.
#[derive(Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    /// One or several, separated by commas: queued, running, waiting, held, delivered, dead, cancelled.
    state: Option<String>,
    /// A reason class: auth, config, provider_down, ...
    reason: Option<String>,
    /// `ep_..`, `plugin:billy` or `unrouted`.
    target: Option<String>,
    /// Events of this type.
    event_type: Option<String>,
    /// A group of dead letters.
    fingerprint: Option<String>,
    /// Made at or after.
    #[param(value_type = Option<String>)]
    since: Option<Timestamp>,
    limit: Option<u32>,
    after: Option<String>,
}

/// A delivery.
#[derive(Serialize, ToSchema)]
pub(super) struct Delivery {
    id: String,
    event_id: String,
    event_type: String,
    correlation_id: String,
    /// `ep_..`, `plugin:billy` or `unrouted`.
    target: String,
    /// `queued`, `running`, `waiting`, `held`, `delivered`, `dead` or `cancelled`.
    state: &'static str,
    /// Class of the last failure; of the block while held.
    reason: Option<&'static str>,
    code: Option<String>,
    message: Option<String>,
    /// Since when it is held.
    #[schema(value_type = Option<String>, format = DateTime)]
    held_since: Option<Timestamp>,
    /// When the next attempt is due.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
    /// Attempts ever.
    attempt_count: u32,
    /// Attempts of this retry cycle.
    tries: u32,
    /// Workers lost while they ran it.
    crashes: u32,
    /// Groups it with dead letters that failed alike.
    fingerprint: Option<String>,
    /// Whether it waits behind a delivery with its ordering key.
    behind: bool,
    #[schema(value_type = String)]
    urgency: Urgency,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A delivery with all that is known of it.
#[derive(Serialize, ToSchema)]
struct DeliveryDetail {
    #[serde(flatten)]
    delivery: Delivery,
    attempts: Vec<Attempt>,
    /// What a run has recorded; null without a recorded write.
    journal: Option<JournalSummary>,
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

/// A delivery as people see it.
pub(super) fn shown(tenant: &TenantView, row: &DeliveryRow) -> Delivery {
    let blocked = matches!(row.state, Stored::Queued | Stored::Waiting);
    let held = if blocked { hold(tenant, &row.target, row.lane.urgency) } else { None };
    let failure = held.as_ref().map(|held| &held.failure).or(row.failure.as_ref());
    let waits = held.is_none() && blocked;
    Delivery {
        id: row.key.with_prefix("dlv"),
        event_id: row.event_id.to_string(),
        event_type: row.event_type.clone(),
        correlation_id: row.correlation_id.to_string(),
        target: row.target.to_string(),
        state: if held.is_some() { "held" } else { row.state.as_str() },
        reason: failure.map(|failure| failure.reason.as_str()),
        code: failure.map(|failure| failure.code.clone()),
        message: failure.map(|failure| failure.message.clone()),
        held_since: held.as_ref().map(|held| held.since),
        next_attempt_at: waits.then_some(row.due_at),
        attempt_count: row.epoch,
        tries: row.tries,
        crashes: row.crashes,
        fingerprint: row.fingerprint.clone(),
        behind: row.behind,
        urgency: row.lane.urgency,
        expires_at: row.expires_at,
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
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

async fn list(
    State(api): State<Api>,
    within: In<Read>,
    Params(params): Params<ListParams>,
) -> Answer<Out<Paged<Delivery>>> {
    listed(&api, &within.tenant, params, None).await.map(Out)
}

/// The view states asked for, and the stored states that can show as them.
fn states(text: Option<&str>) -> Answer<(Vec<&str>, Vec<Stored>)> {
    let asked: Vec<&str> = text.into_iter().flat_map(|text| text.split(',')).map(str::trim).collect();
    let mut stored = Vec::new();
    for state in &asked {
        let can_be = match *state {
            "held" => vec![Stored::Queued, Stored::Waiting],
            other => {
                vec![other.parse().map_err(|_| Problem::field("state", format!("`{other}` is none of {STATES}")))?]
            }
        };
        stored.extend(can_be.into_iter().filter(|state| !stored.contains(state)).collect::<Vec<_>>());
    }
    Ok((asked, stored))
}

/// A page of deliveries in the states asked for, as they show.
pub(super) async fn listed(
    api: &Api,
    tenant: &TenantView,
    params: ListParams,
    target: Option<Target>,
) -> Answer<Paged<Delivery>> {
    let (asked, stored) = states(params.state.as_deref())?;
    let by_text = || {
        params.target.as_deref().map(|text| text.parse().map_err(|error| Problem::field("target", format!("{error}"))))
    };
    let target = match target {
        Some(target) => Some(target),
        None => by_text().transpose()?,
    };
    let reason = params.reason.as_deref().map(|text| {
        let known = || ReasonClass::ALL.map(ReasonClass::as_str).join(", ");
        text.parse::<ReasonClass>().map_err(|_| Problem::field("reason", format!("must be one of {}", known())))
    });
    let reason = reason.transpose()?;
    if let Some(event_type) = &params.event_type {
        event_type.parse::<EventType>().map_err(|error| Problem::field("event_type", format!("{error}")))?;
    }
    // A held delivery shows the reason of its block, so its stored reason cannot choose it.
    let shows_held = asked.is_empty() || asked.contains(&"held");
    let filter = DeliveryFilter {
        states: stored,
        reason: reason.filter(|_| !shows_held).map(|class| class.as_str().to_owned()),
        target,
        event: None,
        fingerprint: params.fingerprint,
        event_type: params.event_type,
        since: params.since,
    };
    let wanted = |delivery: &Delivery| {
        (asked.is_empty() || asked.contains(&delivery.state))
            && reason.is_none_or(|class| delivery.reason == Some(class.as_str()))
    };
    let mut page = page("dlv", params.limit, params.after.as_deref())?;
    let limit = (page.limit - 1) as usize;
    let mut data = Vec::new();
    for _ in 0..MAX_READS {
        let rows = api.hub.store.deliveries(&tenant.row.id, filter.clone(), page).await?;
        let ended = rows.len() < page.limit as usize;
        for row in rows {
            let delivery = shown(tenant, &row);
            if wanted(&delivery) {
                if data.len() == limit {
                    // One more than fits: the page before it ends at the last that was taken.
                    let next = data.last().map(|last: &Delivery| last.id.clone());
                    return Ok(Paged { data, next });
                }
                data.push(delivery);
            }
            page.after = Some(row.key);
        }
        if ended {
            return Ok(Paged { data, next: None });
        }
    }
    Ok(Paged { data, next: page.after.map(|key| key.with_prefix("dlv")) })
}

fn key(id: &str) -> Answer<Key> {
    Key::parse("dlv", id).ok_or_else(|| Problem::not_found("delivery"))
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
        delivery: shown(&within.tenant, &row),
        attempts: attempts.into_iter().map(shown_attempt).collect(),
        journal: journal(&api, &within.tenant, key).await?,
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
    serde_json::from_slice(&plain).map(Some).map_err(|error| super::problem::internal(&error))
}

async fn retry(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
) -> Answer<Out<Delivery>> {
    let audit = api.audit(&within.caller, Some(within.id()), "delivery.retried", id.as_str());
    let key = key(&id)?;
    let lane = api.hub.store.retry_now(within.id(), key, audit).await?;
    api.hub.wake(&[lane]);
    let row = api.hub.store.delivery(within.id(), key).await?;
    Ok(Out(shown(&within.tenant, &row)))
}

async fn cancel(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
) -> Answer<Out<Delivery>> {
    let audit = api.audit(&within.caller, Some(within.id()), "delivery.cancelled", id.as_str());
    let key = key(&id)?;
    let lane = api.hub.store.cancel(within.id(), key, audit).await?;
    // What waited behind it in its order may go on.
    api.hub.wake(&[lane]);
    let row = api.hub.store.delivery(within.id(), key).await?;
    Ok(Out(shown(&within.tenant, &row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_reads_what_can_be_held() {
        let (asked, stored) = states(Some("held, dead")).unwrap();
        assert_eq!(asked, ["held", "dead"]);
        assert_eq!(stored, [Stored::Queued, Stored::Waiting, Stored::Dead]);
        assert_eq!(states(Some("queued,held")).unwrap().1, [Stored::Queued, Stored::Waiting]);
        assert!(states(None).unwrap().1.is_empty());
        assert!(states(Some("stuck")).is_err());
    }
}
