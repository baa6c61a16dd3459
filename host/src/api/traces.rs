//! The time line of a correlation id: requests, events, deliveries, attempts, provider calls.

use axum::{
    Json as Out,
    extract::{Path, State},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Api,
    auth::{In, Need as _, Read},
    deliveries::{Delivery, shown as shown_delivery},
    delivery_detail::{Attempt, shown_attempt},
    problem::{Answer, Problem},
    routes::{Routes, doc},
};
use crate::{
    clock::Timestamp,
    event::Event,
    observe::trace::CorrelationId,
    store::records::{DeliveryFilter, EventFilter, Page},
};

/// Events of one trace that are shown, oldest last to go.
const MAX_EVENTS: u32 = 200;
/// Deliveries of one event that are shown.
const MAX_DELIVERIES: u32 = 50;
/// Deliveries of one trace whose attempts are shown.
const MAX_DETAILED: usize = 500;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get(
        "/v1/tenants/{tenant}/traces/{correlation_id}",
        doc("traces", Read::SCOPE, "Read everything that shares a correlation id, in order of time")
            .answers::<Trace>(200, "The time line."),
        read,
    )
}

/// A time line.
#[derive(Serialize, ToSchema)]
struct Trace {
    correlation_id: String,
    entries: Vec<Entry>,
    /// Whether more happened than is shown.
    truncated: bool,
}

/// One thing that happened.
#[derive(Serialize, ToSchema)]
struct Entry {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `request`, `event`, `delivery`, `attempt` or `provider_call`.
    kind: &'static str,
    /// What it is about: `req_..`, `evt_..`, `dlv_..`, `dlv_../1`.
    id: String,
    /// What a person reads.
    summary: String,
    /// What it belongs to: the event of a delivery, the delivery of an attempt, the cause of an event.
    parent: Option<String>,
    /// The state of a delivery, the outcome of an attempt or call.
    state: Option<String>,
    /// Further facts.
    #[schema(value_type = Object)]
    detail: Value,
}

async fn read(State(api): State<Api>, within: In<Read>, Path((_, id)): Path<(String, String)>) -> Answer<Out<Trace>> {
    let correlation: CorrelationId = id.parse().map_err(|_| Problem::not_found("trace"))?;
    let id = correlation.as_str();
    let mut entries: Vec<Entry> = Vec::new();
    for (key, source, method, url, at) in api.hub.store.requests(within.id(), id).await? {
        entries.push(Entry {
            at,
            kind: "request",
            id: key.with_prefix("req"),
            summary: format!("{method} to {source}"),
            parent: None,
            state: None,
            // A query may hold a token.
            detail: json!({"source": source, "url": url.split('?').next()}),
        });
    }
    let filter = EventFilter { correlation_id: Some(id.to_owned()), ..EventFilter::default() };
    let events = api.hub.store.events(within.id(), filter, Page { limit: MAX_EVENTS + 1, after: None }).await?;
    let mut truncated = events.len() > MAX_EVENTS as usize;
    let mut detailed = 0;
    for event in events.iter().take(MAX_EVENTS as usize) {
        entries.push(of_event(event));
        let filter = DeliveryFilter { event: Some(event.key), ..DeliveryFilter::default() };
        let rows = api.hub.store.deliveries(within.id(), filter, Page { limit: MAX_DELIVERIES, after: None }).await?;
        truncated |= rows.len() == MAX_DELIVERIES as usize;
        for row in rows {
            detailed += 1;
            entries.push(of_delivery(&event.id, shown_delivery(&api, &within.tenant, &row), row.created_at));
            if detailed > MAX_DETAILED {
                truncated = true;
                continue;
            }
            for record in api.hub.store.attempts(within.id(), row.key).await? {
                let number = record.number;
                of_attempt(&row.key.with_prefix("dlv"), number, shown_attempt(record), &mut entries);
            }
        }
    }
    if entries.is_empty() {
        return Err(Problem::not_found("trace"));
    }
    // Equal times keep the order of cause and effect in which they were added.
    entries.sort_by_key(|entry| entry.at);
    Ok(Out(Trace { correlation_id: id.to_owned(), entries, truncated }))
}

