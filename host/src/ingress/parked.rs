//! Parked requests: judged again when version, config or secret changed, every five minutes, or by hand.

use std::sync::Arc;

use super::{door::Door, verdict::Verdict};
use crate::{
    directory::view::SourceView,
    hub::Hub,
    store::{StoreError, ledger::ParkedRequest},
};

/// At most so many of one installation in a row, so that others come in between.
const BATCH: u32 = 100;

impl Hub {
    /// Judges the parked requests of every installation once.
    ///
    /// # Errors
    /// The database failed; what was not judged stays parked.
    pub async fn judge_parked(self: &Arc<Self>) -> Result<(), StoreError> {
        for installation in self.store.parked_installations().await? {
            for parked in self.store.parked_due(&installation.tenant, &installation.plugin, BATCH).await? {
                self.judge_one_parked(parked).await?;
            }
        }
        Ok(())
    }

    /// Judges one parked request. True if it is no longer parked.
    ///
    /// # Errors
    /// The database failed.
    pub async fn judge_one_parked(self: &Arc<Self>, parked: ParkedRequest) -> Result<bool, StoreError> {
        let key = parked.request.key;
        let tenant = parked.request.tenant.clone();
        let view = self.directory.view();
        let verdict = match Door::of(&view, &parked.request.source_id) {
            Some(Door::Tenant(source)) => {
                let source = SourceView { plugin: parked.plugin.clone(), ..source };
                self.judge_request(&source, &parked.request, Some(key)).await
            }
            Some(Door::App(source)) => self.judge_app_request(&source, &parked.request, Some(key)).await,
            None => {
                self.store.unpark(&tenant, key).await?;
                return Ok(true);
            }
        };
        let verdict = match verdict {
            // Somebody else judged it meanwhile, or its owner is gone.
            Err(StoreError::NotFound) => return Ok(true),
            verdict => verdict?,
        };
        match verdict {
            Verdict::Answered(_) | Verdict::Refused(..) => {
                match self.store.unpark(&tenant, key).await {
                    // It went with the events that it became.
                    Ok(()) | Err(StoreError::NotFound) => Ok(true),
                    Err(error) => Err(error),
                }
            }
            Verdict::Neither(failure) => {
                let tries = parked.tries.saturating_add(1);
                self.store.park(ParkedRequest { failure, tries, ..parked }).await?;
                Ok(false)
            }
        }
    }
}
