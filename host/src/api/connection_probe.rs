//! Trying a connection: one harmless call that its plugin names, and what came of it in plain words.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Method, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use crate::{
    connection::{
        credential::put_bearer,
        probe::{ANSWER_BYTES, TIMEOUT, explain},
        tokens::{self, AccessToken},
    },
    directory::view::{ConnectionView, InstallationView, TenantView},
    outbound::{client::Outgoing, deliver::add_trace},
    plugin::model::{ConnectionSpec, Probe, ProbePath},
};

/// One check.
#[derive(Serialize, ToSchema)]
pub(super) struct Check {
    /// `secret`, `base_url`, `provider`, `config`, or `connections.<slot>`.
    pub(super) name: String,
    pub(super) ok: bool,
    /// What a person reads.
    pub(super) message: String,
}

/// How a connection can be tried.
struct Way {
    base_url: String,
    probe: Probe,
}

/// The slots of manifests that the connection is bound to, as far as they are for calls.
pub(super) fn uses<'t>(tenant: &'t TenantView, view: &ConnectionView) -> Vec<&'t ConnectionSpec> {
    let key = view.row.key;
    let of = |installation: &'t InstallationView| {
        let slots = installation.row.connections.iter().filter(move |(_, bound)| **bound == key);
        slots.filter_map(move |(binding, _)| spec_of(installation, binding))
    };
    tenant.installations.values().flat_map(|installation| of(installation)).collect()
}

fn spec_of<'t>(installation: &'t InstallationView, binding: &str) -> Option<&'t ConnectionSpec> {
    let slot = binding.split('@').next().unwrap_or_default();
    let version = installation.version.as_ref()?;
    version.manifest.connections.iter().find(|spec| spec.name == slot)
}

/// Where a connection is used to call through this slot.
pub(super) fn base_url(api: &Api, view: &ConnectionView, spec: &ConnectionSpec) -> String {
    match &view.row.base_url {
        Some(own) => own.clone(),
        None => api.hub.settings.provider_origins.replace(&spec.base_url).into_owned(),
    }
}

/// Tries the connection if a plugin that uses it says how; a login that is known to be lost comes first.
pub(super) async fn provider(api: &Api, tenant: &Arc<TenantView>, view: &ConnectionView) -> Check {
    let login = view.row.needs_login.as_ref();
    let refused = || login.map(|(text, since)| format!("refused since {since}: {text}; rotate the connection"));
    let Some(way) = ways(api, tenant, view).into_iter().next() else {
        let unproven = "the provider has not refused the credential; it is proven by the next call";
        let message = refused().unwrap_or_else(|| unproven.to_owned());
        return Check { name: "provider".to_owned(), ok: login.is_none(), message };
    };
    let (ok, found) = match way {
        Ok(way) => tried(api, tenant, view, way).await,
        Err(problem) => (false, problem),
    };
    let message = match refused() {
        Some(refused) if ok => format!("{found}, but it was {refused} to let what is held go on"),
        Some(_) | None => found,
    };
    Check { name: "provider".to_owned(), ok: ok && login.is_none(), message }
}

/// The calls by which plugins that use the connection try it, or why one cannot be made yet.
fn ways(api: &Api, tenant: &TenantView, view: &ConnectionView) -> Vec<Result<Way, String>> {
    let mut ways = Vec::new();
    for installation in tenant.installations.values() {
        let bound = installation.row.connections.iter().filter(|(_, bound)| **bound == view.row.key);
        for spec in bound.filter_map(|(binding, _)| spec_of(installation, binding)) {
            let Some(probe) = spec.probe() else { continue };
            let config = serde_json::from_str(&installation.row.config).unwrap_or_default();
            ways.push(match probe.path_with(&config) {
                Ok(path) => Ok(Way { base_url: base_url(api, view, spec), probe: Probe { path, ..probe } }),
                Err(ProbePath::Missing(field)) => Err(format!(
                    "{} {}: the config of {} has no `{field}` to put into the address",
                    probe.method, probe.path, installation.row.plugin
                )),
                Err(ProbePath::Refused(error)) => Err(format!("{} {}: {error}", probe.method, probe.path)),
            });
        }
    }
    ways
}

