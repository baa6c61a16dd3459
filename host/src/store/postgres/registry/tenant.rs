//! Tenants.

use sqlx::PgConnection;

use super::{
    super::row::Fields,
    audit,
    write::{Bound, json, one_row},
};
use crate::{
    event::TenantId,
    store::{
        StoreError, StoreResult,
        registry::{AuditEntry, TenantRow},
    },
};

/// Makes a tenant. The name of a removed one is taken until its last row is gone.
pub(in super::super) async fn create(
    conn: &mut PgConnection,
    tenant: &TenantRow,
    entry: &AuditEntry,
) -> StoreResult<()> {
    const CREATE: &str = "insert into tenant (id, name, time_zone, settings, lockdown, lockdown_since, command_handlers, \
        data_key, created_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing";
    const LEAVING: &str = "select 1 from tenant_removal where tenant = $1";
    let query = bind(sqlx::query(CREATE), tenant)?.bind(&tenant.data_key).bind(tenant.created_at.0);
    if query.execute(&mut *conn).await?.rows_affected() == 0 {
        return Err(StoreError::Conflict("a tenant of this name exists".to_owned()));
    }
    // Asked after the name is taken: who removes a tenant of this name at the same time has committed by now.
    let leaving = sqlx::query(LEAVING).bind(tenant.id.as_str()).fetch_optional(&mut *conn).await?;
    if leaving.is_some() {
        return Err(StoreError::Conflict("a tenant of this name is still being removed".to_owned()));
    }
    audit::write(conn, entry).await
}

/// Replaces what an admin may change.
pub(in super::super) async fn update(
    conn: &mut PgConnection,
    tenant: &TenantRow,
    entry: &AuditEntry,
) -> StoreResult<()> {
    const UPDATE: &str = "update tenant set name = $2, time_zone = $3, settings = $4, lockdown = $5, \
        lockdown_since = $6, command_handlers = $7 where id = $1";
    one_row(conn, bind(sqlx::query(UPDATE), tenant)?).await?;
    audit::write(conn, entry).await
}

fn bind<'q>(query: Bound<'q>, tenant: &'q TenantRow) -> StoreResult<Bound<'q>> {
    Ok(query
        .bind(tenant.id.as_str())
        .bind(&tenant.name)
        .bind(&tenant.time_zone)
        .bind(&tenant.settings)
        .bind(tenant.lockdown)
        .bind(tenant.lockdown_since.map(|at| at.0))
        .bind(json(&tenant.command_handlers)?))
}

/// Takes a tenant out of the hub at once: its key, what its admin made, and its name among the known ones. Its events
/// and deliveries go afterwards in small steps, `prune::leaving`.
pub(in super::super) async fn delete(
    conn: &mut PgConnection,
    tenant: &TenantId,
    entry: &AuditEntry,
) -> StoreResult<()> {
    // The keys of the tenant go with its row, and with them the way to what they were answered.
    const ANSWERS: &str = "delete from answer where caller in (select key from api_key where tenant = $1)";
    const DELETE: &str = "delete from tenant where id = $1";
    const LEAVING: &str = "insert into tenant_removal (tenant) values ($1) on conflict do nothing";
    // What runs writes no intent and no settle any more. What waits is not started, since its tenant is unknown; it
    // may be much and ends in steps.
    const END: &str = "with running as materialized (select key from delivery where state in (0, 1, 2, 4) and state = 1 \
        and tenant = $1 order by key for update) \
        update delivery d set state = 4, reason = 'config', code = 'tenant_deleted', \
        message = 'the tenant was deleted', fingerprint = 'tenant_deleted', behind = false, updated_at = $2 \
        from running where d.key = running.key and d.state = 1";
    // From here on nobody stores an event of it: who does locks this row.
    super::write::stop_accepts(conn, tenant).await?;
    sqlx::query(END).bind(tenant.as_str()).bind(entry.at.0).execute(&mut *conn).await?;
    sqlx::query(ANSWERS).bind(tenant.as_str()).execute(&mut *conn).await?;
    one_row(conn, sqlx::query(DELETE).bind(tenant.as_str())).await?;
    sqlx::query(LEAVING).bind(tenant.as_str()).execute(&mut *conn).await?;
    audit::write(conn, entry).await
}

/// All tenants, or one.
pub(super) async fn list(conn: &mut PgConnection, tenant: Option<&TenantId>) -> StoreResult<Vec<TenantRow>> {
    const LIST: &str = "select id, name, time_zone, settings, lockdown, lockdown_since, command_handlers, data_key, \
        created_at from tenant where $1::text is null or id = $1 order by id";
    let rows = sqlx::query(LIST).bind(tenant.map(TenantId::as_str)).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok(TenantRow {
                id: fields.parsed()?,
                name: fields.text()?,
                time_zone: fields.text()?,
                settings: fields.text()?,
                lockdown: fields.flag()?,
                lockdown_since: fields.opt_time()?,
                command_handlers: fields.json()?,
                data_key: fields.bytes()?,
                created_at: fields.time()?,
            })
        })
        .collect()
}
