use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;

use super::progress::{News, Progress, Stage};
use super::report::Report;
use crate::config::Config;
use crate::status::{options, reference_key};

/// Under which the calls that are not over are remembered.
pub const OPEN: &str = "open/";

/// What stands there.
#[derive(Default, Deserialize, Serialize)]
pub struct Open {
    /// The person at the other side.
    #[serde(default)]
    pub person: Option<String>,
    /// How many transitions were known when it was looked at last; none before the first time.
    #[serde(default)]
    pub heard: usize,
}

const IN_PROGRESS: &str = "in-progress";

/// Handles a report that came as an event.
pub fn report(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let report: Report = event.parse()?;
    if let Some(reference) = &report.hub_ref {
        let known = |current: Option<String>| current.is_none().then(|| report.call_id.clone());
        ctx.kv().update(&reference_key(reference), &options(report.person()), known)?;
    }
    if report.status.as_deref().is_some_and(|status| Stage::of_status(status).is_none()) {
        ctx.warn("a call status that this plugin does not know was left out", &[]);
    }
    Ok(follow(ctx, &report, &event.id, event.time)?.into())
}

/// What a report changes, as events: each transition is told once, in the order of a call, whatever comes late or twice.
pub fn follow(ctx: &Ctx<Config>, report: &Report, event: &str, time: u64) -> Result<Vec<Emit>, PluginError> {
    let status = report.status.as_deref().and_then(|status| Some((Stage::of_status(status)?, status)));
    // Twilio answers a call to carry such a step out, whatever it said when it asked for the document.
    let step = report.step.map(|step| (Stage::of_step(step), IN_PROGRESS));
    let key = progress_key(&report.call_id);
    let kept = options(report.person());
    let mut told = Vec::new();
    let mut fresh = false;
    ctx.kv().update(&key, &kept, |seen: Option<Progress>| {
        told.clear();
        fresh = seen.is_none();
        let mut now = seen;
        for (stage, status) in status.into_iter().chain(step) {
            let news = News { stage, status, sequence: report.sequence, at: report.at.unwrap_or(time), event };
            if let Some(next) = Progress::after(now.as_ref(), &news) {
                told.push((stage, now.as_ref().map(|before| before.stage)));
                now = Some(next);
            }
        }
        now.filter(|_| !told.is_empty())
    })?;
    let over = told.iter().any(|(stage, _)| *stage == Stage::Over);
    let mark = format!("{OPEN}{}", report.call_id);
    if over && !fresh {
        ctx.kv().delete(&mark)?;
    } else if fresh && !told.is_empty() && !over {
        let open = Open { person: report.person().map(str::to_owned), heard: 0 };
        ctx.kv().set_json(&mark, &open, &kept)?;
    }
    Ok(told.into_iter().map(|(stage, before)| changed(report, stage, before, time)).collect())
}

/// What is known of a call.
pub fn known(ctx: &Ctx<Config>, call_id: &str) -> Result<Option<Progress>, PluginError> {
    ctx.kv().get_json(&progress_key(call_id))
}

fn progress_key(call_id: &str) -> String {
    format!("call/{call_id}")
}

fn changed(report: &Report, stage: Stage, before: Option<Stage>, time: u64) -> Emit {
    let mut data = json::value(report);
    let status = match stage {
        Stage::Transfer | Stage::Voicemail => IN_PROGRESS,
        _ => report.status.as_deref().unwrap_or(IN_PROGRESS),
    };
    if let Value::Object(members) = &mut data {
        for name in ["step", "at"] {
            members.remove(name);
        }
        members.insert("status".to_owned(), json!(status));
        members.insert("state".to_owned(), json!(stage.state()));
        if let Some(before) = before {
            members.insert("previous".to_owned(), json!(before.state()));
        }
        if stage == Stage::Over {
            members.insert("outcome".to_owned(), json!(status.replace('-', "_")));
        }
    }
    let key = super::key(&report.account, &report.call_id);
    // A terminal stage has one key whatever the status, so that a callback and a look-up come to one event.
    let name = match stage {
        Stage::Over => "ended",
        Stage::Transfer | Stage::Voicemail => stage.state(),
        _ => status,
    };
    Emit::new("call.state_changed", data)
        .subject(report.call_id.as_str())
        .time(report.at.unwrap_or(time))
        .dedupe(format!("{key}:{name}"))
        .ordering(key)
}
