//! What a guest is given.

use super::raw_header;
use crate::plugin::{
    bindings::{imports::types, ingest::exports::switchyard::plugin::ingest},
    model::{CallContext, HandledEvent, InboundRequest},
};

pub(in crate::plugin) fn context(context: CallContext) -> types::CallContext {
    types::CallContext {
        tenant_id: context.tenant_id,
        installation_id: context.installation_id,
        correlation_id: context.correlation_id,
        traceparent: context.traceparent,
        reference: context.reference,
        time: context.time_ms,
        sources: context
            .sources
            .into_iter()
            .map(|source| types::Source { id: source.id, name: source.name, url: source.url })
            .collect(),
        config: context.config,
        extensions: None,
    }
}

pub(in crate::plugin) fn event(event: HandledEvent) -> types::Event {
    types::Event {
        id: event.id,
        type_: event.type_,
        source: event.source,
        subject: event.subject,
        time: event.time_ms,
        ordering_key: event.ordering_key,
        data: event.data,
        extensions: event.extensions,
    }
}

pub(in crate::plugin) fn inbound_request(request: InboundRequest) -> ingest::InboundRequest {
    ingest::InboundRequest {
        source_id: request.source_id,
        method: request.method,
        url: request.url,
        headers: request.headers.into_iter().map(raw_header).collect(),
        body: request.body,
        received_at: request.received_at_ms,
        remote_addr: request.remote_addr,
        extensions: request.extensions,
    }
}
