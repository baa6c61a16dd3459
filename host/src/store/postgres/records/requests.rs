//! Inbound requests as people see them, and the counts of the status page.

use sqlx::PgConnection;

use super::{
    super::{
        lanes,
        row::{Fields, inconsistent},
    },
    LAST,
};
use crate::{
    clock::Timestamp,
    event::TenantId,
    id::Key,
    queue::partition::PartitionSet,
    store::{
        StoreResult,
        ledger::Rejection,
        records::{Page, ParkedRow, StateCounts},
    },
};

/// The inbound requests of a correlation id, without bodies.
pub(super) async fn requests(
    conn: &mut PgConnection,
    tenant: &TenantId,
    correlation_id: &str,
) -> StoreResult<Vec<(Key, String, String, String, Timestamp)>> {
    const REQUESTS: &str = "select key, source_id, method, url, received_at from raw_request \
        where tenant = $1 and correlation_id = $2 order by key limit 1000";
    let rows = sqlx::query(REQUESTS).bind(tenant.as_str()).bind(correlation_id).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok((fields.key()?, fields.text()?, fields.text()?, fields.text()?, fields.time()?))
        })
        .collect()
}

/// Rejections, newest first.
pub(super) async fn rejections(conn: &mut PgConnection, tenant: &TenantId, page: Page) -> StoreResult<Vec<Rejection>> {
    const REJECTIONS: &str = "select key, tenant, source_id, at, status, code, reason, bytes, remote_addr, \
        correlation_id from rejection where tenant = $1 and key < $2 order by key desc limit $3";
    let query = sqlx::query(REJECTIONS).bind(tenant.as_str()).bind(page.after.unwrap_or(LAST).0);
    let rows = query.bind(i64::from(page.limit)).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok(Rejection {
                key: fields.key()?,
                tenant: fields.owner()?,
                source_id: fields.text()?,
                at: fields.time()?,
                status: fields.number()?,
                code: fields.text()?,
                reason: fields.text()?,
                bytes: fields.number()?,
                remote_addr: fields.opt_text()?,
                correlation_id: fields.shared()?,
            })
        })
        .collect()
}

/// Parked requests without their bodies, newest first.
pub(super) async fn parked(conn: &mut PgConnection, tenant: &TenantId, page: Page) -> StoreResult<Vec<ParkedRow>> {
    const PARKED: &str = "select key, source_id, plugin, received_at, reason, code, message, tries, length(body), \
        correlation_id from parked where tenant = $1 and key < $2 order by key desc limit $3";
    let query = sqlx::query(PARKED).bind(tenant.as_str()).bind(page.after.unwrap_or(LAST).0);
    let rows = query.bind(i64::from(page.limit)).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok(ParkedRow {
                key: fields.key()?,
                source_id: fields.text()?,
                plugin: fields.text()?,
                received_at: fields.time()?,
                failure: fields.failure()?.ok_or_else(|| inconsistent("reason"))?,
                tries: fields.number()?,
                bytes: fields.number()?,
                correlation_id: fields.shared()?,
            })
        })
        .collect()
}

/// Counts of what is not over, of a tenant or of all.
pub(super) async fn counts(conn: &mut PgConnection, tenant: Option<&TenantId>) -> StoreResult<StateCounts> {
    const ALL: &str = "select state, count(*) from delivery where state in (0, 1, 2, 4) group by state";
    const OF: &str = "select state, count(*) from delivery where state in (0, 1, 2, 4) and tenant = $1 group by state";
    const PARKED: &str = "select count(*) from parked where $1::text is null or tenant = $1";
    const REJECTED: &str =
        "select coalesce(sum(total), 0)::bigint from rejection_count where $1::text is null or tenant = $1";
    let id = tenant.map(TenantId::as_str);
    let rows = match id {
        Some(id) => sqlx::query(OF).bind(id).fetch_all(&mut *conn).await?,
        None => sqlx::query(ALL).fetch_all(&mut *conn).await?,
    };
    let mut counts = StateCounts::default();
    for row in &rows {
        let mut fields = Fields::of(row);
        counts.by_state.push((fields.state()?, fields.number()?));
    }
    counts.parked = Fields::of(&sqlx::query(PARKED).bind(id).fetch_one(&mut *conn).await?).number()?;
    counts.rejected = Fields::of(&sqlx::query(REJECTED).bind(id).fetch_one(&mut *conn).await?).number()?;
    let heads = lanes::lanes(conn, PartitionSet::all()).await?;
    let of_tenant = heads.iter().filter(|head| tenant.is_none_or(|tenant| head.lane.tenant == *tenant));
    counts.oldest_due = of_tenant.map(|head| head.due_at).min();
    Ok(counts)
}
