//! `schedules`, `limits` and `metrics`: what the plugin does and reports.

use std::collections::HashSet;

use super::{Findings, names};
use crate::{
    clock::Timestamp,
    plugin::{
        guest::Exports,
        limits::Limits,
        model::{LimitsRequest, Manifest, MetricSpec, Schedule, Trigger},
    },
    schedule::cron::Cron,
};

const SHORTEST_PERIOD_MS: u64 = 60_000;
const LONGEST_PERIOD_MS: u64 = 366 * 24 * 3_600_000;
const METRIC_LABELS: usize = 4;

pub(super) fn check(manifest: &Manifest, exports: Exports, findings: &mut Findings) {
    findings.list_length("schedules", manifest.schedules.len());
    findings.list_length("metrics", manifest.metrics.len());
    let mut seen = HashSet::new();
    for (index, spec) in manifest.schedules.iter().enumerate() {
        let field = format!("schedules[{index}]");
        findings.unique(&format!("{field}.name"), &spec.name, &mut seen);
        schedule(spec, &field, findings);
    }
    match (manifest.schedules.is_empty(), exports.poller) {
        (true, true) => {
            findings.add("schedules", "it is empty, but the plugin exports `poller`", "say when `poll` is due");
        }
        (false, false) => {
            findings.add("schedules", "the plugin does not export `poller`", "export it, or leave the list empty");
        }
        _ => {}
    }
    limits(&manifest.limits, findings);
    seen.clear();
    for (index, spec) in manifest.metrics.iter().enumerate() {
        let field = format!("metrics[{index}]");
        findings.unique(&format!("{field}.name"), &spec.name, &mut seen);
        metric(spec, &field, findings);
    }
}

fn schedule(spec: &Schedule, field: &str, findings: &mut Findings) {
    findings.name(&format!("{field}.name"), &spec.name);
    findings.description(&format!("{field}.description"), &spec.description);
    let field = format!("{field}.trigger");
    match &spec.trigger {
        Trigger::Every(period) if !(SHORTEST_PERIOD_MS..=LONGEST_PERIOD_MS).contains(period) => {
            let fix = format!("use {SHORTEST_PERIOD_MS} ms to a year");
            findings.add(format!("{field}.every"), format!("{period} ms is out of range"), fix);
        }
        Trigger::Every(_) => {}
        Trigger::Cron { expression, time_zone } => {
            cron(expression, &format!("{field}.cron.expression"), findings);
            if let Some(zone) = time_zone
                && !jiff::tz::db().is_definitively_empty()
                && jiff::tz::TimeZone::get(zone).is_err()
            {
                let problem = format!("`{}` is no time zone", names::shown(zone));
                findings.add(format!("{field}.cron.time-zone"), problem, "use an IANA name: `Europe/Copenhagen`");
            }
        }
    }
}

/// Whether it is an expression that comes true; which zone it is in does not matter to that.
fn cron(expression: &str, field: &str, findings: &mut Findings) {
    let fits = |c: char| c.is_ascii_alphanumeric() || "*,-/?#".contains(c);
    let fields: Vec<_> = expression.split_ascii_whitespace().collect();
    if fields.len() != 5 || !fields.iter().all(|field| field.chars().all(fits)) {
        let problem = format!("`{}` is no cron expression of five fields", names::shown(expression));
        findings.add(field, problem, "write minute, hour, day of month, month, day of week: `0 7 * * 1-5`");
    } else if let Err(error) = Cron::parse_useful(expression, "UTC", Timestamp(0)) {
        findings.add(field, error.to_string(), "write minute, hour, day of month, month, day of week: `0 7 * * 1-5`");
    }
}

fn limits(request: &LimitsRequest, findings: &mut Findings) {
    let maximum = Limits::MAXIMUM;
    let wishes = [
        ("memory-bytes", request.memory_bytes, maximum.memory_bytes),
        ("cpu", request.cpu_ms, maximum.cpu_ms),
        ("wall", request.wall_ms, maximum.wall_ms),
        ("output-bytes", request.output_bytes, maximum.output_bytes),
        ("http-calls", request.http_calls.map(u64::from), maximum.http_calls.into()),
        ("kv-operations", request.kv_operations.map(u64::from), maximum.kv_operations.into()),
        ("response-bytes", request.response_bytes, maximum.response_bytes),
        ("log-lines", request.log_lines.map(u64::from), maximum.log_lines.into()),
        ("log-bytes", request.log_bytes, maximum.log_bytes),
    ];
    for (name, wish, maximum) in wishes {
        if let Some(wish) = wish
            && !(1..=maximum).contains(&wish)
        {
            let fix = format!("ask for 1 to {maximum}, or leave it out");
            findings.add(format!("limits.{name}"), format!("{wish} cannot be granted"), fix);
        }
    }
}

fn metric(spec: &MetricSpec, field: &str, findings: &mut Findings) {
    findings.description(&format!("{field}.description"), &spec.description);
    let fix = "use a lower-case letter, then up to 62 of `a-z`, `0-9` and `_`";
    if !names::is_metric_name(&spec.name) {
        findings.add(format!("{field}.name"), format!("`{}` is no name", names::shown(&spec.name)), fix);
    }
    if spec.unit != "1" && !names::is_metric_name(&spec.unit) {
        let problem = format!("`{}` is no unit", names::shown(&spec.unit));
        findings.add(format!("{field}.unit"), problem, "use `seconds`, `bytes`, or `1` for a count");
    }
    if spec.labels.len() > METRIC_LABELS {
        let problem = format!("it has {} labels", spec.labels.len());
        findings.add(format!("{field}.labels"), problem, format!("use at most {METRIC_LABELS}"));
    }
    let mut seen = HashSet::new();
    for label in &spec.labels {
        findings.unique(&format!("{field}.labels"), label, &mut seen);
        if !names::is_metric_name(label) {
            findings.add(format!("{field}.labels"), format!("`{}` is no name", names::shown(label)), fix);
        }
    }
}
