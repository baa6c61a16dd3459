//! Wiring: from settings to a running hub.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use secrecy::ExposeSecret as _;
use tokio::{net::TcpListener, sync::Notify};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cli::{GlobalArgs, Output, ServeArgs},
    clock::{ServerClock, SharedClock, SystemClock, TimeFactor},
    cluster::Node,
    config::{Role, Settings},
    connection::{key_sets::KeySets, master_keys, pace::Paces, tokens::Tokens, vault::Vault},
    directory::{Change, Directory},
    event::catalogue::Catalogue,
    hub::Hub,
    id::Ids,
    ingress::{
        alarm::SourceAlarms,
        limits::{BodyLimits, LargeBody, RateLimits},
    },
    lifecycle::Lifecycle,
    observe::{logging, otlp::Exporter, redact::Redactor, steps::Steps},
    outbound::{
        client::HttpClient,
        egress::{EgressGuard, EgressPolicy, SystemResolver},
        publish::Publisher,
    },
    plugin::{
        registry::Plugins,
        sandbox::{Sandbox, SandboxOptions},
    },
    queue::scheduler::{Scheduler, Tuning},
    run::{shadow::ShadowQueue, traps::Traps},
    secret::{
        api_key,
        keyring::{MasterKey, MasterKeys},
    },
    store::{
        SharedStore, StoreError,
        cluster::{ChangeMark, NodeRow},
        registry::{ApiKeyRow, AuditEntry, Scope},
    },
};

/// Where everything is stored.
mod database;

/// What the process needs to go on.
mod guard;

pub(crate) use database::{Place, key_file, plugin_cache};

/// The longest time that the upload of a component may take.
const UPLOAD: Duration = Duration::from_secs(300);

/// How long closing the database may take at the end.
const CLOSING: Duration = Duration::from_secs(5);

/// What a process is started with besides its settings.
pub struct Start {
    /// The configuration.
    pub settings: Settings,
    /// The bound listener.
    pub listener: TcpListener,
    /// How much faster than real time retries, polls and schedules run.
    pub time_factor: TimeFactor,
    /// Time.
    pub clock: SharedClock,
    /// The tokens and tasks of the process.
    pub lifecycle: Lifecycle,
}

/// A hub that runs.
pub struct Running {
    /// The hub.
    pub hub: Arc<Hub>,
    /// The operator key that was made because none was given; printed once and kept nowhere.
    pub made_admin_key: Option<String>,
}

