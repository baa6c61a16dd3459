//! Event bodies as subscribers receive them. The event's `data` is the JSON text that was stored, put in as it is: it was
//! checked when the event was accepted and is not parsed again, and a number keeps every digit it was sent with.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// How an endpoint wants its bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyFormat {
    /// CloudEvents 1.0, structured mode.
    #[default]
    #[serde(rename = "cloudevents")]
    CloudEvents,
    /// `{"type","timestamp","data"}`, as Standard Webhooks describes it.
    Standard,
}

impl BodyFormat {
    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CloudEvents => "cloudevents",
            Self::Standard => "standard",
        }
    }

    /// The value of the `content-type` field.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::CloudEvents => "application/cloudevents+json",
            Self::Standard => "application/json",
        }
    }

    /// The body of one event in this format. The same parts give the same bytes in every attempt.
    #[must_use]
    pub fn write(self, event: &EventParts<'_>) -> Bytes {
        match self {
            Self::CloudEvents => cloudevents(event),
            Self::Standard => standard(event),
        }
    }
}

/// The stored parts of one event. Has no `Debug`: the payload is personal data.
#[derive(Clone, Copy)]
pub struct EventParts<'a> {
    /// The event's id, also the `webhook-id`.
    pub id: &'a str,
    /// Who emitted it.
    pub source: &'a str,
    /// `noun.past_verb`.
    pub event_type: &'a str,
    /// What it is about.
    pub subject: Option<&'a str>,
    /// When the fact happened.
    pub time: Timestamp,
    /// Links everything that one inbound request or command caused.
    pub correlation_id: &'a str,
    /// `normal` or `emergency`.
    pub urgency: &'a str,
    /// Events with equal keys reach an ordered endpoint in the order of acceptance.
    pub ordering_key: Option<&'a str>,
    /// The event that caused this one.
    pub causation_id: Option<&'a str>,
    /// Further CloudEvents attributes: name (lower-case letters and digits) and value.
    pub extensions: &'a [(&'a str, &'a str)],
    /// The payload as JSON text, checked when the event was accepted.
    pub data: &'a str,
}

fn cloudevents(event: &EventParts<'_>) -> Bytes {
    let mut json = Object::with_room_for(event);
    json.text("specversion", "1.0");
    json.text("id", event.id);
    json.text("source", event.source);
    json.text("type", event.event_type);
    json.optional("subject", event.subject);
    json.text("time", &event.time.to_string());
    json.text("datacontenttype", "application/json");
    json.text("correlationid", event.correlation_id);
    json.text("urgency", event.urgency);
    json.optional("orderingkey", event.ordering_key);
    json.optional("causationid", event.causation_id);
    for (name, value) in event.extensions {
        json.text(name, value);
    }
    json.raw("data", event.data);
    json.finish()
}

fn standard(event: &EventParts<'_>) -> Bytes {
    let mut json = Object::with_room_for(event);
    json.text("type", event.event_type);
    json.text("timestamp", &event.time.to_string());
    json.raw("data", event.data);
    json.finish()
}

/// A JSON object written member by member.
struct Object(String);

impl Object {
    fn with_room_for(event: &EventParts<'_>) -> Self {
        Self(String::with_capacity(event.data.len() + 512))
    }

    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.quoted(name);
        self.0.push(':');
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.quoted(value);
    }

    fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    fn raw(&mut self, name: &str, json: &str) {
        self.name(name);
        self.0.push_str(json);
    }

    fn quoted(&mut self, text: &str) {
        // Names and most values need no escape; only text from outside may.
        if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
            self.0.push('"');
            self.0.push_str(text);
            self.0.push('"');
        } else {
            self.0.push_str(&serde_json::Value::from(text).to_string());
        }
    }

    fn finish(mut self) -> Bytes {
        self.0.push('}');
        Bytes::from(self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn parts<'a>() -> EventParts<'a> {
        EventParts {
            id: "evt_1",
            source: "/tenants/acme/plugins/billy",
            event_type: "invoice.paid",
            subject: Some("inv 7"),
            time: Timestamp(1_700_000_000_123),
            correlation_id: "req_9",
            urgency: "normal",
            ordering_key: None,
            causation_id: None,
            extensions: &[],
            data: r#"{"amount":{"amount":"125.00","currency":"DKK"},"n":1.10}"#,
        }
    }

    #[test]
    fn a_structured_cloudevent_has_all_attributes_and_the_data_as_sent() {
        let event = EventParts {
            ordering_key: Some("k"),
            causation_id: Some("evt_0"),
            extensions: &[("tenant", "acme")],
            ..parts()
        };
        let body = BodyFormat::CloudEvents.write(&event);
        let text = std::str::from_utf8(&body).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"specversion":"1.0","id":"evt_1","source":"/tenants/acme/plugins/billy","type":"invoice.paid","#,
                r#""subject":"inv 7","time":"2023-11-14T22:13:20.123Z","datacontenttype":"application/json","#,
                r#""correlationid":"req_9","urgency":"normal","orderingkey":"k","causationid":"evt_0","tenant":"acme","#,
                r#""data":{"amount":{"amount":"125.00","currency":"DKK"},"n":1.10}}"#
            )
        );
        assert_eq!(BodyFormat::CloudEvents.content_type(), "application/cloudevents+json");
    }

    #[test]
    fn the_standard_body_has_type_timestamp_and_data() {
        let body = BodyFormat::Standard.write(&parts());
        let text = std::str::from_utf8(&body).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"type":"invoice.paid","timestamp":"2023-11-14T22:13:20.123Z","#,
                r#""data":{"amount":{"amount":"125.00","currency":"DKK"},"n":1.10}}"#
            )
        );
    }

    #[test]
    fn absent_attributes_are_left_out() {
        let body = BodyFormat::CloudEvents.write(&EventParts { subject: None, ..parts() });
        let value: Value = serde_json::from_slice(&body).unwrap();
        for name in ["subject", "orderingkey", "causationid"] {
            assert!(value.get(name).is_none(), "{name}");
        }
    }

    #[test]
    fn formats_have_the_names_of_the_api() {
        for format in [BodyFormat::CloudEvents, BodyFormat::Standard] {
            assert_eq!(serde_json::to_value(format).unwrap(), json!(format.as_str()));
        }
    }

    proptest! {
        #[test]
        fn any_text_survives_in_the_attributes(
            subject in ".{0,40}", source in "\\PC{0,40}", key in proptest::option::of(".{0,20}"), data in any::<i64>(),
        ) {
            let data = data.to_string();
            let event = EventParts {
                subject: Some(&subject), source: &source, ordering_key: key.as_deref(), data: &data, ..parts()
            };
            let value: Value = serde_json::from_slice(&BodyFormat::CloudEvents.write(&event)).unwrap();
            prop_assert_eq!(value["subject"].as_str(), Some(subject.as_str()));
            prop_assert_eq!(value["source"].as_str(), Some(source.as_str()));
            prop_assert_eq!(value.get("orderingkey").and_then(Value::as_str), key.as_deref());
            prop_assert_eq!(value["data"].to_string(), data);
        }
    }
}
