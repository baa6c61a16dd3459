//! Earlier configs of installations.

use sqlx::SqliteConnection;

use super::super::row::Fields;
use crate::{
    event::TenantId,
    store::{
        StoreResult,
        registry::{AuditEntry, ConfigVersion, InstallationRow, KEPT_CONFIGS},
    },
};

/// Notes a config that differs from the newest one; the oldest go.
pub(super) async fn note(conn: &mut SqliteConnection, new: &InstallationRow, entry: &AuditEntry) -> StoreResult<()> {
    const NOTE: &str = "insert into config_version (tenant, plugin, number, config, made_at, made_by) \
        select ?1, ?2, coalesce(max(number), 0) + 1, ?3, ?4, ?5 from config_version where tenant = ?1 and plugin = ?2 \
        having ?3 is not (select config from config_version where tenant = ?1 and plugin = ?2 order by number desc limit 1)";
    const FORGET: &str = "delete from config_version where tenant = ?1 and plugin = ?2 and number <= \
        (select max(number) - ?3 from config_version where tenant = ?1 and plugin = ?2)";
    let query = sqlx::query(NOTE).bind(new.tenant.as_str().to_owned()).bind(new.plugin.clone());
    query.bind(new.config.clone()).bind(new.updated_at.0).bind(entry.actor.clone()).execute(&mut *conn).await?;
    let query = sqlx::query(FORGET).bind(new.tenant.as_str().to_owned()).bind(new.plugin.clone());
    query.bind(i64::from(KEPT_CONFIGS)).execute(conn).await?;
    Ok(())
}

/// The configs of an installation before `before`, newest first.
pub(super) async fn list(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    plugin: &str,
    before: Option<u64>,
    limit: u32,
) -> StoreResult<Vec<ConfigVersion>> {
    const LIST: &str = "select number, config, made_at, made_by from config_version \
        where tenant = ? and plugin = ? and number < ? order by number desc limit ?";
    let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
    let query = sqlx::query(LIST).bind(tenant.as_str().to_owned()).bind(plugin.to_owned()).bind(before).bind(limit);
    let rows = query.fetch_all(conn).await?;
    rows.iter().map(|row| read(&mut Fields::of(row))).collect()
}

fn read(fields: &mut Fields<'_>) -> StoreResult<ConfigVersion> {
    Ok(ConfigVersion {
        number: fields.number()?,
        config: fields.text()?,
        made_at: fields.time()?,
        made_by: fields.text()?,
    })
}
