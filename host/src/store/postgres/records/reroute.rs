//! Events routed anew: deliveries for targets that have none, and the end of a dead letter that had no handler.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;

use super::{
    super::{
        accept::{self, NewRow},
        order,
        registry::{audit, write::one_row},
        row::{Fields, event_columns},
    },
    act,
};
use crate::{
    event::{Event, Target, TenantId},
    id::Key,
    queue::reason::Failure,
    store::{
        StoreError, StoreResult,
        group::rows_of,
        ledger::{NewDelivery, NewEvent, Start},
        records::{EventRoutes, Rerouted},
        registry::AuditEntry,
    },
};

/// Adds deliveries to events for targets that have none. Whoever adds holds the event, so that two do not add the same.
pub(super) async fn add_deliveries(
    conn: &mut PgConnection,
    tenant: &TenantId,
    routes: &[EventRoutes],
    entry: &AuditEntry,
) -> StoreResult<Vec<Rerouted>> {
    let mut events = lock_events(conn, tenant, routes).await?;
    let mut rerouted = Vec::with_capacity(routes.len());
    for routes in routes {
        // Of an event that was emptied for a person there is nothing to deliver.
        if is_emptied(conn, tenant, routes.event).await? {
            rerouted.push(Rerouted::default());
            continue;
        }
        let event = events.get_mut(&routes.event).ok_or(StoreError::NotFound)?;
        event.expires_at = event.expires_at.filter(|at| *at > entry.at);
        rerouted.push(add_to_event(conn, event, routes, entry).await?);
    }
    audit::write(conn, entry).await?;
    Ok(rerouted)
}

async fn is_emptied(conn: &mut PgConnection, tenant: &TenantId, event: Key) -> StoreResult<bool> {
    const EMPTIED: &str = "select 1 from event where tenant = $1 and key = $2 and erased_at is not null";
    let row = sqlx::query(EMPTIED).bind(tenant.as_str()).bind(event.0).fetch_optional(conn).await?;
    Ok(row.is_some())
}

async fn lock_events(
    conn: &mut PgConnection,
    tenant: &TenantId,
    routes: &[EventRoutes],
) -> StoreResult<HashMap<Key, Event>> {
    const LOCK: &str = concat!(
        "select ",
        event_columns!(),
        " from unnest($2::bytea[]) as wanted (key) join event e on e.tenant = $1 and e.key = wanted.key \
          order by e.key for update of e"
    );
    let wanted: Vec<[u8; 16]> = routes.iter().map(|routes| routes.event.0).collect();
    let rows = sqlx::query(LOCK).bind(tenant.as_str()).bind(wanted).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let event = Fields::of(row).event()?;
            Ok((event.key, event))
        })
        .collect()
}

async fn add_to_event(
    conn: &mut PgConnection,
    event: &Event,
    routes: &EventRoutes,
    entry: &AuditEntry,
) -> StoreResult<Rerouted> {
    const TARGETS: &str = "select target from delivery where event = $1";
    let rows = sqlx::query(TARGETS).bind(routes.event.0).fetch_all(&mut *conn).await?;
    let mut taken: HashSet<Target> = rows.iter().map(|row| Fields::of(row).parsed()).collect::<StoreResult<_>>()?;
    let handled = match unrouted(conn, &event.tenant, routes.event).await? {
        Some(dead) => Some(end_unrouted(conn, routes, &dead, entry).await?),
        None => None,
    };
    let new: Vec<&NewDelivery> =
        routes.deliveries.iter().filter(|delivery| taken.insert(delivery.target.clone())).collect();
    let told: Vec<&NewEvent> = new.iter().filter_map(|delivery| delivery.told.as_deref()).collect();
    let mut rows: Vec<NewRow> = new.iter().map(|delivery| NewRow::of(event, delivery, entry.at)).collect();
    for row in &mut rows {
        row.due_at = routes.due_at;
    }
    let telling: Vec<NewRow> = told.iter().flat_map(|new| rows_of(new)).collect();
    order::lock(conn, &order::places(rows.iter().chain(&telling)).collect::<Vec<_>>()).await?;
    accept::insert_rows(conn, &rows.iter().collect::<Vec<_>>()).await?;
    accept::tell(conn, &told).await?;
    Ok(Rerouted { targets: new.iter().map(|delivery| delivery.target.clone()).collect(), handled })
}

/// The dead letter of an event that found no handler.
async fn unrouted(conn: &mut PgConnection, tenant: &TenantId, event: Key) -> StoreResult<Option<act::Chosen>> {
    const UNROUTED: &str = "select key, tenant, target, shard, state, epoch, ordering_key from delivery \
        where event = $1 and target = 'unrouted' and tenant = $2 and state = 4 for update";
    let query = sqlx::query(UNROUTED).bind(event.0).bind(tenant.as_str());
    query.fetch_optional(conn).await?.map(|row| act::read_chosen(&row)).transpose()
}

/// Cancels it, or gives it the reason of today. Answers whether it was cancelled.
async fn end_unrouted(
    conn: &mut PgConnection,
    routes: &EventRoutes,
    dead: &act::Chosen,
    entry: &AuditEntry,
) -> StoreResult<bool> {
    let still = routes.deliveries.iter().find_map(|delivery| match (&delivery.target, &delivery.start) {
        (Target::Unrouted, Start::Dead(failure)) => Some(failure),
        _ => None,
    });
    match still {
        Some(failure) => {
            explain(conn, dead.key, failure, entry).await?;
            Ok(false)
        }
        None => {
            act::end(conn, std::slice::from_ref(dead), entry.at).await?;
            Ok(true)
        }
    }
}

async fn explain(conn: &mut PgConnection, delivery: Key, failure: &Failure, entry: &AuditEntry) -> StoreResult<()> {
    const EXPLAIN: &str = "update delivery set reason = $1, code = $2, message = $3, fingerprint = $4, updated_at = $5 \
        where key = $6 and state = 4";
    let query = sqlx::query(EXPLAIN)
        .bind(failure.reason.as_str())
        .bind(&*failure.code)
        .bind(&*failure.message)
        .bind(failure.fingerprint(&Target::Unrouted.to_string()))
        .bind(entry.at.0)
        .bind(delivery.0);
    one_row(conn, query).await
}
