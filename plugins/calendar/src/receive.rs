use serde_json::json;
use switchyard_sdk::prelude::*;

use crate::catalogue::ORPHAN;
use crate::channel::Channels;
use crate::config::Config;
use crate::{TOKEN, channel, sync};

/// The longest header that is looked at.
const LONGEST: usize = 512;

/// Judges a notification. It has no body and no signature: what proves it is the token that only Google was given, and
/// what it says is only that something changed.
pub fn receive(ctx: &Ctx<Config>, request: &InboundRequest) -> Result<Received, PluginError> {
    let header = |name: &str| request.header(name).filter(|value| !value.is_empty() && value.len() <= LONGEST);
    let Some(token) = header("x-goog-channel-token") else {
        return Ok(Received::unauthenticated("The request has no channel token, or more than one."));
    };
    if !ctx.verify_token(TOKEN, token)? {
        return Ok(Received::unauthenticated("The channel token is not ours."));
    }
    let (Some(id), Some(resource)) = (header("x-goog-channel-id"), header("x-goog-resource-id")) else {
        return Ok(Received::unauthenticated("The request names no channel or no resource."));
    };
    let channels: Channels = ctx.kv().get_json(channel::KEY)?.unwrap_or_default();
    let Some(known) = channels.list.iter().find(|channel| channel.id == id) else {
        return Ok(orphan(id, resource));
    };
    // While the channel is being made, its first message comes before the answer that names the resource.
    if known.resource_id.as_deref().is_some_and(|known| !equal(known, resource)) {
        return Ok(Received::unauthenticated("The resource is not the channel's."));
    }
    match header("x-goog-resource-state") {
        Some("sync" | "exists" | "not_exists") => {
            Ok(Received::Accepted { events: Vec::new(), reply: None, poll_now: vec![sync::SCHEDULE.to_owned()] })
        }
        _ => Err(PluginError::reject(Reason::BadData, "unknown_state", "The notification has no state that is known.")),
    }
}

/// A channel that is Google's and no longer ours: answered, and stopped once, since now its resource is known.
fn orphan(id: &str, resource: &str) -> Received {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain(id) || !plain(resource) || id.len() > 64 {
        return Received::Handled(Reply::status(200));
    }
    let data = json!({ "channel_id": id, "resource_id": resource });
    Received::accepted(vec![Emit::new(ORPHAN, data).subject(id).dedupe(format!("gcal:orphan:{id}"))])
}

/// Takes as long for a wrong text as for the right one.
fn equal(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.bytes().zip(other.bytes()).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}
