//! Between generated bindings and the contract as plain data. What comes from a guest is checked and cut to the
//! contract's sizes on the way.

mod calls;
mod input;
mod manifest;
mod output;

pub(super) use calls::{
    crypto_error, http_error, http_request, http_response, kv_entry, kv_error, kv_options, kv_page, log_line, mac,
    metric_sample, swap_result,
};
pub(super) use input::{context, event, inbound_request};
pub(super) use manifest::manifest;
pub(super) use output::{output, plugin_error, poll_output, received};

use super::{bindings::imports::types, call::CallEnd, model};
use crate::event::{
    json_limits::check_json_limits,
    text::{NOT_STORABLE, is_storable, make_storable},
};

fn malformed(field: impl Into<String>, problem: impl Into<String>) -> CallEnd {
    CallEnd::Malformed { field: field.into(), problem: problem.into() }
}

/// Passes text on if it is one JSON value.
fn json(field: &str, text: String) -> Result<String, CallEnd> {
    match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(malformed(field, format!("not JSON: {error}"))),
    }
}

/// Passes a payload on if it is one JSON value of the shape that is accepted from anybody.
fn payload(field: &str, text: String) -> Result<String, CallEnd> {
    check_json_limits(text.as_bytes()).map_err(|limit| malformed(field, limit.to_string()))?;
    json(field, text)
}

fn optional_json(field: &str, text: Option<String>) -> Result<Option<String>, CallEnd> {
    text.map(|text| json(field, text)).transpose()
}

/// Refuses a text that not every database stores.
fn storable(field: &str, text: Option<&str>) -> Result<(), CallEnd> {
    match text {
        Some(text) if !is_storable(text) => Err(malformed(field, NOT_STORABLE)),
        _ => Ok(()),
    }
}

/// At most `bytes` of `text`, whole characters, as every database stores them.
fn cut(mut text: String, bytes: usize) -> String {
    make_storable(&mut text);
    text.truncate(text.floor_char_boundary(bytes));
    text
}

fn method(raw: types::Method) -> model::Method {
    use model::Method;
    match raw {
        types::Method::Get => Method::Get,
        types::Method::Head => Method::Head,
        types::Method::Post => Method::Post,
        types::Method::Put => Method::Put,
        types::Method::Patch => Method::Patch,
        types::Method::Delete => Method::Delete,
        types::Method::Other(token) => known_method(token),
    }
}

/// A method that has its own case is that case, however the guest spelt it, so that a grant decides it once.
fn known_method(token: String) -> model::Method {
    use model::Method;
    match token.as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        _ => Method::Other(token),
    }
}

fn idempotency(raw: types::Idempotency) -> model::Idempotency {
    use model::Idempotency;
    match raw {
        types::Idempotency::None => Idempotency::None,
        types::Idempotency::Header(name) => Idempotency::Header(name),
        types::Idempotency::Query(name) => Idempotency::Query(name),
        types::Idempotency::OwnId => Idempotency::OwnId,
        types::Idempotency::Other(name) => Idempotency::Other(name),
    }
}

fn header(raw: types::Header) -> model::Header {
    model::Header { name: raw.name, value: raw.value }
}

fn raw_header(header: model::Header) -> types::Header {
    types::Header { name: header.name, value: header.value }
}
