//! One delivery attempt to a subscriber's endpoint.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header::CONTENT_TYPE};
use serde_json::json;

use super::{
    body::{BodyFormat, EventParts},
    client::{Answer, Outgoing, SendError},
    outcome,
    publish::{Message, PublishError},
    sign::{ActiveSecrets, ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER},
};
use crate::{
    clock::Timestamp,
    directory::view::{EndpointView, TenantView},
    event::Urgency,
    failpoint::{self, Point},
    hub::Hub,
    queue::{
        Health,
        attempt::AttemptEnd,
        reason::{Failure, ReasonClass},
        retry::{self, RetryTable},
    },
    store::{
        ledger::{AttemptRow, Claimed, Effect, Outcome},
        records::{EventFilter, Page},
    },
};

/// Time for one attempt where the endpoint sets none, body included.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What is kept of an answer's body.
const CAPTURE: usize = 16 << 10;

/// Nothing but failures for so long disables an endpoint.
const DISABLE_AFTER: Duration = Duration::from_secs(5 * 24 * 3600);

/// The failing try of one delivery from which on `endpoint.failing` is told.
const TELL_AT_TRY: u32 = 4;

impl Hub {
    /// Sends an event to an endpoint once.
    pub async fn deliver(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        endpoint: &Arc<EndpointView>,
        claimed: &Claimed,
    ) -> AttemptEnd {
        let (started_at, started) = (self.clock.now(), self.clock.monotonic());
        let sent = match self.prepared(endpoint, claimed, started_at) {
            Ok(prepared) => {
                // Nobody could be told of an error here, so these places only wait or die.
                failpoint::pass(Point::EndpointBeforeSend).await.ok();
                let sent = match prepared {
                    Prepared::Request(outgoing) => Sent::Request(self.client.send(*outgoing).await),
                    Prepared::Message(message) => Sent::Message(self.publisher.publish(*message).await),
                };
                failpoint::pass(Point::EndpointAfterAnswer).await.ok();
                sent
            }
            Err(failure) => {
                let attempt = AttemptRow {
                    started_at,
                    duration_us: 0,
                    failure: Some(failure.clone()),
                    status: None,
                    plugin_version: None,
                    detail: None,
                };
                return AttemptEnd::plain(self.endpoint_again(endpoint, claimed, failure, None), Some(attempt));
            }
        };
        let took = self.clock.monotonic().saturating_sub(started);
        let now = self.clock.now();
        let judged = match &sent {
            Sent::Request(result) => outcome::classify(result, now),
            Sent::Message(result) => outcome::classify_published(result),
        };
        let attempt = |failure| AttemptRow {
            started_at,
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            failure,
            status: sent.answer().map(|answer| answer.status.as_u16()),
            plugin_version: None,
            detail: sent.answer().and_then(capture),
        };
        match judged {
            outcome::Outcome::Delivered => {
                crate::observe::metrics::endpoint_sent("delivered", took);
                self.endpoint_well(tenant, endpoint, claimed, attempt(None)).await
            }
            outcome::Outcome::Failed(failed) => {
                crate::observe::metrics::endpoint_sent("failed", took);
                let failure = Failure::new(failed.reason, failed.code.clone(), failed.message.clone());
                let attempt = attempt(Some(failure.clone()));
                let answered = sent.answered_for_itself();
                self.endpoint_ill(tenant, endpoint, claimed, failure, &failed, attempt, answered)
            }
        }
    }

    fn prepared(&self, endpoint: &EndpointView, claimed: &Claimed, now: Timestamp) -> Result<Prepared, Failure> {
        let event = &claimed.event;
        let config = |code: &str, text: String| Failure::new(ReasonClass::Config, code, text);
        let (headers, body) = self.signed(endpoint, claimed, now)?;
        let timeout = endpoint.row.timeout_ms.map_or(TIMEOUT, |ms| Duration::from_millis(u64::from(ms)));
        if endpoint.row.amqp.is_some() {
            let unreadable = || config("malformed_url", "the endpoint's URL cannot be read; save it again".to_owned());
            return Ok(Prepared::Message(Box::new(Message {
                endpoint: endpoint.row.key,
                exchange: endpoint.exchange.clone().ok_or_else(unreadable)?,
                event_type: event.event_type.as_str().to_owned(),
                id: event.id.to_string(),
                correlation_id: event.correlation_id.to_string(),
                timestamp: u64::try_from(now.unix_seconds()).unwrap_or(0),
                headers,
                body,
                timeout,
            })));
        }
        let target = self
            .client
            .policy()
            .check_url(&endpoint.row.url)
            .map_err(|error| config(error.code(), format!("the endpoint's URL is refused: {error}")))?;
        let outgoing = Outgoing { method: Method::POST, target, headers, body, timeout, response_cap: CAPTURE };
        Ok(Prepared::Request(Box::new(outgoing)))
    }

