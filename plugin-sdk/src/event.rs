use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::{PluginError, Reason};
use crate::host::Header;
use crate::read::read;

/// A stored event or command, immutable.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Unique in the tenant; a replay keeps it.
    pub id: String,
    /// `noun.past_verb` for a fact, `noun.verb` for a command; a leading underscore marks a private event.
    pub event_type: String,
    /// Who emitted it.
    pub source: String,
    /// What it is about.
    pub subject: Option<String>,
    /// When the fact happened, or the command was given, in milliseconds since 1970.
    pub time: u64,
    /// Events with equal keys arrive in the order of acceptance.
    pub ordering_key: Option<String>,
    /// The payload; it conforms to the catalogue's schema of the type.
    pub data: Value,
    /// Data added inside this line of the contract, and unknown CloudEvents attributes.
    pub extensions: Option<Value>,
}

impl Event {
    /// An event as a test gives it to a handler; id, source and time are fixed.
    pub fn new(event_type: &str, data: Value) -> Self {
        Self {
            id: "evt_0".to_owned(),
            event_type: event_type.to_owned(),
            source: "test".to_owned(),
            subject: None,
            time: 0,
            ordering_key: None,
            data,
            extensions: None,
        }
    }

    /// The payload as a type of the plugin. What does not fit is rejected as `bad_data`, naming the field.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, PluginError> {
        read(&self.data).map_err(|misfit| self.misfit(&misfit.path()))
    }

    /// One field of the payload, by name; absent and null are the same.
    pub fn field<T: DeserializeOwned>(&self, name: &str) -> Result<T, PluginError> {
        let value = self.data.get(name).unwrap_or(&Value::Null);
        read(value).map_err(|_| self.misfit(name))
    }

    /// The text of the parser is left out: it may quote the payload.
    fn misfit(&self, field: &str) -> PluginError {
        let message = format!("The data of `{}` does not fit at `{field}`.", self.event_type);
        PluginError::reject(Reason::BadData, "bad_event_data", message).with_details(json!({ "field": field }))
    }
}

/// One HTTP request to a source, as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct InboundRequest {
    /// The source it came to.
    pub source_id: String,
    /// Upper-case method.
    pub method: String,
    /// The public URL: configured origin, then the exact path and query that were received.
    pub url: String,
    /// All fields in order.
    pub headers: Vec<Header>,
    /// The exact bytes.
    pub body: Vec<u8>,
    /// When the last byte arrived, in milliseconds since 1970; signature windows are judged by it.
    pub received_at: u64,
    /// Address of the peer, after trusted proxies.
    pub remote_addr: Option<String>,
    /// Data added inside this line of the contract.
    pub extensions: Option<Value>,
}

impl InboundRequest {
    /// A request as a test gives it to `receive`.
    pub fn new(method: &str, url: &str) -> Self {
        Self {
            source_id: "src_0".to_owned(),
            method: method.to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            received_at: 0,
            remote_addr: None,
            extensions: None,
        }
    }

    /// The same request with one more field.
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push(Header { name: name.to_ascii_lowercase(), value: value.as_bytes().to_vec() });
        self
    }

    /// The same request with this body.
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The same request, arrived at this time.
    pub fn at(mut self, received_at: u64) -> Self {
        self.received_at = received_at;
        self
    }

    /// The value of the only field of this name. None if it is absent, repeated or not UTF-8: a repeated signature or
    /// time stamp is ambiguous, and nothing ambiguous is believed.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (Some(header), None) => std::str::from_utf8(&header.value).ok(),
            _ => None,
        }
    }

    /// Whether there is at least one field of this name.
    pub fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name))
    }

    /// The media type without parameters, in lower case; empty if there is none.
    pub fn media_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The query as it was received, without the question mark; empty if there is none.
    pub fn query(&self) -> &str {
        let url = self.url.split('#').next().unwrap_or_default();
        url.split_once('?').map_or("", |(_, query)| query)
    }
}
