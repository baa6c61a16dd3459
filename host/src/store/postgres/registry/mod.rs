//! What admins create, in PostgreSQL. Each change notes itself for the other nodes in its own transaction.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sqlx::{Connection as _, PgConnection};

use super::{PostgresStore, accept, prune, shred, transaction::note_change};
use crate::{
    clock::Timestamp,
    event::TenantId,
    failpoint::{self, Around},
    id::Key,
    store::{
        StoreResult,
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

/// Values and counted writes.
pub(super) mod write;

/// A change with its input, which may be asked for again when the database could not serialise it.
pub(super) type Work<I, T> = for<'c> fn(&'c mut PgConnection, &'c I) -> BoxFuture<'c, StoreResult<T>>;

/// Whom a change concerns.
pub(super) enum Concerns {
    /// One tenant's part of what every node has in memory.
    Tenant(TenantId),
    /// What is of the whole hub: plugins, apps, keys.
    Hub,
    /// Nothing that a node has in memory.
    Nobody,
}

impl From<&TenantId> for Concerns {
    fn from(tenant: &TenantId) -> Self {
        Self::Tenant(tenant.clone())
    }
}

impl PostgresStore {
    /// Runs a change of the registry in a transaction of its own, and tells the other nodes in it.
    pub(super) async fn change<I: Send + Sync + 'static, T: Send + 'static>(
        &self,
        concerns: impl Into<Concerns>,
        input: I,
        work: Work<I, T>,
    ) -> StoreResult<T> {
        self.change_at(failpoint::REGISTRY, concerns, input, work).await
    }

    /// The same with these fail points around its commit.
    pub(super) async fn change_at<I: Send + Sync + 'static, T: Send + 'static>(
        &self,
        points: Around,
        concerns: impl Into<Concerns>,
        input: I,
        work: Work<I, T>,
    ) -> StoreResult<T> {
        let shared = Arc::new((concerns.into(), input));
        self.alone_at(points, move |conn| {
            let shared = shared.clone();
            Box::pin(async move {
                let (concerns, input) = &*shared;
                let done = work(conn, input).await?;
                match concerns {
                    Concerns::Tenant(tenant) => note_change(conn, Some(tenant)).await?,
                    Concerns::Hub => note_change(conn, None).await?,
                    Concerns::Nobody => {}
                }
                Ok(done)
            })
        })
        .await
    }
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
async fn read_all(conn: &mut PgConnection, tenant: Option<&TenantId>) -> StoreResult<RegistryRows> {
    let mut snapshot = conn.begin_with("begin isolation level repeatable read read only").await?;
    let rows = RegistryRows {
        tenants: tenant::list(&mut snapshot, tenant).await?,
        installations: installation::list(&mut snapshot, tenant, None).await?,
        connections: connection::list(&mut snapshot, tenant).await?,
        endpoints: endpoint::list(&mut snapshot, tenant).await?,
        plans: super::policy::plans(&mut snapshot, tenant).await?,
    };
    snapshot.commit().await?;
    Ok(rows)
}

#[async_trait]
impl Registry for PostgresStore {
    async fn registry(&self, tenant: Option<&TenantId>) -> StoreResult<RegistryRows> {
        read_all(&mut *self.reader().await?, tenant).await
    }

    async fn create_tenant(&self, tenant: TenantRow, audit: AuditEntry) -> StoreResult<()> {
        let id = tenant.id.clone();
        self.change(&id, (tenant, audit), |conn, (tenant, audit)| Box::pin(tenant::create(conn, tenant, audit))).await
    }

    async fn update_tenant(&self, tenant: TenantRow, audit: AuditEntry) -> StoreResult<()> {
        let id = tenant.id.clone();
        self.change(&id, (tenant, audit), |conn, (tenant, audit)| Box::pin(tenant::update(conn, tenant, audit))).await
    }

    async fn delete_tenant(&self, tenant: &TenantId, audit: AuditEntry) -> StoreResult<()> {
        let input = (tenant.clone(), audit);
        self.change(tenant, input, |conn, (tenant, audit)| Box::pin(tenant::delete(conn, tenant, audit))).await?;
        shred::rewrite(self, &["tenant"]).await;
        Ok(())
    }

    async fn remove_leaving(&self) -> StoreResult<bool> {
        self.change(Concerns::Nobody, self.clock.now(), |conn, now| Box::pin(prune::leaving(conn, *now))).await
    }

    async fn wrapped_keys(&self) -> StoreResult<Vec<WrappedKey>> {
        data_key::list(&mut *self.reader().await?).await
    }

    async fn rewrap(&self, keys: Vec<Rewrapped>, audit: AuditEntry) -> StoreResult<u64> {
        // The data keys themselves stay, so no node has to read anything anew.
        let replaced = self
            .change(Concerns::Nobody, (keys, audit), |conn, (keys, audit)| {
                Box::pin(data_key::rewrap(conn, keys, audit))
            })
            .await?;
        if replaced > 0 {
            shred::rewrite(self, shred::KEYS).await;
        }
        Ok(replaced)
    }

    async fn add_plugin(&self, version: PluginVersionRow, wasm: Vec<u8>, audit: AuditEntry) -> StoreResult<bool> {
        self.change(Concerns::Hub, (version, wasm, audit), |conn, (version, wasm, audit)| {
            Box::pin(plugin::add(conn, version, wasm, audit))
        })
        .await
    }

    async fn plugins(&self) -> StoreResult<Vec<PluginVersionRow>> {
        plugin::list(&mut *self.reader().await?).await
    }

    async fn plugin_wasm(&self, name: &str, version: &str) -> StoreResult<Vec<u8>> {
        plugin::wasm(&mut *self.reader().await?, name, version).await
    }

    async fn delete_plugin(&self, name: &str, version: &str, audit: AuditEntry) -> StoreResult<()> {
        self.change(Concerns::Hub, (name.to_owned(), version.to_owned(), audit), |conn, (name, version, audit)| {
            Box::pin(plugin::delete(conn, name, version, audit))
        })
        .await
    }

    async fn put_installation(&self, installation: InstallationRow, audit: AuditEntry) -> StoreResult<InstallationRow> {
        let tenant = installation.tenant.clone();
        self.change(&tenant, (installation, audit), |conn, (installation, audit)| {
            Box::pin(installation::put(conn, installation, audit))
        })
        .await
    }

    async fn set_upgrade(
        &self,
        tenant: &TenantId,
        plugin: &str,
        from: Option<String>,
        change: UpgradeChange,
    ) -> StoreResult<bool> {
        let input = (tenant.clone(), plugin.to_owned(), from, change);
        self.change(tenant, input, |conn, (tenant, plugin, from, change)| {
            Box::pin(installation::set_upgrade(conn, tenant, plugin, from.as_deref(), change))
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
        let input = (tenant.clone(), plugin.to_owned(), version.to_owned(), told, now);
        self.change(tenant, input, |conn, (tenant, plugin, version, told, now)| {
            Box::pin(async move {
                let broken = installation::break_version(conn, tenant, plugin, version, *now).await?;
                if broken {
                    accept::tell(conn, &told.iter().collect::<Vec<_>>()).await?;
                }
                Ok(broken)
            })
        })
        .await
    }

    async fn delete_installation(&self, tenant: &TenantId, plugin: &str, audit: AuditEntry) -> StoreResult<()> {
        let input = (tenant.clone(), plugin.to_owned(), audit);
        self.change(tenant, input, |conn, (tenant, plugin, audit)| {
            Box::pin(installation::delete(conn, tenant, plugin, audit))
        })
        .await
    }

    async fn config_versions(
        &self,
        tenant: &TenantId,
        plugin: &str,
        before: Option<u64>,
        limit: u32,
    ) -> StoreResult<Vec<ConfigVersion>> {
        let asked = (plugin.to_owned(), before, limit);
        self.look(tenant, asked, |conn, tenant, (plugin, before, limit)| {
            Box::pin(config_version::list(conn, tenant, plugin, *before, *limit))
        })
        .await
    }

    async fn schedules(&self, tenant: &TenantId) -> StoreResult<Vec<(String, ScheduleRow)>> {
        let found = self.look(tenant, (), |conn, tenant, ()| Box::pin(installation::schedules(conn, Some(tenant))));
        Ok(named(found.await?))
    }

    async fn create_connection(&self, connection: ConnectionRow, audit: AuditEntry) -> StoreResult<()> {
        let tenant = connection.tenant.clone();
        self.change(&tenant, (connection, audit), |conn, (connection, audit)| {
            Box::pin(connection::create(conn, connection, audit))
        })
        .await
    }

    async fn update_connection(&self, connection: ConnectionRow, audit: AuditEntry) -> StoreResult<()> {
        let tenant = connection.tenant.clone();
        self.change(&tenant, (connection, audit), |conn, (connection, audit)| {
            Box::pin(connection::update(conn, connection, audit))
        })
        .await
    }

    async fn delete_connection(&self, tenant: &TenantId, connection: Key, audit: AuditEntry) -> StoreResult<()> {
        self.change(tenant, (tenant.clone(), connection, audit), |conn, (tenant, connection, audit)| {
            Box::pin(connection::delete(conn, tenant, *connection, audit))
        })
        .await
    }

    async fn create_endpoint(&self, endpoint: EndpointRow, audit: AuditEntry) -> StoreResult<()> {
        let tenant = endpoint.tenant.clone();
        self.change(&tenant, (endpoint, audit), |conn, (endpoint, audit)| {
            Box::pin(endpoint::create(conn, endpoint, audit))
        })
        .await
    }

    async fn update_endpoint(&self, endpoint: EndpointRow, audit: AuditEntry) -> StoreResult<()> {
        let tenant = endpoint.tenant.clone();
        self.change(&tenant, (endpoint, audit), |conn, (endpoint, audit)| {
            Box::pin(endpoint::update(conn, endpoint, audit))
        })
        .await
    }

    async fn delete_endpoint(&self, tenant: &TenantId, endpoint: Key, audit: AuditEntry) -> StoreResult<()> {
        self.change(tenant, (tenant.clone(), endpoint, audit), |conn, (tenant, endpoint, audit)| {
            Box::pin(endpoint::delete(conn, tenant, *endpoint, audit))
        })
        .await
    }

    async fn api_keys(&self) -> StoreResult<Vec<ApiKeyRow>> {
        api_key::list(&mut *self.reader().await?).await
    }

    async fn create_api_key(&self, key: ApiKeyRow, audit: AuditEntry) -> StoreResult<()> {
        self.change(Concerns::Hub, (key, audit), |conn, (key, audit)| Box::pin(api_key::create(conn, key, audit))).await
    }

    async fn update_api_key(&self, key: ApiKeyRow, audit: AuditEntry) -> StoreResult<()> {
        self.change(Concerns::Hub, (key, audit), |conn, (key, audit)| Box::pin(api_key::update(conn, key, audit))).await
    }

    async fn delete_api_key(&self, key: Key, audit: AuditEntry) -> StoreResult<()> {
        self.change(Concerns::Hub, (key, audit), |conn, (key, audit)| Box::pin(api_key::delete(conn, *key, audit)))
            .await
    }

    async fn touch_api_keys(&self, used: Vec<(Key, Timestamp)>) -> StoreResult<()> {
        self.change(Concerns::Nobody, used, |conn, used| Box::pin(api_key::touch(conn, used))).await
    }

    async fn stored_answer(&self, caller: Key, key: &str, now: Timestamp) -> StoreResult<Option<StoredAnswer>> {
        api_key::answer(&mut *self.reader().await?, caller, key, now).await
    }

    async fn store_answer(&self, caller: Key, key: &str, answer: StoredAnswer, now: Timestamp) -> StoreResult<()> {
        let input = (caller, key.to_owned(), answer, now);
        self.change(Concerns::Nobody, input, |conn, (caller, key, answer, now)| {
            Box::pin(api_key::store_answer(conn, *caller, key, answer, *now))
        })
        .await
    }

    async fn meta(&self, name: &str) -> StoreResult<Option<Vec<u8>>> {
        api_key::meta(&mut *self.reader().await?, name).await
    }

    async fn set_meta(&self, name: &str, value: Vec<u8>) -> StoreResult<()> {
        self.change(Concerns::Nobody, (name.to_owned(), value), |conn, (name, value)| {
            Box::pin(api_key::set_meta(conn, name, value))
        })
        .await
    }

    async fn first_meta(&self, name: &str, value: Vec<u8>) -> StoreResult<Vec<u8>> {
        self.change(Concerns::Nobody, (name.to_owned(), value), |conn, (name, value)| {
            Box::pin(api_key::first_meta(conn, name, value))
        })
        .await
    }

    async fn audit(&self, entry: AuditEntry) -> StoreResult<()> {
        self.change(Concerns::Nobody, entry, |conn, entry| Box::pin(audit::write(conn, entry))).await
    }
}
