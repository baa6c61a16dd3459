//! From rows to snapshots: opened secrets, compiled filters, versions in force.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use semver::Version;
use serde::{Deserialize, Serialize};

use super::{
    LoadError, places,
    view::{
        AppSourceView, AppView, ConnectionView, EndpointView, InstallationView, PluginVersion, SourceView, TenantView,
        View,
    },
};
use crate::{
    broker::BrokerAddress,
    clock::Timestamp,
    connection::{
        credential::{ConnectionKind, Credential},
        vault::{Place, TenantKey, Vault},
    },
    id::Key,
    outbound::{publish::Exchange, sign::SigningSecret},
    plugin::{
        grant::Grants,
        guest::Exports,
        model::{EventKind, Manifest},
    },
    policy::TenantPolicy,
    route::{filter::Filter, pattern::TypePattern},
    rule::{self, set::RuleSet},
    secret::SecretString,
    store::apps::AppRow,
    store::registry::{
        ConnectionRow, EndpointRow, ExchangeRow, InstallationRow, PluginVersionRow, RegistryRows, SealedSecret,
        SourceRow,
    },
};

/// Versions of each plugin, newest first.
pub(super) type PluginVersions = BTreeMap<String, Vec<Arc<PluginVersion>>>;

/// Which exports a stored version has, kept beside its manifest so that nothing must be compiled to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportFlags {
    /// `ingest`.
    pub ingest: bool,
    /// `handler`.
    pub handler: bool,
    /// `poller`.
    pub poller: bool,
    /// `lifecycle`.
    pub lifecycle: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredManifest<M> {
    #[serde(flatten)]
    manifest: M,
    exports: ExportFlags,
}

/// The text that is stored for a version: its manifest, and its exports beside.
///
/// # Errors
/// Never for a manifest that came out of the sandbox.
pub fn manifest_with_exports(manifest: &Manifest, exports: &Exports) -> Result<String, serde_json::Error> {
    let exports = ExportFlags {
        ingest: exports.ingest,
        handler: exports.handler,
        poller: exports.poller,
        lifecycle: exports.lifecycle,
    };
    serde_json::to_string(&StoredManifest { manifest, exports })
}

/// Parsed versions, highest semantic version first. A row that does not parse is logged and left out.
pub(super) fn plugins(rows: Vec<PluginVersionRow>) -> PluginVersions {
    let mut plugins = PluginVersions::new();
    for row in rows {
        match serde_json::from_str::<StoredManifest<Manifest>>(&row.manifest) {
            Ok(StoredManifest { manifest, exports: ExportFlags { ingest, handler, poller, lifecycle } }) => {
                let exports = Exports { ingest, handler, poller, lifecycle };
                let version = Arc::new(PluginVersion { manifest, exports, row });
                plugins.entry(version.row.name.clone()).or_default().push(version);
            }
            Err(error) => {
                tracing::error!(plugin.name = row.name, plugin.version = row.version, %error, "a stored manifest is damaged");
            }
        }
    }
    for versions in plugins.values_mut() {
        versions.sort_by_cached_key(|version| std::cmp::Reverse(Version::parse(&version.row.version).ok()));
    }
    plugins
}

/// Apps with their opened secrets. One that does not open is logged and left out, so that it proves nothing.
pub(super) fn apps(rows: Vec<AppRow>, vault: &Vault, key: &TenantKey) -> BTreeMap<Key, Arc<AppView>> {
    let open = |place: Place<'_>, sealed: Option<&Vec<u8>>| {
        vault.open(key, place, sealed?).inspect_err(|error| log_damage(place, error)).ok()
    };
    let read = |row: AppRow| {
        let client_secret = open(places::app_client_secret(&row.key), row.client_secret.as_ref());
        let client_secret = client_secret.and_then(|text| Some(SecretString::from(std::str::from_utf8(&text).ok()?)));
        let secrets = open(places::app_secrets(&row.key), row.secrets.as_ref());
        let secrets = secrets.and_then(|json| serde_json::from_slice::<BTreeMap<String, String>>(&json).ok());
        let secrets = secrets.unwrap_or_default().into_iter().map(|(field, text)| (field, SecretString::from(text)));
        (row.key, Arc::new(AppView { client_secret, secrets: secrets.collect(), row }))
    };
    rows.into_iter().map(read).collect()
}

