//! `emits`, `handles` and `config-schema`.

use std::collections::HashSet;

use jsonschema::PatternOptions;
use serde_json::Value;

use super::{Findings, SCHEMA, TypePattern, names};
use crate::plugin::{
    guest::Exports,
    model::{EventKind, EventType, Manifest},
};

pub(super) fn check(manifest: &Manifest, exports: Exports, findings: &mut Findings) {
    findings.list_length("emits", manifest.emits.len());
    findings.list_length("handles", manifest.handles.len());
    let mut seen = HashSet::new();
    for (index, emitted) in manifest.emits.iter().enumerate() {
        let field = format!("emits[{index}]");
        findings.unique(&format!("{field}.name"), &emitted.name, &mut seen);
        emits(emitted, &field, findings);
    }
    seen.clear();
    for (index, handled) in manifest.handles.iter().enumerate() {
        let field = format!("handles[{index}]");
        findings.unique(&format!("{field}.name"), &handled.name, &mut seen);
        handles(handled, &field, findings);
    }
    match (manifest.handles.is_empty(), exports.handler) {
        (true, true) => findings.add(
            "handles",
            "it is empty, but the plugin exports `handler`",
            "list the types that `handle` expects",
        ),
        (false, false) => {
            findings.add("handles", "the plugin does not export `handler`", "export it, or leave the list empty");
        }
        _ => {}
    }
}

fn emits(emitted: &EventType, field: &str, findings: &mut Findings) {
    if emitted.ordering_key.is_some() {
        findings.add(format!("{field}.ordering-key"), "it has a meaning only in `handles`", "leave it out");
    }
    if let Some(pattern) = common(emitted, field, findings)
        && pattern.is_of_the_host()
    {
        findings.add(format!("{field}.name"), format!("only the host emits `{pattern}`"), "choose another type");
    }
}

fn handles(handled: &EventType, field: &str, findings: &mut Findings) {
    let pattern = common(handled, field, findings);
    if handled.kind == EventKind::Command && pattern.is_some_and(|pattern| !pattern.is_exact()) {
        let fix = "claim each command by its exact type";
        findings.add(format!("{field}.name"), "a command cannot be claimed by a pattern", fix);
    }
    if let Some(path) = &handled.ordering_key
        && !is_data_path(path)
    {
        let problem = format!("`{}` is no path into `data`", names::shown(path));
        findings.add(format!("{field}.ordering-key"), problem, "write it as `data.calendar_id`");
    }
}

fn common(named: &EventType, field: &str, findings: &mut Findings) -> Option<TypePattern> {
    findings.description(&format!("{field}.description"), &named.description);
    let pattern = TypePattern::parse(&named.name);
    match &pattern {
        None => {
            let problem = format!("`{}` is no type of event", names::shown(&named.name));
            let fix = "write `noun.past_verb`, `noun.verb`, `noun.*`, `*`, or `_name.word` for a private event, \
                       of `a-z`, `0-9`, `_` and `.`, within 128 bytes";
            findings.add(format!("{field}.name"), problem, fix);
        }
        Some(pattern) if pattern.is_private() && named.kind == EventKind::Command => {
            findings.add(format!("{field}.kind"), "a private type cannot be a command", "make it an event");
        }
        Some(pattern) if !pattern.is_exact() && (named.schema.is_some() || named.example.is_some()) => {
            findings.add(format!("{field}.schema"), "a pattern has no schema or example", "leave them out");
        }
        Some(_) => data_schema(named, field, findings),
    }
    pattern
}

fn data_schema(named: &EventType, field: &str, findings: &mut Findings) {
    let example_field = format!("{field}.example");
    findings.json(&example_field, named.example.as_deref());
    let Some(text) = &named.schema else { return };
    let Some(schema) = parse(text, &format!("{field}.schema"), findings) else { return };
    let Some(validator) = compile(&schema, &format!("{field}.schema"), findings) else { return };
    let Some(example) = named.example.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return;
    };
    if let Err(error) = validator.validate(&example) {
        let problem = format!("it breaks the schema at `{}`: {error}", error.instance_path());
        findings.add(example_field, problem, "make the example conform");
    }
}

/// The schema of the installation's config: an object's.
pub(super) fn check_config_schema(text: &str, findings: &mut Findings) {
    let Some(schema) = parse(text, "config-schema", findings) else { return };
    compile(&schema, "config-schema", findings);
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        findings.add("config-schema", "it does not describe an object", "give it `\"type\": \"object\"` at the top");
    }
}

fn parse(text: &str, field: &str, findings: &mut Findings) -> Option<Value> {
    if text.len() > SCHEMA {
        findings.add(field, format!("it has {} bytes", text.len()), format!("keep it within {SCHEMA}"));
        return None;
    }
    match serde_json::from_str(text) {
        Ok(schema) => Some(schema),
        Err(error) => {
            findings.add(field, format!("not JSON: {error}"), "give a JSON Schema (2020-12)");
            None
        }
    }
}

/// Compiles as draft 2020-12, with patterns in linear time and without fetching anything.
fn compile(schema: &Value, field: &str, findings: &mut Findings) -> Option<jsonschema::Validator> {
    let options = jsonschema::draft202012::options().with_pattern_options(PatternOptions::regex());
    match options.build(schema) {
        Ok(validator) => Some(validator),
        Err(error) => {
            let fix = "give a JSON Schema (2020-12) that refers to nothing outside itself";
            findings.add(field, format!("it is no usable JSON Schema: {error}"), fix);
            None
        }
    }
}

fn is_data_path(path: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    path.len() <= 128 && path.strip_prefix("data.").is_some_and(|rest| rest.split('.').all(part))
}
