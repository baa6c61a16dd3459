//! The forecast: what ends when, and how much depends on it; and what is left of each provider's pace.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Json as Out, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    auth::{In, Need as _, Read},
    problem::Answer,
    routes::{Routes, doc},
};
use crate::{
    clock::Timestamp,
    connection::{breaker, tokens::obtains_tokens},
    directory::view::{ConnectionView, InstallationView, TenantView, View},
    event::{Target, TenantId},
    id::Key,
    store::records::Recent,
};

/// What begins the names under which plugins keep what ends: the contract with them, see the SDK's `Ctx::expires`.
const NOTES: &str = "expires/";

/// Notes of one installation that are read.
const MAX_NOTES: u32 = 100;

/// How far back what depends on something is counted.
const LOOK_BACK: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get(
        "/v1/tenants/{tenant}/forecast",
        doc(
            "status",
            Read::SCOPE,
            "Say what ends when, how much depends on it, and what is left of each provider's pace",
        )
        .answers::<Forecast>(200, "The forecast."),
        read,
    )
}

/// What is to be expected of a tenant.
#[derive(Serialize, ToSchema)]
struct Forecast {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// What ends, first what has ended and what ends soonest.
    expires: Vec<Expiry>,
    /// What is left of the pace of each connection that was used since the hub started.
    budgets: Vec<ConnectionBudget>,
}

/// One thing that ends.
#[derive(Clone, Serialize, ToSchema)]
struct Expiry {
    /// `login`, `access_token`, `old_secret`, `signing_secret`, `api_key`, or `registration` for what a plugin keeps at its provider.
    kind: &'static str,
    /// Which: `con_..`, `ep_..`, `key_..`, or `plugin/name`.
    id: String,
    /// What a person reads.
    what: String,
    /// When; null for what has ended already.
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// Whether it is renewed in time without a person.
    renews: bool,
    /// Events of the last seven days that went through what ends.
    events_7d: u64,
    /// Whether there were more than are counted.
    at_least: bool,
}

/// A connection's pace.
#[derive(Serialize, ToSchema)]
struct ConnectionBudget {
    id: String,
    name: String,
    provider: String,
    #[serde(flatten)]
    budget: Budget,
}

/// What is left of a pace. It is this node's, and begins anew at a restart.
#[derive(Clone, Serialize, ToSchema)]
pub(super) struct Budget {
    /// Calls per second now.
    rate_per_s: f64,
    /// Calls per second when the provider asks for no less.
    full_rate_per_s: f64,
    /// Calls that could begin at once.
    left: u32,
    /// Whether the provider asked for less lately; the rate climbs back with every call that goes well.
    lowered: bool,
    /// Until when no call is made: the provider asked for silence, or does not answer.
    #[schema(value_type = Option<String>, format = DateTime)]
    silent_until: Option<Timestamp>,
}

impl Budget {
    /// The budget of a connection; none if it was not used since the start.
    pub(super) fn of(api: &Api, connection: Key) -> Option<Self> {
        let breaker::Budget { rate, full, left, silent_for, down_for } =
            api.hub.paces.budget(connection, api.hub.clock.monotonic())?;
        let silent = silent_for.max(down_for);
        Some(Self {
            rate_per_s: rounded(rate),
            full_rate_per_s: rounded(full),
            left,
            lowered: rate < full,
            silent_until: (!silent.is_zero()).then(|| api.hub.clock.now().after(silent)),
        })
    }
}

fn rounded(rate: f64) -> f64 {
    (rate * 1000.0).round() / 1000.0
}

/// What a plugin notes of something that ends, as `Ctx::expires` writes it.
#[derive(Deserialize)]
struct Note {
    at: NotedTime,
    #[serde(default)]
    what: String,
    #[serde(default)]
    renews: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NotedTime {
    Millis(i64),
    Text(Timestamp),
}

async fn read(State(api): State<Api>, within: In<Read>) -> Answer<Out<Forecast>> {
    let tenant = &within.tenant;
    let budgets = tenant.connections.values().filter_map(|view| {
        let row = &view.row;
        let budget = Budget::of(&api, row.key)?;
        let (id, name, provider) = (row.key.with_prefix("con"), row.name.clone(), row.provider.clone());
        Some(ConnectionBudget { id, name, provider, budget })
    });
    Ok(Out(Forecast { at: api.hub.clock.now(), expires: expiries(&api, tenant).await?, budgets: budgets.collect() }))
}

/// Everything of a tenant that has ended or will, in order of time.
async fn expiries(api: &Api, tenant: &TenantView) -> Answer<Vec<Expiry>> {
    let now = api.hub.clock.now();
    let back = i64::try_from(LOOK_BACK.as_millis()).unwrap_or(i64::MAX);
    let recent = api.hub.store.recent(&tenant.row.id, Timestamp(now.0.saturating_sub(back))).await?;
    let mut found: Vec<Expiry> = Vec::new();
    for view in tenant.connections.values() {
        found.extend(of_connection(tenant, view, &recent, now));
        found.extend(tokens(api, tenant, view, &recent).await?);
    }
    for view in tenant.endpoints.values() {
        let id = view.row.key.with_prefix("ep");
        let events_7d = recent.of(&Target::Endpoint(view.row.key).to_string());
        let what = format!("an old signing secret of the endpoint {id}");
        found.extend(ends_of(&view.row.secrets, now).map(|at| Expiry {
            kind: "signing_secret",
            id: id.clone(),
            what: what.clone(),
            at: Some(at),
            renews: false,
            events_7d,
            at_least: recent.at_least,
        }));
    }
    for view in tenant.installations.values() {
        found.extend(of_installation(api, tenant, view, &recent).await?);
    }
    let directory = api.hub.directory.view();
    let own = directory.keys.values().filter(|key| key.tenant.as_ref() == Some(&tenant.row.id));
    found.extend(own.filter_map(|key| {
        Some(Expiry {
            kind: "api_key",
            id: key.key.with_prefix("key"),
            what: format!("the API key `{}`", key.name),
            at: Some(key.expires_at?),
            renews: false,
            events_7d: recent.published,
            at_least: recent.at_least,
        })
    }));
    found.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.id.cmp(&b.id)));
    Ok(found)
}

