//! Data keys as they are stored: wrapped by a master key.

use sqlx::PgConnection;

use super::{
    super::row::{Fields, inconsistent},
    audit,
};
use crate::store::{
    StoreResult,
    registry::{AuditEntry, HUB_DATA_KEY, KeyHolder, Rewrapped, WrappedKey},
};

/// Every data key, the hub's own first.
pub(in super::super) async fn list(conn: &mut PgConnection) -> StoreResult<Vec<WrappedKey>> {
    const LIST: &str = "select id, wrapped from (select null::text as id, value as wrapped from meta where name = $1 \
        union all select id, data_key from tenant) k order by id nulls first";
    let rows = sqlx::query(LIST).bind(HUB_DATA_KEY).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            let holder = match fields.opt_text()? {
                None => KeyHolder::Hub,
                Some(tenant) => KeyHolder::Tenant(tenant.parse().map_err(|_| inconsistent("tenant"))?),
            };
            Ok(WrappedKey { holder, wrapped: fields.bytes()? })
        })
        .collect()
}

/// Replaces the keys that nobody has replaced or destroyed meanwhile.
pub(super) async fn rewrap(conn: &mut PgConnection, keys: &[Rewrapped], entry: &AuditEntry) -> StoreResult<u64> {
    const HUB: &str = "update meta set value = $3 where name = $1 and value = $2";
    const TENANT: &str = "update tenant set data_key = $3 where id = $1 and data_key = $2";
    let mut replaced = 0;
    for Rewrapped { from: WrappedKey { holder, wrapped }, to } in keys {
        let (statement, name) = match holder {
            KeyHolder::Hub => (HUB, HUB_DATA_KEY),
            KeyHolder::Tenant(tenant) => (TENANT, tenant.as_str()),
        };
        let query = sqlx::query(statement).bind(name).bind(wrapped).bind(to);
        replaced += query.execute(&mut *conn).await?.rows_affected();
    }
    if replaced > 0 {
        audit::write(conn, entry).await?;
    }
    Ok(replaced)
}