/// The sources of apps by id.
pub(super) fn app_sources(apps: &BTreeMap<Key, Arc<AppView>>) -> HashMap<String, AppSourceView> {
    let of = |app: &Arc<AppView>| {
        let view = |name: &str| AppSourceView { app: app.row.key, name: name.to_owned() };
        app.row.sources.iter().map(|source| (source.id.clone(), view(&source.name))).collect::<Vec<_>>()
    };
    apps.values().flat_map(of).collect()
}

/// Splits rows of many tenants.
pub(super) fn by_tenant(rows: RegistryRows) -> Vec<RegistryRows> {
    let mut split = HashMap::new();
    for tenant in rows.tenants {
        split.entry(tenant.id.clone()).or_insert_with(RegistryRows::default).tenants.push(tenant);
    }
    for row in rows.installations {
        if let Some(rows) = split.get_mut(&row.tenant) {
            rows.installations.push(row);
        }
    }
    for row in rows.connections {
        if let Some(rows) = split.get_mut(&row.tenant) {
            rows.connections.push(row);
        }
    }
    for row in rows.plans {
        if let Some(rows) = split.get_mut(&row.tenant) {
            rows.plans.push(row);
        }
    }
    for row in rows.endpoints {
        if let Some(rows) = split.get_mut(&row.tenant) {
            rows.endpoints.push(row);
        }
    }
    split.into_values().collect()
}

/// The tenant of these rows, if there is one.
pub(super) fn tenant(
    rows: RegistryRows,
    vault: &Vault,
    plugins: &PluginVersions,
    old: &View,
) -> Result<Option<TenantView>, LoadError> {
    let Some(row) = rows.tenants.into_iter().next() else { return Ok(None) };
    let policy = TenantPolicy::of(&row, rows.plans.into_iter().next().map(|row| row.plan));
    let key = vault
        .open_tenant_key(row.id.as_str(), &row.data_key)
        .map_err(|source| LoadError::Vault { tenant: row.id.clone(), source })?;
    let before = old.tenants.get(&row.id);
    let endpoints = rows.endpoints.into_iter().map(|row| {
        let filter = before.and_then(|tenant| tenant.endpoints.get(&row.key)).and_then(|old| old.filter.clone());
        (row.key, Arc::new(endpoint(row, vault, &key, filter)))
    });
    let connections = rows.connections.into_iter().map(|row| (row.key, Arc::new(connection(row, vault, &key))));
    let installations = rows.installations.into_iter().map(|row| {
        let rules = before.and_then(|tenant| tenant.installations.get(&row.plugin)?.rules.as_ref());
        (row.plugin.clone(), Arc::new(installation(row, plugins, rules)))
    });
    Ok(Some(TenantView {
        endpoints: endpoints.collect(),
        connections: connections.collect(),
        installations: installations.collect(),
        key,
        policy,
        row,
    }))
}

/// A tenant whose installations follow other plugin versions; everything else is shared.
pub(super) fn resolved_anew(tenant: &TenantView, plugins: &PluginVersions) -> TenantView {
    let installations = tenant.installations.iter();
    TenantView {
        row: tenant.row.clone(),
        key: tenant.key.clone(),
        policy: tenant.policy.clone(),
        installations: installations
            .map(|(name, old)| (name.clone(), Arc::new(installation(old.row.clone(), plugins, old.rules.as_ref()))))
            .collect(),
        endpoints: tenant.endpoints.clone(),
        connections: tenant.connections.clone(),
    }
}

/// The sources of a tenant by id.
pub(super) fn sources(tenant: &TenantView) -> Vec<(String, SourceView)> {
    let of = |row: &InstallationRow, source: &SourceRow| {
        let (tenant, plugin, name) = (row.tenant.clone(), row.plugin.clone(), source.name.clone());
        (source.id.clone(), SourceView { tenant, plugin, name, fed: source.queue.is_some() })
    };
    tenant
        .installations
        .values()
        .flat_map(|installation| installation.row.sources.iter().map(|source| of(&installation.row, source)))
        .collect()
}

