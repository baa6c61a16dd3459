//! Intents and settles: what an attempt writes while it holds its epoch.

use std::collections::{HashMap, HashSet};

use super::{
    call::{Call, Reply},
    slots::Staged,
};
use crate::{
    clock::Timestamp,
    event::TenantId,
    id::Key,
    queue::{
        lane::LaneKey,
        reason::Failure,
        state::{Cause, State, transition},
    },
    store::{
        StoreError, StoreResult,
        ledger::{AttemptRow, IntentOutcome, JournalChange, KvWrite, Outcome, Settle, Settled},
    },
};

/// A lane and an ordering key.
pub(in crate::store) type Place = (LaneKey, String);

/// A delivery as the fence finds it.
pub(in crate::store) struct Held {
    pub(in crate::store) tenant: TenantId,
    pub(in crate::store) state: State,
    pub(in crate::store) epoch: u32,
    pub(in crate::store) tries: u32,
    pub(in crate::store) lane: LaneKey,
    pub(in crate::store) target: String,
    pub(in crate::store) due_at: Timestamp,
    pub(in crate::store) ordering_key: Option<String>,
}

/// A delivery that leaves `running`, with the columns that change.
pub(in crate::store) struct Moved {
    pub(in crate::store) key: Key,
    pub(in crate::store) epoch: u32,
    pub(in crate::store) state: State,
    pub(in crate::store) due_at: Timestamp,
    pub(in crate::store) tries: u32,
    pub(in crate::store) failure: Option<Failure>,
    pub(in crate::store) fingerprint: Option<String>,
    pub(in crate::store) now: Timestamp,
}

/// What the winners of the group write.
#[derive(Default)]
pub(in crate::store) struct Writes<'a> {
    pub(in crate::store) delivered: Vec<(Key, u32, Timestamp)>,
    pub(in crate::store) moved: Vec<Moved>,
    pub(in crate::store) attempts: Vec<(&'a Settle, &'a AttemptRow)>,
    pub(in crate::store) journals: HashMap<Key, &'a [u8]>,
    pub(in crate::store) cleared: Vec<Key>,
    pub(in crate::store) left: Vec<(usize, Place)>,
    pub(in crate::store) settled: Vec<&'a Settle>,
}

/// Roughly how many bytes the kv writes are.
pub(in crate::store) fn kv_size(writes: &[KvWrite]) -> usize {
    writes.iter().map(|write| write.key.len() + write.value.as_ref().map_or(0, Vec::len) + 64).sum()
}

/// Roughly how many bytes a settle writes, without what it emits.
pub(in crate::store) fn size(settle: &Settle) -> usize {
    let journal = if let JournalChange::Put(journal) = &settle.journal { journal.len() } else { 0 };
    let detail = settle.attempt.as_ref().and_then(|attempt| attempt.detail.as_ref()).map_or(0, String::len);
    512 + journal + detail + kv_size(&settle.kv)
}

/// What a group's intents and settles came to.
pub(in crate::store) struct Decided<'a> {
    /// What the winners write.
    pub(in crate::store) writes: Writes<'a>,
    /// For each caller whose settle won: that it has let nobody go, so far.
    pub(in crate::store) released: Vec<Option<bool>>,
}

/// Decides each intent and settle, in the order of the callers, and answers those that lost. What the settles that won
/// emit is accepted afterwards. `now` judges the expiry of values whose write brings no time.
pub(in crate::store) fn decide<'a>(
    calls: &'a [Call],
    held: &HashMap<Key, Held>,
    staged: &mut Staged,
    now: Timestamp,
    replies: &mut [Option<StoreResult<Reply>>],
) -> StoreResult<Decided<'a>> {
    let mut released = vec![None; calls.len()];
    let mut writes = Writes::default();
    let mut ended = HashSet::new();
    for (place, call) in calls.iter().enumerate() {
        match call {
            Call::Intend(intent) => {
                let holds = holder(held, &ended, &intent.tenant, intent.delivery, intent.epoch).is_some();
                let outcome = if !holds {
                    IntentOutcome::LostLease
                } else if staged.swap(&intent.tenant, &intent.plugin, &intent.kv, now) {
                    writes.journals.insert(intent.delivery, &intent.journal);
                    IntentOutcome::Committed
                } else {
                    IntentOutcome::LostSwap
                };
                replies[place] = Some(Ok(Reply::Intended(outcome)));
            }
            Call::Settle(settle, _) => {
                let lost = match holder(held, &ended, &settle.tenant, settle.delivery, settle.epoch) {
                    None => Some(Settled::LostLease),
                    Some(row) => match &settle.plugin {
                        Some(plugin) if !staged.swap(&settle.tenant, plugin, &settle.kv, settle.now) => {
                            Some(Settled::LostSwap)
                        }
                        _ => {
                            ended.insert(settle.delivery);
                            writes.end(place, settle, row)?;
                            released[place] = Some(false);
                            None
                        }
                    },
                };
                replies[place] = lost.map(|lost| Ok(Reply::Settled(lost)));
            }
            Call::Accept(_) | Call::Claim(..) => {}
        }
    }
    Ok(Decided { writes, released })
}

