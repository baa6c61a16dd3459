//! Rules in files: checked against a hub, and brought to it.

use std::path::Path;

use serde_json::{Map, Value};

use super::{
    args::{GlobalArgs, RulesArgs, RulesCommand},
    client::{CliError, HubClient},
    output::{Output, table, text},
};

/// Runs a command on rules.
///
/// # Errors
///
/// See [`CliError`].
pub(super) async fn run(command: RulesCommand, global: &GlobalArgs) -> Result<(), CliError> {
    let hub = HubClient::of_hub(&global.url, global.key.as_ref())?;
    let output = Output::new(global.json);
    match command {
        RulesCommand::Check(args) => check(&hub, &args, output).await,
        RulesCommand::Push(args) => push(&hub, &args, output).await,
    }
}

async fn check(hub: &HubClient, args: &RulesArgs, output: Output) -> Result<(), CliError> {
    let rules = read(&args.file)?;
    let tried = hub.post(&["v1", "tenants", &args.tenant, "rules", "test"], &rules).await?;
    output.result(&tried, shown)?;
    match tried["faults"].as_array() {
        Some(faults) if !faults.is_empty() => Err(CliError::Senseless("the rules are not sound; nothing was changed")),
        _ => Ok(()),
    }
}

async fn push(hub: &HubClient, args: &RulesArgs, output: Output) -> Result<(), CliError> {
    let rules = read(&args.file)?;
    let saved = hub.put(&["v1", "tenants", &args.tenant, "rules"], &rules).await?;
    output.result(&saved, |saved| {
        let count = saved["rules"].as_array().map_or(0, Vec::len);
        let warnings = lines(&saved["warnings"]);
        format!("{count} rules of {} are in force as version {}{warnings}", args.tenant, saved["version"])
    })
}

/// The rules of a file as the interface takes them.
fn read(file: &Path) -> Result<Value, CliError> {
    let place = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|reason| CliError::File { file: place.clone(), reason })?;
    if file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml")) {
        let rules: Map<String, Value> =
            toml::from_str(&text).map_err(|reason| CliError::NotToml { place, reason: Box::new(reason) })?;
        return Ok(rules.into());
    }
    serde_json::from_str(&text).map_err(|reason| CliError::NotJson { place, reason })
}

fn shown(tried: &Value) -> String {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let faults: Vec<String> = list(&tried["faults"]).iter().map(fault).collect();
    if !faults.is_empty() {
        return faults.join("\n");
    }
    let mut rows = Vec::new();
    for event in list(&tried["events"]) {
        for rule in list(&event["rules"]) {
            rows.push(row(text(&event, "type"), text(&event, "id"), &rule));
        }
    }
    for rule in list(&tried["schedules"]) {
        rows.push(row("schedule", rule["next"][0].as_str().unwrap_or("never"), &rule));
    }
    let warnings = lines(&tried["warnings"]);
    if rows.is_empty() {
        return format!("sound; no recent event is of a type that they wait for{warnings}");
    }
    format!("{}{warnings}", table(&["ON", "EVENT OR TIME", "RULE", "OUTCOME", "EMITS OR WHY"], &rows))
}

fn fault(fault: &Value) -> String {
    let place = match (&fault["line"], &fault["column"]) {
        (Value::Number(line), Value::Number(column)) => format!(", line {line}, column {column}"),
        _ => String::new(),
    };
    format!("{} (rule `{}`{place}): {}", text(fault, "field"), text(fault, "rule"), text(fault, "message"))
}

fn row(on: &str, event: &str, rule: &Value) -> Vec<String> {
    let emits = rule["emits"].as_array().into_iter().flatten().map(|emitted| text(emitted, "type"));
    let emits = emits.collect::<Vec<_>>().join(", ");
    let last = if emits.is_empty() { text(rule, "why").to_owned() } else { emits };
    vec![on.to_owned(), event.to_owned(), text(rule, "name").to_owned(), text(rule, "outcome").to_owned(), last]
}

fn lines(warnings: &Value) -> String {
    warnings
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|line| format!("\nwarning: {line}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn faults_are_told_with_rule_line_and_column_and_matches_as_a_table() {
        let faulty =
            json!({"faults": [{"rule": "r", "field": "rules[0].when", "line": 2, "column": 3, "message": "no"}]});
        assert_eq!(shown(&faulty), "rules[0].when (rule `r`, line 2, column 3): no");
        let sound = json!({"faults": [], "warnings": ["a and b set each other off"], "events": [{"type": "a.b", "id": "evt_1",
            "rules": [{"name": "r", "outcome": "emits", "emits": [{"type": "c.d"}]}]}], "schedules": []});
        let shown = shown(&sound);
        assert!(shown.contains("a.b") && shown.contains("emits") && shown.contains("c.d"), "{shown}");
        assert!(shown.ends_with("warning: a and b set each other off"), "{shown}");
    }
}
