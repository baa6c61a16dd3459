//! Lists and details of deliveries.

use sqlx::{PgConnection, Postgres, QueryBuilder, postgres::PgRow};

use super::{
    super::row::{Fields, inconsistent},
    LAST,
    look::{first_key, push_type},
};
use crate::{
    event::TenantId,
    id::Key,
    queue::{lane::Lane, state::State},
    store::{
        StoreError, StoreResult,
        records::{AttemptRecord, DeadGroup, DeliveryFilter, DeliveryRow, Page},
    },
};

/// Deliveries of a tenant with what is known of their events, which are looked up one by one: `offset 0` keeps the
/// planner from reading all events instead.
macro_rules! deliveries_of {
    ($deliveries:literal) => {
        concat!(
            "select d.key, d.event, e.id, e.type, e.correlation_id, d.tenant, d.target, d.shard, d.state, d.due_at, \
             d.epoch, d.tries, d.crashes, d.reason, d.code, d.message, d.fingerprint, d.created_at, d.updated_at, \
             d.expires_at, d.behind from ",
            $deliveries,
            " d cross join lateral (select id, type, correlation_id from event \
               where tenant = d.tenant and key = d.event offset 0) as e where d.tenant = "
        )
    };
}

fn read_delivery(row: &PgRow) -> StoreResult<DeliveryRow> {
    let mut fields = Fields::of(row);
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
pub(super) async fn list(
    conn: &mut PgConnection,
    tenant: &TenantId,
    filter: &DeliveryFilter,
    page: Page,
) -> StoreResult<Vec<DeliveryRow>> {
    let open = |state: &State| state.is_live() || *state == State::Dead;
    if filter.states.is_empty() || !filter.states.iter().all(open) {
        return list_in(conn, tenant, filter, page, None).await;
    }
    let mut states = filter.states.clone();
    states.sort_by_key(|state| state.code());
    states.dedup();
    let mut found = Vec::new();
    for state in states {
        found.append(&mut list_in(conn, tenant, filter, page, Some(state)).await?);
    }
    found.sort_by_key(|row| std::cmp::Reverse(row.key));
    found.truncate(usize::try_from(page.limit).unwrap_or(usize::MAX));
    Ok(found)
}

async fn list_in(
    conn: &mut PgConnection,
    tenant: &TenantId,
    filter: &DeliveryFilter,
    page: Page,
    state: Option<State>,
) -> StoreResult<Vec<DeliveryRow>> {
    let mut query = QueryBuilder::<Postgres>::new("");
    match filter.event {
        // Those of an event are few and found by it.
        Some(event) => {
            query.push("with found as materialized (select * from delivery where event = ").push_bind(event.0);
            query.push(") ").push(deliveries_of!("found"));
        }
        None => {
            query.push(deliveries_of!("delivery"));
        }
    }
    query.push_bind(tenant.as_str().to_owned());
    query.push(" and d.key < ").push_bind(page.after.unwrap_or(LAST).0);
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
        query.push(" and d.key > ").push_bind(first_key(since).0);
        query.push(" and d.created_at >= ").push_bind(since.0);
    }
    query.push(" order by d.key desc limit ").push_bind(i64::from(page.limit));
    query.build().fetch_all(conn).await?.iter().map(read_delivery).collect()
}

/// One delivery.
pub(super) async fn one(conn: &mut PgConnection, tenant: &TenantId, key: Key) -> StoreResult<DeliveryRow> {
    const ONE: &str = concat!(deliveries_of!("delivery"), "$1 and d.key = $2");
    read_delivery(&sqlx::query(ONE).bind(tenant.as_str()).bind(key.0).fetch_one(conn).await?)
}

/// The attempts of a delivery, in order.
pub(super) async fn attempts(
    conn: &mut PgConnection,
    tenant: &TenantId,
    delivery: Key,
) -> StoreResult<Vec<AttemptRecord>> {
    const THERE: &str = "select 1 from delivery where tenant = $1 and key = $2";
    const ATTEMPTS: &str = "select number, started_at, duration_us, outcome, reason, code, message, status, \
        plugin_version, detail from attempt where delivery = $1 order by number";
    let there = sqlx::query(THERE).bind(tenant.as_str()).bind(delivery.0);
    if there.fetch_optional(&mut *conn).await?.is_none() {
        return Err(StoreError::NotFound);
    }
    let rows = sqlx::query(ATTEMPTS).bind(delivery.0).fetch_all(conn).await?;
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
pub(super) async fn dead_groups(conn: &mut PgConnection, tenant: &TenantId, limit: u32) -> StoreResult<Vec<DeadGroup>> {
    const GROUPS: &str = "select g.fingerprint, n.target, n.reason, n.code, n.message, g.count, g.first_at, g.last_at, \
          n.key from (select fingerprint, count(*) as count, min(updated_at) as first_at, max(updated_at) as last_at \
            from delivery where tenant = $1 and state = 4 group by fingerprint order by last_at desc limit $2) as g \
        cross join lateral (select target, reason, code, message, key from delivery d where d.tenant = $1 \
          and d.state = 4 and d.fingerprint = g.fingerprint and d.updated_at = g.last_at order by key desc limit 1) as n \
        order by g.last_at desc, n.key desc";
    let rows = sqlx::query(GROUPS).bind(tenant.as_str()).bind(i64::from(limit)).fetch_all(conn).await?;
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