fn installation(row: InstallationRow, plugins: &PluginVersions, rules: Option<&Arc<RuleSet>>) -> InstallationView {
    let versions = plugins.get(&row.plugin);
    let wanted = versions.and_then(|versions| match &row.version {
        Some(pinned) => versions.iter().find(|version| version.row.version == *pinned),
        None => newest(versions),
    });
    // A version with a lifecycle takes over once its upgrade succeeded, if the one before it is still there.
    let before = versions
        .zip(row.in_force.as_ref())
        .and_then(|(versions, in_force)| versions.iter().find(|version| version.row.version == *in_force));
    let version = match wanted {
        Some(wanted) if wanted.exports.lifecycle => before.or(Some(wanted)),
        other => other,
    };
    installation_on(row, version.cloned(), wanted.cloned(), rules)
}

/// An installation with this version in force. Its `rules` stay where the config is the same.
pub(super) fn installation_on(
    row: InstallationRow,
    version: Option<Arc<PluginVersion>>,
    wanted: Option<Arc<PluginVersion>>,
    rules: Option<&Arc<RuleSet>>,
) -> InstallationView {
    let rules = (row.plugin == rule::PLUGIN).then(|| match rules {
        Some(known) if known.config() == row.config => known.clone(),
        _ => Arc::new(compiled(&row)),
    });
    let grants = version.as_ref().map_or_else(Grants::default, |version| grants(version, &row));
    let handles = version.as_ref().map_or_else(Vec::new, |version| {
        let events = version.manifest.handles.iter().filter(|entry| entry.kind == EventKind::Event);
        events.filter_map(|entry| entry.name.parse::<TypePattern>().ok()).collect()
    });
    InstallationView { row, version, wanted, grants, handles, rules }
}

/// The rules of an installation. One that cannot be read, which the interface refuses, is left out.
fn compiled(row: &InstallationRow) -> RuleSet {
    let (rules, faults) = RuleSet::of_config(&row.config);
    for fault in faults {
        tracing::error!(tenant = %row.tenant, %fault, "a stored rule is damaged");
    }
    rules
}

/// What both sides allow. Grants that cannot be read, which the interface refuses, allow nothing.
fn grants(version: &PluginVersion, row: &InstallationRow) -> Grants {
    Grants::decide(&version.manifest, &row.grants).unwrap_or_else(|error| {
        tracing::error!(tenant = %row.tenant, plugin.name = row.plugin, %error, "stored grants are damaged");
        Grants::decide(&version.manifest, &[]).unwrap_or_default()
    })
}

/// The newest release; a pre-release only where there is no release.
#[must_use]
pub fn newest(versions: &[Arc<PluginVersion>]) -> Option<&Arc<PluginVersion>> {
    let released = |version: &&Arc<PluginVersion>| {
        Version::parse(&version.row.version).is_ok_and(|version| version.pre.is_empty())
    };
    versions.iter().find(released).or_else(|| versions.first())
}

fn endpoint(row: EndpointRow, vault: &Vault, key: &TenantKey, known: Option<Arc<Filter>>) -> EndpointView {
    let place = places::endpoint_secret(&row.tenant, &row.key);
    let secrets = opened(vault, key, place, &row.secrets, |text| {
        SigningSecret::parse(&SecretString::from(std::str::from_utf8(text).ok()?)).ok()
    });
    let headers = row.headers.as_deref().map_or_else(Vec::new, |sealed| {
        let place = places::endpoint_headers(&row.tenant, &row.key);
        let plain = vault.open(key, place, sealed).inspect_err(|error| log_damage(place, error)).ok();
        let map = plain.and_then(|plain| serde_json::from_slice::<BTreeMap<String, String>>(&plain).ok());
        map.unwrap_or_default().into_iter().collect()
    });
    let patterns = row.event_types.iter().filter_map(|text| text.parse().ok()).collect();
    let filter = row.filter.as_deref().and_then(|source| match known {
        Some(known) if known.source() == source => Some(known),
        // A filter that cannot be read lets nothing pass: sending what nobody asked for cannot be undone.
        _ => Filter::compile(source)
            .inspect_err(|error| tracing::error!(%error, "a stored filter is damaged"))
            .or_else(|_| Filter::compile("false"))
            .ok()
            .map(Arc::new),
    });
    let exchange = row.amqp.as_ref().and_then(|amqp| exchange(&row, amqp, vault, key));
    EndpointView { patterns, filter, secrets, headers, exchange, row }
}

