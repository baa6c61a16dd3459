use serde_json::Value;
use switchyard_sdk::prelude::*;

use crate::client::{malformed, number, text};
use crate::message::labels;

/// One thing that happened, with the id of the record that tells of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// The history record. Records have growing ids with gaps; one can tell of several changes.
    pub record: u64,
    /// What happened.
    pub what: What,
}

/// What can happen to a message.
#[derive(Debug, PartialEq, Eq)]
pub enum What {
    /// It is new in the mailbox.
    Added {
        /// Its id.
        message: String,
        /// Its labels, where the record tells them.
        labels: Vec<String>,
    },
    /// Labels came or went.
    Labels(Labels),
}

/// A change of a message's labels.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// The message.
    pub message: String,
    /// Its thread.
    pub thread: String,
    /// Labels that came.
    pub added: Vec<String>,
    /// Labels that went.
    pub removed: Vec<String>,
    /// All that it has now, as far as the record tells.
    pub now: Vec<String>,
}

/// One page of what changed.
pub struct Page {
    /// In the order in which it happened.
    pub changes: Vec<Change>,
    /// The last record of the page, if it has any.
    pub last: Option<u64>,
    /// Where the mailbox stands.
    pub history_id: Option<u64>,
    /// How to go on, if there is more.
    pub next: Option<String>,
}

impl Page {
    /// Reads a page. `history` is absent when nothing changed. A record that cannot be read is not skipped, since what
    /// it tells would be lost: the page is malformed.
    pub fn read(answer: &Value) -> Result<Self, PluginError> {
        let records = match answer.get("history") {
            None | Some(Value::Null) => &[][..],
            Some(Value::Array(records)) => records.as_slice(),
            Some(_) => return Err(malformed("has a history that is no list")),
        };
        let (mut changes, mut last) = (Vec::new(), None);
        for record in records {
            let Some(id) = number(record.get("id")) else { return Err(malformed("has a history record without id")) };
            if last.is_some_and(|last| id < last) {
                return Err(malformed("has history records out of order"));
            }
            last = Some(id);
            read_record(id, record, &mut changes)?;
        }
        let next = text(answer, "nextPageToken").map(str::to_owned);
        Ok(Self { changes, last, history_id: number(answer.get("historyId")), next })
    }
}

fn read_record(record: u64, from: &Value, into: &mut Vec<Change>) -> Result<(), PluginError> {
    for entry in entries(from, "messagesAdded")? {
        let (message, id, _) = message_of(entry)?;
        let what = What::Added { message: id, labels: labels(message.get("labelIds")) };
        into.push(Change { record, what });
    }
    // Labels that come and go in one record are one change of the message.
    let mut changed: Vec<Labels> = Vec::new();
    for (list, added) in [("labelsAdded", true), ("labelsRemoved", false)] {
        for entry in entries(from, list)? {
            let (message, id, thread) = message_of(entry)?;
            let at = changed.iter().position(|known| known.message == id).unwrap_or(changed.len());
            if at == changed.len() {
                let now = labels(message.get("labelIds"));
                changed.push(Labels { message: id, thread, now, ..Labels::default() });
            }
            let side = if added { &mut changed[at].added } else { &mut changed[at].removed };
            side.extend(labels(entry.get("labelIds")));
        }
    }
    into.extend(changed.into_iter().map(|change| Change { record, what: What::Labels(change) }));
    Ok(())
}

fn entries<'a>(record: &'a Value, name: &str) -> Result<&'a [Value], PluginError> {
    match record.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(entries)) => Ok(entries),
        Some(_) => Err(malformed("has a history record that cannot be read")),
    }
}

fn message_of(entry: &Value) -> Result<(&Value, String, String), PluginError> {
    let message = entry.get("message").unwrap_or(&Value::Null);
    let Some(id) = text(message, "id") else { return Err(malformed("names a message without id")) };
    let thread = text(message, "threadId").unwrap_or(id);
    Ok((message, id.to_owned(), thread.to_owned()))
}
