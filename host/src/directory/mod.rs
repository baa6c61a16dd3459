//! The cache of what admins created, refreshed after every change.
//!
//! Readers take a snapshot and never wait. A refresh reads the store and swaps the snapshot; refreshes take turns, so that
//! an older read cannot replace a newer one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, OnceCell, broadcast};

use crate::{
    connection::vault::{TenantKey, Vault, VaultError},
    event::TenantId,
    id::Key,
    store::{
        SharedStore, StoreError,
        registry::{HUB_DATA_KEY, RegistryRows},
    },
};

/// The snapshots.
pub mod view;

/// From rows to snapshots.
mod load;

/// Where sealed values live.
pub mod places;

pub use load::{ExportFlags, manifest_with_exports, newest};
use view::{AppView, TenantView, View};

/// How many changes a slow listener may be behind before it is told to look at everything.
const CHANGES: usize = 1024;

/// Why the cache could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The hub's own data key does not open: the wrong master key, or a damaged row.
    #[error("the hub's data key does not open: {source}")]
    HubKey {
        /// Why.
        source: VaultError,
    },
    /// A tenant's data key does not open: the wrong master key, or a damaged row.
    #[error("the data key of tenant {tenant} does not open: {source}")]
    Vault {
        /// The tenant.
        tenant: TenantId,
        /// Why.
        source: VaultError,
    },
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Rows of this tenant, or the tenant came or went.
    Tenant(TenantId),
    /// Plugin versions, and with them possibly every tenant.
    Plugins,
}

/// The cache. Clones share it.
#[derive(Clone)]
pub struct Directory {
    inner: Arc<Inner>,
}

struct Inner {
    view: ArcSwap<View>,
    store: SharedStore,
    vault: Arc<Vault>,
    changes: broadcast::Sender<Change>,
    turn: Mutex<()>,
    /// Seals what belongs to no tenant. Read or made at the first need.
    hub_key: OnceCell<TenantKey>,
}

impl Directory {
    /// An empty cache over a store. Call [`Directory::load_all`] before use.
    #[must_use]
    pub fn new(store: SharedStore, vault: Arc<Vault>) -> Self {
        let (changes, _) = broadcast::channel(CHANGES);
        let view = ArcSwap::from_pointee(View::default());
        Self { inner: Arc::new(Inner { view, store, vault, changes, turn: Mutex::new(()), hub_key: OnceCell::new() }) }
    }

