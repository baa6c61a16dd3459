//! Following what admins change on other nodes, so that it is in force here within a second.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{directory::LoadError, hub::Hub, store::cluster::ChangeMark};

/// How often the changes are read.
const READ_EVERY: Duration = Duration::from_millis(250);

/// With more tenants than this at once, everything is read anew.
const FEW: usize = 20;

impl Hub {
    /// Reads the changes of all nodes, from `mark` on, until `stop`.
    pub async fn run_feed(self: Arc<Self>, mut mark: ChangeMark, stop: CancellationToken) {
        if !self.node.is_shared() {
            return stop.cancelled().await;
        }
        while tokio::time::timeout(READ_EVERY, stop.cancelled()).await.is_err() {
            match self.follow(&mark).await {
                Ok(next) => mark = next,
                Err(error) => tracing::warn!(%error, "changes could not be read; they are read again"),
            }
        }
    }

    async fn follow(&self, mark: &ChangeMark) -> Result<ChangeMark, LoadError> {
        let changes = self.store.changes(mark).await?;
        if changes.tenants.len() > FEW {
            self.directory.load_all().await?;
            return Ok(changes.mark);
        }
        if changes.hub {
            self.directory.refresh_plugins().await?;
            self.directory.refresh_apps().await?;
        }
        if changes.hub || !changes.tenants.is_empty() {
            self.directory.refresh_keys().await?;
        }
        for tenant in &changes.tenants {
            self.directory.refresh_tenant(tenant).await?;
        }
        Ok(changes.mark)
    }
}