/// Opens everything, brings the queue back to life, and serves until the lifecycle stops. Returns once it serves.
///
/// # Errors
/// Anything that keeps the hub from starting, in words that say what to do.
pub async fn start(start: Start) -> anyhow::Result<Running> {
    let Start { settings, listener, time_factor, clock, lifecycle } = start;
    let settings = Arc::new(settings);
    let database::Opened { store, queue_clock, server_clock } = database::open(&settings, &clock).await?;
    // Keys order deliveries, so that they must not step back either.
    let ids = Ids::from_os(queue_clock.clone());
    let keys = database::keyring(&settings, &ids)?;
    check_master_keys(&store, &keys).await?;
    let vault = Arc::new(Vault::new(keys, ids.clone()));
    let made_admin_key = ensure_admin_key(&store, &settings, &ids, &clock).await?;
    let node = node(&settings, server_clock, &ids, &clock, listener.local_addr()?);
    // Marked before the first look, so that no change of another node falls between.
    let mark = if node.is_shared() { store.changes(&ChangeMark::default()).await?.mark } else { ChangeMark::default() };
    let directory = Directory::new(store.clone(), vault.clone());
    directory.load_all().await.context("what the database holds cannot be opened")?;
    let sandbox = Arc::new(make_sandbox(&settings, &store, &ids, &clock).await?);
    let plugins = Plugins::new(sandbox.clone(), store.clone(), directory.clone(), clock.clone());
    let public_url = match &settings.public_url {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => format!("http://{}", listener.local_addr()?),
    };
    // A tenant must not reach the hub itself by its public address; one that listens on all has no address to tell.
    let own = Some(listener.local_addr()?.ip()).filter(|address| !address.is_unspecified()).into_iter().collect();
    let policy = EgressPolicy::new(settings.egress_allow.clone(), own);
    let guard = EgressGuard::new(policy, Arc::new(SystemResolver::new()));
    let tuning = Tuning {
        send_slots: u32::try_from(settings.pool.sends).unwrap_or(u32::MAX),
        run_slots: settings.pool.sandbox_instances.saturating_sub(8).max(1),
        breaker_open: time_factor.scale(Tuning::default().breaker_open),
        ..Tuning::default()
    };
    let client = HttpClient::new(guard.clone())?;
    let (steps, taken) = match &settings.otlp_url {
        Some(_) => Steps::taken(),
        None => (Steps::default(), tokio::sync::mpsc::channel(1).1),
    };
    let hub = Arc::new(Hub {
        steps,
        rates: RateLimits::new(settings.rates, &clock),
        key_sets: KeySets::new(client.clone(), clock.clone()),
        client,
        publisher: Publisher::new(guard, clock.clone()),
        catalogue: ArcSwap::from_pointee(Catalogue::default()),
        node,
        scheduler: std::sync::Mutex::new(Scheduler::new(tuning)),
        alarms: SourceAlarms::default(),
        paces: Paces::default(),
        tokens: Tokens::default(),
        traps: Traps::default(),
        shadows: ShadowQueue::default(),
        previews: tokio::sync::Semaphore::new(crate::run::preview::AT_ONCE),
        tick_moved: Notify::new(),
        polls_moved: Notify::new(),
        parked_moved: Notify::new(),
        privacy_moved: Notify::new(),
        tasks: TaskTracker::new(),
        hard_stop: lifecycle.hard(),
        clock,
        queue_clock,
        ids,
        time_factor,
        store,
        vault,
        directory,
        sandbox,
        plugins,
        settings,
        public_url,
    });
    register_bundled(&hub).await?;
    hub.rebuild_catalogue();
    if !hub.node.is_shared() {
        hub.begin_alone().await?;
    }
    hub.recall_erasures().await.context("the list of erasures beside the database cannot be followed")?;
    if let Some(url) = &hub.settings.otlp_url {
        let exporter = Exporter::new(url, &hub.node.row.name, hub.clock.clone()).context("otlp_url cannot be used")?;
        lifecycle.spawn("telemetry", exporter.run(taken, lifecycle.soft()));
    }
    spawn(&hub, listener, mark, &lifecycle);
    Ok(Running { hub, made_admin_key })
}

