//! A hub as a child process beside a simulated Billy, for tests that kill it, and a client of its interface.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use secrecy::SecretString;
use serde_json::{Value, json};
use switchyard::cli::client::{CliError, HubClient};
use switchyard_simulators::{billy, clock::SystemClock};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};
use tokio_util::sync::CancellationToken;

/// How much faster than real time retries and polls run.
const TIME_FACTOR: &str = "60";

/// How long anything may take that is waited for.
pub const LIMIT: Duration = Duration::from_secs(90);

const ADMIN_KEY: &str = "an-operator-key-for-tests-only";

const BILLY_TOKEN: &str = "billys-token-for-tests-only";

/// A hub with one tenant, `acme`.
pub struct Stage {
    folder: TempDir,
    address: SocketAddr,
    child: Option<Child>,
    client: HubClient,
    pub billy: billy::Handle,
    connection: Option<String>,
    shutdown: CancellationToken,
}

impl Stage {
    /// Starts Billy and a hub whose bundled plugins are the given files, and makes the tenant.
    pub async fn set_up(plugins: &[(&str, PathBuf)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("plugins")).expect("a folder for plugins");
        for (name, file) in plugins {
            let wasm =
                std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}; run `make build`", file.display()));
            std::fs::write(folder.path().join("plugins").join(name), wasm).expect("the plugin is copied");
        }
        let shutdown = CancellationToken::new();
        let options = billy::Options::new(BILLY_TOKEN, Arc::new(SystemClock));
        let billy = billy::Billy::start(listener().await, options, shutdown.clone()).expect("Billy starts");
        // The port is let go for the hub, which binds it again at every start.
        let address = listener().await.local_addr().expect("an address");
        let url = format!("http://{address}").parse().expect("a URL");
        let client = HubClient::of_hub(&url, Some(&SecretString::from(ADMIN_KEY))).expect("a client");
        let mut stage = Self { folder, address, child: None, client, billy, connection: None, shutdown };
        stage.start().await;
        stage.client.post(&["v1", "tenants"], &json!({"id": "acme", "name": "Acme"})).await.expect("a tenant");
        stage
    }

    /// Starts the hub on its files and waits until it answers.
    pub async fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("hub.log"));
        let child = Command::new(executable())
            .args(["serve", "--time-factor", TIME_FACTOR])
            .current_dir(self.folder.path())
            .env("SWITCHYARD_LISTEN", self.address.to_string())
            .env("SWITCHYARD_DATABASE_URL", format!("sqlite:{}", self.folder.path().join("hub.db").display()))
            .env("SWITCHYARD_ADMIN_KEY", ADMIN_KEY)
            .env("SWITCHYARD_PLUGIN_DIR", self.folder.path().join("plugins"))
            .env("SWITCHYARD_EGRESS_ALLOW", "127.0.0.0/8")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .kill_on_drop(true)
            .spawn();
        self.child = Some(child.expect("the hub starts"));
        let client = &self.client;
        until("the hub to answer", async || client.get(&["v1", "status"]).await.ok()).await;
    }

    /// Kills the hub as a power cut would.
    pub async fn kill(&mut self) {
        self.child.take().expect("a hub runs").kill().await.expect("it is killed");
    }

    /// Switches a plugin on.
    pub async fn install(&self, plugin: &str, wanted: &Value) {
        let path = ["v1", "tenants", "acme", "plugins", plugin];
        let done = self.client.put(&path, wanted).await;
        done.unwrap_or_else(|error| panic!("{plugin} is not switched on: {error}"));
    }

    /// Switches Billy's plugin on, or changes its config.
    pub async fn install_billy(&mut self, payment_terms_days: u32) {
        if self.connection.is_none() {
            let wanted = json!({"provider": "billy", "name": "billy", "kind": "header",
                "base_url": format!("{}/v2", self.billy.base_url()),
                "secret": {"name": "X-Access-Token", "value": BILLY_TOKEN}});
            let made =
                self.client.post(&["v1", "tenants", "acme", "connections"], &wanted).await.expect("a connection");
            self.connection = made["id"].as_str().map(str::to_owned);
        }
        let config = json!({"organization_id": self.billy.organization_id(), "product_id": self.billy.product_id(),
            "payment_terms_days": payment_terms_days});
        self.install("billy", &json!({"config": config, "connections": {"billy": self.connection}})).await;
    }

    /// Orders an invoice; answers the command's correlation id.
    pub async fn order_invoice(&self, customer: &str) -> String {
        let command = json!({"type": "invoice.create", "data": {"customer": {"name": customer, "email": "a@example.test"},
            "lines": [{"description": "Work", "quantity": 2, "unit_price": "400.00"}]}});
        self.publish(&command).await
    }

    /// Publishes an event; answers its correlation id.
    pub async fn publish(&self, event: &Value) -> String {
        let said = self.client.post(&["v1", "tenants", "acme", "events"], event).await.expect("the event is accepted");
        said["correlation_id"].as_str().expect("a correlation id").to_owned()
    }

    /// Something of the tenant.
    pub async fn post(&self, path: &[&str], body: &Value) -> Result<Value, CliError> {
        self.client.post(&of_tenant(path), body).await
    }

    /// A list of the tenant.
    pub async fn list(&self, path: &[&str]) -> Vec<Value> {
        self.client.list(&of_tenant(path)).await.expect("a list")
    }

    /// The delivery of a correlation id to Billy's plugin, with attempts and journal, once it is in `state`.
    pub async fn run(&self, correlation: &str, state: &str) -> Value {
        let what = format!("the run to be {state}");
        let found = until(&what, async || {
            let all = self.list(&["deliveries"]).await;
            let ours = |delivery: &Value| {
                delivery["target"] == "plugin:billy"
                    && delivery["correlation_id"] == correlation
                    && delivery["state"] == state
            };
            all.into_iter().find(ours)
        });
        let id = found.await["id"].as_str().expect("an id").to_owned();
        self.client.get(&of_tenant(&["deliveries", &id])).await.expect("a delivery")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Looks until there is something, for a bounded time.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    let found = tokio::time::timeout(LIMIT, looking).await;
    found.unwrap_or_else(|_| panic!("waited {} s for {what}", LIMIT.as_secs()))
}

/// The folder in which this test's own binary was built, without `deps`.
fn built() -> PathBuf {
    let own = std::env::current_exe().expect("the test's own path");
    own.ancestors().nth(2).expect("target/<profile>/deps/<test>").to_owned()
}

fn executable() -> PathBuf {
    let hub = built().join("switchyard");
    assert!(hub.exists(), "{} is not there: `make build` builds it", hub.display());
    hub
}

/// A bundled plugin as `make build` placed it.
pub fn bundled(name: &str) -> PathBuf {
    built().join("plugins").join(name)
}

/// A file of the tests' data.
pub fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(path)
}

fn of_tenant<'a>(path: &[&'a str]) -> Vec<&'a str> {
    ["v1", "tenants", "acme"].into_iter().chain(path.iter().copied()).collect()
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}
