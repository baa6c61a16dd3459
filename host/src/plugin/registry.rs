//! Versions of plugins: how one is added, and how its code is found when it is needed.

use std::{path::Path, sync::Arc};

use moka::future::Cache;
use sha2::{Digest, Sha256};

use super::{
    guest::{CompileError, Guest, WASM_BYTES},
    manifest::validate,
    model::Manifest,
    sandbox::{DescribeError, Sandbox},
};
use crate::{
    clock::SharedClock,
    directory::{Directory, LoadError, manifest_with_exports, view::PluginVersion},
    event::catalogue::compile_schema,
    store::{
        SharedStore, StoreError,
        registry::{AuditEntry, PluginVersionRow},
    },
};

/// The largest component.
pub const MAX_WASM: usize = WASM_BYTES;

/// Compiled versions in memory. What is not among them is compiled again, or loaded from the sealed cache.
const MAX_GUESTS: u64 = 512;

/// Why a file is not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// It is no component of this contract, or asks for what is not offered.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It does not say what it is.
    #[error(transparent)]
    Describe(#[from] DescribeError),
    /// What it says of itself is not acceptable: field and fault, at least one.
    #[error("the manifest is not acceptable: {}", .0.iter().map(|(field, fault)| format!("{field}: {fault}")).collect::<Vec<_>>().join("; "))]
    Manifest(Vec<(String, String)>),
    /// The manifest could not be written as JSON.
    #[error(transparent)]
    Encode(#[from] serde_json::Error),
    /// The database failed, or has other bytes under this version.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The version was stored, but the cache could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Why a version's code is not there.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GuestError {
    /// The database.
    #[error("the plugin's bytes could not be read: {0}")]
    Store(Arc<StoreError>),
    /// It compiled when it was added and does not any more.
    #[error("the plugin does not compile: {0}")]
    Compile(Arc<CompileError>),
}

/// A version that is there now.
pub struct Added {
    /// The version.
    pub version: Arc<PluginVersion>,
    /// False if this very file was there before.
    pub new: bool,
}

/// Versions of plugins and their compiled code.
pub struct Plugins {
    sandbox: Arc<Sandbox>,
    store: SharedStore,
    directory: Directory,
    clock: SharedClock,
    guests: Cache<(String, String), Arc<Guest>>,
}

impl Plugins {
    /// A registry over a store.
    #[must_use]
    pub fn new(sandbox: Arc<Sandbox>, store: SharedStore, directory: Directory, clock: SharedClock) -> Self {
        Self { sandbox, store, directory, clock, guests: Cache::new(MAX_GUESTS) }
    }

    /// Compiles a component, asks what it is, checks that, and stores it. The same file again changes nothing.
    ///
    /// # Errors
    /// The first of these steps that fails; nothing was stored then.
    pub async fn add(&self, wasm: Vec<u8>, actor: &str) -> Result<Added, AddError> {
        let sha256: [u8; 32] = Sha256::digest(&wasm).into();
        let guest = self.sandbox.compile(wasm.clone()).await?;
        let manifest = self.sandbox.describe(&guest).await?;
        let faults = faults(&manifest, &guest);
        if !faults.is_empty() {
            return Err(AddError::Manifest(faults));
        }
        let (name, version) = (manifest.id.clone(), manifest.version.clone());
        let row = PluginVersionRow {
            name: name.clone(),
            version: version.clone(),
            sha256,
            manifest: manifest_with_exports(&manifest, &guest.exports())?,
            size: wasm.len() as u64,
            created_at: self.clock.now(),
        };
        let audit = AuditEntry {
            at: row.created_at,
            tenant: None,
            actor: actor.to_owned(),
            action: "plugin.version_added".to_owned(),
            target: format!("{name} {version}"),
            before: None,
            after: Some(serde_json::json!({"sha256": hex::encode(sha256), "size": row.size}).to_string()),
        };
        let new = self.store.add_plugin(row, wasm, audit).await?;
        self.guests.insert((name.clone(), version.clone()), guest).await;
        if new {
            self.directory.refresh_plugins().await?;
        }
        let view = self.directory.view();
        let version = view.version(&name, &version).cloned().ok_or(StoreError::NotFound)?;
        Ok(Added { version, new })
    }

    /// Removes a version that nothing uses.
    ///
    /// # Errors
    /// It is in force somewhere, or has live or dead deliveries; or the database failed.
    pub async fn remove(&self, name: &str, version: &str, audit: AuditEntry) -> Result<(), LoadError> {
        let view = self.directory.view();
        let used = view.tenants.values().find(|tenant| {
            let installation = tenant.installations.get(name).and_then(|installation| installation.version.as_ref());
            installation.is_some_and(|in_force| in_force.row.version == version)
        });
        if let Some(tenant) = used {
            let text = format!(
                "tenant {} runs {name} {version}; remove the installation or add a newer version first",
                tenant.row.id
            );
            return Err(StoreError::Conflict(text).into());
        }
        self.store.delete_plugin(name, version, audit).await?;
        self.guests.invalidate(&(name.to_owned(), version.to_owned())).await;
        self.directory.refresh_plugins().await
    }

    /// The compiled code of a version. Several callers at once wait for one compilation.
    ///
    /// # Errors
    /// The version is gone, or the database or the compiler failed.
    pub async fn guest(&self, name: &str, version: &str) -> Result<Arc<Guest>, GuestError> {
        let key = (name.to_owned(), version.to_owned());
        if let Some(guest) = self.guests.get(&key).await {
            return Ok(guest);
        }
        let loading = async {
            let wasm =
                self.store.plugin_wasm(name, version).await.map_err(|error| GuestError::Store(Arc::new(error)))?;
            self.sandbox.compile(wasm).await.map_err(|error| GuestError::Compile(Arc::new(error)))
        };
        self.guests.try_get_with(key, loading).await.map_err(|error: Arc<GuestError>| (*error).clone())
    }

    /// Adds every `.wasm` directly in a folder. A file that cannot be added is logged and does not stop the others: the
    /// hub must start with what it has. Answers how many versions are new.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub async fn add_folder(&self, folder: &Path) -> std::io::Result<usize> {
        let mut files = Vec::new();
        let mut entries = tokio::fs::read_dir(folder).await?;
        while let Some(entry) = entries.next_entry().await? {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "wasm") && path.is_file() {
                files.push(path);
            }
        }
        files.sort();
        let mut new = 0;
        for path in files {
            let wasm = match tokio::fs::read(&path).await {
                Ok(wasm) => wasm,
                Err(error) => {
                    tracing::error!(file = %path.display(), %error, "a bundled plugin could not be read");
                    continue;
                }
            };
            match self.add(wasm, "host").await {
                Ok(added) => new += usize::from(added.new),
                Err(AddError::Store(StoreError::Conflict(text))) => tracing::error!(
                    file = %path.display(),
                    "{text}: the file changed under a version that is published; raise the version in its manifest"
                ),
                Err(error) => tracing::error!(file = %path.display(), %error, "a bundled plugin was not added"),
            }
        }
        Ok(new)
    }
}

/// Everything that is wrong with a manifest: the contract's rules, and schemas that could not be enforced.
fn faults(manifest: &Manifest, guest: &Guest) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    if let Err(invalid) = validate(manifest, guest.exports()) {
        faults.extend(invalid.0.into_iter().map(|found| (found.field, format!("{}; {}", found.problem, found.fix))));
    }
    let mut check = |field: String, text: &str| {
        let Ok(schema) = serde_json::from_str(text) else { return };
        if let Err(unusable) = compile_schema(&field, &schema) {
            faults.push((field, format!("the schema cannot be used: {}", unusable.message)));
        }
    };
    check("config_schema".to_owned(), &manifest.config_schema);
    for (list, entries) in [("emits", &manifest.emits), ("handles", &manifest.handles)] {
        for (index, entry) in entries.iter().enumerate() {
            if let Some(schema) = &entry.schema {
                check(format!("{list}[{index}].schema"), schema);
            }
        }
    }
    faults
}
