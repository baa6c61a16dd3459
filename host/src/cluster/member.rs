//! The life of a node among others: it beats, takes partitions that nobody has, gives away what is more than its share,
//! and leaves when it stops.
//!
//! A partition that was taken is *adopted*: what ran in it when its owner died is given back, then this node starts its
//! work. One that is to be given is first left alone until nothing of it runs here, so that no attempt runs twice.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Node, balance, millis};
use crate::{
    hub::Hub,
    id::Key,
    queue::{
        partition::{PARTITIONS, Partition, PartitionSet},
        reason::{Failure, ReasonClass},
        scheduler::Input,
    },
    store::{
        StoreResult,
        cluster::{Beaten, NODE_LIFE, NodeFence},
    },
};

/// How often a node renews its lease and looks around.
const BEAT_EVERY: Duration = Duration::from_secs(2);

/// How often while it waits for attempts to end in partitions that it gives away.
const GIVING_EVERY: Duration = Duration::from_millis(250);

/// A lease is trusted so much shorter than it lasts, for whatever is under way when it ends.
const MARGIN: Duration = Duration::from_secs(3);

/// The role, and the duty, of making polls and schedules due and of pruning.
pub(super) const SCHEDULER: &str = "scheduler";

/// Clocks that differ more than this are told of.
const SKEW: i64 = 5_000;

/// Where the store keeps which delivery a node runs alone.
pub(super) fn running_alone(node: Key) -> String {
    format!("running_alone:{node}")
}

/// What the task of a member remembers between beats.
#[derive(Default)]
struct Member {
    giving: PartitionSet,
    skew_told: bool,
}

impl Hub {
    /// Brings the queue back to life in a process that has its database for itself.
    ///
    /// # Errors
    /// The database.
    pub async fn begin_alone(self: &Arc<Self>) -> StoreResult<()> {
        // Whoever claimed a refresh in this file is gone with its process.
        self.store.forget_refresh_claims().await?;
        adopt(self, self.node.owned(), &[self.node.running_alone()]).await
    }

    /// Takes part in the hub until `stop`, and then until what runs has ended. Ends at once where there are no others.
    pub async fn run_member(self: Arc<Self>, stop: CancellationToken) {
        let mut member = Member::default();
        if !self.node.is_shared() {
            return stop.cancelled().await;
        }
        while !stop.is_cancelled() {
            member.turn(&self).await;
            let wait = if member.giving.is_empty() { BEAT_EVERY } else { GIVING_EVERY };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        // What still runs ends under the leases, or is cut off and given back.
        loop {
            tokio::select! {
                () = self.tasks.wait() => break,
                () = tokio::time::sleep(BEAT_EVERY) => self.keep_leases().await,
            }
        }
        self.node.change_owned(|_| PartitionSet::none());
        if let Err(error) = self.store.leave(self.node.id()).await {
            tracing::warn!(%error, "this node could not say that it leaves; its partitions move when its lease ends");
        }
    }

    /// Only keeps what this node has.
    async fn keep_leases(&self) {
        let began = self.clock.monotonic();
        match self.store.beat(&self.node.row).await {
            Ok(_) => self.node.trust(began),
            Err(error) => tracing::warn!(%error, "the lease of this node could not be renewed"),
        }
    }
}

impl Node {
    /// The leases hold from a beat that began then.
    fn trust(&self, began: Duration) {
        self.trusted_until.store(millis(began + NODE_LIFE - MARGIN), std::sync::atomic::Ordering::Release);
    }

    /// Ends the terms of partitions, before the leases are trusted again.
    fn note_losses(&self, lost: PartitionSet) {
        for partition in lost.iter() {
            self.losses[usize::from(partition.number())].fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        }
    }

    /// Adds or removes partitions in which work starts.
    fn change_owned(&self, change: impl Fn(PartitionSet) -> PartitionSet) {
        use std::sync::atomic::Ordering::{AcqRel, Acquire};
        // Only the member's task changes it; the closure never refuses.
        let _ = self.owned.fetch_update(AcqRel, Acquire, |bits| Some(change(PartitionSet::from_bits(bits)).bits()));
        if let Some(bells) = &self.broker {
            let owned = self.owned();
            bells.set_owned(std::array::from_fn(|number| {
                u8::try_from(number).ok().and_then(Partition::new).is_some_and(|partition| owned.contains(partition))
            }));
        }
    }
}

impl Member {
    /// One beat and what follows from it. A failure leaves things as they are; the next turn begins anew.
    async fn turn(&mut self, hub: &Arc<Hub>) {
        let began = hub.clock.monotonic();
        let ended = async {
            let beaten = hub.store.beat(&hub.node.row).await?;
            self.note_clock(hub, &beaten);
            self.disown_lost(hub, &beaten);
            hub.node.trust(began);
            self.act(hub, beaten).await?;
            if hub.node.row.has(SCHEDULER) && hub.store.duty(hub.node.id(), SCHEDULER).await? {
                let until = millis(began + NODE_LIFE - MARGIN);
                hub.node.leads_until.store(until, std::sync::atomic::Ordering::Release);
            }
            StoreResult::Ok(())
        };
        if let Err(error) = ended.await {
            tracing::warn!(%error, trusted = hub.node.is_trusted(), "this node could not take part in the hub");
        }
    }

    fn note_clock(&mut self, hub: &Hub, beaten: &Beaten) {
        let skew = beaten.now.0 - hub.clock.now().0;
        if let Some(clock) = &hub.node.server_clock {
            clock.set(beaten.now);
        }
        hub.node.skew_ms.store(skew, std::sync::atomic::Ordering::Relaxed);
        if skew.abs() > SKEW && !self.skew_told {
            tracing::warn!(skew_ms = skew, "this node's clock and the database's differ; set both by NTP");
        }
        self.skew_told = skew.abs() > SKEW;
    }

