//! The ledger's calls, each handed to the writer or to a connection beside it.

use std::time::Duration;

use async_trait::async_trait;

use super::{PostgresStore, intake, kv, lanes, registry::Concerns, rescue, schedule};
use crate::{
    clock::Timestamp,
    event::TenantId,
    failpoint,
    id::Key,
    queue::{lane::LaneKey, partition::PartitionSet},
    store::{
        Ledger, StoreError, StoreResult,
        group::{Call, Prepared, Reply},
        ledger::{
            Accept, Accepted, ClaimRequest, Claimed, Death, Intent, IntentOutcome, KvRow, LaneHead, LiveDelivery,
            Parked, ParkedRequest, PollDue, ReadyDelivery, Rejection, Rescued, ScheduleName, Settle, Settled,
        },
    },
};

/// How long the database may take to show that it is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);

/// The writer answers each kind of call with its own kind of reply.
fn mixed_up<T>() -> StoreResult<T> {
    Err(StoreError::Inconsistent("the writer answered another call".to_owned()))
}

#[async_trait]
impl Ledger for PostgresStore {
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
        self.rescue_partitions(killed_alone, partitions, now).await
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
        rescue::overdue(&mut *self.reader().await?, now, held_since, limit).await
    }

    async fn expire(&self, deaths: Vec<Death>, now: Timestamp) -> StoreResult<Vec<Key>> {
        self.change_at(failpoint::EXPIRE, Concerns::Nobody, (deaths, now), |conn, (deaths, now)| {
            Box::pin(rescue::expire(conn, deaths, *now))
        })
        .await
    }

    async fn prune(&self, before: Timestamp, dedupe_before: Timestamp, limit: u32) -> StoreResult<u64> {
        self.prune_old(before, dedupe_before, limit).await
    }

    async fn park(&self, request: ParkedRequest) -> StoreResult<u64> {
        self.change_at(failpoint::PARK, Concerns::Nobody, request, |conn, request| {
            Box::pin(intake::park(conn, request))
        })
        .await
    }

    async fn parked_due(&self, tenant: &TenantId, plugin: &str, limit: u32) -> StoreResult<Vec<ParkedRequest>> {
        intake::parked_due(&mut *self.reader().await?, tenant, plugin, limit).await
    }

    async fn parked_installations(&self) -> StoreResult<Vec<Parked>> {
        intake::parked_installations(&mut *self.reader().await?).await
    }

    async fn unpark(&self, tenant: &TenantId, key: Key) -> StoreResult<()> {
        self.change_at(failpoint::UNPARK, Concerns::Nobody, (tenant.clone(), key), |conn, (tenant, key)| {
            Box::pin(intake::unpark(conn, tenant, *key))
        })
        .await
    }

    async fn reject(&self, rejections: Vec<Rejection>) -> StoreResult<()> {
        self.change_at(failpoint::REJECT, Concerns::Nobody, rejections, |conn, rejections| {
            Box::pin(intake::reject(conn, rejections))
        })
        .await
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
        let input = (name.clone(), seen, next, missed, now);
        self.change(Concerns::Nobody, input, |conn, (name, seen, next, missed, now)| {
            Box::pin(schedule::missed(conn, name, (*seen, *next), *missed, *now))
        })
        .await
    }

    async fn next_poll(&self) -> StoreResult<Option<Timestamp>> {
        schedule::next(&mut *self.reader().await?).await
    }

    async fn kv_get(&self, tenant: &TenantId, plugin: &str, key: &str, now: Timestamp) -> StoreResult<KvRow> {
        let asked = (plugin.to_owned(), key.to_owned(), now);
        self.look(tenant, asked, |conn, tenant, (plugin, key, now)| Box::pin(kv::get(conn, tenant, plugin, key, *now)))
            .await
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
        let asked = (plugin.to_owned(), prefix.to_owned(), after.map(str::to_owned), limit, now);
        self.look(tenant, asked, |conn, tenant, (plugin, prefix, after, limit, now)| {
            Box::pin(kv::keys(conn, (tenant, plugin), prefix, after.as_deref(), *limit, *now))
        })
        .await
    }

    async fn kv_bytes(&self, tenant: &TenantId, plugin: &str) -> StoreResult<u64> {
        self.look(tenant, plugin.to_owned(), |conn, tenant, plugin| Box::pin(kv::bytes(conn, tenant, plugin))).await
    }

    async fn journal(&self, tenant: &TenantId, delivery: Key) -> StoreResult<Option<Vec<u8>>> {
        self.look(tenant, delivery, |conn, tenant, delivery| Box::pin(kv::journal(conn, tenant, *delivery))).await
    }

    /// The wall clock: nodes share no other, and the order of starts does not hang on it.
    async fn last_seen(&self) -> StoreResult<Timestamp> {
        Ok(self.clock.now())
    }

    /// A server that answers is the one that was opened: it knows the schema, or the writes fail.
    async fn in_place(&self) -> StoreResult<()> {
        let look = async {
            sqlx::query("select 1").execute(&mut *self.reader().await?).await?;
            Ok(())
        };
        let late = |_| StoreError::Unavailable("the database does not answer".to_owned());
        tokio::time::timeout(SIGN_OF_LIFE, look).await.map_err(late)?
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}
