//! CloudEvents 1.0 over HTTP: structured, binary and batch. Only JSON data is taken.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{
    body::{is_json, media_type},
    problem::{Answer, Code, Problem},
};
use crate::{
    accept::Publication,
    clock::Timestamp,
    event::{Urgency, json_limits::check_json_limits},
};

/// The most events in one batch.
pub(super) const MAX_EVENTS: usize = 100;
const MAX_EXTENSIONS: usize = 32;
const MAX_EXTENSION_BYTES: usize = 1024;

/// One event in structured form.
#[derive(Deserialize)]
pub(super) struct Structured<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(flatten)]
    attributes: BTreeMap<String, Value>,
}

impl Structured<'_> {
    /// What it says. `at` goes before the names of fields in errors: `[3].`.
    pub(super) fn publication(self, at: &str) -> Answer<Publication> {
        let data = self.data.map_or_else(|| "null".to_owned(), |data| data.get().to_owned());
        publication(self.attributes, data, at)
    }
}

/// Whether a request is in binary form.
pub(super) fn is_binary(headers: &HeaderMap) -> bool {
    headers.contains_key("ce-specversion")
}

/// What a request in binary form says: attributes in `ce-` headers, data in the body.
pub(super) fn binary(headers: &HeaderMap, body: &[u8]) -> Answer<Publication> {
    let media = media_type(headers);
    if !body.is_empty() && !media.as_deref().is_some_and(is_json) {
        let detail = "the data of a CloudEvent must be JSON: send `Content-Type: application/json`";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let mut attributes = BTreeMap::new();
    for (name, value) in headers {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
        let text = value.to_str().ok().and_then(percent_decoded);
        let text = text.ok_or_else(|| Problem::field(name.as_str(), "must be percent-encoded UTF-8"))?;
        attributes.insert(attribute.to_owned(), Value::String(text));
    }
    check_json_limits(body)?;
    let data = if body.is_empty() { "null".to_owned() } else { checked_json(body)? };
    publication(attributes, data, "ce-")
}

fn checked_json(body: &[u8]) -> Answer<String> {
    let raw: &RawValue = serde_json::from_slice(body)
        .map_err(|error| Problem::new(Code::InvalidJson, format!("the data is no JSON: {error}")))?;
    Ok(raw.get().to_owned())
}

/// The HTTP binding encodes what is not printable ASCII as `%XX`.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.extend(hex::decode(digits).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

fn publication(mut attributes: BTreeMap<String, Value>, data: String, at: &str) -> Answer<Publication> {
    let mut take = |name: &str| -> Answer<Option<String>> {
        match attributes.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Problem::field(format!("{at}{name}"), "must be text")),
        }
    };
    let missing = |name: &str| Problem::field(format!("{at}{name}"), "a CloudEvent must have it");
    match take("specversion")?.as_deref() {
        Some("1.0") => {}
        _ => return Err(Problem::field(format!("{at}specversion"), "must be 1.0")),
    }
    if take("data_base64")?.is_some() {
        return Err(Problem::field(format!("{at}data_base64"), "only JSON data is taken, in `data`"));
    }
    if let Some(media) = take("datacontenttype")?
        && !is_json(media.split(';').next().unwrap_or_default().trim())
    {
        return Err(Problem::field(format!("{at}datacontenttype"), "only JSON data is taken: application/json"));
    }
    let mut time = |name: &str| -> Answer<Option<Timestamp>> {
        let Some(text) = take(name)? else { return Ok(None) };
        let parsed = text.parse().map(Some);
        parsed
            .map_err(|_| Problem::field(format!("{at}{name}"), "must be an RFC 3339 time such as 2026-11-21T09:00:00Z"))
    };
    let (happened, expires_at) = (time("time")?, time("expiresat")?);
    let urgency = match take("urgency")?.as_deref() {
        None | Some("normal") => Urgency::Normal,
        Some("emergency") => Urgency::Emergency,
        Some(_) => return Err(Problem::field(format!("{at}urgency"), "must be normal or emergency")),
    };
    Ok(Publication {
        event_type: take("type")?.ok_or_else(|| missing("type"))?,
        id: Some(take("id")?.ok_or_else(|| missing("id"))?),
        source: Some(take("source")?.ok_or_else(|| missing("source"))?),
        subject: take("subject")?,
        time: happened,
        ordering_key: take("orderingkey")?,
        correlation_id: take("correlationid")?,
        traceparent: take("traceparent")?,
        urgency,
        expires_at,
        extensions: extensions(attributes, at)?,
        only_to: None,
        data,
    })
}

