//! The ledger's calls, each handed to the writer or to a reader.

use async_trait::async_trait;

use super::{SqliteStore, intake, kv, lanes, prune, rescue, schedule};
use crate::{
    clock::Timestamp,
    event::TenantId,
    failpoint,
    id::Key,
    queue::{lane::LaneKey, partition::PartitionSet},
    store::{
        Ledger, StoreError, StoreResult,
        cluster::Cluster,
        group::{Call, Prepared, Reply},
        ledger::{
            Accept, Accepted, ClaimRequest, Claimed, Death, Intent, IntentOutcome, KvRow, LaneHead, LiveDelivery,
            Parked, ParkedRequest, PollDue, ReadyDelivery, Rejection, Rescued, ScheduleName, Settle, Settled,
        },
        registry::Registry as _,
    },
};

/// The writer answers each kind of call with its own kind of reply.
fn mixed_up<T>() -> StoreResult<T> {
    Err(StoreError::Inconsistent("the writer answered another call".to_owned()))
}

#[async_trait]
impl Ledger for SqliteStore {
    async fn accept(&self, accept: Accept) -> StoreResult<Accepted> {
        match self.writer.try_call(Call::Accept(Prepared::of(accept))).await? {
            Reply::Accepted(accepted) => Ok(accepted),
            _ => mixed_up(),
        }
    }

    async fn claim(&self, requests: Vec<ClaimRequest>, now: Timestamp) -> StoreResult<Vec<Claimed>> {
        match self.writer.call(Call::Claim(requests, now)).await? {
            Reply::Claimed(claimed) => Ok(claimed),
            _ => mixed_up(),
        }
    }

    async fn intend(&self, intent: Intent) -> StoreResult<IntentOutcome> {
        match self.writer.call(Call::Intend(intent)).await? {
            Reply::Intended(outcome) => Ok(outcome),
            _ => mixed_up(),
        }
    }

    async fn settle(&self, mut settle: Settle) -> StoreResult<Settled> {
        let emitted = Prepared::of(std::mem::take(&mut settle.emitted));
        match self.writer.call(Call::Settle(Box::new(settle), emitted)).await? {
            Reply::Settled(settled) => Ok(settled),
            _ => mixed_up(),
        }
    }

    async fn lanes(&self, partitions: PartitionSet) -> StoreResult<Vec<LaneHead>> {
        lanes::lanes(&mut *self.reader().await?, partitions).await
    }

    async fn lane_head(&self, lane: LaneKey, limit: u32) -> StoreResult<Vec<ReadyDelivery>> {
        lanes::lane_head(&mut *self.reader().await?, lane, limit).await
    }

    async fn rescue(
        &self,
        killed_alone: Option<Death>,
        partitions: PartitionSet,
        now: Timestamp,
    ) -> StoreResult<Vec<Rescued>> {
        self.saw(now);
        self.writer
            .alone_at(failpoint::RESCUE, move |conn| Box::pin(rescue::rescue(conn, killed_alone, partitions, now)))
            .await
    }

    async fn running_suspect(&self, key: Key) -> StoreResult<Option<LiveDelivery>> {
        rescue::running_suspect(&mut *self.reader().await?, key).await
    }

    async fn overdue(
        &self,
        now: Timestamp,
        held_since: &[(LaneKey, Timestamp)],
        limit: u32,
    ) -> StoreResult<Vec<LiveDelivery>> {
        self.saw(now);
        rescue::overdue(&mut *self.reader().await?, now, held_since, limit).await
    }

    async fn expire(&self, deaths: Vec<Death>, now: Timestamp) -> StoreResult<Vec<Key>> {
        self.saw(now);
        self.writer.alone_at(failpoint::EXPIRE, move |conn| Box::pin(rescue::expire(conn, deaths, now))).await
    }

    async fn prune(&self, before: Timestamp, dedupe_before: Timestamp, limit: u32) -> StoreResult<u64> {
        while self.remove_leaving().await? {}
        let mut walks = self.walks.lock().await;
        let from = walks.events;
        let (gone, next) = self
            .writer
            .alone_at(failpoint::PRUNE, move |conn| Box::pin(prune::events(conn, before, from, limit)))
            .await?;
        walks.events = next;
        let from = walks.dedupes.take();
        walks.dedupes = self
            .writer
            .alone_at(failpoint::PRUNE, move |conn| Box::pin(prune::dedupes(conn, dedupe_before, from)))
            .await?;
        self.writer.alone_at(failpoint::PRUNE, move |conn| Box::pin(prune::small_things(conn, before, limit))).await?;
        Ok(gone)
    }

    async fn park(&self, request: ParkedRequest) -> StoreResult<u64> {
        self.writer.alone_at(failpoint::PARK, |conn| Box::pin(intake::park(conn, request))).await
    }

    async fn parked_due(&self, tenant: &TenantId, plugin: &str, limit: u32) -> StoreResult<Vec<ParkedRequest>> {
        intake::parked_due(&mut *self.reader().await?, tenant, plugin, limit).await
    }

    async fn parked_installations(&self) -> StoreResult<Vec<Parked>> {
        intake::parked_installations(&mut *self.reader().await?).await
    }

    async fn unpark(&self, tenant: &TenantId, key: Key) -> StoreResult<()> {
        let tenant = tenant.clone();
        self.writer
            .alone_at(failpoint::UNPARK, move |conn| Box::pin(async move { intake::unpark(conn, &tenant, key).await }))
            .await
    }

    async fn reject(&self, rejections: Vec<Rejection>) -> StoreResult<()> {
        self.writer.alone_at(failpoint::REJECT, |conn| Box::pin(intake::reject(conn, rejections))).await
    }

    async fn polls_due(&self, now: Timestamp, limit: u32) -> StoreResult<Vec<PollDue>> {
        schedule::due(&mut *self.reader().await?, now, limit).await
    }

    async fn missed_runs(
        &self,
        name: &ScheduleName,
        seen: Timestamp,
        next: Timestamp,
        missed: u32,
        now: Timestamp,
    ) -> StoreResult<bool> {
        let name = name.clone();
        self.writer
            .alone(move |conn| Box::pin(async move { schedule::missed(conn, &name, (seen, next), missed, now).await }))
            .await
    }

    async fn next_poll(&self) -> StoreResult<Option<Timestamp>> {
        schedule::next(&mut *self.reader().await?).await
    }

    async fn kv_get(&self, tenant: &TenantId, plugin: &str, key: &str, now: Timestamp) -> StoreResult<KvRow> {
        kv::get(&mut *self.reader().await?, tenant, plugin, key, now).await
    }

    async fn kv_keys(
        &self,
        tenant: &TenantId,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
        now: Timestamp,
    ) -> StoreResult<Vec<String>> {
        kv::keys(&mut *self.reader().await?, (tenant, plugin), prefix, after, limit, now).await
    }

    async fn kv_bytes(&self, tenant: &TenantId, plugin: &str) -> StoreResult<u64> {
        kv::bytes(&mut *self.reader().await?, tenant, plugin).await
    }

    async fn journal(&self, tenant: &TenantId, delivery: Key) -> StoreResult<Option<Vec<u8>>> {
        kv::journal(&mut *self.reader().await?, tenant, delivery).await
    }

    async fn last_seen(&self) -> StoreResult<Timestamp> {
        Ok(self.latest())
    }

    async fn in_place(&self) -> StoreResult<()> {
        self.place.check()
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}

/// The file is this process's alone.
#[async_trait]
impl Cluster for SqliteStore {}
