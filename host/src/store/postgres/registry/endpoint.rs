//! Endpoints and their sealed signing secrets.

use sqlx::PgConnection;

use super::{
    super::row::Fields,
    audit, secrets,
    write::{Bound, cancel_target, json, one_row, require_tenant, stop_accepts, word},
};
use crate::{
    event::TenantId,
    id::Key,
    store::{
        StoreResult,
        registry::{AuditEntry, EndpointRow, ExchangeRow},
    },
};

static SECRETS: secrets::Table = secrets::Table {
    drop: "delete from endpoint_secret where endpoint = $1",
    add: "insert into endpoint_secret (endpoint, place, sealed, expires_at) values ($1, $2, $3, $4)",
    list: "select s.endpoint, s.sealed, s.expires_at from endpoint_secret s join endpoint e on e.key = s.endpoint \
        where $1::text is null or e.tenant = $1 order by s.endpoint, s.place",
};

/// Makes an endpoint.
pub(in super::super) async fn create(
    conn: &mut PgConnection,
    new: &EndpointRow,
    entry: &AuditEntry,
) -> StoreResult<()> {
    const CREATE: &str = "insert into endpoint (key, tenant, url, event_types, filter, description, format, state, \
        state_reason, state_since, retry_schedule, rate_per_s, concurrency, ordered, headers, timeout_ms, failing_since, \
        last_success, updated_at, amqp_url, exchange, routing_key, created_at) values ($1, $2, $3, $4, $5, $6, $7, $8, \
        $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)";
    require_tenant(conn, &new.tenant).await?;
    let query = bind(sqlx::query(CREATE), new)?.bind(new.created_at.0);
    one_row(conn, query).await?;
    SECRETS.replace(conn, new.key, &new.secrets).await?;
    audit::write(conn, entry).await
}

/// Replaces settings, state and secrets.
pub(in super::super) async fn update(
    conn: &mut PgConnection,
    new: &EndpointRow,
    entry: &AuditEntry,
) -> StoreResult<()> {
    const UPDATE: &str = "update endpoint set url = $3, event_types = $4, filter = $5, description = $6, format = $7, \
        state = $8, state_reason = $9, state_since = $10, retry_schedule = $11, rate_per_s = $12, concurrency = $13, \
        ordered = $14, headers = $15, timeout_ms = $16, failing_since = $17, last_success = $18, updated_at = $19, \
        amqp_url = $20, exchange = $21, routing_key = $22 where key = $1 and tenant = $2";
    one_row(conn, bind(sqlx::query(UPDATE), new)?).await?;
    SECRETS.replace(conn, new.key, &new.secrets).await?;
    audit::write(conn, entry).await
}

fn bind<'q>(query: Bound<'q>, new: &'q EndpointRow) -> StoreResult<Bound<'q>> {
    let (reason, since) = new.state_reason.clone().unzip();
    let amqp = new.amqp.as_ref();
    Ok(query
        .bind(&new.key.0[..])
        .bind(new.tenant.as_str())
        .bind(&new.url)
        .bind(json(&new.event_types)?)
        .bind(&new.filter)
        .bind(&new.description)
        .bind(&new.format)
        .bind(word(&new.state)?)
        .bind(reason)
        .bind(since.map(|at| at.0))
        .bind(new.retry_schedule.as_ref().map(json).transpose()?)
        .bind(new.rate_per_s.map(i64::from))
        .bind(new.concurrency.map(i64::from))
        .bind(new.ordered)
        .bind(&new.headers)
        .bind(new.timeout_ms.map(i64::from))
        .bind(new.failing_since.map(|at| at.0))
        .bind(new.last_success.map(|at| at.0))
        .bind(new.updated_at.0)
        .bind(amqp.map(|exchange| &exchange.url))
        .bind(amqp.map(|exchange| &exchange.name))
        .bind(amqp.and_then(|exchange| exchange.routing_key.as_deref())))
}

/// Removes an endpoint and cancels what is on its way to it.
pub(in super::super) async fn delete(
    conn: &mut PgConnection,
    tenant: &TenantId,
    key: Key,
    entry: &AuditEntry,
) -> StoreResult<()> {
    const DELETE: &str = "delete from endpoint where tenant = $1 and key = $2";
    stop_accepts(conn, tenant).await?;
    // In the order in which a settle locks: deliveries, then their target.
    cancel_target(conn, tenant, &key.with_prefix("ep"), entry.at).await?;
    one_row(conn, sqlx::query(DELETE).bind(tenant.as_str()).bind(&key.0[..])).await?;
    audit::write(conn, entry).await
}

/// All endpoints, or those of a tenant.
pub(super) async fn list(conn: &mut PgConnection, tenant: Option<&TenantId>) -> StoreResult<Vec<EndpointRow>> {
    const LIST: &str = "select key, tenant, url, event_types, filter, description, format, state, state_reason, \
        state_since, retry_schedule, rate_per_s, concurrency, ordered, headers, timeout_ms, failing_since, last_success, \
        created_at, updated_at, amqp_url, exchange, routing_key from endpoint where $1::text is null or tenant = $1 order by key";
    let rows = sqlx::query(LIST).bind(tenant.map(TenantId::as_str)).fetch_all(&mut *conn).await?;
    let mut secrets = SECRETS.list(conn, tenant).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            let key = fields.key()?;
            Ok(EndpointRow {
                key,
                tenant: fields.parsed()?,
                url: fields.text()?,
                event_types: fields.json()?,
                filter: fields.opt_text()?,
                description: fields.opt_text()?,
                format: fields.text()?,
                secrets: secrets.remove(&key).unwrap_or_default(),
                state: fields.word()?,
                state_reason: fields.opt_text()?.zip(fields.opt_time()?),
                retry_schedule: fields.opt_json()?,
                rate_per_s: fields.opt_number()?,
                concurrency: fields.opt_number()?,
                ordered: fields.flag()?,
                headers: fields.opt_bytes()?,
                timeout_ms: fields.opt_number()?,
                failing_since: fields.opt_time()?,
                last_success: fields.opt_time()?,
                created_at: fields.time()?,
                updated_at: fields.time()?,
                amqp: read_exchange(&mut fields)?,
            })
        })
        .collect()
}

/// Three columns, the first two of them set together.
fn read_exchange(fields: &mut Fields<'_>) -> StoreResult<Option<ExchangeRow>> {
    let (url, name, routing_key) = (fields.opt_bytes()?, fields.opt_text()?, fields.opt_text()?);
    Ok(url.zip(name).map(|(url, name)| ExchangeRow { url, name, routing_key }))
}
