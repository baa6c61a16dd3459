//! Audit rows: each in the transaction of the change it tells of.

use sqlx::SqliteConnection;

use super::super::row::Fields;
use crate::{
    event::TenantId,
    store::{StoreResult, records::AuditRow, registry::AuditEntry},
};

/// Writes one row.
pub(in super::super) async fn write(conn: &mut SqliteConnection, entry: AuditEntry) -> StoreResult<()> {
    const WRITE: &str =
        "insert into audit (at, tenant, actor, action, target, before, after) values (?, ?, ?, ?, ?, ?, ?)";
    sqlx::query(WRITE)
        .bind(entry.at.0)
        .bind(entry.tenant.map(|tenant| tenant.as_str().to_owned()))
        .bind(entry.actor)
        .bind(entry.action)
        .bind(entry.target)
        .bind(entry.before)
        .bind(entry.after)
        .execute(conn)
        .await?;
    Ok(())
}

/// Rows of a tenant, or of the hub, newest first.
pub(in super::super) async fn list(
    conn: &mut SqliteConnection,
    tenant: Option<&TenantId>,
    limit: u32,
    before: Option<u64>,
) -> StoreResult<Vec<AuditRow>> {
    // A tenant that took the name of a deleted one does not see what was done to that.
    const LIST: &str = "select number, at, tenant, actor, action, target, before, after from audit \
        where tenant is ?1 and number < ?2 and number > coalesce((select max(number) from audit \
        where tenant is null and action = 'tenant.deleted' and target = ?1), 0) order by number desc limit ?3";
    let before = before.map_or(i64::MAX, |number| i64::try_from(number).unwrap_or(i64::MAX));
    let query = sqlx::query(LIST).bind(tenant.map(|tenant| tenant.as_str().to_owned())).bind(before).bind(limit);
    let rows = query.fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            let (number, at) = (fields.number()?, fields.time()?);
            let tenant = fields.opt_text()?.map(|text| text.parse()).transpose();
            let entry = AuditEntry {
                at,
                tenant: tenant.map_err(|_| super::super::row::inconsistent("tenant"))?,
                actor: fields.text()?,
                action: fields.text()?,
                target: fields.text()?,
                before: fields.opt_text()?,
                after: fields.opt_text()?,
            };
            Ok(AuditRow { number, entry })
        })
        .collect()
}
