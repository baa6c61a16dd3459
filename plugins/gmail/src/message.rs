use serde_json::{Value, json};

use crate::client::{number, text};
use crate::mime::{Fields, decode_text};
use crate::push::decode;

/// How much of a body goes into an event; the rest stays at Gmail.
const TEXT_BYTES: usize = 64 * 1024;
const HTML_BYTES: usize = 128 * 1024;

/// How deep parts are followed, and how many attachments are told.
const MOST_DEPTH: usize = 20;
const MOST_ATTACHMENTS: usize = 100;

/// A message as Gmail answers it with `format=full` or `metadata`.
pub struct Mail {
    /// Gmail's id.
    pub id: String,
    /// The thread it belongs to.
    pub thread_id: String,
    /// Its labels now.
    pub labels: Vec<String>,
    /// Gmail's own summary, plain text.
    pub snippet: String,
    /// When Gmail got it, in milliseconds since 1970.
    pub internal_date: Option<u64>,
    /// Its header.
    pub fields: Fields,
    /// What it says.
    pub body: Body,
}

/// The decoded parts of a message.
#[derive(Default)]
pub struct Body {
    /// All plain text that is not an attachment.
    pub text: Option<String>,
    /// All HTML that is not an attachment.
    pub html: Option<String>,
    /// Whether there is more text or HTML than this.
    pub truncated: bool,
    /// What else is in it: name, type, size and Gmail's id.
    pub attachments: Vec<Value>,
}

impl Mail {
    /// Reads a message; none if it has no id, which no message of Gmail's lacks.
    pub fn read(message: &Value) -> Option<Self> {
        let id = text(message, "id")?.to_owned();
        let payload = message.get("payload").unwrap_or(&Value::Null);
        let mut body = Body::default();
        body.add(payload, 0);
        Some(Self {
            thread_id: text(message, "threadId").unwrap_or(&id).to_owned(),
            labels: labels(message.get("labelIds")),
            snippet: unescape(text(message, "snippet").unwrap_or_default()),
            internal_date: number(message.get("internalDate")),
            fields: Fields::read(payload.get("headers")),
            body,
            id,
        })
    }

    /// Whether it has this label.
    pub fn has_label(&self, label: &str) -> bool {
        self.labels.iter().any(|found| found == label)
    }
}

impl Body {
    fn add(&mut self, part: &Value, depth: usize) {
        if depth > MOST_DEPTH {
            return;
        }
        let kind = text(part, "mimeType").unwrap_or_default().to_ascii_lowercase();
        if kind.starts_with("multipart/") {
            for part in part.get("parts").and_then(Value::as_array).into_iter().flatten() {
                self.add(part, depth + 1);
            }
            return;
        }
        let fields = Fields::read(part.get("headers"));
        let name = file_name(part, &fields);
        let attached = name.is_some() || fields.disposition_is("attachment");
        match kind.as_str() {
            "text/plain" | "text/html" if !attached => self.add_text(part, &fields, kind == "text/html"),
            // A message without payload has no parts at all.
            "" if name.is_none() => {}
            _ => self.attach(part, &fields, &kind, name),
        }
    }

    fn add_text(&mut self, part: &Value, fields: &Fields, html: bool) {
        let Some(bytes) = part.pointer("/body/data").and_then(Value::as_str).and_then(decode) else {
            // Gmail keeps a very long text apart, as it keeps an attachment.
            self.truncated |= part.pointer("/body/attachmentId").is_some();
            return;
        };
        let found = decode_text(bytes, fields.parameter("Content-Type", "charset").as_deref());
        let (into, most) = if html { (&mut self.html, HTML_BYTES) } else { (&mut self.text, TEXT_BYTES) };
        let into = into.get_or_insert_default();
        if !into.is_empty() && !into.ends_with('\n') {
            into.push('\n');
        }
        into.push_str(&found);
        self.truncated |= cut(into, most);
    }

    fn attach(&mut self, part: &Value, fields: &Fields, kind: &str, name: Option<String>) {
        if self.attachments.len() >= MOST_ATTACHMENTS {
            self.truncated = true;
            return;
        }
        let body = part.get("body").unwrap_or(&Value::Null);
        let mut attachment = json!({
            "name": name.unwrap_or_default(),
            "type": kind,
            "size": number(body.get("size")).unwrap_or(0),
        });
        if let Some(id) = text(body, "attachmentId") {
            attachment["id"] = json!(id);
        }
        if let Some(id) = text(part, "partId") {
            attachment["part_id"] = json!(id);
        }
        if let Some(id) = fields.ids("Content-ID").first() {
            attachment["content_id"] = json!(id);
        }
        self.attachments.push(attachment);
    }
}

/// The name that the sender gave a part. Gmail's own decoding of it comes last, since it leaves encoded names as they are.
fn file_name(part: &Value, fields: &Fields) -> Option<String> {
    fields
        .parameter("Content-Disposition", "filename")
        .or_else(|| fields.parameter("Content-Type", "name"))
        .or_else(|| text(part, "filename").map(str::to_owned))
}

/// Labels as Gmail lists them; what is no text is left out.
pub fn labels(list: Option<&Value>) -> Vec<String> {
    let found = list.and_then(Value::as_array).into_iter().flatten();
    found.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Shortens at a letter's border; whether there was more.
fn cut(text: &mut String, most: usize) -> bool {
    if text.len() <= most {
        return false;
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
    true
}

/// Gmail writes its summary for HTML.
fn unescape(text: &str) -> String {
    let pairs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
