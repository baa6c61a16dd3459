//! Shadow runs, in PostgreSQL.

use async_trait::async_trait;
use sqlx::{PgConnection, postgres::PgRow};

use super::{PostgresStore, records::LAST, registry::Concerns, row::Fields};
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

async fn keep(conn: &mut PgConnection, run: &ShadowRun) -> StoreResult<()> {
    const KEEP: &str = "insert into shadow_run (delivery, tenant, plugin, version, shadow_version, outcome, detail, \
          duration_us, at) select d.key, d.tenant, $3, $4, $5, $6, $7, $8, $9 from delivery d \
          where d.key = $1 and d.tenant = $2 \
        on conflict (delivery) do update set version = excluded.version, shadow_version = excluded.shadow_version, \
          outcome = excluded.outcome, detail = excluded.detail, duration_us = excluded.duration_us, at = excluded.at";
    const COUNT: &str = "insert into shadow_total as t \
          (tenant, plugin, shadow_version, outcome, total, first_at, last_at) values ($1, $2, $3, $4, 1, $5, $5) \
        on conflict (tenant, plugin, shadow_version, outcome) \
        do update set total = t.total + 1, last_at = excluded.last_at";
    // Two nodes that cap one installation at once lock the same rows in the same order.
    const CAP: &str = "delete from shadow_run where delivery in (select delivery from shadow_run \
        where tenant = $1 and plugin = $2 and delivery <= (select delivery from shadow_run \
          where tenant = $1 and plugin = $2 order by delivery desc limit 1 offset $3) order by delivery for update)";
    let kept = sqlx::query(KEEP)
        .bind(&run.delivery.0[..])
        .bind(run.tenant.as_str())
        .bind(&run.plugin)
        .bind(&run.version)
        .bind(&run.shadow_version)
        .bind(run.outcome.as_str())
        .bind(&run.detail)
        .bind(i64::try_from(run.duration_us).unwrap_or(i64::MAX))
        .bind(run.at.0)
        .execute(&mut *conn)
        .await?;
    if kept.rows_affected() == 0 {
        return Ok(());
    }
    let count = sqlx::query(COUNT).bind(run.tenant.as_str()).bind(&run.plugin).bind(&run.shadow_version);
    count.bind(run.outcome.as_str()).bind(run.at.0).execute(&mut *conn).await?;
    sqlx::query(CAP).bind(run.tenant.as_str()).bind(&run.plugin).bind(KEPT).execute(conn).await?;
    Ok(())
}

fn read(row: &PgRow) -> StoreResult<ShadowRun> {
    let mut fields = Fields::of(row);
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
pub(super) async fn forget(conn: &mut PgConnection, tenant: &TenantId, plugin: &str) -> StoreResult<()> {
    const RUNS: &str = "delete from shadow_run where tenant = $1 and plugin = $2";
    const TOTALS: &str = "delete from shadow_total where tenant = $1 and plugin = $2";
    for sql in [RUNS, TOTALS] {
        sqlx::query(sql).bind(tenant.as_str()).bind(plugin).execute(&mut *conn).await?;
    }
    Ok(())
}

async fn run_of(conn: &mut PgConnection, tenant: &TenantId, delivery: Key) -> StoreResult<Option<ShadowRun>> {
    const RUN: &str = "select delivery, tenant, plugin, version, shadow_version, outcome, detail, duration_us, at \
        from shadow_run where tenant = $1 and delivery = $2";
    let row = sqlx::query(RUN).bind(tenant.as_str()).bind(delivery.0).fetch_optional(conn).await?;
    row.as_ref().map(read).transpose()
}

async fn runs(conn: &mut PgConnection, tenant: &TenantId, plugin: &str, page: Page) -> StoreResult<Vec<ShadowRun>> {
    const RUNS: &str = "select delivery, tenant, plugin, version, shadow_version, outcome, detail, duration_us, at \
        from shadow_run where tenant = $1 and plugin = $2 and delivery < $3 order by delivery desc limit $4";
    let query = sqlx::query(RUNS).bind(tenant.as_str()).bind(plugin).bind(page.after.unwrap_or(LAST).0);
    query.bind(i64::from(page.limit)).fetch_all(conn).await?.iter().map(read).collect()
}

async fn totals(conn: &mut PgConnection, tenant: &TenantId, plugin: &str) -> StoreResult<Vec<ShadowTotal>> {
    const TOTALS: &str = "select shadow_version, outcome, total, first_at, last_at from shadow_total \
        where tenant = $1 and plugin = $2 order by shadow_version, outcome";
    let rows = sqlx::query(TOTALS).bind(tenant.as_str()).bind(plugin).fetch_all(conn).await?;
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

#[async_trait]
impl Shadows for PostgresStore {
    async fn shadow_ran(&self, run: ShadowRun) -> StoreResult<()> {
        self.change(Concerns::Nobody, run, |conn, run| Box::pin(keep(conn, run))).await
    }

    async fn shadow_run(&self, tenant: &TenantId, delivery: Key) -> StoreResult<Option<ShadowRun>> {
        self.look(tenant, delivery, |conn, tenant, delivery| Box::pin(run_of(conn, tenant, *delivery))).await
    }

    async fn shadow_runs(&self, tenant: &TenantId, plugin: &str, page: Page) -> StoreResult<Vec<ShadowRun>> {
        self.look(tenant, (plugin.to_owned(), page), |conn, tenant, (plugin, page)| {
            Box::pin(runs(conn, tenant, plugin, *page))
        })
        .await
    }

    async fn shadow_totals(&self, tenant: &TenantId, plugin: &str) -> StoreResult<Vec<ShadowTotal>> {
        self.look(tenant, plugin.to_owned(), |conn, tenant, plugin| Box::pin(totals(conn, tenant, plugin))).await
    }
}
