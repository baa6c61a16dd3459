//! Doorbells: after a commit, one message tells the node that owns a lane to look at it now.
//!
//! Bells go to a direct exchange under the number of the lane's partition. Every node hears them from a queue of its own,
//! bound for the partitions that it owns. A bell may be lost, doubled, late or for a lane that has no work, without harm:
//! the database is the truth, and a node that owns a partition looks at it now and then anyway.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    address::BrokerAddress,
    dial::{Dialling, Way},
    hear::Hearer,
    ring::Ringer,
    status::{Board, BrokerStatus, Side},
    supervisor::Supervisor,
};
use crate::{
    id::Ids,
    queue::{
        lane::{Lane, LaneKey},
        partition::PARTITIONS,
    },
};

/// Which partitions a node owns, by number.
pub type Owned = [bool; PARTITIONS as usize];

/// What the bells are made of. [`BellSettings::new`] gives what a hub uses; tests change it.
#[derive(Clone, Debug)]
pub struct BellSettings {
    /// The broker.
    pub address: BrokerAddress,
    /// This node, in the name of its queue.
    pub node: String,
    /// What the names of exchanges and queues begin with.
    pub prefix: String,
    /// For how long a connection that was lost must hold before it is relied upon again.
    pub stable: Duration,
    /// Bells of one lane within this time are one.
    pub gather: Duration,
    /// Time for the broker to confirm a bell.
    pub confirm_limit: Duration,
    /// Time to make a connection.
    pub connect_limit: Duration,
    /// The silence after which the broker is taken for gone is twice this.
    pub heartbeat: Duration,
}

impl BellSettings {
    /// What a hub uses. `node` is at most 64 letters, digits, `-`, `_` or `.`, since it becomes part of a name.
    #[must_use]
    pub fn new(address: BrokerAddress, node: &str) -> Self {
        Self {
            address,
            node: node.to_owned(),
            prefix: "switchyard.bell".to_owned(),
            stable: Duration::from_secs(30),
            gather: Duration::from_millis(20),
            confirm_limit: Duration::from_secs(2),
            connect_limit: Duration::from_secs(5),
            heartbeat: Duration::from_secs(10),
        }
    }

    /// Where bells go.
    pub(super) fn exchange(&self) -> String {
        self.prefix.clone()
    }

    /// Where this node hears them, by how many queues it gave up before.
    pub(super) fn queue(&self, given_up: u32) -> String {
        let name = format!("{}.{}", self.prefix, self.node);
        if given_up == 0 { name } else { format!("{name}.{given_up}") }
    }

    /// Where garbage goes, exchange and queue.
    pub(super) fn dead(&self) -> String {
        format!("{}.dead", self.prefix)
    }
}

/// Who is told of a lane that has work.
#[async_trait]
pub trait OnBell: Send + Sync + 'static {
    /// Takes notice of a bell. The lane may have no work, be unknown, or be owned by another node by now. It is
    /// acknowledged once this returns, and given up after a second.
    async fn bell(&self, lane: Lane);
}

/// What became of a bell at once. Nobody is told whether it was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Rung {
    /// It will be rung.
    Taken,
    /// The broker is not up: there must be another way.
    NotUp,
    /// Too many wait already: this one is lost.
    Full,
}

/// The bells of one node.
#[derive(Debug)]
pub struct Bells {
    settings: BellSettings,
    board: Arc<Board>,
    ringer: Ringer,
    owned: watch::Sender<Owned>,
}

impl Bells {
    /// Bells that are silent until they run. The node owns nothing yet.
    #[must_use]
    pub fn new(settings: BellSettings) -> Arc<Self> {
        let board = Arc::new(Board::new());
        let ringer = Ringer::new(settings.clone(), board.clone());
        Arc::new(Self { settings, board, ringer, owned: watch::Sender::new([false; PARTITIONS as usize]) })
    }

    /// Rings for a lane and does not wait. Bells of one lane that come close together are rung once.
    pub fn ring(&self, lane: &Lane, key: LaneKey) -> Rung {
        self.ringer.ring(lane, key)
    }

    /// Hears the bells of these partitions from now on, and of no others.
    pub fn set_owned(&self, owned: Owned) {
        self.owned.send_if_modified(|known| std::mem::replace(known, owned) != owned);
    }

    /// How the broker is, now and whenever that changes. While it is not up, bells are neither rung nor surely heard.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<BrokerStatus> {
        self.board.watch()
    }

    /// Keeps both connections, rings and hears, until `stop`.
    pub async fn run(self: Arc<Self>, on_bell: Arc<dyn OnBell>, ids: Ids, stop: CancellationToken) {
        let hearer = Hearer::new(self.settings.clone(), self.owned.subscribe(), on_bell);
        let (ringing, hearing) = (self.supervisor(Side::Publish, &ids), self.supervisor(Side::Consume, &ids));
        tokio::join!(ringing.keep(&self.ringer, &stop), hearing.keep(&hearer, &stop));
    }

    fn supervisor(&self, side: Side, ids: &Ids) -> Supervisor {
        let dialling = Dialling {
            name: format!("switchyard {} bells {}", self.settings.node, side.word()),
            way: Way::Own,
            limit: self.settings.connect_limit,
            heartbeat: self.settings.heartbeat,
            trusted: None,
        };
        Supervisor {
            side,
            address: self.settings.address.clone(),
            dialling,
            stable: self.settings.stable,
            board: self.board.clone(),
            ids: ids.clone(),
        }
    }
}
