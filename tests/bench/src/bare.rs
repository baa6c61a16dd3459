//! What the machine does without a hub: a handler that stores nothing, and one that inserts the rows that the hub would,
//! through the same group commit. Each is a process of its own, as the hub is.

use std::{net::SocketAddr, process::Stdio, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use bytes::Bytes;
use serde_json::{Value, json};
use switchyard::{
    clock::{SharedClock, SystemClock},
    event::{Event, Target, TenantId, Urgency},
    id::Ids,
    observe::trace::new_traceparent,
    store::{
        SharedStore,
        ledger::{Accept, NewDelivery, NewEvent, Start},
        postgres::{self, PostgresStore},
        registry::{AuditEntry, TenantRow},
        sqlite::{self, SqliteStore},
    },
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

use switchyard_tests::database::Database;

use crate::{Bench, options::Bare, process::Watched};

/// How long it may take to listen.
const LISTENS_WITHIN: Duration = Duration::from_secs(30);

/// A bare handler in a process of its own; it ends with this.
pub(crate) struct BareServer {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Its process.
    pub(crate) watched: Watched,
    _child: Child,
    _folder: tempfile::TempDir,
    _database: Option<Database>,
}

impl BareServer {
    pub(crate) async fn start(bench: &Bench, kind: Bare) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let server = if bench.postgres { Some(Database::fresh().await) } else { None };
        let file = || folder.path().join("bare.db").to_string_lossy().into_owned();
        let database = server.as_ref().map_or_else(file, Database::url);
        let name = match kind {
            Bare::Empty => "empty",
            Bare::Insert => "insert",
        };
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bare", name])
            .arg(database)
            // It is kept open: if this process is killed, the child reads its end and stops.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let id = child.id().context("the handler has ended")?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let line =
            tokio::time::timeout(LISTENS_WITHIN, lines.next_line()).await.context("the handler is too slow")??;
        let address = line.context("the handler does not say where it listens")?.parse()?;
        Ok(Self { address, watched: Watched::new(id), _child: child, _folder: folder, _database: server })
    }
}

struct Rows {
    store: SharedStore,
    clock: SharedClock,
    ids: Ids,
    tenant: TenantId,
    target: Target,
}

/// The process itself: prints its address and serves until its input ends.
pub(crate) async fn serve(kind: Bare, database: &str) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let router = match kind {
        Bare::Empty => Router::new().route("/{*path}", post(answer)),
        Bare::Insert => Router::new().route("/{*path}", post(insert)).with_state(Arc::new(rows(database).await?)),
    };
    println!("{}", listener.local_addr()?);
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        stream.set_nodelay(true).ok();
    });
    let mut input = tokio::io::stdin();
    tokio::select! {
        served = async { axum::serve(listener, router).await } => served?,
        _ = async { while matches!(input.read(&mut [0; 64]).await, Ok(1..)) {} } => {}
    }
    Ok(())
}

async fn answer(_: Bytes) -> (StatusCode, Json<Value>) {
    (StatusCode::ACCEPTED, Json(json!({"id": "evt_0", "duplicate": false, "correlation_id": "0"})))
}

/// The rows of a publication that matches one paused endpoint: an event and a queued delivery.
async fn insert(State(rows): State<Arc<Rows>>, body: Bytes) -> (StatusCode, Json<Value>) {
    let (key, now) = (rows.ids.next(), rows.clock.now());
    let event = Event {
        key,
        id: key.with_prefix("evt").into(),
        tenant: rows.tenant.clone(),
        event_type: "bench.sent".parse().expect("it is a type"),
        source: "api".into(),
        subject: None,
        time: now,
        accepted_at: now,
        ordering_key: None,
        correlation_id: key.to_string().into(),
        traceparent: new_traceparent(&rows.ids).into(),
        cause: None,
        request: None,
        hop: 0,
        urgency: Urgency::Normal,
        expires_at: None,
        private_to: None,
        extensions: None,
        data: String::from_utf8_lossy(&body).into(),
    };
    let event = Arc::new(event);
    let delivery = NewDelivery {
        key: rows.ids.next(),
        target: rows.target.clone(),
        start: Start::Queued,
        ordering_key: None,
        told: None,
    };
    let new = NewEvent {
        event: event.clone(),
        dedupe: None,
        persons: Vec::new(),
        changes: Vec::new(),
        deliveries: vec![delivery],
    };
    match rows.store.accept(Accept { events: vec![new], ..Accept::default() }).await {
        Ok(_) => {
            let said = json!({"id": event.id, "duplicate": false, "correlation_id": event.correlation_id});
            (StatusCode::ACCEPTED, Json(said))
        }
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"detail": error.to_string()}))),
    }
}

async fn rows(database: &str) -> anyhow::Result<Rows> {
    let clock = SystemClock::shared();
    let store: SharedStore = if database.starts_with("postgres") {
        Arc::new(PostgresStore::open(database, postgres::Options::default(), clock.clone()).await?)
    } else {
        Arc::new(SqliteStore::open(database, sqlite::Options::default(), clock.clone()).await?)
    };
    let (ids, tenant, now) = (Ids::from_os(clock.clone()), "bare".parse::<TenantId>()?, clock.now());
    let row = TenantRow {
        id: tenant.clone(),
        name: "bare".to_owned(),
        time_zone: "UTC".to_owned(),
        settings: "{}".to_owned(),
        lockdown: false,
        command_handlers: std::collections::BTreeMap::new(),
        created_at: now,
        lockdown_since: None,
        data_key: Vec::new(),
    };
    let audit = AuditEntry {
        at: now,
        tenant: Some(tenant.clone()),
        actor: "bench".to_owned(),
        action: "tenant.created".to_owned(),
        target: "bare".to_owned(),
        before: None,
        after: None,
    };
    store.create_tenant(row, audit).await?;
    let target = Target::Endpoint(ids.next());
    Ok(Rows { store, clock, ids, tenant, target })
}
