//! What a shadow run's imports reach: the record of the live run. Calls are matched by their content, since another
//! version may order them otherwise. There is no provider, no credential and no database behind it.

use std::{any::Any, collections::BTreeMap, sync::Arc};

use async_trait::async_trait;

use super::{
    journal::{Entry, EntryOutcome, Recorded},
    named::{self, Named},
};
use crate::plugin::{
    host_calls::{Answer, HostCalls, Stop},
    model::{
        CryptoError, HttpError, HttpRequest, HttpResponse, KvEntry, KvError, KvOptions, KvPage, LogLine, Mac,
        MetricSample, SwapResult,
    },
    virtual_time::VirtualClock,
};

/// The shadow made a call that the live run did not make.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the live run made no call `{0}`")]
pub(super) struct Diverged(pub(super) String);

/// The last kv write to each key, by its print.
pub(super) type KvWrites = BTreeMap<String, [u8; 32]>;

/// The caller's side of one shadow run.
pub(super) struct ShadowCalls {
    entries: Vec<Entry>,
    used: Vec<bool>,
    clock: Arc<VirtualClock>,
    /// What was read or written, as far as it is known; a deleted or absent key is none.
    known: BTreeMap<String, Option<KvEntry>>,
    writes: KvWrites,
}

impl ShadowCalls {
    pub(super) fn new(entries: Vec<Entry>, clock: Arc<VirtualClock>) -> Self {
        let used = vec![false; entries.len()];
        Self { entries, used, clock, known: BTreeMap::new(), writes: KvWrites::new() }
    }

    /// The kv writes of the shadow, which go nowhere.
    pub(super) const fn writes(&self) -> &KvWrites {
        &self.writes
    }

    /// Provider writes of the live run that the shadow did not make.
    pub(super) fn not_made(&self) -> Vec<String> {
        let left = self.entries.iter().zip(&self.used).filter(|(entry, used)| !**used && is_write(entry));
        left.map(|(entry, _)| entry.call.clone()).collect()
    }

    /// The live run's entry of an equal call that was not matched yet.
    fn matching(&mut self, print: [u8; 32]) -> Option<&Entry> {
        let at = (0..self.entries.len()).find(|at| !self.used[*at] && self.entries[*at].print == print)?;
        self.used[at] = true;
        self.clock.advance_to(self.entries[at].at_ms);
        Some(&self.entries[at])
    }

    fn stage(&mut self, key: String, print: [u8; 32], value: Option<Vec<u8>>) -> u64 {
        let before = self.known.get(&key).and_then(Option::as_ref).map_or(0, |entry| entry.version);
        let version = before + 1;
        self.writes.insert(key.clone(), print);
        self.known.insert(key, value.map(|value| KvEntry { value, version }));
        version
    }

    fn learn(&mut self, key: &str, entry: Option<&KvEntry>) {
        self.known.insert(key.to_owned(), entry.cloned());
    }
}

fn is_write(entry: &Entry) -> bool {
    !matches!(entry.outcome, EntryOutcome::Read)
}

fn diverged<T>(call: String) -> Result<T, Stop> {
    Err(Stop::new(Diverged(call)))
}

/// The key of a kv write that succeeded.
fn written_key(entry: &Entry) -> Option<&str> {
    let succeeded =
        matches!(&entry.answer, Some(Recorded::KvDone(Ok(())) | Recorded::KvSwap(Ok(SwapResult::Swapped(_)))));
    let words = ["kv.set ", "kv.delete ", "kv.swap "];
    words.iter().find_map(|word| entry.call.strip_prefix(word)).filter(|_| succeeded)
}

/// The kv writes of a live run.
pub(super) fn live_writes(entries: &[Entry]) -> KvWrites {
    entries.iter().filter_map(|entry| Some((written_key(entry)?.to_owned(), entry.print))).collect()
}

/// The recorded answer to an equal call, or the end of the run.
macro_rules! recorded {
    ($self:ident, $named:expr, $kind:path) => {{
        let (call, print): Named = $named;
        match $self.matching(print).and_then(|entry| entry.answer.clone()) {
            Some($kind(answer)) => Ok(answer),
            _ => diverged(call),
        }
    }};
}

#[async_trait]
impl HostCalls for ShadowCalls {
    async fn http_send(&mut self, request: HttpRequest) -> Answer<HttpResponse, HttpError> {
        let (call, print) = named::http(&request);
        match self.matching(print).map(|entry| (entry.answer.clone(), entry.sent_at_ms)) {
            Some((Some(Recorded::Http(answer)), _)) => Ok(answer),
            Some((None, sent_at_ms)) => {
                let message = "the live run has no answer".to_owned();
                Ok(Err(HttpError::UnknownOutcome { sent_at_ms: sent_at_ms.unwrap_or_default(), message }))
            }
            Some((Some(_), _)) | None => diverged(call),
        }
    }

