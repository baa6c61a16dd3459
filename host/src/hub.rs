//! Everything that the parts of one process share.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock::{SharedClock, TimeFactor},
    cluster::Node,
    config::Settings,
    connection::{key_sets::KeySets, pace::Paces, tokens::Tokens, vault::Vault},
    directory::Directory,
    event::catalogue::Catalogue,
    id::Ids,
    ingress::{alarm::SourceAlarms, limits::RateLimits},
    observe::steps::Steps,
    outbound::{client::HttpClient, publish::Publisher},
    plugin::{registry::Plugins, sandbox::Sandbox},
    queue::scheduler::Scheduler,
    run::{shadow::ShadowQueue, traps::Traps},
    store::SharedStore,
};

/// One hub. Everything in it can be shared and is safe to use from many tasks.
pub struct Hub {
    /// Time, for stamps and signature windows.
    pub clock: SharedClock,
    /// Time for the queue: when something is due. It never steps back, also not over a restart.
    pub queue_clock: SharedClock,
    /// Identifiers and randomness.
    pub ids: Ids,
    /// How much faster than real time retries, polls and schedules run.
    pub time_factor: TimeFactor,
    /// The database.
    pub store: SharedStore,
    /// Sealing and opening of secrets.
    pub vault: Arc<Vault>,
    /// What admins created, cached.
    pub directory: Directory,
    /// Known event types.
    pub catalogue: ArcSwap<Catalogue>,
    /// Where plugins run.
    pub sandbox: Arc<Sandbox>,
    /// Plugin versions.
    pub plugins: Plugins,
    /// The pooled client for everything that goes out.
    pub client: HttpClient,
    /// Connections to brokers of endpoints.
    pub publisher: Publisher,
    /// Public keys of those whose tokens plugins check.
    pub key_sets: KeySets,
    /// How often strangers may call.
    pub rates: RateLimits,
    /// Sources that refuse too much.
    pub alarms: SourceAlarms,
    /// Rate and breaker of each connection.
    pub paces: Paces,
    /// Access tokens of connections.
    pub tokens: Tokens,
    /// Steps of traces, for a collector.
    pub steps: Steps,
    /// How often versions trapped in a row.
    pub traps: Traps,
    /// Shadow runs that wait.
    pub shadows: ShadowQueue,
    /// Previews of runs under way.
    pub previews: Semaphore,
    /// The configuration.
    pub settings: Arc<Settings>,
    /// Where providers reach the hub, without a slash at the end.
    pub public_url: String,
    /// This process among others that share the database.
    pub node: Arc<Node>,
    /// The scheduler; held only for the time of one step.
    pub scheduler: Mutex<Scheduler>,
    /// Rung when the scheduler's next tick moved ahead.
    pub tick_moved: Notify,
    /// Rung when a schedule became due.
    pub polls_moved: Notify,
    /// Rung when a request of a person was made.
    pub privacy_moved: Notify,
    /// Rung when parked requests may be judged differently now.
    pub parked_moved: Notify,
    /// Attempts and accepts under way.
    pub tasks: TaskTracker,
    /// Cancelled when attempts must end: what runs is given back.
    pub hard_stop: CancellationToken,
}
