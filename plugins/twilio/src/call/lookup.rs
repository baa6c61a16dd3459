use serde_json::Value;
use switchyard_sdk::UnknownOutcome;
use switchyard_sdk::prelude::*;
use switchyard_sdk::sorted::SortedMap;
use switchyard_sdk::time::parse_rfc2822;

use crate::CONNECTION;
use crate::config::Config;
use crate::lookup::{CLOCK_DIFFERENCE, owner};
use crate::status::reference_key;

/// How many pages of calls to one person are looked at.
const PAGES: usize = 3;

/// The call that a lost request made. A callback that named our reference proves it; else it is the oldest call to the
/// same person from the same number, asked for through the API after the request and claimed by no other command.
pub fn find(ctx: &Ctx<Config>, to: &str, from: &str, lost: &UnknownOutcome) -> Result<Option<Value>, PluginError> {
    let folder = format!("/2010-04-01/Accounts/{}/Calls", ctx.config.account_sid);
    if let Some(id) = ctx.kv().get_json::<String>(&reference_key(ctx.reference()))? {
        return Ok(Some(ctx.http(CONNECTION).get(format!("{folder}/{id}.json")).send()?.ok()?.json()?));
    }
    let since = lost.sent_at.saturating_sub(CLOCK_DIFFERENCE);
    // Not narrowed by `StartTime`, which a call that nobody answered yet does not have.
    let first = ctx.http(CONNECTION).get(format!("{folder}.json"));
    let mut request = first.query("To", to).query("From", from).query("PageSize", "100");
    let mut found: SortedMap<(u64, usize), Value> = SortedMap::new();
    for _ in 0..PAGES {
        let page: Value = request.send()?.ok()?.json()?;
        for call in page.get("calls").and_then(Value::as_array).into_iter().flatten() {
            if let Some(made) = made_after(call, to, from, since) {
                found.insert((made, found.len()), call.clone());
            }
        }
        match page.get("next_page_uri").and_then(Value::as_str).filter(|next| next.starts_with('/')) {
            Some(next) => request = ctx.http(CONNECTION).get(next),
            None => break,
        }
    }
    for (_, call) in found {
        let id = call.get("sid").and_then(Value::as_str).unwrap_or_default();
        if owner(ctx, id)?.is_none_or(|owner| owner == ctx.reference()) {
            return Ok(Some(call));
        }
    }
    Ok(None)
}

/// When a call that may be the one was made. One without any date is still queued, so it is new.
fn made_after(call: &Value, to: &str, from: &str, since: u64) -> Option<u64> {
    let text = |name: &str| call.get(name).and_then(Value::as_str);
    let made = text("date_created").or(text("start_time")).map_or(Some(u64::MAX), parse_rfc2822)?;
    let ours = text("to") == Some(to) && text("from") == Some(from) && text("direction") == Some("outbound-api");
    (ours && made >= since && text("sid").is_some()).then_some(made)
}
