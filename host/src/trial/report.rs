//! What a trial showed: for people, for programs, and compared with what a case expects.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::host::TrialHost;
use crate::{
    event::catalogue::{check_against, compile_schema},
    plugin::{
        call::{CallEnd, Ended, Usage},
        grant::Grants,
        model::{EmittedEvent, LogLine, Manifest, MetricSample, MetricValue, Output, PollOutput, Received},
    },
};

/// One call and what came of it.
pub(super) struct Report {
    plugin: String,
    export: &'static str,
    outcome: String,
    error: Option<Value>,
    /// The plugin itself is at fault.
    broken: bool,
    events: Vec<EmittedEvent>,
    left: Map<String, Value>,
    calls: Vec<Value>,
    written: BTreeMap<String, Option<Vec<u8>>>,
    lines: Vec<LogLine>,
    samples: Vec<MetricSample>,
    unused: usize,
    grants: Grants,
    usage: Usage,
    stderr: String,
}

impl Report {
    pub(super) fn of_output(export: &'static str, ended: Ended<Output>) -> Self {
        Self::of(export, ended, |output, _| output.events)
    }

    pub(super) fn of_poll(ended: Ended<PollOutput>) -> Self {
        Self::of("poll", ended, |polled, left| {
            left.insert("cursor".to_owned(), polled.cursor.into());
            left.insert("has_more".to_owned(), polled.has_more.into());
            polled.events
        })
    }

    pub(super) fn of_received(ended: Ended<Received>) -> Self {
        Self::of("receive", ended, |received, left| {
            let (verdict, reply, events) = match received {
                Received::Accepted { events, reply, poll_now } => {
                    left.insert("poll_now".to_owned(), poll_now.into());
                    ("accepted".to_owned(), reply, events)
                }
                Received::Handled(reply) => ("handled".to_owned(), Some(reply), Vec::new()),
                Received::Unauthenticated(reason) => (format!("unauthenticated: {reason}"), None, Vec::new()),
            };
            left.insert("verdict".to_owned(), verdict.into());
            if let Some(reply) = reply {
                let body = String::from_utf8_lossy(&reply.body);
                left.insert("reply".to_owned(), json!({"status": reply.status, "body": body}));
            }
            events
        })
    }

    fn of<T>(
        export: &'static str,
        ended: Ended<T>,
        take: impl FnOnce(T, &mut Map<String, Value>) -> Vec<EmittedEvent>,
    ) -> Self {
        let Ended { result, host, usage, stderr, plugin } = ended;
        let mut report = Self {
            plugin: plugin.to_string(),
            export,
            outcome: "ok".to_owned(),
            error: None,
            broken: false,
            events: Vec::new(),
            left: Map::new(),
            calls: Vec::new(),
            written: BTreeMap::new(),
            lines: Vec::new(),
            samples: Vec::new(),
            unused: 0,
            grants: Grants::default(),
            usage,
            stderr,
        };
        if let Ok(host) = host.into_any().downcast::<TrialHost>() {
            let host = *host;
            (report.calls, report.lines, report.samples) = (host.calls, host.lines, host.samples);
            (report.written, report.grants, report.unused) = (host.written, host.grants, host.answers.len());
        }
        match result {
            Ok(returned) => report.events = take(returned, &mut report.left),
            Err(CallEnd::Error(error)) => {
                let detail = error.detail();
                report.outcome = error.disposition().to_owned();
                report.error =
                    Some(json!({"reason": detail.reason.as_str(), "code": detail.code, "message": detail.message}));
            }
            Err(end) => report.fault(end.code().to_owned(), end.to_string()),
        }
        report
    }

    fn fault(&mut self, code: String, message: String) {
        (self.broken, self.outcome) = (true, code.clone());
        self.error = Some(json!({"reason": "plugin_bug", "code": code, "message": message}));
    }

    /// The report with what a hub would refuse of the emitted events.
    pub(super) fn checked(mut self, manifest: &Manifest) -> Self {
        let refused = self.events.iter().find_map(|event| self.refused(manifest, event));
        if let Some((code, message)) = refused {
            self.fault(code.to_owned(), message);
        }
        self
    }

    fn refused(&self, manifest: &Manifest, event: &EmittedEvent) -> Option<(&'static str, String)> {
        if !event.type_.starts_with('_')
            && let Err(denied) = self.grants.may_emit(&event.type_)
        {
            return Some(("emit_not_granted", denied.to_string()));
        }
        let spec = manifest.emits.iter().find(|spec| spec.name == event.type_)?;
        let schema = serde_json::from_str(spec.schema.as_deref()?).ok()?;
        let data: Value = serde_json::from_str(&event.data).ok()?;
        let fault = check_against(&compile_schema(&spec.name, &schema).ok()?, &data).err()?;
        let text = format!("{} breaks its schema at data{}: {}", event.type_, fault.path, fault.message);
        Some(("emit_schema", text))
    }

    pub(super) fn exit_code(&self) -> u8 {
        match (&self.error, self.broken) {
            (None, _) => 0,
            (Some(_), false) => 3,
            (Some(_), true) => 4,
        }
    }

