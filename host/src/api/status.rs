//! How the hub is: status for people, health for machines, the description of the interface.

use std::{collections::BTreeMap, sync::PoisonError, time::Duration};

use axum::{
    Json as Out,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    auth::{Caller, Need as _, Read},
    forecast::ending_keys,
    nodes::NodesStatus,
    problem::{Answer, Code, Problem},
    routes::{Routes, doc, open},
};
use crate::{
    clock::Timestamp,
    directory::view::{TenantView, View},
    ingress::alarm::Share,
    queue::{PoolKind, state::State as Stored},
    store::registry::{EndpointState, Mode},
};

const TAG: &str = "status";

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get(
            "/v1/status",
            doc(TAG, Read::SCOPE, "Say what waits, what is dead and what needs a person, as far as the key sees")
                .answers::<Status>(200, "The status."),
            status,
        )
        .get(
            "/healthz",
            open(TAG, "Say that the process lives").answers_as(200, "It lives.", Some("text/plain")),
            async || "ok\n",
        )
        .get(
            "/readyz",
            open(TAG, "Say whether the hub can accept").answers_as(200, "It can.", Some("text/plain")).answers_as(
                503,
                "The database is away.",
                None,
            ),
            ready,
        )
        .get("/metrics", open(TAG, "Prometheus metrics").answers_as(200, "The metrics.", Some("text/plain")), metrics)
        .get(
            "/openapi.json",
            open(TAG, "This document").answers_as(200, "OpenAPI 3.1.", Some("application/json")),
            document,
        )
        .get("/docs", open(TAG, "This document to read").answers_as(200, "A page.", Some("text/html")), page)
}

/// The state of what the key sees.
#[derive(Serialize, ToSchema)]
struct Status {
    version: &'static str,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `ok`, or `attention` if something needs a person.
    state: &'static str,
    /// Live and dead deliveries by stored state.
    deliveries: BTreeMap<&'static str, u64>,
    /// When the oldest live delivery became due.
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest_due: Option<Timestamp>,
    /// Requests that wait to be judged.
    parked: u64,
    /// The operator's own API keys that end within a week; for operators.
    ending_keys: BTreeMap<String, String>,
    tenants: Vec<TenantStatus>,
    /// The nodes that share the database; for operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<NodesStatus>,
}

/// What needs a person in a tenant. Tenants in which all is well are left out.
#[derive(Serialize, ToSchema)]
struct TenantStatus {
    tenant: String,
    lockdown: bool,
    /// Installations that take nothing, with the reason.
    held_installations: BTreeMap<String, String>,
    /// Endpoints that are paused or disabled, or fail, with the reason.
    endpoints: BTreeMap<String, String>,
    /// Connections that need a login, with the reason.
    connections: BTreeMap<String, String>,
    /// Sources that refuse too much of what they get, `plugin/source`, with the share of the last five minutes.
    failing_sources: BTreeMap<String, String>,
    /// API keys that end within a week; `GET .../forecast` has everything else that ends.
    ending_keys: BTreeMap<String, String>,
    /// When each schedule's poll last succeeded: `plugin/schedule`.
    #[schema(value_type = Object)]
    last_success: BTreeMap<String, Option<Timestamp>>,
}

impl TenantStatus {
    fn needs_attention(&self) -> bool {
        self.lockdown
            || !self.held_installations.is_empty()
            || !self.endpoints.is_empty()
            || !self.connections.is_empty()
            || !self.failing_sources.is_empty()
    }
}

/// What a failing source shows.
fn share_in_words(share: Share) -> String {
    format!("{} of {} requests were refused in the last five minutes", share.refused, share.judged)
}

fn of_tenant(api: &Api, view: &View, tenant: &TenantView) -> TenantStatus {
    let installations = tenant.installations.values();
    let held = installations.clone().filter(|view| view.row.mode == Mode::Live);
    let held = held.filter_map(|view| Some((view.row.plugin.clone(), view.hold(tenant)?.failure.to_string())));
    let endpoints = tenant.endpoints.values().filter_map(|view| {
        let text = match (view.row.state, view.row.failing_since) {
            (EndpointState::Active, None) => return None,
            (EndpointState::Active, Some(since)) => format!("every attempt has failed since {since}"),
            (EndpointState::Paused | EndpointState::Disabled, _) => view.hold()?.failure.to_string(),
        };
        Some((view.row.key.with_prefix("ep"), text))
    });
    let connections = tenant.connections.values().filter_map(|view| {
        let (text, since) = view.row.needs_login.as_ref()?;
        Some((view.row.name.clone(), format!("needs a login since {since}: {text}")))
    });
    let now = api.hub.clock.monotonic();
    let sources = installations.clone().flat_map(|view| view.row.sources.iter().map(move |source| (view, source)));
    let failing = sources.filter_map(|(view, source)| {
        let share = api.hub.alarms.failing(&source.id, now)?;
        Some((format!("{}/{}", view.row.plugin, source.name), share_in_words(share)))
    });
    let polls = installations.clone().flat_map(|view| {
        view.row
            .schedules
            .iter()
            .map(|schedule| (format!("{}/{}", view.row.plugin, schedule.name), schedule.succeeded_at))
    });
    TenantStatus {
        tenant: tenant.row.id.to_string(),
        lockdown: tenant.row.lockdown,
        held_installations: held.collect(),
        endpoints: endpoints.collect(),
        connections: connections.collect(),
        failing_sources: failing.collect(),
        ending_keys: ending_keys(view, Some(&tenant.row.id), api.hub.clock.now()),
        last_success: polls.collect(),
    }
}

