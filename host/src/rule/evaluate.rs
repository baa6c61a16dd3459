//! What matching rules emit. The mappings are evaluated here and not in the guest, where the CEL library does not fit, so
//! that a rule means the same when it is saved, tried and run.

use cel::{Value, context::VariableResolver};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    definition::RuleMode,
    set::{CompiledEmission, CompiledRule, RuleSet, Verdict},
};
use crate::{
    event::{EventType, catalogue::Catalogue},
    route::expression::{Expression, to_json, why},
};

/// The most data that one mapping makes.
const MAX_DATA: usize = 256 * 1024;

/// The most data that the rules of one event make together, within what a run may emit.
const MAX_TOGETHER: usize = 768 * 1024;

/// A rule that matched, with what is left to decide for it by what the plugin remembers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Matched {
    /// Its name.
    pub name: String,
    /// `live` or `shadow`.
    pub mode: RuleMode,
    /// What it emits if nothing speaks against it.
    pub emits: Vec<Emitted>,
    /// How often it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<ThrottleBy>,
    /// The key of what it acts once for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub once: Option<String>,
    /// Why it cannot act.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<RunFault>,
}

/// One thing to emit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Emitted {
    /// The type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The payload.
    pub data: serde_json::Value,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// What it is kept in order with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<String>,
    /// Not worth delivering so many seconds later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_after_s: Option<u64>,
    /// Takes the emergency lane.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
}

/// A throttle with its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThrottleBy {
    /// What it counts under.
    pub key: String,
    /// How often.
    pub count: u32,
    /// In how long.
    pub period_s: u64,
}

/// Why a rule that matched cannot act, without any value of the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunFault {
    /// The field of the rule.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

/// The rules that match an event, with what they emit.
#[must_use]
pub fn evaluate(
    set: &RuleSet,
    event_type: &EventType,
    facts: &dyn VariableResolver,
    catalogue: &Catalogue,
) -> Vec<Matched> {
    let matching = set.rules().iter().filter(|rule| rule.judge(event_type, facts) == Verdict::Matches);
    let mut left = MAX_TOGETHER;
    matching.map(|rule| act_within(rule, facts, catalogue, &mut left)).collect()
}

/// The rule that a schedule runs, if its condition holds.
#[must_use]
pub fn evaluate_scheduled(
    set: &RuleSet,
    schedule: &str,
    facts: &dyn VariableResolver,
    catalogue: &Catalogue,
) -> Vec<Matched> {
    let rule = set.scheduled(schedule).filter(|rule| rule.rule.mode != RuleMode::Off);
    let rule = rule.filter(|rule| rule.condition(facts) == Verdict::Matches);
    rule.map(|rule| act(rule, facts, catalogue)).into_iter().collect()
}

/// What a matching rule emits, or why it cannot.
#[must_use]
pub fn act(rule: &CompiledRule, facts: &dyn VariableResolver, catalogue: &Catalogue) -> Matched {
    act_within(rule, facts, catalogue, &mut { MAX_TOGETHER })
}

fn act_within(rule: &CompiledRule, facts: &dyn VariableResolver, catalogue: &Catalogue, left: &mut usize) -> Matched {
    let mut matched = Matched {
        name: rule.rule.name.clone(),
        mode: rule.rule.mode,
        emits: Vec::new(),
        throttle: None,
        once: None,
        failure: None,
    };
    if let Err(fault) = fill(&mut matched, rule, facts, catalogue, left) {
        matched.emits.clear();
        matched.failure = Some(fault);
    }
    matched
}

fn fill(
    matched: &mut Matched,
    rule: &CompiledRule,
    facts: &dyn VariableResolver,
    catalogue: &Catalogue,
    left: &mut usize,
) -> Result<(), RunFault> {
    let name = &rule.rule.name;
    if let Some(throttle) = &rule.rule.throttle {
        let key = rule.throttle_key.as_ref().map(|key| key_text(key, facts, "throttle.key")).transpose()?;
        let key = store_key("throttle", name, key.as_deref().unwrap_or_default());
        matched.throttle = Some(ThrottleBy { key, count: throttle.count, period_s: throttle.period_s });
    }
    if let Some(once_per) = &rule.once_per {
        let key = key_text(once_per, facts, "once_per")?;
        matched.once = Some(store_key("once", name, &key));
    }
    for (n, (compiled, said)) in rule.emits.iter().zip(&rule.rule.emit).enumerate() {
        let emitted = Emitted {
            data: data(compiled, n, facts, left)?,
            subject: short_text(compiled.subject.as_ref(), facts, &format!("emit[{n}].subject"))?,
            ordering_key: short_text(compiled.ordering_key.as_ref(), facts, &format!("emit[{n}].ordering_key"))?,
            event_type: said.event_type.clone(),
            expires_after_s: said.expires_after_s,
            emergency: said.emergency,
        };
        if let Err(fault) = catalogue.check(&emitted.event_type, &emitted.data) {
            let message =
                format!("it breaks the schema of {} at data{}: {}", said.event_type, fault.path, fault.message);
            return Err(RunFault { field: format!("emit[{n}].data"), message });
        }
        matched.emits.push(emitted);
    }
    Ok(())
}

fn data(
    compiled: &CompiledEmission,
    n: usize,
    facts: &dyn VariableResolver,
    together: &mut usize,
) -> Result<serde_json::Value, RunFault> {
    let fault = |message: String| RunFault { field: format!("emit[{n}].data"), message };
    let value = compiled.data.value(facts).map_err(|error| fault(why(&error)))?;
    let most = MAX_DATA.min(*together);
    let mut left = most;
    let made = to_json(&value, &mut left).map_err(fault)?;
    *together = together.saturating_sub(most - left);
    match made {
        object @ serde_json::Value::Object(_) => Ok(object),
        _ => Err(fault("it must make a map".to_owned())),
    }
}

/// A subject or ordering key: 1 to 255 bytes. An empty one is none.
fn short_text(
    expression: Option<&Expression>,
    facts: &dyn VariableResolver,
    field: &str,
) -> Result<Option<String>, RunFault> {
    let Some(expression) = expression else { return Ok(None) };
    let fault = |message: &str| RunFault { field: field.to_owned(), message: message.to_owned() };
    match expression.value(facts).map_err(|error| fault(&why(&error)))? {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) if text.len() <= 255 => Ok(Some(text.as_str().to_owned())),
        Value::String(_) => Err(fault("it makes a text of more than 255 bytes")),
        _ => Err(fault("it must make a text")),
    }
}

/// What two events must have in common to count as the same.
fn key_text(expression: &Expression, facts: &dyn VariableResolver, field: &str) -> Result<String, RunFault> {
    let fault = |message: String| RunFault { field: field.to_owned(), message };
    let value = expression.value(facts).map_err(|error| fault(why(&error)))?;
    let mut left = MAX_DATA;
    Ok(to_json(&value, &mut left).map_err(fault)?.to_string())
}

/// Where the plugin remembers a key: of a fixed length, and without what it is about.
fn store_key(family: &str, rule: &str, key: &str) -> String {
    let hash = Sha256::digest(key);
    format!("{family}/{rule}/{}", hex::encode(&hash[..16]))
}
