use mail_parser::DateTime;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use serde_json::{Value, json};
use switchyard_sdk::once::SendOnce;
use switchyard_sdk::prelude::*;
use switchyard_sdk::time::rfc3339;

use crate::client::{post, refusal, text};
use crate::compose::{Outgoing, Recipient};
use crate::config::Config;
use crate::lookup::{self, Thread};
use crate::message::labels;
use crate::{event, lookup::INDEXED_WITHIN};

/// More recipients than this are refused here; Gmail's own limit is 500 a message.
const MOST_RECIPIENTS: usize = 500;

/// The data of `email.send`.
#[derive(Deserialize)]
struct Command {
    to: Vec<Address>,
    #[serde(default)]
    cc: Vec<Address>,
    #[serde(default)]
    bcc: Vec<Address>,
    #[serde(default)]
    reply_to: Vec<Address>,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    html: Option<String>,
    #[serde(default)]
    in_reply_to: Option<String>,
    #[serde(default)]
    thread_id: Option<String>,
}

/// A bare address, or one with a name.
enum Address {
    Bare(String),
    Named { email: String, name: Option<String> },
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let own = |name: &str| text(&value, name).map(str::to_owned);
        match (&value, own("email")) {
            (Value::String(bare), _) => Ok(Self::Bare(bare.clone())),
            (_, Some(email)) => Ok(Self::Named { email, name: own("name") }),
            (_, None) => Err(D::Error::custom("it is neither an address nor one with a name")),
        }
    }
}

/// What Gmail has of a message that was sent.
pub struct Sent {
    /// Gmail's id.
    pub id: String,
    /// The thread it went into.
    pub thread_id: String,
    /// Its labels.
    pub labels: Vec<String>,
}

impl Sent {
    /// From Gmail's answer to a sending, or from a listed message.
    pub fn read(message: &Value) -> Option<Self> {
        let id = text(message, "id")?;
        let thread_id = text(message, "threadId").unwrap_or(id).to_owned();
        Some(Self { id: id.to_owned(), thread_id, labels: labels(message.get("labelIds")) })
    }
}

/// What came of the sending.
enum Answer {
    Sent(Sent),
    /// Gmail took it, and what it said of it cannot be read.
    Unreadable,
    Refused(switchyard_sdk::http::Response),
}

/// Sends a message once, and says so.
pub fn send(ctx: &Ctx<Config>, event: &Event) -> Result<Output, PluginError> {
    let command: Command = event.parse()?;
    let (mail, thread) = compose(ctx, &command)?;
    let mut body = json!({ "raw": mail.raw() });
    if let Some(thread) = &thread.id {
        body["threadId"] = json!(thread);
    }
    let sending = || -> Result<Answer, HttpError> {
        let response = match post(ctx, "/messages/send").json(&body).send() {
            Ok(response) => response,
            Err(HttpError::ResponseTooLarge { status: 200..=299, .. }) => return Ok(Answer::Unreadable),
            Err(error) => return Err(error),
        };
        if !response.is_success() {
            return Ok(Answer::Refused(response));
        }
        Ok(Sent::read(&response.value()).map_or(Answer::Unreadable, Answer::Sent))
    };
    let found = |since: u64| lookup::find(ctx, &mail.message_id, since);
    let answer = SendOnce::with_grace(INDEXED_WITHIN)
        .run(ctx, sending, |lost| Ok(found(lost.sent_at)?.map(Answer::Sent)))?
        .into_inner();
    let sent = match answer {
        Answer::Sent(sent) => sent,
        Answer::Refused(response) => return Err(refusal(ctx, &response)),
        // It went out, so it must not be sent again: only the look-up can say what it became.
        Answer::Unreadable => found(ctx.time())?.ok_or_else(|| {
            let message = "Gmail took the message, its answer cannot be read, and the message is not to be seen yet.";
            PluginError::retry(Reason::UnknownOutcome, "not_seen_yet", message).after(INDEXED_WITHIN)
        })?,
    };
    Ok(told(ctx, &mail, &sent).into())
}

