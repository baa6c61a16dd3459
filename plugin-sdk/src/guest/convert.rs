use std::time::Duration;

use serde_json::Value;

use super::bindings::types;
use super::ingest_world::exports::switchyard::plugin::ingest;
use super::poller_world::exports::switchyard::plugin::poller;
use crate::context::{Call, Source};
use crate::error::{ErrorDetail, PluginError, Reason};
use crate::event::{Event, InboundRequest};
use crate::host::{Header, Idempotency, Method};
use crate::output::{Emit, Output, PollOutput, Received, Reply};

/// Durations travel as whole milliseconds; what does not fit is longer than any limit anyway.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// JSON that the host gives is valid; should it not be, the attempt ends with a reason instead of a trap.
fn json_from(text: &str, what: &str) -> Result<Value, PluginError> {
    serde_json::from_str(text)
        .map_err(|_| PluginError::reject(Reason::PluginBug, "host_json", format!("The host's {what} is not JSON.")))
}

/// Unknown data is optional: where it does not parse it is as if it were not there.
fn extensions_from(text: Option<String>) -> Option<Value> {
    serde_json::from_str(&text?).ok()
}

fn extensions_into(value: Option<Value>) -> Option<String> {
    value.map(|value| value.to_string())
}

pub(super) fn call_from(ctx: types::CallContext) -> Result<Call, PluginError> {
    let source = |source: types::Source| Source { id: source.id, name: source.name, url: source.url };
    Ok(Call {
        config: json_from(&ctx.config, "config")?,
        tenant_id: ctx.tenant_id,
        installation_id: ctx.installation_id,
        correlation_id: ctx.correlation_id,
        traceparent: ctx.traceparent,
        reference: ctx.reference,
        time: ctx.time,
        sources: ctx.sources.into_iter().map(source).collect(),
        extensions: extensions_from(ctx.extensions),
    })
}

pub(super) fn event_from(event: types::Event) -> Result<Event, PluginError> {
    Ok(Event {
        data: json_from(&event.data, "event data")?,
        id: event.id,
        event_type: event.type_,
        source: event.source,
        subject: event.subject,
        time: event.time,
        ordering_key: event.ordering_key,
        extensions: extensions_from(event.extensions),
    })
}

pub(super) fn inbound_from(request: ingest::InboundRequest) -> InboundRequest {
    InboundRequest {
        source_id: request.source_id,
        method: request.method,
        url: request.url,
        headers: request.headers.into_iter().map(header_from).collect(),
        body: request.body,
        received_at: request.received_at,
        remote_addr: request.remote_addr,
        extensions: extensions_from(request.extensions),
    }
}

pub(super) fn header_from(header: types::Header) -> Header {
    Header { name: header.name, value: header.value }
}

pub(super) fn header_into(header: Header) -> types::Header {
    types::Header { name: header.name, value: header.value }
}

fn emit_into(event: Emit) -> types::EmittedEvent {
    types::EmittedEvent {
        type_: event.event_type,
        subject: event.subject,
        time: event.time,
        ordering_key: event.ordering_key,
        dedupe_key: event.dedupe_key,
        account: event.account,
        expires_at: event.expires_at,
        emergency: event.emergency,
        data: event.data.to_string(),
        extensions: extensions_into(event.extensions),
    }
}

fn events_into(events: Vec<Emit>) -> Vec<types::EmittedEvent> {
    events.into_iter().map(emit_into).collect()
}

pub(super) fn output_into(output: Output) -> types::Output {
    types::Output { events: events_into(output.events), extensions: None }
}

pub(super) fn poll_into(output: PollOutput) -> poller::PollOutput {
    poller::PollOutput {
        output: types::Output { events: events_into(output.events), extensions: None },
        cursor: output.cursor,
        has_more: output.has_more,
        next_in: output.next_in.map(millis),
        extensions: None,
    }
}

fn reply_into(reply: Reply) -> ingest::Reply {
    ingest::Reply {
        status: reply.status,
        headers: reply.headers.into_iter().map(header_into).collect(),
        body: reply.body,
        extensions: None,
    }
}

pub(super) fn received_into(received: Received) -> ingest::IngestResult {
    match received {
        Received::Accepted { events, reply, poll_now } => ingest::IngestResult::Accepted(ingest::Accepted {
            events: events_into(events),
            reply: reply.map(reply_into),
            poll_now,
            extensions: None,
        }),
        Received::Handled(reply) => ingest::IngestResult::Handled(reply_into(reply)),
        Received::Unauthenticated(why) => ingest::IngestResult::Unauthenticated(why),
    }
}

fn reason_into(reason: Reason) -> types::Reason {
    match reason {
        Reason::Auth => types::Reason::Auth,
        Reason::Config => types::Reason::Config,
        Reason::ProviderDown => types::Reason::ProviderDown,
        Reason::RateLimited => types::Reason::RateLimited,
        Reason::BadData => types::Reason::BadData,
        Reason::PluginBug => types::Reason::PluginBug,
        Reason::Policy => types::Reason::Policy,
        Reason::UnknownOutcome => types::Reason::UnknownOutcome,
        Reason::Other(name) => types::Reason::Other(name),
    }
}

fn detail_into(error: ErrorDetail) -> types::ErrorDetail {
    types::ErrorDetail {
        reason: reason_into(error.reason),
        code: error.code,
        message: error.message,
        details: error.details.map(|details| details.to_string()),
    }
}

pub(super) fn plugin_error_into(error: PluginError) -> types::PluginError {
    match error {
        PluginError::Reject(error) => types::PluginError::Reject(detail_into(error)),
        PluginError::Retry { error, after } => {
            types::PluginError::Retry(types::RetryDetail { error: detail_into(error), after: after.map(millis) })
        }
        PluginError::NeedsAttention(error) => types::PluginError::NeedsAttention(detail_into(error)),
        PluginError::Other(error) => types::PluginError::Other(detail_into(error)),
    }
}

pub(super) fn method_into(method: Method) -> types::Method {
    match method {
        Method::Get => types::Method::Get,
        Method::Head => types::Method::Head,
        Method::Post => types::Method::Post,
        Method::Put => types::Method::Put,
        Method::Patch => types::Method::Patch,
        Method::Delete => types::Method::Delete,
        Method::Other(token) => types::Method::Other(token),
    }
}

pub(super) fn idempotency_into(idempotency: Idempotency) -> types::Idempotency {
    match idempotency {
        Idempotency::None => types::Idempotency::None,
        Idempotency::Header(name) => types::Idempotency::Header(name),
        Idempotency::Query(name) => types::Idempotency::Query(name),
        Idempotency::OwnId => types::Idempotency::OwnId,
        Idempotency::Other(name) => types::Idempotency::Other(name),
    }
}
