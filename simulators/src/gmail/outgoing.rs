//! `messages.send`.

use std::{collections::BTreeSet, sync::Arc};

use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use mail_parser::{Address, Message as Parsed};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Gmail, errors::ApiError, messages, payload, pubsub};
use crate::{clock::format_utc, http::Call};

/// Gmail's limit of recipients.
const MOST_RECIPIENTS: usize = 500;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Send {
    raw: Option<String>,
    thread_id: Option<String>,
}

/// Sends a message: it stands in the mailbox under SENT, and arrives too if it is addressed to the mailbox itself.
pub(crate) fn send(gmail: &Arc<Gmail>, call: &Call) -> Result<Value, ApiError> {
    let wanted: Send = call.json().map_err(|_| ApiError::bad_request("Invalid JSON payload received."))?;
    let raw = wanted.raw.ok_or_else(|| {
        ApiError::bad_request("'raw' RFC822 payload message string or uploading message via /upload/* URL required")
    })?;
    let raw = decode(&raw).ok_or_else(|| ApiError::bad_request("Invalid value for ByteString"))?;
    let to_self = checked(gmail, &raw)?;
    if let Some(thread) = &wanted.thread_id
        && !gmail.mailbox().in_order().any(|message| &message.thread_id == thread)
    {
        return Err(ApiError::not_found());
    }
    let rewrite = gmail.mailbox().behaviour.rewrite_message_id;
    let raw = completed(gmail, raw, rewrite);
    let mut labels = BTreeSet::from(["SENT".to_owned()]);
    if to_self {
        labels.extend(["INBOX".to_owned(), "UNREAD".to_owned()]);
    }
    let answer = {
        let mut mailbox = gmail.mailbox();
        let id = messages::add(gmail, &mut mailbox, raw, labels.clone(), wanted.thread_id.as_deref());
        let thread = mailbox.messages.get(&id).map(|message| message.thread_id.clone()).unwrap_or_default();
        json!({"id": id, "threadId": thread, "labelIds": labels})
    };
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    pubsub::announce(gmail, &labels);
    Ok(answer)
}

/// URL-safe base64 only, with or without padding.
fn decode(raw: &str) -> Option<Bytes> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&URL_SAFE, config).decode(raw).ok().map(Bytes::from)
}

/// Refuses what Gmail refuses; answers whether the message is addressed to the mailbox itself.
fn checked(gmail: &Gmail, raw: &[u8]) -> Result<bool, ApiError> {
    let parser = payload::parser();
    let message = parser.parse(raw).ok_or_else(|| ApiError::bad_request("Invalid RFC822 message"))?;
    let mut recipients = 0;
    let mut to_self = false;
    for (name, list) in [("To", message.to()), ("Cc", message.cc()), ("Bcc", message.bcc())] {
        for entry in list.into_iter().flat_map(Address::iter) {
            let address = entry.address.as_deref().unwrap_or_default();
            if !is_address(address) {
                return Err(ApiError::bad_request(format!("Invalid {name} header")));
            }
            recipients += 1;
            to_self |= address.eq_ignore_ascii_case(&gmail.address);
        }
    }
    match recipients {
        0 => Err(ApiError::bad_request("Recipient address required")),
        1..=MOST_RECIPIENTS => Ok(to_self),
        _ => Err(ApiError::bad_request("Too many recipients")),
    }
}

fn is_address(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && domain.contains('.') && !domain.starts_with('.') && !domain.ends_with('.')
    })
}

/// The message as it goes out: Gmail adds what is missing, and may put its own Message-ID in place of the sender's.
fn completed(gmail: &Gmail, raw: Bytes, rewrite: bool) -> Bytes {
    let parser = payload::parser();
    let (id, date) = parser.parse_headers(&raw[..]).map_or((None, false), |message: Parsed<'_>| {
        (
            message.header_raw(mail_parser::HeaderName::MessageId).map(|id| id.trim().to_owned()),
            message.date().is_some(),
        )
    });
    let own = || format!("<CA{}@mail.gmail.com>", gmail.ids.base62());
    let mut text = Vec::with_capacity(raw.len() + 200);
    if !date {
        let now = format_utc(gmail.clock.now_ms(), "%a, %d %b %Y %H:%M:%S +0000");
        text.extend_from_slice(format!("Date: {now}\r\n").as_bytes());
    }
    match id {
        None => {
            text.extend_from_slice(format!("Message-ID: {}\r\n", own()).as_bytes());
            text.extend_from_slice(&raw);
        }
        Some(id) if rewrite && !id.is_empty() => {
            let found = raw.windows(id.len()).position(|window| window == id.as_bytes()).unwrap_or(0);
            text.extend_from_slice(&raw[..found]);
            text.extend_from_slice(own().as_bytes());
            text.extend_from_slice(&raw[found + id.len()..]);
        }
        Some(_) => text.extend_from_slice(&raw),
    }
    Bytes::from(text)
}
