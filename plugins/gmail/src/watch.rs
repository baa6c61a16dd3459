use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use switchyard_sdk::prelude::*;
use switchyard_sdk::sorted::SortedSet;

use crate::client::{ask, get, malformed, number, post, read, refusal, text};
use crate::config::{Config, Push};

/// Where the mailbox stood when the plugin was installed.
pub const BASELINE: &str = "baseline";

/// What Gmail was last asked to announce.
const WATCHED: &str = "watched";

/// The name under which the forecast lists when the announcements end.
const FORECAST: &str = "watch";

/// Gmail announces for seven days. The daily renewal leaves six tries; when the end comes nearer than this nevertheless,
/// the next look at the mailbox renews too.
const NEAR_END: Duration = Duration::from_secs(24 * 3600);

/// Sent mail is announced as well, so that what the owner sends is told soon.
const SENT: &str = "SENT";

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Watched {
    topic: String,
    labels: Vec<String>,
    /// In milliseconds since 1970, as Gmail gave it.
    expires: Option<u64>,
}

/// Proves the login and the mailbox, remembers where it stands, and asks for announcements.
pub fn install(ctx: &Ctx<Config>) -> Result<Output, PluginError> {
    let profile = read(ctx, &ask(&get(ctx, "/profile"))?)?;
    let Some(address) = text(&profile, "emailAddress") else { return Err(malformed("is no profile")) };
    if !ctx.config.is_mailbox(address) {
        let message = "the login belongs to another mailbox; log in as this one, or correct the address.";
        return Err(PluginError::bad_config("mailbox", message));
    }
    let Some(stands) = number(profile.get("historyId")) else { return Err(malformed("has no history id")) };
    ctx.kv().set_json(BASELINE, &stands, &KvOptions::default())?;
    if let Some(push) = &ctx.config.push {
        renew(ctx, push)?;
    }
    Ok(Output::none())
}

/// Asks for announcements anew, every day. What only a person can mend ends this poll and not the other one.
pub fn poll(ctx: &Ctx<Config>) -> Result<PollOutput, PluginError> {
    let done = match &ctx.config.push {
        Some(push) => renew(ctx, push),
        None => stop_if_watched(ctx),
    };
    match done {
        Err(PluginError::NeedsAttention(error)) if error.reason == Reason::Config => Err(PluginError::Reject(error)),
        Err(error) => Err(error),
        Ok(()) => Ok(PollOutput::default()),
    }
}

/// Looks whether the config asks for other announcements than Gmail was asked for, or they end soon. It only says so when
/// that fails: the mailbox is looked at without them too.
pub fn follow_config(ctx: &Ctx<Config>) -> Result<(), PluginError> {
    let watched = ctx.kv().get_json::<Watched>(WATCHED)?;
    let done = match (&ctx.config.push, watched) {
        (Some(push), Some(watched)) => {
            let near = watched.expires.is_some_and(|end| end < ctx.time() + millis(NEAR_END));
            if !near && watched.topic == push.topic && watched.labels == wanted(ctx) {
                return Ok(());
            }
            renew(ctx, push)
        }
        (Some(push), None) => renew(ctx, push),
        (None, Some(_)) => stop_if_watched(ctx),
        (None, None) => return Ok(()),
    };
    if let Err(error) = done {
        ctx.warn("the announcements could not be brought in line with the config", &[("code", &error.detail().code)]);
    }
    Ok(())
}

/// Gmail announces nothing any more once the plugin is removed.
pub fn uninstall(ctx: &Ctx<Config>) -> Result<Output, PluginError> {
    if ctx.config.push.is_some() || ctx.kv().get(WATCHED)?.is_some() {
        stop(ctx)?;
    }
    Ok(Output::none())
}

/// A new call replaces the one before, so it may be repeated.
fn renew(ctx: &Ctx<Config>, push: &Push) -> Result<(), PluginError> {
    let labels = wanted(ctx);
    let body = json!({ "topicName": push.topic, "labelIds": labels, "labelFilterBehavior": "include" });
    let response = post(ctx, "/watch").json(&body).idempotency(Idempotency::OwnId).send()?;
    if !response.is_success() {
        return Err(explained(ctx, &response));
    }
    let answer: Value = read(ctx, &response)?;
    let expires = number(answer.get("expiration"));
    if expires.is_none() {
        ctx.warn("Gmail did not say how long it announces", &[]);
    }
    let watched = Watched { topic: push.topic.clone(), labels, expires };
    ctx.kv().set_json(WATCHED, &watched, &KvOptions::default())?;
    let Some(expires) = expires else { return Ok(()) };
    ctx.expires(FORECAST, expires, "Gmail's announcements of the mailbox", true)
}

/// What Gmail refuses here is nearly always the topic.
fn explained(ctx: &Ctx<Config>, response: &switchyard_sdk::http::Response) -> PluginError {
    let refused = refusal(ctx, response);
    let message = match (&refused, response.status) {
        (PluginError::Retry { .. }, _) => return refused,
        (_, 403) => {
            "Gmail may not publish to this topic: give gmail-api-push@system.gserviceaccount.com the role \
             Pub/Sub Publisher on it, and see that the login has the scope gmail.modify."
        }
        (_, 400 | 404) => "Gmail does not take this topic: it must exist, in the same project as the OAuth client.",
        _ => return refused,
    };
    let details = refused.detail().details.clone().unwrap_or_default();
    PluginError::bad_config("push.topic", message).with_details(details)
}

fn stop_if_watched(ctx: &Ctx<Config>) -> Result<(), PluginError> {
    if ctx.kv().get(WATCHED)?.is_none() { Ok(()) } else { stop(ctx) }
}

fn stop(ctx: &Ctx<Config>) -> Result<(), PluginError> {
    let response = post(ctx, "/stop").idempotency(Idempotency::OwnId).send()?;
    if !response.is_success() {
        return Err(refusal(ctx, &response));
    }
    ctx.expires_no_more(FORECAST)?;
    Ok(ctx.kv().delete(WATCHED)?)
}

fn wanted(ctx: &Ctx<Config>) -> Vec<String> {
    let mut labels = ctx.config.labels.clone();
    labels.push(SENT.to_owned());
    labels.into_iter().collect::<SortedSet<_>>().into()
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}