/// What this process is among others.
fn node(
    settings: &Settings,
    server_clock: Option<Arc<ServerClock>>,
    ids: &Ids,
    clock: &SharedClock,
    address: std::net::SocketAddr,
) -> Arc<Node> {
    // Only for people to tell nodes apart, so that a system without it has none.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let row = NodeRow {
        id: ids.next(),
        name: format!("{}:{}", host.trim(), address.port()),
        roles: settings.roles.names(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    match server_clock {
        Some(server_clock) => Node::among_others(row, clock.clone(), server_clock, settings.broker_url.clone()),
        None => Node::alone(row, clock.clone()),
    }
}

/// Refuses master keys that do not fit the data: another key under a known name, or none for what one wraps. Then
/// remembers the fingerprint of every one, so that it is known from here on.
async fn check_master_keys(store: &SharedStore, keys: &MasterKeys) -> anyhow::Result<()> {
    let name = |key: &MasterKey| format!("master_key:{}", key.id());
    let check = |key: &MasterKey, known: &[u8]| keys.check(key.id(), &String::from_utf8_lossy(known));
    let mut new = Vec::new();
    for key in keys.iter() {
        match store.meta(&name(key)).await? {
            Some(known) => check(key, &known)?,
            None => new.push(key),
        }
    }
    master_keys::require(keys, &store.wrapped_keys().await?)?;
    for key in new {
        // Another node may have brought another key of this name since.
        check(key, &store.first_meta(&name(key), key.fingerprint().into_bytes()).await?)?;
    }
    Ok(())
}

/// Makes sure that there is an operator key: the configured one, or, when there is no key at all, a new one that is
/// returned to be printed once.
async fn ensure_admin_key(
    store: &SharedStore,
    settings: &Settings,
    ids: &Ids,
    clock: &SharedClock,
) -> anyhow::Result<Option<String>> {
    let existing = store.api_keys().await?;
    let (text, hash, made) = match &settings.admin_key {
        Some(text) => (text.expose_secret().to_owned(), api_key::hash(text.expose_secret()), false),
        None if existing.is_empty() => {
            let made = api_key::generate(ids);
            (made.text.expose_secret().to_owned(), made.hash, true)
        }
        None => return Ok(None),
    };
    if existing.iter().any(|key| key.hash == hash) {
        return Ok(None);
    }
    let (key, now) = (ids.next(), clock.now());
    let row = ApiKeyRow {
        key,
        hash,
        hint: text.chars().take(4).collect(),
        name: "bootstrap operator key".to_owned(),
        tenant: None,
        scope: Scope::Operator,
        emergency: true,
        created_at: now,
        expires_at: None,
        last_used_at: None,
    };
    let audit = AuditEntry {
        at: now,
        tenant: None,
        actor: "host".to_owned(),
        action: "key.created".to_owned(),
        target: key.with_prefix("key"),
        before: None,
        after: None,
    };
    match store.create_api_key(row, audit).await {
        Ok(()) => Ok(made.then_some(text)),
        // Another node that starts with the same key was first.
        Err(StoreError::Conflict(_)) if !made => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn make_sandbox(
    settings: &Settings,
    store: &SharedStore,
    ids: &Ids,
    clock: &SharedClock,
) -> anyhow::Result<Sandbox> {
    let cache_key = store.first_meta("plugin_cache_key", ids.random::<32>().to_vec()).await?;
    let cache_key =
        <[u8; 32]>::try_from(cache_key).map_err(|_| anyhow::anyhow!("the plugin cache's key is damaged"))?;
    let options = SandboxOptions {
        pool_size: settings.pool.sandbox_instances,
        threads: settings.pool.sandbox_threads,
        cache_dir: Some(plugin_cache(&settings.database_url)),
        cache_key,
    };
    Ok(Sandbox::new(options, clock.clone())?)
}

/// The configured folder, else `plugins/` beside the executable.
pub(crate) fn plugin_dir(settings: &Settings) -> anyhow::Result<PathBuf> {
    if let Some(path) = &settings.plugin_dir {
        return Ok(path.clone());
    }
    let executable = std::env::current_exe().context("the executable's own path cannot be read")?;
    Ok(executable.parent().map_or_else(|| PathBuf::from("plugins"), |folder| folder.join("plugins")))
}

/// Registers the bundled plugins. Without the folder the hub starts with what its database has.
async fn register_bundled(hub: &Arc<Hub>) -> anyhow::Result<()> {
    let folder = plugin_dir(&hub.settings)?;
    match hub.plugins.add_folder(&folder).await {
        Ok(new) if new > 0 => tracing::info!(versions = new, "registered bundled plugins"),
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "no bundled plugins; set SWITCHYARD_PLUGIN_DIR")
        }
    }
    Ok(())
}

fn spawn(hub: &Arc<Hub>, listener: TcpListener, mark: ChangeMark, lifecycle: &Lifecycle) {
    let mut router = crate::api::router(hub.clone()).merge(crate::ingress::receive::router(hub.clone()));
    if !hub.settings.roles.has(Role::Api) {
        router = crate::api::health_only(router);
    }
    let mut limits = hub.settings.limits.clone();
    let component =
        BodyLimits { bytes: crate::plugin::registry::MAX_WASM, idle: limits.body_idle_timeout, deadline: UPLOAD };
    limits.large_bodies.push(LargeBody { path: "/v1/plugins", limits: component });
    limits.connections = limits.connections.min(guard::connections_within_descriptors());
    let serving = crate::ingress::listen::serve(listener, router, limits, lifecycle.soft());
    lifecycle.spawn("listen", serving);
    lifecycle.spawn("ticks", hub.clone().run_ticks(lifecycle.soft()));
    lifecycle.spawn("member", hub.clone().run_member(lifecycle.soft()));
    lifecycle.spawn("broker", hub.clone().run_broker(lifecycle.soft()));
    lifecycle.spawn("ringing", hub.clone().run_ringing(lifecycle.soft()));
    lifecycle.spawn("listening", hub.clone().run_listening(lifecycle.soft()));
    lifecycle.spawn("feed", hub.clone().run_feed(mark, lifecycle.soft()));
    lifecycle.spawn("schedules", hub.clone().run_schedules(lifecycle.soft()));
    lifecycle.spawn("parked", hub.clone().run_parked(lifecycle.soft()));
    lifecycle.spawn("privacy", hub.clone().run_privacy(lifecycle.soft()));
    lifecycle.spawn("sweeps", hub.clone().run_sweeps(lifecycle.soft()));
    lifecycle.spawn("database", guard::watch_database(hub.clone(), lifecycle.soft()));
    lifecycle.spawn("changes", follow_changes(hub.clone(), lifecycle.soft()));
    lifecycle.spawn("shadows", hub.clone().run_shadows(lifecycle.soft()));
    if hub.settings.roles.has(Role::Api) {
        lifecycle.spawn("consumers", hub.clone().run_consumers(lifecycle.soft()));
    }
    lifecycle.spawn("publisher", hub.publisher.clone().tidy(lifecycle.soft()));
    lifecycle.spawn("drain", drain(hub.clone(), lifecycle.soft()));
    lifecycle.spawn("metrics", crate::observe::metrics::keep(lifecycle.soft()));
}

/// Gives lanes their limits again, and parked requests another chance, whenever an admin changed something.
async fn follow_changes(hub: Arc<Hub>, stop: CancellationToken) {
    let mut changes = hub.directory.changes();
    loop {
        let change = tokio::select! {
            () = stop.cancelled() => return,
            change = changes.recv() => change,
        };
        match change {
            Ok(Change::Tenant(tenant)) => {
                hub.reconsider(&tenant);
                hub.let_go_of_brokers();
                hub.try_upgrades(&tenant).await;
            }
            Ok(Change::Plugins) | Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {
                hub.rebuild_catalogue();
                for tenant in hub.directory.view().tenants.keys() {
                    hub.reconsider(tenant);
                }
                hub.call_all_upgrades().await;
            }
            Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
        }
        hub.parked_moved.notify_one();
        hub.polls_moved.notify_one();
    }
}

/// After the soft stop: nothing starts any more, and what runs may finish.
async fn drain(hub: Arc<Hub>, stop: CancellationToken) {
    stop.cancelled().await;
    hub.feed(crate::queue::scheduler::Input::Stop);
    hub.tasks.close();
    hub.tasks.wait().await;
}

impl Hub {
    /// Ends connections to brokers whose endpoints are changed, paused or gone.
    fn let_go_of_brokers(&self) {
        let view = self.directory.view();
        self.publisher.keep_only(|key| {
            let endpoint = view.tenants.values().find_map(|tenant| tenant.endpoints.get(&key))?;
            endpoint.exchange.clone().filter(|_| endpoint.hold().is_none())
        });
    }

    /// Builds the catalogue from all plugin versions anew.
    pub fn rebuild_catalogue(&self) {
        let view = self.directory.view();
        let versions = view.plugins.values().flatten().map(|version| (version.row.created_at, &version.manifest));
        self.catalogue.store(Arc::new(Catalogue::build(versions)));
    }
}

/// `switchyard serve`: runs until it is told to stop.
///
/// # Errors
/// Anything that keeps the hub from starting, or ended it.
pub async fn serve(args: &ServeArgs, global: &GlobalArgs) -> anyhow::Result<()> {
    let settings = Settings::load(global.config.as_deref())?;
    let clock = SystemClock::shared();
    let redactor = Arc::new(Redactor::default());
    let broker = settings.broker_url.as_ref().map(crate::broker::BrokerAddress::password);
    for secret in [&settings.admin_key, &settings.master_keys].into_iter().flatten().chain(broker) {
        redactor.register(secret.expose_secret().as_bytes());
    }
    database::hide_password(&settings.database_url, &redactor);
    let log = logging::start(&settings.log, redactor, clock.clone())?;
    let grace = settings.shutdown.grace;
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("cannot listen on {}: set SWITCHYARD_LISTEN to a free address", settings.listen))?;
    let address = listener.local_addr()?;
    let lifecycle = Lifecycle::new();
    let time_factor = TimeFactor::new(args.time_factor);
    let running = start(Start { settings, listener, time_factor, clock, lifecycle: lifecycle.clone() }).await?;
    if let Some(key) = &running.made_admin_key {
        // Not through the log: it is shown once, to the person who started the hub.
        eprintln!("The first operator key, shown only now: {key}");
    }
    tracing::info!(address = %address, "ready");
    let ending = lifecycle.finished(grace).await?;
    // A file whose log was written back is a whole backup by itself.
    if tokio::time::timeout(CLOSING, running.hub.store.close()).await.is_err() {
        tracing::warn!("the database was not closed in time; its log is read back at the next start");
    }
    tracing::info!(?ending, "stopped");
    log.flush();
    anyhow::ensure!(ending != crate::lifecycle::Ending::Failed, "a part of the hub ended unexpectedly; see the log");
    Ok(())
}

/// `switchyard openapi`: the document of the interface.
///
/// # Errors
/// Standard output is closed.
pub fn print_openapi(output: Output) -> anyhow::Result<()> {
    let document = crate::api::openapi_document();
    Ok(output.result(&document, |document| format!("{document:#}"))?)
}
