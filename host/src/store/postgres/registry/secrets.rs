//! Sealed secrets in their order, newest first, of connections and endpoints.

use std::collections::HashMap;

use sqlx::PgConnection;

use super::super::row::Fields;
use crate::{
    event::TenantId,
    id::Key,
    store::{StoreResult, registry::SealedSecret},
};

/// The statements of one table of secrets.
pub(super) struct Table {
    pub(super) drop: &'static str,
    pub(super) add: &'static str,
    pub(super) list: &'static str,
}

impl Table {
    /// Replaces all secrets of `owner`, whose row this transaction has written.
    pub(super) async fn replace(
        &self,
        conn: &mut PgConnection,
        owner: Key,
        secrets: &[SealedSecret],
    ) -> StoreResult<()> {
        sqlx::query(self.drop).bind(&owner.0[..]).execute(&mut *conn).await?;
        for (place, secret) in (0_i64..).zip(secrets) {
            let query = sqlx::query(self.add).bind(&owner.0[..]).bind(place).bind(&secret.sealed);
            query.bind(secret.expires_at.map(|at| at.0)).execute(&mut *conn).await?;
        }
        Ok(())
    }

    /// The secrets of all owners, or of those of a tenant.
    pub(super) async fn list(
        &self,
        conn: &mut PgConnection,
        tenant: Option<&TenantId>,
    ) -> StoreResult<HashMap<Key, Vec<SealedSecret>>> {
        let query = sqlx::query(self.list).bind(tenant.map(TenantId::as_str));
        let mut secrets: HashMap<Key, Vec<SealedSecret>> = HashMap::new();
        for row in &query.fetch_all(conn).await? {
            let mut fields = Fields::of(row);
            let of = secrets.entry(fields.key()?).or_default();
            of.push(SealedSecret { sealed: fields.bytes()?, expires_at: fields.opt_time()? });
        }
        Ok(secrets)
    }
}
