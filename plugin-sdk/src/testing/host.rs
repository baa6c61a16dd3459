use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit};
use serde_json::Value;
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::{LogLine, MockHost};
use crate::error::{CryptoError, HttpError, KvError};
use crate::host::{Entry, Host, HttpRequest, HttpResponse, KeyPage, KvOptions, Level, Mac, Method, Pair, Swap};

/// The contract's limits of a key and a value.
const KEY_BYTES: usize = 512;
const VALUE_BYTES: usize = 256 * 1024;

/// Key-value data: what is durable, and what a run has changed since. Versions never repeat, so that a swap against a
/// removed and re-made key is stale.
#[derive(Default)]
pub(super) struct Store {
    durable: BTreeMap<String, Entry>,
    staged: BTreeMap<String, Option<Entry>>,
    version: u64,
}

impl Store {
    pub(super) fn commit(&mut self) {
        for (key, entry) in std::mem::take(&mut self.staged) {
            match entry {
                Some(entry) => self.durable.insert(key, entry),
                None => self.durable.remove(&key),
            };
        }
    }

    pub(super) fn roll_back(&mut self) {
        self.staged.clear();
    }

    pub(super) fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.durable.get(key).map(|entry| entry.value.clone())
    }

    fn get(&self, key: &str) -> Option<Entry> {
        self.staged.get(key).cloned().unwrap_or_else(|| self.durable.get(key).cloned())
    }

    fn set(&mut self, key: &str, value: &[u8]) -> u64 {
        self.version += 1;
        self.staged.insert(key.to_owned(), Some(Entry { value: value.to_vec(), version: self.version }));
        self.version
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        let all = self.durable.keys().chain(self.staged.keys()).filter(|key| key.starts_with(prefix));
        let mut keys: Vec<String> = all.filter(|key| self.get(key).is_some()).cloned().collect();
        keys.sort();
        keys.dedup();
        keys
    }
}

impl MockHost {
    fn writable(&self, key: &str, value: &[u8]) -> Result<(), KvError> {
        valid_key(key)?;
        if self.receiving.get() {
            return Err(KvError::ReadOnly);
        }
        if value.len() > VALUE_BYTES { Err(KvError::TooLarge(VALUE_BYTES as u64)) } else { Ok(()) }
    }

    fn scripted(&self, request: &HttpRequest) -> Option<Result<HttpResponse, HttpError>> {
        let bare = request.path.split('?').next().unwrap_or_default();
        let mut answers = self.answers.borrow_mut();
        for path in [request.path.as_str(), bare] {
            let key = format!("{} {} {path}", request.connection, request.method.as_str());
            if let Some(answer) = answers.get_mut(&key).and_then(|queue| queue.pop_front()) {
                return Some(answer.0);
            }
        }
        None
    }
}

fn valid_key(key: &str) -> Result<(), KvError> {
    if (1..=KEY_BYTES).contains(&key.len()) { Ok(()) } else { Err(KvError::InvalidKey) }
}

impl Host for MockHost {
    fn now(&self) -> u64 {
        self.now.get()
    }

    fn send(&self, request: &HttpRequest) -> Result<HttpResponse, HttpError> {
        if self.receiving.get() {
            return Err(HttpError::Denied("receive may not call providers".to_owned()));
        }
        if !request.read_only && !matches!(request.method, Method::Get | Method::Head) {
            self.kv.borrow_mut().commit();
        }
        self.requests.borrow_mut().push(request.clone());
        if let Some(answer) = self.scripted(request) {
            return answer;
        }
        match self.providers.borrow().get(&request.connection) {
            Some(provider) => provider(request),
            None => Err(HttpError::Other(format!(
                "no answer is scripted for {} {} {}",
                request.connection,
                request.method.as_str(),
                request.path
            ))),
        }
    }

    fn kv_get(&self, key: &str) -> Result<Option<Entry>, KvError> {
        valid_key(key)?;
        Ok(self.kv.borrow().get(key))
    }

    fn kv_get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, KvError> {
        if keys.len() > 100 {
            return Err(KvError::Other("more than 100 keys".to_owned()));
        }
        keys.iter().map(|key| self.kv_get(key)).collect()
    }

    fn kv_set(&self, key: &str, value: &[u8], _options: &KvOptions) -> Result<(), KvError> {
        self.writable(key, value)?;
        self.kv.borrow_mut().set(key, value);
        Ok(())
    }

    fn kv_delete(&self, key: &str) -> Result<(), KvError> {
        self.writable(key, &[])?;
        self.kv.borrow_mut().staged.insert(key.to_owned(), None);
        Ok(())
    }

    fn kv_swap(&self, key: &str, expected: Option<u64>, value: &[u8], _options: &KvOptions) -> Result<Swap, KvError> {
        self.writable(key, value)?;
        let mut store = self.kv.borrow_mut();
        let there = store.get(key);
        if there.as_ref().map(|entry| entry.version) == expected {
            Ok(Swap::Swapped(store.set(key, value)))
        } else {
            Ok(Swap::Stale(there))
        }
    }

    fn kv_list(&self, prefix: &str, cursor: Option<&str>, limit: u32) -> Result<KeyPage, KvError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).clamp(1, 1_000);
        let mut keys = self.kv.borrow().keys(prefix);
        keys.retain(|key| cursor.is_none_or(|cursor| key.as_str() > cursor));
        let more = keys.len() > limit;
        keys.truncate(limit);
        let cursor = if more { keys.last().cloned() } else { None };
        Ok(KeyPage { keys, cursor })
    }

    fn verify_mac(&self, secret: &str, algorithm: Mac, data: &[u8], tag: &[u8]) -> Result<bool, CryptoError> {
        let secrets = self.secrets.borrow();
        let keys = secrets.get(secret).ok_or(CryptoError::NoSuchSecret)?;
        Ok(keys.iter().any(|key| match algorithm {
            Mac::HmacSha1 => mac_matches::<Hmac<Sha1>>(key, data, tag),
            Mac::HmacSha256 => mac_matches::<Hmac<Sha256>>(key, data, tag),
            Mac::HmacSha512 => mac_matches::<Hmac<Sha512>>(key, data, tag),
        }))
    }

    fn verify_token(&self, secret: &str, token: &str) -> Result<bool, CryptoError> {
        let secrets = self.secrets.borrow();
        let values = secrets.get(secret).ok_or(CryptoError::NoSuchSecret)?;
        Ok(values.iter().any(|value| value == token.as_bytes()))
    }

    fn verify_jwt(&self, _secret: &str, token: &str, _audience: &str) -> Result<Value, CryptoError> {
        match self.tokens.borrow().get(token) {
            Some(Ok(claims)) => Ok(claims.clone()),
            Some(Err(why)) => Err(CryptoError::Invalid(why.clone())),
            None => Err(CryptoError::Invalid("unknown token".to_owned())),
        }
    }

    fn log(&self, level: Level, message: &str, fields: &[Pair]) {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.logs.borrow_mut().push(LogLine { level, message: message.to_owned(), fields });
    }

    fn counter_add(&self, name: &str, value: u64, _labels: &[Pair]) {
        self.histogram_record(name, value as f64, &[]);
    }

    fn histogram_record(&self, name: &str, value: f64, _labels: &[Pair]) {
        *self.metrics.borrow_mut().entry(name.to_owned()).or_default() += value;
    }
}

fn mac_matches<M: KeyInit + hmac::Mac>(key: &[u8], data: &[u8], tag: &[u8]) -> bool {
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return false };
    mac.update(data);
    mac.verify_slice(tag).is_ok()
}