    /// The body and its fields, the signature among them: the same whatever the way.
    fn signed(
        &self,
        endpoint: &EndpointView,
        claimed: &Claimed,
        now: Timestamp,
    ) -> Result<(HeaderMap, bytes::Bytes), Failure> {
        let event = &claimed.event;
        let config = |code: &str, text: String| Failure::new(ReasonClass::Config, code, text);
        let format = if endpoint.row.format == "standard" { BodyFormat::Standard } else { BodyFormat::CloudEvents };
        let extensions = extension_attributes(event.extensions.as_deref());
        let borrowed: Vec<(&str, &str)> =
            extensions.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let causation = event.cause.map(|cause| cause.with_prefix("dlv"));
        let body = format.write(&EventParts {
            id: &event.id,
            source: &event.source,
            event_type: event.event_type.as_str(),
            subject: event.subject.as_deref(),
            time: event.time,
            correlation_id: &event.correlation_id,
            urgency: if event.urgency == Urgency::Emergency { "emergency" } else { "normal" },
            ordering_key: event.ordering_key.as_deref(),
            causation_id: causation.as_deref(),
            extensions: &borrowed,
            data: &event.data,
        });
        let active = endpoint.secrets.iter().filter(|(_, until)| until.is_none_or(|until| until > now));
        let secrets = ActiveSecrets::new(active.map(|(secret, _)| secret.clone()).collect())
            .map_err(|error| config("signing_secret", error.to_string()))?;
        let signed = secrets.sign(&event.id, now, &body).map_err(|error| config("signing", error.to_string()))?;
        let mut headers = HeaderMap::with_capacity(8 + endpoint.headers.len());
        for (name, value) in &endpoint.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()))
            {
                headers.insert(name, value);
            }
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        headers.insert(ID_HEADER, signed.id);
        headers.insert(TIMESTAMP_HEADER, signed.timestamp);
        headers.insert(SIGNATURE_HEADER, signed.signature);
        add_trace(&mut headers, &event.correlation_id, &event.traceparent);
        Ok((headers, body))
    }

    async fn endpoint_well(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        endpoint: &EndpointView,
        claimed: &Claimed,
        attempt: AttemptRow,
    ) -> AttemptEnd {
        let mut end = AttemptEnd::plain(Outcome::Delivered, Some(attempt));
        end.health = Health::Good;
        if let Some(since) = endpoint.row.failing_since {
            end.effects.push(Effect::EndpointSucceeded(endpoint.row.key));
            if self.was_told_to_fail(tenant, endpoint, since).await {
                let message = "an attempt succeeded again";
                let told = self.tell_of_streak(tenant, endpoint, claimed, "endpoint.recovered", message, since);
                end.emitted.extend(told);
            }
        }
        end
    }

    /// Whether `endpoint.failing` was told of the streak that began at `since`: only then its end is news.
    async fn was_told_to_fail(&self, tenant: &TenantView, endpoint: &EndpointView, since: Timestamp) -> bool {
        let filter = EventFilter {
            event_type: Some("endpoint.failing".to_owned()),
            subject: Some(endpoint.row.key.with_prefix("ep")),
            since: Some(since),
            ..EventFilter::default()
        };
        let told = self.store.events(&tenant.row.id, filter, Page { limit: 1, after: None }).await;
        told.is_ok_and(|told| !told.is_empty())
    }

    #[expect(clippy::too_many_arguments, reason = "everything that one failure is made of")]
    fn endpoint_ill(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        endpoint: &EndpointView,
        claimed: &Claimed,
        failure: Failure,
        failed: &outcome::Failure,
        attempt: AttemptRow,
        answered_for_itself: bool,
    ) -> AttemptEnd {
        let now = self.clock.now();
        let outcome = self.endpoint_again(endpoint, claimed, failure.clone(), failed.retry_after);
        let mut end = AttemptEnd::plain(outcome, Some(attempt));
        end.health = if answered_for_itself && failure.reason != ReasonClass::RateLimited {
            Health::Neutral
        } else {
            Health::Bad
        };
        end.silent_until = failed.retry_after.map(|wait| self.queue_clock.now().after(wait));
        if endpoint.row.failing_since.is_none() {
            end.effects.push(Effect::EndpointFailed(endpoint.row.key, now));
        }
        let failed_for_long = endpoint.row.failing_since.is_some_and(|since| now.since(since) >= DISABLE_AFTER);
        if failed.disable_endpoint || failed_for_long {
            let text =
                if failed.disable_endpoint { "it answered 410 Gone" } else { "every attempt failed for five days" };
            end.effects.push(Effect::EndpointDisabled(endpoint.row.key, text.to_owned()));
        } else if let Some(since) = endpoint.row.failing_since.filter(|_| claimed.tries >= TELL_AT_TRY) {
            let told = self.tell_of_streak(tenant, endpoint, claimed, "endpoint.failing", &failure.message, since);
            end.emitted.extend(told);
        }
        end
    }

    fn endpoint_again(
        &self,
        endpoint: &EndpointView,
        claimed: &Claimed,
        failure: Failure,
        retry_after: Option<Duration>,
    ) -> Outcome {
        let table = retry_table(endpoint.row.retry_schedule.as_deref(), RetryTable::Endpoint);
        match retry::next_delay(&table, claimed.tries, retry_after, self.time_factor, self.ids.fraction()) {
            Some(delay) => Outcome::Waiting { run_at: self.queue_clock.now().after(delay), failure, burnt: true },
            None => Outcome::Dead(failure),
        }
    }
}

