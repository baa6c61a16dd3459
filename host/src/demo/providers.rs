//! The provider simulators of a stage.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use serde_json::{Map, Value};
use switchyard_simulators::{
    billy,
    clock::{SystemClock as SimulatorClock, TimeFactor},
    subscriber, twilio,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{cli::simulate::ADDRESSES, id::Ids};

/// Twilio's account in the simulator.
pub(super) const ACCOUNT_SID: &str = "AC00000000000000000000000000000001";

/// All simulators, each at an address of its own, and what opens them.
pub(super) struct Providers {
    pub(super) twilio: twilio::Handle,
    pub(super) billy: billy::Handle,
    pub(super) subscriber: subscriber::Handle,
    /// Twilio's auth token.
    pub(super) twilio_token: String,
    /// Billy's access token.
    pub(super) billy_token: String,
}

/// One simulator as it is shown to people.
pub(super) struct Shown {
    /// Its name on the command line.
    pub(super) name: &'static str,
    /// Where it listens.
    pub(super) url: String,
    /// What to try, after `switchyard simulate`.
    pub(super) example: &'static str,
}

impl Providers {
    /// Starts all of them on free ports.
    pub(super) async fn start(ids: &Ids, time_factor: u32, shutdown: &CancellationToken) -> anyhow::Result<Self> {
        let secret = || hex::encode(ids.random::<16>());
        let (twilio_token, billy_token) = (secret(), secret());
        let mut options = twilio::Options::new(ACCOUNT_SID, twilio_token.as_str(), Arc::new(SimulatorClock));
        options.time_factor = TimeFactor::new(time_factor);
        let twilio = twilio::Twilio::start(listener().await?, options, shutdown.clone())?;
        let options = billy::Options::new(billy_token.as_str(), Arc::new(SimulatorClock));
        let billy = billy::Billy::start(listener().await?, options, shutdown.clone())?;
        let options = subscriber::Options { clock: Arc::new(SimulatorClock) };
        let subscriber = subscriber::Subscriber::start(listener().await?, options, shutdown.clone())?;
        Ok(Self { twilio, billy, subscriber, twilio_token, billy_token })
    }

    /// All of them but the subscriber.
    pub(super) fn shown(&self) -> Vec<Shown> {
        let shown = |name, url, example| Shown { name, url, example };
        vec![
            shown("twilio", self.twilio.base_url(), "twilio sms --from +4520123456 --to +4570000001 --body Hej"),
            shown("billy", self.billy.base_url(), "billy fail --status 429 --times 3"),
        ]
    }

    /// The origins of the real providers that stand for simulators here, as the setting `provider_origins` takes them.
    pub(super) fn origins(&self) -> String {
        String::new()
    }

    /// Writes the addresses where `switchyard simulate` looks for them.
    pub(super) fn write_addresses(&self, folder: &Path) -> anyhow::Result<()> {
        let addresses = self.shown().into_iter().map(|shown| (shown.name.to_owned(), Value::from(shown.url)));
        let addresses: Map<String, Value> = addresses.collect();
        let file = folder.join(ADDRESSES);
        std::fs::write(&file, Value::from(addresses).to_string())
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

/// A listener on a free port of this machine.
pub(super) async fn listener() -> anyhow::Result<TcpListener> {
    Ok(TcpListener::bind("127.0.0.1:0").await?)
}
