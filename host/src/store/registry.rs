//! What admins create. Every change carries the audit row that is written in its transaction.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{StoreResult, ledger::NewEvent, policy::PlanRow};
use crate::{clock::Timestamp, event::TenantId, id::Key, queue::reason::Failure};

/// Data keys, wrapped as they are stored.
mod data_key;

/// What installations run at times, and the configs that they had.
mod schedule;

pub use data_key::{HUB_DATA_KEY, KeyHolder, Rewrapped, WrappedKey};
pub use schedule::{ConfigVersion, KEPT_CONFIGS, ScheduleRow};

/// Who changes what. `before` and `after` are JSON without secrets and personal values.
#[derive(Clone, Debug)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// The tenant whose object it is, if any.
    pub tenant: Option<TenantId>,
    /// `key_..` of the caller, `host`, or `cli`.
    pub actor: String,
    /// `endpoint.created`, `plugin.version_added`.
    pub action: String,
    /// The object: `ep_..`, `billy`, `acme`.
    pub target: String,
    /// The object before, if it was there.
    pub before: Option<String>,
    /// The object after, if it still is.
    pub after: Option<String>,
}

/// A tenant.
#[derive(Clone, Debug)]
pub struct TenantRow {
    /// Its name in URLs.
    pub id: TenantId,
    /// Its name for people.
    pub name: String,
    /// IANA time zone.
    pub time_zone: String,
    /// Free settings: a JSON object.
    pub settings: String,
    /// Whether commands, polls and endpoint deliveries are held.
    pub lockdown: bool,
    /// Which plugin handles a command when two could.
    pub command_handlers: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it is locked down.
    pub lockdown_since: Option<Timestamp>,
    /// Its data key, wrapped by a master key.
    pub data_key: Vec<u8>,
}

/// A version of a plugin without its bytes.
#[derive(Clone, Debug)]
pub struct PluginVersionRow {
    /// The plugin.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// SHA-256 of the component.
    pub sha256: [u8; 32],
    /// The manifest as JSON (`plugin::model::Manifest`).
    pub manifest: String,
    /// Bytes of the component.
    pub size: u64,
    /// When it was added.
    pub created_at: Timestamp,
}

/// Whether an installation works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Events and requests go to it.
    Live,
    /// Requests are parked, deliveries held, polls stopped.
    Off,
}

/// Where an installation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstallState {
    /// `lifecycle.install` is under way.
    Installing,
    /// It works.
    Ready,
    /// `lifecycle.install` failed; the reason says why.
    Failed,
    /// `lifecycle.uninstall` is under way.
    Removing,
}

/// A plugin switched on for a tenant.
#[derive(Clone, Debug)]
pub struct InstallationRow {
    /// The tenant.
    pub tenant: TenantId,
    /// The plugin.
    pub plugin: String,
    /// Live or off.
    pub mode: Mode,
    /// The pinned version; none follows the newest.
    pub version: Option<String>,
    /// Config: a JSON object.
    pub config: String,
    /// `<slot>` or `<slot>@<source>` to connection.
    pub connections: BTreeMap<String, Key>,
    /// Grants: `emits:*`, `emergency`.
    pub grants: Vec<String>,
    /// Delays in seconds instead of the plugin table.
    pub retry_schedule: Option<Vec<u64>>,
    /// Where it stands.
    pub state: InstallState,
    /// Why it failed.
    pub state_reason: Option<String>,
    /// Why it is blocked until a person acts, and since when.
    pub blocked: Option<(Failure, Timestamp)>,
    /// The version that is broken for this tenant, and since when.
    pub broken: Option<(String, Timestamp)>,
    /// When it was last changed; a change takes it out of `blocked`.
    pub updated_at: Timestamp,
    /// The version that runs beside for comparison.
    pub shadow_version: Option<String>,
    /// The version for which it was set up last: it stays in force until `lifecycle.upgrade` of another one succeeded.
    pub in_force: Option<String>,
    /// The `lifecycle.upgrade` that was called last. A change of the installation forgets it, so that it is called again.
    pub upgrade: Option<Upgrade>,
    /// Its sources.
    pub sources: Vec<SourceRow>,
    /// Its schedules, one for each that its manifest has.
    pub schedules: Vec<ScheduleRow>,
}

