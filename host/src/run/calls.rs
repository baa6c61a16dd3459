//! What a run's imports reach: the journal first, then kv, secrets and providers.

use std::{any::Any, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    journal::{Entry, EntryOutcome, JOURNAL_BYTES, Journal, JournalMismatch, Recorded, Step, millis},
    kv::{StagedKv, stop},
    named,
    preview::Reached,
    run::journal_place,
    said::Said,
    secrets,
};
use crate::{
    cluster::Term,
    connection::vault::{TenantKey, VaultError},
    directory::view::{InstallationView, PluginVersion, TenantView},
    hub::Hub,
    id::Key,
    plugin::{
        host_calls::{Answer, HostCalls, Stop},
        model::{
            CryptoError, HttpError, HttpRequest, HttpResponse, KvEntry, KvError, KvOptions, KvPage, LogLine, Mac,
            MetricSample, SwapResult,
        },
        virtual_time::VirtualClock,
    },
    store::{
        StoreError,
        ledger::{Claimed, Expected},
    },
};

/// How long a run waits for the key set that a token is judged by.
const JWT_PATIENCE: Duration = Duration::from_secs(10);

/// Why the host ended a run.
#[derive(Debug, thiserror::Error)]
pub enum RunStop {
    /// The run left the path of its journal.
    #[error(transparent)]
    Mismatch(JournalMismatch),
    /// A compare-and-swap lost before a provider write.
    #[error("another run changed the same keys")]
    LostSwap,
    /// The delivery runs elsewhere or was cancelled.
    #[error("the delivery was taken away")]
    LostLease,
    /// The connection's pace leaves no turn now, and nothing was called yet.
    #[error("the connection's rate is used up; there is a turn in {} ms", .0.as_millis())]
    NoTurn(Duration),
    /// A preview came to a call that it must not make.
    #[error("a preview ends before {0}")]
    Reached(Reached),
    /// The run's calls and their answers came to more than a journal holds.
    #[error(
        "its host calls and their answers came to more than {JOURNAL_BYTES} bytes, the most that a run's journal holds; \
         read less at once, or go on in another run"
    )]
    JournalFull,
    /// The database failed.
    #[error(transparent)]
    Store(StoreError),
}

/// A connection whose credential a provider refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Which.
    pub connection: Key,
    /// What a person reads.
    pub text: String,
    /// The version of its tokens, for kinds that have some.
    pub version: Option<u64>,
}

/// The caller's side of one run.
pub struct RunCalls {
    pub(super) hub: Arc<Hub>,
    pub(super) tenant: Arc<TenantView>,
    pub(super) installation: Arc<InstallationView>,
    pub(super) version: Arc<PluginVersion>,
    pub(super) claimed: Claimed,
    /// The time in which this node alone runs it.
    pub(super) term: Term,
    /// The record.
    pub journal: Journal,
    pub(super) clock: Arc<VirtualClock>,
    pub(super) kv: StagedKv,
    log: Vec<(LogLine, bool)>,
    pub(super) login: Option<Refused>,
    pub(super) said: Said,
    /// When the run began, for its wall limit.
    pub(super) started: Duration,
    /// Whether this attempt has called a provider, answers from the journal apart.
    pub(super) sent: bool,
    /// When the first call of this attempt was about to be sent.
    pub(super) calling_since: Option<Duration>,
    /// A preview: nothing is committed or counted, and it ends before the first write.
    pub(super) dry: bool,
}