/// The schedule of an endpoint or installation, else the table of its kind.
#[must_use]
pub fn retry_table(schedule: Option<&[u64]>, otherwise: RetryTable) -> RetryTable {
    let Some(schedule) = schedule else { return otherwise };
    let seconds: Vec<u32> = schedule.iter().map(|wait| u32::try_from(*wait).unwrap_or(u32::MAX)).collect();
    RetryTable::custom(&seconds).unwrap_or(otherwise)
}

/// Adds `x-correlation-id` and `traceparent`.
pub fn add_trace(headers: &mut HeaderMap, correlation_id: &str, traceparent: &str) {
    let fields = [("x-correlation-id", correlation_id), ("traceparent", traceparent)];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Text attributes of the stored extensions; others are written as JSON text.
fn extension_attributes(extensions: Option<&str>) -> Vec<(String, String)> {
    let parsed: Option<serde_json::Map<String, serde_json::Value>> =
        extensions.and_then(|text| serde_json::from_str(text).ok());
    let text = |value: serde_json::Value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    parsed.unwrap_or_default().into_iter().map(|(name, value)| (name, text(value))).collect()
}

/// An attempt, ready to go.
enum Prepared {
    Request(Box<Outgoing>),
    Message(Box<Message>),
}

/// An attempt that was made.
enum Sent {
    Request(Result<Answer, SendError>),
    Message(Result<(), PublishError>),
}

impl Sent {
    const fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Request(Ok(answer)) => Some(answer),
            Self::Request(Err(_)) | Self::Message(_) => None,
        }
    }

    /// Whether the other side works, and only refuses what it got.
    fn answered_for_itself(&self) -> bool {
        match self {
            Self::Request(result) => result.as_ref().is_ok_and(|answer| answer.status.is_client_error()),
            Self::Message(result) => result.as_ref().is_err_and(PublishError::is_answer),
        }
    }
}

/// What is kept of an answer: the first bytes of its body as text.
fn capture(answer: &Answer) -> Option<String> {
    if answer.body.is_empty() && answer.status.is_success() {
        return None;
    }
    let body = String::from_utf8_lossy(&answer.body);
    Some(json!({"response": {"body": body, "truncated": answer.truncated}}).to_string())
}
