//! Where a connection logs in, and for which scopes: what the manifests say, and who decides when several do.

use std::collections::BTreeSet;

use crate::{
    directory::view::{PluginVersion, TenantView, View},
    id::Key,
    plugin::model::{ConnectionKind as SpecKind, ConnectionSpec},
    store::registry::ConnectionRow,
};

/// Where and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Where a person consents, as the manifest has it.
    pub authorize_url: String,
    /// Where codes and refresh tokens are exchanged, as the manifest has it.
    pub token_url: String,
    /// For what.
    pub scopes: BTreeSet<String>,
}

/// Where an `oauth2` connection logs in; none where no manifest says it.
///
/// The client's secret goes to these URLs, so it is the app's plugin that decides them, chosen by the operator; without
/// one the plugin of the provider's name, and only then what a tenant's admin has bound the connection to. Every plugin
/// that it is bound to adds its scopes, if it means the same URLs.
#[must_use]
pub fn login_of(view: &View, tenant: &TenantView, connection: &ConnectionRow) -> Option<Login> {
    let app = view.apps.get(&connection.app?)?;
    let of_plugin = |name: &str| {
        let version = crate::directory::newest(view.plugins.get(name)?)?;
        version.manifest.connections.iter().find_map(urls)
    };
    let bound: Vec<&ConnectionSpec> = bound_specs(tenant, connection.key).collect();
    let named = app.row.plugin.as_deref().and_then(of_plugin);
    let (authorize_url, token_url, own) = named
        .or_else(|| of_plugin(&app.row.provider))
        .or_else(|| bound.iter().find_map(|spec| urls(spec)))
        .map(|(authorize_url, token_url, scopes)| (authorize_url.clone(), token_url.clone(), scopes))?;
    let agreeing = bound.iter().filter_map(|spec| urls(spec));
    let agreeing = agreeing.filter(|(authorize, token, _)| **authorize == authorize_url && **token == token_url);
    let mut scopes: BTreeSet<String> = agreeing.flat_map(|(_, _, scopes)| scopes.iter().cloned()).collect();
    if scopes.is_empty() {
        scopes = own.iter().cloned().collect();
    }
    Some(Login { authorize_url, token_url, scopes })
}

/// For which scopes a service account is used: those of all plugins that it is bound to.
#[must_use]
pub fn service_account_scopes(tenant: &TenantView, connection: Key) -> BTreeSet<String> {
    let scopes = |spec: &ConnectionSpec| match &spec.kind {
        SpecKind::GoogleServiceAccount(scopes) | SpecKind::Oauth2 { scopes, .. } => scopes.clone(),
        _ => Vec::new(),
    };
    bound_specs(tenant, connection).flat_map(scopes).collect()
}

fn urls(spec: &ConnectionSpec) -> Option<(&String, &String, &Vec<String>)> {
    match &spec.kind {
        SpecKind::Oauth2 { authorize_url, token_url, scopes } => Some((authorize_url, token_url, scopes)),
        _ => None,
    }
}

/// The slots of the tenant's installations that this connection fills.
fn bound_specs(tenant: &TenantView, connection: Key) -> impl Iterator<Item = &ConnectionSpec> {
    tenant.installations.values().flat_map(move |installation| {
        let version: Option<&PluginVersion> = installation.version.as_deref();
        let specs = version.map(|version| version.manifest.connections.as_slice()).unwrap_or_default();
        let fills = move |spec: &&ConnectionSpec| {
            installation
                .row
                .connections
                .iter()
                .any(|(binding, key)| *key == connection && binding.split('@').next() == Some(spec.name.as_str()))
        };
        specs.iter().filter(fills)
    })
}
