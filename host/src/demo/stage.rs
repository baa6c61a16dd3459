//! The stage: a folder, the simulators, the hub, and a tenant with the bundled plugins on.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use secrecy::SecretString;
use serde_json::{Value, json};
use switchyard_simulators::twilio::CallEvent;
use tokio_util::sync::CancellationToken;

use super::{
    child::HubProcess,
    providers::{ACCOUNT_SID, Providers, listener},
};
use crate::{
    cli::client::{CliError, HubClient},
    clock::SystemClock,
    id::Ids,
};

/// How much faster than real time retries, polls and schedules run in the demo.
pub(super) const TIME_FACTOR: u32 = 60;

/// The tenant of the story.
pub(super) const TENANT: &str = "acme";

/// The number of the tenant.
pub(super) const NUMBER: &str = "+4570000001";

/// The Standard Webhooks secret of the generic source.
pub(super) const WEBHOOK_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// How often something is looked at again while it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Where everything of a stage lies.
pub(super) struct Folder {
    path: PathBuf,
    kept: bool,
}

impl Folder {
    /// A folder that stays.
    pub(super) fn kept(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self { path: path.canonicalize()?, kept: true })
    }

    /// The given folder, else a fresh one that goes with the demo.
    pub(super) fn of_demo(given: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(path) = given {
            return Self::kept(path);
        }
        let name = format!("switchyard-demo-{}-{}", std::process::id(), Ids::from_os(SystemClock::shared()).next());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self { path: path.canonicalize()?, kept: false })
    }
}

/// Everything that plays.
pub(super) struct Stage {
    folder: Folder,
    pub(super) hub: HubProcess,
    pub(super) hub_url: String,
    admin_key: String,
    client: HubClient,
    pub(super) providers: Providers,
    /// The public URL of the generic webhook source.
    pub(super) webhook_url: String,
    shutdown: CancellationToken,
}

impl Stage {
    /// Starts simulators and hub and makes the tenant.
    pub(super) async fn set_up(folder: Folder, time_factor: u32) -> anyhow::Result<Self> {
        let ids = Ids::from_os(SystemClock::shared());
        let shutdown = CancellationToken::new();
        let providers = Providers::start(&ids, time_factor, &shutdown).await?;
        providers.write_addresses(&folder.path)?;
        // The port is let go for the hub, which binds it again at every start.
        let address: SocketAddr = listener().await?.local_addr()?;
        let hub_url = format!("http://{address}");
        let admin_key = kept_key(&folder, &ids)?;
        let mut hub =
            HubProcess::new(folder.path.clone(), address, admin_key.clone(), time_factor, providers.origins());
        hub.start().await?;
        let client = HubClient::of_hub(&hub_url.parse()?, Some(&SecretString::from(admin_key.as_str())))?;
        let mut stage =
            Self { folder, hub, hub_url, admin_key, client, providers, webhook_url: String::new(), shutdown };
        stage.make_tenant().await.context("the tenant could not be made")?;
        stage.open_office().await.context("mail and calendar could not be switched on")?;
        stage.make_bookkeeper().await.context("the second tenant could not be made")?;
        Ok(stage)
    }

