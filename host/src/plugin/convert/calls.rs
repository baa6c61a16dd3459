//! Host calls and their answers.

use super::{cut, header, idempotency, method, optional_json, raw_header};
use crate::plugin::{
    bindings::imports::{crypto, http, kv, log, metrics},
    call::CallEnd,
    model::{
        CryptoError, HttpError, HttpRequest, HttpResponse, KvEntry, KvError, KvOptions, KvPage, LogField, LogLevel,
        LogLine, Mac, MetricLabel, MetricSample, MetricValue, SwapResult,
    },
};

const LINE_BYTES: usize = 4 << 10;
const FIELD_NAME_BYTES: usize = 128;
const FIELD_BYTES: usize = 1 << 10;
const LABEL_BYTES: usize = 64;

pub(in crate::plugin) fn http_request(raw: http::Request) -> Result<HttpRequest, CallEnd> {
    Ok(HttpRequest {
        connection: raw.connection,
        method: method(raw.method),
        path: raw.path,
        headers: raw.headers.into_iter().map(header).collect(),
        body: raw.body,
        timeout_ms: raw.timeout,
        read_only: raw.read_only,
        idempotency: raw.idempotency.map(idempotency),
        extensions: optional_json("request.extensions", raw.extensions)?,
    })
}

pub(in crate::plugin) fn http_response(response: HttpResponse) -> http::Response {
    http::Response {
        status: response.status,
        headers: response.headers.into_iter().map(raw_header).collect(),
        body: response.body,
        extensions: None,
    }
}

pub(in crate::plugin) fn http_error(error: HttpError) -> http::Error {
    match error {
        HttpError::Denied(text) => http::Error::Denied(text),
        HttpError::NeedsLogin(text) => http::Error::NeedsLogin(text),
        HttpError::RateLimited(wait) => http::Error::RateLimited(wait),
        HttpError::Unreachable(wait) => http::Error::Unreachable(wait),
        HttpError::Timeout => http::Error::Timeout,
        HttpError::RequestTooLarge(limit) => http::Error::RequestTooLarge(limit),
        HttpError::ResponseTooLarge { status, limit } => {
            http::Error::ResponseTooLarge(http::Oversized { status, limit })
        }
        HttpError::UnknownOutcome { sent_at_ms, message } => {
            http::Error::UnknownOutcome(http::Unknown { sent_at: sent_at_ms, message })
        }
        HttpError::BudgetExhausted => http::Error::BudgetExhausted,
        HttpError::Other(text) => http::Error::Other(text),
    }
}

pub(in crate::plugin) fn kv_options(raw: kv::Options) -> KvOptions {
    KvOptions { ttl_ms: raw.ttl, person: raw.person }
}

pub(in crate::plugin) fn kv_entry(entry: KvEntry) -> kv::Entry {
    kv::Entry { value: entry.value, version: entry.version }
}

pub(in crate::plugin) fn kv_page(page: KvPage) -> kv::Page {
    kv::Page { keys: page.keys, cursor: page.cursor }
}

pub(in crate::plugin) fn swap_result(result: SwapResult) -> kv::SwapResult {
    match result {
        SwapResult::Swapped(version) => kv::SwapResult::Swapped(version),
        SwapResult::Stale(entry) => kv::SwapResult::Stale(entry.map(kv_entry)),
    }
}

pub(in crate::plugin) fn kv_error(error: KvError) -> kv::Error {
    match error {
        KvError::InvalidKey => kv::Error::InvalidKey,
        KvError::TooLarge(limit) => kv::Error::TooLarge(limit),
        KvError::QuotaExceeded => kv::Error::QuotaExceeded,
        KvError::ReadOnly => kv::Error::ReadOnly,
        KvError::BudgetExhausted => kv::Error::BudgetExhausted,
        KvError::Other(text) => kv::Error::Other(text),
    }
}

pub(in crate::plugin) const fn mac(raw: crypto::Mac) -> Mac {
    match raw {
        crypto::Mac::HmacSha1 => Mac::HmacSha1,
        crypto::Mac::HmacSha256 => Mac::HmacSha256,
        crypto::Mac::HmacSha512 => Mac::HmacSha512,
    }
}

pub(in crate::plugin) fn crypto_error(error: CryptoError) -> crypto::Error {
    match error {
        CryptoError::NoSuchSecret => crypto::Error::NoSuchSecret,
        CryptoError::WrongKind => crypto::Error::WrongKind,
        CryptoError::Invalid(text) => crypto::Error::Invalid(text),
        CryptoError::Unavailable => crypto::Error::Unavailable,
        CryptoError::BudgetExhausted => crypto::Error::BudgetExhausted,
        CryptoError::Other(text) => crypto::Error::Other(text),
    }
}

pub(in crate::plugin) fn log_line(raw: log::Level, message: String, fields: Vec<log::Field>) -> LogLine {
    let level = match raw {
        log::Level::Trace => LogLevel::Trace,
        log::Level::Debug => LogLevel::Debug,
        log::Level::Info => LogLevel::Info,
        log::Level::Warn => LogLevel::Warn,
        log::Level::Error => LogLevel::Error,
    };
    let field =
        |raw: log::Field| LogField { name: cut(raw.name, FIELD_NAME_BYTES), value: cut(raw.value, FIELD_BYTES) };
    LogLine { level, message: cut(message, LINE_BYTES), fields: fields.into_iter().map(field).collect() }
}

pub(in crate::plugin) fn metric_sample(name: String, value: MetricValue, labels: Vec<metrics::Label>) -> MetricSample {
    let label = |raw: metrics::Label| MetricLabel { name: raw.name, value: cut(raw.value, LABEL_BYTES) };
    MetricSample { name, value, labels: labels.into_iter().map(label).collect() }
}
