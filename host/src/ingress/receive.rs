//! A provider's request: limits, the plugin's `receive`, then one transaction, then the answer.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Request, State},
    response::{IntoResponse as _, Response},
    routing::any,
};
use http::{HeaderName, HeaderValue, StatusCode};
use sha2::{Digest as _, Sha256};

use super::{
    answers::{too_many, unavailable},
    body::read_body,
    client::Client,
    door::Door,
    receive_calls::ReceiveCalls,
    verdict::{Said, Verdict, said},
};
use crate::{
    directory::view::{InstallationView, PluginVersion, SourceView, TenantView},
    failpoint::{self, Point},
    hub::Hub,
    id::Key,
    observe::metrics::Surface,
    plugin::{
        call::{Call, CallEnd, Ended, PluginLabel},
        limits::Limits,
        model::{CallContext, EmittedEvent, Header, InboundRequest, Received, Reply},
        virtual_time::VirtualClock,
    },
    queue::reason::{Failure, ReasonClass},
    run::{emit, journal::millis},
    store::{
        StoreError,
        ledger::{Accept, RawRequest, ScheduleName},
    },
};

/// Routes of the public inbound side.
pub fn router(hub: Arc<Hub>) -> Router {
    Router::new().route("/in/{source_id}", any(receive)).route("/in/{source_id}/{*rest}", any(receive)).with_state(hub)
}

/// Answers a request and counts it.
async fn receive(state: State<Arc<Hub>>, path: Path<Vec<(String, String)>>, request: Request) -> Response {
    let clock = state.0.clock.clone();
    let started = clock.monotonic();
    let response = answer(state, path, request).await;
    let took = clock.monotonic().saturating_sub(started);
    crate::observe::metrics::request_answered(Surface::Ingress, response.status().as_u16(), took);
    response
}

async fn answer(State(hub): State<Arc<Hub>>, Path(parts): Path<Vec<(String, String)>>, request: Request) -> Response {
    let source_id = parts.into_iter().next().map(|(_, id)| id).unwrap_or_default();
    let client = request.extensions().get::<Client>().copied();
    let source_key = Key::parse("src", &source_id);
    let limited = client
        .map_or(Ok(()), |client| {
            hub.rates.check_ip(client.ip).inspect_err(|_| crate::observe::metrics::rate_limited("ip"))
        })
        .and_then(|()| {
            let by_source = source_key.map_or(Ok(()), |key| hub.rates.check_source(key));
            by_source.inspect_err(|_| crate::observe::metrics::rate_limited("source"))
        });
    let door = Door::of(&hub.directory.view(), &source_id).filter(Door::takes_http);
    let owner = door.as_ref().map(Door::owner);
    if let Err(limited) = limited {
        if let Some(owner) = &owner {
            hub.note_rejection(
                owner,
                &source_id,
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                String::new(),
                0,
                client,
            )
            .await;
        }
        return too_many(limited.retry_after_seconds());
    }
    let (uri, method, headers) = (request.uri().clone(), request.method().clone(), request.headers().clone());
    let body = match read_body(request).await {
        Ok(request) => request.into_body(),
        Err(error) => {
            if let Some(owner) = &owner {
                hub.note_rejection(owner, &source_id, error.status(), error.code(), error.to_string(), 0, client).await;
            }
            return (error.status(), format!("{error}\n")).into_response();
        }
    };
    let (Some(door), Some(owner)) = (door, owner) else {
        // Equal work for a stranger who guesses: a known source would have its body hashed.
        std::hint::black_box(Sha256::digest(&body));
        return (StatusCode::NOT_FOUND, "no such source\n").into_response();
    };
    let key = hub.ids.next();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let raw = RawRequest {
        key,
        tenant: owner,
        source_id,
        method: method.to_string(),
        url: format!("{}{path}", hub.public_url),
        headers: headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect(),
        body,
        received_at: hub.clock.now(),
        remote_addr: client.map(|client| client.ip.to_string()),
        correlation_id: key.to_string().into(),
    };
    let worker = hub.clone();
    // It goes on when the provider hangs up: what was stored must be started.
    let judged = hub.tasks.spawn(async move { worker.receive(door, raw, client).await }).await;
    let mut response = judged.unwrap_or_else(|_| unavailable());
    if let Ok(value) = HeaderValue::try_from(key.to_string()) {
        response.headers_mut().insert(HeaderName::from_static("x-correlation-id"), value);
    }
    response
}

