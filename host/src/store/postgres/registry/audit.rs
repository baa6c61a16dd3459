//! Audit rows: each in the transaction of the change it tells of.

use sqlx::PgConnection;

use super::super::row::{Fields, inconsistent};
use crate::{
    event::TenantId,
    store::{StoreResult, records::AuditRow, registry::AuditEntry},
};

/// Writes one row.
pub(in super::super) async fn write(conn: &mut PgConnection, entry: &AuditEntry) -> StoreResult<()> {
    const WRITE: &str = "insert into audit (at, tenant, actor, action, target, before, after) \
        values ($1, $2, $3, $4, $5, $6, $7)";
    sqlx::query(WRITE)
        .bind(entry.at.0)
        .bind(entry.tenant.as_ref().map(TenantId::as_str))
        .bind(&entry.actor)
        .bind(&entry.action)
        .bind(&entry.target)
        .bind(&entry.before)
        .bind(&entry.after)
        .execute(conn)
        .await?;
    Ok(())
}

/// Rows of a tenant, or of the hub, newest first.
pub(in super::super) async fn list(
    conn: &mut PgConnection,
    tenant: Option<&TenantId>,
    limit: u32,
    before: Option<u64>,
) -> StoreResult<Vec<AuditRow>> {
    // A tenant that took the name of a deleted one does not see what was done to that.
    const TENANT: &str = "select number, at, tenant, actor, action, target, before, after from audit \
        where tenant = $3 and number < $1 and number > coalesce((select max(number) from audit \
        where tenant is null and action = 'tenant.deleted' and target = $3), 0) order by number desc limit $2";
    const HUB: &str = "select number, at, tenant, actor, action, target, before, after from audit \
        where tenant is null and number < $1 order by number desc limit $2";
    let before = before.map_or(i64::MAX, |number| i64::try_from(number).unwrap_or(i64::MAX));
    let asked = |sql| sqlx::query(sql).bind(before).bind(i64::from(limit));
    let rows = match tenant {
        Some(tenant) => asked(TENANT).bind(tenant.as_str()).fetch_all(conn).await?,
        None => asked(HUB).fetch_all(conn).await?,
    };
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            let (number, at) = (fields.number()?, fields.time()?);
            let tenant = fields.opt_text()?.map(|text| text.parse()).transpose();
            let entry = AuditEntry {
                at,
                tenant: tenant.map_err(|_| inconsistent("tenant"))?,
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
