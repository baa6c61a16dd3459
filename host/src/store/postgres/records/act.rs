//! What people do with deliveries: replay, discard, retry, cancel, add.
//!
//! What is chosen is read first and locked then, in the order of keys; what changed in between is left as it is.

use std::collections::{HashMap, HashSet};

use sqlx::{PgConnection, Postgres, QueryBuilder, postgres::PgRow};

use super::super::{
    order::{self, all_touched},
    registry::{audit, write::one_row},
    row::Fields,
};
use crate::{
    clock::Timestamp,
    event::{Target, TenantId},
    id::Key,
    queue::{
        lane::Lane,
        state::{Cause, State, transition},
    },
    store::{
        StoreError, StoreResult,
        records::{Replay, Selection, Touched},
        registry::AuditEntry,
    },
};

/// A delivery that a person acts on.
#[derive(Clone)]
pub(super) struct Chosen {
    pub(super) key: Key,
    pub(super) lane: Lane,
    pub(super) state: State,
    pub(super) epoch: u32,
    pub(super) ordering_key: Option<String>,
}

pub(super) const CHOSEN: &str =
    "select key, tenant, target, shard, state, epoch, ordering_key from delivery where tenant = ";

/// The first condition repeats that of the index, so that it is used.
const DEAD: &str = " and state in (0, 1, 2, 4) and state = 4";

/// What can be queued again by itself. Of an event that was emptied for a person there is nothing to deliver.
const ROUTED: &str = " and target != 'unrouted' and not exists (select 1 from event e where e.tenant = delivery.tenant \
    and e.key = delivery.event and e.erased_at is not null)";

pub(super) fn read_chosen(row: &PgRow) -> StoreResult<Chosen> {
    let mut fields = Fields::of(row);
    Ok(Chosen {
        key: fields.key()?,
        lane: fields.lane()?,
        state: fields.state()?,
        epoch: fields.number()?,
        ordering_key: fields.opt_text()?,
    })
}

/// Locks deliveries by key until the transaction ends, and reads them as they are.
async fn lock(conn: &mut PgConnection, keys: &[Key]) -> StoreResult<Vec<Chosen>> {
    const LOCK: &str = "select d.key, d.tenant, d.target, d.shard, d.state, d.epoch, d.ordering_key \
        from unnest($1::bytea[]) as wanted (key) join delivery d on d.key = wanted.key order by d.key for update of d";
    let keys: Vec<[u8; 16]> = keys.iter().map(|key| key.0).collect();
    sqlx::query(LOCK).bind(keys).fetch_all(conn).await?.iter().map(read_chosen).collect()
}

/// Locks those of `chosen` that are still as they were read.
pub(super) async fn lock_unchanged(conn: &mut PgConnection, chosen: Vec<Chosen>) -> StoreResult<Vec<Chosen>> {
    let keys: Vec<Key> = chosen.iter().map(|one| one.key).collect();
    let read: HashMap<Key, (State, u32)> = chosen.into_iter().map(|one| (one.key, (one.state, one.epoch))).collect();
    let mut locked = lock(conn, &keys).await?;
    locked.retain(|one| read.get(&one.key) == Some(&(one.state, one.epoch)));
    Ok(locked)
}

/// Where the deliveries stand in order.
pub(super) fn places<'c>(chosen: impl IntoIterator<Item = &'c Chosen>) -> Vec<order::Place> {
    chosen.into_iter().filter_map(|one| one.ordering_key.clone().map(|key| (one.lane.key(), key))).collect()
}

/// The deliveries of a selection, oldest first and locked. Those named by key must all be there; of those, and of the
/// others, only the dead count, and the delivered ones where `delivered_before` says so.
async fn choose(
    conn: &mut PgConnection,
    tenant: &TenantId,
    selection: &Selection,
    delivered_before: Option<Timestamp>,
    only: Option<&'static str>,
    limit: u32,
) -> StoreResult<Vec<Chosen>> {
    let mut query = QueryBuilder::<Postgres>::new(CHOSEN);
    query.push_bind(tenant.as_str().to_owned());
    let state_clause = |query: &mut QueryBuilder<Postgres>| match delivered_before {
        // What this replay delivered again must not be taken by its next step.
        Some(before) => {
            query.push(" and (state = 4 or (state = 3 and updated_at < ").push_bind(before.0).push("))");
        }
        None => {
            query.push(DEAD);
        }
    };
    match selection {
        Selection::Deliveries(keys) => {
            let named = named(conn, tenant, keys).await?;
            let fits = |one: &Chosen| {
                one.state == State::Dead || (one.state == State::Delivered && delivered_before.is_some())
            };
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            return Ok(named.into_iter().filter(fits).take(limit).collect());
        }
        Selection::Fingerprint(fingerprint) => {
            query.push(" and state = 4 and fingerprint = ").push_bind(fingerprint.clone());
        }
        Selection::Target(target, since) => {
            state_clause(&mut query);
            query.push(" and target = ").push_bind(target.to_string());
            query.push(" and created_at >= ").push_bind(since.unwrap_or_default().0);
        }
        Selection::Window { target, from, to } => {
            state_clause(&mut query);
            query.push(" and target = ").push_bind(target.to_string());
            query.push(" and created_at >= ").push_bind(from.unwrap_or_default().0);
            query.push(" and created_at < ").push_bind(to.map_or(i64::MAX, |to| to.0));
        }
        Selection::AllDead => {
            query.push(DEAD);
        }
    }
    if let Some(only) = only {
        query.push(only);
    }
    query.push(" order by key limit ").push_bind(i64::from(limit));
    let chosen = query.build().fetch_all(&mut *conn).await?.iter().map(read_chosen).collect::<StoreResult<_>>()?;
    lock_unchanged(conn, chosen).await
}

