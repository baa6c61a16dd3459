use std::time::Duration;

use serde_json::Value;
use switchyard_sdk::prelude::*;

use super::progress::{Progress, Stage};
use super::report::Report;
use super::track::Open;
use super::{recording, track};
use crate::CONNECTION;
use crate::config::Config;
use crate::status::options;

/// The schedule.
pub const CALLS: &str = "calls";

/// How often it is due.
pub const PERIOD: Duration = Duration::from_secs(15 * 60);

/// At most so many calls are asked about in one poll; the next goes on where it ended.
const MOST: u32 = 40;

/// Asks about calls whose end was not heard: Twilio sends each status callback once, and a hub that was down then never
/// gets it. Without this such a call would be in progress for ever. A call of which something was heard since the last
/// look is left alone.
pub fn poll(ctx: &Ctx<Config>, cursor: Option<String>) -> Result<PollOutput, PluginError> {
    let page = ctx.kv().list(track::OPEN, cursor.as_deref(), MOST)?;
    let mut events = Vec::new();
    for key in &page.keys {
        let call_id = key.strip_prefix(track::OPEN).unwrap_or(key);
        let Some(known) = track::known(ctx, call_id)?.filter(|known| known.stage != Stage::Over) else {
            // Forgotten, or over.
            ctx.kv().delete(key)?;
            continue;
        };
        let open: Open = ctx.kv().get_json(key)?.unwrap_or_default();
        if open.heard == known.history.len() {
            events.extend(look(ctx, call_id, &known)?);
        } else {
            let kept = options(open.person.as_deref());
            ctx.kv().set_json(key, &Open { heard: known.history.len(), ..open }, &kept)?;
        }
    }
    Ok(PollOutput { events, has_more: page.cursor.is_some(), cursor: page.cursor, next_in: None })
}

fn look(ctx: &Ctx<Config>, call_id: &str, known: &Progress) -> Result<Vec<Emit>, PluginError> {
    let path = format!("/2010-04-01/Accounts/{}/Calls/{call_id}", ctx.config.account_sid);
    let answer = ctx.http(CONNECTION).get(format!("{path}.json")).send()?;
    if answer.status == 404 {
        // Deleted at Twilio, so that nothing more will ever be heard of it.
        let report = Report { status: Some("failed".to_owned()), ..of(ctx, call_id, &Value::Null) };
        return track::follow(ctx, &report, CALLS, ctx.time());
    }
    let call: Value = answer.ok()?.json()?;
    let mut events = track::follow(ctx, &of(ctx, call_id, &call), CALLS, ctx.time())?;
    let recorded = known.history.iter().any(|transition| transition.stage == Stage::Voicemail);
    if recorded && !events.is_empty() {
        events.extend(recordings(ctx, call_id, &path)?);
    }
    Ok(events)
}

fn of(ctx: &Ctx<Config>, call_id: &str, call: &Value) -> Report {
    let text = |name: &str| call.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    Report {
        call_id: call_id.to_owned(),
        account: ctx.config.account_sid.clone(),
        status: text("status"),
        direction: text("direction"),
        from: text("from"),
        to: text("to"),
        duration_s: text("duration").and_then(|text| text.parse().ok()),
        answered_by: text("answered_by"),
        at: text("end_time").as_deref().and_then(switchyard_sdk::time::parse_rfc2822),
        ..Report::default()
    }
}

/// The callback that tells of a recording may be lost as well.
fn recordings(ctx: &Ctx<Config>, call_id: &str, path: &str) -> Result<Vec<Emit>, PluginError> {
    let list: Value = ctx.http(CONNECTION).get(format!("{path}/Recordings.json")).send()?.ok()?.json()?;
    let all = list.get("recordings").and_then(Value::as_array).into_iter().flatten();
    let event = |item: &Value| {
        let text = |name: &str| item.get(name).and_then(Value::as_str);
        let (id, seconds) = (text("sid")?, text("duration").and_then(|text| text.parse().ok()));
        let account = &ctx.config.account_sid;
        let usual = || format!("https://api.twilio.com/2010-04-01/Accounts/{account}/Recordings/{id}");
        let url = text("media_url").map_or_else(usual, str::to_owned);
        let done = text("status").is_none_or(|status| status == "completed");
        done.then(|| recording::ready(account, call_id, id, &url, seconds, text("source")))
    };
    Ok(all.filter_map(event).collect())
}
