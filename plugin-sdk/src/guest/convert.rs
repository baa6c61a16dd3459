//! What calls bring and what they give back, as it lies in memory and as the SDK has it. The fields and cases are those of
//! `wit/types.wit` and `wit/exports.wit`, in their order.
#![allow(dead_code, reason = "who reads what is written here is the host")]

use std::time::Duration;

use serde_json::Value;

use super::layout::{List, Maybe, Text, each};
use crate::context::{self, Call};
use crate::error::{self, ErrorDetail};
use crate::event;
use crate::host;
use crate::json;
use crate::output::{self, Emit};

#[repr(C)]
pub struct CallContext {
    tenant_id: Text,
    installation_id: Text,
    correlation_id: Text,
    traceparent: Text,
    reference: Text,
    time: u64,
    sources: List<Source>,
    config: Text,
    extensions: Maybe<Text>,
}

#[repr(C)]
struct Source {
    id: Text,
    name: Text,
    url: Text,
}

#[repr(C)]
pub struct Event {
    id: Text,
    event_type: Text,
    source: Text,
    subject: Maybe<Text>,
    time: u64,
    ordering_key: Maybe<Text>,
    data: Text,
    extensions: Maybe<Text>,
}

#[repr(C)]
pub struct InboundRequest {
    source_id: Text,
    method: Text,
    url: Text,
    headers: List<Header>,
    body: List<u8>,
    received_at: u64,
    remote_addr: Maybe<Text>,
    extensions: Maybe<Text>,
}

#[repr(C)]
struct Header {
    name: Text,
    value: List<u8>,
}

#[repr(C)]
struct EmittedEvent {
    event_type: Text,
    subject: Maybe<Text>,
    time: Maybe<u64>,
    ordering_key: Maybe<Text>,
    dedupe_key: Maybe<Text>,
    account: Maybe<Text>,
    expires_at: Maybe<u64>,
    emergency: bool,
    data: Text,
    extensions: Maybe<Text>,
}

#[repr(C)]
pub struct Output {
    events: List<EmittedEvent>,
    extensions: Maybe<Text>,
}

#[repr(C)]
pub struct PollOutput {
    output: Output,
    cursor: Maybe<Text>,
    has_more: bool,
    next_in: Maybe<u64>,
    extensions: Maybe<Text>,
}

#[repr(C)]
pub struct Reply {
    status: u16,
    headers: List<Header>,
    body: List<u8>,
    extensions: Maybe<Text>,
}

#[repr(C)]
pub struct Accepted {
    events: List<EmittedEvent>,
    reply: Maybe<Reply>,
    poll_now: List<Text>,
    extensions: Maybe<Text>,
}

#[repr(C, u8)]
pub enum Received {
    Accepted(Accepted),
    Handled(Reply),
    Unauthenticated(Text),
}

#[repr(C, u8)]
enum Reason {
    Auth,
    Config,
    ProviderDown,
    RateLimited,
    BadData,
    PluginBug,
    Policy,
    UnknownOutcome,
    Other(Text),
}

#[repr(C)]
pub struct Detail {
    reason: Reason,
    code: Text,
    message: Text,
    details: Maybe<Text>,
}

#[repr(C)]
pub struct RetryDetail {
    error: Detail,
    after: Maybe<u64>,
}

#[repr(C, u8)]
pub enum PluginError {
    Reject(Detail),
    Retry(RetryDetail),
    NeedsAttention(Detail),
    Other(Detail),
}

/// How a call ended.
#[repr(C, u8)]
pub enum Outcome<T> {
    Done(T),
    Failed(PluginError),
}

impl<T, V: From<T>> From<Result<T, error::PluginError>> for Outcome<V> {
    fn from(result: Result<T, error::PluginError>) -> Self {
        match result {
            Ok(done) => Self::Done(done.into()),
            Err(error) => Self::Failed(error.into()),
        }
    }
}

/// Durations travel as whole milliseconds; what does not fit is longer than any limit anyway.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// JSON that the host gives is valid; should it not be, the attempt ends with a reason instead of a trap.
fn json_from(text: Text, what: &str) -> Result<Value, error::PluginError> {
    let text = String::from(text);
    json::parse(text.as_bytes()).map_err(|_| {
        let message = format!("The host's {what} is not JSON.");
        error::PluginError::reject(error::Reason::PluginBug, "host_json", message)
    })
}

/// Unknown data is optional: where it does not parse it is as if it were not there.
fn extensions_from(text: Maybe<Text>) -> Option<Value> {
    json::parse(Option::from(text).map(String::into_bytes)?.as_slice()).ok()
}

pub(super) fn json_into(value: Option<&Value>) -> Maybe<Text> {
    value.map(json::write).into()
}

