//! Intents and settles of a group, read under lock and written.

use std::collections::{BTreeSet, HashMap};

use sqlx::PgConnection;

use super::{effect, order, order::all_touched, policy, polls, row::Fields, swap};
use crate::{
    clock::Timestamp,
    id::Key,
    queue::{lane::LaneKey, state::State},
    store::{
        StoreResult,
        group::{Call, Decided, Held, Reply, Writes, decide, kv_of, wanted},
        ledger::{AttemptRow, Outcome, Settle},
    },
};

/// The deliveries that the group settles, claims or writes intents of, as they are and stay until its commit.
pub(super) struct Locked {
    rows: HashMap<Key, Held>,
}

impl Locked {
    /// The lane of a delivery that is there.
    pub(super) fn lane(&self, key: Key) -> Option<LaneKey> {
        self.rows.get(&key).map(|row| row.lane)
    }

    /// The orders that settles of the group may leave.
    pub(super) fn left<'a>(&'a self, calls: &'a [Call]) -> impl Iterator<Item = order::Place> + 'a {
        calls.iter().filter_map(|call| match call {
            Call::Settle(settle, _) if matches!(settle.outcome, Outcome::Delivered | Outcome::Dead(_)) => {
                let row = self.rows.get(&settle.delivery)?;
                row.ordering_key.clone().map(|key| (row.lane, key))
            }
            _ => None,
        })
    }
}

// In the order of the keys, which all nodes keep; not that of an index, which would be walked for it.
pub(super) const LOCK: &str = "select d.key, d.tenant, d.state, d.epoch, d.tries, d.lane, d.target, d.due_at, \
        d.ordering_key \
    from unnest($1::bytea[]) as w (key) join delivery d on d.key = w.key order by substr(d.key, 1) for update of d";

/// Locks what the group wants to settle or claim.
pub(super) async fn lock(conn: &mut PgConnection, calls: &[Call]) -> StoreResult<Locked> {
    let claimed = super::claim::wanted(calls).map(|(request, _)| request.delivery);
    let keys: BTreeSet<Key> = wanted(calls).into_iter().chain(claimed).collect();
    if keys.is_empty() {
        return Ok(Locked { rows: HashMap::new() });
    }
    let keys: Vec<&[u8]> = keys.iter().map(|key| &key.0[..]).collect();
    let rows = sqlx::query(LOCK).bind(keys).fetch_all(conn).await?;
    let held = rows.iter().map(|row| {
        let mut fields = Fields::of(row);
        let key = fields.key()?;
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
        Ok((key, held))
    });
    Ok(Locked { rows: held.collect::<StoreResult<_>>()? })
}

/// Decides and writes the intents and settles of a group. For each caller whose settle won: whether it let another
/// delivery of its order go. What those emit is accepted afterwards.
pub(super) async fn run(
    conn: &mut PgConnection,
    calls: &[Call],
    locked: &Locked,
    now: Timestamp,
    replies: &mut [Option<StoreResult<Reply>>],
) -> StoreResult<Vec<Option<bool>>> {
    if wanted(calls).is_empty() {
        return Ok(vec![None; calls.len()]);
    }
    let mut staged = swap::lock(conn, calls.iter().flat_map(kv_of)).await?;
    let Decided { writes, mut released } = decide(calls, &locked.rows, &mut staged, now, replies)?;
    swap::write(conn, staged).await?;
    write(conn, writes, &locked.rows, &mut released).await?;
    Ok(released)
}

async fn write(
    conn: &mut PgConnection,
    writes: Writes<'_>,
    held: &HashMap<Key, Held>,
    released: &mut [Option<bool>],
) -> StoreResult<()> {
    write_moved(conn, &writes, held).await?;
    write_attempts(conn, &writes.attempts).await?;
    write_journals(conn, &writes).await?;
    let places: Vec<order::Place> = writes.left.iter().map(|(_, place)| place.clone()).collect();
    let let_go = order::release_now(conn, &places).await?;
    for (caller, place) in &writes.left {
        released[*caller] = Some(let_go.contains(place));
    }
    for settle in &writes.settled {
        if let (Some(plugin), Some(poll)) = (&settle.plugin, &settle.poll) {
            polls::settle(conn, &settle.tenant, plugin, poll, settle.now).await?;
        }
    }
    policy::count(conn, &writes.settled).await?;
    effect::apply(conn, &writes.settled).await
}

/// Delivered ones and those that go elsewhere, in one statement.
async fn write_moved(conn: &mut PgConnection, writes: &Writes<'_>, held: &HashMap<Key, Held>) -> StoreResult<()> {
    const MOVE: &str = "update delivery d set state = w.state, due_at = w.due_at, tries = w.tries, reason = w.reason, \
        code = w.code, message = w.message, fingerprint = w.fingerprint, updated_at = w.now \
        from unnest($1::bytea[], $2::int8[], $3::int2[], $4::int8[], $5::int8[], $6::text[], $7::text[], $8::text[], \
            $9::text[], $10::int8[]) \
            as w (key, epoch, state, due_at, tries, reason, code, message, fingerprint, now) \
        where d.key = w.key and d.epoch = w.epoch and d.state + 0 = 1";
    let count = writes.delivered.len() + writes.moved.len();
    if count == 0 {
        return Ok(());
    }
    let mut columns = MoveColumns::default();
    for (key, epoch, now) in &writes.delivered {
        let (due_at, tries) = held.get(key).map_or((0, 0), |row| (row.due_at.0, row.tries));
        columns.push(key, *epoch, State::Delivered, (due_at, tries), *now);
        columns.fail(None, None);
    }
    for row in &writes.moved {
        columns.push(&row.key, row.epoch, row.state, (row.due_at.0, row.tries), row.now);
        columns.fail(row.failure.as_ref(), row.fingerprint.as_deref());
    }
    let touched = sqlx::query(MOVE)
        .bind(columns.keys)
        .bind(columns.epochs)
        .bind(columns.states)
        .bind(columns.due)
        .bind(columns.tries)
        .bind(columns.reasons)
        .bind(columns.codes)
        .bind(columns.messages)
        .bind(columns.fingerprints)
        .bind(columns.times)
        .execute(conn)
        .await?
        .rows_affected();
    all_touched(count, touched)
}

