//! What people and the network do: events made by hand, channels that end, notifications sent twice or forged.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    account::{Account, State, Write, Writer},
    channel::{self, Notification, send_all},
    errors::ApiError,
    event::{Event, Mode},
};

/// Why something could not be done by hand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PersonError {
    /// The calendar or the event is not there, or cannot become so.
    #[error("the calendar refuses: {0}")]
    Refused(String),
    /// No notification was sent yet.
    #[error("no notification was sent yet")]
    NothingSent,
}

impl From<ApiError> for PersonError {
    fn from(error: ApiError) -> Self {
        Self::Refused(format!("{error:?}"))
    }
}

/// A notification that Google did not send so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Forgery {
    /// The token that is sent; the channel's own where it says nothing.
    pub token: Option<String>,
    /// Sends no token at all.
    pub no_token: bool,
    /// The channel that it pretends to be of.
    pub channel_id: Option<String>,
    /// The resource that it pretends to be about.
    pub resource_id: Option<String>,
    /// The state that it pretends: `exists` where it says nothing.
    pub state: Option<String>,
}

/// A person writes to a calendar, without any mail.
pub(super) fn write(account: &Arc<Account>, calendar: &str, write: &Write) -> Result<Event, PersonError> {
    let person = account.read(|state| state.real_id(calendar).to_owned());
    Ok(account.write(calendar, Writer { by: &person, if_match: None, mails: false }, write)?)
}

pub(super) fn make(account: &Arc<Account>, calendar: &str, body: &Map<String, Value>) -> Result<Event, PersonError> {
    write(account, calendar, &Write::Insert(body))
}

pub(super) fn change(
    account: &Arc<Account>,
    calendar: &str,
    id: &str,
    body: &Map<String, Value>,
) -> Result<Event, PersonError> {
    write(account, calendar, &Write::Update { id, body, mode: Mode::Patch })
}

pub(super) fn cancel(account: &Arc<Account>, calendar: &str, id: &str) -> Result<Event, PersonError> {
    write(account, calendar, &Write::Delete { id })
}

/// Somebody who was invited answers.
pub(super) fn answer(
    account: &Arc<Account>,
    calendar: &str,
    id: &str,
    email: &str,
    response: &str,
) -> Result<Event, PersonError> {
    let event = account.change(|state| state.agenda(calendar)?.find(id))?;
    let attendees = event.attendees().iter().map(|attendee| {
        let mut attendee = attendee.clone();
        if attendee["email"] == email {
            attendee["responseStatus"] = json!(response);
        }
        attendee
    });
    let body = Map::from_iter([("attendees".to_owned(), Value::Array(attendees.collect()))]);
    change(account, calendar, id, &body)
}

/// Ends a channel before its time.
pub(super) fn expire_channel(account: &Account, id: &str) -> bool {
    let now = account.clock.now_ms();
    account.change(|state| {
        let channel = state.channels.iter_mut().find(|channel| channel.id == id);
        channel.map(|channel| channel.expiration_ms = now).is_some()
    })
}

/// Makes every sync token of a calendar, or of all, invalid.
pub(super) fn forget_sync_tokens(account: &Account, calendar: Option<&str>) {
    account.change(|state: &mut State| {
        let wanted = calendar.map(|id| state.real_id(id).to_owned());
        for agenda in state.agendas.values_mut() {
            if wanted.as_ref().is_none_or(|id| *id == agenda.id) {
                agenda.epoch += 1;
            }
        }
    });
}

/// Sends earlier notifications again, so often and in another order; answers the statuses.
pub(super) async fn repeat(account: &Arc<Account>, times: usize) -> Result<Vec<Option<u16>>, PersonError> {
    let sent: Vec<Notification> = account.read(|state| state.notifications.iter().cloned().collect());
    if sent.is_empty() {
        return Err(PersonError::NothingSent);
    }
    let mut all: Vec<Notification> = (0..times).flat_map(|_| sent.iter().cloned()).collect();
    account.ids.disorder(&mut all);
    let mut statuses = Vec::with_capacity(all.len());
    for message in &all {
        statuses.push(channel::post(account, message).await);
    }
    Ok(statuses)
}

/// Sends a notification that Google did not send so; answers the status.
pub(super) async fn forge(account: &Arc<Account>, forgery: &Forgery) -> Result<Option<u16>, PersonError> {
    let mut message = account.read(|state| state.notifications.back().cloned()).ok_or(PersonError::NothingSent)?;
    let mut put = |name: &str, value: Option<&String>| {
        for (_, there) in message.headers.iter_mut().filter(|(header, _)| header == name) {
            there.clone_from(value.unwrap_or(&there.clone()));
        }
    };
    put("X-Goog-Channel-Token", forgery.token.as_ref());
    put("X-Goog-Channel-ID", forgery.channel_id.as_ref());
    put("X-Goog-Resource-ID", forgery.resource_id.as_ref());
    put("X-Goog-Resource-State", Some(forgery.state.as_ref().unwrap_or(&"exists".to_owned())));
    if forgery.no_token {
        message.headers.retain(|(name, _)| name != "X-Goog-Channel-Token");
    }
    Ok(channel::post(account, &message).await)
}

/// Says `not_exists` on every channel of a calendar, as when it is gone.
pub(super) fn vanish(account: &Arc<Account>, calendar: &str) {
    let messages = account.change(|state| {
        let calendar = state.real_id(calendar).to_owned();
        let ids: Vec<String> = state
            .channels
            .iter()
            .filter(|channel| channel.calendar == calendar && !channel.stopped)
            .map(|channel| channel.id.clone())
            .collect();
        ids.iter().filter_map(|id| state.next_message(id, "not_exists", &account.ids)).collect()
    });
    send_all(account, messages);
}
