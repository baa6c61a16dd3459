//! Steps as OTLP spans.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode},
};

use super::{attribute, scope};
use crate::observe::steps::{Step, StepKind};

const NS_PER_MS: u64 = 1_000_000;

/// One request with all of these steps.
pub(super) fn request(resource: &Resource, steps: Vec<Step>) -> ExportTraceServiceRequest {
    let spans = steps.into_iter().map(span).collect();
    let scoped = ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![scoped],
            ..ResourceSpans::default()
        }],
    }
}

fn span(step: Step) -> Span {
    let began = u64::try_from(step.began.0).unwrap_or(0).saturating_mul(NS_PER_MS);
    let took = u64::try_from(step.took.as_nanos()).unwrap_or(u64::MAX);
    let kind = match step.kind {
        StepKind::Server => SpanKind::Server,
        StepKind::Client => SpanKind::Client,
        StepKind::Internal => SpanKind::Internal,
    };
    Span {
        trace_id: step.at.trace_id.to_vec(),
        span_id: step.at.span_id.to_vec(),
        parent_span_id: step.parent.map(|id| id.to_vec()).unwrap_or_default(),
        name: step.name,
        kind: kind.into(),
        start_time_unix_nano: began,
        end_time_unix_nano: began.saturating_add(took),
        attributes: step.attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
        status: step.failed.map(|message| Status { message, code: StatusCode::Error.into() }),
        ..Span::default()
    }
}
