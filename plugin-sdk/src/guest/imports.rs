use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::bindings::{crypto, http, kv, log, metrics, types};
use super::convert::millis;
use super::layout::each;
use crate::error::{CryptoError, HttpError, KvError, UnknownOutcome};
use crate::host::{
    Entry, Header, Host, HttpRequest, HttpResponse, Idempotency, KeyPage, KvOptions, Level, Mac, Method, Pair, Swap,
};
use crate::json;

/// The hub, reached through the contract's imports.
pub struct SandboxHost;

/// Keeps one line; the panic hook uses it too.
pub fn emit(level: Level, message: &str, fields: &[Pair]) {
    let field = |(name, value): &Pair| log::Field { name: (*name).to_owned(), value: (*value).to_owned() };
    let level = match level {
        Level::Trace => log::Level::Trace,
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    };
    log::emit(level, message, &fields.iter().map(field).collect::<Vec<_>>());
}

impl Host for SandboxHost {
    #[expect(clippy::disallowed_methods, reason = "the sandbox's clock is the run's own, recorded and repeated")]
    fn now(&self) -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis)
    }

    fn send(&self, request: &HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = http::Request {
            connection: request.connection.clone(),
            method: method_into(request.method.clone()),
            path: request.path.clone(),
            headers: each(request.headers.clone(), header_into),
            body: request.body.clone(),
            timeout: request.timeout.map(millis),
            read_only: request.read_only,
            idempotency: request.idempotency.clone().map(idempotency_into),
            extensions: None,
        };
        let answer = http::send(&request).map_err(http_error)?;
        let headers = each(answer.headers, |header| Header { name: header.name, value: header.value });
        Ok(HttpResponse { status: answer.status, headers, body: answer.body })
    }

    fn kv_get(&self, key: &str) -> Result<Option<Entry>, KvError> {
        kv::get(key).map(|entry| entry.map(entry_from)).map_err(kv_error)
    }

    fn kv_get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, KvError> {
        let entries = kv::get_many(keys).map_err(kv_error)?;
        Ok(each(entries, |entry| entry.map(entry_from)))
    }

    fn kv_set(&self, key: &str, value: &[u8], options: &KvOptions) -> Result<(), KvError> {
        kv::set(key, value, &options_into(options)).map_err(kv_error)
    }

    fn kv_delete(&self, key: &str) -> Result<(), KvError> {
        kv::delete(key).map_err(kv_error)
    }

    fn kv_swap(&self, key: &str, expected: Option<u64>, value: &[u8], options: &KvOptions) -> Result<Swap, KvError> {
        match kv::swap(key, expected, value, &options_into(options)).map_err(kv_error)? {
            kv::SwapResult::Swapped(version) => Ok(Swap::Swapped(version)),
            kv::SwapResult::Stale(there) => Ok(Swap::Stale(there.map(entry_from))),
        }
    }

    fn kv_list(&self, prefix: &str, cursor: Option<&str>, limit: u32) -> Result<KeyPage, KvError> {
        let page = kv::list_keys(prefix, cursor, limit).map_err(kv_error)?;
        Ok(KeyPage { keys: page.keys, cursor: page.cursor })
    }

    fn verify_mac(&self, secret: &str, algorithm: Mac, data: &[u8], tag: &[u8]) -> Result<bool, CryptoError> {
        let algorithm = match algorithm {
            Mac::HmacSha1 => crypto::Mac::HmacSha1,
            Mac::HmacSha256 => crypto::Mac::HmacSha256,
            Mac::HmacSha512 => crypto::Mac::HmacSha512,
        };
        crypto::verify_mac(secret, algorithm, data, tag).map_err(crypto_error)
    }

    fn verify_token(&self, secret: &str, token: &str) -> Result<bool, CryptoError> {
        crypto::verify_token(secret, token).map_err(crypto_error)
    }

    fn verify_jwt(&self, secret: &str, token: &str, audience: &str) -> Result<Value, CryptoError> {
        let claims = crypto::verify_jwt(secret, token, audience).map_err(crypto_error)?;
        json::parse(claims.as_bytes()).map_err(|_| CryptoError::Other("the claims are not JSON".to_owned()))
    }

    fn log(&self, level: Level, message: &str, fields: &[Pair]) {
        emit(level, message, fields);
    }

    fn counter_add(&self, name: &str, value: u64, labels: &[Pair]) {
        metrics::counter_add(name, value, &labels_into(labels));
    }

    fn histogram_record(&self, name: &str, value: f64, labels: &[Pair]) {
        metrics::histogram_record(name, value, &labels_into(labels));
    }
}

