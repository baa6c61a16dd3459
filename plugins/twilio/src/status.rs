use std::time::Duration;

use serde::{Deserialize, Serialize};
use switchyard_sdk::prelude::*;

use crate::config::Config;

/// Longer than Twilio reports on a message, and as long as duplicates are known.
pub const KEPT: Duration = Duration::from_secs(35 * 86_400);

/// The highest status seen of a message.
#[derive(Deserialize, Serialize)]
struct Seen {
    rank: u8,
}

#[derive(Deserialize)]
struct Callback {
    message_id: String,
    account: String,
    status: String,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    hub_ref: Option<String>,
}

/// Emits `sms.status` if the status is higher than all before: callbacks arrive in any order, and a message that was
/// delivered is never reported as sent again.
pub fn callback(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let callback: Callback = event.parse()?;
    let about = options(callback.to.as_deref());
    if let Some(reference) = &callback.hub_ref {
        let known = |current: Option<String>| current.is_none().then(|| callback.message_id.clone());
        ctx.kv().update(&reference_key(reference), &about, known)?;
    }
    let Some(rank) = rank(&callback.status) else {
        ctx.warn("a message status that this plugin does not know was left out", &[]);
        return Ok(Output::none());
    };
    if !raise(ctx, &callback.message_id, rank, &about)? {
        return Ok(Output::none());
    }
    let key = format!("twilio:{}:message:{}", callback.account, callback.message_id);
    // Not the key of `sms.sent`: a callback may arrive before the command could say that the message was sent.
    let emit = Emit::new("sms.status", event.data.clone())
        .subject(callback.message_id)
        .dedupe(format!("{key}:status:{}", callback.status))
        .ordering(key);
    Ok(emit.into())
}

/// Remembers the status that Twilio gave a message when it took it, for which there is no callback.
pub fn remember(ctx: &Ctx<Config>, message_id: &str, status: &str, to: &str) -> Result<(), PluginError> {
    if let Some(rank) = rank(status) {
        raise(ctx, message_id, rank, &options(Some(to)))?;
    }
    Ok(())
}

/// Under which the message of a reference is remembered, once a callback has named both.
pub fn reference_key(reference: &str) -> String {
    format!("ref/{reference}")
}

/// How what is known of a message is kept: it goes when the recipient is erased.
pub fn options(to: Option<&str>) -> KvOptions {
    let options = KvOptions::ttl(KEPT);
    match to {
        Some(to) => options.about(to),
        None => options,
    }
}

fn raise(ctx: &Ctx<Config>, message_id: &str, rank: u8, options: &KvOptions) -> Result<bool, PluginError> {
    ctx.kv().update(&format!("status/{message_id}"), options, |seen: Option<Seen>| {
        seen.is_none_or(|seen| rank > seen.rank).then_some(Seen { rank })
    })
}

/// The order of statuses. Final ones share a rank, so that the first of them stands; `read` follows `delivered`.
fn rank(status: &str) -> Option<u8> {
    match status {
        "accepted" | "scheduled" => Some(0),
        "queued" => Some(1),
        "sending" => Some(2),
        "sent" => Some(3),
        "delivered" | "undelivered" | "failed" | "canceled" | "partially_delivered" => Some(4),
        "read" => Some(5),
        _ => None,
    }
}
