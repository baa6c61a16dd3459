use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use switchyard_sdk::prelude::*;

use crate::TOKEN;
use crate::client::{self, connection};
use crate::config::Config;

/// The schedule's name.
pub const SCHEDULE: &str = "channels";

/// The key of all channels of the installation.
pub const KEY: &str = "channels";

/// How long a channel is asked for.
const TTL_S: u64 = 604_800;

/// A channel is replaced this long before its end, or at half of its life if that is shorter.
const OVERLAP: u64 = 86_400_000;

/// After a failure the next try comes later and later.
const FIRST_BACK_OFF: u64 = 300_000;
const LONGEST_BACK_OFF: u64 = 6 * 3_600_000;

/// The longest time between two looks.
const LOOK_EVERY: u64 = 6 * 3_600_000;

/// Channels of a run that were replaced are stopped, at most so many.
const STOPS: usize = 20;

/// All channels, as they are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Channels {
    /// Those that may speak.
    pub list: Vec<Channel>,
    /// How many were ever asked for; it makes their ids different.
    #[serde(default)]
    pub count: u64,
    /// Calendars that could not be watched.
    #[serde(default)]
    troubled: Vec<Trouble>,
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// Our id.
    pub id: String,
    /// What it watches.
    pub calendar: String,
    /// Google's id of that; none while the answer is awaited.
    #[serde(default)]
    pub resource_id: Option<String>,
    /// When it was asked for, in milliseconds since 1970.
    #[serde(default)]
    pub since: u64,
    /// When it ends.
    #[serde(default)]
    pub expires_at: u64,
    /// Another one took its place.
    #[serde(default)]
    pub replaced: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Trouble {
    calendar: String,
    failures: u32,
    retry_at: u64,
}

impl Channel {
    /// When the next one is to be asked for.
    fn renew_at(&self) -> u64 {
        let life = self.expires_at.saturating_sub(self.since);
        self.expires_at.saturating_sub(OVERLAP.min(life / 2))
    }
}

impl Channels {
    fn load(ctx: &Ctx<Config>) -> Result<Self, PluginError> {
        Ok(ctx.kv().get_json(KEY)?.unwrap_or_default())
    }

    fn save(&self, ctx: &Ctx<Config>) -> Result<(), PluginError> {
        ctx.kv().set_json(KEY, self, &KvOptions::default())
    }

    fn live(&self, calendar: &str, now: u64) -> Option<&Channel> {
        let live = |channel: &&Channel| {
            channel.calendar == calendar
                && channel.resource_id.is_some()
                && !channel.replaced
                && channel.expires_at > now
        };
        self.list.iter().filter(live).max_by_key(|channel| channel.expires_at)
    }

    fn back_off(&mut self, calendar: &str, now: u64) {
        let failures =
            self.troubled.iter().find(|trouble| trouble.calendar == calendar).map_or(0, |known| known.failures);
        self.troubled.retain(|trouble| trouble.calendar != calendar);
        let wait = FIRST_BACK_OFF.saturating_mul(1 << failures.min(10)).min(LONGEST_BACK_OFF);
        self.troubled.push(Trouble { calendar: calendar.to_owned(), failures: failures + 1, retry_at: now + wait });
    }
}

/// Looks after the channels, and says when to look again.
pub fn poll(ctx: &Ctx<Config>) -> Result<PollOutput, PluginError> {
    let next = ensure(ctx)?;
    Ok(PollOutput { events: Vec::new(), cursor: None, has_more: false, next_in: Some(Duration::from_millis(next)) })
}

/// Makes a channel for every calendar that has none or whose channel ends soon, then stops those that were replaced, so
/// that no change falls between two. Answers the milliseconds until it is worth looking again. A calendar that cannot be
/// watched is polled all the same, so it stops nothing here.
pub fn ensure(ctx: &Ctx<Config>) -> Result<u64, PluginError> {
    let now = ctx.time();
    let mut channels = Channels::load(ctx)?;
    let before = channels.clone();
    channels.list.retain(|channel| channel.expires_at > now);
    let address = ctx.source_named("default").map(|source| source.url.clone()).filter(|_| ctx.config.push);
    if let Some(address) = &address {
        for calendar in &ctx.config.calendars {
            let wanted = channels.live(&calendar.id, now).is_none_or(|channel| channel.renew_at() <= now);
            let resting =
                channels.troubled.iter().any(|trouble| trouble.calendar == calendar.id && trouble.retry_at > now);
            if wanted && !resting {
                watch(ctx, &mut channels, &calendar.id, address)?;
            }
        }
    }
    let listed = |id: &str| ctx.config.calendars.iter().any(|calendar| calendar.id == id);
    for channel in &mut channels.list {
        channel.replaced |= address.is_none() || !listed(&channel.calendar);
    }
    stop_replaced(ctx, &mut channels)?;
    if channels != before {
        channels.save(ctx)?;
        tell_ends(ctx, &channels)?;
    }
    let renewals = channels.list.iter().filter(|channel| !channel.replaced).map(Channel::renew_at);
    let retries = channels.troubled.iter().map(|trouble| trouble.retry_at);
    let next = renewals.chain(retries).min().unwrap_or(u64::MAX).saturating_sub(now);
    Ok(next.clamp(1_000, LOOK_EVERY))
}

