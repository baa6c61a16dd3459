//! Intents and settles of a group, read and written.

use std::collections::HashMap;

use super::{
    direct::{Each, WriteConnection},
    effect, kv, order, policy, schedule,
    writer::Memory,
};
use crate::{
    clock::Timestamp,
    id::Key,
    store::{
        StoreResult,
        group::{Call, Decided, Held, Moved, Reply, Writes, decide, kv_of, wanted},
        ledger::{AttemptRow, Settle},
    },
};

pub(super) static HELD: Each =
    Each("select tenant, state, epoch, tries, lane, target, due_at, ordering_key from delivery where key = ?");

/// Decides and writes the intents and settles of a group. For each caller whose settle won: whether it let another
/// delivery of its order go. What those emit is accepted afterwards.
pub(super) async fn run(
    conn: &mut WriteConnection,
    calls: &[Call],
    memory: &Memory,
    replies: &mut [Option<StoreResult<Reply>>],
) -> StoreResult<Vec<Option<bool>>> {
    let wanted = wanted(calls);
    if wanted.is_empty() {
        return Ok(vec![None; calls.len()]);
    }
    let held = read_held(conn, &wanted)?;
    let mut staged = kv::read_staged(conn, calls.iter().flat_map(kv_of))?;
    let Decided { writes, mut released } = decide(calls, &held, &mut staged, memory.now(), replies)?;
    kv::write_staged(staged, conn)?;
    write(writes, conn, &mut released).await?;
    Ok(released)
}

fn read_held(conn: &mut WriteConnection, keys: &[Key]) -> StoreResult<HashMap<Key, Held>> {
    let held = HELD.read(
        conn,
        keys,
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

async fn write(writes: Writes<'_>, conn: &mut WriteConnection, released: &mut [Option<bool>]) -> StoreResult<()> {
    write_delivered(conn, &writes.delivered)?;
    write_moved(conn, &writes.moved)?;
    write_attempts(conn, &writes.attempts)?;
    static PUT: Each =
        Each("insert into journal (delivery, record) values (?, ?) on conflict do update set record = excluded.record");
    static CLEAR: Each = Each("delete from journal where delivery = ?");
    let journals: Vec<_> = writes.journals.into_iter().collect();
    PUT.write_all(conn, &journals, |query, (key, record)| query.bind(&key.0[..]).bind(record))?;
    // A record pins its version and config again: only the first attempt after a replay may leave them.
    static PIN: Each = Each("update delivery set replayed = 0 where key = ? and replayed = 1");
    let pinned: Vec<Key> = journals.iter().map(|(key, _)| *key).collect();
    PIN.write(conn, &pinned, |query, key| query.bind(&key.0[..]))?;
    CLEAR.write(conn, &writes.cleared, |query, key| query.bind(&key.0[..]))?;
    let places: Vec<order::Place> = writes.left.iter().map(|(_, place)| place.clone()).collect();
    let let_go = order::release(conn, &places)?;
    for (caller, place) in &writes.left {
        released[*caller] = Some(let_go.contains(place));
    }
    for settle in &writes.settled {
        if let (Some(plugin), Some(poll)) = (&settle.plugin, &settle.poll) {
            schedule::settle(conn, &settle.tenant, plugin, poll, settle.now).await?;
        }
    }
    policy::count(conn, &writes.settled)?;
    effect::apply(conn, &writes.settled).await
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