impl CallContext {
    pub fn call(self) -> Result<Call, error::PluginError> {
        let source =
            |source: Source| context::Source { id: source.id.into(), name: source.name.into(), url: source.url.into() };
        Ok(Call {
            config: json_from(self.config, "config")?,
            tenant_id: self.tenant_id.into(),
            installation_id: self.installation_id.into(),
            correlation_id: self.correlation_id.into(),
            traceparent: self.traceparent.into(),
            reference: self.reference.into(),
            time: self.time,
            sources: each(self.sources.into_vec(), source),
            extensions: extensions_from(self.extensions),
        })
    }
}

impl Event {
    pub fn event(self) -> Result<event::Event, error::PluginError> {
        Ok(event::Event {
            data: json_from(self.data, "event data")?,
            id: self.id.into(),
            event_type: self.event_type.into(),
            source: self.source.into(),
            subject: self.subject.into(),
            time: self.time,
            ordering_key: self.ordering_key.into(),
            extensions: extensions_from(self.extensions),
        })
    }
}

impl From<InboundRequest> for event::InboundRequest {
    fn from(request: InboundRequest) -> Self {
        let header = |header: Header| host::Header { name: header.name.into(), value: header.value.into_vec() };
        Self {
            source_id: request.source_id.into(),
            method: request.method.into(),
            url: request.url.into(),
            headers: each(request.headers.into_vec(), header),
            body: request.body.into_vec(),
            received_at: request.received_at,
            remote_addr: request.remote_addr.into(),
            extensions: extensions_from(request.extensions),
        }
    }
}

impl From<Emit> for EmittedEvent {
    fn from(event: Emit) -> Self {
        Self {
            event_type: event.event_type.into(),
            subject: event.subject.into(),
            time: event.time.into(),
            ordering_key: event.ordering_key.into(),
            dedupe_key: event.dedupe_key.into(),
            account: event.account.into(),
            expires_at: event.expires_at.into(),
            emergency: event.emergency,
            data: json::write(&event.data).into(),
            extensions: json_into(event.extensions.as_ref()),
        }
    }
}

fn events(events: Vec<Emit>) -> List<EmittedEvent> {
    each(events, EmittedEvent::from).into()
}

impl From<output::Output> for Output {
    fn from(output: output::Output) -> Self {
        Self { events: events(output.events), extensions: Maybe::None }
    }
}

impl From<output::PollOutput> for PollOutput {
    fn from(output: output::PollOutput) -> Self {
        Self {
            output: Output { events: events(output.events), extensions: Maybe::None },
            cursor: output.cursor.into(),
            has_more: output.has_more,
            next_in: output.next_in.map(millis).into(),
            extensions: Maybe::None,
        }
    }
}

impl From<output::Reply> for Reply {
    fn from(reply: output::Reply) -> Self {
        let header = |header: host::Header| Header { name: header.name.into(), value: header.value.into() };
        Self {
            status: reply.status,
            headers: each(reply.headers, header).into(),
            body: reply.body.into(),
            extensions: Maybe::None,
        }
    }
}

impl From<output::Received> for Received {
    fn from(received: output::Received) -> Self {
        match received {
            output::Received::Accepted { events: found, reply, poll_now } => Self::Accepted(Accepted {
                events: events(found),
                reply: reply.into(),
                poll_now: each(poll_now, Text::from).into(),
                extensions: Maybe::None,
            }),
            output::Received::Handled(reply) => Self::Handled(reply.into()),
            output::Received::Unauthenticated(why) => Self::Unauthenticated(why.into()),
        }
    }
}

impl From<error::Reason> for Reason {
    fn from(reason: error::Reason) -> Self {
        match reason {
            error::Reason::Auth => Self::Auth,
            error::Reason::Config => Self::Config,
            error::Reason::ProviderDown => Self::ProviderDown,
            error::Reason::RateLimited => Self::RateLimited,
            error::Reason::BadData => Self::BadData,
            error::Reason::PluginBug => Self::PluginBug,
            error::Reason::Policy => Self::Policy,
            error::Reason::UnknownOutcome => Self::UnknownOutcome,
            error::Reason::Other(name) => Self::Other(name.into()),
        }
    }
}

impl From<ErrorDetail> for Detail {
    fn from(error: ErrorDetail) -> Self {
        Self {
            reason: error.reason.into(),
            code: error.code.into(),
            message: error.message.into(),
            details: json_into(error.details.as_ref()),
        }
    }
}

impl From<error::PluginError> for PluginError {
    fn from(error: error::PluginError) -> Self {
        match error {
            error::PluginError::Reject(error) => Self::Reject(error.into()),
            error::PluginError::Retry { error, after } => {
                Self::Retry(RetryDetail { error: error.into(), after: after.map(millis).into() })
            }
            error::PluginError::NeedsAttention(error) => Self::NeedsAttention(error.into()),
            error::PluginError::Other(error) => Self::Other(error.into()),
        }
    }
}
