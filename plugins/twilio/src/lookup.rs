use serde_json::Value;
use switchyard_sdk::UnknownOutcome;
use switchyard_sdk::prelude::*;
use switchyard_sdk::sorted::SortedMap;
use switchyard_sdk::time::{date, parse_rfc2822};

use crate::CONNECTION;
use crate::config::Config;
use crate::send::{Command, Sender};
use crate::status::{options, reference_key};

/// Twilio's clock and ours may differ by this much.
pub const CLOCK_DIFFERENCE: u64 = 300_000;

/// How many pages of a day's messages to one person are looked at.
const PAGES: usize = 3;

/// The message that a lost sending made. A callback that named our reference proves it; else it is the oldest message
/// to the same person, from the same sender, with exactly this text, made after the sending and claimed by no other
/// command.
pub fn find(
    ctx: &Ctx<Config>,
    command: &Command,
    sender: &Sender,
    lost: &UnknownOutcome,
) -> Result<Option<Value>, PluginError> {
    let folder = format!("/2010-04-01/Accounts/{}/Messages", ctx.config.account_sid);
    if let Some(id) = ctx.kv().get_json::<String>(&reference_key(ctx.reference()))? {
        return Ok(Some(ctx.http(CONNECTION).get(format!("{folder}/{id}.json")).send()?.ok()?.json()?));
    }
    let since = lost.sent_at.saturating_sub(CLOCK_DIFFERENCE);
    let mut request = ctx.http(CONNECTION).get(format!("{folder}.json")).query("To", &command.to);
    if let Sender::From(number) = sender {
        request = request.query("From", number);
    }
    let mut page: Value = request.query("DateSent>", &date(since)).query("PageSize", "100").send()?.ok()?.json()?;
    let mut found: SortedMap<(u64, usize), Value> = SortedMap::new();
    for _ in 1..PAGES {
        collect(&page, command, sender, since, &mut found);
        let Some(next) = page.get("next_page_uri").and_then(Value::as_str).filter(|next| next.starts_with('/')) else {
            page = Value::Null;
            break;
        };
        page = ctx.http(CONNECTION).get(next).send()?.ok()?.json()?;
    }
    collect(&page, command, sender, since, &mut found);
    for (_, message) in found {
        let id = message.get("sid").and_then(Value::as_str).unwrap_or_default();
        if owner(ctx, id)?.is_none_or(|owner| owner == ctx.reference()) {
            return Ok(Some(message));
        }
    }
    Ok(None)
}

/// Says that a message or call is this command's. Another command that claims the same one at the same time loses its
/// compare-and-swap, runs again and sees this claim.
pub fn claim(ctx: &Ctx<Config>, id: &str, to: &str) -> Result<(), PluginError> {
    ctx.kv().update(&claim_key(id), &options(Some(to)), |owner: Option<String>| {
        owner.is_none().then(|| ctx.reference().to_owned())
    })?;
    Ok(())
}

/// The reference of the command that claimed a message or call.
pub fn owner(ctx: &Ctx<Config>, id: &str) -> Result<Option<String>, PluginError> {
    ctx.kv().get_json(&claim_key(id))
}

fn claim_key(id: &str) -> String {
    format!("sid/{id}")
}

fn collect(page: &Value, command: &Command, sender: &Sender, since: u64, into: &mut SortedMap<(u64, usize), Value>) {
    let messages = page.get("messages").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for message in messages {
        let text = |name: &str| message.get(name).and_then(Value::as_str);
        let ours = match sender {
            Sender::From(number) => text("from") == Some(number),
            Sender::Service(service) => text("messaging_service_sid") == Some(service),
        };
        let made = text("date_created").and_then(parse_rfc2822).unwrap_or(u64::MAX);
        let outbound = text("direction").is_none_or(|direction| direction == "outbound-api");
        let same = text("to") == Some(&command.to) && text("body") == Some(&command.body);
        if ours && outbound && same && made >= since && text("sid").is_some() {
            into.insert((made, into.len()), message.clone());
        }
    }
}
