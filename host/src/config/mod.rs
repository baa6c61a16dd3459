//! Settings: the defaults file, then `switchyard.toml`, then the environment.

/// Reading of the sources and what can be wrong with them.
mod load;

/// Texts that stand for durations, sizes, networks and secrets.
pub mod value;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

pub use load::{ConfigError, Origin};
pub use value::{Database, Role, Roles};

use crate::{
    broker::BrokerAddress,
    connection::origins::ProviderOrigins,
    ingress::limits::{ListenLimits, RateSettings},
    observe::logging::LogSettings,
};

/// The defaults, commented. `switchyard config` prints them.
pub const DEFAULTS: &str = include_str!("../../switchyard.default.toml");

/// Every setting of a hub, checked. What each means stands in [`DEFAULTS`]. Debug shows no secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How others reach the hub; none means the bound address.
    #[serde(deserialize_with = "value::optional_url")]
    pub public_url: Option<Url>,
    /// Where everything is stored.
    pub database_url: Database,
    /// RabbitMQ, if any.
    #[serde(deserialize_with = "value::broker_url")]
    pub broker_url: Option<BrokerAddress>,
    /// Where traces and metrics are sent, if anywhere.
    #[serde(deserialize_with = "value::optional_url")]
    pub otlp_url: Option<Url>,
    /// The keys that seal secrets at rest, if given: `id:base64,...`, as the keyring reads them.
    #[serde(deserialize_with = "value::master_keys")]
    pub master_keys: Option<SecretString>,
    /// The first operator key, if given.
    #[serde(deserialize_with = "value::admin_key")]
    pub admin_key: Option<SecretString>,
    /// Networks that may be reached although they are not public.
    #[serde(deserialize_with = "value::networks")]
    pub egress_allow: Vec<IpNet>,
    /// Where providers are instead of where manifests say.
    pub provider_origins: ProviderOrigins,
    /// What this process does.
    pub roles: Roles,
    /// Bundled plugins; none means `plugins/` beside the executable.
    #[serde(deserialize_with = "value::optional_path")]
    pub plugin_dir: Option<PathBuf>,
    /// Level and format of the log.
    pub log: LogSettings,
    /// What strangers may send.
    pub limits: ListenLimits,
    /// How often strangers may call.
    pub rates: RateSettings,
    /// How long things are kept.
    pub retention: Retention,
    /// What a busy hub may use.
    pub pool: Pool,
    /// How the hub stops.
    pub shutdown: Shutdown,
}

/// How long things are kept.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Events with their deliveries, attempts and journals.
    #[serde(deserialize_with = "value::duration")]
    pub events: Duration,
    /// Rejections.
    #[serde(deserialize_with = "value::duration")]
    pub rejections: Duration,
}

/// What a busy hub may use.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Connections that read the database.
    pub database_readers: u32,
    /// Threads that run plugins; 0 means one less than there are cores, at least one.
    pub sandbox_threads: usize,
    /// Plugin instances at once.
    pub sandbox_instances: u32,
    /// Sends to endpoints at once.
    pub sends: usize,
}

/// How the hub stops.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// How long running attempts may take to finish.
    #[serde(deserialize_with = "value::duration")]
    pub grace: Duration,
}

impl Settings {
    /// The defaults alone, as tests want them.
    ///
    /// # Errors
    ///
    /// None while the tests of this module pass.
    pub fn defaults() -> Result<Self, ConfigError> {
        load::settings(None, [])
    }

    /// Reads the file and this process's environment over the defaults. Without a file given, `switchyard.toml` in
    /// the working directory is read if it is there.
    ///
    /// # Errors
    ///
    /// A source cannot be read, has an unknown name, or a value that does not fit; the message says the fix.
    pub fn load(file: Option<&std::path::Path>) -> Result<Self, ConfigError> {
        load::settings(load::file(file)?, std::env::vars_os().filter_map(load::ours))
    }
}

#[cfg(test)]
mod tests;
