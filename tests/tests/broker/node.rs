use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use switchyard::{
    broker::{BellSettings, Bells, BrokerAddress, BrokerState, OnBell, Owned, Rung},
    clock::SystemClock,
    event::{Target, Urgency},
    id::Ids,
    queue::lane::Lane,
};
use switchyard_tests::broker::{Client, own_name, until};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long something may take that needs no broker to come back.
pub const SOON: Duration = Duration::from_secs(60);

/// How long something may take after a broker came back.
pub const EVENTUALLY: Duration = Duration::from_secs(120);

/// Every partition.
pub const ALL: Owned = [true; 64];

/// What a node has heard.
#[derive(Default)]
pub struct Heard(Mutex<Vec<Lane>>);

impl Heard {
    pub fn lanes(&self) -> Vec<Lane> {
        self.0.lock().unwrap().clone()
    }

    pub fn times(&self, lane: &Lane) -> usize {
        self.lanes().iter().filter(|heard| *heard == lane).count()
    }
}

#[async_trait]
impl OnBell for Heard {
    async fn bell(&self, lane: Lane) {
        self.0.lock().unwrap().push(lane);
    }
}

/// One node with its bells.
pub struct Node {
    pub bells: Arc<Bells>,
    pub heard: Arc<Heard>,
    pub settings: BellSettings,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Node {
    /// Starts a node of the set of nodes whose names begin with `prefix`. It trusts a broker that came back sooner than a
    /// hub does.
    pub fn start(url: &str, prefix: &str, name: &str) -> Self {
        let mut settings = BellSettings::new(BrokerAddress::parse(url).unwrap(), name);
        settings.prefix = prefix.to_owned();
        settings.stable = Duration::from_millis(300);
        Self::with(settings)
    }

    pub fn with(settings: BellSettings) -> Self {
        let bells = Bells::new(settings.clone());
        let heard = Arc::new(Heard::default());
        let stop = CancellationToken::new();
        let ids = Ids::from_os(SystemClock::shared());
        let running = tokio::spawn(bells.clone().run(heard.clone(), ids, stop.clone()));
        Self { bells, heard, settings, stop, running }
    }

    pub fn queue(&self) -> String {
        format!("{}.{}", self.settings.prefix, self.settings.node)
    }

    pub fn word(&self) -> &'static str {
        self.bells.status().borrow().state().word()
    }

    pub fn reason(&self) -> String {
        self.bells.status().borrow().state().reason().unwrap_or_default().to_owned()
    }

    /// Waits until the broker is as wanted, and answers how it is.
    #[track_caller]
    pub fn is(&self, word: &'static str, within: Duration) -> impl Future<Output = BrokerState> {
        let mut status = self.bells.status();
        let place = std::panic::Location::caller();
        async move {
            let waiting = status.wait_for(|status| status.state().word() == word);
            let seen = tokio::time::timeout(within, waiting).await.map(|seen| seen.unwrap().state().clone());
            seen.unwrap_or_else(|_| panic!("{place}: the broker is {:?}, not {word}", status.borrow()))
        }
    }

    /// Rings until it was heard, since the bindings of a node may be a moment behind what it owns.
    pub async fn rings_through_to(&self, other: &Self, lane: &Lane) {
        let before = other.heard.times(lane);
        until("a bell is heard", EVENTUALLY, async || {
            let _ = self.ring(lane);
            other.heard.times(lane) > before
        })
        .await;
    }

    pub fn ring(&self, lane: &Lane) -> Rung {
        self.bells.ring(lane, lane.key())
    }

    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(SOON, self.running).await.expect("it stops in time").expect("it did not panic");
    }

    /// Ends it, and removes what it left at the broker that all share.
    pub async fn stop_and_clear(self, client: &Client) {
        let (queue, prefix) = (self.queue(), self.settings.prefix.clone());
        let dead = format!("{prefix}.dead");
        self.stop().await;
        client.clear(&[&queue, &dead], &[&prefix, &dead]).await;
    }
}

/// The lane of a tenant to nowhere.
pub fn lane(tenant: &str) -> Lane {
    Lane { tenant: tenant.parse().unwrap(), target: Target::Unrouted, urgency: Urgency::Normal }
}

/// A lane in the given partition.
pub fn lane_in(partition: u8) -> Lane {
    (0..).map(|number| lane(&format!("t{number}"))).find(|lane| lane.key().partition().number() == partition).unwrap()
}

/// The beginning of names that no other test has.
pub fn prefix() -> String {
    own_name("bell")
}
