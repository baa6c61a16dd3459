//! A broker's message as a request: what a plugin would have got over HTTP.

use bytes::Bytes;
use http::StatusCode;
use lapin::{message::Delivery, types::AMQPValue};

/// Fields of a message, and bytes of all of them, that are taken. As over HTTP.
const MAX_FIELDS: usize = 100;
const MAX_FIELD_BYTES: usize = 16 << 10;

/// A message that can be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The routing key, as part of a URL.
    pub(super) path: String,
    /// Its fields, names in small letters.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    /// The body as it came.
    pub(super) body: Bytes,
}

/// Why a message is refused unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Its body.
    #[error("the message is larger than {0} bytes")]
    Body(usize),
    /// Its fields.
    #[error("the message has more than {MAX_FIELDS} fields, or more than {MAX_FIELD_BYTES} bytes of them")]
    Fields,
}

impl Fault {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Body(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Fields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        }
    }

    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Body(_) => "body_too_large",
            Self::Fields => "headers_too_large",
        }
    }
}

/// Reads a message. Of its table those fields are taken that are text, bytes or a whole number.
pub(super) fn request(delivery: &Delivery, limit: usize) -> Result<Request, Fault> {
    if delivery.data.len() > limit {
        return Err(Fault::Body(limit));
    }
    let properties = &delivery.properties;
    let mut headers = Vec::new();
    let own = [
        ("content-type", properties.content_type()),
        ("content-encoding", properties.content_encoding()),
        ("correlation-id", properties.correlation_id()),
        ("message-id", properties.message_id()),
        ("type", properties.kind()),
    ];
    for (name, value) in own {
        if let Some(value) = value {
            headers.push((name.to_owned(), value.as_str().as_bytes().to_vec()));
        }
    }
    for (name, value) in properties.headers().iter().flat_map(|table| table.inner()) {
        // A property of the protocol is not spoken over by a field of the same name.
        let name = name.as_str().to_ascii_lowercase();
        if let Some(value) = plain(value).filter(|_| !headers.iter().any(|(known, _)| *known == name)) {
            headers.push((name, value));
        }
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if headers.len() > MAX_FIELDS || bytes > MAX_FIELD_BYTES {
        return Err(Fault::Fields);
    }
    let path = path(delivery.routing_key.as_str());
    Ok(Request { path, headers, body: Bytes::copy_from_slice(&delivery.data) })
}

fn plain(value: &AMQPValue) -> Option<Vec<u8>> {
    let number = |number: i64| Some(number.to_string().into_bytes());
    match value {
        AMQPValue::LongString(text) => Some(text.as_bytes().to_vec()),
        AMQPValue::ShortString(text) => Some(text.as_str().as_bytes().to_vec()),
        AMQPValue::ByteArray(bytes) => Some(bytes.as_slice().to_vec()),
        AMQPValue::Boolean(flag) => Some(flag.to_string().into_bytes()),
        AMQPValue::ShortShortInt(value) => number(i64::from(*value)),
        AMQPValue::ShortShortUInt(value) => number(i64::from(*value)),
        AMQPValue::ShortInt(value) => number(i64::from(*value)),
        AMQPValue::ShortUInt(value) => number(i64::from(*value)),
        AMQPValue::LongInt(value) => number(i64::from(*value)),
        AMQPValue::LongUInt(value) => number(i64::from(*value)),
        AMQPValue::LongLongInt(value) => number(*value),
        AMQPValue::Timestamp(seconds) => Some(seconds.to_string().into_bytes()),
        _ => None,
    }
}

/// A routing key as the rest of a path: what a URL would read otherwise is written with percent signs.
fn path(key: &str) -> String {
    use std::fmt::Write as _;
    let mut path = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            path.push(char::from(byte));
        } else {
            write!(path, "%{byte:02X}").ok();
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use lapin::{BasicProperties, types::FieldTable};

    use super::*;

    fn delivery(key: &str, body: &[u8], fields: &[(&str, AMQPValue)]) -> Delivery {
        let mut table = FieldTable::default();
        for (name, value) in fields {
            table.insert((*name).into(), value.clone());
        }
        let mut delivery = Delivery::mock(1, "x".into(), key.into(), false, body.to_vec());
        delivery.properties = BasicProperties::default().with_content_type("text/plain".into()).with_headers(table);
        delivery
    }

    #[test]
    fn fields_and_key_become_those_of_a_request() {
        let fields = [
            ("X-Signature", AMQPValue::LongString("abc".into())),
            ("Content-Type", AMQPValue::LongString("text/html".into())),
            ("n", AMQPValue::LongInt(7)),
            ("nested", AMQPValue::FieldTable(FieldTable::default())),
        ];
        let request = request(&delivery("order placed/ø", b"{}", &fields), 10).unwrap();
        assert_eq!(request.path, "order%20placed%2F%C3%B8");
        let field = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        assert_eq!(
            request.headers,
            [field("content-type", "text/plain"), field("x-signature", "abc"), field("n", "7")]
        );
        assert_eq!(&*request.body, b"{}");
    }

    #[test]
    fn what_is_too_large_is_refused_unseen() {
        assert_eq!(request(&delivery("k", &[b'x'; 11], &[]), 10), Err(Fault::Body(10)));
        let long = AMQPValue::LongString("x".repeat(MAX_FIELD_BYTES).as_str().into());
        assert_eq!(request(&delivery("k", b"", &[("a", long)]), 10), Err(Fault::Fields));
        let names: Vec<_> = (0..=MAX_FIELDS).map(|number| format!("f{number}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), AMQPValue::Boolean(true))).collect();
        assert_eq!(request(&delivery("k", b"", &many), 10), Err(Fault::Fields));
    }
}
