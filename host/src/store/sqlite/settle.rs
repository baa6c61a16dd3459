//! Intents and settles: what an attempt writes while it holds its epoch.

use std::collections::{HashMap, HashSet};

use super::{
    direct::{Each, WriteConnection},
    effect,
    group::{Call, Reply},
    kv::Staged,
    order, schedule,
    writer::Memory,
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

/// A delivery as the fence finds it.
struct Held {
    tenant: TenantId,
    state: State,
    epoch: u32,
    tries: u32,
    lane: LaneKey,
    target: String,
    due_at: Timestamp,
    ordering_key: Option<String>,
}

pub(super) static HELD: Each =
    Each("select tenant, state, epoch, tries, lane, target, due_at, ordering_key from delivery where key = ?");

/// A delivery that leaves `running`, with the columns that change.
struct Moved {
    key: Key,
    epoch: u32,
    state: State,
    due_at: Timestamp,
    tries: u32,
    failure: Option<Failure>,
    fingerprint: Option<String>,
    now: Timestamp,
}

/// What the winners of the group write.
#[derive(Default)]
struct Writes<'a> {
    delivered: Vec<(Key, u32, Timestamp)>,
    moved: Vec<Moved>,
    attempts: Vec<(&'a Settle, &'a AttemptRow)>,
    journals: HashMap<Key, &'a [u8]>,
    cleared: Vec<Key>,
    left: Vec<(usize, order::Place)>,
    settled: Vec<&'a Settle>,
}

/// Roughly how many bytes the kv writes are.
pub(super) fn kv_size(writes: &[KvWrite]) -> usize {
    writes.iter().map(|write| write.key.len() + write.value.as_ref().map_or(0, Vec::len) + 64).sum()
}

/// Roughly how many bytes a settle writes, without what it emits.
pub(super) fn size(settle: &Settle) -> usize {
    let journal = if let JournalChange::Put(journal) = &settle.journal { journal.len() } else { 0 };
    let detail = settle.attempt.as_ref().and_then(|attempt| attempt.detail.as_ref()).map_or(0, String::len);
    512 + journal + detail + kv_size(&settle.kv)
}