impl RunCalls {
    /// The calls of one run.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        tenant: Arc<TenantView>,
        installation: Arc<InstallationView>,
        version: Arc<PluginVersion>,
        claimed: Claimed,
        journal: Journal,
        clock: Arc<VirtualClock>,
    ) -> Self {
        Self {
            started: hub.clock.monotonic(),
            term: hub.node.term(claimed.lane.key()),
            sent: false,
            calling_since: None,
            hub,
            tenant,
            installation,
            version,
            claimed,
            journal,
            clock,
            kv: StagedKv::new(),
            log: Vec::new(),
            login: None,
            said: Said::new(),
            dry: false,
        }
    }

    /// The same calls for a preview, which leaves no trace.
    #[must_use]
    pub const fn dry(mut self) -> Self {
        self.dry = true;
        self
    }

    /// The connection whose credential was refused in this run.
    #[must_use]
    pub fn needs_login(&self) -> Option<Refused> {
        self.login.clone()
    }

    /// The record, sealed for its delivery.
    ///
    /// # Errors
    /// It cannot be sealed.
    pub fn sealed_journal(&self, key: &TenantKey) -> Result<Vec<u8>, VaultError> {
        let plain = serde_json::to_vec(self.journal.record()).map_err(|_| VaultError::Malformed)?;
        let row = self.claimed.delivery.to_string();
        self.hub.vault.seal(key, journal_place(self.tenant.row.id.as_str(), &row), &plain)
    }

    /// The calls for the attempt's page. Where the attempt failed, also with what the provider said to its last call.
    #[must_use]
    pub fn summary(&self, failed: bool) -> Vec<Value> {
        let entries = self.journal.record().entries.iter().enumerate();
        entries
            .map(|(index, entry)| {
                json!({"index": index, "call": entry.call, "outcome": entry.outcome, "status": entry.status,
                    "key": entry.key, "at": crate::clock::Timestamp(i64::try_from(entry.at_ms).unwrap_or(0)),
                    "from_journal": self.journal.is_frozen(index), "said": self.said.to(index, failed)})
            })
            .collect()
    }

    /// The guest's log for the attempt's page.
    #[must_use]
    pub fn log_lines(&self) -> Vec<Value> {
        self.log
            .iter()
            .map(|(line, replayed)| json!({"level": line.level, "message": line.message, "fields": line.fields, "replayed": replayed}))
            .collect()
    }

    /// The journal's answer, if it has one. A call that is not a write is never unresolved.
    fn meet(&mut self, call: &str, print: [u8; 32]) -> Result<Option<Recorded>, Stop> {
        match self.journal.meet(call, print, false).map_err(|mismatch| Stop::new(RunStop::Mismatch(mismatch)))? {
            Step::Served(answer) => {
                self.clock.advance_to(self.journal.served_at_ms());
                Ok(Some(answer))
            }
            Step::Live { .. } => self.room_for_a_call().map(|()| None),
            Step::Unanswered { index, .. } | Step::Repeat { index, .. } => Err(self.foreign(index, call)),
        }
    }

    /// Ends the run whose journal is full. Asked before a live call, so that what was sent is always recorded.
    pub(super) fn room_for_a_call(&self) -> Result<(), Stop> {
        if self.journal.is_full() { Err(Stop::new(RunStop::JournalFull)) } else { Ok(()) }
    }

    fn note(&mut self, call: String, print: [u8; 32], answer: Recorded) {
        let at_ms = millis(self.hub.clock.now());
        self.clock.advance_to(at_ms);
        let outcome = EntryOutcome::Read;
        self.journal.push(Entry {
            call,
            print,
            outcome,
            key: None,
            sent_at_ms: None,
            at_ms,
            status: None,
            answer: Some(answer),
        });
    }

    /// The journal's answer belongs to another kind of call.
    pub(super) fn foreign(&self, index: usize, call: &str) -> Stop {
        let recorded = self.journal.record().entries.get(index).map_or_else(String::new, |entry| entry.call.clone());
        Stop::new(RunStop::Mismatch(JournalMismatch { index, recorded, actual: call.to_owned() }))
    }
}

fn entry((value, version): (Option<Vec<u8>>, u64)) -> Option<KvEntry> {
    value.map(|value| KvEntry { value, version })
}

/// Takes the recorded answer of the right kind, or ends the run as a mismatch.
macro_rules! served {
    ($self:ident, $call:expr, $print:expr, $kind:path) => {
        if let Some(served) = $self.meet(&$call, $print)? {
            return match served {
                $kind(answer) => Ok(answer),
                _ => Err($self.foreign($self.journal.last_met(), &$call)),
            };
        }
    };
}

#[async_trait]
impl HostCalls for RunCalls {
    async fn http_send(&mut self, request: HttpRequest) -> Answer<HttpResponse, HttpError> {
        self.send_to_provider(request).await
    }

    async fn kv_get(&mut self, key: String) -> Answer<Option<KvEntry>, KvError> {
        let (call, print) = named::kv_get(&key);
        served!(self, call, print, Recorded::KvGet);
        let answer = Ok(entry(self.read(&key).await?));
        self.note(call, print, Recorded::KvGet(answer.clone()));
        Ok(answer)
    }

