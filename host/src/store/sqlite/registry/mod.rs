//! What admins create, in SQLite.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use serde::Serialize;
use sqlx::{Connection, SqliteConnection};

use super::{SqliteStore, accept, prune, row::inconsistent, shred};
use crate::{
    clock::Timestamp,
    event::TenantId,
    id::Key,
    store::{
        StoreError, StoreResult,
        ledger::NewEvent,
        registry::{
            ApiKeyRow, AuditEntry, ConfigVersion, ConnectionRow, EndpointRow, InstallationRow, PluginVersionRow,
            Registry, RegistryRows, Rewrapped, ScheduleRow, StoredAnswer, TenantRow, UpgradeChange, WrappedKey,
        },
    },
};

/// API keys and what is stored for callers.
pub(super) mod api_key;

/// Audit rows.
pub(super) mod audit;

/// Connections, whose tokens a refresh changes too.
pub(super) mod connection;

/// Earlier configs.
mod config_version;

/// Wrapped data keys.
pub(super) mod data_key;

mod endpoint;

/// Installations, which a settle may change too.
pub(super) mod installation;

mod plugin;
mod secrets;
mod tenant;

/// A value of ours as JSON text.
pub(super) fn json<T: Serialize>(value: &T) -> StoreResult<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Inconsistent(error.to_string()))
}

/// The word of one of our lower-case enums.
fn word<T: Serialize>(value: &T) -> StoreResult<String> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        _ => Err(inconsistent("word")),
    }
}

/// Slots with their connections, from `con_..` texts.
fn slots(texts: BTreeMap<String, String>) -> StoreResult<BTreeMap<String, Key>> {
    texts
        .into_iter()
        .map(|(slot, text)| Ok((slot, Key::parse("con", &text).ok_or_else(|| inconsistent("connection"))?)))
        .collect()
}

/// Refuses a row of a tenant that is not there, or not any more.
pub(super) async fn require_tenant(conn: &mut SqliteConnection, tenant: &TenantId) -> StoreResult<()> {
    const EXISTS: &str = "select 1 from tenant where id = ?";
    let row = sqlx::query(EXISTS).bind(tenant.as_str().to_owned()).fetch_optional(conn).await?;
    row.map(drop).ok_or(StoreError::NotFound)
}

/// Cancels the live deliveries to a target that goes. Nobody in its lanes is left behind anyone.
async fn cancel_target(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    target: &str,
    now: Timestamp,
) -> StoreResult<()> {
    const CANCEL: &str = "update delivery set state = 5, behind = 0, updated_at = ?3 \
        where state in (0, 1, 2, 4) and state != 4 and tenant = ?1 and target = ?2";
    let query = sqlx::query(CANCEL).bind(tenant.as_str().to_owned()).bind(target.to_owned());
    query.bind(now.0).execute(conn).await?;
    Ok(())
}