/// What is left: attributes of the sender's own, kept and delivered as they are.
fn extensions(attributes: BTreeMap<String, Value>, at: &str) -> Answer<Option<String>> {
    if attributes.is_empty() {
        return Ok(None);
    }
    if attributes.len() > MAX_EXTENSIONS {
        return Err(Problem::field(
            format!("{at}extensions"),
            format!("at most {MAX_EXTENSIONS} extension attributes"),
        ));
    }
    let mut kept = Map::new();
    for (name, value) in attributes {
        let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let field = format!("{at}{name}");
        // `dataschema` is one of the standard's own attributes; it travels like an extension.
        if !named {
            return Err(Problem::field(field, "names of attributes are of [a-z0-9]"));
        }
        match &value {
            Value::String(text) if text.len() > MAX_EXTENSION_BYTES => {
                return Err(Problem::field(field, format!("at most {MAX_EXTENSION_BYTES} bytes")));
            }
            Value::String(_) | Value::Bool(_) | Value::Number(_) => kept.insert(name, value),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(Problem::field(field, "an extension attribute is text, a number or a boolean"));
            }
        };
    }
    Ok(Some(Value::Object(kept).to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn structured(value: &Value) -> Answer<Publication> {
        let text = value.to_string();
        serde_json::from_str::<Structured<'_>>(&text).unwrap().publication("")
    }

    fn sample() -> Value {
        json!({"specversion": "1.0", "id": "a-1", "source": "/shop", "type": "order.placed", "subject": "7",
            "time": "2026-11-21T09:00:00Z", "orderingkey": "k", "correlationid": "c", "urgency": "emergency",
            "expiresat": "2026-11-22T09:00:00+01:00", "datacontenttype": "application/json", "shopregion": "dk",
            "data": {"amount": 1.50, "b": 1}})
    }

    #[test]
    fn a_structured_event_is_read_whole() {
        let said = structured(&sample()).unwrap();
        assert_eq!(
            (said.event_type.as_str(), said.id.as_deref(), said.source.as_deref()),
            ("order.placed", Some("a-1"), Some("/shop"))
        );
        assert_eq!(said.urgency, Urgency::Emergency);
        assert_eq!(said.expires_at.map(|time| time.to_string()).as_deref(), Some("2026-11-22T08:00:00.000Z"));
        assert_eq!(said.extensions.as_deref(), Some(r#"{"shopregion":"dk"}"#));
        assert_eq!(said.data, sample()["data"].to_string());
    }

    #[test]
    fn data_keeps_its_exact_text() {
        let text = r#"{"specversion":"1.0","id":"1","source":"s","type":"a.b","data":{ "n": 1.500, "z":0,"a":0 }}"#;
        let said = serde_json::from_str::<Structured<'_>>(text).unwrap().publication("").unwrap();
        assert_eq!(said.data, r#"{ "n": 1.500, "z":0,"a":0 }"#);
    }

    #[test]
    fn a_binary_event_has_its_attributes_in_headers() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-source", "/a%20b"),
            ("ce-type", "a.b"),
            ("ce-subject", "%C3%A6"),
            ("content-type", "application/json; charset=utf-8"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        assert!(is_binary(&headers));
        let said = binary(&headers, b"{\"x\":1}").unwrap();
        assert_eq!((said.source.as_deref(), said.subject.as_deref()), (Some("/a b"), Some("æ")));
        assert!(binary(&headers, b"{x}").is_err());
        headers.insert("content-type", "text/plain".parse().unwrap());
        let problem = serde_json::to_value(binary(&headers, b"{}").unwrap_err()).unwrap();
        assert_eq!(problem["status"], 415);
    }

    #[test]
    fn faults_name_their_attribute() {
        for (name, value) in [
            ("specversion", json!("0.3")),
            ("id", Value::Null),
            ("type", Value::Null),
            ("source", json!(7)),
            ("time", json!("yesterday")),
            ("urgency", json!("high")),
            ("data_base64", json!("AAAA")),
            ("datacontenttype", json!("text/xml")),
            ("shopregion", json!({"a": 1})),
        ] {
            let mut event = sample();
            event[name] = value;
            let problem = serde_json::to_value(structured(&event).unwrap_err()).unwrap();
            assert_eq!(problem["errors"][0]["field"], name, "{problem}");
        }
    }

    #[test]
    fn fuzz_cloud_events() {
        let whole = sample().to_string();
        let seeds: [&[u8]; 6] = [
            whole.as_bytes(),
            br#"{"specversion":"1.0","id":"1","source":"s","type":"a.b","data_base64":"AA=="}"#,
            br#"{"specversion":"1.0","id":"1","source":"s","type":"a.b","data":"\ud800","x":{}}"#,
            br#"{"specversion":1,"id":null,"time":"2026-02-30T25:00:00+99:99"}"#,
            br#"[{"specversion":"1.0","id":"1","source":"s","type":"a.b"}]"#,
            b"1.0\n%C3%A6%zz\n2026-11-21T09:00:00Z\n{}",
        ];
        let words = ["\"data\":", "\"time\":", "\"specversion\":\"1.0\"", "\"type\":\"a.b\"", "%C3%A6", "null", "\n"];
        switchyard_fuzz::fuzz(&seeds, &words, |bytes| {
            let structured =
                crate::api::body::parse_object::<Structured<'_>>(bytes).and_then(|said| said.publication(""));
            let batch = crate::api::body::parse::<Vec<Structured<'_>>>(bytes)
                .map(|all| all.into_iter().map(|said| said.publication("[0].").is_ok()).collect::<Vec<_>>());
            let mut headers = HeaderMap::new();
            let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
            for name in ["ce-specversion", "ce-id", "ce-time"] {
                if let Ok(value) = parts.next().unwrap_or_default().try_into() {
                    headers.insert(name, value);
                }
            }
            headers.insert("ce-source", "s".parse().unwrap());
            headers.insert("ce-type", "a.b".parse().unwrap());
            headers.insert("content-type", "application/json".parse().unwrap());
            let binary = binary(&headers, parts.next().unwrap_or_default());
            (
                switchyard_fuzz::outcome(&structured.map(|_| ())),
                batch.ok(),
                switchyard_fuzz::outcome(&binary.map(|_| ())),
            )
        });
    }
}
