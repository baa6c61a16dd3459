//! Publishing: one event as plain JSON, or CloudEvents in structured, binary and batch form.

use axum::{
    Json as Out,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    Api, Correlation,
    auth::{In, Need as _, Publish},
    body::{self, MAX_JSON},
    cloudevents::{self, MAX_EVENTS, Structured},
    problem::{Answer, Code, Problem},
    routes::{Routes, doc},
};
use crate::{
    accept::{Publication, Published},
    clock::Timestamp,
    event::Urgency,
};

const TAG: &str = "events";
const STRUCTURED: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

pub(super) fn routes(routes: Routes) -> Routes {
    let all = "/v1/tenants/{tenant}/events";
    routes.post(
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
            let bytes = body::read(request, MAX_JSON).await?;
            let said = batch(&bytes)?.into_iter().map(|said| said.map(&linked)).collect();
            publish_batch(&api, &within, said).await
        }
        Some(STRUCTURED) => {
            let bytes = body::read(request, MAX_JSON).await?;
            let structured: Structured<'_> = body::parse_object(&bytes)?;
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
    let said: EventIn<'_> = body::parse_object(bytes)?;
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