fn header_into(header: Header) -> types::Header {
    types::Header { name: header.name, value: header.value }
}

fn method_into(method: Method) -> types::Method {
    match method {
        Method::Get => types::Method::Get,
        Method::Head => types::Method::Head,
        Method::Post => types::Method::Post,
        Method::Put => types::Method::Put,
        Method::Patch => types::Method::Patch,
        Method::Delete => types::Method::Delete,
        Method::Other(token) => types::Method::Other(token),
    }
}

fn idempotency_into(idempotency: Idempotency) -> types::Idempotency {
    match idempotency {
        Idempotency::None => types::Idempotency::None,
        Idempotency::Header(name) => types::Idempotency::Header(name),
        Idempotency::Query(name) => types::Idempotency::Query(name),
        Idempotency::OwnId => types::Idempotency::OwnId,
        Idempotency::Other(name) => types::Idempotency::Other(name),
    }
}

fn labels_into(labels: &[Pair]) -> Vec<metrics::Label> {
    let label = |(name, value): &Pair| metrics::Label { name: (*name).to_owned(), value: (*value).to_owned() };
    labels.iter().map(label).collect()
}

fn entry_from(entry: kv::Entry) -> Entry {
    Entry { value: entry.value, version: entry.version }
}

fn options_into(options: &KvOptions) -> kv::Options {
    kv::Options { ttl: options.ttl.map(millis), person: options.person.clone() }
}

fn http_error(error: http::Error) -> HttpError {
    match error {
        http::Error::Denied(why) => HttpError::Denied(why),
        http::Error::NeedsLogin(why) => HttpError::NeedsLogin(why),
        http::Error::RateLimited(wait) => HttpError::RateLimited(Duration::from_millis(wait)),
        http::Error::Unreachable(wait) => HttpError::Unreachable(wait.map(Duration::from_millis)),
        http::Error::Timeout => HttpError::Timeout,
        http::Error::RequestTooLarge(limit) => HttpError::RequestTooLarge(limit),
        http::Error::ResponseTooLarge(over) => HttpError::ResponseTooLarge { status: over.status, limit: over.limit },
        http::Error::UnknownOutcome(unknown) => {
            HttpError::Unknown(UnknownOutcome { sent_at: unknown.sent_at, message: unknown.message })
        }
        http::Error::BudgetExhausted => HttpError::BudgetExhausted,
        http::Error::Other(why) => HttpError::Other(why),
    }
}

fn kv_error(error: kv::Error) -> KvError {
    match error {
        kv::Error::InvalidKey => KvError::InvalidKey,
        kv::Error::TooLarge(limit) => KvError::TooLarge(limit),
        kv::Error::QuotaExceeded => KvError::QuotaExceeded,
        kv::Error::ReadOnly => KvError::ReadOnly,
        kv::Error::BudgetExhausted => KvError::BudgetExhausted,
        kv::Error::Other(why) => KvError::Other(why),
    }
}

fn crypto_error(error: crypto::Error) -> CryptoError {
    match error {
        crypto::Error::NoSuchSecret => CryptoError::NoSuchSecret,
        crypto::Error::WrongKind => CryptoError::WrongKind,
        crypto::Error::Invalid(why) => CryptoError::Invalid(why),
        crypto::Error::Unavailable => CryptoError::Unavailable,
        crypto::Error::BudgetExhausted => CryptoError::BudgetExhausted,
        crypto::Error::Other(why) => CryptoError::Other(why),
    }
}