fn of_event(event: &Event) -> Entry {
    Entry {
        at: event.accepted_at,
        kind: "event",
        id: event.id.to_string(),
        summary: format!("{} from {}", event.event_type, event.source),
        parent: event
            .cause
            .map(|key| key.with_prefix("dlv"))
            .or_else(|| event.request.map(|key| key.with_prefix("req"))),
        state: None,
        detail: json!({"type": event.event_type, "source": &*event.source, "subject": event.subject, "urgency": event.urgency}),
    }
}

fn of_delivery(event_id: &str, delivery: Delivery, at: Timestamp) -> Entry {
    let value = serde_json::to_value(&delivery).unwrap_or_default();
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let reason = value["reason"].as_str().map_or_else(String::new, |reason| format!(" ({reason}, {})", text("code")));
    Entry {
        at,
        kind: "delivery",
        id: text("id"),
        summary: format!("to {}: {}{reason}", text("target"), text("state")),
        parent: Some(event_id.to_owned()),
        state: Some(text("state")),
        detail: value,
    }
}

fn of_attempt(delivery: &str, number: u32, attempt: Attempt, entries: &mut Vec<Entry>) {
    let mut value = serde_json::to_value(&attempt).unwrap_or_default();
    let id = format!("{delivery}/{number}");
    let calls = value["detail"]["calls"].take();
    let outcome = value["outcome"].as_str().unwrap_or_default().to_owned();
    let because = match (value["status"].as_u64(), value["code"].as_str()) {
        (_, Some(code)) => format!(": {code}"),
        (Some(status), None) => format!(": {status}"),
        (None, None) => String::new(),
    };
    entries.push(Entry {
        at: attempt.started_at,
        kind: "attempt",
        id: id.clone(),
        summary: format!("attempt {number} {outcome}{because}, {} ms", value["duration_ms"]),
        parent: Some(delivery.to_owned()),
        state: Some(outcome),
        detail: value,
    });
    for call in calls.as_array().into_iter().flatten() {
        entries.extend(of_call(&id, attempt.started_at, call));
    }
}

/// A provider's call as an attempt recorded it. kv operations are not shown.
fn of_call(attempt: &str, started_at: Timestamp, call: &Value) -> Option<Entry> {
    let text = call["call"].as_str()?;
    let local = ["kv.", "crypto."].iter().any(|prefix| text.starts_with(prefix));
    if local {
        return None;
    }
    let status = call["status"].as_u64().map_or_else(String::new, |status| format!(" -> {status}"));
    let recorded = if call["from_journal"] == true { " (recorded answer)" } else { "" };
    Some(Entry {
        at: call["at"].as_str().and_then(|text| text.parse().ok()).unwrap_or(started_at),
        kind: "provider_call",
        id: format!("{attempt}#{}", call["index"]),
        summary: format!("{text}{status}{recorded}"),
        parent: Some(attempt.to_owned()),
        state: call["outcome"].as_str().map(str::to_owned),
        detail: call.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provider_calls_are_shown_and_kv_is_not() {
        let call = json!({"index": 2, "call": "POST billy /invoices", "outcome": "confirmed", "status": 200,
            "at": "2026-11-21T09:00:00Z", "from_journal": true});
        let entry = of_call("dlv_1/1", Timestamp(0), &call).unwrap();
        assert_eq!(
            (entry.id.as_str(), entry.summary.as_str()),
            ("dlv_1/1#2", "POST billy /invoices -> 200 (recorded answer)")
        );
        assert_eq!(entry.at.to_string(), "2026-11-21T09:00:00.000Z");
        assert!(of_call("dlv_1/1", Timestamp(0), &json!({"index": 0, "call": "kv.get contact/7"})).is_none());
    }
}
