use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, response::IntoResponse as _, routing::get};
use serde_json::{Value, json};
use switchyard_tests::{
    api::{Tenant, text, until},
    hub::Hub,
    world::guest,
};
use tokio::net::TcpListener;

/// A provider that counts its calls and answers as a test says.
#[derive(Default)]
pub(super) struct Ledgers {
    pub(super) asked: AtomicUsize,
    pub(super) status: AtomicU16,
    pub(super) retry_after: std::sync::Mutex<Option<u32>>,
    pub(super) seen: std::sync::Mutex<Vec<(String, BTreeMap<String, String>)>>,
}

async fn answer(State(ledgers): State<Arc<Ledgers>>, request: axum::extract::Request) -> axum::response::Response {
    let fields = request.headers().iter();
    let fields = fields.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    ledgers
        .seen
        .lock()
        .expect("nobody panicked")
        .push((format!("{} {}", request.method(), request.uri()), fields.collect()));
    ledgers.asked.fetch_add(1, Ordering::SeqCst);
    let status = match ledgers.status.load(Ordering::SeqCst) {
        0 => StatusCode::OK,
        status => StatusCode::from_u16(status).expect("a status"),
    };
    let mut response = (status, "{\"secret-of-the-provider\":1}").into_response();
    if let Some(seconds) = *ledgers.retry_after.lock().expect("nobody panicked") {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}

pub(super) async fn ledgers() -> (Arc<Ledgers>, String) {
    let ledgers = Arc::new(Ledgers::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = Router::new().route("/{*path}", get(answer).post(answer)).with_state(ledgers.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
    (ledgers, url)
}

pub(super) fn bearer(url: &str) -> Value {
    json!({"provider": "ledgers", "name": "ledgers", "kind": "bearer", "base_url": url,
        "secret": {"token": "MARKER-a-token-for-ledgers"}})
}

pub(super) struct World {
    pub(super) hub: Hub,
    pub(super) ledgers: Arc<Ledgers>,
    pub(super) tenant: Tenant,
    pub(super) connection: String,
    pub(super) installed: Value,
}

impl World {
    pub(super) async fn new() -> Self {
        let (ledgers, url) = ledgers().await;
        let hub = Hub::builder().start().await;
        let _ = hub.push(guest("ledgers")).await.expect(201);
        let tenant = hub.tenant("acme").await;
        let connection = tenant.connection(&bearer(&url)).await;
        let wanted = json!({"grants": ["emits:*"], "connections": {"ledgers": connection}});
        let installed = tenant.install("ledgers", &wanted).await;
        Self { hub, ledgers, tenant, connection, installed }
    }

    pub(super) async fn read_entries(&self, data: Value) {
        let _ = self.tenant.publish(&json!({"type": "entries.read", "data": data})).await;
    }

    pub(super) async fn budget(&self) -> Value {
        self.tenant.get(&format!("/connections/{}", self.connection)).await.expect(200)["budget"].clone()
    }

    /// Waits until so many commands are done, however long the pace makes them take.
    async fn done(&self, count: usize) -> Vec<Value> {
        until("the commands to be done", async || {
            let all = self.tenant.all("/deliveries").await;
            let done = all.iter().filter(|delivery| delivery["state"] == "delivered").count();
            if done == count { Ok(all) } else { Err(format!("{done} of {count}")) }
        })
        .await
    }
}

#[tokio::test]
async fn a_burst_of_commands_keeps_the_pace_and_burns_no_try() {
    let world = World::new().await;
    let before = world.ledgers.asked.load(Ordering::SeqCst);
    for _ in 0..40 {
        world.read_entries(json!({})).await;
    }
    // Five at once, then five a second: that takes seven seconds, and every delivery ends well at its first try.
    let all = world.done(40).await;
    assert!(all.iter().all(|delivery| delivery["tries"] == 1), "{all:?}");
    assert_eq!(world.ledgers.asked.load(Ordering::SeqCst) - before, 40, "each asked once");
    let budget = world.budget().await;
    assert_eq!((budget["full_rate_per_s"].as_f64(), budget["lowered"].as_bool()), (Some(5.0), Some(false)), "{budget}");
}

#[tokio::test]
async fn a_run_with_many_calls_waits_inside_them() {
    let world = World::new().await;
    world.read_entries(json!({"reads": 20})).await;
    let delivery = world.tenant.delivery_in("plugin:ledgers", "delivered").await;
    assert_eq!(delivery["attempts"].as_array().map(Vec::len), Some(1), "{delivery}");
    let usage = &delivery["attempts"][0]["detail"]["usage"];
    assert!(usage["wall_ms"].as_u64().unwrap() >= 2_000, "it waited: {usage}");
    assert!(usage["cpu_ms"].as_u64().unwrap() < 200, "and that is no CPU time: {usage}");
}

#[tokio::test]
async fn a_provider_that_asks_for_less_gets_less_and_then_slowly_more() {
    let world = World::new().await;
    world.ledgers.status.store(429, Ordering::SeqCst);
    *world.ledgers.retry_after.lock().unwrap() = Some(1);
    world.read_entries(json!({})).await;
    until("the rate to be lowered", async || {
        let budget = world.budget().await;
        if budget["lowered"] == true && budget["rate_per_s"] == 2.5 { Ok(()) } else { Err(budget.to_string()) }
    })
    .await;
    world.ledgers.status.store(0, Ordering::SeqCst);
    *world.ledgers.retry_after.lock().unwrap() = None;
    let _ = world.tenant.delivery_in("plugin:ledgers", "delivered").await;
    let budget = world.budget().await;
    assert_eq!(budget["rate_per_s"], 2.6, "each good call brings a fiftieth of the full rate back: {budget}");
}

#[tokio::test]
async fn a_slow_connection_holds_nobody_else_up() {
    let world = World::new().await;
    let (other_ledgers, url) = ledgers().await;
    for _ in 0..60 {
        world.read_entries(json!({})).await;
    }
    let other = world.hub.tenant("other").await;
    let connection = other.connection(&bearer(&url)).await;
    let wanted = json!({"grants": ["emits:*"], "connections": {"ledgers": connection}});
    let _ = other.install("ledgers", &wanted).await;
    let _ = other.publish(&json!({"type": "entries.read", "data": {}})).await;
    let started = world.tenant.all("/deliveries").await;
    let waiting = started.iter().filter(|delivery| delivery["state"] != "delivered").count();
    let done = tokio::time::timeout(Duration::from_secs(3), other.delivery_in("plugin:ledgers", "delivered")).await;
    assert!(done.is_ok() && waiting > 20, "{waiting} of the slow tenant were waiting");
    assert!(other_ledgers.asked.load(Ordering::SeqCst) >= 1);
    let shown = world.tenant.list("/deliveries?state=waiting").await;
    assert!(shown.iter().all(|delivery| text(delivery, "code") == "connection_pace"), "{shown:?}");
}