    async fn kv_get_many(&mut self, keys: Vec<String>) -> Answer<Vec<Option<KvEntry>>, KvError> {
        let (call, print) = named::kv_get_many(&keys);
        served!(self, call, print, Recorded::KvGetMany);
        let (mut entries, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        for key in &keys {
            let found = entry(self.read(key).await?);
            bytes += found.as_ref().map_or(0, |entry| entry.value.len());
            if bytes > JOURNAL_BYTES {
                return Err(Stop::new(RunStop::JournalFull));
            }
            entries.push(found);
        }
        let answer = Ok(entries);
        self.note(call, print, Recorded::KvGetMany(answer.clone()));
        Ok(answer)
    }

    async fn kv_set(&mut self, key: String, value: Vec<u8>, options: KvOptions) -> Answer<(), KvError> {
        let (call, print) = named::kv_set(&key, &value, &options);
        served!(self, call, print, Recorded::KvDone);
        let answer = self.stage(&key, Some(value), Expected::Any, options).await?.map(|_| ());
        self.note(call, print, Recorded::KvDone(answer.clone()));
        Ok(answer)
    }

    async fn kv_delete(&mut self, key: String) -> Answer<(), KvError> {
        let (call, print) = named::kv_delete(&key);
        served!(self, call, print, Recorded::KvDone);
        let answer = self.stage(&key, None, Expected::Any, KvOptions::default()).await?.map(|_| ());
        self.note(call, print, Recorded::KvDone(answer.clone()));
        Ok(answer)
    }

    async fn kv_swap(
        &mut self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        options: KvOptions,
    ) -> Answer<SwapResult, KvError> {
        let (call, print) = named::kv_swap(&key, expected, &value, &options);
        served!(self, call, print, Recorded::KvSwap);
        let there = entry(self.read(&key).await?);
        let answer = if there.as_ref().map(|entry| entry.version) == expected {
            let expected = expected.map_or(Expected::Absent, Expected::Version);
            self.stage(&key, Some(value), expected, options).await?.map(SwapResult::Swapped)
        } else {
            Ok(SwapResult::Stale(there))
        };
        self.note(call, print, Recorded::KvSwap(answer.clone()));
        Ok(answer)
    }

    async fn kv_list_keys(&mut self, prefix: String, cursor: Option<String>, limit: u32) -> Answer<KvPage, KvError> {
        let after = cursor.as_deref().unwrap_or_default();
        let (call, print) = named::kv_list_keys(&prefix, after, limit);
        served!(self, call, print, Recorded::KvKeys);
        let (tenant, plugin, now) = (&self.tenant.row.id, &self.installation.row.plugin, self.hub.clock.now());
        let wanted = limit.saturating_add(u32::try_from(self.kv.staged.len()).unwrap_or(u32::MAX)).saturating_add(1);
        let stored =
            self.hub.store.kv_keys(tenant, plugin, &prefix, cursor.as_deref(), wanted, now).await.map_err(stop)?;
        let mut keys: std::collections::BTreeSet<String> = stored.into_iter().collect();
        for (key, staged) in &self.kv.staged {
            if !key.starts_with(&prefix) || key.as_str() <= after {
                continue;
            }
            if staged.value.is_some() {
                keys.insert(key.clone());
            } else {
                keys.remove(key);
            }
        }
        let more = keys.len() > limit as usize;
        let keys: Vec<String> = keys.into_iter().take(limit as usize).collect();
        let cursor = if more { keys.last().cloned() } else { None };
        let answer = Ok(KvPage { keys, cursor });
        self.note(call, print, Recorded::KvKeys(answer.clone()));
        Ok(answer)
    }

    async fn verify_mac(
        &mut self,
        secret: String,
        algorithm: Mac,
        data: Vec<u8>,
        tag: Vec<u8>,
    ) -> Answer<bool, CryptoError> {
        let (call, print) = named::verify_mac(&secret, algorithm, &data, &tag);
        served!(self, call, print, Recorded::Verified);
        let now = self.hub.clock.now();
        let answer = secrets::verify_mac(&self.tenant, &self.installation, None, &secret, algorithm, &data, &tag, now);
        self.note(call, print, Recorded::Verified(answer.clone()));
        Ok(answer)
    }

    async fn verify_token(&mut self, secret: String, token: String) -> Answer<bool, CryptoError> {
        let (call, print) = named::verify_token(&secret, &token);
        served!(self, call, print, Recorded::Verified);
        let answer =
            secrets::verify_token(&self.tenant, &self.installation, None, &secret, &token, self.hub.clock.now());
        self.note(call, print, Recorded::Verified(answer.clone()));
        Ok(answer)
    }

    async fn verify_jwt(&mut self, secret: String, token: String, audience: String) -> Answer<String, CryptoError> {
        let (call, print) = named::verify_jwt(&secret, &token, &audience);
        served!(self, call, print, Recorded::Claims);
        let (manifest, now) = (&self.version.manifest, self.hub.clock.now());
        let judging = secrets::verify_jwt(&self.hub, manifest, &secret, &token, &audience, now, JWT_PATIENCE);
        let answer = judging.await;
        self.note(call, print, Recorded::Claims(answer.clone()));
        Ok(answer)
    }

    fn log(&mut self, line: LogLine) {
        let replayed = self.journal.is_replaying();
        self.log.push((line, replayed));
    }

    fn metric(&mut self, sample: MetricSample) {
        if !self.dry && !self.journal.is_replaying() {
            crate::observe::plugin_metrics::note(&self.tenant.row.id, &self.version, &sample);
        }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
