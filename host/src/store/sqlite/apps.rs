//! Apps and their sources.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::{
    SqliteStore,
    accept::bytes,
    registry::audit,
    row::Fields,
    sql::{Bound, one_row},
};
use crate::{
    event::TenantId,
    id::Key,
    store::{
        StoreError, StoreResult,
        apps::{AppRow, Apps},
        registry::{AuditEntry, SourceRow},
    },
};

#[async_trait]
impl Apps for SqliteStore {
    async fn apps(&self) -> StoreResult<Vec<AppRow>> {
        list(&mut *self.reader().await?).await
    }

    async fn create_app(&self, app: AppRow, audit: AuditEntry) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(create(conn, app, audit))).await
    }

    async fn update_app(&self, app: AppRow, audit: AuditEntry) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(update(conn, app, audit))).await
    }

    async fn delete_app(&self, app: Key, audit: AuditEntry) -> StoreResult<()> {
        self.writer.alone(move |conn| Box::pin(delete(conn, app, audit))).await
    }
}

async fn list(conn: &mut SqliteConnection) -> StoreResult<Vec<AppRow>> {
    const LIST: &str = "select key, provider, name, plugin, client_id, client_secret, secrets, created_at, updated_at \
        from app order by key";
    const SOURCES: &str = "select app, id, name from app_source order by app, name";
    let mut sources: HashMap<Key, Vec<SourceRow>> = HashMap::new();
    for row in &sqlx::query(SOURCES).fetch_all(&mut *conn).await? {
        let mut fields = Fields::of(row);
        let of = sources.entry(fields.key()?).or_default();
        of.push(SourceRow { id: fields.text()?, name: fields.text()?, queue: None });
    }
    let rows = sqlx::query(LIST).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            let key = fields.key()?;
            Ok(AppRow {
                key,
                provider: fields.text()?,
                name: fields.text()?,
                plugin: fields.opt_text()?,
                client_id: fields.opt_text()?,
                client_secret: fields.opt_bytes()?,
                secrets: fields.opt_bytes()?,
                sources: sources.remove(&key).unwrap_or_default(),
                created_at: fields.time()?,
                updated_at: fields.time()?,
            })
        })
        .collect()
}

fn taken(error: StoreError) -> StoreError {
    match error {
        StoreError::Conflict(_) => StoreError::Conflict("an app of this name exists".to_owned()),
        other => other,
    }
}

fn bind<'q>(query: Bound<'q>, app: &AppRow) -> Bound<'q> {
    query
        .bind(bytes(app.key))
        .bind(app.provider.clone())
        .bind(app.name.clone())
        .bind(app.plugin.clone())
        .bind(app.client_id.clone())
        .bind(app.client_secret.clone())
        .bind(app.secrets.clone())
        .bind(app.updated_at.0)
}

async fn create(conn: &mut SqliteConnection, app: AppRow, entry: AuditEntry) -> StoreResult<()> {
    const CREATE: &str = "insert into app (key, provider, name, plugin, client_id, client_secret, secrets, updated_at, \
        created_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    one_row(conn, bind(sqlx::query(CREATE), &app).bind(app.created_at.0)).await.map_err(taken)?;
    put_sources(conn, &app).await?;
    audit::write(conn, entry).await
}

async fn update(conn: &mut SqliteConnection, app: AppRow, entry: AuditEntry) -> StoreResult<()> {
    const UPDATE: &str = "update app set provider = ?2, name = ?3, plugin = ?4, client_id = ?5, client_secret = ?6, \
        secrets = ?7, updated_at = ?8 where key = ?1";
    one_row(conn, bind(sqlx::query(UPDATE), &app)).await.map_err(taken)?;
    put_sources(conn, &app).await?;
    audit::write(conn, entry).await
}

/// Known names keep their id: the provider has the URL.
async fn put_sources(conn: &mut SqliteConnection, app: &AppRow) -> StoreResult<()> {
    const KEEP: &str = "delete from app_source where app = ?1 and name not in (select value from json_each(?2))";
    const ADD: &str = "insert into app_source (id, app, name) values (?, ?, ?) on conflict (app, name) do nothing";
    let names: Vec<&str> = app.sources.iter().map(|source| source.name.as_str()).collect();
    sqlx::query(KEEP).bind(bytes(app.key)).bind(super::registry::json(&names)?).execute(&mut *conn).await?;
    for source in &app.sources {
        let query = sqlx::query(ADD).bind(source.id.clone()).bind(bytes(app.key)).bind(source.name.clone());
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

async fn delete(conn: &mut SqliteConnection, app: Key, entry: AuditEntry) -> StoreResult<()> {
    const USED: &str = "select 1 from connection where app = ? limit 1";
    const DELETE: &str = "delete from app where key = ?";
    // What was parked and refused goes afterwards, as of a tenant that leaves.
    const LEAVING: &str = "insert into tenant_removal (tenant) values (?)";
    if sqlx::query(USED).bind(bytes(app)).fetch_optional(&mut *conn).await?.is_some() {
        return Err(StoreError::Conflict("a connection logs in through this app".to_owned()));
    }
    one_row(conn, sqlx::query(DELETE).bind(bytes(app))).await?;
    sqlx::query(LEAVING).bind(TenantId::of_app(app).as_str().to_owned()).execute(&mut *conn).await?;
    audit::write(conn, entry).await
}
