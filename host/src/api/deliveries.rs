//! Deliveries: what goes where, and how far it is. `held` is a view over queued and waiting ones.

use axum::{
    Json as Out,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
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
    store::records::{DeliveryFilter, DeliveryRow},
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

/// A delivery as people see it.
pub(super) fn shown(api: &Api, tenant: &TenantView, row: &DeliveryRow) -> Delivery {
    let blocked = matches!(row.state, Stored::Queued | Stored::Waiting);
    let held = if blocked { hold(tenant, &row.target, row.lane.urgency) } else { None };
    let failure = held.as_ref().map(|held| &held.failure).or(row.failure.as_ref());
    let waits = held.is_none() && blocked;
    // An open breaker, or a silence that the target asked for: its end is known.
    let silent_until = if waits { api.hub.silent_until(&row.lane) } else { None };
    Delivery {
        id: row.key.with_prefix("dlv"),
        event_id: row.event_id.to_string(),
        event_type: row.event_type.clone(),
        correlation_id: row.correlation_id.to_string(),
        target: row.target.to_string(),
        state: match (&held, silent_until) {
            (Some(_), _) => "held",
            (None, Some(_)) => Stored::Waiting.as_str(),
            (None, None) => row.state.as_str(),
        },
        reason: failure.map(|failure| failure.reason.as_str()),
        code: failure.map(|failure| failure.code.clone()),
        message: failure.map(|failure| failure.message.clone()),
        held_since: held.as_ref().map(|held| held.since),
        next_attempt_at: waits.then(|| silent_until.map_or(row.due_at, |until| until.max(row.due_at))),
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
            "held" | "waiting" => vec![Stored::Queued, Stored::Waiting],
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
            let delivery = shown(api, tenant, &row);
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

pub(super) fn key(id: &str) -> Answer<Key> {
    Key::parse("dlv", id).ok_or_else(|| Problem::not_found("delivery"))
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
    Ok(Out(shown(&api, &within.tenant, &row)))
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
    Ok(Out(shown(&api, &within.tenant, &row)))
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
