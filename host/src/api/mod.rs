//! The HTTP interface under `/v1`: one file per resource. Only here and in `ingress` are accepted requests built.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Uri},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use crate::{
    clock::Timestamp,
    event::{
        Target, TenantId, Urgency,
        text::{NOT_STORABLE, is_storable},
    },
    hub::Hub,
    id::Key,
    observe::{metrics::Surface, trace::CorrelationId},
    queue::lane::Lane,
    store::registry::AuditEntry,
};

mod app_requests;
mod apps;
mod audit;
mod auth;
mod body;
mod broker_settings;
mod cloudevents;
mod connection_actions;
mod connection_probe;
mod connections;
mod consents;
mod dead_letters;
mod deliveries;
mod delivery_detail;
mod endpoint_actions;
mod endpoint_replay;
mod endpoint_settings;
mod endpoints;
mod event_types;
mod events;
mod forecast;
mod idempotency;
mod installation_check;
mod installations;
mod keys;
mod logins;
mod master_keys;
mod nodes;
mod openapi;
mod paging;
mod plan;
mod plugins;
mod preview;
mod privacy;
mod problem;
mod publish;
mod received;
mod routes;
mod rule_trial;
mod rules;
mod schedules;
mod shadows;
mod signing_keys;
mod status;
mod tenants;
mod traces;
mod unrouted;

#[cfg(test)]
mod tests;

use problem::{Answer, Code, Problem};
use routes::Routes;

/// The header that links a request with everything it causes.
const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");

/// What the handlers share.
#[derive(Clone)]
struct Api(Arc<Shared>);

struct Shared {
    hub: Arc<Hub>,
    uses: Mutex<auth::Uses>,
    in_progress: idempotency::InProgress,
    document: String,
    page: String,
}

impl std::ops::Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// The correlation id of a request.
#[derive(Clone)]
struct Correlation(CorrelationId);

/// The interface, to be served beside `/in/{source_id}`.
pub fn router(hub: Arc<Hub>) -> Router {
    let routes = all_routes();
    let document = openapi::document(&routes);
    let api = Api(Arc::new(Shared {
        hub,
        uses: Mutex::default(),
        in_progress: idempotency::InProgress::default(),
        page: openapi::page(&document),
        document: document.to_string(),
    }));
    routes
        .into_router()
        .fallback(async || Problem::new(Code::NoSuchRoute, "there is no such path; /docs has them all"))
        .method_not_allowed_fallback(async || {
            Problem::new(Code::MethodNotAllowed, "the path has other methods; see /docs")
        })
        .layer(middleware::from_fn_with_state(api.clone(), idempotency::layer))
        .layer(middleware::from_fn_with_state(api.clone(), correlate))
        .with_state(api)
}

/// The same paths for a node without the role `api`: only those that tell how it is are answered.
pub fn health_only(router: Router) -> Router {
    router.layer(middleware::from_fn(async |request: Request, next: Next| match request.uri().path() {
        "/healthz" | "/readyz" | "/metrics" | "/v1/status" => next.run(request).await,
        _ => {
            Problem::new(Code::NoSuchRoute, "this node does not have the role `api`; ask one that has").into_response()
        }
    }))
}

/// The OpenAPI 3.1 document of the interface.
#[must_use]
pub fn openapi_document() -> serde_json::Value {
    openapi::document(&all_routes())
}

fn all_routes() -> Routes {
    let mut routes = Routes::default();
    for add in [
        tenants::routes,
        plan::routes,
        consents::routes,
        apps::routes,
        app_requests::routes,
        plugins::routes,
        installations::routes,
        shadows::routes,
        rules::routes,
        rule_trial::routes,
        schedules::routes,
        connections::routes,
        connection_actions::routes,
        logins::routes,
        endpoints::routes,
        endpoint_actions::routes,
        endpoint_replay::routes,
        signing_keys::routes,
        events::routes,
        publish::routes,
        deliveries::routes,
        delivery_detail::routes,
        dead_letters::routes,
        preview::routes,
        traces::routes,
        forecast::routes,
        received::routes,
        privacy::routes,
        event_types::routes,
        keys::routes,
        master_keys::routes,
        audit::routes,
        status::routes,
    ] {
        routes = add(routes);
    }
    routes
}

