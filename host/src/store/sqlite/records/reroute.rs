//! Events routed anew: deliveries for targets that have none, and the end of a dead letter that had no handler.

use std::collections::HashSet;

use sqlx::SqliteConnection;

use super::{
    super::{
        accept::{self, NewRow, bytes},
        direct::WriteConnection,
        registry::audit,
        row::{Fields, event_columns},
        sql::one_row,
    },
    act,
};
use crate::{
    event::{Event, Target, TenantId},
    id::Key,
    queue::reason::Failure,
    store::{
        StoreResult,
        ledger::Start,
        records::{EventRoutes, Rerouted},
        registry::AuditEntry,
    },
};

/// Adds deliveries to events for targets that have none.
pub(super) async fn add_deliveries(
    conn: &mut WriteConnection,
    tenant: TenantId,
    routes: Vec<EventRoutes>,
    entry: AuditEntry,
) -> StoreResult<Vec<Rerouted>> {
    let mut rerouted = Vec::with_capacity(routes.len());
    for routes in &routes {
        // Of an event that was emptied for a person there is nothing to deliver.
        rerouted.push(match is_emptied(conn, &tenant, routes.event).await? {
            true => Rerouted::default(),
            false => add_to_event(conn, &tenant, routes, &entry).await?,
        });
    }
    audit::write(conn, entry).await?;
    Ok(rerouted)
}

async fn is_emptied(conn: &mut SqliteConnection, tenant: &TenantId, event: Key) -> StoreResult<bool> {
    const EMPTIED: &str = "select 1 from event where tenant = ? and key = ? and erased_at is not null";
    let query = sqlx::query(EMPTIED).bind(tenant.as_str().to_owned()).bind(bytes(event));
    Ok(query.fetch_optional(conn).await?.is_some())
}

async fn add_to_event(
    conn: &mut WriteConnection,
    tenant: &TenantId,
    routes: &EventRoutes,
    entry: &AuditEntry,
) -> StoreResult<Rerouted> {
    const TARGETS: &str = "select target from delivery where event = ?";
    let mut event = event(conn, tenant, routes.event).await?;
    event.expires_at = event.expires_at.filter(|at| *at > entry.at);
    let rows = sqlx::query(TARGETS).bind(bytes(routes.event)).fetch_all(&mut **conn).await?;
    let mut taken: HashSet<Target> = rows.iter().map(|row| Fields::of(row).parsed()).collect::<StoreResult<_>>()?;
    let handled = match unrouted(conn, tenant, routes.event).await? {
        Some(dead) => Some(end_unrouted(conn, routes, &dead, entry).await?),
        None => None,
    };
    let new: Vec<_> = routes.deliveries.iter().filter(|delivery| taken.insert(delivery.target.clone())).collect();
    let mut rows: Vec<NewRow> = new.iter().map(|delivery| NewRow::of(&event, delivery, entry.at)).collect();
    for row in &mut rows {
        row.due_at = routes.due_at;
    }
    let rows: Vec<&NewRow> = rows.iter().collect();
    accept::insert_rows(conn, &rows)?;
    let told: Vec<_> = new.iter().filter_map(|delivery| delivery.told.as_deref()).collect();
    accept::tell(conn, &told)?;
    Ok(Rerouted { targets: new.iter().map(|delivery| delivery.target.clone()).collect(), handled })
}

/// The dead letter of an event that found no handler.
async fn unrouted(conn: &mut SqliteConnection, tenant: &TenantId, event: Key) -> StoreResult<Option<act::Chosen>> {
    const UNROUTED: &str = "select key, tenant, target, shard, state, epoch, ordering_key from delivery \
        where event = ? and target = 'unrouted' and tenant = ? and state = 4";
    let query = sqlx::query(UNROUTED).bind(bytes(event)).bind(tenant.as_str().to_owned());
    query.fetch_optional(conn).await?.map(|row| act::read_chosen(&row)).transpose()
}

/// Cancels it, or gives it the reason of today. Answers whether it was cancelled.
async fn end_unrouted(
    conn: &mut WriteConnection,
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

async fn explain(conn: &mut SqliteConnection, delivery: Key, failure: &Failure, entry: &AuditEntry) -> StoreResult<()> {
    const EXPLAIN: &str = "update delivery set reason = ?, code = ?, message = ?, fingerprint = ?, updated_at = ? \
        where key = ? and state = 4";
    let query = sqlx::query(EXPLAIN)
        .bind(failure.reason.as_str())
        .bind(failure.code.clone())
        .bind(failure.message.clone())
        .bind(failure.fingerprint(&Target::Unrouted.to_string()))
        .bind(entry.at.0)
        .bind(bytes(delivery));
    one_row(conn, query).await
}

async fn event(conn: &mut SqliteConnection, tenant: &TenantId, key: Key) -> StoreResult<Event> {
    const EVENT: &str = concat!("select ", event_columns!(), " from event e where e.tenant = ? and e.key = ?");
    let row = sqlx::query(EVENT).bind(tenant.as_str().to_owned()).bind(bytes(key)).fetch_one(conn).await?;
    Fields::of(&row).event()
}
