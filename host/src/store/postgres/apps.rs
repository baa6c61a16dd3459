//! Apps and their sources.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::PgConnection;

use super::{
    PostgresStore,
    registry::{
        Concerns, audit,
        write::{Bound, one_row},
    },
    row::Fields,
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
impl Apps for PostgresStore {
    async fn apps(&self) -> StoreResult<Vec<AppRow>> {
        list(&mut *self.reader().await?).await
    }

    async fn create_app(&self, app: AppRow, audit: AuditEntry) -> StoreResult<()> {
        self.change(Concerns::Hub, (app, audit), |conn, (app, audit)| Box::pin(create(conn, app, audit))).await
    }

    async fn update_app(&self, app: AppRow, audit: AuditEntry) -> StoreResult<()> {
        self.change(Concerns::Hub, (app, audit), |conn, (app, audit)| Box::pin(update(conn, app, audit))).await
    }

    async fn delete_app(&self, app: Key, audit: AuditEntry) -> StoreResult<()> {
        self.change(Concerns::Hub, (app, audit), |conn, (app, audit)| Box::pin(delete(conn, *app, audit))).await
    }
}

async fn list(conn: &mut PgConnection) -> StoreResult<Vec<AppRow>> {
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

fn bind<'q>(query: Bound<'q>, app: &'q AppRow) -> Bound<'q> {
    query
        .bind(&app.key.0[..])
        .bind(&app.provider)
        .bind(&app.name)
        .bind(&app.plugin)
        .bind(&app.client_id)
        .bind(&app.client_secret)
        .bind(&app.secrets)
        .bind(app.updated_at.0)
}

async fn create(conn: &mut PgConnection, app: &AppRow, entry: &AuditEntry) -> StoreResult<()> {
    const CREATE: &str = "insert into app (key, provider, name, plugin, client_id, client_secret, secrets, updated_at, \
        created_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    one_row(conn, bind(sqlx::query(CREATE), app).bind(app.created_at.0)).await.map_err(taken)?;
    put_sources(conn, app).await?;
    audit::write(conn, entry).await
}

async fn update(conn: &mut PgConnection, app: &AppRow, entry: &AuditEntry) -> StoreResult<()> {
    const UPDATE: &str = "update app set provider = $2, name = $3, plugin = $4, client_id = $5, client_secret = $6, \
        secrets = $7, updated_at = $8 where key = $1";
    one_row(conn, bind(sqlx::query(UPDATE), app)).await.map_err(taken)?;
    put_sources(conn, app).await?;
    audit::write(conn, entry).await
}

/// Known names keep their id: the provider has the URL.
async fn put_sources(conn: &mut PgConnection, app: &AppRow) -> StoreResult<()> {
    const KEEP: &str = "delete from app_source where app = $1 and name <> all($2)";
    const ADD: &str = "insert into app_source (id, app, name) values ($1, $2, $3) on conflict (app, name) do nothing";
    let names: Vec<&str> = app.sources.iter().map(|source| source.name.as_str()).collect();
    sqlx::query(KEEP).bind(&app.key.0[..]).bind(names).execute(&mut *conn).await?;
    for source in &app.sources {
        let query = sqlx::query(ADD).bind(&source.id).bind(&app.key.0[..]).bind(&source.name);
        query.execute(&mut *conn).await?;
    }
    Ok(())
}

async fn delete(conn: &mut PgConnection, app: Key, entry: &AuditEntry) -> StoreResult<()> {
    // A connection that is being made for it is waited for, and then seen.
    const LOCK: &str = "select 1 from app where key = $1 for update";
    const USED: &str = "select 1 from connection where app = $1 limit 1";
    const DELETE: &str = "delete from app where key = $1";
    // What was parked and refused goes afterwards, as of a tenant that leaves.
    const LEAVING: &str = "insert into tenant_removal (tenant) values ($1) on conflict do nothing";
    sqlx::query(LOCK).bind(&app.0[..]).fetch_optional(&mut *conn).await?;
    if sqlx::query(USED).bind(&app.0[..]).fetch_optional(&mut *conn).await?.is_some() {
        return Err(StoreError::Conflict("a connection logs in through this app".to_owned()));
    }
    one_row(conn, sqlx::query(DELETE).bind(&app.0[..])).await?;
    sqlx::query(LEAVING).bind(TenantId::of_app(app).as_str()).execute(&mut *conn).await?;
    audit::write(conn, entry).await
}