    async fn kv_get(&mut self, key: String) -> Answer<Option<KvEntry>, KvError> {
        if self.writes.contains_key(&key) {
            return Ok(Ok(self.known.get(&key).cloned().flatten()));
        }
        let (call, print) = named::kv_get(&key);
        if let Some(Recorded::KvGet(answer)) = self.matching(print).and_then(|entry| entry.answer.clone()) {
            if let Ok(entry) = &answer {
                self.learn(&key, entry.as_ref());
            }
            return Ok(answer);
        }
        self.known.get(&key).cloned().map_or_else(|| diverged(call), |entry| Ok(Ok(entry)))
    }

    async fn kv_get_many(&mut self, keys: Vec<String>) -> Answer<Vec<Option<KvEntry>>, KvError> {
        let (call, print) = named::kv_get_many(&keys);
        let recorded = match self.matching(print).and_then(|entry| entry.answer.clone()) {
            Some(Recorded::KvGetMany(Ok(entries))) => entries,
            Some(Recorded::KvGetMany(Err(error))) => return Ok(Err(error)),
            _ => match keys.iter().map(|key| self.known.get(key).cloned()).collect::<Option<Vec<_>>>() {
                Some(known) => return Ok(Ok(known)),
                None => return diverged(call),
            },
        };
        let mut entries = Vec::with_capacity(recorded.len());
        for (key, entry) in keys.iter().zip(recorded) {
            if !self.writes.contains_key(key) {
                self.learn(key, entry.as_ref());
            }
            entries.push(self.known.get(key).cloned().flatten());
        }
        Ok(Ok(entries))
    }

    async fn kv_set(&mut self, key: String, value: Vec<u8>, options: KvOptions) -> Answer<(), KvError> {
        let (_, print) = named::kv_set(&key, &value, &options);
        if let Some(Recorded::KvDone(Err(error))) = self.matching(print).and_then(|entry| entry.answer.clone()) {
            return Ok(Err(error));
        }
        self.stage(key, print, Some(value));
        Ok(Ok(()))
    }

    async fn kv_delete(&mut self, key: String) -> Answer<(), KvError> {
        let (_, print) = named::kv_delete(&key);
        if let Some(Recorded::KvDone(Err(error))) = self.matching(print).and_then(|entry| entry.answer.clone()) {
            return Ok(Err(error));
        }
        self.stage(key, print, None);
        Ok(Ok(()))
    }

    async fn kv_swap(
        &mut self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        options: KvOptions,
    ) -> Answer<SwapResult, KvError> {
        let (call, print) = named::kv_swap(&key, expected, &value, &options);
        if let Some(Recorded::KvSwap(answer)) = self.matching(print).and_then(|entry| entry.answer.clone()) {
            match &answer {
                Ok(SwapResult::Swapped(version)) => {
                    self.writes.insert(key.clone(), print);
                    self.known.insert(key, Some(KvEntry { value, version: *version }));
                }
                Ok(SwapResult::Stale(there)) => self.learn(&key, there.as_ref()),
                Err(_) => {}
            }
            return Ok(answer);
        }
        // Another value on what the live run read: it would have been swapped as well.
        match self.known.get(&key).cloned() {
            Some(there) if there.as_ref().map(|entry| entry.version) == expected => {
                Ok(Ok(SwapResult::Swapped(self.stage(key, print, Some(value)))))
            }
            Some(there) => Ok(Ok(SwapResult::Stale(there))),
            None => diverged(call),
        }
    }

    async fn kv_list_keys(&mut self, prefix: String, cursor: Option<String>, limit: u32) -> Answer<KvPage, KvError> {
        recorded!(self, named::kv_list_keys(&prefix, cursor.as_deref().unwrap_or_default(), limit), Recorded::KvKeys)
    }

    async fn verify_mac(
        &mut self,
        secret: String,
        algorithm: Mac,
        data: Vec<u8>,
        tag: Vec<u8>,
    ) -> Answer<bool, CryptoError> {
        recorded!(self, named::verify_mac(&secret, algorithm, &data, &tag), Recorded::Verified)
    }

    async fn verify_token(&mut self, secret: String, token: String) -> Answer<bool, CryptoError> {
        recorded!(self, named::verify_token(&secret, &token), Recorded::Verified)
    }

    async fn verify_jwt(&mut self, secret: String, token: String, audience: String) -> Answer<String, CryptoError> {
        recorded!(self, named::verify_jwt(&secret, &token, &audience), Recorded::Claims)
    }

    fn log(&mut self, _: LogLine) {}

    fn metric(&mut self, _: MetricSample) {}

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

#[cfg(test)]
#[path = "shadow_calls_tests.rs"]
mod tests;
