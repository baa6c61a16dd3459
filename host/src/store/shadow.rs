//! What is kept of shadow runs: the newest of each installation one by one, and totals.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{StoreResult, records::Page};
use crate::{clock::Timestamp, event::TenantId, id::Key};

/// How a shadow run compared with the live one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShadowOutcome {
    /// It ended alike and left the same.
    Same,
    /// It ended, and left something else.
    Differs,
    /// It made a call that the live run did not make, and was ended there.
    Diverged,
    /// It broke, or refused what the live version carried out.
    Failed,
}

impl ShadowOutcome {
    /// The word of the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Differs => "differs",
            Self::Diverged => "diverged",
            Self::Failed => "failed",
        }
    }
}

/// One shadow run. A delivery has at most one, its last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowRun {
    /// The delivery whose live run it followed.
    pub delivery: Key,
    /// The tenant.
    pub tenant: TenantId,
    /// The plugin.
    pub plugin: String,
    /// The version that did the work.
    pub version: String,
    /// The version that ran beside it.
    pub shadow_version: String,
    /// How they compared.
    pub outcome: ShadowOutcome,
    /// Where they differ: a JSON object without values, at most 16 KiB.
    pub detail: String,
    /// How long the shadow took, in microseconds.
    pub duration_us: u64,
    /// When it ended.
    pub at: Timestamp,
}

/// How often the shadow runs of an installation compared how, also those no longer kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowTotal {
    /// The version that ran beside.
    pub shadow_version: String,
    /// How they compared.
    pub outcome: ShadowOutcome,
    /// How many.
    pub total: u64,
    /// When the first ended.
    pub first_at: Timestamp,
    /// When the last ended.
    pub last_at: Timestamp,
}

/// Shadow runs. They go with their event; beyond 1,000 of an installation the oldest go.
#[async_trait]
pub trait Shadows: Send + Sync {
    /// Keeps a shadow run in place of an earlier one of its delivery, and counts it. Nothing is kept or counted for a
    /// delivery that is gone.
    async fn shadow_ran(&self, run: ShadowRun) -> StoreResult<()>;

    /// The shadow run of a delivery.
    async fn shadow_run(&self, tenant: &TenantId, delivery: Key) -> StoreResult<Option<ShadowRun>>;

    /// The shadow runs of an installation, newest delivery first.
    async fn shadow_runs(&self, tenant: &TenantId, plugin: &str, page: Page) -> StoreResult<Vec<ShadowRun>>;

    /// The totals of an installation.
    async fn shadow_totals(&self, tenant: &TenantId, plugin: &str) -> StoreResult<Vec<ShadowTotal>>;
}
