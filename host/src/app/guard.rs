//! What the process needs to go on: descriptors, and its database in its place.

use std::{sync::Arc, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

use crate::{hub::Hub, store::StoreError};

/// How often the hub looks whether its database is still in its place.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// How many connections the process has descriptors for: half of them, since the database, providers and subscribers need
/// some as well. Raises the process's own limit as far as it may, since the usual one is meant for smaller programs.
pub(super) fn connections_within_descriptors() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, ..limit };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit.current = limit.maximum;
        }
    }
    limit.current.map_or(usize::MAX, |descriptors| usize::try_from(descriptors / 2).unwrap_or(usize::MAX))
}

/// Looks whether the database is still the one that was opened, and ends when it is not, which stops the process: what it
/// would write from then on would be found by nobody. A server that is away comes back.
pub(super) async fn watch_database(hub: Arc<Hub>, stop: CancellationToken) {
    while tokio::time::timeout(WATCH_EVERY, stop.cancelled()).await.is_err() {
        if let Err(error @ StoreError::Refused(_)) = hub.store.in_place().await {
            tracing::error!(%error, "the database is gone; stopping");
            return;
        }
    }
}