/// The same event as the poll makes of the sent message, under the same key.
fn told(ctx: &Ctx<Config>, mail: &Outgoing, sent: &Sent) -> Emit {
    let emails = |list: &[Recipient]| list.iter().map(|entry| entry.email.clone()).collect::<Vec<_>>();
    let mut data = json!({
        "message_id": sent.id, "thread_id": sent.thread_id, "mailbox": event::mailbox(ctx),
        "from": mail.from.email, "to": emails(&mail.to), "cc": emails(&mail.cc), "bcc": emails(&mail.bcc),
        "reply_to": emails(&mail.reply_to), "subject": mail.subject, "date": rfc3339(ctx.time()),
        "label_ids": sent.labels, "rfc822_message_id": mail.message_id, "hub_ref": ctx.reference(),
    });
    if let Some(name) = &mail.from.name {
        data["from_name"] = json!(name);
    }
    if let Some(id) = &mail.in_reply_to {
        data["in_reply_to"] = json!(id);
        data["references"] = json!(mail.references);
    }
    Emit::new("email.sent", data)
        .subject(&sent.id)
        .ordering(event::thread_key(ctx, &sent.thread_id))
        .dedupe(event::message_key(ctx, &sent.id, "sent"))
}

/// The message that a command asks for, and the thread that it belongs to.
fn compose(ctx: &Ctx<Config>, command: &Command) -> Result<(Outgoing, Thread), PluginError> {
    let to = recipients("to", &command.to)?;
    let cc = recipients("cc", &command.cc)?;
    let bcc = recipients("bcc", &command.bcc)?;
    if to.is_empty() || to.len() + cc.len() + bcc.len() > MOST_RECIPIENTS {
        return Err(bad("to", "name 1 to 500 recipients, copies included."));
    }
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (text, html) = (filled(&command.text), filled(&command.html));
    if text.is_none() && html.is_none() {
        return Err(bad("text", "give `text`, `html` or both."));
    }
    let reply_to = recipients("reply_to", &command.reply_to)?;
    let answered = command.in_reply_to.as_deref().map(message_id).transpose()?;
    let thread = lookup::thread(ctx, answered.as_deref(), command.thread_id.as_deref())?;
    let subject = match (filled(&command.subject), &thread.subject) {
        (Some(subject), _) => subject,
        (None, Some(before)) => answer_to(before),
        (None, None) => return Err(bad("subject", "give one; only an answer in a known thread has it from there.")),
    };
    let config = &ctx.config;
    let domain = config.mailbox.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let seconds = i64::try_from(ctx.time() / 1000).unwrap_or_default();
    let mail = Outgoing {
        from: Recipient { email: config.mailbox.clone(), name: config.from_name.clone() },
        to,
        cc,
        bcc,
        reply_to,
        subject,
        date: Some(DateTime::from_timestamp(seconds).to_rfc822()),
        message_id: format!("hub.{}@{domain}", ctx.reference()),
        in_reply_to: thread.in_reply_to.clone(),
        references: thread.references.clone(),
        reference: ctx.reference().to_owned(),
        text,
        html,
    };
    Ok((mail, thread))
}

/// A thread is kept together by its subject too, so an answer's is the same but for `Re:`.
fn answer_to(subject: &str) -> String {
    let begins = subject.trim_start().get(..3).is_some_and(|start| start.eq_ignore_ascii_case("re:"));
    if begins { subject.to_owned() } else { format!("Re: {subject}") }
}

/// Addresses that can stand in a header. The catalogue's schema has looked at them; a line break here would let a command
/// write fields of its own, so they are looked at again.
fn recipients(field: &str, list: &[Address]) -> Result<Vec<Recipient>, PluginError> {
    let read = |address: &Address| {
        let (email, name) = match address {
            Address::Bare(email) => (email, None),
            Address::Named { email, name } => (email, name.clone()),
        };
        let email = email.trim();
        let parts = email.rsplit_once('@').filter(|(local, domain)| !local.is_empty() && !domain.is_empty());
        let graphic = email.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>,;:()[]\"\\".contains(&byte));
        if parts.is_none_or(|(local, _)| local.contains('@')) || !graphic || email.len() > 320 {
            return Err(bad(field, "an address is not one that mail can be sent to; write `name@example.com`."));
        }
        Ok(Recipient { email: email.to_owned(), name })
    };
    list.iter().map(read).collect()
}

/// A Message-ID without angle brackets.
fn message_id(text: &str) -> Result<String, PluginError> {
    let id = text.trim().trim_start_matches('<').trim_end_matches('>');
    let graphic = id.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>".contains(&byte));
    if id.is_empty() || !graphic || id.len() > 500 {
        return Err(bad("in_reply_to", "give the `rfc822_message_id` of the message that is answered."));
    }
    Ok(id.to_owned())
}

fn bad(field: &str, message: &str) -> PluginError {
    PluginError::reject(Reason::BadData, "bad_event_data", format!("The data of `email.send` at `{field}`: {message}"))
        .with_details(json!({ "field": field }))
}
