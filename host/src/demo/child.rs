//! The hub as a child process, which can be killed and started again on its files.

use std::{net::SocketAddr, path::PathBuf, process::Stdio, time::Duration};

use anyhow::Context as _;
use http_body_util::Empty;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::process::{Child, Command};

/// How long a hub may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A hub that runs, or ran, on a folder.
pub(super) struct HubProcess {
    folder: PathBuf,
    address: SocketAddr,
    admin_key: String,
    time_factor: u32,
    /// The setting `provider_origins`; empty is none.
    origins: String,
    child: Option<Child>,
}

impl HubProcess {
    pub(super) const fn new(
        folder: PathBuf,
        address: SocketAddr,
        admin_key: String,
        time_factor: u32,
        origins: String,
    ) -> Self {
        Self { folder, address, admin_key, time_factor, origins, child: None }
    }

    /// Starts the hub and waits until it is ready.
    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        let executable = std::env::current_exe().context("the executable's own path cannot be read")?;
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("hub.log"))?;
        let mut command = Command::new(executable);
        if !self.origins.is_empty() {
            command.env("SWITCHYARD_PROVIDER_ORIGINS", &self.origins);
        }
        let child = command
            .arg("serve")
            .args(["--time-factor", &self.time_factor.to_string()])
            .current_dir(&self.folder)
            .env("SWITCHYARD_LISTEN", self.address.to_string())
            .env("SWITCHYARD_DATABASE_URL", format!("sqlite:{}", self.folder.join("switchyard.db").display()))
            .env("SWITCHYARD_ADMIN_KEY", &self.admin_key)
            .env("SWITCHYARD_EGRESS_ALLOW", "127.0.0.0/8")
            .env_remove("SWITCHYARD_URL")
            .env_remove("SWITCHYARD_KEY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("the hub cannot be started")?;
        self.child = Some(child);
        let ready = tokio::time::timeout(READY_WITHIN, self.until_ready()).await;
        ready
            .with_context(|| format!("the hub was not ready within {} s; see {}", READY_WITHIN.as_secs(), self.log()))?
    }

    async fn until_ready(&mut self) -> anyhow::Result<()> {
        let client: Client<_, Empty<bytes::Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let ready: http::Uri = format!("http://{}/readyz", self.address).parse()?;
        loop {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().transpose()).transpose()? {
                anyhow::bail!("the hub ended with {status}; see {}", self.log());
            }
            if client.get(ready.clone()).await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Kills the hub with SIGKILL, as a power cut would.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await.context("the hub could not be killed")?;
        }
        Ok(())
    }

    fn log(&self) -> String {
        self.folder.join("hub.log").display().to_string()
    }
}