/// A call of `lifecycle.upgrade`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// To which version.
    pub to: String,
    /// Why it was refused; none while it is under way.
    pub refused: Option<String>,
}

/// What becomes of an installation's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpgradeChange {
    /// It is set up for this version.
    InForce(String),
    /// `lifecycle.upgrade` of this version was called.
    Called(String),
}

/// A public inbound URL.
#[derive(Clone, Debug)]
pub struct SourceRow {
    /// `src_..`, part of the URL.
    pub id: String,
    /// Unique in the installation.
    pub name: String,
    /// The queue that feeds it, besides the URL; none for most.
    pub queue: Option<QueueRow>,
}

/// A tenant's credential at a provider.
#[derive(Clone, Debug)]
pub struct ConnectionRow {
    /// Its key; `con_..` outside.
    pub key: Key,
    /// The tenant.
    pub tenant: TenantId,
    /// The provider's name.
    pub provider: String,
    /// Its name for people, unique in the tenant.
    pub name: String,
    /// `header`, `basic`, `bearer`, `oauth2`, `google_service_account`, `hmac`, `generated`.
    pub kind: String,
    /// The account at the provider, unique with the provider.
    pub account: Option<String>,
    /// Instead of the manifest's base URL.
    pub base_url: Option<String>,
    /// The active secrets, newest first, each a sealed JSON object.
    pub secrets: Vec<SealedSecret>,
    /// Why it needs a person, and since when.
    pub needs_login: Option<(String, Timestamp)>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its secret was last changed.
    pub updated_at: Timestamp,
    /// The app through which it logs in.
    pub app: Option<Key>,
    /// How often its tokens changed; the store counts.
    pub token_version: u64,
}

/// One sealed value with the end of its overlap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSecret {
    /// Sealed bytes.
    pub sealed: Vec<u8>,
    /// When it stops being valid; none for the current one.
    pub expires_at: Option<Timestamp>,
}

/// Whether an endpoint takes deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointState {
    /// Deliveries go out.
    Active,
    /// A person paused it; deliveries are held.
    Paused,
    /// The hub disabled it (410, five days of failures); deliveries are held.
    Disabled,
}

/// Where at a broker an endpoint publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeRow {
    /// The broker's whole URL, sealed.
    pub url: Vec<u8>,
    /// The exchange.
    pub name: String,
    /// The routing key; none is each event's type.
    pub routing_key: Option<String>,
}

/// The queue that feeds a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRow {
    /// The broker's whole URL, sealed.
    pub url: Vec<u8>,
    /// The URL without credentials.
    pub shown_url: String,
    /// The queue.
    pub name: String,
}

/// Where a subscriber wants events.
#[derive(Clone, Debug)]
pub struct EndpointRow {
    /// Its key; `ep_..` outside.
    pub key: Key,
    /// The tenant.
    pub tenant: TenantId,
    /// https URL; of a broker without its credentials.
    pub url: String,
    /// Where at a broker it publishes; none for HTTP.
    pub amqp: Option<ExchangeRow>,
    /// Exact types and patterns (`invoice.*`, `*`).
    pub event_types: Vec<String>,
    /// CEL filter.
    pub filter: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Body format: `standard` or `cloudevents`.
    pub format: String,
    /// Signing secrets (`whsec_..` texts), newest first, sealed.
    pub secrets: Vec<SealedSecret>,
    /// Whether it takes deliveries.
    pub state: EndpointState,
    /// Why it does not, and since when.
    pub state_reason: Option<(String, Timestamp)>,
    /// Delays in seconds instead of the endpoint table.
    pub retry_schedule: Option<Vec<u64>>,
    /// Starts per second.
    pub rate_per_s: Option<u32>,
    /// Attempts under way at once.
    pub concurrency: Option<u32>,
    /// Whether ordering keys are honoured.
    pub ordered: bool,
    /// Own header fields, sealed as one JSON object since they may hold a token.
    pub headers: Option<Vec<u8>>,
    /// Milliseconds for one attempt, body included.
    pub timeout_ms: Option<u32>,
    /// Since when every attempt has failed.
    pub failing_since: Option<Timestamp>,
    /// When an attempt last succeeded.
    pub last_success: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When an admin last changed it.
    pub updated_at: Timestamp,
}