async fn tried(api: &Api, tenant: &Arc<TenantView>, view: &ConnectionView, way: Way) -> (bool, String) {
    let hub = &api.hub;
    let call = format!("{} {}", way.probe.method, way.probe.path.split('?').next().unwrap_or_default());
    let url = format!("{}{}", way.base_url.trim_end_matches('/'), way.probe.path);
    let target = match hub.client.policy().check_url(&url) {
        Ok(target) => target,
        Err(error) => return (false, format!("{call}: the base URL cannot be called: {error}")),
    };
    let mut headers = HeaderMap::new();
    let token = match credential(api, tenant, view, &mut headers, None).await {
        Ok(token) => token,
        Err(problem) => return (false, format!("{call}: {problem}")),
    };
    let correlation = hub.ids.next().to_string();
    add_trace(&mut headers, &correlation, &crate::observe::trace::new_traceparent(&hub.ids));
    let mut outgoing = Outgoing {
        method: Method::from_bytes(way.probe.method.as_str().as_bytes()).unwrap_or(Method::GET),
        target,
        headers,
        body: Bytes::new(),
        timeout: TIMEOUT,
        response_cap: ANSWER_BYTES,
    };
    let mut result = hub.client.send(outgoing.clone()).await;
    if token.is_some() && result.as_ref().is_ok_and(|answer| answer.status == StatusCode::UNAUTHORIZED) {
        // The access token may have ended before its time; another one decides.
        match credential(api, tenant, view, &mut outgoing.headers, token).await {
            Ok(_) => result = hub.client.send(outgoing).await,
            Err(problem) => return (false, format!("{call}: {problem}")),
        }
    }
    let found = explain(&call, &result);
    hub.paces.record(view.row.key, hub.clock.monotonic(), found.signal, hub.ids.fraction());
    (found.ok, found.message)
}

/// Puts the credential on a request; answers the version of its access token, if it has one. `refused` is the version of
/// one that the provider refused.
async fn credential(
    api: &Api,
    tenant: &Arc<TenantView>,
    view: &ConnectionView,
    headers: &mut HeaderMap,
    refused: Option<u64>,
) -> Result<Option<u64>, String> {
    let unusable = |error| format!("the credential cannot be put on a request: {error}");
    if view.row.kind.parse().is_ok_and(tokens::obtains_tokens) {
        let obtained = api.hub.access_token(tenant, view, refused).await;
        let AccessToken { version, token } = obtained.map_err(|error| format!("no access token: {error}"))?;
        put_bearer(headers, &token).map_err(unusable)?;
        return Ok(Some(version));
    }
    let (credential, _) = view.secrets.first().ok_or("no secret opens; rotate the connection")?;
    credential.apply(headers, &[]).map_err(unusable)?;
    Ok(None)
}

/// What an admin should know of a live installation: its config fits, and each connection that it is bound to works.
pub(super) async fn of_installation(
    api: &Api,
    tenant: &Arc<TenantView>,
    installation: &InstallationView,
) -> Vec<Check> {
    let config = Check { name: "config".to_owned(), ok: true, message: "it fits the plugin's schema".to_owned() };
    let bound = installation.row.connections.iter().filter(|(binding, _)| spec_of(installation, binding).is_some());
    let tries = bound.map(|(binding, key)| async move {
        let name = format!("connections.{binding}");
        match tenant.connections.get(key) {
            Some(view) => Check { name, ..provider(api, tenant, view).await },
            None => Check { name, ok: false, message: "the connection is gone; bind another".to_owned() },
        }
    });
    let mut checks = vec![config];
    checks.extend(join_all(tries).await);
    checks
}
