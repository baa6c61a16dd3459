//! Events: search, read, replay.

use axum::{
    Json as Out,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    auth::{In, Manage, Need as _, Read},
    body::Params,
    deliveries::{Delivery, shown as shown_delivery},
    paging::{Paged, page, paged},
    problem::{Answer, Problem},
    routes::{Routes, doc},
};
use crate::{
    clock::Timestamp,
    event::{Event, Urgency},
    store::records::{DeliveryFilter, EventFilter, Page},
};

const TAG: &str = "events";
/// Deliveries shown with one event.
const MAX_DELIVERIES: u32 = 200;

pub(super) fn routes(routes: Routes) -> Routes {
    let all = "/v1/tenants/{tenant}/events";
    routes
        .get(
            all,
            doc(TAG, Read::SCOPE, "Search events, newest first").query::<Search>().lists::<EventOut>("A page."),
            list,
        )
        .get(
            "/v1/tenants/{tenant}/events/{id}",
            doc(TAG, Read::SCOPE, "Read an event with its deliveries").answers::<EventDetail>(200, "The event."),
            read,
        )
        .post(
            "/v1/tenants/{tenant}/events/{id}/replay",
            doc(TAG, Manage::SCOPE, "Route an event again: adds deliveries for targets that have none")
                .answers::<Rerouted>(202, "The new deliveries' targets."),
            replay,
        )
}

/// An event as stored.
#[derive(Serialize, ToSchema)]
pub(super) struct EventOut {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    source: String,
    subject: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    time: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    accepted_at: Timestamp,
    ordering_key: Option<String>,
    correlation_id: String,
    #[schema(value_type = String)]
    urgency: Urgency,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// The delivery whose run emitted it.
    cause: Option<String>,
    /// The inbound request it came from.
    request: Option<String>,
    hop: u8,
    /// Extension attributes.
    #[schema(value_type = Option<Object>)]
    extensions: Option<Box<RawValue>>,
    #[schema(value_type = Object)]
    data: Option<Box<RawValue>>,
}

/// An event with its deliveries.
#[derive(Serialize, ToSchema)]
struct EventDetail {
    #[serde(flatten)]
    event: EventOut,
    deliveries: Vec<Delivery>,
}

/// What a replay of an event added.
#[derive(Serialize, ToSchema)]
struct Rerouted {
    /// The targets that had no delivery.
    targets: Vec<String>,
}

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
struct Search {
    /// Exact type, or `invoice.*`.
    #[serde(rename = "type")]
    event_type: Option<String>,
    /// Accepted at or after.
    #[param(value_type = Option<String>)]
    since: Option<Timestamp>,
    /// Accepted before.
    #[param(value_type = Option<String>)]
    until: Option<Timestamp>,
    correlation_id: Option<String>,
    /// External id.
    subject: Option<String>,
    limit: Option<u32>,
    after: Option<String>,
}

pub(super) fn shown(event: &Event) -> EventOut {
    let raw = |text: &str| RawValue::from_string(text.to_owned()).ok();
    EventOut {
        id: event.id.to_string(),
        event_type: event.event_type.to_string(),
        source: event.source.to_string(),
        subject: event.subject.clone(),
        time: event.time,
        accepted_at: event.accepted_at,
        ordering_key: event.ordering_key.clone(),
        correlation_id: event.correlation_id.to_string(),
        urgency: event.urgency,
        expires_at: event.expires_at,
        cause: event.cause.map(|key| key.with_prefix("dlv")),
        request: event.request.map(|key| key.with_prefix("req")),
        hop: event.hop,
        extensions: event.extensions.as_deref().and_then(raw),
        data: raw(&event.data),
    }
}

async fn list(
    State(api): State<Api>,
    within: In<Read>,
    Params(search): Params<Search>,
) -> Answer<Out<Paged<EventOut>>> {
    let page = page_of(&api, &within, &search).await?;
    let filter = EventFilter {
        event_type: search.event_type,
        correlation_id: search.correlation_id,
        subject: search.subject,
        since: search.since,
        until: search.until,
    };
    let events = api.hub.store.events(within.id(), filter, page).await?;
    Ok(Out(paged(events, page, |event| event.key.with_prefix("evt"), |event| shown(&event))))
}

/// The cursor is the internal key; a client may also give the id of an event that it chose itself.
async fn page_of(api: &Api, within: &In<Read>, search: &Search) -> Answer<Page> {
    match page("evt", search.limit, search.after.as_deref()) {
        Ok(page) => Ok(page),
        Err(problem) => {
            let Some(id) = &search.after else { return Err(problem) };
            let event = api.hub.store.event(within.id(), id).await.map_err(|_| problem)?;
            Ok(Page { after: Some(event.key), ..page("evt", search.limit, None)? })
        }
    }
}

async fn read(
    State(api): State<Api>,
    within: In<Read>,
    Path((_, id)): Path<(String, String)>,
) -> Answer<Out<EventDetail>> {
    let event = api.hub.store.event(within.id(), &id).await.map_err(Problem::from)?;
    let filter = DeliveryFilter { event: Some(event.key), ..DeliveryFilter::default() };
    let page = Page { limit: MAX_DELIVERIES, after: None };
    let deliveries = api.hub.store.deliveries(within.id(), filter, page).await?;
    let deliveries = deliveries.iter().map(|row| shown_delivery(&api, &within.tenant, row)).collect();
    Ok(Out(EventDetail { event: shown(&event), deliveries }))
}

async fn replay(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
) -> Answer<impl IntoResponse> {
    let event = api.hub.store.event(within.id(), &id).await?;
    let audit = api.audit(&within.caller, Some(within.id()), "event.replayed", id);
    let rerouted = api.hub.reroute(&within.tenant, &[event], 0, audit).await?;
    let targets = rerouted.iter().flat_map(|rerouted| &rerouted.targets).map(ToString::to_string).collect();
    Ok((StatusCode::ACCEPTED, Out(Rerouted { targets })))
}