/// What an API key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Read a tenant.
    Reader,
    /// Publish events of a tenant.
    Publisher,
    /// Everything of a tenant.
    Admin,
    /// Everything of every tenant, plugins and keys.
    Operator,
}

/// An API key without its text.
#[derive(Clone, Debug)]
pub struct ApiKeyRow {
    /// Its key; `key_..` outside.
    pub key: Key,
    /// SHA-256 of its text.
    pub hash: [u8; 32],
    /// The first characters, to recognise it by.
    pub hint: String,
    /// For people.
    pub name: String,
    /// The tenant; none for an operator.
    pub tenant: Option<TenantId>,
    /// What it may do.
    pub scope: Scope,
    /// Whether it may set `urgency: emergency`.
    pub emergency: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// Everything that routing, ingress and authentication cache.
#[derive(Clone, Debug, Default)]
pub struct RegistryRows {
    /// Tenants.
    pub tenants: Vec<TenantRow>,
    /// Installations with sources and schedules.
    pub installations: Vec<InstallationRow>,
    /// Connections.
    pub connections: Vec<ConnectionRow>,
    /// Endpoints.
    pub endpoints: Vec<EndpointRow>,
    /// Plans.
    pub plans: Vec<PlanRow>,
}

/// A stored answer of an idempotent POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    /// SHA-256 of method, path and body of the request.
    pub request: [u8; 32],
    /// The status that was answered.
    pub status: u16,
    /// The body, sealed by the caller where it holds a secret.
    pub body: Vec<u8>,
}

/// Reads and changes of what admins create. A change of a missing row is `NotFound`; names that exist are `Conflict`.
#[async_trait]
pub trait Registry: Send + Sync {
    /// All rows of one tenant, or of all of them.
    async fn registry(&self, tenant: Option<&TenantId>) -> StoreResult<RegistryRows>;

    /// Makes a tenant.
    async fn create_tenant(&self, tenant: TenantRow, audit: AuditEntry) -> StoreResult<()>;

    /// Replaces name, time zone, settings, lockdown and command handlers.
    async fn update_tenant(&self, tenant: TenantRow, audit: AuditEntry) -> StoreResult<()>;

    /// Takes a tenant out of the hub at once: its data key and all that its admin made are destroyed, and its running
    /// attempts find nothing to settle. What it had received goes afterwards, with [`remove_leaving`](Self::remove_leaving).
    async fn delete_tenant(&self, tenant: &TenantId, audit: AuditEntry) -> StoreResult<()>;

    /// One small step of removing the events and deliveries of deleted tenants. Answers whether there may be more. The
    /// name of a tenant is free again after its last step.
    async fn remove_leaving(&self) -> StoreResult<bool>;

    /// Every data key: the hub's own, if it was made, and those of all tenants.
    async fn wrapped_keys(&self) -> StoreResult<Vec<WrappedKey>>;

    /// Replaces those data keys that are still stored as they were read, and answers how many those were.
    async fn rewrap(&self, keys: Vec<Rewrapped>, audit: AuditEntry) -> StoreResult<u64>;

    /// Adds a version of a plugin with its bytes. The same name, version and bytes again are accepted and change
    /// nothing (`false`); other bytes under a published version are a `Conflict`.
    async fn add_plugin(&self, version: PluginVersionRow, wasm: Vec<u8>, audit: AuditEntry) -> StoreResult<bool>;

    /// All versions of all plugins.
    async fn plugins(&self) -> StoreResult<Vec<PluginVersionRow>>;

    /// The bytes of a version.
    async fn plugin_wasm(&self, name: &str, version: &str) -> StoreResult<Vec<u8>>;

    /// Removes a version; `Conflict` while an installation pins it, or it has live or dead deliveries.
    async fn delete_plugin(&self, name: &str, version: &str, audit: AuditEntry) -> StoreResult<()>;

    /// Makes or replaces an installation with its sources (by name: known names keep their id) and schedules (known
    /// names keep cursor and, with the same times, due time; a new one is due at once). Takes it out of `blocked` and
    /// `broken`. A config that differs from the one before gets the next number.
    async fn put_installation(&self, installation: InstallationRow, audit: AuditEntry) -> StoreResult<InstallationRow>;

