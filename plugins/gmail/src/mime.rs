use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::parsers::MessageStream;
use mail_parser::{Address, HeaderValue};
use serde_json::Value;

/// How many fields and bytes of a header are looked at.
const MOST_FIELDS: usize = 500;
const MOST_BYTES: usize = 256 * 1024;

/// How many addresses of a field are told.
const MOST_ADDRESSES: usize = 200;

/// One address, with the name beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The address as it was written.
    pub email: String,
    /// The display name, decoded.
    pub name: Option<String>,
}

/// The header of a message or of a part, decoded: encoded words (RFC 2047), parameters with charsets and continuations
/// (RFC 2231), comments, groups, ids.
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// From Gmail's list of names and values. What is not a field is left out; a value never begins another field.
    pub fn read(list: Option<&Value>) -> Self {
        let (mut found, mut bytes) = (Vec::new(), 0);
        let fields = list.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for field in fields.iter().take(MOST_FIELDS) {
            let of = |name: &str| field.get(name).and_then(Value::as_str);
            let (Some(name), Some(value)) = (of("name"), of("value")) else { continue };
            if bytes + value.len() <= MOST_BYTES {
                bytes += name.len() + value.len();
                let letters =
                    value.chars().map(|letter| if matches!(letter, '\r' | '\n' | '\0') { ' ' } else { letter });
                found.push((name.to_owned(), [" ", &letters.collect::<String>(), "\r\n"].concat()));
            }
        }
        Self(found)
    }

    /// The last field of a name, read in its grammar. A parser of whole messages would hold the grammars of all fields.
    fn get<'a>(&'a self, name: &str, grammar: Grammar<'a>) -> Option<HeaderValue<'a>> {
        let (_, value) = self.0.iter().rev().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(grammar(&mut MessageStream::new(value.as_bytes())))
    }

    /// A field of text; only in the subject anything is encoded.
    pub fn text(&self, name: &str) -> Option<String> {
        let grammar = if name == "Subject" { MessageStream::parse_unstructured } else { MessageStream::parse_raw };
        let value = self.get(name, grammar)?;
        let text = value.as_text()?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The addresses of a field, members of groups included.
    pub fn addresses(&self, name: &str) -> Vec<Mailbox> {
        let value = self.get(name, MessageStream::parse_address);
        let Some(list) = value.as_ref().and_then(HeaderValue::as_address) else { return Vec::new() };
        Address::iter(list)
            .filter_map(|entry| {
                let email = entry.address.as_deref()?.trim();
                let name = entry.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
                email.contains('@').then(|| Mailbox { email: email.to_owned(), name: name.map(str::to_owned) })
            })
            .take(MOST_ADDRESSES)
            .collect()
    }

    /// The ids of a field, without angle brackets.
    pub fn ids(&self, name: &str) -> Vec<String> {
        match self.get(name, MessageStream::parse_id) {
            Some(HeaderValue::Text(id)) => vec![id.into_owned()],
            Some(HeaderValue::TextList(ids)) => ids.into_iter().map(Cow::into_owned).collect(),
            _ => Vec::new(),
        }
    }

    /// A parameter of `Content-Type` or `Content-Disposition`, decoded.
    pub fn parameter(&self, field: &str, name: &str) -> Option<String> {
        let value = self.get(field, MessageStream::parse_content_type)?;
        value.as_content_type()?.attribute(name).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// Whether `Content-Disposition` begins with this word.
    pub fn disposition_is(&self, word: &str) -> bool {
        let value = self.get("Content-Disposition", MessageStream::parse_content_type);
        let found = value.as_ref().and_then(HeaderValue::as_content_type);
        found.is_some_and(|found| found.c_type.eq_ignore_ascii_case(word))
    }
}

/// How the value of a field is read.
type Grammar<'a> = fn(&mut MessageStream<'a>) -> HeaderValue<'a>;

/// Text in a charset. Bytes that are UTF-8 are taken as such, whatever they are labelled: a provider that has converted
/// them leaves the label, and hardly any text in another charset is UTF-8 by chance.
pub fn decode_text(bytes: Vec<u8>, charset: Option<&str>) -> String {
    let stateful = charset.is_some_and(|name| {
        let name = name.to_ascii_lowercase();
        name.starts_with("utf-7") || name.starts_with("utf-16") || name.starts_with("iso-2022")
    });
    let bytes = if stateful {
        bytes
    } else {
        match String::from_utf8(bytes) {
            Ok(text) => return text,
            Err(other) => other.into_bytes(),
        }
    };
    match charset.and_then(|name| charset_decoder(name.trim().as_bytes())) {
        Some(decode) => decode(&bytes),
        None => String::from_utf8_lossy(&bytes).into_owned(),
    }
}
