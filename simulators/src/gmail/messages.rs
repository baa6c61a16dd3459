//! Reading messages, and messages that arrive.

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Gmail,
    errors::ApiError,
    mailbox::{Happened, Mailbox, Message},
    payload::{self, Wanted},
    pubsub,
    threads::{self, Headers},
};
use crate::http::Call;

/// How long a snippet is.
const SNIPPET: usize = 120;

/// A message comes into the mailbox with these labels.
pub(crate) fn receive(gmail: &Arc<Gmail>, raw: Bytes, labels: &[&str]) -> String {
    let id = {
        let mut mailbox = gmail.mailbox();
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        add(gmail, &mut mailbox, raw, labels, None)
    };
    pubsub::announce(gmail, labels);
    id
}

/// Puts a message into the mailbox; `thread` is one that its sender named.
pub(crate) fn add(
    gmail: &Gmail,
    mailbox: &mut Mailbox,
    raw: Bytes,
    labels: BTreeSet<String>,
    thread: Option<&str>,
) -> String {
    let id = gmail.ids.sid("")[..16].to_owned();
    let parser = payload::parser();
    let headers = parser.parse_headers(&raw[..]).map(|message| Headers::of(&message));
    let continued = headers.as_ref().and_then(|headers| threads::continued(mailbox, headers, thread));
    let (message_id, subject) = headers.map(|headers| (headers.message_id, headers.subject)).unwrap_or_default();
    let told: Vec<String> = labels.iter().cloned().collect();
    let message = Message {
        id: id.clone(),
        thread_id: continued.unwrap_or_else(|| id.clone()),
        labels,
        raw,
        internal_date_ms: gmail.clock.now_ms(),
        history_id: 0,
        message_id,
        subject,
    };
    mailbox.order.push(id.clone());
    mailbox.messages.insert(id.clone(), message);
    mailbox.note(&id, Happened::Added { message: id.clone(), labels: told });
    id
}

/// `messages.get`.
pub(crate) fn get(mailbox: &Mailbox, call: &Call, id: &str) -> Result<Value, ApiError> {
    let message = mailbox.messages.get(id).ok_or_else(ApiError::not_found)?;
    document(mailbox, message, call)
}

/// `threads.get`.
pub(crate) fn thread(mailbox: &Mailbox, call: &Call, id: &str) -> Result<Value, ApiError> {
    let messages: Result<Vec<Value>, ApiError> = mailbox
        .in_order()
        .filter(|message| message.thread_id == id)
        .map(|message| document(mailbox, message, call))
        .collect();
    let messages = messages?;
    if messages.is_empty() {
        return Err(ApiError::not_found());
    }
    Ok(json!({"id": id, "historyId": mailbox.history_id.to_string(), "messages": messages}))
}

/// `attachments.get`.
pub(crate) fn attachment(mailbox: &Mailbox, message: &str, id: &str) -> Result<Value, ApiError> {
    let message = mailbox.messages.get(message).ok_or_else(ApiError::not_found)?;
    let bytes = payload::attachment(&message.raw, id).ok_or_else(ApiError::not_found)?;
    Ok(json!({"size": bytes.len(), "data": URL_SAFE.encode(&bytes)}))
}

fn document(mailbox: &Mailbox, message: &Message, call: &Call) -> Result<Value, ApiError> {
    let mut document = json!({
        "id": message.id,
        "threadId": message.thread_id,
        "labelIds": message.labels,
        "snippet": snippet(&message.raw),
        "historyId": message.history_id.to_string(),
        "internalDate": message.internal_date_ms.to_string(),
        "sizeEstimate": message.raw.len(),
    });
    let named: Vec<String> =
        call.query_pairs().into_iter().filter(|(name, _)| name == "metadataHeaders").map(|(_, value)| value).collect();
    let decoded = mailbox.behaviour.decoded_headers;
    match call.query_value("format").as_deref().unwrap_or("full").to_ascii_lowercase().as_str() {
        "minimal" => {}
        "full" => document["payload"] = payload::document(&message.raw, Wanted { whole: true, headers: &[], decoded }),
        "metadata" => {
            document["payload"] = payload::document(&message.raw, Wanted { whole: false, headers: &named, decoded });
        }
        "raw" => document["raw"] = Value::from(URL_SAFE.encode(&message.raw)),
        other => return Err(ApiError::bad_request(format!("Invalid value at 'format': {other}"))),
    }
    Ok(document)
}

fn snippet(raw: &[u8]) -> String {
    let text = payload::parser().parse(raw).and_then(|message| message.body_text(0).map(std::borrow::Cow::into_owned));
    let words: Vec<String> = text.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let text: String = words.join(" ").chars().take(SNIPPET).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;").replace('"', "&quot;")
}

/// `history.list`.
pub(crate) fn history(mailbox: &Mailbox, call: &Call) -> Result<Value, ApiError> {
    let number = |name: &str| match call.query_value(name) {
        None => Ok(None),
        Some(text) => {
            text.parse::<u64>().map(Some).map_err(|_| ApiError::bad_request(format!("Invalid value for {name}")))
        }
    };
    let start = number("startHistoryId")?.ok_or_else(|| ApiError::bad_request("Missing startHistoryId"))?;
    if start < mailbox.oldest || start > mailbox.history_id {
        return Err(ApiError::not_found());
    }
    let pairs = call.query_pairs();
    let types: Vec<&str> =
        pairs.iter().filter(|(name, _)| name == "historyTypes").map(|(_, value)| value.as_str()).collect();
    let known = ["messageAdded", "messageDeleted", "labelAdded", "labelRemoved"];
    if let Some(unknown) = types.iter().find(|name| !known.contains(name)) {
        return Err(ApiError::bad_request(format!("Invalid value at 'historyTypes': {unknown}")));
    }
    let label = call.query_value("labelId");
    let records: Vec<_> = mailbox
        .history
        .iter()
        .filter(|record| record.id > start)
        .filter(|record| types.is_empty() || types.contains(&record.history_type()))
        .filter(|record| label.as_ref().is_none_or(|label| record.now.contains(label)))
        .collect();
    let from = usize::try_from(number("pageToken")?.unwrap_or(0)).unwrap_or(usize::MAX);
    let asked = number("maxResults")?.and_then(|asked| usize::try_from(asked).ok());
    let size = mailbox.page_size(asked, 100, 500);
    let page: Vec<Value> = records.iter().skip(from).take(size).map(|record| record.document()).collect();
    let mut answer = json!({"historyId": mailbox.history_id.to_string()});
    if !page.is_empty() {
        answer["history"] = Value::from(page);
    }
    if from.saturating_add(size) < records.len() {
        answer["nextPageToken"] = Value::from((from + size).to_string());
    }
    Ok(answer)
}
