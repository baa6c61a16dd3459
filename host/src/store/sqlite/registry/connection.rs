//! Connections and their sealed secrets.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use super::{
    super::{
        accept::bytes,
        row::Fields,
        sql::{Bound, one_row},
    },
    audit, installation, secrets,
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
    drop: "delete from connection_secret where connection = ?",
    add: "insert into connection_secret (connection, place, sealed, expires_at) values (?, ?, ?, ?)",
    list: "select s.connection, s.sealed, s.expires_at from connection_secret s join connection c on c.key = s.connection \
        where ?1 is null or c.tenant = ?1 order by s.connection, s.place",
};

/// Says which of the names is taken.
pub(in super::super) fn taken(error: StoreError) -> StoreError {
    match error {
        StoreError::Conflict(text) if text.contains("connection.name") => {
            StoreError::Conflict("a connection of this name exists".to_owned())
        }
        StoreError::Conflict(_) => {
            StoreError::Conflict("this account at the provider belongs to another connection".to_owned())
        }
        other => other,
    }
}

/// Makes a connection.
pub(in super::super) async fn create(
    conn: &mut SqliteConnection,
    new: ConnectionRow,
    entry: AuditEntry,
) -> StoreResult<()> {
    const CREATE: &str = "insert into connection (key, tenant, name, account, base_url, updated_at, app, provider, kind, \
        created_at, needs_login_reason, needs_login_since) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    super::require_tenant(conn, &new.tenant).await?;
    let (reason, since) = new.needs_login.clone().unzip();
    let query = bind(sqlx::query(CREATE), &new)
        .bind(new.provider.clone())
        .bind(new.kind.clone())
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
    conn: &mut SqliteConnection,
    new: ConnectionRow,
    entry: AuditEntry,
) -> StoreResult<()> {
    const UPDATE: &str = "update connection set name = ?3, account = ?4, base_url = ?5, updated_at = ?6, \
        app = ?7 where key = ?1 and tenant = ?2";
    const RENEW: &str = "update connection set needs_login_reason = null, needs_login_since = null, \
        token_version = token_version + 1, refreshing_until = null, access_token = null, access_expires_at = null, \
        refresh_at = null where key = ?";
    one_row(conn, bind(sqlx::query(UPDATE), &new)).await.map_err(taken)?;
    if !new.secrets.is_empty() {
        one_row(conn, sqlx::query(RENEW).bind(bytes(new.key))).await?;
        SECRETS.replace(conn, new.key, &new.secrets).await?;
    }
    audit::write(conn, entry).await
}

fn bind<'q>(query: Bound<'q>, new: &ConnectionRow) -> Bound<'q> {
    query
        .bind(bytes(new.key))
        .bind(new.tenant.as_str().to_owned())
        .bind(new.name.clone())
        .bind(new.account.clone())
        .bind(new.base_url.clone())
        .bind(new.updated_at.0)
        .bind(new.app.map(bytes))
}

/// Removes a connection that no installation uses.
pub(in super::super) async fn delete(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    key: Key,
    entry: AuditEntry,
) -> StoreResult<()> {
    const DELETE: &str = "delete from connection where tenant = ? and key = ?";
    if installation::uses_connection(conn, tenant, &key.with_prefix("con")).await? {
        return Err(StoreError::Conflict("an installation uses this connection".to_owned()));
    }
    one_row(conn, sqlx::query(DELETE).bind(tenant.as_str().to_owned()).bind(bytes(key))).await?;
    audit::write(conn, entry).await
}

/// All connections, or those of a tenant.
pub(super) async fn list(conn: &mut SqliteConnection, tenant: Option<&TenantId>) -> StoreResult<Vec<ConnectionRow>> {
    const LIST: &str = "select key, tenant, provider, name, kind, account, base_url, needs_login_reason, \
        needs_login_since, created_at, updated_at, app, token_version from connection where ?1 is null or tenant = ?1 order by key";
    let rows = sqlx::query(LIST).bind(tenant.map(|tenant| tenant.as_str().to_owned())).fetch_all(&mut *conn).await?;
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
