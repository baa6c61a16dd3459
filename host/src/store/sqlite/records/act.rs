//! What people do with deliveries: replay, discard, retry, cancel, add.

use std::{collections::HashSet, sync::Arc};

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::super::{
    accept::{self, NewRow, bytes},
    direct::WriteConnection,
    order,
    registry::audit,
    row::{Fields, event_columns},
    sql::{Rows, one_row},
};
use crate::{
    clock::Timestamp,
    event::{Event, Target, TenantId},
    id::Key,
    queue::{
        lane::Lane,
        state::{Cause, State, transition},
    },
    store::{
        StoreError, StoreResult,
        ledger::NewDelivery,
        records::{Replay, Selection, Touched},
        registry::AuditEntry,
    },
};

/// A delivery that a person acts on.
struct Chosen {
    key: Key,
    event: Key,
    lane: Lane,
    state: State,
    epoch: u32,
    ordering_key: Option<String>,
}

const CHOSEN: &str =
    "select key, event, tenant, target, shard, state, epoch, ordering_key from delivery where tenant = ";

/// The first condition repeats that of the index, so that it is used.
const DEAD: &str = " and state in (0, 1, 2, 4) and state = 4";

fn read_chosen(row: &sqlx::sqlite::SqliteRow) -> StoreResult<Chosen> {
    let mut fields = Fields::of(row);
    Ok(Chosen {
        key: fields.key()?,
        event: fields.key()?,
        lane: fields.lane()?,
        state: fields.state()?,
        epoch: fields.number()?,
        ordering_key: fields.opt_text()?,
    })
}

/// The deliveries of a selection, oldest first. Those named by key must all be there; of those, and of the others, only
/// the dead count, and the delivered ones where `delivered_before` says so.
async fn choose(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    selection: &Selection,
    delivered_before: Option<Timestamp>,
    limit: u32,
) -> StoreResult<Vec<Chosen>> {
    let mut query = QueryBuilder::<Sqlite>::new(CHOSEN);
    query.push_bind(tenant.as_str().to_owned());
    let state_clause = |query: &mut QueryBuilder<Sqlite>| match delivered_before {
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
        Selection::AllDead => {
            query.push(DEAD);
        }
    }
    query.push(" order by key limit ").push_bind(limit);
    query.build().fetch_all(conn).await?.iter().map(read_chosen).collect()
}

async fn named(conn: &mut SqliteConnection, tenant: &TenantId, keys: &[Key]) -> StoreResult<Vec<Chosen>> {
    static NAMED: Rows = Rows::new(
        "select key, event, tenant, target, shard, state, epoch, ordering_key from delivery where key in (",
        "?",
        ") order by key",
    );
    let wanted: HashSet<Key> = keys.iter().copied().collect();
    let wanted: Vec<Key> = wanted.into_iter().collect();
    let rows = NAMED.read(conn, &wanted, |query, key| query.bind(bytes(*key))).await?;
    let mut found: Vec<Chosen> = rows.iter().map(read_chosen).collect::<StoreResult<_>>()?;
    if found.len() != wanted.len() || found.iter().any(|one| one.lane.tenant != *tenant) {
        return Err(StoreError::NotFound);
    }
    found.sort_by_key(|one| one.key);
    Ok(found)
}

fn move_by(state: State, cause: Cause) -> StoreResult<State> {
    transition(state, cause).map_err(|error| StoreError::Conflict(error.to_string()))
}

fn touched(chosen: &[Chosen]) -> Touched {
    let mut seen = HashSet::new();
    Touched {
        deliveries: chosen.iter().map(|one| one.key).collect(),
        lanes: chosen.iter().map(|one| &one.lane).filter(|lane| seen.insert((*lane).clone())).cloned().collect(),
        unrouted: Vec::new(),
    }
}

/// Re-queues deliveries as the same rows.
pub(super) async fn replay(conn: &mut WriteConnection, replay: Replay, entry: AuditEntry) -> StoreResult<Touched> {
    static REQUEUE: Rows = Rows::new(
        "with won (key, epoch, was, due_at, behind, now) as (values ",
        "(?, ?, ?, ?, ?, ?)",
        ") update delivery set state = 0, tries = 0, due_at = won.due_at, behind = won.behind, replayed = 1, \
         expires_at = case when expires_at > won.now then expires_at end, updated_at = won.now from won \
         where delivery.key = won.key and delivery.epoch = won.epoch and delivery.state = won.was",
    );
    static FORGET: Rows = Rows::new("delete from journal where delivery in (", "?", ")");
    let delivered_before = replay.include_delivered.then_some(replay.now);
    let chosen = choose(conn, &replay.tenant, &replay.selection, delivered_before, replay.limit).await?;
    let mut answer = touched(&chosen);
    let (unrouted, chosen): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|one| one.lane.target == Target::Unrouted);
    let places = chosen.iter().filter_map(|one| one.ordering_key.clone().map(|key| (one.lane.key(), key))).collect();
    let mut occupied = order::occupied(conn, places)?;
    let mut requeued = Vec::with_capacity(chosen.len());
    for (nth, one) in (0_u64..).zip(&chosen) {
        move_by(one.state, Cause::Replay)?;
        let behind = one.ordering_key.as_ref().is_some_and(|key| !occupied.insert((one.lane.key(), key.clone())));
        let later = i64::try_from(nth.saturating_mul(replay.spacing_ms)).unwrap_or(i64::MAX);
        requeued.push((one, replay.now.0.saturating_add(later), behind));
    }
    REQUEUE
        .write_all(conn, &requeued, |query, (one, due_at, behind)| {
            query
                .bind(bytes(one.key))
                .bind(i64::from(one.epoch))
                .bind(one.state.code())
                .bind(*due_at)
                .bind(*behind)
                .bind(replay.now.0)
        })
        .await?;
    if replay.discard_journal {
        FORGET.write(conn, &chosen, |query, one| query.bind(bytes(one.key))).await?;
    }
    end(conn, &unrouted, replay.now).await?;
    for one in &unrouted {
        answer.unrouted.push(Arc::new(event(conn, &replay.tenant, one.event).await?));
    }
    audit::write(conn, entry).await?;
    Ok(answer)
}

