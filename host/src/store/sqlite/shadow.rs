//! Shadow runs, in SQLite.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::{SqliteStore, accept::bytes, row::Fields};
use crate::{
    event::TenantId,
    id::Key,
    store::{
        StoreResult,
        records::Page,
        shadow::{ShadowRun, ShadowTotal, Shadows},
    },
};

/// The shadow runs that an installation keeps.
const KEPT: i64 = 1_000;

/// After every key.
const LAST: Key = Key([0xff; 16]);

async fn keep(conn: &mut SqliteConnection, run: ShadowRun) -> StoreResult<()> {
    const KEEP: &str = "insert into shadow_run (delivery, tenant, plugin, version, shadow_version, outcome, detail, \
          duration_us, at) select d.key, d.tenant, ?3, ?4, ?5, ?6, ?7, ?8, ?9 from delivery d where d.key = ?1 and d.tenant = ?2 \
        on conflict do update set version = excluded.version, shadow_version = excluded.shadow_version, \
          outcome = excluded.outcome, detail = excluded.detail, duration_us = excluded.duration_us, at = excluded.at";
    const COUNT: &str = "insert into shadow_total (tenant, plugin, shadow_version, outcome, total, first_at, last_at) \
        values (?1, ?2, ?3, ?4, 1, ?5, ?5) on conflict do update set total = total + 1, last_at = excluded.last_at";
    const CAP: &str = "delete from shadow_run where tenant = ?1 and plugin = ?2 and delivery <= (select delivery \
        from shadow_run where tenant = ?1 and plugin = ?2 order by delivery desc limit 1 offset ?3)";
    let tenant = || run.tenant.as_str().to_owned();
    let kept = sqlx::query(KEEP)
        .bind(bytes(run.delivery))
        .bind(tenant())
        .bind(run.plugin.clone())
        .bind(run.version.clone())
        .bind(run.shadow_version.clone())
        .bind(run.outcome.as_str())
        .bind(run.detail.clone())
        .bind(i64::try_from(run.duration_us).unwrap_or(i64::MAX))
        .bind(run.at.0)
        .execute(&mut *conn)
        .await?;
    if kept.rows_affected() == 0 {
        return Ok(());
    }
    let count = sqlx::query(COUNT).bind(tenant()).bind(run.plugin.clone()).bind(run.shadow_version.clone());
    count.bind(run.outcome.as_str()).bind(run.at.0).execute(&mut *conn).await?;
    sqlx::query(CAP).bind(tenant()).bind(run.plugin.clone()).bind(KEPT).execute(conn).await?;
    Ok(())
}

fn read(fields: &mut Fields<'_>) -> StoreResult<ShadowRun> {
    Ok(ShadowRun {
        delivery: fields.key()?,
        tenant: fields.parsed()?,
        plugin: fields.text()?,
        version: fields.text()?,
        shadow_version: fields.text()?,
        outcome: fields.word()?,
        detail: fields.text()?,
        duration_us: fields.number()?,
        at: fields.time()?,
    })
}

/// Forgets what an installation had, when it is removed.
pub(super) async fn forget(conn: &mut SqliteConnection, tenant: &TenantId, plugin: &str) -> StoreResult<()> {
    const RUNS: &str = "delete from shadow_run where tenant = ? and plugin = ?";
    const TOTALS: &str = "delete from shadow_total where tenant = ? and plugin = ?";
    for sql in [RUNS, TOTALS] {
        sqlx::query(sql).bind(tenant.as_str().to_owned()).bind(plugin.to_owned()).execute(&mut *conn).await?;
    }
    Ok(())
}

#[async_trait]
impl Shadows for SqliteStore {
    async fn shadow_ran(&self, run: ShadowRun) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(keep(conn, run))).await
    }

    async fn shadow_run(&self, tenant: &TenantId, delivery: Key) -> StoreResult<Option<ShadowRun>> {
        const RUN: &str = "select delivery, tenant, plugin, version, shadow_version, outcome, detail, duration_us, at \
            from shadow_run where tenant = ? and delivery = ?";
        let query = sqlx::query(RUN).bind(tenant.as_str().to_owned()).bind(bytes(delivery));
        let row = query.fetch_optional(&mut *self.reader().await?).await?;
        row.map(|row| read(&mut Fields::of(&row))).transpose()
    }

    async fn shadow_runs(&self, tenant: &TenantId, plugin: &str, page: Page) -> StoreResult<Vec<ShadowRun>> {
        const RUNS: &str = "select delivery, tenant, plugin, version, shadow_version, outcome, detail, duration_us, at \
            from shadow_run where tenant = ? and plugin = ? and delivery < ? order by delivery desc limit ?";
        let query = sqlx::query(RUNS).bind(tenant.as_str().to_owned()).bind(plugin.to_owned());
        let query = query.bind(bytes(page.after.unwrap_or(LAST))).bind(page.limit);
        let rows = query.fetch_all(&mut *self.reader().await?).await?;
        rows.iter().map(|row| read(&mut Fields::of(row))).collect()
    }

    async fn shadow_totals(&self, tenant: &TenantId, plugin: &str) -> StoreResult<Vec<ShadowTotal>> {
        const TOTALS: &str = "select shadow_version, outcome, total, first_at, last_at from shadow_total \
            where tenant = ? and plugin = ? order by shadow_version, outcome";
        let query = sqlx::query(TOTALS).bind(tenant.as_str().to_owned()).bind(plugin.to_owned());
        let rows = query.fetch_all(&mut *self.reader().await?).await?;
        rows.iter()
            .map(|row| {
                let mut fields = Fields::of(row);
                Ok(ShadowTotal {
                    shadow_version: fields.text()?,
                    outcome: fields.word()?,
                    total: fields.number()?,
                    first_at: fields.time()?,
                    last_at: fields.time()?,
                })
            })
            .collect()
    }
}
