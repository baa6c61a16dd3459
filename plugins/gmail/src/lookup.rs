use std::time::Duration;

use serde_json::Value;
use switchyard_sdk::prelude::*;

use crate::client::{ask, get, malformed, read, segment, text};
use crate::compose::REFERENCE_HEADER;
use crate::config::Config;
use crate::mime::Fields;
use crate::send::Sent;

/// How long Gmail may take to find a message that it has.
pub const INDEXED_WITHIN: Duration = Duration::from_secs(10);

/// How many of the newest sent messages are compared by our own field, where Gmail has rewritten the Message-ID.
const COMPARED: usize = 15;

/// Gmail's clock and ours may differ by this much.
const CLOCK_DIFFERENCE: u64 = 300_000;

/// How many ids of a conversation an answer repeats.
const MOST_REFERENCES: usize = 30;

/// The thread that a message goes into.
#[derive(Debug, Default)]
pub struct Thread {
    /// Gmail's id of it; none makes a new one.
    pub id: Option<String>,
    /// Its subject.
    pub subject: Option<String>,
    /// The message that is answered, without angle brackets.
    pub in_reply_to: Option<String>,
    /// The conversation so far, without angle brackets.
    pub references: Vec<String>,
}

/// The message that a lost sending made: by its Message-ID, else by our own field among those sent since.
pub fn find(ctx: &Ctx<Config>, message_id: &str, since: u64) -> Result<Option<Sent>, PluginError> {
    if let Some(id) = by_message_id(ctx, message_id)? {
        return message(ctx, &id).map(|found| found.and_then(|(found, _)| Sent::read(&found)));
    }
    let after = since.saturating_sub(CLOCK_DIFFERENCE) / 1000;
    for id in list(ctx, &format!("in:sent after:{after}"), COMPARED)? {
        let Some((found, fields)) = message(ctx, &id)? else { continue };
        if fields.text(REFERENCE_HEADER).as_deref() == Some(ctx.reference()) {
            return Ok(Sent::read(&found));
        }
    }
    Ok(None)
}

/// What an answer needs to be seen as one: thread, `In-Reply-To`, `References` and subject.
pub fn thread(ctx: &Ctx<Config>, answered: Option<&str>, id: Option<&str>) -> Result<Thread, PluginError> {
    let unknown = |what: &str| {
        let message = format!("The mailbox has no {what} of this id.");
        PluginError::reject(Reason::BadData, "unknown_thread", message)
    };
    let last = match (answered, id) {
        (None, None) => return Ok(Thread::default()),
        (Some(answered), _) => match by_message_id(ctx, answered)? {
            Some(id) => message(ctx, &id)?,
            None => None,
        },
        (None, Some(id)) => Some(last_of(ctx, id)?.ok_or_else(|| unknown("thread"))?),
    };
    let Some((last, fields)) = last else {
        // The message may be in nobody's mailbox here; what is known is enough for other mailboxes to thread it.
        let answered = answered.map(str::to_owned);
        let references = answered.iter().cloned().collect();
        return Ok(Thread { id: id.map(str::to_owned), subject: None, in_reply_to: answered, references });
    };
    let in_reply_to = answered.map(str::to_owned).or_else(|| fields.ids("Message-ID").into_iter().next());
    let mut references = fields.ids("References");
    references.retain(|known| Some(known) != in_reply_to.as_ref() && known.bytes().all(|byte| byte.is_ascii_graphic()));
    references.drain(..references.len().saturating_sub(MOST_REFERENCES));
    references.extend(in_reply_to.clone());
    let thread = id.or(text(&last, "threadId")).map(str::to_owned);
    Ok(Thread { id: thread, subject: fields.text("Subject"), in_reply_to, references })
}

fn by_message_id(ctx: &Ctx<Config>, id: &str) -> Result<Option<String>, PluginError> {
    Ok(list(ctx, &format!("rfc822msgid:{id}"), 1)?.into_iter().next())
}

/// The ids of messages that a search finds, spam and trash included.
fn list(ctx: &Ctx<Config>, query: &str, most: usize) -> Result<Vec<String>, PluginError> {
    let request = get(ctx, "/messages").query("q", query).query("includeSpamTrash", "true");
    let answer = read(ctx, &ask(&request.query("maxResults", &most.to_string()))?)?;
    let found = match answer.get("messages") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(found)) => found,
        Some(_) => return Err(malformed("has messages that are no list")),
    };
    Ok(found.iter().take(most).filter_map(|message| text(message, "id").map(str::to_owned)).collect())
}

/// A message's header; none if it is gone.
fn message(ctx: &Ctx<Config>, id: &str) -> Result<Option<(Value, Fields)>, PluginError> {
    let response = ask(&with_headers(get(ctx, &format!("/messages/{}", segment(id)))))?;
    if response.status == 404 {
        return Ok(None);
    }
    let found = read(ctx, &response)?;
    let fields = Fields::read(found.pointer("/payload/headers"));
    Ok(Some((found, fields)))
}

/// The last message of a thread; none if there is no such thread.
fn last_of(ctx: &Ctx<Config>, thread: &str) -> Result<Option<(Value, Fields)>, PluginError> {
    let response = ask(&with_headers(get(ctx, &format!("/threads/{}", segment(thread)))))?;
    if response.status == 404 {
        return Ok(None);
    }
    let found = read(ctx, &response)?;
    let last = found.get("messages").and_then(Value::as_array).and_then(|messages| messages.last()).cloned();
    Ok(last.map(|last| {
        let fields = Fields::read(last.pointer("/payload/headers"));
        (last, fields)
    }))
}

fn with_headers(request: switchyard_sdk::http::RequestBuilder<'_>) -> switchyard_sdk::http::RequestBuilder<'_> {
    let names = ["Message-ID", "References", "Subject", REFERENCE_HEADER];
    names.iter().fold(request.query("format", "metadata"), |request, name| request.query("metadataHeaders", name))
}