async fn status(State(api): State<Api>, caller: Caller) -> Answer<Out<Status>> {
    let counts = api.hub.store.counts(caller.key.tenant.as_ref()).await?;
    let view = api.hub.directory.view();
    let visible = view.tenants.values().filter(|tenant| caller.sees(&tenant.row.id));
    let mut tenants: Vec<_> = visible.map(|tenant| of_tenant(&api, &view, tenant)).collect();
    let cluster = caller.key.tenant.is_none().then(|| NodesStatus::seen_by(&api.hub.node));
    let attention =
        tenants.iter().any(TenantStatus::needs_attention) || cluster.as_ref().is_some_and(NodesStatus::needs_attention);
    tenants.retain(|tenant| caller.key.tenant.is_some() || tenant.needs_attention() || !tenant.ending_keys.is_empty());
    tenants.sort_by(|a, b| a.tenant.cmp(&b.tenant));
    Ok(Out(Status {
        version: env!("CARGO_PKG_VERSION"),
        at: api.hub.clock.now(),
        state: if attention { "attention" } else { "ok" },
        deliveries: counts.by_state.into_iter().map(|(state, count)| (state.as_str(), count)).collect(),
        oldest_due: counts.oldest_due,
        parked: counts.parked,
        ending_keys: match caller.key.tenant {
            None => ending_keys(&view, None, api.hub.clock.now()),
            Some(_) => BTreeMap::new(),
        },
        tenants,
        cluster,
    }))
}

async fn ready(State(api): State<Api>) -> Answer<&'static str> {
    match api.hub.store.last_seen().await {
        Ok(_) if !api.hub.hard_stop.is_cancelled() => Ok("ready\n"),
        Ok(_) => Err(Problem::new(Code::Unavailable, "the hub is stopping").retry_after(5)),
        Err(error) => Err(error.into()),
    }
}

async fn metrics(State(api): State<Api>) -> Response {
    gauges(&api).await;
    typed("text/plain; version=0.0.4; charset=utf-8", crate::observe::metrics::render())
}

/// Sets the gauges that are read off when somebody asks. While the database is away the queue's keep their last values.
async fn gauges(api: &Api) {
    use crate::observe::metrics;
    if let Ok(counts) = api.hub.store.counts(None).await {
        let of =
            |state: Stored| counts.by_state.iter().find(|(known, _)| *known == state).map_or(0, |(_, count)| *count);
        for state in [Stored::Queued, Stored::Running, Stored::Waiting, Stored::Dead] {
            metrics::queue_depth(state.as_str(), usize::try_from(of(state)).unwrap_or(usize::MAX));
        }
        metrics::queue_age(counts.oldest_due.map_or(Duration::ZERO, |due| api.hub.clock.now().since(due)));
    }
    let view = api.hub.directory.view();
    let connections = || view.tenants.values().flat_map(|tenant| tenant.connections.values());
    let ill = connections().filter(|connection| connection.row.needs_login.is_some()).count();
    metrics::connections_in("slowed", api.hub.paces.slowed());
    metrics::connections_in("needs_login", ill);
    metrics::connections_in("ok", connections().count() - ill);
    let (sends, runs, open) = {
        let scheduler = api.hub.scheduler.lock().unwrap_or_else(PoisonError::into_inner);
        let (sends, runs) = scheduler.in_flight();
        (sends, runs, scheduler.open_breakers(PoolKind::Send))
    };
    metrics::sources_failing(api.hub.alarms.count(api.hub.clock.monotonic()));
    metrics::breakers_open("endpoint", open);
    metrics::breakers_open("connection", api.hub.paces.open().len());
    metrics::in_flight("send", sends as usize);
    metrics::in_flight("run", runs as usize);
}

async fn document(State(api): State<Api>) -> Response {
    typed("application/json", api.document.clone())
}

async fn page(State(api): State<Api>) -> Response {
    let mut response = typed("text/html; charset=utf-8", api.page.clone());
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

fn typed(media: &'static str, body: String) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, HeaderValue::from_static(media))], body).into_response()
}
