use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::{Address, HeaderName, HeaderValue, Message, MessageParser};
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
pub struct Fields(Option<Message<'static>>);

impl Fields {
    /// From Gmail's list of names and values. What is not a field is left out; a value never begins another field.
    pub fn read(list: Option<&Value>) -> Self {
        let mut block = String::new();
        let fields = list.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for field in fields.iter().take(MOST_FIELDS) {
            let of = |name: &str| field.get(name).and_then(Value::as_str);
            let (Some(name), Some(value)) = (of("name"), of("value")) else { continue };
            let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
            if named && block.len() + value.len() <= MOST_BYTES {
                block.extend([name, ": "]);
                block.extend(
                    value.chars().map(|letter| if matches!(letter, '\r' | '\n' | '\0') { ' ' } else { letter }),
                );
                block.push_str("\r\n");
            }
        }
        block.push_str("\r\n");
        Self(parser().parse_headers(&block).map(Message::into_owned))
    }

    fn get(&self, name: HeaderName<'static>) -> Option<&HeaderValue<'static>> {
        self.0.as_ref()?.header(name)
    }

    /// A field of text, decoded.
    pub fn text(&self, name: &'static str) -> Option<String> {
        let name = HeaderName::parse(name)?;
        let value = self.get(name)?.as_text()?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// The addresses of a field, members of groups included.
    pub fn addresses(&self, name: &'static str) -> Vec<Mailbox> {
        let Some(list) = HeaderName::parse(name).and_then(|name| self.get(name)?.as_address()) else {
            return Vec::new();
        };
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
    pub fn ids(&self, name: &'static str) -> Vec<String> {
        match HeaderName::parse(name).and_then(|name| self.get(name)) {
            Some(HeaderValue::Text(id)) => vec![id.to_string()],
            Some(HeaderValue::TextList(ids)) => ids.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        }
    }

    /// A parameter of `Content-Type` or `Content-Disposition`, decoded.
    pub fn parameter(&self, field: &'static str, name: &str) -> Option<String> {
        let value = HeaderName::parse(field).and_then(|field| self.get(field)?.as_content_type())?;
        value.attribute(name).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// Whether `Content-Disposition` begins with this word.
    pub fn disposition_is(&self, word: &str) -> bool {
        let found = self.get(HeaderName::ContentDisposition).and_then(HeaderValue::as_content_type);
        found.is_some_and(|found| found.c_type.eq_ignore_ascii_case(word))
    }
}

/// Reads only the fields that somebody asks for, each in its own grammar.
fn parser() -> MessageParser {
    MessageParser::new()
        .header_text(HeaderName::Subject)
        .header_address(HeaderName::From)
        .header_address(HeaderName::To)
        .header_address(HeaderName::Cc)
        .header_address(HeaderName::Bcc)
        .header_address(HeaderName::ReplyTo)
        .header_id(HeaderName::MessageId)
        .header_id(HeaderName::InReplyTo)
        .header_id(HeaderName::References)
        .header_id(HeaderName::ContentId)
        .header_content_type(HeaderName::ContentType)
        .header_content_type(HeaderName::ContentDisposition)
}

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
