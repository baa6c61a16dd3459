//! Connections and their sealed secrets.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::{
    super::row::Fields,
    audit, installation, secrets,
    write::{Bound, one_row, require_tenant},
};
use crate::{
    event::TenantId,
    id::Key,
    store::{
        StoreError, StoreResult,
        registry::{AuditEntry, ConnectionRow, SealedSecret},
    },
};

static SECRETS: secrets::Table = secrets::Table {
    drop: "delete from connection_secret where connection = $1",
    add: "insert into connection_secret (connection, place, sealed, expires_at) values ($1, $2, $3, $4)",
    list: "select s.connection, s.sealed, s.expires_at from connection_secret s join connection c on c.key = s.connection \
        where $1::text is null or c.tenant = $1 order by s.connection, s.place",
};

/// Says which of the names is taken.
pub(in super::super) fn taken(error: StoreError) -> StoreError {
    match error {
        StoreError::Conflict(text) if text.contains("connection_account") => {
            StoreError::Conflict("this account at the provider belongs to another connection".to_owned())
        }
        StoreError::Conflict(_) => StoreError::Conflict("a connection of this name exists".to_owned()),
        other => other,
    }
}

/// Keeps an app from being removed until this transaction ends.
async fn keep_app(conn: &mut PgConnection, new: &ConnectionRow) -> StoreResult<()> {
    const KEEP: &str = "select 1 from app where key = $1 for key share";
    if let Some(app) = &new.app {
        sqlx::query(KEEP).bind(&app.0[..]).fetch_optional(conn).await?;
    }
    Ok(())
}

/// Makes a connection.
pub(in super::super) async fn create(
    conn: &mut PgConnection,
    new: &ConnectionRow,
    entry: &AuditEntry,
) -> StoreResult<()> {
    const CREATE: &str = "insert into connection (key, tenant, name, account, base_url, updated_at, app, provider, kind, \
        created_at, needs_login_reason, needs_login_since) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    require_tenant(conn, &new.tenant).await?;
    keep_app(conn, new).await?;
    let (reason, since) = new.needs_login.clone().unzip();
    let query = bind(sqlx::query(CREATE), new)
        .bind(&new.provider)
        .bind(&new.kind)
        .bind(new.created_at.0)
        .bind(reason)
        .bind(since.map(|at| at.0));
    one_row(conn, query).await.map_err(taken)?;
    SECRETS.replace(conn, new.key, &new.secrets).await?;
    audit::write(conn, entry).await
}

/// Replaces what may change. New secrets take it out of `needs_login` and make its tokens worthless; without any, those
/// that a refresh may have stored meanwhile stay.
pub(in super::super) async fn update(
    conn: &mut PgConnection,
    new: &ConnectionRow,
    entry: &AuditEntry,
) -> StoreResult<()> {
    const UPDATE: &str = "update connection set name = $3, account = $4, base_url = $5, updated_at = $6, \
        app = $7 where key = $1 and tenant = $2";
    const RENEW: &str = "update connection set needs_login_reason = null, needs_login_since = null, \
        token_version = token_version + 1, refreshing_until = null, access_token = null, access_expires_at = null, \
        refresh_at = null where key = $1";
    keep_app(conn, new).await?;
    one_row(conn, bind(sqlx::query(UPDATE), new)).await.map_err(taken)?;
    if !new.secrets.is_empty() {
        one_row(conn, sqlx::query(RENEW).bind(&new.key.0[..])).await?;
        SECRETS.replace(conn, new.key, &new.secrets).await?;
    }
    audit::write(conn, entry).await
}

fn bind<'q>(query: Bound<'q>, new: &'q ConnectionRow) -> Bound<'q> {
    query
        .bind(&new.key.0[..])
        .bind(new.tenant.as_str())
        .bind(&new.name)
        .bind(&new.account)
        .bind(&new.base_url)
        .bind(new.updated_at.0)
        .bind(new.app.as_ref().map(|app| &app.0[..]))
}

/// Removes a connection that no installation uses.
pub(in super::super) async fn delete(
    conn: &mut PgConnection,
    tenant: &TenantId,
    key: Key,
    entry: &AuditEntry,
) -> StoreResult<()> {
    // An installation that is being put with it is waited for, and then seen.
    const LOCK: &str = "select 1 from connection where tenant = $1 and key = $2 for update";
    const DELETE: &str = "delete from connection where tenant = $1 and key = $2";
    sqlx::query(LOCK).bind(tenant.as_str()).bind(&key.0[..]).fetch_optional(&mut *conn).await?;
    if installation::uses_connection(conn, tenant, &key.with_prefix("con")).await? {
        return Err(StoreError::Conflict("an installation uses this connection".to_owned()));
    }
    one_row(conn, sqlx::query(DELETE).bind(tenant.as_str()).bind(&key.0[..])).await?;
    audit::write(conn, entry).await
}

/// All connections, or those of a tenant.
pub(super) async fn list(conn: &mut PgConnection, tenant: Option<&TenantId>) -> StoreResult<Vec<ConnectionRow>> {
    const LIST: &str = "select key, tenant, provider, name, kind, account, base_url, needs_login_reason, \
        needs_login_since, created_at, updated_at, app, token_version from connection \
        where $1::text is null or tenant = $1 order by key";
    let rows = sqlx::query(LIST).bind(tenant.map(TenantId::as_str)).fetch_all(&mut *conn).await?;
    let mut secrets: HashMap<Key, Vec<SealedSecret>> = SECRETS.list(conn, tenant).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            let key = fields.key()?;
            Ok(ConnectionRow {
                key,
                tenant: fields.parsed()?,
                provider: fields.text()?,
                name: fields.text()?,
                kind: fields.text()?,
                account: fields.opt_text()?,
                base_url: fields.opt_text()?,
                secrets: secrets.remove(&key).unwrap_or_default(),
                needs_login: fields.opt_text()?.zip(fields.opt_time()?),
                created_at: fields.time()?,
                updated_at: fields.time()?,
                app: fields.opt_key()?,
                token_version: fields.number()?,
            })
        })
        .collect()
}
