//! Custom rules: when an event comes, or at a time, emit others.
//!
//! The host evaluates a rule's condition and its mappings, since it has CEL and the schemas of all types; what matched
//! comes with the event ([`matched`]). Here is decided what needs a memory: how often a rule may act, and for what it has
//! acted already ([`memory`]). A rule that cannot do its work stops no other one: it is told as `rule.failed`.

use switchyard_sdk::compact_json;
use switchyard_sdk::manifest::{Metric, MetricKind, literal};
use switchyard_sdk::prelude::*;

/// What a tenant writes.
pub mod config;

/// What the host found.
pub mod matched;

/// How often, and once for what.
mod memory;

pub use config::Config;
use matched::{Emission, Matched, Mode};
use memory::Leave;

/// The event that tells of a rule which could not do its work.
pub const FAILED: &str = "rule.failed";

/// The metric of what became of matching rules.
const OUTCOMES: &str = "matches";

/// The plugin.
pub struct Rules;

impl Plugin for Rules {
    type Config = Config;
    const CONFIG_SCHEMA: Option<&str> = Some(compact_json!(include_str!("config.schema.json")));

    fn manifest() -> Manifest {
        let failed = EventType::event(FAILED, "A rule matched an event and could not act on it.").data(
            literal(
                r#"{"type": "object", "required": ["rule", "field", "message", "event_id", "event_type"],
                    "additionalProperties": true, "properties": {
                    "rule": {"type": "string"},
                    "field": {"type": "string", "description": "The part of the rule that is wrong."},
                    "message": {"type": "string"},
                    "event_id": {"type": "string"},
                    "event_type": {"type": "string"}}}"#,
            ),
            literal(
                r#"{"rule": "missed-call-sms", "field": "emit[0].data",
                    "message": "there is no field `from`; ask with `has(..)` first",
                    "event_id": "evt_0190a6b2c4d17e2b9a4d8b0c1e2f3a4b", "event_type": "call.received"}"#,
            ),
        );
        Manifest::new(
            "rules",
            env!("CARGO_PKG_VERSION"),
            "Custom rules: when an event comes, or at a time, emit others.",
        )
        .handles(EventType::event("*", "Whatever a rule waits for; only what a rule matches is handed over."))
        .emits(failed)
        .emits(EventType::event("*", "Whatever the rules emit; the grant emits:* allows it."))
        .metric(Metric {
            name: OUTCOMES.to_owned(),
            kind: MetricKind::Counter,
            unit: "1".to_owned(),
            labels: vec!["outcome".to_owned()],
            description: "Rules that matched, by what became of them.".to_owned(),
        })
    }
}

impl Handler for Rules {
    fn handle(ctx: &Ctx<Config>, event: Event) -> Result<Output, PluginError> {
        let mut events = Vec::new();
        for rule in matched::of(&event)? {
            let outcome = act(ctx, &event, &rule, &mut events)?;
            ctx.count(OUTCOMES, 1, &[("outcome", outcome)]);
            ctx.info(outcome, &[("rule", &rule.name)]);
        }
        Ok(Output { events })
    }
}

/// Lets one rule act, and answers what became of it.
fn act(ctx: &Ctx<Config>, event: &Event, rule: &Matched, events: &mut Vec<Emit>) -> Result<&'static str, PluginError> {
    if let Some(failure) = &rule.failure {
        if rule.mode == Mode::Live {
            events.extend(told(event, rule, &failure.field, &failure.message));
        }
        return Ok("failed");
    }
    if rule.mode == Mode::Shadow {
        return Ok("shadow");
    }
    match memory::ask(ctx, event, rule) {
        Ok(Leave::Given) => {
            let emitted = rule.emits.iter().enumerate();
            events.extend(emitted.map(|(n, emission)| emit(ctx, event, rule, n, emission)));
            Ok("emitted")
        }
        Ok(Leave::Throttled) => Ok("throttled"),
        Ok(Leave::Once) => Ok("once"),
        // What time heals is tried again for all rules; what is wrong with this one alone stops no other.
        Err(PluginError::Reject(why) | PluginError::NeedsAttention(why)) => {
            events.extend(told(event, rule, "once_per", &why.message));
            Ok("failed")
        }
        Err(error) => Err(error),
    }
}

/// The event of an emission. A replay emits nothing again, since the key is made of the event and the rule.
fn emit(ctx: &Ctx<Config>, event: &Event, rule: &Matched, n: usize, emission: &Emission) -> Emit {
    let mut emit = Emit::new(emission.event_type.clone(), emission.data.clone())
        .dedupe(format!("rule:{}:{n}:{}", rule.name, event.id));
    emit.subject.clone_from(&emission.subject);
    emit.ordering_key.clone_from(&emission.ordering_key);
    emit.emergency = emission.emergency;
    emit.expires_at = emission.expires_after_s.map(|seconds| ctx.time().saturating_add(seconds.saturating_mul(1000)));
    emit.extensions = Some(named(&rule.name));
    emit
}

/// That a rule failed. A failure at an event of this kind is not told, since it would be told of again.
fn told(event: &Event, rule: &Matched, field: &str, message: &str) -> Option<Emit> {
    if event.event_type == FAILED {
        return None;
    }
    let mut data = serde_json::Map::new();
    for (name, text) in [
        ("rule", rule.name.as_str()),
        ("field", field),
        ("message", message),
        ("event_id", &event.id),
        ("event_type", &event.event_type),
    ] {
        data.insert(name.to_owned(), text.into());
    }
    Some(Emit::new(FAILED, data.into()).subject(&rule.name).dedupe(format!("rule:{}:failed:{}", rule.name, event.id)))
}

/// The attribute by which an event names the rule that emitted it.
fn named(rule: &str) -> serde_json::Value {
    let mut attributes = serde_json::Map::new();
    attributes.insert("rule".to_owned(), rule.into());
    attributes.into()
}

switchyard_sdk::register!(Rules: handler);
