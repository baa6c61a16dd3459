//! A rule set, compiled.

use std::collections::HashSet;

use cel::{Value, context::VariableResolver};

use super::{
    FAILED,
    definition::{MAX_EMITS, MAX_PERIOD_S, MAX_RULES, MAX_THROTTLE, MAX_TYPES, Rule, RuleMode, Rules},
    fault::{Faults, RuleFault},
};
use crate::{
    event::EventType,
    route::{
        expression::{Expression, Vocabulary, why},
        pattern::TypePattern,
    },
};

/// All rules of a tenant that could be compiled.
#[derive(Debug)]
pub struct RuleSet {
    config: String,
    rules: Vec<CompiledRule>,
}

/// One rule, ready to be asked.
#[derive(Debug)]
pub struct CompiledRule {
    /// As it is written.
    pub rule: Rule,
    /// The events that it waits for; none where it runs at times.
    pub patterns: Vec<TypePattern>,
    /// Its condition.
    pub when: Option<Expression>,
    /// What it emits.
    pub emits: Vec<CompiledEmission>,
    /// What its throttle counts by.
    pub throttle_key: Option<Expression>,
    /// What it acts once for.
    pub once_per: Option<Expression>,
}

/// One mapping.
#[derive(Debug)]
pub struct CompiledEmission {
    /// The payload.
    pub data: Expression,
    /// What it is about.
    pub subject: Option<Expression>,
    /// What it is kept in order with.
    pub ordering_key: Option<Expression>,
}

/// What a rule says to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It acts.
    Matches,
    /// It is switched off.
    Off,
    /// It waits for other types, or runs at times.
    OtherType,
    /// Its condition does not hold.
    ConditionFalse,
    /// Its condition cannot be evaluated, and why.
    ConditionFailed(String),
}

impl RuleSet {
    /// The rules in a config. A rule that cannot be compiled is left out, so that it stops no other; what is wrong with it
    /// is answered.
    #[must_use]
    pub fn of_config(config: &str) -> (Self, Vec<RuleFault>) {
        let parsed: Result<Rules, _> = serde_json::from_str(config);
        match parsed {
            Ok(rules) => {
                let (rules, faults) = compile(&rules);
                (Self { config: config.to_owned(), rules }, faults)
            }
            Err(error) => {
                let message = format!("the rules cannot be read: {error}");
                let fault = RuleFault { index: 0, rule: String::new(), field: String::new(), at: None, message };
                (Self { config: config.to_owned(), rules: Vec::new() }, vec![fault])
            }
        }
    }

    /// The config that it was made of.
    #[must_use]
    pub fn config(&self) -> &str {
        &self.config
    }

    /// The rules in their order.
    #[must_use]
    pub fn rules(&self) -> &[CompiledRule] {
        &self.rules
    }

    /// Whether any rule acts on an event of this type with these facts.
    #[must_use]
    pub fn wants(&self, event_type: &EventType, facts: &dyn VariableResolver) -> bool {
        self.rules.iter().any(|rule| match rule.judge(event_type, facts) {
            Verdict::Matches => true,
            Verdict::ConditionFailed(_) => {
                crate::observe::metrics::filter_failed();
                false
            }
            Verdict::Off | Verdict::OtherType | Verdict::ConditionFalse => false,
        })
    }

    /// The rule that a schedule of this name runs.
    #[must_use]
    pub fn scheduled(&self, name: &str) -> Option<&CompiledRule> {
        self.rules.iter().find(|rule| rule.rule.name == name && rule.rule.is_scheduled())
    }
}

impl CompiledRule {
    /// What it says to an event of this type.
    #[must_use]
    pub fn judge(&self, event_type: &EventType, facts: &dyn VariableResolver) -> Verdict {
        if self.rule.mode == RuleMode::Off {
            return Verdict::Off;
        }
        // A rule that hears of every failure, its own among them, would never end.
        let hears = |pattern: &TypePattern| {
            pattern.matches(event_type) && (pattern.is_exact() || event_type.as_str() != FAILED)
        };
        if self.patterns.iter().any(hears) { self.condition(facts) } else { Verdict::OtherType }
    }

    /// What its condition says.
    #[must_use]
    pub fn condition(&self, facts: &dyn VariableResolver) -> Verdict {
        match self.when.as_ref().map(|when| when.value(facts)) {
            None | Some(Ok(Value::Bool(true))) => Verdict::Matches,
            Some(Ok(Value::Bool(false))) => Verdict::ConditionFalse,
            Some(Ok(_)) => Verdict::ConditionFailed("it makes neither true nor false".to_owned()),
            Some(Err(error)) => Verdict::ConditionFailed(why(&error)),
        }
    }
}

