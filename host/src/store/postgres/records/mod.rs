//! What people look at and act on, in PostgreSQL. They look in the name of the tenant: the database shows them no rows of
//! another one, whatever is asked.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sqlx::PgConnection;

use super::{
    PostgresStore,
    registry::{Concerns, audit},
};
use crate::{
    clock::Timestamp,
    event::{Event, Target, TenantId},
    failpoint,
    id::Key,
    queue::lane::Lane,
    store::{
        StoreResult,
        ledger::Rejection,
        records::{
            AttemptRecord, AuditRow, DeadGroup, DeliveryFilter, DeliveryRow, EventFilter, EventRoutes, Page, ParkedRow,
            Recent, Records, Replay, ReplayProgress, Rerouted, Selection, StateCounts, Touched,
        },
        registry::AuditEntry,
    },
};

/// Lists and details of events.
mod look;

/// Lists and details of deliveries.
mod deliveries;

/// Requests of all kinds, and counts.
mod requests;

/// Replay, discard, retry, cancel.
pub(super) mod act;

/// Events routed anew.
mod reroute;

/// Replays under way.
mod replaying;

/// After every key.
pub(super) const LAST: Key = Key([0xff; 16]);

/// A look at a tenant's rows with what is asked.
pub(super) type Look<I, T> = for<'c> fn(&'c mut PgConnection, &'c TenantId, &'c I) -> BoxFuture<'c, StoreResult<T>>;

impl PostgresStore {
    /// Looks at rows in the name of a tenant.
    pub(super) async fn look<I: Send + Sync + 'static, T: Send + 'static>(
        &self,
        tenant: &TenantId,
        asked: I,
        look: Look<I, T>,
    ) -> StoreResult<T> {
        let name = tenant.clone();
        self.of_tenant(tenant, move |conn| Box::pin(async move { look(conn, &name, &asked).await })).await
    }
}

#[async_trait]
impl Records for PostgresStore {
    async fn events(&self, tenant: &TenantId, filter: EventFilter, page: Page) -> StoreResult<Vec<Arc<Event>>> {
        self.look(tenant, (filter, page), |conn, tenant, (filter, page)| {
            Box::pin(look::events(conn, tenant, filter, *page))
        })
        .await
    }

    async fn event(&self, tenant: &TenantId, id: &str) -> StoreResult<Arc<Event>> {
        self.look(tenant, id.to_owned(), |conn, tenant, id| Box::pin(look::event(conn, tenant, id))).await
    }

    async fn deliveries(&self, tenant: &TenantId, filter: DeliveryFilter, page: Page) -> StoreResult<Vec<DeliveryRow>> {
        self.look(tenant, (filter, page), |conn, tenant, (filter, page)| {
            Box::pin(deliveries::list(conn, tenant, filter, *page))
        })
        .await
    }

    async fn delivery(&self, tenant: &TenantId, key: Key) -> StoreResult<DeliveryRow> {
        self.look(tenant, key, |conn, tenant, key| Box::pin(deliveries::one(conn, tenant, *key))).await
    }

    async fn attempts(&self, tenant: &TenantId, delivery: Key) -> StoreResult<Vec<AttemptRecord>> {
        self.look(tenant, delivery, |conn, tenant, key| Box::pin(deliveries::attempts(conn, tenant, *key))).await
    }

    async fn dead_groups(&self, tenant: &TenantId, limit: u32) -> StoreResult<Vec<DeadGroup>> {
        self.look(tenant, limit, |conn, tenant, limit| Box::pin(deliveries::dead_groups(conn, tenant, *limit))).await
    }

    async fn requests(
        &self,
        tenant: &TenantId,
        correlation_id: &str,
    ) -> StoreResult<Vec<(Key, String, String, String, Timestamp)>> {
        self.look(tenant, correlation_id.to_owned(), |conn, tenant, id| Box::pin(requests::requests(conn, tenant, id)))
            .await
    }

