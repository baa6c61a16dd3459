//! What is cached of tenants, plugins and keys: immutable snapshots, replaced whole on every change.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
};

use crate::{
    clock::Timestamp,
    connection::vault::TenantKey,
    event::TenantId,
    id::Key,
    outbound::publish::Exchange,
    plugin::{grant::Grants, model::Manifest},
    policy::TenantPolicy,
    queue::reason::{Failure, ReasonClass},
    route::{filter::Filter, pattern::TypePattern},
    rule::set::RuleSet,
    secret::SecretString,
    store::apps::AppRow,
    store::registry::{
        ApiKeyRow, ConnectionRow, EndpointRow, EndpointState, InstallState, InstallationRow, Mode, PluginVersionRow,
        TenantRow,
    },
};

/// Everything at one moment.
#[derive(Default)]
pub struct View {
    /// Tenants by name.
    pub tenants: HashMap<TenantId, Arc<TenantView>>,
    /// Sources by id.
    pub sources: HashMap<String, SourceView>,
    /// Apps by key.
    pub apps: BTreeMap<Key, Arc<AppView>>,
    /// Sources of apps by id.
    pub app_sources: HashMap<String, AppSourceView>,
    /// Who has which account at a provider; found at the first need of this moment.
    pub accounts: OnceLock<Accounts>,
    /// API keys by the SHA-256 of their text.
    pub keys: HashMap<[u8; 32], Arc<ApiKeyRow>>,
    /// Versions of each plugin, newest (highest semantic version) first.
    pub plugins: BTreeMap<String, Vec<Arc<PluginVersion>>>,
}

/// The tenant and the connection of an account, by provider and account.
pub type Accounts = HashMap<(String, String), (TenantId, Key)>;

impl View {
    /// The tenant whose connection has this account at a provider, and that connection.
    #[must_use]
    pub fn account(&self, provider: &str, account: &str) -> Option<(&Arc<TenantView>, Key)> {
        let accounts = self.accounts.get_or_init(|| {
            let connections = self.tenants.values().flat_map(|tenant| tenant.connections.values());
            let named = connections.filter_map(|view| {
                let row = &view.row;
                Some(((row.provider.clone(), row.account.clone()?), (row.tenant.clone(), row.key)))
            });
            named.collect()
        });
        let (tenant, connection) = accounts.get(&(provider.to_owned(), account.to_owned()))?;
        Some((self.tenants.get(tenant)?, *connection))
    }

    /// A version of a plugin.
    #[must_use]
    pub fn version(&self, plugin: &str, version: &str) -> Option<&Arc<PluginVersion>> {
        self.plugins.get(plugin)?.iter().find(|known| known.row.version == version)
    }
}

/// Where a source leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceView {
    /// The tenant.
    pub tenant: TenantId,
    /// The plugin whose `receive` takes its requests.
    pub plugin: String,
    /// The source's name in the installation.
    pub name: String,
    /// Whether it is fed from a queue. Nobody may then bring anything by HTTP, since its plugin may rely on the broker.
    pub fed: bool,
}

/// Where a source of an app leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSourceView {
    /// The app.
    pub app: Key,
    /// The source's name in the app.
    pub name: String,
}

/// An app with its opened secrets.
pub struct AppView {
    /// The row.
    pub row: AppRow,
    /// The OAuth client's secret.
    pub client_secret: Option<SecretString>,
    /// What proves its requests, by field.
    pub secrets: BTreeMap<String, SecretString>,
}

/// A version of a plugin with its parsed manifest.
pub struct PluginVersion {
    /// The row.
    pub row: PluginVersionRow,
    /// The manifest.
    pub manifest: Manifest,
    /// Whether it exports `ingest`, `handler`, `poller`, `lifecycle`.
    pub exports: crate::plugin::guest::Exports,
}

/// A tenant with all that hangs on it.
pub struct TenantView {
    /// The row.
    pub row: TenantRow,
    /// Its opened data key.
    pub key: TenantKey,
    /// What the policy follows of it.
    pub policy: TenantPolicy,
    /// Installations by plugin.
    pub installations: BTreeMap<String, Arc<InstallationView>>,
    /// Endpoints by key.
    pub endpoints: BTreeMap<Key, Arc<EndpointView>>,
    /// Connections by key.
    pub connections: BTreeMap<Key, Arc<ConnectionView>>,
}

/// An installation with the version that is in force.
pub struct InstallationView {
    /// The row.
    pub row: InstallationRow,
    /// The version in force; none if the plugin has no such version (any more). It is the wanted one, but for the time of
    /// an upgrade and after a refused one.
    pub version: Option<Arc<PluginVersion>>,
    /// The pinned version, else the newest.
    pub wanted: Option<Arc<PluginVersion>>,
    /// What manifest and admin together allow.
    pub grants: Grants,
    /// Parsed patterns of what the version handles, without commands.
    pub handles: Vec<TypePattern>,
    /// Of the installation that rules belong to: its rules.
    pub rules: Option<Arc<RuleSet>>,
}

