//! The Messages resource: create, fetch, list, redact, cancel, delete.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

use super::{account::Account, callback, errors::ApiError, pages};
use crate::{
    clock::{date_utc, format_utc},
    http::{Call, Reply},
};

pub(crate) const RFC2822: &str = "%a, %d %b %Y %H:%M:%S +0000";

/// Where a message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// Waits for its `SendAt`.
    Scheduled,
    /// Taken, not yet on its way.
    Queued,
    /// Handed to the carrier.
    Sending,
    /// Taken by the carrier.
    Sent,
    /// On the phone.
    Delivered,
    /// The carrier gave up.
    Undelivered,
    /// Withdrawn before it was sent.
    Canceled,
    /// Came in from a person.
    Received,
}

impl MessageStatus {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Canceled => "canceled",
            Self::Received => "received",
        }
    }

    const fn is_final(self) -> bool {
        matches!(self, Self::Delivered | Self::Undelivered | Self::Canceled | Self::Received)
    }
}

/// A message in either direction.
#[derive(Clone, Debug, Serialize)]
pub struct Message {
    /// `SM` and 32 hex digits.
    pub sid: String,
    /// The sender's number.
    pub from: String,
    /// The recipient's number.
    pub to: String,
    /// The text.
    pub body: String,
    /// Where it stands.
    pub status: MessageStatus,
    /// `inbound`, `outbound-api` or `outbound-reply`.
    pub direction: &'static str,
    /// Set once undelivered.
    pub error_code: Option<u32>,
    /// The pool it was sent through.
    pub messaging_service_sid: Option<String>,
    /// Where status callbacks go.
    pub status_callback: Option<String>,
    /// When it was made.
    pub created_ms: i64,
    /// When it changed last.
    pub updated_ms: i64,
    /// When it was handed to the carrier.
    pub sent_ms: Option<i64>,
}

impl Message {
    fn resource(&self, account_sid: &str) -> Value {
        let uri = format!("/2010-04-01/Accounts/{account_sid}/Messages/{}", self.sid);
        json!({
            "account_sid": account_sid, "api_version": "2010-04-01", "body": self.body,
            "date_created": format_utc(self.created_ms, RFC2822),
            "date_sent": self.sent_ms.map(|ms| format_utc(ms, RFC2822)),
            "date_updated": format_utc(self.updated_ms, RFC2822),
            "direction": self.direction, "error_code": self.error_code,
            "error_message": self.error_code.map(|_| "Unreachable destination handset"),
            "from": self.from, "messaging_service_sid": self.messaging_service_sid,
            "num_media": "0", "num_segments": segments(&self.body).to_string(),
            "price": null, "price_unit": null, "sid": self.sid, "status": self.status,
            "subresource_uris": {"media": format!("{uri}/Media.json")},
            "to": self.to, "uri": format!("{uri}.json"),
        })
    }
}

/// How many SMS a text needs: 160 or 153 characters of the GSM alphabet each, else 70 or 67 UTF-16 units.
pub(crate) fn segments(body: &str) -> usize {
    const GSM: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./:;<=>?¡ÄÖÑÜ§¿äöñüà";
    const GSM_DOUBLE: &str = "^{}\\[~]|€";
    let size = |c: char| match c {
        c if c.is_ascii_alphanumeric() || GSM.contains(c) => Some(1),
        c if GSM_DOUBLE.contains(c) => Some(2),
        _ => None,
    };
    let (length, single, part) = match body.chars().map(size).sum::<Option<usize>>() {
        Some(length) => (length, 160, 153),
        None => (body.encode_utf16().count(), 70, 67),
    };
    if length <= single { 1 } else { length.div_ceil(part) }
}

struct Draft {
    to: String,
    from: String,
    body: String,
    status: MessageStatus,
    messaging_service_sid: Option<String>,
    status_callback: Option<String>,
}

/// `POST Messages.json`.
pub(crate) fn create(account: &Arc<Account>, call: &Call) -> Result<Reply, ApiError> {
    let draft = read_draft(account, call)?;
    let now = account.clock.now_ms();
    let message = Message {
        sid: account.ids.sid("SM"),
        from: draft.from,
        to: draft.to,
        body: draft.body,
        status: draft.status,
        direction: "outbound-api",
        error_code: None,
        messaging_service_sid: draft.messaging_service_sid,
        status_callback: draft.status_callback,
        created_ms: now,
        updated_ms: now,
        sent_ms: None,
    };
    let resource = message.resource(&account.options.account_sid);
    let (sid, status) = (message.sid.clone(), message.status);
    account.change(|state| state.add(message));
    if status == MessageStatus::Queued {
        callback::start(account, sid);
    }
    Ok(Reply::json(201, &resource))
}

