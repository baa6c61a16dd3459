//! What a plugin's imports reach in a trial: recorded answers, a store in memory, secrets of the case.

use std::{any::Any, collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::case::{Failing, RecordedAnswer, body_bytes};
use crate::{
    clock::Timestamp,
    connection::{
        call::{self, Sending},
        guard,
        jwt::{Expected, LEEWAY, Token},
        key_set::KeySet,
        verify,
    },
    outbound::client::{Answer as Answered, MaybeSent, NotSent, SendError},
    plugin::{
        grant::Grants,
        host_calls::{Answer, HostCalls},
        limits::Limits,
        model::{
            CryptoError, Header, HttpError, HttpRequest, HttpResponse, KvEntry, KvError, KvOptions, KvPage, LogLine,
            Mac, Manifest, MetricSample, SwapResult,
        },
    },
    run::{
        provider::{http_error, known},
        secrets,
    },
};

/// The host of one trial.
pub(super) struct TrialHost {
    pub(super) manifest: Arc<Manifest>,
    pub(super) grants: Grants,
    pub(super) answers: Vec<RecordedAnswer>,
    pub(super) kv: BTreeMap<String, KvEntry>,
    pub(super) secrets: BTreeMap<String, SecretString>,
    /// Published key sets by slot.
    pub(super) key_sets: BTreeMap<String, Value>,
    pub(super) now: Timestamp,
    /// Inside `receive`: no providers, and kv is only read.
    pub(super) receiving: bool,
    pub(super) calls: Vec<Value>,
    pub(super) written: BTreeMap<String, Option<Vec<u8>>>,
    pub(super) lines: Vec<LogLine>,
    pub(super) samples: Vec<MetricSample>,
}

impl TrialHost {
    fn send(&mut self, request: &HttpRequest) -> Result<HttpResponse, HttpError> {
        let denied = |text: String| HttpError::Denied(text);
        if self.receiving {
            return Err(denied("`receive` may not call providers; ask for a poll with `poll-now`".to_owned()));
        }
        let slot = &request.connection;
        let spec = self.manifest.connections.iter().find(|spec| spec.name == *slot);
        let spec =
            spec.ok_or_else(|| denied(format!("the manifest has no connection `{slot}`: add it to `connections`")))?;
        self.grants.may_call(slot, &request.method).map_err(|error| denied(error.to_string()))?;
        guard::check_path(&request.path).map_err(|error| denied(error.to_string()))?;
        let fields = request.headers.iter().map(|header| (header.name.as_str(), header.value.as_slice()));
        guard::check_headers(fields, None).map_err(|error| denied(error.to_string()))?;
        let method = http::Method::from_bytes(request.method.as_str().as_bytes());
        let convention = request.idempotency.as_ref().unwrap_or(&spec.idempotency);
        let sending = Sending {
            method: method.map_err(|error| denied(error.to_string()))?,
            read_only: request.read_only,
            idempotency: known(convention),
            is_repeat: false,
            first_sent_at: self.now,
            response_cap: Limits::resolve(&self.manifest.limits).response_bytes,
        };
        let answer = self.take_answer(request)?;
        call::judge(&sending, answered(&answer, sending.response_cap), self.now).seen.map_err(http_error).map(|seen| {
            let field = |(name, value): (HeaderName, Vec<u8>)| Header { name: name.to_string(), value };
            let headers = seen.headers.into_iter().map(field).collect();
            HttpResponse { status: seen.status, headers, body: seen.body.to_vec() }
        })
    }

    /// The first recorded answer that fits, which is used up by it.
    fn take_answer(&mut self, request: &HttpRequest) -> Result<RecordedAnswer, HttpError> {
        let route = request.path.split('?').next().unwrap_or_default();
        let fits = |answer: &RecordedAnswer| {
            answer.connection == request.connection
                && answer.method == request.method
                && (answer.path == request.path || answer.path == route)
        };
        let found = self.answers.iter().position(fits).ok_or_else(|| {
            let call = format!("{} {} {}", request.method, request.connection, request.path);
            HttpError::Other(format!("no recorded answer to `{call}`: add one to the case's `http`"))
        })?;
        Ok(self.answers.remove(found))
    }

    /// As `crypto.verify-jwt` of a hub, where the case's key sets are what the issuers publish.
    fn claims(&self, secret: &str, token: &str, audience: &str) -> Result<String, CryptoError> {
        let (issuers, _) = secrets::issuer_in(&self.manifest, secret)?;
        let expected = Expected { issuers, audience: secrets::named(audience)?, at: self.now, leeway: LEEWAY };
        let slot = secret.split_once('.').map_or(secret, |(slot, _)| slot);
        let published = self.key_sets.get(slot).ok_or(CryptoError::Unavailable)?;
        let keys = KeySet::parse(published.to_string().as_bytes()).map_err(|_| CryptoError::Unavailable)?;
        let claims = Token::read(token).and_then(|token| token.claims(&keys, &expected));
        claims.map_err(|why| CryptoError::Invalid(why.to_string()))
    }

    fn note(&mut self, request: &HttpRequest, answer: &Result<HttpResponse, HttpError>) {
        let call = format!("{} {} {}", request.method, request.connection, request.path);
        let body = request.body.as_deref().map(String::from_utf8_lossy);
        self.calls.push(match answer {
            Ok(response) => json!({"call": call, "body": body, "status": response.status}),
            Err(error) => json!({"call": call, "body": body, "error": error}),
        });
    }

    fn write(&mut self, key: String, value: Option<Vec<u8>>) -> Result<u64, KvError> {
        if self.receiving {
            return Err(KvError::ReadOnly);
        }
        self.written.insert(key.clone(), value.clone());
        let version = self.kv.get(&key).map_or(0, |entry| entry.version) + 1;
        match value {
            Some(value) => self.kv.insert(key, KvEntry { value, version }),
            None => self.kv.remove(&key),
        };
        Ok(version)
    }
}

fn answered(answer: &RecordedAnswer, cap: u64) -> Result<Answered, SendError> {
    match answer.fails {
        Some(Failing::Unreachable) => return Err(SendError::NotSent(NotSent::Refused)),
        Some(Failing::Timeout) => return Err(SendError::MaybeSent(MaybeSent::Timeout)),
        None => {}
    }
    let field = |(name, value): (&String, &String)| {
        Some((HeaderName::try_from(name.as_str()).ok()?, HeaderValue::try_from(value.as_str()).ok()?))
    };
    let headers: HeaderMap = answer.headers.iter().filter_map(field).collect();
    let body = Bytes::from(body_bytes(&answer.body));
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    Ok(Answered { status, headers, truncated: body.len() as u64 > cap, body })
}

#[async_trait]
impl HostCalls for TrialHost {
    async fn http_send(&mut self, request: HttpRequest) -> Answer<HttpResponse, HttpError> {
        let answer = self.send(&request);
        self.note(&request, &answer);
        Ok(answer)
    }

    async fn kv_get(&mut self, key: String) -> Answer<Option<KvEntry>, KvError> {
        Ok(Ok(self.kv.get(&key).cloned()))
    }

    async fn kv_get_many(&mut self, keys: Vec<String>) -> Answer<Vec<Option<KvEntry>>, KvError> {
        Ok(Ok(keys.iter().map(|key| self.kv.get(key).cloned()).collect()))
    }

    async fn kv_set(&mut self, key: String, value: Vec<u8>, _: KvOptions) -> Answer<(), KvError> {
        Ok(self.write(key, Some(value)).map(|_| ()))
    }

    async fn kv_delete(&mut self, key: String) -> Answer<(), KvError> {
        Ok(self.write(key, None).map(|_| ()))
    }

    async fn kv_swap(
        &mut self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        _: KvOptions,
    ) -> Answer<SwapResult, KvError> {
        let there = self.kv.get(&key).cloned();
        Ok(if there.as_ref().map(|entry| entry.version) == expected {
            self.write(key, Some(value)).map(SwapResult::Swapped)
        } else {
            Ok(SwapResult::Stale(there))
        })
    }

    async fn kv_list_keys(&mut self, prefix: String, cursor: Option<String>, limit: u32) -> Answer<KvPage, KvError> {
        let after = cursor.unwrap_or_default();
        let all = self.kv.keys().filter(|key| key.starts_with(&prefix) && (after.is_empty() || **key > after));
        let mut keys: Vec<String> = all.take(limit as usize + 1).cloned().collect();
        let more = keys.len() > limit as usize;
        keys.truncate(limit as usize);
        let cursor = if more { keys.last().cloned() } else { None };
        Ok(Ok(KvPage { keys, cursor }))
    }

    async fn verify_mac(
        &mut self,
        secret: String,
        algorithm: Mac,
        data: Vec<u8>,
        tag: Vec<u8>,
    ) -> Answer<bool, CryptoError> {
        let encoding = match secrets::encoding_in(&self.manifest, &secret) {
            Ok(encoding) => encoding,
            Err(error) => return Ok(Err(error)),
        };
        let key = self.secrets.get(&secret).and_then(|text| verify::decode_key(encoding, text));
        Ok(key.map_or(Err(CryptoError::NoSuchSecret), |key| {
            Ok(verify::verify_mac(secrets::algorithm(algorithm), &[key], &data, &tag))
        }))
    }

    async fn verify_token(&mut self, secret: String, token: String) -> Answer<bool, CryptoError> {
        if let Err(error) = secrets::encoding_in(&self.manifest, &secret) {
            return Ok(Err(error));
        }
        let known = self.secrets.get(&secret).cloned();
        Ok(known.map_or(Err(CryptoError::NoSuchSecret), |known| Ok(verify::verify_token(&[known], &token))))
    }

    async fn verify_jwt(&mut self, secret: String, token: String, audience: String) -> Answer<String, CryptoError> {
        Ok(self.claims(&secret, &token, &audience))
    }

    fn log(&mut self, line: LogLine) {
        self.lines.push(line);
    }

    fn metric(&mut self, sample: MetricSample) {
        self.samples.push(sample);
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