    /// Partitions that another node has taken are no longer this one's, whatever runs in them.
    fn disown_lost(&mut self, hub: &Arc<Hub>, beaten: &Beaten) {
        let me = hub.node.id();
        let mine: PartitionSet =
            beaten.leases.iter().filter(|lease| lease.node == Some(me)).map(|lease| lease.partition).collect();
        let lost = hub.node.owned().with(self.giving).without(mine);
        if !lost.is_empty() {
            tracing::warn!(partitions = lost.len(), "another node has taken over partitions of this one");
            hub.node.note_losses(lost);
            hub.node.change_owned(|owned| owned.without(lost));
            self.giving = self.giving.without(lost);
            hub.forget_lanes(lost);
        }
    }

    /// Takes and gives by the common plan.
    async fn act(&mut self, hub: &Arc<Hub>, mut beaten: Beaten) -> StoreResult<()> {
        let me = hub.node.id();
        let plan = balance::plan(&beaten.nodes, &beaten.leases, me);
        let mut formers = Vec::new();
        if !plan.take.is_empty() {
            for taken in hub.store.take(me, plan.take).await? {
                beaten.leases[usize::from(taken.lease.partition.number())] = taken.lease;
                formers.extend(taken.former);
            }
        }
        let mine: PartitionSet =
            beaten.leases.iter().filter(|lease| lease.node == Some(me)).map(|lease| lease.partition).collect();
        let mut epochs = [None; PARTITIONS as usize];
        for lease in beaten.leases.iter().filter(|lease| lease.node == Some(me)) {
            epochs[usize::from(lease.partition.number())] = Some(lease.epoch);
        }
        hub.store.set_fence(NodeFence { node: me, epochs });
        hub.node.seen.store(Arc::new(super::Seen { nodes: beaten.nodes, leases: beaten.leases }));
        // What was taken now, and what an earlier turn took and could not adopt.
        let new = mine.without(hub.node.owned()).without(self.giving);
        if !new.is_empty() {
            formers.sort_unstable();
            formers.dedup();
            let alone: Vec<String> = formers.into_iter().map(running_alone).collect();
            adopt(hub, new, &alone).await?;
        }
        if self.giving != plan.give {
            // A partition that is wanted back, since a node has died meanwhile, goes on here.
            let back = self.giving.without(plan.give);
            hub.node.change_owned(|owned| owned.with(back).without(plan.give));
            self.giving = plan.give;
            hub.forget_lanes(plan.give);
            hub.wake_partitions(back).await?;
        }
        self.give(hub).await
    }

    /// Gives away what no longer runs here.
    async fn give(&mut self, hub: &Arc<Hub>) -> StoreResult<()> {
        let idle = self.giving.without(hub.busy_partitions());
        if !idle.is_empty() {
            hub.store.give(hub.node.id(), idle).await?;
            self.giving = self.giving.without(idle);
        }
        Ok(())
    }
}

/// Brings the lanes of partitions back to life: what was running is given back, and every lane with work is told to the
/// scheduler. `alone` are the places where the nodes that had them before kept which delivery they ran alone.
async fn adopt(hub: &Arc<Hub>, partitions: PartitionSet, alone: &[String]) -> StoreResult<()> {
    let (mut death, mut told, mut known) = (None, None, Vec::new());
    for name in alone {
        let Some(key) = hub.store.meta(name).await?.and_then(|key| key.try_into().ok()).map(Key) else { continue };
        known.push(name);
        let suspect = hub.store.running_suspect(key).await?;
        let suspect = suspect.filter(|live| partitions.contains(live.lane.key().partition()));
        // Of several nodes that died at once one suspect ends here; another's runs alone once more.
        if let Some(found) = hub.deaths(suspect.into_iter().collect(), &killed_host()).pop() {
            (death, told) = (Some(found.0), found.1);
        }
    }
    let rescued = hub.store.rescue(death, partitions, hub.queue_clock.now()).await?;
    if let Some(told) = told {
        told.stored(hub);
    }
    for name in known {
        hub.store.set_meta(name, Vec::new()).await?;
    }
    if !rescued.is_empty() {
        tracing::info!(deliveries = rescued.len(), "gave back what was running when its node stopped");
    }
    hub.node.change_owned(|owned| owned.with(partitions));
    hub.wake_partitions(partitions).await
}

/// Why a delivery is dead that took its process with it.
fn killed_host() -> Failure {
    Failure::new(
        ReasonClass::PluginBug,
        "killed_host",
        "The process died each time it ran, the last time with nothing else running.",
    )
}

impl Hub {
    /// Tells the scheduler of all lanes with work in partitions.
    pub(crate) async fn wake_partitions(self: &Arc<Self>, partitions: PartitionSet) -> StoreResult<()> {
        if !partitions.is_empty() {
            let lanes = self.store.lanes(partitions).await?;
            self.wake_at(lanes.into_iter().map(|head| (head.lane, head.due_at)));
        }
        Ok(())
    }

    /// The scheduler starts nothing more in partitions. What runs gives its slots back as ever.
    fn forget_lanes(self: &Arc<Self>, partitions: PartitionSet) {
        let lanes: Vec<_> = {
            let scheduler = self.locked_scheduler();
            scheduler.lanes().map(|(key, _)| key).filter(|key| partitions.contains(key.partition())).collect()
        };
        for key in lanes {
            self.feed(Input::Forget { key });
        }
    }

    /// Partitions in which attempts are under way here.
    fn busy_partitions(&self) -> PartitionSet {
        self.locked_scheduler().busy().map(|key| key.partition()).collect()
    }
}