fn read_draft(account: &Account, call: &Call) -> Result<Draft, ApiError> {
    let form = call.form_pairs();
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let filled = |name: &str| field(name).filter(|value| !value.is_empty());
    let to = filled("To").ok_or_else(|| ApiError::new(400, 21604, "A 'To' phone number is required."))?;
    if !is_e164(&to) {
        return Err(ApiError::new(400, 21211, format!("The 'To' number {to} is not a valid phone number.")));
    }
    let service = filled("MessagingServiceSid");
    let from = match (filled("From"), &service) {
        (Some(from), _) => from,
        (None, Some(service)) => account
            .options
            .messaging_services
            .get(service)
            .and_then(|pool| pool.first().cloned())
            .ok_or_else(|| ApiError::new(400, 21701, "The Messaging Service does not exist."))?,
        (None, None) => return Err(ApiError::new(400, 21603, "A 'From' phone number is required.")),
    };
    if service.is_none() && !account.owns(&from) {
        let message =
            format!("The 'From' phone number {from} is not a valid, message-capable number for this account.");
        return Err(ApiError::new(400, 21606, message));
    }
    let has_content = filled("MediaUrl").is_some() || filled("ContentSid").is_some();
    let body = field("Body").unwrap_or_default();
    if body.is_empty() && !has_content {
        return Err(ApiError::new(400, 21602, "Message body is required."));
    }
    if body.chars().count() > 1600 {
        return Err(ApiError::new(400, 21617, "The concatenated message body exceeds the 1600 character limit."));
    }
    let status_callback = filled("StatusCallback");
    if let Some(url) = status_callback.as_deref().filter(|url| !is_callback_url(url)) {
        return Err(ApiError::new(400, 21609, format!("The StatusCallback URL {url} is not a valid URL.")));
    }
    if account.opted_out(&to, &from) {
        return Err(ApiError::new(400, 21610, "Attempt to send to unsubscribed recipient"));
    }
    let scheduled = field("ScheduleType").as_deref() == Some("fixed");
    let status = if scheduled { MessageStatus::Scheduled } else { MessageStatus::Queued };
    Ok(Draft { to, from, body, status, messaging_service_sid: service, status_callback })
}

/// `GET Messages/{sid}.json`.
pub(crate) fn fetch(account: &Account, call: &Call, sid: &str) -> Result<Reply, ApiError> {
    let message = account.message(sid).ok_or_else(|| ApiError::not_found(&call.path))?;
    Ok(Reply::json(200, &message.resource(&account.options.account_sid)))
}

/// `POST Messages/{sid}.json`: an empty `Body` redacts, `Status=canceled` withdraws.
pub(crate) fn update(account: &Account, call: &Call, sid: &str) -> Result<Reply, ApiError> {
    let form = call.form_pairs();
    let now = account.clock.now_ms();
    account.change(|state| {
        let message = state.message_mut(sid).ok_or_else(|| ApiError::not_found(&call.path))?;
        for (name, value) in form {
            match (name.as_str(), value.as_str()) {
                ("Body", "") if message.status.is_final() => message.body.clear(),
                ("Body", "") => {
                    return Err(ApiError::new(400, 20009, "Cannot redact a message that is still in progress."));
                }
                ("Body", _) => return Err(ApiError::new(400, 20001, "The body of a message can only be emptied.")),
                ("Status", "canceled")
                    if matches!(message.status, MessageStatus::Scheduled | MessageStatus::Queued) =>
                {
                    message.status = MessageStatus::Canceled;
                }
                ("Status", "canceled") => {
                    return Err(ApiError::new(400, 30409, "The message can no longer be canceled."));
                }
                _ => {}
            }
        }
        message.updated_ms = now;
        Ok(Reply::json(200, &message.resource(&account.options.account_sid)))
    })
}

/// `DELETE Messages/{sid}.json`.
pub(crate) fn delete(account: &Account, call: &Call, sid: &str) -> Result<Reply, ApiError> {
    account.change(|state| {
        let at = state.messages.iter().position(|message| message.sid == sid);
        let at = at.ok_or_else(|| ApiError::not_found(&call.path))?;
        if !state.messages[at].status.is_final() {
            return Err(ApiError::new(409, 20009, "Cannot delete a message that is still in progress."));
        }
        state.messages.remove(at);
        Ok(Reply::empty(204))
    })
}

/// `GET Messages.json`, newest first. A message that is not sent yet is found by the day it was made.
pub(crate) fn list(account: &Account, call: &Call) -> Reply {
    let query = call.query_pairs();
    let field = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let matching: Vec<(String, Value)> = account.read(|state| {
        let day = |message: &Message| date_utc(message.sent_ms.unwrap_or(message.created_ms));
        let wanted = |message: &&Message| {
            field("To").is_none_or(|to| message.to == to)
                && field("From").is_none_or(|from| message.from == from)
                && field("DateSent").is_none_or(|date| day(message) == date)
                && field("DateSent>").is_none_or(|date| day(message).as_str() >= date)
                && field("DateSent<").is_none_or(|date| day(message).as_str() <= date)
        };
        let resource = |message: &Message| (message.sid.clone(), message.resource(&account.options.account_sid));
        state.messages.iter().rev().filter(wanted).map(resource).collect()
    });
    let path = format!("/2010-04-01/Accounts/{}/Messages.json", account.options.account_sid);
    pages::page(call, &path, "messages", &matching)
}

pub(crate) fn is_e164(number: &str) -> bool {
    number.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Twilio calls http and https only, and no host name with an underscore.
pub(crate) fn is_callback_url(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.host_str().is_some_and(|host| !host.contains('_'))
    })
}
