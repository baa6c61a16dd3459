//! Endpoints and their sealed signing secrets.

use sqlx::SqliteConnection;

use super::{
    super::{
        accept::bytes,
        row::Fields,
        sql::{Bound, one_row},
    },
    audit, json, secrets, word,
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
    drop: "delete from endpoint_secret where endpoint = ?",
    add: "insert into endpoint_secret (endpoint, place, sealed, expires_at) values (?, ?, ?, ?)",
    list: "select s.endpoint, s.sealed, s.expires_at from endpoint_secret s join endpoint e on e.key = s.endpoint \
        where ?1 is null or e.tenant = ?1 order by s.endpoint, s.place",
};

/// Makes an endpoint.
pub(in super::super) async fn create(
    conn: &mut SqliteConnection,
    new: EndpointRow,
    entry: AuditEntry,
) -> StoreResult<()> {
    const CREATE: &str = "insert into endpoint (key, tenant, url, event_types, filter, description, format, state, \
        state_reason, state_since, retry_schedule, rate_per_s, concurrency, ordered, headers, timeout_ms, failing_since, \
        last_success, updated_at, amqp_url, exchange, routing_key, created_at) \
        values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    super::require_tenant(conn, &new.tenant).await?;
    let query = bind(sqlx::query(CREATE), &new)?.bind(new.created_at.0);
    one_row(conn, query).await?;
    SECRETS.replace(conn, new.key, &new.secrets).await?;
    audit::write(conn, entry).await
}

/// Replaces settings, state and secrets.
pub(in super::super) async fn update(
    conn: &mut SqliteConnection,
    new: EndpointRow,
    entry: AuditEntry,
) -> StoreResult<()> {
    const UPDATE: &str = "update endpoint set url = ?3, event_types = ?4, filter = ?5, description = ?6, format = ?7, \
        state = ?8, state_reason = ?9, state_since = ?10, retry_schedule = ?11, rate_per_s = ?12, concurrency = ?13, \
        ordered = ?14, headers = ?15, timeout_ms = ?16, failing_since = ?17, last_success = ?18, updated_at = ?19, \
        amqp_url = ?20, exchange = ?21, routing_key = ?22 \
        where key = ?1 and tenant = ?2";
    one_row(conn, bind(sqlx::query(UPDATE), &new)?).await?;
    SECRETS.replace(conn, new.key, &new.secrets).await?;
    audit::write(conn, entry).await
}

fn bind<'q>(query: Bound<'q>, new: &EndpointRow) -> StoreResult<Bound<'q>> {
    let (reason, since) = new.state_reason.clone().unzip();
    let amqp = new.amqp.as_ref();
    Ok(query
        .bind(bytes(new.key))
        .bind(new.tenant.as_str().to_owned())
        .bind(new.url.clone())
        .bind(json(&new.event_types)?)
        .bind(new.filter.clone())
        .bind(new.description.clone())
        .bind(new.format.clone())
        .bind(word(&new.state)?)
        .bind(reason)
        .bind(since.map(|at| at.0))
        .bind(new.retry_schedule.as_ref().map(json).transpose()?)
        .bind(new.rate_per_s.map(i64::from))
        .bind(new.concurrency.map(i64::from))
        .bind(new.ordered)
        .bind(new.headers.clone())
        .bind(new.timeout_ms.map(i64::from))
        .bind(new.failing_since.map(|at| at.0))
        .bind(new.last_success.map(|at| at.0))
        .bind(new.updated_at.0)
        .bind(amqp.map(|exchange| exchange.url.clone()))
        .bind(amqp.map(|exchange| exchange.name.clone()))
        .bind(amqp.and_then(|exchange| exchange.routing_key.clone())))
}

/// Removes an endpoint and cancels what is on its way to it.
pub(in super::super) async fn delete(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    key: Key,
    entry: AuditEntry,
) -> StoreResult<()> {
    const DELETE: &str = "delete from endpoint where tenant = ? and key = ?";
    one_row(conn, sqlx::query(DELETE).bind(tenant.as_str().to_owned()).bind(bytes(key))).await?;
    super::cancel_target(conn, tenant, &key.with_prefix("ep"), entry.at).await?;
    audit::write(conn, entry).await
}

/// Three columns, the first two of them set together.
fn read_exchange(fields: &mut Fields<'_>) -> StoreResult<Option<ExchangeRow>> {
    let (url, name, routing_key) = (fields.opt_bytes()?, fields.opt_text()?, fields.opt_text()?);
    Ok(url.zip(name).map(|(url, name)| ExchangeRow { url, name, routing_key }))
}

/// All endpoints, or those of a tenant.
pub(super) async fn list(conn: &mut SqliteConnection, tenant: Option<&TenantId>) -> StoreResult<Vec<EndpointRow>> {
    const LIST: &str = "select key, tenant, url, event_types, filter, description, format, state, state_reason, \
        state_since, retry_schedule, rate_per_s, concurrency, ordered, headers, timeout_ms, failing_since, last_success, \
        created_at, updated_at, amqp_url, exchange, routing_key from endpoint where ?1 is null or tenant = ?1 order by key";
    let rows = sqlx::query(LIST).bind(tenant.map(|tenant| tenant.as_str().to_owned())).fetch_all(&mut *conn).await?;
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
