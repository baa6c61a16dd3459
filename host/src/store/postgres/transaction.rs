//! Transactions of their own, tried again when another one stood in the way; and reads in a tenant's name.

use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::{Connection as _, PgConnection};

use super::{PostgresStore, outcome};
use crate::{
    event::TenantId,
    failpoint::{self, Around},
    store::{StoreError, StoreResult},
};

/// How often a transaction is tried.
const TRIES: u32 = 8;

/// The longest wait before the second try; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(10);

impl PostgresStore {
    /// Runs `work` in a transaction of its own, with these fail points around its commit. It runs again, from the start,
    /// when another transaction stood in the way.
    pub(super) async fn alone_at<T: Send>(
        &self,
        points: Around,
        work: impl for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, StoreResult<T>> + Send + Sync,
    ) -> StoreResult<T> {
        let mut tries = 0;
        loop {
            match self.once(points, &work).await {
                Err(StoreError::Contended(why)) => {
                    tries += 1;
                    if tries == TRIES {
                        return Err(StoreError::Unavailable(why));
                    }
                    // Perhaps a day was dropped of which this node thought that it is there.
                    self.days.forget();
                    tokio::time::sleep(self.wait(tries)).await;
                }
                end => return end,
            }
        }
    }

    async fn once<T: Send>(
        &self,
        points: Around,
        work: &(impl for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, StoreResult<T>> + Send + Sync),
    ) -> StoreResult<T> {
        let mut conn = self.reader().await?;
        self.days.cover_now(&mut conn).await?;
        let mut transaction = conn.begin().await?;
        let done = work(&mut transaction).await?;
        failpoint::pass(points.0).await?;
        // None if nothing was written: then it does not matter how the commit ends.
        let number: Option<String> =
            sqlx::query_scalar("select pg_current_xact_id_if_assigned()::text").fetch_one(&mut *transaction).await?;
        match (transaction.commit().await, number) {
            // The server has answered, or there was nothing to lose.
            (Err(error @ sqlx::Error::Database(_)), _) => return Err(error.into()),
            (Err(_), Some(number)) => outcome::committed(&self.place, &number).await?,
            (Ok(()) | Err(_), _) => {}
        }
        failpoint::pass(points.1).await?;
        Ok(done)
    }

    /// Half of the doubled wait is fixed and half is drawn, so that two that met do not meet again.
    fn wait(&self, tries: u32) -> Duration {
        let longest = FIRST_WAIT * 2_u32.saturating_pow(tries - 1);
        longest / 2 + (longest / 2).mul_f64(self.ids.fraction())
    }

    /// Reads in the name of a tenant: whatever `work` asks, the database shows it rows of this tenant alone.
    pub(super) async fn of_tenant<T: Send>(
        &self,
        tenant: &TenantId,
        work: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, StoreResult<T>> + Send,
    ) -> StoreResult<T> {
        let mut conn = self.reader().await?;
        let mut transaction = conn.begin().await?;
        become_tenant(&mut transaction, tenant).await?;
        let done = work(&mut transaction).await?;
        transaction.commit().await?;
        Ok(done)
    }
}

/// Until the end of the transaction the connection works in the name of this tenant.
pub(super) async fn become_tenant(conn: &mut PgConnection, tenant: &TenantId) -> StoreResult<()> {
    const BECOME: &str =
        "select set_config('switchyard.tenant', $1, true), set_config('role', 'switchyard_tenant', true)";
    sqlx::query(BECOME).bind(tenant.as_str()).execute(conn).await?;
    Ok(())
}

/// Until the end of the transaction the connection works as the user who owns the tables.
pub(super) async fn become_owner(conn: &mut PgConnection) -> StoreResult<()> {
    sqlx::query("set local role none").execute(conn).await?;
    Ok(())
}

/// Notes in a transaction that it changes what nodes keep in memory: the rows of this tenant, or the operator's.
pub(super) async fn note_change(conn: &mut PgConnection, tenant: Option<&TenantId>) -> StoreResult<()> {
    sqlx::query("insert into change (tenant) values ($1)").bind(tenant.map(TenantId::as_str)).execute(conn).await?;
    Ok(())
}
