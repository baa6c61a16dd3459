//! `messages.list`: the search that the plugin and people use.

use serde_json::{Value, json};

use super::{
    errors::ApiError,
    mailbox::{Mailbox, Message},
};
use crate::{clock::TimeFactor, http::Call};

const DAY_MS: i64 = 86_400_000;

/// One condition of a search.
enum Term {
    MessageId(String),
    Label(String),
    NotBefore(i64),
    Word(String),
}

/// The messages that a request asks for, newest first.
pub(crate) fn list(mailbox: &Mailbox, call: &Call, now_ms: i64, factor: TimeFactor) -> Result<Value, ApiError> {
    let terms = terms(&call.query_value("q").unwrap_or_default(), now_ms)?;
    let pairs = call.query_pairs();
    let labels: Vec<&str> =
        pairs.iter().filter(|(name, _)| name == "labelIds").map(|(_, value)| value.as_str()).collect();
    let spam = call.query_value("includeSpamTrash").is_some_and(|value| value == "true");
    let indexed = std::time::Duration::from_millis(mailbox.behaviour.index_delay_ms);
    let indexed = i64::try_from(factor.scale(indexed).as_millis()).unwrap_or(i64::MAX);
    let found: Vec<&Message> = mailbox
        .in_order()
        .rev()
        .filter(|message| {
            let hidden = message.labels.contains("SPAM") || message.labels.contains("TRASH");
            let seen = terms.is_empty() || message.internal_date_ms.saturating_add(indexed) <= now_ms;
            seen && (spam || !hidden)
                && labels.iter().all(|label| message.labels.contains(*label))
                && terms.iter().all(|term| term.fits(message))
        })
        .collect();
    let (from, size) = page(call, mailbox)?;
    let listed: Vec<Value> = found
        .iter()
        .skip(from)
        .take(size)
        .map(|message| json!({"id": message.id, "threadId": message.thread_id}))
        .collect();
    let mut answer = json!({"resultSizeEstimate": found.len()});
    if !listed.is_empty() {
        answer["messages"] = Value::from(listed);
    }
    if from + size < found.len() {
        answer["nextPageToken"] = Value::from((from + size).to_string());
    }
    Ok(answer)
}

fn page(call: &Call, mailbox: &Mailbox) -> Result<(usize, usize), ApiError> {
    let number = |name: &str| match call.query_value(name) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| ApiError::bad_request(format!("Invalid value for {name}"))),
    };
    Ok((number("pageToken")?.unwrap_or(0), mailbox.page_size(number("maxResults")?, 100, 500)))
}

fn terms(query: &str, now_ms: i64) -> Result<Vec<Term>, ApiError> {
    let invalid = |word: &str| ApiError::bad_request(format!("Invalid query: {word}"));
    query
        .split_ascii_whitespace()
        .map(|word| {
            let Some((operator, value)) = word.split_once(':') else { return Ok(Term::Word(word.to_lowercase())) };
            match operator {
                "rfc822msgid" => Ok(Term::MessageId(value.trim_start_matches('<').trim_end_matches('>').to_owned())),
                "in" | "label" | "is" => Ok(Term::Label(value.to_ascii_uppercase())),
                "after" => {
                    let seconds: i64 = value.parse().map_err(|_| invalid(word))?;
                    Ok(Term::NotBefore(seconds.saturating_mul(1000)))
                }
                "newer_than" => {
                    let days = value.strip_suffix('d').and_then(|days| days.parse::<i64>().ok());
                    let days = days.ok_or_else(|| invalid(word))?;
                    Ok(Term::NotBefore(now_ms.saturating_sub(days.saturating_mul(DAY_MS))))
                }
                _ => Ok(Term::Word(word.to_lowercase())),
            }
        })
        .collect()
}

impl Term {
    fn fits(&self, message: &Message) -> bool {
        match self {
            Self::MessageId(id) => message.message_id.as_deref() == Some(id),
            Self::Label(label) => message.labels.contains(label),
            Self::NotBefore(ms) => message.internal_date_ms >= *ms,
            Self::Word(word) => message.subject.to_lowercase().contains(word),
        }
    }
}