#[derive(Default)]
struct MoveColumns<'a> {
    keys: Vec<&'a [u8]>,
    epochs: Vec<i64>,
    states: Vec<i16>,
    due: Vec<i64>,
    tries: Vec<i64>,
    reasons: Vec<Option<&'a str>>,
    codes: Vec<Option<&'a str>>,
    messages: Vec<Option<&'a str>>,
    fingerprints: Vec<Option<&'a str>>,
    times: Vec<i64>,
}

impl<'a> MoveColumns<'a> {
    fn push(&mut self, key: &'a Key, epoch: u32, state: State, (due_at, tries): (i64, u32), now: Timestamp) {
        self.keys.push(&key.0);
        self.epochs.push(i64::from(epoch));
        self.states.push(small(state.code()));
        self.due.push(due_at);
        self.tries.push(i64::from(tries));
        self.times.push(now.0);
    }

    fn fail(&mut self, failure: Option<&'a crate::queue::reason::Failure>, fingerprint: Option<&'a str>) {
        self.reasons.push(failure.map(|failure| failure.reason.as_str()));
        self.codes.push(failure.map(|failure| &*failure.code));
        self.messages.push(failure.map(|failure| &*failure.message));
        self.fingerprints.push(fingerprint);
    }
}

/// A number of a small, closed set.
pub(super) fn small(number: i64) -> i16 {
    i16::try_from(number).unwrap_or(i16::MAX)
}

async fn write_attempts(conn: &mut PgConnection, attempts: &[(&Settle, &AttemptRow)]) -> StoreResult<()> {
    const ATTEMPT: &str = "insert into attempt (delivery, number, started_at, duration_us, outcome, reason, code, message, \
        status, plugin_version, detail) \
        select * from unnest($1::bytea[], $2::int8[], $3::int8[], $4::int8[], $5::text[], $6::text[], $7::text[], \
            $8::text[], $9::int8[], $10::text[], $11::text[])";
    if attempts.is_empty() {
        return Ok(());
    }
    let failures: Vec<_> = attempts.iter().map(|(_, attempt)| attempt.failure.as_ref()).collect();
    let of = |failure: &Option<&_>| if failure.is_some() { "failed" } else { "succeeded" };
    sqlx::query(ATTEMPT)
        .bind(attempts.iter().map(|(settle, _)| &settle.delivery.0[..]).collect::<Vec<_>>())
        .bind(attempts.iter().map(|(settle, _)| i64::from(settle.epoch)).collect::<Vec<_>>())
        .bind(attempts.iter().map(|(_, attempt)| attempt.started_at.0).collect::<Vec<_>>())
        .bind(
            attempts
                .iter()
                .map(|(_, attempt)| i64::try_from(attempt.duration_us).unwrap_or(i64::MAX))
                .collect::<Vec<_>>(),
        )
        .bind(failures.iter().map(of).collect::<Vec<_>>())
        .bind(failures.iter().map(|failure| failure.map(|failure| failure.reason.as_str())).collect::<Vec<_>>())
        .bind(failures.iter().map(|failure| failure.map(|failure| &*failure.code)).collect::<Vec<_>>())
        .bind(failures.iter().map(|failure| failure.map(|failure| &*failure.message)).collect::<Vec<_>>())
        .bind(attempts.iter().map(|(_, attempt)| attempt.status.map(i64::from)).collect::<Vec<_>>())
        .bind(attempts.iter().map(|(_, attempt)| attempt.plugin_version.as_deref()).collect::<Vec<_>>())
        .bind(attempts.iter().map(|(_, attempt)| attempt.detail.as_deref()).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}

async fn write_journals(conn: &mut PgConnection, writes: &Writes<'_>) -> StoreResult<()> {
    const PUT: &str = "insert into journal (delivery, record) select * from unnest($1::bytea[], $2::bytea[]) \
        on conflict (delivery) do update set record = excluded.record";
    // A record pins its version and config again: only the first attempt after a replay may leave them.
    const PIN: &str = "update delivery d set replayed = false from unnest($1::bytea[]) as w (key) \
        where d.key = w.key and d.replayed";
    const CLEAR: &str = "delete from journal j using unnest($1::bytea[]) as w (key) where j.delivery = w.key";
    if !writes.journals.is_empty() {
        let (keys, records): (Vec<&[u8]>, Vec<&[u8]>) =
            writes.journals.iter().map(|(key, record)| (&key.0[..], *record)).unzip();
        sqlx::query(PUT).bind(&keys).bind(records).execute(&mut *conn).await?;
        sqlx::query(PIN).bind(keys).execute(&mut *conn).await?;
    }
    if !writes.cleared.is_empty() {
        let keys: Vec<&[u8]> = writes.cleared.iter().map(|key| &key.0[..]).collect();
        sqlx::query(CLEAR).bind(keys).execute(conn).await?;
    }
    Ok(())
}