impl Hub {
    async fn receive(self: Arc<Self>, door: Door, raw: RawRequest, client: Option<Client>) -> Response {
        let (verdict, plugin) = match door {
            Door::Tenant(source) => (self.judge_request(&source, &raw, None).await, source.plugin),
            Door::App(source) => {
                let verdict = self.judge_app_request(&source, &raw, None).await;
                (verdict, self.plugin_of_app(&source))
            }
        };
        self.answer_verdict(verdict, raw, plugin, client).await
    }

    /// Runs a request through `receive` and stores what it says. `parked` names the parked request that it was.
    pub(super) async fn judge_request(
        self: &Arc<Self>,
        source: &SourceView,
        raw: &RawRequest,
        parked: Option<Key>,
    ) -> Result<Verdict, StoreError> {
        let view = self.directory.view();
        let installed = view
            .tenants
            .get(&source.tenant)
            .and_then(|tenant| tenant.installations.get(&source.plugin).map(|found| (tenant.clone(), found.clone())));
        let Some((tenant, installation)) = installed else {
            let failure = Failure::new(ReasonClass::Config, "plugin_removed", "the plugin is not installed");
            return Ok(Verdict::Neither(failure));
        };
        // A connection that needs a login holds deliveries, but its provider's requests are still verified.
        if let Some(hold) = installation.hold(&tenant)
            && hold.failure.reason != ReasonClass::Auth
        {
            return Ok(Verdict::Neither(hold.failure));
        }
        let Some(version) = installation.version.clone() else {
            return Ok(Verdict::Neither(Failure::new(ReasonClass::Config, "no_version", "the plugin has no version")));
        };
        let ended = match self.call_receive(&tenant, &installation, &version, source, raw).await {
            Ok(ended) => ended,
            Err(failure) => return Ok(Verdict::Neither(failure)),
        };
        let trapped =
            matches!(ended.result, Err(CallEnd::Trap { .. } | CallEnd::Limit { .. } | CallEnd::Malformed { .. }));
        self.note_traps(&tenant, &version, trapped).await;
        match said(ended) {
            Ok(Said { events, reply, poll_now }) => {
                self.store_received(&tenant, &installation, &version, raw, parked, events, poll_now, reply).await
            }
            Err(verdict) => Ok(verdict),
        }
    }

    async fn call_receive(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        installation: &Arc<InstallationView>,
        version: &Arc<PluginVersion>,
        source: &SourceView,
        raw: &RawRequest,
    ) -> Result<Ended<Received>, Failure> {
        let guest = self
            .plugins
            .guest(&version.row.name, &version.row.version)
            .await
            .map_err(|error| Failure::new(ReasonClass::PluginBug, "not_loadable", error.to_string()))?;
        let received_at = millis(raw.received_at);
        let context = CallContext {
            tenant_id: tenant.row.id.to_string(),
            installation_id: format!("{}/{}", tenant.row.id, installation.row.plugin),
            correlation_id: raw.correlation_id.to_string(),
            traceparent: crate::observe::trace::new_traceparent(&self.ids),
            reference: raw.key.to_string(),
            time_ms: received_at,
            sources: self.sources(installation),
            config: installation.row.config.clone(),
        };
        let calls = ReceiveCalls::new(
            self.clone(),
            tenant.clone(),
            installation.clone(),
            version.clone(),
            source.name.clone(),
            raw.received_at,
        );
        let call = Call {
            context,
            limits: Limits::resolve(&version.manifest.limits),
            seed: self.ids.random(),
            clock: VirtualClock::starting_at(received_at),
            host: Box::new(calls),
            plugin: PluginLabel { name: version.row.name.clone(), version: version.row.version.clone() },
        };
        let ended = self.sandbox.receive(&guest, inbound(raw), call).await;
        ended.count("receive");
        Ok(ended)
    }

