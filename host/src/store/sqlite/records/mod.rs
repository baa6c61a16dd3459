//! What people look at and act on, in SQLite.

use std::sync::Arc;

use async_trait::async_trait;

use super::{SqliteStore, registry::audit};
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

/// Lists and details.
mod look;

/// Requests of all kinds, and counts.
mod requests;

/// Replay, discard, retry, cancel.
pub(super) mod act;

/// Events routed anew.
mod reroute;

/// Replays under way.
mod replaying;

/// After every key.
const LAST: Key = Key([0xff; 16]);

#[async_trait]
impl Records for SqliteStore {
    async fn events(&self, tenant: &TenantId, filter: EventFilter, page: Page) -> StoreResult<Vec<Arc<Event>>> {
        look::events(&mut *self.reader().await?, tenant, filter, page).await
    }

    async fn event(&self, tenant: &TenantId, id: &str) -> StoreResult<Arc<Event>> {
        look::event(&mut *self.reader().await?, tenant, id).await
    }

    async fn deliveries(&self, tenant: &TenantId, filter: DeliveryFilter, page: Page) -> StoreResult<Vec<DeliveryRow>> {
        look::deliveries(&mut *self.reader().await?, tenant, &filter, page).await
    }

    async fn delivery(&self, tenant: &TenantId, key: Key) -> StoreResult<DeliveryRow> {
        look::delivery(&mut *self.reader().await?, tenant, key).await
    }

    async fn attempts(&self, tenant: &TenantId, delivery: Key) -> StoreResult<Vec<AttemptRecord>> {
        look::attempts(&mut *self.reader().await?, tenant, delivery).await
    }

    async fn dead_groups(&self, tenant: &TenantId, limit: u32) -> StoreResult<Vec<DeadGroup>> {
        look::dead_groups(&mut *self.reader().await?, tenant, limit).await
    }

    async fn requests(
        &self,
        tenant: &TenantId,
        correlation_id: &str,
    ) -> StoreResult<Vec<(Key, String, String, String, Timestamp)>> {
        requests::requests(&mut *self.reader().await?, tenant, correlation_id).await
    }

    async fn recent(&self, tenant: &TenantId, since: Timestamp) -> StoreResult<Recent> {
        look::recent(&mut *self.reader().await?, tenant, since).await
    }

    async fn rejections(&self, tenant: &TenantId, page: Page) -> StoreResult<Vec<Rejection>> {
        requests::rejections(&mut *self.reader().await?, tenant, page).await
    }

    async fn parked(&self, tenant: &TenantId, page: Page) -> StoreResult<Vec<ParkedRow>> {
        requests::parked(&mut *self.reader().await?, tenant, page).await
    }

    async fn audit_rows(
        &self,
        tenant: Option<&TenantId>,
        limit: u32,
        before: Option<u64>,
    ) -> StoreResult<Vec<AuditRow>> {
        audit::list(&mut *self.reader().await?, tenant, limit, before).await
    }

    async fn replay(&self, replay: Replay, audit: AuditEntry) -> StoreResult<Touched> {
        self.saw(replay.now);
        self.writer.alone_at(failpoint::REPLAY, |conn| Box::pin(act::replay(conn, replay, audit))).await
    }

    async fn replay_progress(
        &self,
        tenant: &TenantId,
        target: &Target,
        since: Timestamp,
    ) -> StoreResult<ReplayProgress> {
        replaying::progress(&mut *self.reader().await?, tenant, target, since).await
    }

    async fn abort_replay(
        &self,
        tenant: &TenantId,
        target: &Target,
        limit: u32,
        audit: AuditEntry,
    ) -> StoreResult<Touched> {
        let (tenant, target) = (tenant.clone(), target.clone());
        self.writer.alone(move |conn| Box::pin(replaying::abort(conn, tenant, target, limit, audit))).await
    }

    async fn discard(
        &self,
        tenant: &TenantId,
        selection: Selection,
        limit: u32,
        audit: AuditEntry,
    ) -> StoreResult<Touched> {
        let tenant = tenant.clone();
        self.writer
            .alone_at(failpoint::ACT, move |conn| Box::pin(act::discard(conn, tenant, selection, limit, audit)))
            .await
    }

    async fn retry_now(&self, tenant: &TenantId, delivery: Key, audit: AuditEntry) -> StoreResult<Lane> {
        let tenant = tenant.clone();
        self.writer.alone_at(failpoint::ACT, move |conn| Box::pin(act::retry_now(conn, tenant, delivery, audit))).await
    }

    async fn cancel(&self, tenant: &TenantId, delivery: Key, audit: AuditEntry) -> StoreResult<Lane> {
        let tenant = tenant.clone();
        self.writer.alone_at(failpoint::ACT, move |conn| Box::pin(act::cancel(conn, tenant, delivery, audit))).await
    }

    async fn add_deliveries(
        &self,
        tenant: &TenantId,
        routes: Vec<EventRoutes>,
        audit: AuditEntry,
    ) -> StoreResult<Vec<Rerouted>> {
        let tenant = tenant.clone();
        self.writer
            .alone_at(failpoint::ACT, move |conn| Box::pin(reroute::add_deliveries(conn, tenant, routes, audit)))
            .await
    }

    async fn counts(&self, tenant: Option<&TenantId>) -> StoreResult<StateCounts> {
        requests::counts(&mut *self.reader().await?, tenant).await
    }
}