fn ends_of(secrets: &[crate::store::registry::SealedSecret], now: Timestamp) -> impl Iterator<Item = Timestamp> {
    secrets.iter().filter_map(|secret| secret.expires_at).filter(move |at| *at > now)
}

fn of_connection(tenant: &TenantView, view: &ConnectionView, recent: &Recent, now: Timestamp) -> Vec<Expiry> {
    let row = &view.row;
    let events_7d = through(tenant, row.key, recent);
    let one = |kind, what: String, at| Expiry {
        kind,
        id: row.key.with_prefix("con"),
        what,
        at,
        renews: false,
        events_7d,
        at_least: recent.at_least,
    };
    let login = row.needs_login.as_ref().map(|(text, _)| {
        one("login", format!("the login of `{}` at {} has ended: {text}", row.name, row.provider), None)
    });
    let old = ends_of(&row.secrets, now)
        .map(|at| one("old_secret", format!("an old secret of `{}` at {}", row.name, row.provider), Some(at)));
    login.into_iter().chain(old).collect()
}

/// The access token of a connection whose tokens the host obtains, which it renews a quarter of an hour before; and the
/// login behind it, where the provider says when that ends. Each renewal moves its end, but only a person can begin another.
async fn tokens(api: &Api, tenant: &TenantView, view: &ConnectionView, recent: &Recent) -> Answer<Vec<Expiry>> {
    let row = &view.row;
    if row.needs_login.is_some() || !row.kind.parse().is_ok_and(obtains_tokens) {
        return Ok(Vec::new());
    }
    let Some(access) = api.hub.store.tokens(&tenant.row.id, row.key).await?.access else { return Ok(Vec::new()) };
    let one = |kind, what: &str, at, renews| Expiry {
        kind,
        id: row.key.with_prefix("con"),
        what: format!("the {what} of `{}` at {}", row.name, row.provider),
        at: Some(at),
        renews,
        events_7d: through(tenant, row.key, recent),
        at_least: recent.at_least,
    };
    let token = one("access_token", "access token", access.expires_at, true);
    let login = api.hub.login_end(tenant, row.key, &access);
    let login = login.map(|at| one("login", "login", at, false));
    Ok(std::iter::once(token).chain(login).collect())
}

/// Events that went to the installations which use a connection.
fn through(tenant: &TenantView, connection: Key, recent: &Recent) -> u64 {
    let uses = |user: &&Arc<InstallationView>| user.row.connections.values().any(|key| *key == connection);
    tenant.installations.values().filter(uses).map(|user| recent.of(&plugin_target(user))).sum()
}

fn plugin_target(view: &InstallationView) -> String {
    Target::Plugin(view.row.plugin.as_str().into()).to_string()
}

/// What the plugin has noted. A note that cannot be read is shown as such: it was meant to warn.
async fn of_installation(
    api: &Api,
    tenant: &TenantView,
    view: &InstallationView,
    recent: &Recent,
) -> Answer<Vec<Expiry>> {
    let (id, plugin, now) = (&tenant.row.id, &view.row.plugin, api.hub.clock.now());
    let events_7d = recent.of(&plugin_target(view));
    let mut found = Vec::new();
    for key in api.hub.store.kv_keys(id, plugin, NOTES, None, MAX_NOTES, now).await? {
        let Some(value) = api.hub.store.kv_get(id, plugin, &key, now).await?.value else { continue };
        let name = key.strip_prefix(NOTES).unwrap_or(&key);
        let note: Option<Note> = serde_json::from_slice(&value).ok();
        let (at, what, renews) = match note {
            Some(Note { at, what, renews }) => {
                let at = match at {
                    NotedTime::Millis(ms) => Timestamp(ms),
                    NotedTime::Text(at) => at,
                };
                let what = if what.is_empty() { name.to_owned() } else { what.chars().take(200).collect() };
                (Some(at), what, renews)
            }
            None => (None, format!("the note `{name}` of {plugin} cannot be read"), false),
        };
        let id = format!("{plugin}/{name}");
        found.push(Expiry { kind: "registration", id, what, at, renews, events_7d, at_least: recent.at_least });
    }
    Ok(found)
}

/// The API keys of a tenant, or of the operator, that end within a week, for the status page: `key_..` and when.
pub(super) fn ending_keys(view: &View, tenant: Option<&TenantId>, now: Timestamp) -> BTreeMap<String, String> {
    let limit = now.after(LOOK_BACK);
    let own = view.keys.values().filter(|key| key.tenant.as_ref() == tenant);
    let ending = own.filter_map(|key| {
        let at = key.expires_at.filter(|at| *at > now && *at < limit)?;
        Some((key.key.with_prefix("key"), format!("the API key `{}` ends at {at}", key.name)))
    });
    ending.collect()
}