    async fn make_tenant(&mut self) -> anyhow::Result<()> {
        self.fresh_tenant(TENANT, "Acme VVS").await?;
        let twilio = json!({"provider": "twilio", "name": "twilio", "kind": "basic", "base_url": self.providers.twilio.base_url(),
            "secret": {"username": ACCOUNT_SID, "password": self.providers.twilio_token}});
        let twilio = self.connection(&twilio).await?;
        let billy = json!({"provider": "billy", "name": "billy", "kind": "header", "base_url": format!("{}/v2", self.providers.billy.base_url()),
            "secret": {"name": "X-Access-Token", "value": self.providers.billy_token}});
        let billy = self.connection(&billy).await?;
        let inbound =
            json!({"provider": "webhook", "name": "inbound", "kind": "hmac", "secret": {"secret": WEBHOOK_SECRET}});
        let inbound = self.connection(&inbound).await?;
        let voice = json!({"language": "da-DK", "greeting": "Velkommen til Acme VVS.", "goodbye": "Tak for opkaldet."});
        let config = json!({"account_sid": ACCOUNT_SID, "from": NUMBER, "voice": voice});
        let installed = self.install("twilio", &json!({"config": config, "connections": {"twilio": twilio}})).await?;
        let source = source_url(&installed)?;
        self.providers.twilio.set_sms_url(source.as_str(), None);
        let all = [CallEvent::Initiated, CallEvent::Ringing, CallEvent::Answered, CallEvent::Completed];
        self.providers.twilio.set_voice_url(format!("{source}/voice"), None);
        self.providers.twilio.set_voice_status_url(format!("{source}/call-status"), &all);
        let config = json!({"organization_id": self.providers.billy.organization_id(), "product_id": self.providers.billy.product_id()});
        self.install("billy", &json!({"config": config, "connections": {"billy": billy}})).await?;
        let config =
            json!({"scheme": {"kind": "standard-webhooks"}, "event": {"from": "fixed", "type": "order.placed"}});
        let wanted = json!({"config": config, "connections": {"inbound-base64": inbound}, "grants": ["emits:*"]});
        self.webhook_url = source_url(&self.install("webhook", &wanted).await?)?;
        Ok(())
    }

    /// Makes a tenant that nobody has used before: a playground's simulators are new, so its tenants are made anew.
    pub(super) async fn fresh_tenant(&self, id: &str, name: &str) -> anyhow::Result<()> {
        if self.client.get(&["v1", "tenants", id]).await.is_ok() {
            self.client.delete(&["v1", "tenants", id]).await?;
        }
        let tenant = json!({"id": id, "name": name, "time_zone": "Europe/Copenhagen"});
        self.post(&["v1", "tenants"], &tenant).await?;
        Ok(())
    }

    /// Makes a connection; answers its id.
    pub(super) async fn connection(&self, connection: &Value) -> anyhow::Result<String> {
        self.connection_of(TENANT, connection).await
    }

    /// Makes a connection of any tenant; answers its id.
    pub(super) async fn connection_of(&self, tenant: &str, connection: &Value) -> anyhow::Result<String> {
        id_of(&self.post(&["v1", "tenants", tenant, "connections"], connection).await?)
    }

    /// Switches a plugin on.
    pub(super) async fn install(&self, plugin: &str, wanted: &Value) -> anyhow::Result<Value> {
        self.install_for(TENANT, plugin, wanted).await
    }

    /// Switches a plugin on for any tenant.
    pub(super) async fn install_for(&self, tenant: &str, plugin: &str, wanted: &Value) -> anyhow::Result<Value> {
        let done = self.client.put(&["v1", "tenants", tenant, "plugins", plugin], wanted).await;
        done.with_context(|| format!("the plugin {plugin} could not be switched on"))
    }

    /// Adds a hostile plugin of the demo.
    pub(super) async fn push(&self, file: &str) -> anyhow::Result<()> {
        let executable = std::env::current_exe()?;
        let folder = executable.parent().unwrap_or(Path::new(".")).join("plugins/demo");
        let path = folder.join(file);
        let wasm =
            std::fs::read(&path).with_context(|| format!("cannot read {}; `make demo` builds it", path.display()))?;
        self.client.upload(&["v1", "plugins"], wasm.into(), |_| {}).await?;
        Ok(())
    }

    /// Makes an endpoint at a path of the subscriber, which verifies with its secret; answers its id.
    pub(super) async fn endpoint(&self, path: &str, types: &[&str], more: &Value) -> anyhow::Result<String> {
        self.endpoint_of(TENANT, path, types, more).await
    }

    /// The same of any tenant.
    pub(super) async fn endpoint_of(
        &self,
        tenant: &str,
        path: &str,
        types: &[&str],
        more: &Value,
    ) -> anyhow::Result<String> {
        let mut wanted = json!({"url": self.providers.subscriber.url(path), "event_types": types});
        if let (Some(wanted), Some(more)) = (wanted.as_object_mut(), more.as_object()) {
            wanted.extend(more.clone());
        }
        let made = self.post(&["v1", "tenants", tenant, "endpoints"], &wanted).await?;
        let secret = made["secret"].as_str().context("a new endpoint answers its secret")?;
        self.providers.subscriber.set_secrets(path, &[secret])?;
        id_of(&made)
    }

