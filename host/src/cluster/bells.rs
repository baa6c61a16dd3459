//! Waking the owner of a lane: through the broker while it is up, else through the database. A bell may be lost, so owners
//! look at all their lanes from time to time: seldom while bells ring, often while nothing does.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::{
    broker::{BrokerStatus, OnBell},
    hub::Hub,
    queue::lane::Lane,
};

/// Lanes are rung for together, so often at most: a notification takes a lock of the whole database.
const RING_EVERY: Duration = Duration::from_millis(25);

/// How often owners look while the broker rings.
const LOOK_WITH_BROKER: Duration = Duration::from_secs(5);

/// How often they look while only the database rings.
const LOOK_WITH_DATABASE: Duration = Duration::from_secs(1);

/// How often they look while nothing rings.
const LOOK_IN_SILENCE: Duration = Duration::from_millis(150);

/// After a lost connection the database is asked to ring again so soon.
const LISTEN_AGAIN: Duration = Duration::from_millis(500);

/// How the nodes wake each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BellState {
    /// How the broker is, if there is one.
    pub broker: Option<BrokerStatus>,
    /// Whether the database's notifications arrive.
    pub database: bool,
}

impl BellState {
    /// `broker`, `database`, or `polling` while nothing rings.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match (&self.broker, self.database) {
            (Some(broker), _) if broker.is_up() => "broker",
            (_, true) => "database",
            (_, false) => "polling",
        }
    }

    /// How long work may wait when its bell was lost.
    fn look_every(&self) -> Duration {
        match self.word() {
            "broker" => LOOK_WITH_BROKER,
            "database" => LOOK_WITH_DATABASE,
            _ => LOOK_IN_SILENCE,
        }
    }
}

/// Takes bells of the broker.
struct Hears(Arc<Hub>);

#[async_trait]
impl OnBell for Hears {
    async fn bell(&self, lane: Lane) {
        self.0.hear(vec![lane]);
    }
}

impl Hub {
    /// Rings for lanes of other nodes, until `stop`.
    pub async fn run_ringing(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.node.to_ring.notified() => {}
            }
            let ringing = std::mem::take(&mut *self.node.ringing.lock().unwrap_or_else(PoisonError::into_inner));
            let lanes: Vec<Lane> = ringing.into_iter().collect();
            if !lanes.is_empty()
                && let Err(error) = self.store.ring(&lanes).await
            {
                tracing::debug!(%error, lanes = lanes.len(), "nobody could be woken; the owners will look");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(RING_EVERY) => {}
            }
        }
    }

    /// Listens for bells, and looks at all own lanes from time to time, until `stop`.
    pub async fn run_listening(self: Arc<Self>, stop: CancellationToken) {
        if !self.node.is_shared() {
            return stop.cancelled().await;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.listen_again_and_again() => {}
            () = self.look_again_and_again() => {}
        }
    }

    async fn listen_again_and_again(self: &Arc<Self>) {
        loop {
            match self.store.listen().await {
                Ok(mut rung) => {
                    self.node.database_rings.store(true, Ordering::Relaxed);
                    // What was rung for while nobody listened.
                    self.look().await;
                    while let Some(lanes) = rung.recv().await {
                        self.hear(lanes);
                    }
                }
                Err(error) => tracing::debug!(%error, "the database does not ring"),
            }
            self.node.database_rings.store(false, Ordering::Relaxed);
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    }

    /// Wakes those of the lanes that this node owns. Another one's is not rung for again: its owner will look.
    fn hear(self: &Arc<Self>, lanes: Vec<Lane>) {
        let own: Vec<Lane> = lanes.into_iter().filter(|lane| self.node.owns(lane.key())).collect();
        self.wake(&own);
    }

    /// Keeps the connections to the broker, if there is one, until `stop`.
    pub async fn run_broker(self: Arc<Self>, stop: CancellationToken) {
        match &self.node.broker {
            Some(bells) => bells.clone().run(Arc::new(Hears(self.clone())), self.ids.clone(), stop).await,
            None => stop.cancelled().await,
        }
    }

    async fn look_again_and_again(self: &Arc<Self>) {
        loop {
            let every = self.node.bells().look_every();
            // Up to a fifth earlier or later, so that nodes do not look all at once.
            tokio::time::sleep(every.mul_f64(self.ids.fraction().mul_add(0.4, 0.8))).await;
            self.look().await;
        }
    }

    /// Tells the scheduler of every own lane with work, whoever brought it.
    async fn look(self: &Arc<Self>) {
        if let Err(error) = self.wake_partitions(self.node.owned()).await {
            tracing::debug!(%error, "the lanes could not be read; they are read again");
        }
    }
}