/// Deliveries by key, locked. All must be there, and the tenant's.
async fn named(conn: &mut PgConnection, tenant: &TenantId, keys: &[Key]) -> StoreResult<Vec<Chosen>> {
    let wanted: HashSet<Key> = keys.iter().copied().collect();
    let wanted: Vec<Key> = wanted.into_iter().collect();
    let found = lock(conn, &wanted).await?;
    if found.len() != wanted.len() || found.iter().any(|one| one.lane.tenant != *tenant) {
        return Err(StoreError::NotFound);
    }
    Ok(found)
}

pub(super) fn move_by(state: State, cause: Cause) -> StoreResult<State> {
    transition(state, cause).map_err(|error| StoreError::Conflict(error.to_string()))
}

pub(super) fn touched(chosen: &[Chosen]) -> Touched {
    let mut seen = HashSet::new();
    Touched {
        deliveries: chosen.iter().map(|one| one.key).collect(),
        lanes: chosen.iter().map(|one| &one.lane).filter(|lane| seen.insert((*lane).clone())).cloned().collect(),
    }
}

/// Re-queues deliveries as the same rows.
pub(super) async fn replay(conn: &mut PgConnection, replay: &Replay, entry: &AuditEntry) -> StoreResult<Touched> {
    const REQUEUE: &str = "update delivery set state = 0, tries = 0, due_at = won.due_at, behind = won.behind, \
          replayed = true, expires_at = case when expires_at > $6 then expires_at end, updated_at = $6 \
        from unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[]) \
          as won (key, epoch, was, due_at, behind) \
        where delivery.key = won.key and delivery.epoch = won.epoch and delivery.state = won.was";
    const FORGET: &str = "delete from journal j using unnest($1::bytea[]) as gone (key) where j.delivery = gone.key";
    let delivered_before = replay.include_delivered.then_some(replay.now);
    let mut chosen =
        choose(conn, &replay.tenant, &replay.selection, delivered_before, Some(ROUTED), replay.limit).await?;
    let emptied = of_emptied(conn, &chosen).await?;
    chosen.retain(|one| one.lane.target != Target::Unrouted && !emptied.contains(&one.key));
    let places: HashSet<order::Place> = places(&chosen).into_iter().collect();
    order::lock(conn, &places).await?;
    let mut occupied = order::occupied(conn, places).await?;
    let (mut due, mut behind) = (Vec::with_capacity(chosen.len()), Vec::with_capacity(chosen.len()));
    for (nth, one) in (0_u64..).zip(&chosen) {
        move_by(one.state, Cause::Replay)?;
        let later = i64::try_from(nth.saturating_mul(replay.spacing_ms)).unwrap_or(i64::MAX);
        due.push(replay.now.0.saturating_add(later));
        behind.push(one.ordering_key.as_ref().is_some_and(|key| !occupied.insert((one.lane.key(), key.clone()))));
    }
    let keys: Vec<[u8; 16]> = chosen.iter().map(|one| one.key.0).collect();
    let requeued = sqlx::query(REQUEUE)
        .bind(&keys)
        .bind(chosen.iter().map(|one| i64::from(one.epoch)).collect::<Vec<_>>())
        .bind(chosen.iter().map(|one| one.state.code()).collect::<Vec<_>>())
        .bind(due)
        .bind(behind)
        .bind(replay.now.0)
        .execute(&mut *conn)
        .await?;
    all_touched(chosen.len(), requeued.rows_affected())?;
    if replay.discard_journal {
        sqlx::query(FORGET).bind(&keys).execute(&mut *conn).await?;
    }
    audit::write(conn, entry).await?;
    Ok(touched(&chosen))
}

