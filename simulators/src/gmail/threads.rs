//! Which thread a message belongs to.

use mail_parser::{HeaderValue, Message as Parsed};

use super::mailbox::Mailbox;

/// What threading looks at.
pub(crate) struct Headers {
    pub(crate) message_id: Option<String>,
    pub(crate) subject: String,
    references: Vec<String>,
}

impl Headers {
    pub(crate) fn of(message: &Parsed<'_>) -> Self {
        let mut references = ids(message.in_reply_to());
        references.extend(ids(message.references()));
        Self {
            message_id: message.message_id().map(str::to_owned),
            subject: message.subject().unwrap_or_default().to_owned(),
            references,
        }
    }
}

fn ids(value: &HeaderValue<'_>) -> Vec<String> {
    match value {
        HeaderValue::Text(id) => vec![id.to_string()],
        HeaderValue::TextList(ids) => ids.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

/// The thread that a message continues: one of its references is in it, under the same subject. A thread that the sender
/// names must be that one, else the message begins its own.
pub(crate) fn continued(mailbox: &Mailbox, headers: &Headers, named: Option<&str>) -> Option<String> {
    let known = mailbox.in_order().rev().find(|message| {
        let named = named.is_none_or(|thread| message.thread_id == thread);
        let referred = message.message_id.as_ref().is_some_and(|id| headers.references.contains(id));
        named && referred && bare(&message.subject) == bare(&headers.subject)
    });
    known.map(|message| message.thread_id.clone())
}

/// A subject without the prefixes of answers.
fn bare(subject: &str) -> String {
    let mut rest = subject.trim();
    while let Some(cut) = ["re:", "fwd:", "sv:", "vs:"].iter().find_map(|prefix| {
        rest.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix)).map(|_| &rest[prefix.len()..])
    }) {
        rest = cut.trim_start();
    }
    rest.to_lowercase()
}
