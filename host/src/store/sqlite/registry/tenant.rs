//! Tenants.

use sqlx::SqliteConnection;

use super::{
    super::{
        row::Fields,
        shred,
        sql::{Bound, one_row},
    },
    audit, json,
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
    conn: &mut SqliteConnection,
    tenant: TenantRow,
    entry: AuditEntry,
) -> StoreResult<()> {
    const LEAVING: &str = "select 1 from tenant_removal where tenant = ?";
    const CREATE: &str = "insert into tenant (id, name, time_zone, settings, lockdown, lockdown_since, command_handlers, \
        data_key, created_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do nothing";
    let leaving = sqlx::query(LEAVING).bind(tenant.id.as_str().to_owned()).fetch_optional(&mut *conn).await?;
    if leaving.is_some() {
        return Err(StoreError::Conflict("a tenant of this name is still being removed".to_owned()));
    }
    let query = bind(sqlx::query(CREATE).bind(tenant.id.as_str().to_owned()), &tenant)?
        .bind(tenant.data_key)
        .bind(tenant.created_at.0);
    if query.execute(&mut *conn).await?.rows_affected() == 0 {
        return Err(StoreError::Conflict("a tenant of this name exists".to_owned()));
    }
    audit::write(conn, entry).await
}

/// Replaces what an admin may change.
pub(in super::super) async fn update(
    conn: &mut SqliteConnection,
    tenant: TenantRow,
    entry: AuditEntry,
) -> StoreResult<()> {
    const UPDATE: &str = "update tenant set name = ?2, time_zone = ?3, settings = ?4, lockdown = ?5, \
        lockdown_since = ?6, command_handlers = ?7 where id = ?1";
    // The row may move, and its wrapped key must not stay where it was.
    shred::begin(conn).await?;
    one_row(conn, bind(sqlx::query(UPDATE).bind(tenant.id.as_str().to_owned()), &tenant)?).await?;
    shred::end(conn).await?;
    audit::write(conn, entry).await
}

fn bind<'q>(query: Bound<'q>, tenant: &TenantRow) -> StoreResult<Bound<'q>> {
    Ok(query
        .bind(tenant.name.clone())
        .bind(tenant.time_zone.clone())
        .bind(tenant.settings.clone())
        .bind(tenant.lockdown)
        .bind(tenant.lockdown_since.map(|at| at.0))
        .bind(json(&tenant.command_handlers)?))
}

/// Takes a tenant out of the hub at once: its key, what its admin made, and its name among the known ones. Its events
/// and deliveries go afterwards in small steps, `prune::leaving`.
pub(in super::super) async fn delete(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    entry: AuditEntry,
) -> StoreResult<()> {
    // The keys of the tenant go with its row, and with them the way to what they were answered.
    const ANSWERS: &str = "delete from answer where caller in (select key from api_key where tenant = ?)";
    const DELETE: &str = "delete from tenant where id = ?";
    const LEAVING: &str = "insert into tenant_removal (tenant) values (?)";
    // What runs writes no intent and no settle any more. What waits is not started, since its tenant is unknown; it
    // may be much and ends in steps.
    const END: &str = "update delivery set state = 4, reason = 'config', code = 'tenant_deleted', \
        message = 'the tenant was deleted', fingerprint = 'tenant_deleted', behind = 0, updated_at = ?2 \
        where state = 1 and tenant = ?1";
    let id = || tenant.as_str().to_owned();
    shred::begin(conn).await?;
    sqlx::query(ANSWERS).bind(id()).execute(&mut *conn).await?;
    one_row(conn, sqlx::query(DELETE).bind(id())).await?;
    shred::end(conn).await?;
    sqlx::query(LEAVING).bind(id()).execute(&mut *conn).await?;
    sqlx::query(END).bind(id()).bind(entry.at.0).execute(&mut *conn).await?;
    audit::write(conn, entry).await
}

/// All tenants, or one.
pub(super) async fn list(conn: &mut SqliteConnection, tenant: Option<&TenantId>) -> StoreResult<Vec<TenantRow>> {
    const LIST: &str = "select id, name, time_zone, settings, lockdown, lockdown_since, command_handlers, data_key, \
        created_at from tenant where ?1 is null or id = ?1 order by id";
    let rows = sqlx::query(LIST).bind(tenant.map(|tenant| tenant.as_str().to_owned())).fetch_all(conn).await?;
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