    /// Publishes an event; answers id and correlation id.
    pub(super) async fn publish(&self, event: &Value) -> anyhow::Result<(String, String)> {
        self.publish_of(TENANT, event).await
    }

    /// The same of any tenant.
    pub(super) async fn publish_of(&self, tenant: &str, event: &Value) -> anyhow::Result<(String, String)> {
        let said = self.post(&["v1", "tenants", tenant, "events"], event).await?;
        let correlation = said["correlation_id"].as_str().context("an event has a correlation id")?.to_owned();
        Ok((id_of(&said)?, correlation))
    }

    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, CliError> {
        self.client.post(path, body).await
    }

    /// Something of the tenant.
    pub(super) async fn get(&self, path: &[&str]) -> Result<Value, CliError> {
        let mut whole = vec!["v1", "tenants", TENANT];
        whole.extend(path);
        self.client.get(&whole).await
    }

    /// All rows of a list of the tenant.
    pub(super) async fn list(&self, path: &[&str]) -> Result<Vec<Value>, CliError> {
        let mut whole = vec!["v1", "tenants", TENANT];
        whole.extend(path);
        self.client.list(&whole).await
    }

    /// The time line of a correlation id.
    pub(super) async fn trace(&self, correlation: &str) -> Result<Value, CliError> {
        self.get(&["traces", correlation]).await
    }

    /// Deliveries to a target.
    pub(super) async fn deliveries_to(&self, target: &str) -> anyhow::Result<Vec<Value>> {
        let all = self.list(&["deliveries"]).await?;
        Ok(all.into_iter().filter(|delivery| delivery["target"] == target).collect())
    }

    /// Looks until `find` finds something.
    pub(super) async fn until<T>(
        &self,
        what: &str,
        within: Duration,
        mut find: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let looking = async {
            loop {
                if let Some(found) = find().await? {
                    return anyhow::Ok(found);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let found = tokio::time::timeout(within, looking).await;
        found.with_context(|| format!("waited {} s for {what}", within.as_secs()))?
    }

    /// Says where everything is.
    pub(super) fn introduce(&self) {
        eprintln!("Hub         {}   (docs at {}/docs)", self.hub_url, self.hub_url);
        eprintln!("Operator    export SWITCHYARD_URL={} SWITCHYARD_KEY={}", self.hub_url, self.admin_key);
        for simulator in self.providers.shown() {
            let variable = format!("SWITCHYARD_SIM_{}", simulator.name.to_uppercase());
            eprintln!("Simulator   export {variable}={}", simulator.url);
            eprintln!("            switchyard simulate {}", simulator.example);
        }
        eprintln!("Subscriber  {}", self.providers.subscriber.base_url());
        eprintln!("Files       {}", self.folder.path.display());
    }

    /// Ends hub and simulators, and removes the folder unless it is to be kept.
    pub(super) async fn tear_down(mut self) -> anyhow::Result<()> {
        self.hub.kill().await?;
        self.shutdown.cancel();
        if !self.folder.kept {
            std::fs::remove_dir_all(&self.folder.path)?;
        }
        Ok(())
    }
}

/// The operator key of a folder: made once, so that a playground can be opened again.
fn kept_key(folder: &Folder, ids: &Ids) -> anyhow::Result<String> {
    let path = folder.path.join("operator.key");
    if let Ok(key) = std::fs::read_to_string(&path) {
        return Ok(key.trim().to_owned());
    }
    let key = format!("demo-{}", hex::encode(ids.random::<16>()));
    std::fs::write(&path, &key)?;
    Ok(key)
}

pub(super) fn id_of(made: &Value) -> anyhow::Result<String> {
    made["id"].as_str().map(str::to_owned).context("the answer has no id")
}

/// The URL of an installation's first source.
pub(super) fn source_url(installed: &Value) -> anyhow::Result<String> {
    installed["sources"][0]["url"].as_str().map(str::to_owned).context("the installation has no source")
}
