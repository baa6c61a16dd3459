//! Apps: the operator's registrations at providers.

use async_trait::async_trait;

use super::{
    StoreResult,
    registry::{AuditEntry, SourceRow},
};
use crate::{clock::Timestamp, id::Key};

/// An app.
#[derive(Clone, Debug)]
pub struct AppRow {
    /// Its key; `app_..` outside.
    pub key: Key,
    /// The provider's name.
    pub provider: String,
    /// For people, unique in the hub.
    pub name: String,
    /// The plugin whose `receive` takes its requests, and whose manifest says where its connections log in.
    pub plugin: Option<String>,
    /// The OAuth client.
    pub client_id: Option<String>,
    /// The client's secret, sealed by the hub's key.
    pub client_secret: Option<Vec<u8>>,
    /// Secrets that prove its requests: a JSON object of field and value, sealed by the hub's key.
    pub secrets: Option<Vec<u8>>,
    /// Its public inbound URLs.
    pub sources: Vec<SourceRow>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When an operator last changed it.
    pub updated_at: Timestamp,
}

/// Reads and changes of apps. A change of a missing row is `NotFound`; a name that exists is a `Conflict`.
#[async_trait]
pub trait Apps: Send + Sync {
    /// All apps with their sources.
    async fn apps(&self) -> StoreResult<Vec<AppRow>>;

    /// Makes an app with its sources.
    async fn create_app(&self, app: AppRow, audit: AuditEntry) -> StoreResult<()>;

    /// Replaces an app. A source whose name is known keeps its id, others come and go.
    async fn update_app(&self, app: AppRow, audit: AuditEntry) -> StoreResult<()>;

    /// Removes an app with its sources; `Conflict` while a connection logs in through it.
    async fn delete_app(&self, app: Key, audit: AuditEntry) -> StoreResult<()>;
}
