use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{HttpError, PluginError, Reason};
use crate::host::{Header, Host, HttpRequest, Idempotency, Method};
use crate::json;
use crate::read::from_slice;

/// The provider behind one connection.
#[derive(Clone, Copy)]
pub struct Http<'a> {
    host: &'a dyn Host,
    connection: &'a str,
}

impl<'a> Http<'a> {
    pub(crate) fn new(host: &'a dyn Host, connection: &'a str) -> Self {
        Self { host, connection }
    }

    /// A GET of this path, percent-encoded and beginning with `/`.
    pub fn get(&self, path: impl Into<String>) -> RequestBuilder<'a> {
        self.request(Method::Get, path)
    }

    /// A POST to this path.
    pub fn post(&self, path: impl Into<String>) -> RequestBuilder<'a> {
        self.request(Method::Post, path)
    }

    /// A PUT to this path.
    pub fn put(&self, path: impl Into<String>) -> RequestBuilder<'a> {
        self.request(Method::Put, path)
    }

    /// A DELETE of this path.
    pub fn delete(&self, path: impl Into<String>) -> RequestBuilder<'a> {
        self.request(Method::Delete, path)
    }

    /// A request with any method.
    pub fn request(&self, method: Method, path: impl Into<String>) -> RequestBuilder<'a> {
        let request = HttpRequest {
            connection: self.connection.to_owned(),
            method,
            path: path.into(),
            headers: Vec::new(),
            body: None,
            timeout: None,
            read_only: false,
            idempotency: None,
        };
        RequestBuilder { host: self.host, request }
    }
}

/// One request in the making.
#[must_use = "nothing is sent before `send`"]
#[derive(Clone)]
pub struct RequestBuilder<'a> {
    host: &'a dyn Host,
    request: HttpRequest,
}

impl RequestBuilder<'_> {
    /// Adds a query parameter, percent-encoded.
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.request.path.push(if self.request.path.contains('?') { '&' } else { '?' });
        percent_encode(name, &mut self.request.path);
        self.request.path.push('=');
        percent_encode(value, &mut self.request.path);
        self
    }

    /// Adds a field.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request.headers.push(Header { name: name.to_ascii_lowercase(), value: value.as_bytes().to_vec() });
        self
    }

    /// Sets a JSON body. What cannot be written as JSON becomes `null`, which no provider accepts by mistake.
    pub fn json(self, body: &impl Serialize) -> Self {
        self.body("application/json", json::write(&json::value(body)))
    }

    /// Sets a form body (`application/x-www-form-urlencoded`).
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let mut text = String::new();
        for (name, value) in fields {
            if !text.is_empty() {
                text.push('&');
            }
            percent_encode(name, &mut text);
            text.push('=');
            percent_encode(value, &mut text);
        }
        self.body("application/x-www-form-urlencoded", text)
    }

    /// Sets a body of this media type.
    pub fn body(mut self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.request.body = Some(body.into());
        self.header("content-type", media_type)
    }

    /// Limits the whole exchange.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = Some(timeout);
        self
    }

    /// Says that this POST only asks, so that it is handled as a GET is.
    pub fn read_only(mut self) -> Self {
        self.request.read_only = true;
        self
    }

    /// Says how the provider recognises this write if it receives it twice.
    pub fn idempotency(mut self, idempotency: Idempotency) -> Self {
        self.request.idempotency = Some(idempotency);
        self
    }

    /// Sends it and waits for the whole answer, whatever its status. `?` turns a failure into its disposition.
    pub fn send(&self) -> Result<Response, HttpError> {
        let answer = self.host.send(&self.request)?;
        let connection = self.request.connection.clone();
        Ok(Response { connection, status: answer.status, headers: answer.headers, body: answer.body })
    }
}

/// A provider's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The connection it came from.
    pub connection: String,
    /// The status code.
    pub status: u16,
    /// Fields in order.
    pub headers: Vec<Header>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Response {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Itself if the status is 2xx, else the disposition of that status (see [`PluginError::from_status`]).
    pub fn ok(self) -> Result<Self, PluginError> {
        if self.is_success() { Ok(self) } else { Err(PluginError::from_status(&self.connection, self.status)) }
    }

    /// The body as JSON. What does not parse is tried again later: providers answer pages of HTML while they are down.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, PluginError> {
        from_slice(&self.body).map_err(|_| {
            let message = format!("The answer of `{}` is not the JSON that was expected.", self.connection);
            PluginError::retry(Reason::ProviderDown, "malformed_answer", message)
        })
    }

    /// The body as any JSON; null where it does not parse.
    pub fn value(&self) -> Value {
        json::parse(&self.body).unwrap_or(Value::Null)
    }

    /// The value of the first field of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(&header.value).ok()
    }
}

/// Appends `text` with everything but unreserved characters (RFC 3986) percent-encoded.
pub fn percent_encode(text: &str, into: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push('%');
            into.push(char::from(HEX[usize::from(byte >> 4)]));
            into.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}
