//! A plugin that misbehaves on command, on the real hub: what it may not do it cannot, what it breaks is explained, and
//! nobody else notices.

/// Components that are refused when they are added.
mod files;

/// Requests that a plugin may not make.
mod requests;

/// A component run without a hub.
mod trial;

/// Traps, limits and their explanation.
mod violations;

/// Upgrades, removals and journals.
mod versions;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

use axum::{Router, body::Body, extract::Request, response::Response};
use serde_json::{Value, json};
use switchyard_tests::{
    api::{Tenant, text, until},
    hub::Hub,
    world::guest,
};

/// The guest with `from` replaced by `to`, of equal length, wherever it stands.
#[track_caller]
fn patched(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut wasm = guest("misbehave");
    let places: Vec<_> = (0..wasm.len() - from.len()).filter(|at| wasm[*at..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty(), "the component has no `{from}`");
    for at in places {
        wasm[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    wasm
}

/// A hub with the guest, whose polls do not come again while a test runs.
async fn hub() -> Hub {
    let hub = Hub::builder().time_factor(1).start().await;
    let _ = hub.push(guest("misbehave")).await.expect(201);
    hub
}

/// A tenant that has the guest on.
async fn tenant(hub: &Hub, id: &str, more: Value) -> Tenant {
    let tenant = hub.tenant(id).await;
    install(&tenant, more).await;
    tenant
}

/// Switches the guest on; a failed run is not tried again unless `more` says so.
async fn install(tenant: &Tenant, more: Value) {
    let mut wanted = json!({"retry_schedule": [0]});
    for (name, value) in more.as_object().into_iter().flatten() {
        wanted[name] = value.clone();
    }
    let _ = tenant.install("misbehave", &wanted).await;
}

/// Gives the guest a command; answers its correlation id.
async fn command(tenant: &Tenant, data: &Value) -> String {
    text(&tenant.publish(&json!({"type": "test.do", "data": data})).await, "correlation_id")
}

/// The delivery of a command, with attempts and journal, once it `is` so.
async fn delivery(tenant: &Tenant, correlation: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let wanted = format!("the command to be {what}");
    let found = until(&wanted, async || {
        let all = tenant.list("/deliveries?target=plugin:misbehave&event_type=test.do").await;
        let ours = all.into_iter().find(|delivery| delivery["correlation_id"] == correlation);
        let ours = ours.ok_or_else(|| "no delivery".to_owned())?;
        if is(&ours) { Ok(ours) } else { Err(ours.to_string()) }
    });
    tenant.get(&format!("/deliveries/{}", text(&found.await, "id"))).await.expect(200)
}

/// The same in a state.
async fn in_state(tenant: &Tenant, correlation: &str, state: &str) -> Value {
    delivery(tenant, correlation, state, |delivery| delivery["state"] == state).await
}

/// Has the guest do something that must succeed; answers what it emitted.
async fn done(tenant: &Tenant, data: Value) -> Value {
    let correlation = command(tenant, &data).await;
    let _ = in_state(tenant, &correlation, "delivered").await;
    emitted(tenant, &correlation).await
}

/// What the run of a command emitted.
async fn emitted(tenant: &Tenant, correlation: &str) -> Value {
    let events = tenant.list(&format!("/events?type=test.done&correlation_id={correlation}")).await;
    assert_eq!(events.len(), 1, "{events:?}");
    events[0]["data"].clone()
}

/// Requests as a line and a body.
type Seen = Vec<(String, Vec<u8>)>;

/// A provider that remembers requests, repeats each of them in its answer, and says at `/second` what it is told to.
struct Provider {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    second: Arc<AtomicU16>,
    /// How many connections lead here; their names are unique.
    connections: AtomicU16,
}

impl Provider {
    async fn start() -> Self {
        let seen = Arc::new(Mutex::new(Seen::new()));
        let second = Arc::new(AtomicU16::new(200));
        let (notes, gate) = (Arc::clone(&seen), Arc::clone(&second));
        let router = Router::new().fallback(move |request: Request| {
            let (notes, gate) = (Arc::clone(&notes), Arc::clone(&gate));
            async move { answer(request, &notes, &gate).await }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, seen, second, connections: AtomicU16::new(0) }
    }

    /// A base URL with a path, which no request may leave.
    fn base(&self) -> String {
        format!("http://{}/base", self.address)
    }

    /// `POST /base/first` and the like, with the body.
    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, line: &str) -> usize {
        self.seen().iter().filter(|(seen, _)| seen == line).count()
    }

    fn say_second(&self, status: u16) {
        self.second.store(status, Ordering::SeqCst);
    }

    /// Makes a connection of the tenant to this provider.
    async fn connection(&self, tenant: &Tenant, kind: &str, secret: Value) -> String {
        let name = format!("{kind} {}", self.connections.fetch_add(1, Ordering::SeqCst));
        let wanted = json!({"provider": "own", "name": name, "kind": kind, "base_url": self.base(), "secret": secret});
        tenant.connection(&wanted).await
    }
}

async fn answer(request: Request, notes: &Mutex<Seen>, gate: &AtomicU16) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap_or_default();
    let line = format!("{} {}", parts.method, parts.uri);
    notes.lock().unwrap_or_else(PoisonError::into_inner).push((line.clone(), body.to_vec()));
    let path = parts.uri.path();
    if let Some(size) = path.strip_prefix("/base/bytes/").and_then(|size| size.parse().ok()) {
        return Response::new(Body::from(vec![b'b'; size]));
    }
    let status = if path == "/base/second" { gate.load(Ordering::SeqCst) } else { 200 };
    let fields =
        parts.headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    let mut told = Response::builder().status(status);
    for (name, value) in &parts.headers {
        told = told.header(format!("x-echo-{name}"), value);
    }
    let text = format!("{line}\n{}\n\n", fields.collect::<Vec<_>>().join("\n"));
    let body = if path == "/base/sink" { text.into_bytes() } else { [text.as_bytes(), &body].concat() };
    told.body(Body::from(body)).expect("an answer")
}