    async fn recent(&self, tenant: &TenantId, since: Timestamp) -> StoreResult<Recent> {
        self.look(tenant, since, |conn, tenant, since| Box::pin(look::recent(conn, tenant, *since))).await
    }

    async fn rejections(&self, tenant: &TenantId, page: Page) -> StoreResult<Vec<Rejection>> {
        self.look(tenant, page, |conn, tenant, page| Box::pin(requests::rejections(conn, tenant, *page))).await
    }

    async fn parked(&self, tenant: &TenantId, page: Page) -> StoreResult<Vec<ParkedRow>> {
        self.look(tenant, page, |conn, tenant, page| Box::pin(requests::parked(conn, tenant, *page))).await
    }

    async fn audit_rows(
        &self,
        tenant: Option<&TenantId>,
        limit: u32,
        before: Option<u64>,
    ) -> StoreResult<Vec<AuditRow>> {
        // The hub itself looks: that a tenant of this name was deleted before is a row of the hub's.
        audit::list(&mut *self.reader().await?, tenant, limit, before).await
    }

    async fn replay(&self, replay: Replay, audit: AuditEntry) -> StoreResult<Touched> {
        self.change_at(failpoint::REPLAY, Concerns::Nobody, (replay, audit), |conn, (replay, audit)| {
            Box::pin(act::replay(conn, replay, audit))
        })
        .await
    }

    async fn replay_progress(
        &self,
        tenant: &TenantId,
        target: &Target,
        since: Timestamp,
    ) -> StoreResult<ReplayProgress> {
        self.look(tenant, (target.clone(), since), |conn, tenant, (target, since)| {
            Box::pin(replaying::progress(conn, tenant, target, *since))
        })
        .await
    }

    async fn abort_replay(
        &self,
        tenant: &TenantId,
        target: &Target,
        limit: u32,
        audit: AuditEntry,
    ) -> StoreResult<Touched> {
        let input = (tenant.clone(), target.clone(), limit, audit);
        self.change(Concerns::Nobody, input, |conn, (tenant, target, limit, audit)| {
            Box::pin(replaying::abort(conn, tenant, target, *limit, audit))
        })
        .await
    }

    async fn discard(
        &self,
        tenant: &TenantId,
        selection: Selection,
        limit: u32,
        audit: AuditEntry,
    ) -> StoreResult<Touched> {
        let input = (tenant.clone(), selection, limit, audit);
        self.change_at(failpoint::ACT, Concerns::Nobody, input, |conn, (tenant, selection, limit, audit)| {
            Box::pin(act::discard(conn, tenant, selection, *limit, audit))
        })
        .await
    }

    async fn retry_now(&self, tenant: &TenantId, delivery: Key, audit: AuditEntry) -> StoreResult<Lane> {
        let input = (tenant.clone(), delivery, audit);
        self.change_at(failpoint::ACT, Concerns::Nobody, input, |conn, (tenant, delivery, audit)| {
            Box::pin(act::retry_now(conn, tenant, *delivery, audit))
        })
        .await
    }

    async fn cancel(&self, tenant: &TenantId, delivery: Key, audit: AuditEntry) -> StoreResult<Lane> {
        let input = (tenant.clone(), delivery, audit);
        self.change_at(failpoint::ACT, Concerns::Nobody, input, |conn, (tenant, delivery, audit)| {
            Box::pin(act::cancel(conn, tenant, *delivery, audit))
        })
        .await
    }

    async fn add_deliveries(
        &self,
        tenant: &TenantId,
        routes: Vec<EventRoutes>,
        audit: AuditEntry,
    ) -> StoreResult<Vec<Rerouted>> {
        let input = (tenant.clone(), routes, audit);
        self.change_at(failpoint::ACT, Concerns::Nobody, input, |conn, (tenant, routes, audit)| {
            Box::pin(reroute::add_deliveries(conn, tenant, routes, audit))
        })
        .await
    }

    async fn counts(&self, tenant: Option<&TenantId>) -> StoreResult<StateCounts> {
        requests::counts(&mut *self.reader().await?, tenant).await
    }
}
