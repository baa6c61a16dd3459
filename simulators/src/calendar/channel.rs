//! Push channels: who is told of a calendar's changes, for how long, and what is told after the end.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    account::{Account, State},
    errors::ApiError,
};
use crate::{
    client::{self, Outgoing, Patience},
    clock::format_utc,
};

/// A channel lives so long when the request does not say.
const TTL_S: i64 = 604_800;

/// The longest life that is given.
const LONGEST_TTL_S: i64 = 30 * 86_400;

const ID_LENGTH: usize = 64;
const TOKEN_LENGTH: usize = 256;

/// A notification is tried so often when the hub answers 500, 502, 503 or 504, or not at all.
const TRIES: u32 = 8;

/// Provider time before the first repetition; it doubles.
const BACK_OFF: Duration = Duration::from_secs(1);

const PATIENCE: Patience = Patience { connect: Duration::from_secs(5), total: Duration::from_secs(15) };

/// A channel as a test or another process looks at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Channel {
    /// The client's own id.
    pub id: String,
    /// The calendar that it tells of.
    pub calendar: String,
    /// Google's id of what is watched.
    pub resource_id: String,
    /// When it ends, in milliseconds since 1970.
    pub expiration_ms: i64,
    /// Whether it was stopped.
    pub stopped: bool,
    /// The number of its last message.
    pub number: u64,
    /// The secret that it repeats.
    #[serde(skip)]
    pub(crate) token: Option<String>,
    #[serde(skip)]
    pub(crate) address: String,
    /// Messages that still leave although it was stopped.
    #[serde(skip)]
    pub(crate) orphan_posts: u32,
}

/// A message that was sent, or tried to.
#[derive(Clone, Debug, Serialize)]
pub struct Notification {
    /// The channel.
    pub channel_id: String,
    /// `sync`, `exists` or `not_exists`.
    pub state: String,
    /// Its number in the channel.
    pub number: u64,
    /// Where it went.
    pub url: String,
    /// Every header that Google adds.
    #[serde(skip)]
    pub headers: Vec<(String, String)>,
    /// The status of each try; none where there was no answer.
    pub statuses: Vec<Option<u16>>,
}

#[derive(Deserialize)]
struct Wish {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    address: String,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    params: Option<Value>,
    #[serde(default)]
    expiration: Option<Value>,
}

#[derive(Deserialize)]
struct Stop {
    id: String,
    #[serde(rename = "resourceId")]
    resource_id: String,
}

/// `events.watch`. Its sync message goes out before the answer does.
pub(super) fn watch(account: &Account, calendar: &str, body: &Value) -> Result<Value, ApiError> {
    let wish = Wish::deserialize(body).map_err(|error| ApiError::required(error.to_string()))?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+/=".contains(&byte);
    if wish.id.is_empty() || wish.id.len() > ID_LENGTH || !wish.id.bytes().all(allowed) {
        return Err(ApiError::invalid("Invalid channel id."));
    }
    if !matches!(wish.kind.as_str(), "web_hook" | "webhook") {
        return Err(ApiError::invalid("Unknown channel type."));
    }
    let plain = wish.address.starts_with("http://") && account.options.plain_http;
    if !wish.address.starts_with("https://") && !plain {
        return Err(ApiError::invalid("WebHook callback must be HTTPS."));
    }
    if wish.token.as_ref().is_some_and(|token| token.len() > TOKEN_LENGTH) {
        return Err(ApiError::invalid("The channel token is too long."));
    }
    let now = account.clock.now_ms();
    let life = account.options.time_factor.scale(Duration::from_secs(u64::try_from(ttl(&wish, now)?).unwrap_or(1)));
    let expiration_ms = now.saturating_add(i64::try_from(life.as_millis()).unwrap_or(i64::MAX));
    account.change(|state| {
        let calendar = state.agenda(calendar)?.id.clone();
        if state.channels.iter().any(|channel| channel.id == wish.id) {
            return Err(ApiError::channel_id_not_unique(&wish.id));
        }
        let resource_id = resource_id(&calendar);
        let channel = Channel {
            id: wish.id.clone(),
            resource_id: resource_id.clone(),
            expiration_ms,
            stopped: false,
            number: 0,
            token: wish.token.clone(),
            address: wish.address.clone(),
            orphan_posts: 0,
            calendar: calendar.clone(),
        };
        state.add_channel(channel);
        let answer = json!({
            "kind": "api#channel", "id": wish.id, "resourceId": resource_id, "resourceUri": resource_uri(&calendar),
            "token": wish.token, "expiration": expiration_ms.to_string(),
        });
        let first = state.next_message(&wish.id, "sync", &account.ids);
        state.first_messages.extend(first);
        Ok(answer)
    })
}

fn ttl(wish: &Wish, now_ms: i64) -> Result<i64, ApiError> {
    let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
    let asked = match (&wish.expiration, wish.params.as_ref().and_then(|params| params.get("ttl"))) {
        (Some(at), _) => (number(at).ok_or_else(|| ApiError::invalid("Invalid expiration"))? - now_ms) / 1_000,
        (None, Some(ttl)) => number(ttl).ok_or_else(|| ApiError::invalid("Invalid ttl"))?,
        (None, None) => TTL_S,
    };
    if asked <= 0 { Err(ApiError::invalid("The channel would have expired.")) } else { Ok(asked.min(LONGEST_TTL_S)) }
}