/// Compiles what can be compiled, and answers what is wrong with the rest.
#[must_use]
pub fn compile(rules: &Rules) -> (Vec<CompiledRule>, Vec<RuleFault>) {
    let (mut compiled, mut faults, mut names) = (Vec::new(), Vec::new(), HashSet::new());
    for (index, rule) in rules.rules.iter().enumerate() {
        let mut found = Faults { index, rule: &rule.name, found: Vec::new() };
        if index == MAX_RULES {
            found.add("", format!("a tenant has at most {MAX_RULES} rules"));
            faults.append(&mut found.found);
            break;
        }
        if !is_name(&rule.name) {
            found.add("name", "must match [a-z0-9][a-z0-9-]{0,62}");
        }
        if !names.insert(&rule.name) {
            found.add("name", format!("`{}` is there twice", rule.name));
        }
        let one = compile_one(rule, &mut found);
        if found.found.is_empty() {
            compiled.extend(one);
        }
        faults.append(&mut found.found);
    }
    (compiled, faults)
}

fn compile_one(rule: &Rule, faults: &mut Faults<'_>) -> Option<CompiledRule> {
    let patterns = patterns(rule, faults);
    bounds(rule, faults);
    let when = part(faults, "when", rule.when.as_deref(), &Vocabulary::CONDITION);
    let emits = (rule.emit.iter().enumerate())
        .filter_map(|(n, emission)| {
            let field = |name: &str| format!("emit[{n}].{name}");
            let data = part(faults, &field("data"), Some(&emission.data), &Vocabulary::MAPPING)?;
            let mut text =
                |name: &str, source: Option<&str>| part(faults, &field(name), source, &Vocabulary::CONDITION);
            let subject = text("subject", emission.subject.as_deref());
            let ordering_key = text("ordering_key", emission.ordering_key.as_deref());
            Some(CompiledEmission { data, subject, ordering_key })
        })
        .collect();
    let throttle_key = rule.throttle.as_ref().and_then(|throttle| throttle.key.as_deref());
    let throttle_key = part(faults, "throttle.key", throttle_key, &Vocabulary::MAPPING);
    let once_per = part(faults, "once_per", rule.once_per.as_deref(), &Vocabulary::MAPPING);
    Some(CompiledRule { rule: rule.clone(), patterns, when, emits, throttle_key, once_per })
}

fn part(faults: &mut Faults<'_>, field: &str, source: Option<&str>, vocabulary: &Vocabulary) -> Option<Expression> {
    faults.take(field, Expression::compile(source?, vocabulary))
}

fn patterns(rule: &Rule, faults: &mut Faults<'_>) -> Vec<TypePattern> {
    if rule.is_scheduled() {
        return Vec::new();
    }
    let on = rule.on.all();
    if on.is_empty() || on.len() > MAX_TYPES {
        faults.add("on", format!("name 1 to {MAX_TYPES} types, or `schedule`"));
    }
    let mut patterns = Vec::new();
    for text in on {
        match text.parse::<TypePattern>() {
            Ok(TypePattern::Exact(exact)) if exact.is_private() => {
                faults.add("on", format!("`{text}` is private to a plugin; rules hear public types"));
            }
            Ok(pattern) => patterns.push(pattern),
            Err(error) => {
                faults.add("on", format!("`{text}`: {error}; write a type, `invoice.*`, `*` or `schedule`"));
            }
        }
    }
    patterns
}

/// What needs no parsing.
fn bounds(rule: &Rule, faults: &mut Faults<'_>) {
    if rule.emit.is_empty() || rule.emit.len() > MAX_EMITS {
        faults.add("emit", format!("name 1 to {MAX_EMITS} things to emit"));
    }
    if rule.description.len() > 1_000 {
        faults.add("description", "at most 1,000 bytes");
    }
    if let Some(throttle) = &rule.throttle {
        if !(1..=MAX_THROTTLE).contains(&throttle.count) {
            faults.add("throttle.count", format!("must be 1 to {MAX_THROTTLE}"));
        }
        if !(1..=MAX_PERIOD_S).contains(&throttle.period_s) {
            faults.add("throttle.period_s", format!("must be 1 to {MAX_PERIOD_S} seconds"));
        }
    }
    if rule.is_scheduled() {
        if rule.cron.is_none() {
            faults.add("cron", "a rule on `schedule` needs it: minute, hour, day of month, month, day of week");
        }
        return;
    }
    let timed = [
        ("cron", rule.cron.is_some()),
        ("time_zone", rule.time_zone.is_some()),
        ("missed", rule.missed.is_some()),
        ("jitter_s", rule.jitter_s.is_some()),
    ];
    for (field, _) in timed.into_iter().filter(|(_, there)| *there) {
        faults.add(field, "only a rule on `schedule` has it; leave it out, or write `\"on\": \"schedule\"`");
    }
}

/// `[a-z0-9][a-z0-9-]{0,62}`.
fn is_name(text: &str) -> bool {
    matches!(text.len(), 1..=63)
        && !text.starts_with('-')
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