/// Where an endpoint publishes; nothing, and logged, if its address does not open.
fn exchange(row: &EndpointRow, amqp: &ExchangeRow, vault: &Vault, key: &TenantKey) -> Option<Arc<Exchange>> {
    let broker = broker(places::endpoint_broker(&row.tenant, &row.key), &amqp.url, vault, key)?;
    Some(Arc::new(Exchange { broker, name: amqp.name.clone(), routing_key: amqp.routing_key.clone() }))
}

/// Opens and reads the sealed address of a broker.
fn broker(place: Place<'_>, sealed: &[u8], vault: &Vault, key: &TenantKey) -> Option<BrokerAddress> {
    let plain = vault.open(key, place, sealed).inspect_err(|error| log_damage(place, error)).ok()?;
    BrokerAddress::parse(std::str::from_utf8(&plain).ok()?).ok()
}

fn connection(row: ConnectionRow, vault: &Vault, key: &TenantKey) -> ConnectionView {
    let place = places::connection_secret(&row.tenant, &row.key);
    let kind = row.kind.parse::<ConnectionKind>().ok();
    let secrets = opened(vault, key, place, &row.secrets, |json| Credential::from_stored(kind?, json).ok());
    ConnectionView { secrets, row }
}

/// Opens and reads secrets. One that does not open is logged and left out, so that it proves nothing.
fn opened<T>(
    vault: &Vault,
    key: &TenantKey,
    place: Place<'_>,
    secrets: &[SealedSecret],
    read: impl Fn(&[u8]) -> Option<T>,
) -> Vec<(T, Option<Timestamp>)> {
    let open = |secret: &SealedSecret| {
        let plain = vault.open(key, place, &secret.sealed).inspect_err(|error| log_damage(place, error)).ok()?;
        Some((read(&plain)?, secret.expires_at))
    };
    secrets.iter().filter_map(open).collect()
}

fn log_damage(place: Place<'_>, error: &crate::connection::vault::VaultError) {
    tracing::error!(tenant = place.tenant, table = place.table, %error, "a sealed value does not open");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::model::LimitsRequest;

    fn row(version: &str) -> PluginVersionRow {
        let manifest = Manifest {
            id: "billy".to_owned(),
            version: version.to_owned(),
            api: "0.1".to_owned(),
            description: "Invoices.".to_owned(),
            emits: Vec::new(),
            handles: Vec::new(),
            config_schema: "{}".to_owned(),
            connections: Vec::new(),
            secrets: Vec::new(),
            schedules: Vec::new(),
            limits: LimitsRequest::default(),
            metrics: Vec::new(),
            extensions: None,
        };
        let exports = Exports { poller: true, ..Exports::default() };
        PluginVersionRow {
            name: "billy".to_owned(),
            version: version.to_owned(),
            sha256: [0; 32],
            manifest: manifest_with_exports(&manifest, &exports).unwrap(),
            size: 1,
            created_at: Timestamp(0),
        }
    }

    fn names(versions: &[Arc<PluginVersion>]) -> Vec<&str> {
        versions.iter().map(|version| version.row.version.as_str()).collect()
    }

    #[test]
    fn versions_are_ordered_by_meaning_and_a_release_is_newer_than_its_drafts() {
        let rows = ["1.9.0", "1.10.0", "2.0.0-rc.1", "0.1.0"].map(row);
        let plugins = plugins(rows.to_vec());
        assert_eq!(names(&plugins["billy"]), ["2.0.0-rc.1", "1.10.0", "1.9.0", "0.1.0"]);
        assert_eq!(newest(&plugins["billy"]).unwrap().row.version, "1.10.0");
        let drafts = self::plugins(vec![row("1.0.0-a"), row("1.0.0-b")]);
        assert_eq!(newest(&drafts["billy"]).unwrap().row.version, "1.0.0-b");
    }

    #[test]
    fn exports_are_known_without_compiling_and_a_damaged_row_is_left_out() {
        let damaged = PluginVersionRow { manifest: "{}".to_owned(), ..row("3.0.0") };
        let plugins = plugins(vec![row("1.0.0"), damaged]);
        assert_eq!(names(&plugins["billy"]), ["1.0.0"]);
        let exports = plugins["billy"][0].exports;
        assert!(exports.poller && !exports.ingest && !exports.handler && !exports.lifecycle);
    }
}
