//! The recorded host calls of a delivery, so that a run that ends early is executed again without doing its effects
//! twice.
//!
//! A re-run is served up to and including its last write that is confirmed or unresolved; everything later is live.
//! A last write that is unresolved is resolved first: repeated with its key where the provider recognises a repeat,
//! else answered `unknown-outcome`, so that the plugin looks its effect up.

use serde::{Deserialize, Serialize};

pub use super::print::{call_print, http_print, idempotency_key};
use crate::{
    clock::Timestamp,
    plugin::model::{CryptoError, HttpError, HttpResponse, KvEntry, KvError, KvPage, SourceRef, SwapResult},
};

/// Bytes of calls and answers that one journal may come to before it takes no further call. The whole record is sealed and
/// stored again with each provider write.
pub const JOURNAL_BYTES: usize = 16 << 20;

/// Everything that a run depends on, and what it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The run's time, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// Seed of its randomness.
    #[serde(with = "hex_bytes")]
    pub seed: [u8; 32],
    /// The plugin's version.
    pub version: String,
    /// Config of the installation.
    pub config: String,
    /// Addresses of the installation.
    pub sources: Vec<SourceRef>,
    /// Trace context.
    pub traceparent: String,
    /// The host calls, by index.
    pub entries: Vec<Entry>,
}

/// One host call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What a person reads: `POST billy /invoices`, `kv.get contact/7`.
    pub call: String,
    /// SHA-256 of the whole request.
    #[serde(with = "hex_bytes")]
    pub print: [u8; 32],
    /// What became of it.
    pub outcome: EntryOutcome,
    /// The idempotency key under which a write was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When a write was first sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at_ms: Option<u64>,
    /// When the answer was there; the run's clock jumps to it.
    pub at_ms: u64,
    /// Status of the provider's answer, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The answer, whole; none while a write is unanswered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Recorded>,
}

/// What became of a host call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryOutcome {
    /// It changes nothing outside; a kv write counts here, since it is committed with the next intent or the settle.
    Read,
    /// A write that was about to be sent and has no answer.
    Intent,
    /// A write that was executed.
    Confirmed,
    /// A write that was certainly not executed.
    Failed,
    /// A write that may have been executed.
    Unknown,
}

/// An answer as it was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    /// Of `http.send`.
    Http(Result<HttpResponse, HttpError>),
    /// Of `kv.get`.
    KvGet(Result<Option<KvEntry>, KvError>),
    /// Of `kv.get-many`.
    KvGetMany(Result<Vec<Option<KvEntry>>, KvError>),
    /// Of `kv.set` and `kv.delete`.
    KvDone(Result<(), KvError>),
    /// Of `kv.swap`.
    KvSwap(Result<SwapResult, KvError>),
    /// Of `kv.list-keys`.
    KvKeys(Result<KvPage, KvError>),
    /// Of `crypto.verify-mac` and `verify-token`.
    Verified(Result<bool, CryptoError>),
    /// Of `crypto.verify-jwt`.
    Claims(Result<String, CryptoError>),
}

impl Recorded {
    /// Bytes of what was answered; a small answer counts as nothing.
    fn bytes(&self) -> usize {
        let entry = |entry: &Option<KvEntry>| entry.as_ref().map_or(0, |entry| entry.value.len());
        match self {
            Self::Http(Ok(response)) => {
                let fields = response.headers.iter().map(|field| field.name.len() + field.value.len());
                response.body.len() + fields.sum::<usize>()
            }
            Self::KvGet(Ok(found)) => entry(found),
            Self::KvGetMany(Ok(found)) => found.iter().map(entry).sum(),
            Self::KvSwap(Ok(SwapResult::Stale(found))) => entry(found),
            Self::KvKeys(Ok(page)) => page.keys.iter().map(String::len).sum(),
            Self::Claims(Ok(claims)) => claims.len(),
            _ => 0,
        }
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        self.call.len() + self.answer.as_ref().map_or(0, Recorded::bytes)
    }
}

/// The run did not do what its record says. A retry would take the same path, so the delivery is dead at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("call {index} is `{actual}`, but the journal has `{recorded}`")]
pub struct JournalMismatch {
    /// Which call, from 0.
    pub index: usize,
    /// What the journal has.
    pub recorded: String,
    /// What the run did.
    pub actual: String,
}

/// How a call goes on.
#[derive(Debug)]
pub enum Step {
    /// The journal answers.
    Served(Recorded),
    /// A write without an answer that may not be repeated; first sent then.
    Unanswered {
        /// Its entry.
        index: usize,
        /// When it was first sent.
        sent_at_ms: u64,
    },
    /// An unresolved write that is to be repeated under its key.
    Repeat {
        /// Its entry.
        index: usize,
        /// Its key.
        key: String,
        /// When it was first sent.
        sent_at_ms: u64,
    },
    /// It is made now and becomes the entry of this index.
    Live {
        /// The index.
        index: usize,
    },
}

/// A record while its run is under way.
#[derive(Debug)]
pub struct Journal {
    record: Record,
    frozen: usize,
    next: usize,
    stored: bool,
    bytes: usize,
}

