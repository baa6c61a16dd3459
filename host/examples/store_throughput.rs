//! How many events a second the store accepts, and how many attempts it claims and settles, on one SQLite file.
//!
//! `cargo run --release -p switchyard --example store_throughput -- [folder] [seconds] [phase:callers ..]`, for example
//! `data 5 accept:256 deliver:256`. Closed loops: each caller has one call under way. Every event has 1 KiB of
//! data, an id made by the hub and one delivery; `deliver` is accept, claim and settle one after another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use switchyard::{
    clock::{SharedClock, SystemClock},
    event::{Event, Target, TenantId, Urgency},
    id::{Ids, Key},
    store::{
        Ledger,
        ledger::{Accept, AttemptRow, ClaimRequest, JournalChange, NewDelivery, NewEvent, Outcome, Settle, Start},
        registry::{AuditEntry, Registry, TenantRow},
        sqlite::{Options, SqliteStore},
    },
};
use tokio::task::JoinSet;

/// What every caller shares.
struct Load {
    store: SqliteStore,
    clock: SharedClock,
    ids: Ids,
    tenant: TenantId,
    target: Target,
    done: AtomicU64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| "data".to_owned());
    let length = Duration::from_secs(arguments.next().and_then(|text| text.parse().ok()).unwrap_or(5));
    let file = format!("{folder}/throughput-{}.db", std::process::id());
    let clock = SystemClock::shared();
    let store = SqliteStore::open(&file, Options::default(), clock.clone()).await?;
    let ids = Ids::from_os(clock.clone());
    let target = Target::Endpoint(ids.next());
    let load = Arc::new(Load { store, clock, ids, tenant: "acme".parse()?, target, done: AtomicU64::new(0) });
    make_tenant(&load).await?;
    println!("{:>12} {:>12} {:>12}", "phase", "done", "per second");
    let mut phases: Vec<String> = arguments.collect();
    if phases.is_empty() {
        phases = ["accept:1", "accept:32", "accept:256", "deliver:32", "deliver:256"].map(str::to_owned).to_vec();
    }
    for phase in &phases {
        match phase.split_once(':') {
            Some(("accept", callers)) => measure(&load, phase, callers.parse()?, length, accept_until).await?,
            Some(("deliver", callers)) => measure(&load, phase, callers.parse()?, length, deliver_until).await?,
            _ => anyhow::bail!("expected accept:<callers> or deliver:<callers>, not {phase}"),
        }
    }
    load.store.close().await;
    for suffix in ["", "-wal", "-shm", ".lock"] {
        std::fs::remove_file(format!("{file}{suffix}")).ok();
    }
    Ok(())
}

async fn make_tenant(load: &Load) -> anyhow::Result<()> {
    let now = load.clock.now();
    let row = TenantRow {
        id: load.tenant.clone(),
        name: "Acme".to_owned(),
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
        tenant: Some(load.tenant.clone()),
        actor: "cli".to_owned(),
        action: "tenant.created".to_owned(),
        target: "acme".to_owned(),
        before: None,
        after: None,
    };
    Ok(load.store.create_tenant(row, audit).await?)
}

/// Runs `callers` loops until the time is over and prints their rate.
async fn measure<F>(
    load: &Arc<Load>,
    phase: &str,
    callers: usize,
    length: Duration,
    run: impl Fn(Arc<Load>, Duration) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    load.done.store(0, Ordering::Relaxed);
    let began = load.clock.monotonic();
    let mut loops = JoinSet::new();
    for _ in 0..callers {
        loops.spawn(run(load.clone(), began + length));
    }
    while let Some(end) = loops.join_next().await {
        end??;
    }
    let (done, took) = (load.done.load(Ordering::Relaxed), load.clock.monotonic() - began);
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = done as f64 / took.as_secs_f64();
    println!("{phase:>12} {done:>12} {rate:>12.0}");
    Ok(())
}

fn new_event(load: &Load, start: Start) -> (Key, Accept) {
    let (key, now) = (load.ids.next(), load.clock.now());
    let event = Event {
        key,
        id: key.with_prefix("evt").into(),
        tenant: load.tenant.clone(),
        event_type: "invoice.paid".parse().unwrap_or_else(|_| unreachable!("a type")),
        source: "api".into(),
        subject: None,
        time: now,
        accepted_at: now,
        ordering_key: None,
        correlation_id: key.to_string().into(),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        cause: None,
        request: None,
        hop: 0,
        urgency: Urgency::Normal,
        expires_at: None,
        private_to: None,
        extensions: None,
        data: format!(r#"{{"amount":"125.00","currency":"DKK","text":"{}"}}"#, "x".repeat(960)).into(),
    };
    let delivery =
        NewDelivery { key: load.ids.next(), target: load.target.clone(), start, ordering_key: None, told: None };
    let key = delivery.key;
    let new = NewEvent {
        event: Arc::new(event),
        dedupe: None,
        persons: Vec::new(),
        changes: Vec::new(),
        deliveries: vec![delivery],
    };
    (key, Accept { events: vec![new], ..Accept::default() })
}

async fn accept_until(load: Arc<Load>, end: Duration) -> anyhow::Result<()> {
    while load.clock.monotonic() < end {
        let (_, accept) = new_event(&load, Start::Queued);
        load.store.accept(accept).await?;
        load.done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Accepts, claims and settles one event after the other: three durable steps each.
async fn deliver_until(load: Arc<Load>, end: Duration) -> anyhow::Result<()> {
    while load.clock.monotonic() < end {
        let (delivery, accept) = new_event(&load, Start::Queued);
        load.store.accept(accept).await?;
        let claimed = load.store.claim(vec![ClaimRequest { delivery, epoch: 0 }], load.clock.now()).await?;
        anyhow::ensure!(claimed.len() == 1, "somebody else claimed it");
        let now = load.clock.now();
        let attempt = AttemptRow {
            started_at: now,
            duration_us: 1000,
            failure: None,
            status: Some(200),
            plugin_version: None,
            detail: Some(r#"{"body":"ok"}"#.to_owned()),
        };
        let settle = Settle {
            tenant: load.tenant.clone(),
            delivery,
            epoch: claimed[0].epoch,
            now,
            outcome: Outcome::Delivered,
            attempt: Some(attempt),
            journal: JournalChange::Clear,
            kv: Vec::new(),
            plugin: None,
            poll: None,
            emitted: Accept::default(),
            effects: Vec::new(),
            counted: None,
        };
        load.store.settle(settle).await?;
        load.done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