/// Schedules with the names of their plugins, in order.
fn named(schedules: HashMap<installation::Name, Vec<ScheduleRow>>) -> Vec<(String, ScheduleRow)> {
    let of = |((_, plugin), rows): (installation::Name, Vec<ScheduleRow>)| {
        rows.into_iter().map(move |row| (plugin.clone(), row)).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = schedules.into_iter().flat_map(of).collect();
    all.sort_by(|(a, left), (b, right)| (a, &left.name).cmp(&(b, &right.name)));
    all
}

/// Everything at one moment: the reads share one snapshot.
async fn read_all(conn: &mut SqliteConnection, tenant: Option<&TenantId>) -> StoreResult<RegistryRows> {
    let mut snapshot = conn.begin().await?;
    Ok(RegistryRows {
        tenants: tenant::list(&mut snapshot, tenant).await?,
        installations: installation::list(&mut snapshot, tenant, None).await?,
        connections: connection::list(&mut snapshot, tenant).await?,
        endpoints: endpoint::list(&mut snapshot, tenant).await?,
        plans: super::policy::plans(&mut snapshot, tenant).await?,
    })
}

#[async_trait]
impl Registry for SqliteStore {
    async fn registry(&self, tenant: Option<&TenantId>) -> StoreResult<RegistryRows> {
        read_all(&mut *self.reader().await?, tenant).await
    }

    async fn create_tenant(&self, tenant: TenantRow, audit: AuditEntry) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(tenant::create(conn, tenant, audit))).await
    }

    async fn update_tenant(&self, tenant: TenantRow, audit: AuditEntry) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(tenant::update(conn, tenant, audit))).await
    }

    async fn delete_tenant(&self, tenant: &TenantId, audit: AuditEntry) -> StoreResult<()> {
        let id = tenant.clone();
        self.writer.alone(|conn| Box::pin(async move { tenant::delete(conn, &id, audit).await })).await?;
        shred::empty_log(&self.path).await;
        Ok(())
    }

    async fn remove_leaving(&self) -> StoreResult<bool> {
        let now = self.latest();
        self.writer.alone(move |conn| Box::pin(prune::leaving(conn, now))).await
    }

    async fn wrapped_keys(&self) -> StoreResult<Vec<WrappedKey>> {
        data_key::list(&mut *self.reader().await?).await
    }

    async fn rewrap(&self, keys: Vec<Rewrapped>, audit: AuditEntry) -> StoreResult<u64> {
        let replaced = self.writer.alone(|conn| Box::pin(data_key::rewrap(conn, keys, audit))).await?;
        shred::empty_log(&self.path).await;
        Ok(replaced)
    }

    async fn add_plugin(&self, version: PluginVersionRow, wasm: Vec<u8>, audit: AuditEntry) -> StoreResult<bool> {
        self.writer.alone(|conn| Box::pin(plugin::add(conn, version, wasm, audit))).await
    }

    async fn plugins(&self) -> StoreResult<Vec<PluginVersionRow>> {
        plugin::list(&mut *self.reader().await?).await
    }

    async fn plugin_wasm(&self, name: &str, version: &str) -> StoreResult<Vec<u8>> {
        plugin::wasm(&mut *self.reader().await?, name, version).await
    }

    async fn delete_plugin(&self, name: &str, version: &str, audit: AuditEntry) -> StoreResult<()> {
        let (name, version) = (name.to_owned(), version.to_owned());
        self.writer.alone(|conn| Box::pin(plugin::delete(conn, name, version, audit))).await
    }

    async fn put_installation(&self, installation: InstallationRow, audit: AuditEntry) -> StoreResult<InstallationRow> {
        self.writer.alone(|conn| Box::pin(installation::put(conn, installation, audit))).await
    }

    async fn set_upgrade(
        &self,
        tenant: &TenantId,
        plugin: &str,
        from: Option<String>,
        change: UpgradeChange,
    ) -> StoreResult<bool> {
        let (tenant, plugin) = (tenant.clone(), plugin.to_owned());
        self.writer
            .alone(move |conn| {
                Box::pin(async move { installation::set_upgrade(conn, &tenant, &plugin, from, change).await })
            })
            .await
    }

    async fn break_version(
        &self,
        tenant: &TenantId,
        plugin: &str,
        version: &str,
        told: Option<NewEvent>,
        now: Timestamp,
    ) -> StoreResult<bool> {
        let (tenant, plugin, version) = (tenant.clone(), plugin.to_owned(), version.to_owned());
        self.writer
            .alone(move |conn| {
                Box::pin(async move {
                    let broken = installation::break_version(conn, &tenant, plugin, version, now).await?;
                    if broken {
                        accept::tell(conn, &told.iter().collect::<Vec<_>>())?;
                    }
                    Ok(broken)
                })
            })
            .await
    }

    async fn delete_installation(&self, tenant: &TenantId, plugin: &str, audit: AuditEntry) -> StoreResult<()> {
        let (tenant, plugin) = (tenant.clone(), plugin.to_owned());
        self.writer
            .alone(move |conn| Box::pin(async move { installation::delete(conn, &tenant, &plugin, audit).await }))
            .await
    }

    async fn config_versions(
        &self,
        tenant: &TenantId,
        plugin: &str,
        before: Option<u64>,
        limit: u32,
    ) -> StoreResult<Vec<ConfigVersion>> {
        config_version::list(&mut *self.reader().await?, tenant, plugin, before, limit).await
    }

    async fn schedules(&self, tenant: &TenantId) -> StoreResult<Vec<(String, ScheduleRow)>> {
        Ok(named(installation::schedules(&mut *self.reader().await?, Some(tenant)).await?))
    }

    async fn create_connection(&self, connection: ConnectionRow, audit: AuditEntry) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(connection::create(conn, connection, audit))).await
    }

    async fn update_connection(&self, connection: ConnectionRow, audit: AuditEntry) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(connection::update(conn, connection, audit))).await
    }

    async fn delete_connection(&self, tenant: &TenantId, connection: Key, audit: AuditEntry) -> StoreResult<()> {
        let tenant = tenant.clone();
        self.writer
            .alone(move |conn| Box::pin(async move { connection::delete(conn, &tenant, connection, audit).await }))
            .await
    }

    async fn create_endpoint(&self, endpoint: EndpointRow, audit: AuditEntry) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(endpoint::create(conn, endpoint, audit))).await
    }

    async fn update_endpoint(&self, endpoint: EndpointRow, audit: AuditEntry) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(endpoint::update(conn, endpoint, audit))).await
    }

    async fn delete_endpoint(&self, tenant: &TenantId, endpoint: Key, audit: AuditEntry) -> StoreResult<()> {
        let tenant = tenant.clone();
        self.writer
            .alone(move |conn| Box::pin(async move { endpoint::delete(conn, &tenant, endpoint, audit).await }))
            .await
    }

    async fn api_keys(&self) -> StoreResult<Vec<ApiKeyRow>> {
        api_key::list(&mut *self.reader().await?).await
    }

    async fn create_api_key(&self, key: ApiKeyRow, audit: AuditEntry) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(api_key::create(conn, key, audit))).await
    }

    async fn update_api_key(&self, key: ApiKeyRow, audit: AuditEntry) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(api_key::update(conn, key, audit))).await
    }

    async fn delete_api_key(&self, key: Key, audit: AuditEntry) -> StoreResult<()> {
        self.writer.alone(move |conn| Box::pin(api_key::delete(conn, key, audit))).await
    }

    async fn touch_api_keys(&self, used: Vec<(Key, Timestamp)>) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(api_key::touch(conn, used))).await
    }

    async fn stored_answer(&self, caller: Key, key: &str, now: Timestamp) -> StoreResult<Option<StoredAnswer>> {
        api_key::answer(&mut *self.reader().await?, caller, key, now).await
    }

    async fn store_answer(&self, caller: Key, key: &str, answer: StoredAnswer, now: Timestamp) -> StoreResult<()> {
        let key = key.to_owned();
        self.writer.alone(move |conn| Box::pin(api_key::store_answer(conn, caller, key, answer, now))).await
    }

    async fn meta(&self, name: &str) -> StoreResult<Option<Vec<u8>>> {
        api_key::meta(&mut *self.reader().await?, name).await
    }

    async fn set_meta(&self, name: &str, value: Vec<u8>) -> StoreResult<()> {
        let name = name.to_owned();
        self.writer.alone(|conn| Box::pin(api_key::set_meta(conn, name, value))).await
    }

    async fn first_meta(&self, name: &str, value: Vec<u8>) -> StoreResult<Vec<u8>> {
        let name = name.to_owned();
        self.writer.alone(|conn| Box::pin(api_key::first_meta(conn, name, value))).await
    }

    async fn audit(&self, entry: AuditEntry) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(audit::write(conn, entry))).await
    }
}
