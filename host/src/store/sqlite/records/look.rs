//! Lists and details of events and deliveries.

use std::sync::Arc;

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{
    super::{
        accept::bytes,
        row::{Fields, event_columns, inconsistent},
    },
    LAST,
};
use crate::{
    clock::Timestamp,
    event::{Event, TenantId},
    id::Key,
    queue::{lane::Lane, state::State},
    store::{
        StoreError, StoreResult,
        records::{AttemptRecord, DeadGroup, DeliveryFilter, DeliveryRow, EventFilter, Page, Recent},
    },
};

/// Keys carry the time of their making, which is at most this much before what they name was stored.
const KEY_SLACK_MS: i64 = 3_600_000;

/// A key before all that were made for things stored at or after `since`.
fn first_key(since: Timestamp) -> Key {
    let millis = u64::try_from(since.0.saturating_sub(KEY_SLACK_MS)).unwrap_or(0).min((1 << 48) - 1);
    let mut key = [0; 16];
    key[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    Key(key)
}

/// An exact type, or all that begin with the part before `*`.
fn push_type(query: &mut QueryBuilder<Sqlite>, event_type: &str) {
    match event_type.strip_suffix('*') {
        Some(prefix) => {
            query.push(" and substr(e.type, 1, length(").push_bind(prefix.to_owned());
            query.push(")) = ").push_bind(prefix.to_owned());
        }
        None => {
            query.push(" and e.type = ").push_bind(event_type.to_owned());
        }
    }
}

/// Deliveries and published events that are counted at most.
const RECENT: i64 = 50_000;

/// What went where since then.
pub(super) async fn recent(conn: &mut SqliteConnection, tenant: &TenantId, since: Timestamp) -> StoreResult<Recent> {
    // The newest ones, which the index of a tenant's deliveries has in order.
    const BY_TARGET: &str = "select target, count(*) from (select target from delivery \
        where tenant = ? and key >= ? order by key desc limit ?) group by target";
    const PUBLISHED: &str = "select count(*) from (select source from event \
        where tenant = ? and key >= ? order by key desc limit ?) where source not like 'switchyard:%'";
    let bound = |sql| sqlx::query(sql).bind(tenant.as_str().to_owned()).bind(bytes(first_key(since))).bind(RECENT);
    let mut recent = Recent::default();
    let mut counted = 0;
    for row in &bound(BY_TARGET).fetch_all(&mut *conn).await? {
        let mut fields = Fields::of(row);
        let (target, count): (String, u64) = (fields.text()?, fields.number()?);
        counted += count;
        recent.by_target.push((target, count));
    }
    recent.published = Fields::of(&bound(PUBLISHED).fetch_one(conn).await?).number()?;
    recent.at_least = counted >= RECENT.unsigned_abs() || recent.published >= RECENT.unsigned_abs();
    Ok(recent)
}

/// Events, newest first.
pub(super) async fn events(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    filter: EventFilter,
    page: Page,
) -> StoreResult<Vec<Arc<Event>>> {
    const START: &str = concat!("select ", event_columns!(), " from event e where e.tenant = ");
    let mut query = QueryBuilder::<Sqlite>::new(START);
    query.push_bind(tenant.as_str().to_owned());
    // The plus keeps SQLite from walking all of the tenant's when it could look up those of the correlation id.
    let key = if filter.correlation_id.is_some() { "+e.key" } else { "e.key" };
    query.push(" and ").push(key).push(" < ").push_bind(bytes(page.after.unwrap_or(LAST)));
    if let Some(correlation_id) = filter.correlation_id {
        query.push(" and e.correlation_id = ").push_bind(correlation_id);
    }
    if let Some(subject) = filter.subject {
        query.push(" and e.subject = ").push_bind(subject);
    }
    if let Some(event_type) = &filter.event_type {
        push_type(&mut query, event_type);
    }
    if let Some(since) = filter.since {
        query.push(" and e.key > ").push_bind(bytes(first_key(since)));
        query.push(" and e.accepted_at >= ").push_bind(since.0);
    }
    if let Some(until) = filter.until {
        query.push(" and e.accepted_at < ").push_bind(until.0);
    }
    query.push(" order by ").push(key).push(" desc limit ").push_bind(page.limit);
    let rows = query.build().fetch_all(conn).await?;
    rows.iter().map(|row| Ok(Arc::new(Fields::of(row).event()?))).collect()
}

/// One event by its public id.
pub(super) async fn event(conn: &mut SqliteConnection, tenant: &TenantId, id: &str) -> StoreResult<Arc<Event>> {
    const EVENT: &str = concat!("select ", event_columns!(), " from event e where e.tenant = ? and e.id = ?");
    let row = sqlx::query(EVENT).bind(tenant.as_str().to_owned()).bind(id.to_owned()).fetch_one(conn).await?;
    Ok(Arc::new(Fields::of(&row).event()?))
}

const DELIVERY: &str = "select d.key, d.event, e.id, e.type, e.correlation_id, d.tenant, d.target, d.shard, d.state, \
    d.due_at, d.epoch, d.tries, d.crashes, d.reason, d.code, d.message, d.fingerprint, d.created_at, d.updated_at, \
    d.expires_at, d.behind from delivery d cross join event e on e.tenant = d.tenant and e.key = d.event \
    where ";

fn read_delivery(fields: &mut Fields<'_>) -> StoreResult<DeliveryRow> {
    let (key, event, event_id) = (fields.key()?, fields.key()?, fields.shared()?);
    let (event_type, correlation_id) = (fields.text()?, fields.shared()?);
    let lane: Lane = fields.lane()?;
    Ok(DeliveryRow {
        key,
        tenant: lane.tenant.clone(),
        event,
        event_id,
        event_type,
        correlation_id,
        target: lane.target.clone(),
        lane,
        state: fields.state()?,
        due_at: fields.time()?,
        epoch: fields.number()?,
        tries: fields.number()?,
        crashes: fields.number()?,
        failure: fields.failure()?,
        fingerprint: fields.opt_text()?,
        created_at: fields.time()?,
        updated_at: fields.time()?,
        expires_at: fields.opt_time()?,
        behind: fields.flag()?,
    })
}

/// Deliveries, newest first. Few states are read state by state, each from the index of what is not over, so that a
/// handful of waiting ones is found among a million delivered.
pub(super) async fn deliveries(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    filter: &DeliveryFilter,
    page: Page,
) -> StoreResult<Vec<DeliveryRow>> {
    let open = |state: &State| state.is_live() || *state == State::Dead;
    if filter.states.is_empty() || !filter.states.iter().all(open) {
        return deliveries_in(conn, tenant, filter, page, None).await;
    }
    let mut states = filter.states.clone();
    states.sort_by_key(|state| state.code());
    states.dedup();
    let mut found = Vec::new();
    for state in states {
        found.append(&mut deliveries_in(conn, tenant, filter, page, Some(state)).await?);
    }
    found.sort_by_key(|row| std::cmp::Reverse(row.key));
    found.truncate(usize::try_from(page.limit).unwrap_or(usize::MAX));
    Ok(found)
}

async fn deliveries_in(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    filter: &DeliveryFilter,
    page: Page,
    state: Option<State>,
) -> StoreResult<Vec<DeliveryRow>> {
    let mut query = QueryBuilder::<Sqlite>::new(DELIVERY);
    // The plus keeps SQLite from walking all of the tenant's when it could look up the event's.
    query.push(if filter.event.is_some() { "+d.tenant = " } else { "d.tenant = " });
    query.push_bind(tenant.as_str().to_owned());
    query.push(" and d.key < ").push_bind(bytes(page.after.unwrap_or(LAST)));
    match state {
        // Both conditions, and the number written out, so that the partial index is used.
        Some(state) => {
            query.push(" and d.state in (0, 1, 2, 4) and d.state = ").push(state.code());
        }
        None if filter.states.is_empty() => {}
        None => {
            query.push(" and d.state in (");
            let mut codes = query.separated(", ");
            for state in &filter.states {
                codes.push(state.code());
            }
            query.push(")");
        }
    }
    if let Some(event) = filter.event {
        query.push(" and d.event = ").push_bind(bytes(event));
    }
    if let Some(fingerprint) = &filter.fingerprint {
        query.push(" and d.fingerprint = ").push_bind(fingerprint.clone());
    }
    if let Some(reason) = &filter.reason {
        query.push(" and d.reason = ").push_bind(reason.clone());
    }
    if let Some(target) = &filter.target {
        query.push(" and d.target = ").push_bind(target.to_string());
    }
    if let Some(event_type) = &filter.event_type {
        push_type(&mut query, event_type);
    }
    if let Some(since) = filter.since {
        query.push(" and d.key > ").push_bind(bytes(first_key(since)));
        query.push(" and d.created_at >= ").push_bind(since.0);
    }
    query.push(" order by d.key desc limit ").push_bind(page.limit);
    let rows = query.build().fetch_all(conn).await?;
    rows.iter().map(|row| read_delivery(&mut Fields::of(row))).collect()
}

/// One delivery.
pub(super) async fn delivery(conn: &mut SqliteConnection, tenant: &TenantId, key: Key) -> StoreResult<DeliveryRow> {
    let mut query = QueryBuilder::<Sqlite>::new(DELIVERY);
    query.push("d.tenant = ").push_bind(tenant.as_str().to_owned()).push(" and d.key = ").push_bind(bytes(key));
    read_delivery(&mut Fields::of(&query.build().fetch_one(conn).await?))
}

/// The attempts of a delivery, in order.
pub(super) async fn attempts(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    delivery: Key,
) -> StoreResult<Vec<AttemptRecord>> {
    const THERE: &str = "select 1 from delivery where tenant = ? and key = ?";
    const ATTEMPTS: &str = "select number, started_at, duration_us, outcome, reason, code, message, status, \
        plugin_version, detail from attempt where delivery = ? order by number";
    let there = sqlx::query(THERE).bind(tenant.as_str().to_owned()).bind(bytes(delivery));
    if there.fetch_optional(&mut *conn).await?.is_none() {
        return Err(StoreError::NotFound);
    }
    let rows = sqlx::query(ATTEMPTS).bind(bytes(delivery)).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok(AttemptRecord {
                number: fields.number()?,
                started_at: fields.time()?,
                duration_us: fields.number()?,
                outcome: fields.text()?,
                failure: fields.failure()?,
                status: fields.opt_number()?,
                plugin_version: fields.opt_text()?,
                detail: fields.opt_text()?,
            })
        })
        .collect()
}

/// Dead letters that failed alike, those of the newest death first.
pub(super) async fn dead_groups(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    limit: u32,
) -> StoreResult<Vec<DeadGroup>> {
    // Beside a single `max`, the other columns are those of the row that has it: the newest of the group.
    const GROUPS: &str = "with newest as (select fingerprint, target, reason, code, message, key, count(*) as count, \
          max(updated_at) as last_at from delivery where tenant = ?1 and state = 4 \
          group by fingerprint order by last_at desc, key desc limit ?2) \
        select fingerprint, target, reason, code, message, count, (select min(updated_at) from delivery o \
          where o.tenant = ?1 and o.fingerprint = newest.fingerprint and o.state = 4), last_at, key from newest \
        order by last_at desc, key desc";
    let rows = sqlx::query(GROUPS).bind(tenant.as_str().to_owned()).bind(limit).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok(DeadGroup {
                fingerprint: fields.text()?,
                target: fields.parsed()?,
                failure: fields.failure()?.ok_or_else(|| inconsistent("reason"))?,
                count: fields.number()?,
                first_at: fields.time()?,
                last_at: fields.time()?,
                sample: fields.key()?,
            })
        })
        .collect()
}