/// `channels.stop`.
pub(super) fn stop(account: &Account, body: &Value) -> Result<(), ApiError> {
    let stop = Stop::deserialize(body).map_err(|error| ApiError::required(error.to_string()))?;
    let (now, orphans) = (account.clock.now_ms(), account.read(|state| state.orphan_posts));
    account.change(|state| {
        let known = |channel: &&mut Channel| {
            channel.id == stop.id
                && channel.resource_id == stop.resource_id
                && !channel.stopped
                && channel.expiration_ms > now
        };
        let channel = state.channels.iter_mut().find(known).ok_or_else(|| ApiError::channel_not_found(&stop.id))?;
        channel.stopped = true;
        channel.orphan_posts = orphans;
        Ok(())
    })
}

fn resource_id(calendar: &str) -> String {
    let sum = calendar
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("ret{sum:016x}")
}

fn resource_uri(calendar: &str) -> String {
    format!("https://www.googleapis.com/calendar/v3/calendars/{calendar}/events?alt=json")
}

impl State {
    /// The next message of a channel; none if nobody may be told any more. Numbers have gaps.
    pub(super) fn next_message(&mut self, channel_id: &str, word: &str, ids: &crate::ids::Ids) -> Option<Notification> {
        let channel = self.channels.iter_mut().find(|channel| channel.id == channel_id)?;
        let gap = ids.uuid().bytes().next().map_or(1, |byte| 1 + u64::from(byte % 4));
        channel.number = if channel.number == 0 { 1 } else { channel.number + gap };
        let mut headers = vec![
            ("Content-Type".to_owned(), "application/json; utf-8".to_owned()),
            ("Accept".to_owned(), "*/*".to_owned()),
            (
                "User-Agent".to_owned(),
                "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)".to_owned(),
            ),
            ("X-Goog-Channel-ID".to_owned(), channel.id.clone()),
            ("X-Goog-Channel-Expiration".to_owned(), format_utc(channel.expiration_ms, "%a, %d %b %Y %H:%M:%S GMT")),
            ("X-Goog-Resource-ID".to_owned(), channel.resource_id.clone()),
            ("X-Goog-Resource-URI".to_owned(), resource_uri(&channel.calendar)),
            ("X-Goog-Resource-State".to_owned(), word.to_owned()),
            ("X-Goog-Message-Number".to_owned(), channel.number.to_string()),
        ];
        if let Some(token) = &channel.token {
            headers.push(("X-Goog-Channel-Token".to_owned(), token.clone()));
        }
        Some(Notification {
            channel_id: channel.id.clone(),
            state: word.to_owned(),
            number: channel.number,
            url: channel.address.clone(),
            headers,
            statuses: Vec::new(),
        })
    }

    /// What a change of a calendar makes every channel say, the stopped ones that have not noticed included.
    pub(super) fn messages_of(&mut self, calendar: &str, now_ms: i64, ids: &crate::ids::Ids) -> Vec<Notification> {
        if self.silent {
            return Vec::new();
        }
        let mut told = Vec::new();
        for channel in self.channels.iter_mut().filter(|channel| channel.calendar == calendar) {
            let orphan = channel.stopped && channel.orphan_posts > 0;
            channel.orphan_posts -= u32::from(orphan);
            if orphan || (!channel.stopped && channel.expiration_ms > now_ms) {
                told.push(channel.id.clone());
            }
        }
        told.iter().filter_map(|id| self.next_message(id, "exists", ids)).collect()
    }
}

/// Sends messages in tasks of their own.
pub(super) fn send_all(account: &Arc<Account>, messages: Vec<Notification>) {
    for message in messages {
        let account = Arc::clone(account);
        tokio::spawn(async move {
            let stopped = account.shutdown.clone();
            tokio::select! {
                () = stopped.cancelled() => {}
                () = deliver(&account, message) => {}
            }
        });
    }
}

/// Sends one message with all its tries, and records it.
pub(super) async fn deliver(account: &Account, mut message: Notification) {
    let plan = account.faults.take_webhook("webhook.notification");
    tokio::time::sleep(account.options.time_factor.scale(plan.delay)).await;
    if plan.wrong_signature {
        for (_, value) in message.headers.iter_mut().filter(|(name, _)| name == "X-Goog-Channel-Token") {
            value.push('x');
        }
    }
    for _ in 0..=u32::from(plan.duplicate) {
        let mut wait = BACK_OFF;
        for _ in 0..TRIES {
            let status = post(account, &message).await;
            message.statuses.push(status);
            if !matches!(status, None | Some(500 | 502 | 503 | 504)) {
                break;
            }
            tokio::time::sleep(account.options.time_factor.scale(wait)).await;
            wait *= 2;
        }
    }
    account.change(|state| state.add_notification(message));
}

/// One try.
pub(super) async fn post(account: &Account, message: &Notification) -> Option<u16> {
    let outgoing = Outgoing { url: &message.url, headers: &message.headers, body: Bytes::new() };
    client::post(&outgoing, account.options.connect_to, PATIENCE).await.ok().map(|answered| answered.status)
}