/// An endpoint with its filter and opened secrets.
pub struct EndpointView {
    /// The row.
    pub row: EndpointRow,
    /// Parsed `event_types`.
    pub patterns: Vec<TypePattern>,
    /// The compiled CEL filter.
    pub filter: Option<Arc<Filter>>,
    /// Signing secrets (`whsec_..`), newest first, with the end of their overlap.
    pub secrets: Vec<(crate::outbound::sign::SigningSecret, Option<Timestamp>)>,
    /// Own header fields.
    pub headers: Vec<(String, String)>,
    /// Where it publishes, if it is of kind `amqp` and its address opened.
    pub exchange: Option<Arc<Exchange>>,
}

/// A connection with its opened secrets.
pub struct ConnectionView {
    /// The row.
    pub row: ConnectionRow,
    /// Opened secrets, newest first, with the end of their overlap.
    pub secrets: Vec<(crate::connection::credential::Credential, Option<Timestamp>)>,
}

/// Why a target takes nothing now, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// What a person reads.
    pub failure: Failure,
    /// Since when.
    pub since: Timestamp,
}

impl EndpointView {
    /// The hold of its state, if it has one.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        let code = match self.row.state {
            EndpointState::Active => return None,
            EndpointState::Paused => "endpoint_paused",
            EndpointState::Disabled => "endpoint_disabled",
        };
        let (text, since) = self.row.state_reason.clone().unwrap_or_default();
        Some(Hold { failure: Failure::new(ReasonClass::Config, code, text), since })
    }
}

impl InstallationView {
    /// Whether another version than the one in force is wanted and has its `upgrade` before it or under way or refused.
    #[must_use]
    pub fn is_upgrading(&self) -> bool {
        match (&self.version, &self.wanted) {
            (Some(version), Some(wanted)) => version.row.version != wanted.row.version,
            _ => false,
        }
    }

    /// Why its events wait although its lifecycle calls run: it is being set up, upgraded or torn down. After a refused
    /// upgrade the version before it goes on.
    #[must_use]
    pub fn setting_up(&self) -> Option<Hold> {
        let row = &self.row;
        let (code, what) = match row.state {
            InstallState::Installing => ("installing", "being installed"),
            InstallState::Removing => ("removing", "being removed"),
            InstallState::Ready if self.is_upgrading() && !self.was_refused() => ("upgrading", "being upgraded"),
            InstallState::Ready | InstallState::Failed => return None,
        };
        let failure = Failure::new(ReasonClass::Config, code, format!("{} is {what}", row.plugin));
        Some(Hold { failure, since: row.updated_at })
    }

    fn was_refused(&self) -> bool {
        let wanted = self.wanted.as_ref().map(|wanted| &wanted.row.version);
        self.row.upgrade.as_ref().is_some_and(|upgrade| upgrade.refused.is_some() && Some(&upgrade.to) == wanted)
    }

    /// The same installation on another version.
    #[must_use]
    pub fn on(&self, version: &Arc<PluginVersion>) -> Self {
        super::load::installation_on(self.row.clone(), Some(version.clone()), self.wanted.clone(), self.rules.as_ref())
    }

    /// The hold of its mode, its state, its version or a connection that it requires. A fresh hold counts from `now`.
    #[must_use]
    pub fn hold(&self, tenant: &TenantView) -> Option<Hold> {
        let row = &self.row;
        let hold =
            |reason, code: &str, text: String, since| Some(Hold { failure: Failure::new(reason, code, text), since });
        if row.mode == Mode::Off {
            return hold(ReasonClass::Config, "plugin_off", format!("{} is switched off", row.plugin), row.updated_at);
        }
        if let Some((failure, since)) = &row.blocked {
            return Some(Hold { failure: failure.clone(), since: *since });
        }
        let Some(version) = &self.version else {
            return hold(
                ReasonClass::Config,
                "no_version",
                format!("no version of {} is there", row.plugin),
                row.updated_at,
            );
        };
        if let Some((broken, since)) = &row.broken
            && *broken == version.row.version
        {
            let text = format!(
                "{} {broken} keeps trapping: install a new version, or save the installation to go on",
                row.plugin
            );
            return hold(ReasonClass::PluginBug, "version_broken", text, *since);
        }
        if row.state == InstallState::Failed {
            let text = row.state_reason.clone().unwrap_or_default();
            return hold(ReasonClass::Config, "install_failed", text, row.updated_at);
        }
        version.manifest.connections.iter().filter(|spec| spec.required).find_map(|spec| {
            let bound = row.connections.get(&spec.name).and_then(|key| tenant.connections.get(key));
            let (text, since) = bound?.row.needs_login.clone()?;
            hold(ReasonClass::Auth, "needs_login", text, since)
        })
    }
}