    /// Notes for which version an installation is set up, or is being set up, if `from` is still in force. Answers whether
    /// it was.
    async fn set_upgrade(
        &self,
        tenant: &TenantId,
        plugin: &str,
        from: Option<String>,
        change: UpgradeChange,
    ) -> StoreResult<bool>;

    /// A version is broken for a tenant, and `told`, which has no dedupe key, says so in the same transaction. An
    /// installation that is gone, or where it is broken already, is left alone; answers whether it was changed.
    async fn break_version(
        &self,
        tenant: &TenantId,
        plugin: &str,
        version: &str,
        told: Option<NewEvent>,
        now: Timestamp,
    ) -> StoreResult<bool>;

    /// Removes an installation; its live deliveries are cancelled, its kv, cursors, sources and parked requests go.
    async fn delete_installation(&self, tenant: &TenantId, plugin: &str, audit: AuditEntry) -> StoreResult<()>;

    /// The configs that an installation had before number `before`, newest first; the newest is the one that it has.
    async fn config_versions(
        &self,
        tenant: &TenantId,
        plugin: &str,
        before: Option<u64>,
        limit: u32,
    ) -> StoreResult<Vec<ConfigVersion>>;

    /// The schedules of all installations of a tenant as they stand now, by plugin and name.
    async fn schedules(&self, tenant: &TenantId) -> StoreResult<Vec<(String, ScheduleRow)>>;

    /// Makes a connection; `Conflict` if its name, or (provider, account), is taken.
    async fn create_connection(&self, connection: ConnectionRow, audit: AuditEntry) -> StoreResult<()>;

    /// Replaces name, account, base URL, app and secrets. New secrets take it out of `needs_login` and end its tokens; a row
    /// without secrets leaves those that are stored, and the login, as they are.
    async fn update_connection(&self, connection: ConnectionRow, audit: AuditEntry) -> StoreResult<()>;

    /// Removes a connection; `Conflict` while an installation uses it.
    async fn delete_connection(&self, tenant: &TenantId, connection: Key, audit: AuditEntry) -> StoreResult<()>;

    /// Makes an endpoint.
    async fn create_endpoint(&self, endpoint: EndpointRow, audit: AuditEntry) -> StoreResult<()>;

    /// Replaces an endpoint's settings, state and secrets.
    async fn update_endpoint(&self, endpoint: EndpointRow, audit: AuditEntry) -> StoreResult<()>;

    /// Removes an endpoint; its live deliveries are cancelled.
    async fn delete_endpoint(&self, tenant: &TenantId, endpoint: Key, audit: AuditEntry) -> StoreResult<()>;

    /// All API keys.
    async fn api_keys(&self) -> StoreResult<Vec<ApiKeyRow>>;

    /// Makes an API key.
    async fn create_api_key(&self, key: ApiKeyRow, audit: AuditEntry) -> StoreResult<()>;

    /// Replaces name, hash, hint and expiry of an API key (rotation).
    async fn update_api_key(&self, key: ApiKeyRow, audit: AuditEntry) -> StoreResult<()>;

    /// Removes an API key.
    async fn delete_api_key(&self, key: Key, audit: AuditEntry) -> StoreResult<()>;

    /// Notes when keys were last used.
    async fn touch_api_keys(&self, used: Vec<(Key, Timestamp)>) -> StoreResult<()>;

    /// The answer stored for an `Idempotency-Key` of a caller, if it is younger than a day.
    async fn stored_answer(&self, caller: Key, key: &str, now: Timestamp) -> StoreResult<Option<StoredAnswer>>;

    /// Stores the answer to an `Idempotency-Key`; the first one stands.
    async fn store_answer(&self, caller: Key, key: &str, answer: StoredAnswer, now: Timestamp) -> StoreResult<()>;

    /// A value of the database itself (fingerprints of master keys, sealed host keys).
    async fn meta(&self, name: &str) -> StoreResult<Option<Vec<u8>>>;

    /// Sets such a value.
    async fn set_meta(&self, name: &str, value: Vec<u8>) -> StoreResult<()>;

    /// Sets such a value unless there is one, and answers what stands: nodes that start together agree on it.
    async fn first_meta(&self, name: &str, value: Vec<u8>) -> StoreResult<Vec<u8>>;

    /// Writes an audit row of its own, for what changes no row here.
    async fn audit(&self, entry: AuditEntry) -> StoreResult<()>;
}
