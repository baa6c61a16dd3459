//! RFC 822 as the API gives it: a tree of parts with their headers, transfer encodings undone, attachments by id.

use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use mail_parser::{
    Encoding, Message, MessageParser, MessagePart, MimeHeaders as _, PartType,
    decoders::{base64::base64_decode, quoted_printable::quoted_printable_decode},
};
use serde_json::{Value, json};

/// How deep messages inside messages are followed.
const DEPTH: usize = 5;

/// Which parts of a message are wanted.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Parts and bodies, not only the header.
    pub(crate) whole: bool,
    /// Only these fields; all when empty.
    pub(crate) headers: &'a [String],
    /// Values decoded instead of as they were written.
    pub(crate) decoded: bool,
}

/// The payload of a message.
pub(crate) fn document(raw: &[u8], wanted: Wanted<'_>) -> Value {
    match parser().parse(raw) {
        Some(message) => part(&message, 0, "", wanted, 0),
        None => json!({"partId": "", "mimeType": "text/plain", "filename": "", "headers": [], "body": {"size": 0}}),
    }
}

/// The bytes of the attachment with this id.
pub(crate) fn attachment(raw: &[u8], id: &str) -> Option<Vec<u8>> {
    let message = parser().parse(raw)?;
    let index: usize = id.strip_prefix("ANGjdJ_")?.parse().ok()?;
    message.parts.get(index).map(|part| bytes(&message, part))
}

/// A message's fields, decoded.
pub(crate) fn parser() -> MessageParser {
    MessageParser::new().with_minimal_headers().with_message_ids()
}

fn part(message: &Message<'_>, index: usize, id: &str, wanted: Wanted<'_>, depth: usize) -> Value {
    let Some(found) = message.parts.get(index) else { return Value::Null };
    let kind = found.content_type().map_or_else(
        || "text/plain".to_owned(),
        |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("plain")).to_ascii_lowercase(),
    );
    let name = found.attachment_name().unwrap_or_default();
    let mut document = json!({
        "partId": id, "mimeType": kind, "filename": name, "headers": headers(message, found, wanted),
    });
    if !wanted.whole {
        return document;
    }
    let child = |place: usize| if id.is_empty() { place.to_string() } else { format!("{id}.{place}") };
    match &found.body {
        PartType::Multipart(parts) => {
            let parts = parts.iter().enumerate();
            let parts = parts.map(|(place, index)| part(message, *index as usize, &child(place), wanted, depth));
            document["parts"] = parts.collect();
            document["body"] = json!({"size": 0});
        }
        PartType::Message(nested) => {
            document["body"] = json!({"attachmentId": attachment_id(index), "size": found.raw_len()});
            if depth < DEPTH {
                document["parts"] = json!([part(nested, 0, &child(0), wanted, depth + 1)]);
            }
        }
        _ => document["body"] = body(message, index, found, &kind, name),
    }
    document
}

/// Text stands in the answer; what has a name, and what is no text, is fetched by its id.
fn body(message: &Message<'_>, index: usize, found: &MessagePart<'_>, kind: &str, name: &str) -> Value {
    let bytes = bytes(message, found);
    if kind.starts_with("text/") && name.is_empty() {
        json!({"size": bytes.len(), "data": URL_SAFE.encode(&bytes)})
    } else {
        json!({"attachmentId": attachment_id(index), "size": bytes.len()})
    }
}

fn attachment_id(index: usize) -> String {
    format!("ANGjdJ_{index}")
}

/// A part's bytes with the transfer encoding undone; the charset is left as it is.
fn bytes(message: &Message<'_>, part: &MessagePart<'_>) -> Vec<u8> {
    let raw = message.raw_message.get(part.offset_body as usize..part.offset_end as usize).unwrap_or_default();
    match part.encoding {
        Encoding::Base64 => base64_decode(raw).unwrap_or_default(),
        Encoding::QuotedPrintable => quoted_printable_decode(raw).unwrap_or_default(),
        Encoding::None => raw.to_vec(),
    }
}

fn headers(message: &Message<'_>, part: &MessagePart<'_>, wanted: Wanted<'_>) -> Vec<Value> {
    let slice = |from: u32, to: u32| {
        let bytes = message.raw_message.get(from as usize..to as usize).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    let named = part.headers.iter().filter_map(|header| {
        let field = slice(header.offset_field, header.offset_start);
        let name = field.trim().trim_end_matches(':').trim().to_owned();
        let chosen =
            wanted.headers.is_empty() || wanted.headers.iter().any(|wanted| wanted.eq_ignore_ascii_case(&name));
        if name.is_empty() || !chosen {
            return None;
        }
        let value = match header.value.as_text() {
            Some(decoded) if wanted.decoded => decoded.to_owned(),
            _ => unfolded(&slice(header.offset_start, header.offset_end)),
        };
        Some(json!({"name": name, "value": value}))
    });
    named.collect()
}

/// A value on one line.
fn unfolded(value: &str) -> String {
    value.replace("\r\n", "").replace('\n', "").replace('\t', " ").trim().to_owned()
}