/// Decides and writes the intents and settles of a group. For each caller whose settle won: whether it let another
/// delivery of its order go. What those emit is accepted afterwards.
pub(super) async fn run(
    conn: &mut WriteConnection,
    calls: &[Call],
    memory: &Memory,
    replies: &mut [Option<StoreResult<Reply>>],
) -> StoreResult<Vec<Option<bool>>> {
    let mut released = vec![None; calls.len()];
    let held = read_held(conn, calls)?;
    if held.is_empty() && !calls.iter().any(|call| matches!(call, Call::Intend(_) | Call::Settle(..))) {
        return Ok(released);
    }
    let mut staged = Staged::read(conn, calls.iter().flat_map(kv_of))?;
    let mut writes = Writes::default();
    let mut ended = HashSet::new();
    for (place, call) in calls.iter().enumerate() {
        match call {
            Call::Intend(intent) => {
                let holds = holder(&held, &ended, &intent.tenant, intent.delivery, intent.epoch).is_some();
                let outcome = if !holds {
                    IntentOutcome::LostLease
                } else if staged.swap(&intent.tenant, &intent.plugin, &intent.kv, memory.now()) {
                    writes.journals.insert(intent.delivery, &intent.journal);
                    IntentOutcome::Committed
                } else {
                    IntentOutcome::LostSwap
                };
                replies[place] = Some(Ok(Reply::Intended(outcome)));
            }
            Call::Settle(settle, _) => {
                let lost = match holder(&held, &ended, &settle.tenant, settle.delivery, settle.epoch) {
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
    staged.write(conn)?;
    writes.write(conn, &mut released).await?;
    Ok(released)
}

fn kv_of(call: &Call) -> Vec<(&TenantId, &str, &KvWrite)> {
    let (tenant, plugin, writes) = match call {
        Call::Intend(intent) => (&intent.tenant, Some(&intent.plugin), &intent.kv),
        Call::Settle(settle, _) => (&settle.tenant, settle.plugin.as_ref(), &settle.kv),
        Call::Accept(_) | Call::Claim(..) => return Vec::new(),
    };
    plugin.map(|plugin| writes.iter().map(|write| (tenant, plugin.as_str(), write)).collect()).unwrap_or_default()
}

fn read_held(conn: &mut WriteConnection, calls: &[Call]) -> StoreResult<HashMap<Key, Held>> {
    let mut keys = Vec::new();
    for call in calls {
        match call {
            Call::Intend(intent) => keys.push(intent.delivery),
            Call::Settle(settle, _) => keys.push(settle.delivery),
            Call::Accept(_) | Call::Claim(..) => {}
        }
    }
    let held = HELD.read(
        conn,
        &keys,
        |query, key| query.bind(&key.0[..]),
        |key, fields| {
            let held = Held {
                tenant: fields.parsed()?,
                state: fields.state()?,
                epoch: fields.number()?,
                tries: fields.number()?,
                lane: fields.lane_key()?,
                target: fields.text()?,
                due_at: fields.time()?,
                ordering_key: fields.opt_text()?,
            };
            Ok((*key, held))
        },
    )?;
    Ok(held.into_iter().collect())
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

    async fn write(self, conn: &mut WriteConnection, released: &mut [Option<bool>]) -> StoreResult<()> {
        write_delivered(conn, &self.delivered)?;
        write_moved(conn, &self.moved)?;
        write_attempts(conn, &self.attempts)?;
        static PUT: Each = Each(
            "insert into journal (delivery, record) values (?, ?) on conflict do update set record = excluded.record",
        );
        static CLEAR: Each = Each("delete from journal where delivery = ?");
        let journals: Vec<_> = self.journals.into_iter().collect();
        PUT.write_all(conn, &journals, |query, (key, record)| query.bind(&key.0[..]).bind(record))?;
        // A record pins its version and config again: only the first attempt after a replay may leave them.
        static PIN: Each = Each("update delivery set replayed = 0 where key = ? and replayed = 1");
        let pinned: Vec<Key> = journals.iter().map(|(key, _)| *key).collect();
        PIN.write(conn, &pinned, |query, key| query.bind(&key.0[..]))?;
        CLEAR.write(conn, &self.cleared, |query, key| query.bind(&key.0[..]))?;
        let places: Vec<order::Place> = self.left.iter().map(|(_, place)| place.clone()).collect();
        let let_go = order::release(conn, &places)?;
        for (caller, place) in &self.left {
            released[*caller] = Some(let_go.contains(place));
        }
        for settle in &self.settled {
            if let (Some(plugin), Some(poll)) = (&settle.plugin, &settle.poll) {
                schedule::settle(conn, &settle.tenant, plugin, poll, settle.now).await?;
            }
        }
        effect::apply(conn, &self.settled).await
    }
}

fn write_delivered(conn: &mut WriteConnection, delivered: &[(Key, u32, Timestamp)]) -> StoreResult<()> {
    static DELIVERED: Each = Each(
        "update or rollback delivery set state = 3, reason = null, code = null, message = null, fingerprint = null, \
         updated_at = ?3 where key = ?1 and epoch = ?2 and state = 1",
    );
    DELIVERED.write_all(conn, delivered, |query, (key, epoch, now)| query.bind(&key.0[..]).bind(*epoch).bind(now.0))
}

fn write_moved(conn: &mut WriteConnection, moved: &[Moved]) -> StoreResult<()> {
    static MOVED: Each = Each(
        "update or rollback delivery set state = ?3, due_at = ?4, tries = ?5, reason = ?6, code = ?7, message = ?8, \
         fingerprint = ?9, updated_at = ?10 where key = ?1 and epoch = ?2 and state = 1",
    );
    MOVED.write_all(conn, moved, |query, row| {
        let failure = row.failure.as_ref();
        query
            .bind(&row.key.0[..])
            .bind(i64::from(row.epoch))
            .bind(row.state.code())
            .bind(row.due_at.0)
            .bind(i64::from(row.tries))
            .bind(failure.map(|failure| failure.reason.as_str()))
            .bind(failure.map(|failure| &*failure.code))
            .bind(failure.map(|failure| &*failure.message))
            .bind(row.fingerprint.as_deref())
            .bind(row.now.0)
    })
}

fn write_attempts(conn: &mut WriteConnection, attempts: &[(&Settle, &AttemptRow)]) -> StoreResult<()> {
    static ATTEMPT: Each = Each(
        "insert or rollback into attempt (delivery, number, started_at, duration_us, outcome, reason, code, message, status, \
         plugin_version, detail) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    );
    ATTEMPT.write_all(conn, attempts, |query, (settle, attempt)| {
        let failure = attempt.failure.as_ref();
        query
            .bind(&settle.delivery.0[..])
            .bind(i64::from(settle.epoch))
            .bind(attempt.started_at.0)
            .bind(i64::try_from(attempt.duration_us).unwrap_or(i64::MAX))
            .bind(if failure.is_some() { "failed" } else { "succeeded" })
            .bind(failure.map(|failure| failure.reason.as_str()))
            .bind(failure.map(|failure| &*failure.code))
            .bind(failure.map(|failure| &*failure.message))
            .bind(attempt.status.map(i64::from))
            .bind(attempt.plugin_version.as_deref())
            .bind(attempt.detail.as_deref())
    })
}