    pub(super) fn json(&self) -> Value {
        let mut report = json!({
            "plugin": self.plugin,
            "call": self.export,
            "outcome": self.outcome,
            "error": self.error,
            "events": self.events.iter().map(event).collect::<Vec<_>>(),
            "calls": self.calls,
            "unused_answers": self.unused,
            "kv": self.written.iter().map(|(key, value)| (key.clone(), text(value.as_deref()))).collect::<Map<_, _>>(),
            "log": self.lines,
            "metrics": self.samples.iter().map(metric).collect::<Vec<_>>(),
            "stderr": self.stderr,
            "cost": {"cpu_ms": self.usage.cpu_ms, "wall_ms": self.usage.wall_ms,
                "peak_memory_bytes": self.usage.peak_memory_bytes, "http_calls": self.usage.http_calls,
                "kv_operations": self.usage.kv_operations, "log_lines_dropped": self.usage.log_lines_dropped},
        });
        if let Some(members) = report.as_object_mut() {
            members.extend(self.left.clone());
        }
        report
    }

    pub(super) fn lines(&self) -> String {
        let mut lines = vec![format!("{} {}: {}", self.plugin, self.export, self.outcome)];
        if let Some(error) = &self.error {
            lines.push(format!("  error    {} {}", shown(&error["code"]), shown(&error["message"])));
        }
        lines.extend(self.left.iter().map(|(name, value)| format!("  {name:<8} {}", shown(value))));
        lines.extend(self.events.iter().map(|event| format!("  event    {} {}", event.type_, event.data)));
        lines.extend(self.calls.iter().map(|call| {
            let came = if call["status"].is_null() { &call["error"] } else { &call["status"] };
            format!("  call     {} -> {}", shown(&call["call"]), shown(came))
        }));
        lines.extend(
            self.written.iter().map(|(key, value)| format!("  kv       {key} = {}", shown(&text(value.as_deref())))),
        );
        lines.extend(self.lines.iter().map(|line| format!("  log      {:?} {}", line.level, line.message)));
        lines.extend(self.samples.iter().map(|sample| format!("  metric   {}", metric(sample))));
        if self.unused > 0 {
            lines.push(format!("  note     {} recorded answers were not asked for", self.unused));
        }
        let Usage { cpu_ms, wall_ms, peak_memory_bytes, http_calls, kv_operations, .. } = &self.usage;
        lines.push(format!(
            "  cost     {cpu_ms} ms CPU, {wall_ms} ms, {} KiB memory, {http_calls} http calls, {kv_operations} kv operations",
            peak_memory_bytes / 1024
        ));
        lines.join("\n")
    }
}

fn event(event: &EmittedEvent) -> Value {
    let mut value = serde_json::to_value(event).unwrap_or_default();
    value["data"] = serde_json::from_str(&event.data).unwrap_or_default();
    value
}

fn metric(sample: &MetricSample) -> Value {
    let value = match sample.value {
        MetricValue::Add(number) => json!(number),
        MetricValue::Record(number) => json!(number),
    };
    json!({"name": sample.name, "value": value})
}

fn text(value: Option<&[u8]>) -> Value {
    value.map_or(Value::Null, |value| String::from_utf8_lossy(value).into())
}

/// Text without quotes, anything else as JSON.
fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The first place where `found` lacks what is `expected`: of objects only the named members count, lists are as long.
pub(super) fn difference(expected: &Value, found: &Value, path: &str) -> Option<String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => expected.iter().find_map(|(name, expected)| {
            difference(expected, found.get(name).unwrap_or(&Value::Null), &format!("{path}/{name}"))
        }),
        (Value::Array(wanted), Value::Array(came)) if wanted.len() == came.len() => {
            let pairs = wanted.iter().zip(came).enumerate();
            pairs.into_iter().find_map(|(at, (wanted, came))| difference(wanted, came, &format!("{path}/{at}")))
        }
        _ if expected == found => None,
        _ => Some(format!("{path}: expected {expected}, found {found}")),
    }
}

/// The outcomes of several cases.
pub(super) fn results(results: &Value) -> String {
    let line = |result: &Value| {
        let verdict = if result["passed"] == true { "ok    " } else { "FAILED" };
        let why = result["difference"].as_str().map_or_else(String::new, |why| format!("\n       {why}"));
        format!("{verdict} {} ({} ms CPU){why}", shown(&result["case"]), result["cost"]["cpu_ms"])
    };
    results.as_array().into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_expected_is_compared_and_the_first_difference_is_named() {
        let found = json!({"outcome": "ok", "events": [{"type": "a.b", "data": {"n": 1}}], "calls": []});
        assert_eq!(difference(&json!({"events": [{"data": {"n": 1}}]}), &found, ""), None);
        let wrong = difference(&json!({"events": [{"data": {"n": 2}}]}), &found, "").unwrap();
        assert_eq!(wrong, "/events/0/data/n: expected 2, found 1");
        assert!(difference(&json!({"events": []}), &found, "").is_some(), "a list is as long as it is expected to be");
        assert!(difference(&json!({"error": {"code": "x"}}), &found, "").is_some());
    }
}