/// Cancels what is chosen, and lets the next of its order go.
async fn end(conn: &mut WriteConnection, chosen: &[Chosen], now: Timestamp) -> StoreResult<()> {
    static CANCEL: Rows = Rows::new(
        "with won (key, epoch, was, now) as (values ",
        "(?, ?, ?, ?)",
        ") update delivery set state = 5, behind = 0, updated_at = won.now from won \
         where delivery.key = won.key and delivery.epoch = won.epoch and delivery.state = won.was",
    );
    for one in chosen {
        move_by(one.state, Cause::Cancel)?;
    }
    CANCEL
        .write_all(conn, chosen, |query, one| {
            query.bind(bytes(one.key)).bind(i64::from(one.epoch)).bind(one.state.code()).bind(now.0)
        })
        .await?;
    let left: Vec<order::Place> = chosen
        .iter()
        .filter(|one| one.state.is_live())
        .filter_map(|one| one.ordering_key.clone().map(|key| (one.lane.key(), key)))
        .collect();
    order::release(conn, &left)?;
    Ok(())
}

async fn event(conn: &mut SqliteConnection, tenant: &TenantId, key: Key) -> StoreResult<Event> {
    const EVENT: &str = concat!("select ", event_columns!(), " from event e where e.tenant = ? and e.key = ?");
    let row = sqlx::query(EVENT).bind(tenant.as_str().to_owned()).bind(bytes(key)).fetch_one(conn).await?;
    Fields::of(&row).event()
}

/// Discards dead letters.
pub(super) async fn discard(
    conn: &mut WriteConnection,
    tenant: TenantId,
    selection: Selection,
    limit: u32,
    entry: AuditEntry,
) -> StoreResult<Touched> {
    let chosen = choose(conn, &tenant, &selection, None, limit).await?;
    end(conn, &chosen, entry.at).await?;
    audit::write(conn, entry).await?;
    Ok(touched(&chosen))
}

async fn one(conn: &mut SqliteConnection, tenant: &TenantId, key: Key) -> StoreResult<Chosen> {
    named(conn, tenant, &[key]).await?.pop().ok_or(StoreError::NotFound)
}

/// Makes a delivery that waits due now.
pub(super) async fn retry_now(
    conn: &mut SqliteConnection,
    tenant: TenantId,
    delivery: Key,
    entry: AuditEntry,
) -> StoreResult<Lane> {
    const DUE: &str = "update delivery set due_at = min(due_at, ?), updated_at = ? \
        where key = ? and epoch = ? and state in (0, 2)";
    let chosen = one(conn, &tenant, delivery).await?;
    if !matches!(chosen.state, State::Queued | State::Waiting) {
        return Err(StoreError::Conflict(format!("a {} delivery does not wait", chosen.state)));
    }
    let query = sqlx::query(DUE).bind(entry.at.0).bind(entry.at.0).bind(bytes(delivery));
    one_row(conn, query.bind(i64::from(chosen.epoch))).await?;
    audit::write(conn, entry).await?;
    Ok(chosen.lane)
}

/// Cancels a live delivery.
pub(super) async fn cancel(
    conn: &mut WriteConnection,
    tenant: TenantId,
    delivery: Key,
    entry: AuditEntry,
) -> StoreResult<Lane> {
    let chosen = one(conn, &tenant, delivery).await?;
    if !chosen.state.is_live() {
        return Err(StoreError::Conflict(format!("the delivery is {} already", chosen.state)));
    }
    end(conn, std::slice::from_ref(&chosen), entry.at).await?;
    audit::write(conn, entry).await?;
    Ok(chosen.lane)
}

/// Adds deliveries to an event for targets that have none.
pub(super) async fn add_deliveries(
    conn: &mut WriteConnection,
    tenant: TenantId,
    key: Key,
    deliveries: Vec<NewDelivery>,
    entry: AuditEntry,
) -> StoreResult<Vec<Target>> {
    const TARGETS: &str = "select target from delivery where event = ?";
    let mut event = event(conn, &tenant, key).await?;
    event.expires_at = event.expires_at.filter(|at| *at > entry.at);
    let rows = sqlx::query(TARGETS).bind(bytes(key)).fetch_all(&mut **conn).await?;
    let mut taken: HashSet<Target> = rows.iter().map(|row| Fields::of(row).parsed()).collect::<StoreResult<_>>()?;
    let new: Vec<&NewDelivery> = deliveries.iter().filter(|delivery| taken.insert(delivery.target.clone())).collect();
    let rows: Vec<NewRow> = new.iter().map(|delivery| NewRow::of(&event, delivery, entry.at)).collect();
    let rows: Vec<&NewRow> = rows.iter().collect();
    accept::insert_rows(conn, &rows)?;
    audit::write(conn, entry).await?;
    Ok(new.iter().map(|delivery| delivery.target.clone()).collect())
}