/// Asks for a channel. It is kept before it is asked for, because its first message may come before the answer.
fn watch(ctx: &Ctx<Config>, channels: &mut Channels, calendar: &str, address: &str) -> Result<(), PluginError> {
    let now = ctx.time();
    channels.count += 1;
    let seed = format!("{}|{}|{calendar}|{}|{now}", ctx.tenant(), ctx.installation(), channels.count);
    let id = format!("sw-{}", &hex::encode(Sha256::digest(seed))[..40]);
    channels.list.push(Channel {
        id: id.clone(),
        calendar: calendar.to_owned(),
        resource_id: None,
        since: now,
        expires_at: now + TTL_S * 1_000,
        replaced: false,
    });
    channels.save(ctx)?;
    let (slot, field) = TOKEN.split_once('.').unwrap_or((TOKEN, ""));
    let body = json!({
        "id": id, "type": "web_hook", "address": address, "token": format!("{{{{secret:{slot}.{field}}}}}"),
        "params": { "ttl": TTL_S.to_string() }
    });
    let sent = client::events(ctx, Method::Post, calendar, "/watch").json(&body).send();
    let answer = match &sent {
        Ok(response) if response.is_success() => client::read(response).ok(),
        Ok(response) => {
            ctx.warn("a calendar cannot be watched", &[("google.reason", &client::reason(response))]);
            None
        }
        // Nothing was made, and the run itself is to be tried again.
        Err(error @ (HttpError::NeedsLogin(_) | HttpError::Unreachable(_) | HttpError::RateLimited(_))) => {
            return Err(error.clone().into());
        }
        Err(error) => {
            ctx.warn("a calendar cannot be watched", &[("error", &error.to_string())]);
            None
        }
    };
    let resource = answer.as_ref().and_then(|answer| answer.get("resourceId")?.as_str().map(str::to_owned));
    let Some(resource) = resource else {
        // If it was made all the same, its first message shows it as an orphan, and it is stopped then.
        channels.list.retain(|channel| channel.id != id);
        channels.back_off(calendar, now);
        return Ok(());
    };
    let expiration = answer.as_ref().and_then(|answer| answer.get("expiration"));
    let expiration = expiration.and_then(|at| at.as_u64().or_else(|| at.as_str()?.parse().ok()));
    channels.troubled.retain(|trouble| trouble.calendar != calendar);
    for channel in channels.list.iter_mut().filter(|channel| channel.calendar == calendar) {
        if channel.id == id {
            channel.resource_id = Some(resource.clone());
            channel.expires_at = expiration.unwrap_or(channel.expires_at);
        } else {
            channel.replaced = true;
        }
    }
    Ok(())
}

/// Notes the first end of a channel for the tenant's forecast.
fn tell_ends(ctx: &Ctx<Config>, channels: &Channels) -> Result<(), PluginError> {
    match channels.list.iter().filter(|channel| !channel.replaced).map(|channel| channel.expires_at).min() {
        Some(at) => ctx.expires("channels", at, "Google's notifications of changes in calendars", true),
        None => ctx.expires_no_more("channels"),
    }
}

fn stop_replaced(ctx: &Ctx<Config>, channels: &mut Channels) -> Result<(), PluginError> {
    let replaced: Vec<Channel> = channels.list.iter().filter(|channel| channel.replaced).take(STOPS).cloned().collect();
    for channel in replaced {
        let Some(resource) = &channel.resource_id else {
            channels.list.retain(|known| known.id != channel.id);
            continue;
        };
        // What is known up to here must outlive a crash: the channel that took this one's place.
        channels.save(ctx)?;
        match stop(ctx, &channel.id, resource) {
            Ok(()) => channels.list.retain(|known| known.id != channel.id),
            Err(error) => ctx.warn("a channel could not be stopped yet", &[("error.code", &error.detail().code)]),
        }
    }
    Ok(())
}

/// Stops a channel; one that Google does not know is stopped already.
pub fn stop(ctx: &Ctx<Config>, id: &str, resource: &str) -> Result<(), PluginError> {
    let body = json!({ "id": id, "resourceId": resource });
    let request = ctx.http(connection(&ctx.config)).post("/channels/stop").json(&body);
    let response = request.idempotency(Idempotency::OwnId).send()?;
    match response.status {
        200..=299 | 404 | 410 => Ok(()),
        _ => Err(client::refusal(&response)),
    }
}

/// Stops everything, as far as Google lets it; what is left ends by itself.
pub fn stop_all(ctx: &Ctx<Config>) -> Result<(), PluginError> {
    let mut channels = Channels::load(ctx)?;
    for channel in &mut channels.list {
        channel.replaced = true;
    }
    stop_replaced(ctx, &mut channels)?;
    ctx.expires_no_more("channels")
}