    #[expect(clippy::too_many_arguments, reason = "everything that one accept is made of")]
    async fn store_received(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        installation: &InstallationView,
        version: &Arc<PluginVersion>,
        raw: &RawRequest,
        parked: Option<Key>,
        events: Vec<EmittedEvent>,
        poll_now: Vec<String>,
        reply: Option<Reply>,
    ) -> Result<Verdict, StoreError> {
        let origin = emit::Origin {
            correlation_id: raw.correlation_id.clone(),
            traceparent: crate::observe::trace::new_traceparent(&self.ids).into(),
            cause: None,
            request: Some(raw.key),
            hop: 0,
            time: raw.received_at,
            version,
        };
        let mut prepared = Vec::with_capacity(events.len());
        for event in events {
            match emit::prepare_one(self, tenant, installation, &origin, event).await {
                Ok(one) => prepared.push(one),
                Err(failure) => return Ok(Verdict::Neither(failure)),
            }
        }
        let schedule = |schedule| ScheduleName {
            tenant: tenant.row.id.clone(),
            plugin: installation.row.plugin.clone(),
            schedule,
        };
        let accept = Accept {
            request: (!prepared.is_empty()).then(|| raw.clone()),
            events: prepared.iter().map(crate::accept::Prepared::to_new_event).collect(),
            polls_now: poll_now.into_iter().map(schedule).collect(),
            parked: parked.map(|key| (tenant.row.id.clone(), key)),
            polls_started: Vec::new(),
        };
        if accept.events.is_empty() && accept.polls_now.is_empty() && accept.parked.is_none() {
            return Ok(Verdict::Answered(reply));
        }
        let polls = !accept.polls_now.is_empty();
        let accepted = self.store.accept(accept).await?;
        self.emitted_stored(prepared, accepted);
        failpoint::pass(Point::ReceiveBeforeAnswer).await?;
        if polls {
            self.polls_moved.notify_one();
        }
        Ok(Verdict::Answered(reply.filter(|reply| (200..300).contains(&reply.status))))
    }

    /// Notes a call; a version that keeps trapping is broken for the tenant, and its requests are parked unseen.
    async fn note_traps(self: &Arc<Self>, tenant: &Arc<TenantView>, version: &PluginVersion, trapped: bool) {
        let (id, name, number) = (&tenant.row.id, &version.row.name, &version.row.version);
        if !self.traps.note(id, name, number, "receive", trapped) {
            return;
        }
        tracing::warn!(tenant = %id, plugin = %name, version = %number, "a version keeps trapping and is broken for the tenant");
        let news = self.say_broken(tenant, name, number, None, None);
        let told = news.as_ref().map(crate::accept::Prepared::to_new_event);
        match self.store.break_version(id, name, number, told, self.queue_clock.now()).await {
            Ok(true) => {
                self.refresh(id).await;
                if let Some(news) = news {
                    news.stored(self);
                }
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, tenant = %id, plugin = %name, "a broken version is not noted yet"),
        }
    }
}

/// A request as a plugin sees it.
pub(super) fn inbound(raw: &RawRequest) -> InboundRequest {
    let header = |(name, value): &(String, Vec<u8>)| Header { name: name.clone(), value: value.clone() };
    InboundRequest {
        source_id: raw.source_id.clone(),
        method: raw.method.clone(),
        url: raw.url.clone(),
        headers: raw.headers.iter().map(header).collect(),
        body: raw.body.to_vec(),
        received_at_ms: millis(raw.received_at),
        remote_addr: raw.remote_addr.clone(),
        extensions: None,
    }
}