/// Those of the chosen whose event was emptied for a person.
async fn of_emptied(conn: &mut PgConnection, chosen: &[Chosen]) -> StoreResult<HashSet<Key>> {
    const EMPTIED: &str = "select d.key from unnest($1::bytea[]) as wanted (key) join delivery d on d.key = wanted.key \
        join event e on e.tenant = d.tenant and e.key = d.event where e.erased_at is not null";
    let keys: Vec<[u8; 16]> = chosen.iter().map(|one| one.key.0).collect();
    let rows = sqlx::query(EMPTIED).bind(keys).fetch_all(conn).await?;
    rows.iter().map(|row| Fields::of(row).key()).collect()
}

/// Cancels what is not over of an event, and its dead letters. Call it while the event is locked.
pub(in super::super) async fn end_of_event(
    conn: &mut PgConnection,
    tenant: &TenantId,
    event: Key,
    now: Timestamp,
) -> StoreResult<Touched> {
    const OPEN: &str = "select key, tenant, target, shard, state, epoch, ordering_key from delivery \
        where event = $1 and tenant = $2 and state in (0, 1, 2, 4) order by key for update";
    let open = sqlx::query(OPEN).bind(event.0).bind(tenant.as_str()).fetch_all(&mut *conn).await?;
    let open: Vec<Chosen> = open.iter().map(read_chosen).collect::<StoreResult<_>>()?;
    end(conn, &open, now).await?;
    Ok(touched(&open))
}

/// Cancels what is chosen and locked, and lets the next of its order go.
pub(super) async fn end(conn: &mut PgConnection, chosen: &[Chosen], now: Timestamp) -> StoreResult<()> {
    const CANCEL: &str = "update delivery set state = 5, behind = false, updated_at = $4 \
        from unnest($1::bytea[], $2::bigint[], $3::bigint[]) as won (key, epoch, was) \
        where delivery.key = won.key and delivery.epoch = won.epoch and delivery.state = won.was";
    for one in chosen {
        move_by(one.state, Cause::Cancel)?;
    }
    let left = places(chosen.iter().filter(|one| one.state.is_live()));
    order::lock(conn, &left).await?;
    let cancelled = sqlx::query(CANCEL)
        .bind(chosen.iter().map(|one| one.key.0).collect::<Vec<_>>())
        .bind(chosen.iter().map(|one| i64::from(one.epoch)).collect::<Vec<_>>())
        .bind(chosen.iter().map(|one| one.state.code()).collect::<Vec<_>>())
        .bind(now.0)
        .execute(&mut *conn)
        .await?;
    all_touched(chosen.len(), cancelled.rows_affected())?;
    order::release(conn, &left).await?;
    Ok(())
}

/// Discards dead letters.
pub(super) async fn discard(
    conn: &mut PgConnection,
    tenant: &TenantId,
    selection: &Selection,
    limit: u32,
    entry: &AuditEntry,
) -> StoreResult<Touched> {
    let chosen = choose(conn, tenant, selection, None, None, limit).await?;
    end(conn, &chosen, entry.at).await?;
    audit::write(conn, entry).await?;
    Ok(touched(&chosen))
}

async fn one(conn: &mut PgConnection, tenant: &TenantId, key: Key) -> StoreResult<Chosen> {
    named(conn, tenant, &[key]).await?.pop().ok_or(StoreError::NotFound)
}

/// Makes a delivery that waits due now.
pub(super) async fn retry_now(
    conn: &mut PgConnection,
    tenant: &TenantId,
    delivery: Key,
    entry: &AuditEntry,
) -> StoreResult<Lane> {
    const DUE: &str = "update delivery set due_at = least(due_at, $1), updated_at = $1 \
        where key = $2 and epoch = $3 and state in (0, 2)";
    let chosen = one(conn, tenant, delivery).await?;
    if !matches!(chosen.state, State::Queued | State::Waiting) {
        return Err(StoreError::Conflict(format!("a {} delivery does not wait", chosen.state)));
    }
    let query = sqlx::query(DUE).bind(entry.at.0).bind(delivery.0);
    one_row(conn, query.bind(i64::from(chosen.epoch))).await?;
    audit::write(conn, entry).await?;
    Ok(chosen.lane)
}

/// Cancels a live delivery.
pub(super) async fn cancel(
    conn: &mut PgConnection,
    tenant: &TenantId,
    delivery: Key,
    entry: &AuditEntry,
) -> StoreResult<Lane> {
    let chosen = one(conn, tenant, delivery).await?;
    if !chosen.state.is_live() {
        return Err(StoreError::Conflict(format!("the delivery is {} already", chosen.state)));
    }
    end(conn, std::slice::from_ref(&chosen), entry.at).await?;
    audit::write(conn, entry).await?;
    Ok(chosen.lane)
}
