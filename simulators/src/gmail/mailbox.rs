//! What the mailbox holds, and what happened to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Behaviour, TOPIC,
    pubsub::{Notice, Subscription, Topic},
    push::Pushed,
    watch::Watch,
};

/// The oldest entries of every list go beyond this many.
pub(crate) const KEPT: usize = 10_000;

/// Labels that every mailbox has.
const SYSTEM_LABELS: [&str; 10] = [
    "INBOX",
    "SENT",
    "DRAFT",
    "UNREAD",
    "SPAM",
    "TRASH",
    "STARRED",
    "IMPORTANT",
    "CATEGORY_PERSONAL",
    "CATEGORY_UPDATES",
];

/// A message.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) thread_id: String,
    pub(crate) labels: BTreeSet<String>,
    pub(crate) raw: Bytes,
    pub(crate) internal_date_ms: i64,
    /// The record that changed it last.
    pub(crate) history_id: u64,
    /// Without angle brackets.
    pub(crate) message_id: Option<String>,
    pub(crate) subject: String,
}

/// A message as a test or the demo looks at it.
#[derive(Clone, Debug, Serialize)]
pub struct MessageView {
    /// Its id.
    pub id: String,
    /// The thread it belongs to.
    pub thread_id: String,
    /// Its labels, sorted.
    pub labels: Vec<String>,
    /// Its Message-ID without angle brackets.
    pub message_id: Option<String>,
    /// Its subject, decoded.
    pub subject: String,
    /// As it came or went over the wire.
    #[serde(serialize_with = "as_text")]
    pub raw: Bytes,
}

fn as_text<S: serde::Serializer>(raw: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(raw))
}

/// What one record of the history tells.
#[derive(Clone)]
pub(crate) enum Happened {
    Added { message: String, labels: Vec<String> },
    LabelsAdded { message: String, labels: Vec<String> },
    LabelsRemoved { message: String, labels: Vec<String> },
}

#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) thread_id: String,
    pub(crate) happened: Happened,
    /// All labels of the message after it.
    pub(crate) now: Vec<String>,
}

/// The state behind the API.
pub(crate) struct Mailbox {
    pub(crate) behaviour: Behaviour,
    pub(crate) messages: BTreeMap<String, Message>,
    /// Ids in the order of arrival.
    pub(crate) order: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) history: VecDeque<Record>,
    pub(crate) history_id: u64,
    /// Ids below are too old.
    pub(crate) oldest: u64,
    pub(crate) watch: Option<Watch>,
    pub(crate) topics: BTreeMap<String, Topic>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) pushed: VecDeque<Pushed>,
    pub(crate) last_notice: Option<Notice>,
    /// A notification that waits to be overtaken.
    pub(crate) held_back: Option<Notice>,
    pub(crate) notified_at_ms: Option<i64>,
    pub(crate) notices: u64,
}

impl Mailbox {
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            messages: BTreeMap::new(),
            order: Vec::new(),
            labels: SYSTEM_LABELS.map(|label| (label.to_owned(), label.to_owned())).into(),
            history: VecDeque::new(),
            history_id: 1_234_567_890,
            oldest: 1_234_567_890,
            watch: None,
            topics: BTreeMap::from([(TOPIC.to_owned(), Topic::default())]),
            subscriptions: Vec::new(),
            pushed: VecDeque::new(),
            last_notice: None,
            held_back: None,
            notified_at_ms: None,
            notices: 2_070_443_601_311_540,
        }
    }

    pub(crate) fn views(&self) -> Vec<MessageView> {
        let view = |message: &Message| MessageView {
            id: message.id.clone(),
            thread_id: message.thread_id.clone(),
            labels: message.labels.iter().cloned().collect(),
            message_id: message.message_id.clone(),
            subject: message.subject.clone(),
            raw: message.raw.clone(),
        };
        self.in_order().map(view).collect()
    }

    /// Oldest first.
    pub(crate) fn in_order(&self) -> impl DoubleEndedIterator<Item = &Message> {
        self.order.iter().filter_map(|id| self.messages.get(id))
    }

    /// Notes what happened to a message, under an id that leaves a gap to the one before.
    pub(crate) fn note(&mut self, message: &str, happened: Happened) -> u64 {
        self.history_id += 1 + (self.history_id * 7) % 13;
        let id = self.history_id;
        let Some(found) = self.messages.get_mut(message) else { return id };
        found.history_id = id;
        let now = found.labels.iter().cloned().collect();
        let record = Record { id, thread_id: found.thread_id.clone(), happened, now };
        if self.history.len() == KEPT {
            self.oldest = self.history.pop_front().map_or(self.oldest, |gone| gone.id);
        }
        self.history.push_back(record);
        id
    }

    pub(crate) fn forget_history(&mut self) {
        self.history.clear();
        self.history_id += 1;
        self.oldest = self.history_id;
    }

    /// The most entries of a page.
    pub(crate) fn page_size(&self, asked: Option<usize>, usual: usize, most: usize) -> usize {
        let size = asked.unwrap_or(usual).clamp(1, most);
        match self.behaviour.page_size {
            0 => size,
            limit => size.min(limit),
        }
    }
}

impl Record {
    /// As `history.list` answers it.
    pub(crate) fn document(&self) -> Value {
        let (kind, message, labels) = match &self.happened {
            Happened::Added { message, labels } => ("messagesAdded", message, labels),
            Happened::LabelsAdded { message, labels } => ("labelsAdded", message, labels),
            Happened::LabelsRemoved { message, labels } => ("labelsRemoved", message, labels),
        };
        let mut entry = json!({"message": {"id": message, "threadId": self.thread_id, "labelIds": self.now}});
        if kind == "messagesAdded" {
            entry["message"]["labelIds"] = json!(labels);
        } else {
            entry["labelIds"] = json!(labels);
        }
        json!({"id": self.id.to_string(), "messages": [{"id": message, "threadId": self.thread_id}], kind: [entry]})
    }

    /// The history type that a request asks for it by.
    pub(crate) const fn history_type(&self) -> &'static str {
        match self.happened {
            Happened::Added { .. } => "messageAdded",
            Happened::LabelsAdded { .. } => "labelAdded",
            Happened::LabelsRemoved { .. } => "labelRemoved",
        }
    }
}