impl Journal {
    /// Opens a stored record: what follows its last confirmed or unresolved write is cut off. None if there is no such
    /// write, so that the run begins a record of its own.
    #[must_use]
    pub fn reopen(mut record: Record) -> Option<Self> {
        let unresolved = |entry: &Entry| {
            matches!(entry.outcome, EntryOutcome::Confirmed | EntryOutcome::Intent | EntryOutcome::Unknown)
        };
        let frozen = record.entries.iter().rposition(unresolved)? + 1;
        record.entries.truncate(frozen);
        let bytes = record.entries.iter().map(Entry::bytes).sum();
        Some(Self { record, frozen, next: 0, stored: true, bytes })
    }

    /// Begins a record.
    #[must_use]
    pub const fn begin(record: Record) -> Self {
        Self { record, frozen: 0, next: 0, stored: false, bytes: 0 }
    }

    /// The record.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// Whether the next call is answered by the journal.
    #[must_use]
    pub const fn is_replaying(&self) -> bool {
        self.next < self.frozen
    }

    /// Meets the next call.
    ///
    /// # Errors
    /// The journal has another call at this place.
    pub fn meet(&mut self, call: &str, print: [u8; 32], may_repeat: bool) -> Result<Step, JournalMismatch> {
        let index = self.next;
        self.next += 1;
        if index >= self.frozen {
            return Ok(Step::Live { index });
        }
        let entry = &self.record.entries[index];
        if entry.print != print {
            return Err(JournalMismatch { index, recorded: entry.call.clone(), actual: call.to_owned() });
        }
        let unresolved = matches!(entry.outcome, EntryOutcome::Intent | EntryOutcome::Unknown);
        if index + 1 == self.frozen
            && unresolved
            && may_repeat
            && let (Some(key), Some(sent_at_ms)) = (&entry.key, entry.sent_at_ms)
        {
            return Ok(Step::Repeat { index, key: key.clone(), sent_at_ms });
        }
        Ok(match &entry.answer {
            Some(answer) => Step::Served(answer.clone()),
            None => Step::Unanswered { index, sent_at_ms: entry.sent_at_ms.unwrap_or(entry.at_ms) },
        })
    }

    /// The index of the call that was met last.
    #[must_use]
    pub const fn last_met(&self) -> usize {
        self.next.saturating_sub(1)
    }

    /// When the entry that was just served was answered.
    #[must_use]
    pub fn served_at_ms(&self) -> u64 {
        self.next.checked_sub(1).and_then(|index| self.record.entries.get(index)).map_or(0, |entry| entry.at_ms)
    }

    /// Whether it takes no further call: its entries have come to [`JOURNAL_BYTES`].
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.bytes >= JOURNAL_BYTES
    }

    /// Adds the entry of a live call.
    pub fn push(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        self.record.entries.push(entry);
    }

    /// Takes back the entry of a write whose intent could not be committed: it was never sent.
    pub fn retract(&mut self, index: usize) {
        if index >= self.frozen {
            self.record.entries.truncate(index);
        }
    }

    /// Whether an intent was committed for this record, so that the store may hold a part of it.
    #[must_use]
    pub fn was_intended(&self) -> bool {
        self.stored || self.record.entries.iter().any(|entry| entry.key.is_some())
    }

    /// Writes the answer of a write into its entry.
    pub fn answer(&mut self, index: usize, outcome: EntryOutcome, status: Option<u16>, answer: Recorded, at_ms: u64) {
        if let Some(entry) = self.record.entries.get_mut(index) {
            self.bytes += answer.bytes();
            entry.outcome = outcome;
            entry.status = status;
            entry.answer = Some(answer);
            entry.at_ms = at_ms;
        }
    }

    /// Checks that the guest came as far as the journal.
    ///
    /// # Errors
    /// It returned before.
    pub fn finish(&self) -> Result<(), JournalMismatch> {
        if self.next >= self.frozen {
            return Ok(());
        }
        let recorded = self.record.entries[self.next].call.clone();
        Err(JournalMismatch { index: self.next, recorded, actual: "the run returned".to_owned() })
    }

    /// Moves the record to another version and config, when a person replays on the current ones.
    pub fn move_to(&mut self, version: &str, config: &str) {
        version.clone_into(&mut self.record.version);
        config.clone_into(&mut self.record.config);
    }

    /// Whether the entry of this index was there before the run.
    #[must_use]
    pub const fn is_frozen(&self, index: usize) -> bool {
        index < self.frozen
    }

    /// Whether a write is confirmed or unresolved, so that the record must be kept.
    #[must_use]
    pub fn has_effects(&self) -> bool {
        self.record.entries.iter().any(|entry| {
            matches!(entry.outcome, EntryOutcome::Confirmed | EntryOutcome::Intent | EntryOutcome::Unknown)
        })
    }
}

/// Milliseconds as the contract has them.
#[must_use]
pub fn millis(time: Timestamp) -> u64 {
    u64::try_from(time.0).unwrap_or(0)
}

mod hex_bytes {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.as_bytes(), &mut bytes).map_err(D::Error::custom)?;
        Ok(bytes)
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