/// Takes or makes the correlation id, puts it on every answer, and counts the answer.
async fn correlate(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let offered = request.headers().get(CORRELATION).and_then(|value| value.to_str().ok());
    let id = CorrelationId::accept(offered, &api.hub.ids);
    let value = HeaderValue::from_str(id.as_str());
    request.extensions_mut().insert(Correlation(id));
    let started = api.hub.clock.monotonic();
    let mut response = match refuse_unstorable(request.uri()) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await.into_response(),
    };
    let took = api.hub.clock.monotonic().saturating_sub(started);
    crate::observe::metrics::request_answered(Surface::Api, response.status().as_u16(), took);
    if let Ok(value) = value {
        response.headers_mut().insert(CORRELATION, value);
    }
    response
}

/// Refuses an address with a character that not every database stores: nothing has such a name, and no list such entries.
fn refuse_unstorable(uri: &Uri) -> Option<Problem> {
    const ESCAPED: &str = "%00";
    if uri.path().contains(ESCAPED) {
        return Some(Problem::not_found("object"));
    }
    let query = uri.query().filter(|query| query.contains(ESCAPED))?;
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let (name, _) = pairs.find(|(name, value)| !is_storable(name) || !is_storable(value))?;
    Some(Problem::field(name.replace('\0', ESCAPED), NOT_STORABLE))
}

impl Shared {
    /// Notes the use of a key, and writes what has gathered when it is time.
    fn note_use(&self, key: Key, now: Timestamp) {
        let due = self.uses.lock().unwrap_or_else(PoisonError::into_inner).note(key, now);
        if let Some(used) = due {
            let store = self.hub.store.clone();
            self.hub.tasks.spawn(async move {
                if let Err(error) = store.touch_api_keys(used).await {
                    tracing::warn!(%error, "the last use of keys could not be noted");
                }
            });
        }
    }

    /// Brings a change of a tenant's rows into force for what comes after it; whoever follows the directory's changes
    /// does the rest.
    async fn tenant_changed(&self, tenant: &TenantId) -> Answer<()> {
        self.hub.directory.refresh_tenant(tenant).await?;
        self.hub.reconsider(tenant);
        Ok(())
    }

    /// Wakes both lanes of targets that may take deliveries again.
    fn wake_targets(&self, tenant: &TenantId, targets: impl IntoIterator<Item = Target>) {
        let lanes: Vec<Lane> = targets
            .into_iter()
            .flat_map(|target| {
                [Urgency::Emergency, Urgency::Normal].map(|urgency| Lane {
                    tenant: tenant.clone(),
                    target: target.clone(),
                    urgency,
                })
            })
            .collect();
        self.hub.wake(&lanes);
    }

    /// The audit row of a change.
    fn audit(
        &self,
        caller: &auth::Caller,
        tenant: Option<&TenantId>,
        action: &str,
        target: impl Into<String>,
    ) -> AuditEntry {
        AuditEntry {
            at: self.hub.clock.now(),
            tenant: tenant.cloned(),
            actor: caller.actor(),
            action: action.to_owned(),
            target: target.into(),
            before: None,
            after: None,
        }
    }
}

/// An audit row with the object before and after.
trait Changing {
    fn showing(self, before: Option<&Value>, after: Option<&Value>) -> Self;
}

impl Changing for AuditEntry {
    fn showing(self, before: Option<&Value>, after: Option<&Value>) -> Self {
        Self { before: before.map(Value::to_string), after: after.map(Value::to_string), ..self }
    }
}
