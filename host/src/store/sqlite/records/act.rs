//! What people do with deliveries: replay, discard, retry, cancel, add.

use std::collections::HashSet;

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::super::{
    accept::bytes,
    direct::WriteConnection,
    order,
    registry::audit,
    row::Fields,
    sql::{Rows, one_row},
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

pub(super) fn read_chosen(row: &sqlx::sqlite::SqliteRow) -> StoreResult<Chosen> {
    let mut fields = Fields::of(row);
    Ok(Chosen {
        key: fields.key()?,
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
    only: Option<&'static str>,
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
    query.push(" order by key limit ").push_bind(limit);
    query.build().fetch_all(conn).await?.iter().map(read_chosen).collect()
}

async fn named(conn: &mut SqliteConnection, tenant: &TenantId, keys: &[Key]) -> StoreResult<Vec<Chosen>> {
    static NAMED: Rows = Rows::new(
        "select key, tenant, target, shard, state, epoch, ordering_key from delivery where key in (",
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
    let mut chosen =
        choose(conn, &replay.tenant, &replay.selection, delivered_before, Some(ROUTED), replay.limit).await?;
    let emptied = of_emptied(conn, &chosen).await?;
    chosen.retain(|one| one.lane.target != Target::Unrouted && !emptied.contains(&one.key));
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
    audit::write(conn, entry).await?;
    Ok(touched(&chosen))
}

/// Those of the chosen whose event was emptied for a person.
async fn of_emptied(conn: &mut SqliteConnection, chosen: &[Chosen]) -> StoreResult<HashSet<Key>> {
    static EMPTIED: Rows = Rows::new(
        "select d.key from delivery d join event e on e.tenant = d.tenant and e.key = d.event \
         where e.erased_at is not null and d.key in (",
        "?",
        ")",
    );
    let rows = EMPTIED.read(conn, chosen, |query, one| query.bind(bytes(one.key))).await?;
    rows.iter().map(|row| Fields::of(row).key()).collect()
}

/// Cancels what is not over of an event, and its dead letters.
pub(in super::super) async fn end_of_event(
    conn: &mut WriteConnection,
    tenant: &TenantId,
    event: Key,
    now: Timestamp,
) -> StoreResult<Touched> {
    const OPEN: &str = "select key, tenant, target, shard, state, epoch, ordering_key from delivery \
        where event = ? and tenant = ? and state in (0, 1, 2, 4) order by key";
    let query = sqlx::query(OPEN).bind(bytes(event)).bind(tenant.as_str().to_owned());
    let open = query.fetch_all(&mut **conn).await?;
    let open: Vec<Chosen> = open.iter().map(read_chosen).collect::<StoreResult<_>>()?;
    end(conn, &open, now).await?;
    Ok(touched(&open))
}

/// Cancels what is chosen, and lets the next of its order go.
pub(super) async fn end(conn: &mut WriteConnection, chosen: &[Chosen], now: Timestamp) -> StoreResult<()> {
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

/// Discards dead letters.
pub(super) async fn discard(
    conn: &mut WriteConnection,
    tenant: TenantId,
    selection: Selection,
    limit: u32,
    entry: AuditEntry,
) -> StoreResult<Touched> {
    let chosen = choose(conn, &tenant, &selection, None, None, limit).await?;
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