/// The kv writes of a caller.
pub(in crate::store) fn kv_of(call: &Call) -> Vec<(&TenantId, &str, &KvWrite)> {
    let (tenant, plugin, writes) = match call {
        Call::Intend(intent) => (&intent.tenant, Some(&intent.plugin), &intent.kv),
        Call::Settle(settle, _) => (&settle.tenant, settle.plugin.as_ref(), &settle.kv),
        Call::Accept(_) | Call::Claim(..) => return Vec::new(),
    };
    plugin.map(|plugin| writes.iter().map(|write| (tenant, plugin.as_str(), write)).collect()).unwrap_or_default()
}

/// The deliveries that callers of the group want to write as their holders.
pub(in crate::store) fn wanted(calls: &[Call]) -> Vec<Key> {
    let holder = |call: &Call| match call {
        Call::Intend(intent) => Some(intent.delivery),
        Call::Settle(settle, _) => Some(settle.delivery),
        Call::Accept(_) | Call::Claim(..) => None,
    };
    calls.iter().filter_map(holder).collect()
}

/// The delivery, if the caller still holds it.
fn holder<'h>(
    held: &'h HashMap<Key, Held>,
    ended: &HashSet<Key>,
    tenant: &TenantId,
    delivery: Key,
    epoch: u32,
) -> Option<&'h Held> {
    held.get(&delivery).filter(|row| {
        row.state == State::Running && row.epoch == epoch && row.tenant == *tenant && !ended.contains(&delivery)
    })
}

impl<'a> Writes<'a> {
    /// Notes what the end of one attempt writes.
    fn end(&mut self, place: usize, settle: &'a Settle, row: &Held) -> StoreResult<()> {
        let state = |cause| transition(row.state, cause).map_err(|error| StoreError::Inconsistent(error.to_string()));
        let given_back = row.tries.saturating_sub(1);
        let moved = |state, due_at, tries, failure: Option<&Failure>| Moved {
            key: settle.delivery,
            epoch: settle.epoch,
            state,
            due_at,
            tries,
            failure: failure.cloned(),
            fingerprint: failure.map(|failure| failure.fingerprint(&row.target)),
            now: settle.now,
        };
        match &settle.outcome {
            Outcome::Delivered => {
                state(Cause::Succeed)?;
                self.delivered.push((settle.delivery, settle.epoch, settle.now));
            }
            Outcome::Waiting { run_at, failure, burnt } => {
                let tries = if *burnt { row.tries } else { given_back };
                self.moved.push(moved(state(Cause::Retry)?, *run_at, tries, Some(failure)));
            }
            Outcome::Dead(failure) => {
                self.moved.push(moved(state(Cause::Die)?, row.due_at, row.tries, Some(failure)));
            }
            Outcome::Released { failure } => {
                self.moved.push(moved(state(Cause::Release)?, row.due_at, given_back, failure.as_ref()));
            }
        }
        if let (Outcome::Delivered | Outcome::Dead(_), Some(key)) = (&settle.outcome, &row.ordering_key) {
            self.left.push((place, (row.lane, key.clone())));
        }
        match &settle.journal {
            JournalChange::Keep => {}
            JournalChange::Put(journal) => {
                self.journals.insert(settle.delivery, journal);
            }
            JournalChange::Clear => {
                self.journals.remove(&settle.delivery);
                self.cleared.push(settle.delivery);
            }
        }
        self.attempts.extend(settle.attempt.as_ref().map(|attempt| (settle, attempt)));
        self.settled.push(settle);
        Ok(())
    }
}
