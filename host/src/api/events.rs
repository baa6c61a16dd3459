//! Events: publish, search, read, replay.

use axum::{
    Json as Out,
    extract::{Path, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    Api, Correlation,
    auth::{In, Manage, Need as _, Publish, Read},
    body::{self, MAX_BATCH, MAX_JSON, Params},
    cloudevents::{self, MAX_EVENTS, Structured},
    deliveries::{Delivery, shown as shown_delivery},
    paging::{Paged, page, paged},
    problem::{Answer, Code, Problem},
    routes::{Routes, doc},
};
use crate::{
    accept::{Publication, Published},
    clock::Timestamp,
    event::{Event, Urgency},
    store::records::{DeliveryFilter, EventFilter, Page},
};

const TAG: &str = "events";
const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";
/// Deliveries shown with one event.
const MAX_DELIVERIES: u32 = 200;

pub(super) fn routes(routes: Routes) -> Routes {
    let all = "/v1/tenants/{tenant}/events";
    routes
        .post(
            all,
            doc(
                TAG,
                Publish::SCOPE,
                "Publish an event or a command; also CloudEvents in structured, binary and batch form",
            )
            .body::<EventIn>()
            .body_as::<CloudEvent>(STRUCTURED)
            .body_as::<CloudEventBatch>(BATCH)
            .answers::<Accepted>(202, "Stored durably, or a duplicate of one that is.")
            .answers::<BatchAnswer>(207, "Of a batch: some were refused."),
            publish,
        )
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

/// An event to publish.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EventIn<'a> {
    /// `noun.past_verb` for a fact, `noun.verb` for a command.
    #[serde(rename = "type")]
    #[schema(example = "invoice.create")]
    event_type: String,
    /// One JSON value, as the type's schema says.
    #[serde(borrow)]
    #[schema(value_type = Object)]
    data: &'a RawValue,
    /// Yours, unique in the tenant; publishing it again is a duplicate.
    id: Option<String>,
    /// What it is about.
    subject: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    time: Option<Timestamp>,
    /// Events with equal keys reach an ordered target in the order of acceptance.
    ordering_key: Option<String>,
    correlation_id: Option<String>,
    /// `normal` or `emergency`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    urgency: Urgency,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// A CloudEvent 1.0 with JSON data; extension attributes are kept.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `cloudevents` reads")]
struct CloudEvent {
    specversion: String,
    id: String,
    source: String,
    #[schema(rename = "type")]
    event_type: String,
    subject: Option<String>,
    time: Option<String>,
    datacontenttype: Option<String>,
    orderingkey: Option<String>,
    correlationid: Option<String>,
    urgency: Option<String>,
    expiresat: Option<String>,
    #[schema(value_type = Object)]
    data: Option<serde_json::Value>,
}

/// Up to 100 CloudEvents.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `cloudevents` reads")]
struct CloudEventBatch(Vec<CloudEvent>);

/// The answer to a publication.
#[derive(Serialize, ToSchema)]
pub(super) struct Accepted {
    /// The event's id; the first one's if it is a duplicate.
    id: String,
    /// Whether it was there before.
    duplicate: bool,
    correlation_id: String,
}

impl From<Published> for Accepted {
    fn from(published: Published) -> Self {
        Self { id: published.id, duplicate: published.duplicate, correlation_id: published.correlation_id }
    }
}

/// The answer to a batch, one entry an event, in its order.
#[derive(Serialize, ToSchema)]
struct BatchAnswer {
    data: Vec<BatchEntry>,
}

/// What became of one event of a batch.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum BatchEntry {
    Accepted(Accepted),
    Refused(Problem),
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

async fn publish(
    State(api): State<Api>,
    within: In<Publish>,
    axum::Extension(Correlation(correlation)): axum::Extension<Correlation>,
    request: Request,
) -> Answer<Response> {
    let headers = request.headers();
    let media = body::media_type(headers);
    let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let linked = |said: Publication| Publication {
        correlation_id: said.correlation_id.or_else(|| Some(correlation.as_str().to_owned())),
        traceparent: said.traceparent.or_else(|| traceparent.clone()),
        ..said
    };
    if cloudevents::is_binary(headers) {
        let headers = headers.clone();
        let bytes = body::read(request, MAX_JSON).await?;
        return accepted(&api, &within, linked(cloudevents::binary(&headers, &bytes)?)).await;
    }
    match media.as_deref() {
        Some(BATCH) => {
            let bytes = body::read(request, MAX_BATCH).await?;
            let said = batch(&bytes)?.into_iter().map(|said| said.map(&linked)).collect();
            publish_batch(&api, &within, said).await
        }
        Some(STRUCTURED) => {
            let bytes = body::read(request, MAX_JSON).await?;
            let structured: Structured<'_> = body::parse(&bytes)?;
            accepted(&api, &within, linked(structured.publication("")?)).await
        }
        Some(media) if body::is_json(media) => {
            let bytes = body::read(request, MAX_JSON).await?;
            accepted(&api, &within, linked(plain(&bytes)?)).await
        }
        _ => Err(Problem::new(
            Code::UnsupportedMediaType,
            format!("send `application/json`, `{STRUCTURED}`, `{BATCH}`, or a CloudEvent in binary form"),
        )),
    }
}

fn plain(bytes: &[u8]) -> Answer<Publication> {
    let said: EventIn<'_> = body::parse(bytes)?;
    Ok(Publication {
        event_type: said.event_type,
        data: said.data.get().to_owned(),
        id: said.id,
        source: None,
        subject: said.subject,
        time: said.time,
        ordering_key: said.ordering_key,
        correlation_id: said.correlation_id,
        traceparent: None,
        urgency: said.urgency,
        expires_at: said.expires_at,
        extensions: None,
        only_to: None,
    })
}

fn batch(bytes: &[u8]) -> Answer<Vec<Answer<Publication>>> {
    let events: Vec<Structured<'_>> = body::parse(bytes)?;
    if events.is_empty() || events.len() > MAX_EVENTS {
        return Err(Problem::new(Code::InvalidRequest, format!("a batch has 1 to {MAX_EVENTS} events")));
    }
    Ok(events.into_iter().enumerate().map(|(index, event)| event.publication(&format!("[{index}]."))).collect())
}

async fn accepted(api: &Api, within: &In<Publish>, said: Publication) -> Answer<Response> {
    let published = api.hub.publish(&within.tenant, within.caller.may_emergency(), said).await?;
    Ok((StatusCode::ACCEPTED, Out(Accepted::from(published))).into_response())
}

/// Publishes the events of a batch together; each is accepted or refused for itself.
async fn publish_batch(api: &Api, within: &In<Publish>, said: Vec<Answer<Publication>>) -> Answer<Response> {
    let publishing = said.into_iter().map(async |said| match said {
        Ok(said) => match api.hub.publish(&within.tenant, within.caller.may_emergency(), said).await {
            Ok(published) => BatchEntry::Accepted(published.into()),
            Err(error) => BatchEntry::Refused(error.into()),
        },
        Err(problem) => BatchEntry::Refused(problem),
    });
    let data = join_all(publishing).await;
    let whole = data.iter().all(|entry| matches!(entry, BatchEntry::Accepted(_)));
    let status = if whole { StatusCode::ACCEPTED } else { StatusCode::MULTI_STATUS };
    Ok((status, Out(BatchAnswer { data })).into_response())
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
    let deliveries = deliveries.iter().map(|row| shown_delivery(&within.tenant, row)).collect();
    Ok(Out(EventDetail { event: shown(&event), deliveries }))
}

async fn replay(
    State(api): State<Api>,
    within: In<Manage>,
    Path((_, id)): Path<(String, String)>,
) -> Answer<impl IntoResponse> {
    let event = api.hub.store.event(within.id(), &id).await?;
    let audit = api.audit(&within.caller, Some(within.id()), "event.replayed", id);
    let targets = api.hub.reroute(&within.tenant, &event, audit).await?;
    let targets = targets.iter().map(ToString::to_string).collect();
    Ok((StatusCode::ACCEPTED, Out(Rerouted { targets })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_event_keeps_the_text_of_its_data() {
        let said = plain(br#"{"type":"a.b","data":{ "n": 1.500 },"urgency":"emergency"}"#).unwrap();
        assert_eq!(said.data, r#"{ "n": 1.500 }"#);
        assert_eq!(said.urgency, Urgency::Emergency);
    }

    #[test]
    fn a_plain_event_without_type_or_data_or_with_an_unknown_field_is_refused() {
        for (text, named) in [
            (r#"{"data":{}}"#, "type"),
            (r#"{"type":"a.b"}"#, "data"),
            (r#"{"type":"a.b","data":{},"urgncy":"emergency"}"#, "urgncy"),
            (r#"{"type":"a.b","data":{},"time":"now"}"#, "time"),
        ] {
            let problem = serde_json::to_value(plain(text.as_bytes()).unwrap_err()).unwrap();
            assert!(problem["detail"].as_str().unwrap().contains(named), "{problem}");
        }
    }

    #[test]
    fn one_bad_event_of_a_batch_is_named_and_does_not_spoil_the_others() {
        let text =
            r#"[{"specversion":"1.0","id":"1","source":"s","type":"a.b"},{"specversion":"1.0","id":"2","type":"a.b"}]"#;
        let said = batch(text.as_bytes()).unwrap();
        assert!(said[0].is_ok());
        let problem = serde_json::to_value(said[1].as_ref().unwrap_err()).unwrap();
        assert_eq!(problem["errors"][0]["field"], "[1].source");
        assert!(batch(b"[]").is_err());
    }
}