    /// Everything at this moment.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.inner.view.load_full()
    }

    /// A tenant at this moment.
    #[must_use]
    pub fn tenant(&self, tenant: &TenantId) -> Option<Arc<TenantView>> {
        self.inner.view.load().tenants.get(tenant).cloned()
    }

    /// Tells of every change from now on, after the snapshot has it. A listener that lags must look at everything.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }

    /// Reads everything anew.
    ///
    /// # Errors
    /// The database, or a tenant's key; the old snapshot stays.
    pub async fn load_all(&self) -> Result<(), LoadError> {
        let _turn = self.inner.turn.lock().await;
        let store = &self.inner.store;
        let plugins = load::plugins(store.plugins().await?);
        let keys = store.api_keys().await?;
        let rows = store.registry(None).await?;
        let old = self.view();
        let apps = self.read_apps().await?;
        let app_sources = load::app_sources(&apps);
        let mut view = View { plugins, apps, app_sources, ..View::default() };
        view.keys = keys.into_iter().map(|key| (key.hash, Arc::new(key))).collect();
        for rows in load::by_tenant(rows) {
            self.insert(&mut view, rows, &old)?;
        }
        self.swap(view, Change::Plugins);
        Ok(())
    }

    /// Reads one tenant anew. A tenant that is gone leaves the snapshot.
    ///
    /// # Errors
    /// The database, or the tenant's key; the old snapshot stays.
    pub async fn refresh_tenant(&self, tenant: &TenantId) -> Result<(), LoadError> {
        let _turn = self.inner.turn.lock().await;
        let rows = self.inner.store.registry(Some(tenant)).await?;
        let old = self.view();
        let mut view = copy(&old);
        view.tenants.remove(tenant);
        view.sources.retain(|_, source| source.tenant != *tenant);
        for rows in load::by_tenant(rows) {
            self.insert(&mut view, rows, &old)?;
        }
        self.swap(view, Change::Tenant(tenant.clone()));
        Ok(())
    }

    /// Reads the plugin versions anew and resolves every installation against them.
    ///
    /// # Errors
    /// The database; the old snapshot stays.
    pub async fn refresh_plugins(&self) -> Result<(), LoadError> {
        let _turn = self.inner.turn.lock().await;
        let plugins = load::plugins(self.inner.store.plugins().await?);
        let old = self.view();
        let mut view = copy(&old);
        view.plugins = plugins;
        for tenant in view.tenants.values_mut() {
            *tenant = Arc::new(load::resolved_anew(tenant, &view.plugins));
        }
        self.swap(view, Change::Plugins);
        Ok(())
    }

    /// Reads the apps anew.
    ///
    /// # Errors
    /// The database, or the hub's key; the old snapshot stays.
    pub async fn refresh_apps(&self) -> Result<(), LoadError> {
        let _turn = self.inner.turn.lock().await;
        let apps = self.read_apps().await?;
        let mut view = copy(&self.view());
        view.app_sources = load::app_sources(&apps);
        view.apps = apps;
        // What apps lead to may be different for every tenant.
        self.swap(view, Change::Plugins);
        Ok(())
    }

    async fn read_apps(&self) -> Result<BTreeMap<Key, Arc<AppView>>, LoadError> {
        let rows = self.inner.store.apps().await?;
        if rows.is_empty() {
            return Ok(BTreeMap::new());
        }
        Ok(load::apps(rows, &self.inner.vault, &self.hub_key().await?))
    }

    /// The key of what belongs to no tenant, made at the first need.
    ///
    /// # Errors
    /// The database, or the key does not open.
    pub async fn hub_key(&self) -> Result<TenantKey, LoadError> {
        let damaged = |source| LoadError::HubKey { source };
        let make = async || -> Result<TenantKey, LoadError> {
            let Inner { store, vault, .. } = &*self.inner;
            let wrapped = match store.meta(HUB_DATA_KEY).await? {
                Some(wrapped) => wrapped,
                None => {
                    // Of nodes that start together one is first, and all use its key.
                    let made = vault.new_tenant_key(places::HUB).map_err(damaged)?;
                    store.first_meta(HUB_DATA_KEY, made).await?
                }
            };
            vault.open_tenant_key(places::HUB, &wrapped).map_err(damaged)
        };
        self.inner.hub_key.get_or_try_init(make).await.cloned()
    }

    /// Reads the API keys anew.
    ///
    /// # Errors
    /// The database; the old snapshot stays.
    pub async fn refresh_keys(&self) -> Result<(), LoadError> {
        let _turn = self.inner.turn.lock().await;
        let keys = self.inner.store.api_keys().await?;
        let mut view = copy(&self.view());
        view.keys = keys.into_iter().map(|key| (key.hash, Arc::new(key))).collect();
        self.inner.view.store(Arc::new(view));
        Ok(())
    }

    fn insert(&self, view: &mut View, rows: RegistryRows, old: &View) -> Result<(), LoadError> {
        if let Some(tenant) = load::tenant(rows, &self.inner.vault, &view.plugins, old)? {
            view.sources.extend(load::sources(&tenant));
            view.tenants.insert(tenant.row.id.clone(), Arc::new(tenant));
        }
        Ok(())
    }

    fn swap(&self, view: View, change: Change) {
        self.inner.view.store(Arc::new(view));
        // Nobody listening is fine: the snapshot is what counts.
        let _ = self.inner.changes.send(change);
    }
}

/// A copy that shares everything below the maps.
fn copy(view: &View) -> View {
    View {
        tenants: view.tenants.clone(),
        sources: view.sources.clone(),
        apps: view.apps.clone(),
        app_sources: view.app_sources.clone(),
        keys: HashMap::clone(&view.keys),
        plugins: view.plugins.clone(),
        accounts: std::sync::OnceLock::new(),
    }
}
