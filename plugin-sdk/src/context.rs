use serde_json::Value;

use crate::error::CryptoError;
use crate::host::{Host, Level, Mac, Pair};
use crate::http::Http;
use crate::kv::Kv;

/// A public inbound address of the installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Stable identifier, part of the URL.
    pub id: String,
    /// The name under which the admin created it.
    pub name: String,
    /// Full public URL; more path segments and a query may follow it.
    pub url: String,
}

/// What a call is about, as the host gives it: the same, byte for byte, in every re-run of one record.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The tenant for whom the call runs.
    pub tenant_id: String,
    /// The installation for whom the call runs.
    pub installation_id: String,
    /// Links everything that one inbound request or command caused.
    pub correlation_id: String,
    /// W3C trace context of the run.
    pub traceparent: String,
    /// 32 lower-case hex digits, the same in every attempt of this delivery and in no other.
    pub reference: String,
    /// The run's time in milliseconds since 1970.
    pub time: u64,
    /// The inbound addresses of the installation.
    pub sources: Vec<Source>,
    /// The installation's config.
    pub config: Value,
    /// Data added inside this line of the contract.
    pub extensions: Option<Value>,
}

/// One call: its typed config, what it is about, and the way to the host.
pub struct Ctx<'a, C> {
    /// The installation's config, parsed.
    pub config: C,
    call: &'a Call,
    host: &'a dyn Host,
}

impl<'a, C> Ctx<'a, C> {
    /// Binds a call to a host; [`crate::dispatch`] does it for every export.
    pub fn new(config: C, call: &'a Call, host: &'a dyn Host) -> Self {
        Self { config, call, host }
    }

    /// The tenant for whom the call runs.
    pub fn tenant(&self) -> &str {
        &self.call.tenant_id
    }

    /// The installation for whom the call runs.
    pub fn installation(&self) -> &str {
        &self.call.installation_id
    }

    /// Links everything that one inbound request or command caused.
    pub fn correlation_id(&self) -> &str {
        &self.call.correlation_id
    }

    /// 32 hex digits, the same in every attempt of this delivery and in no other: put them where the provider keeps a
    /// client reference, so that a lost answer can be looked up.
    pub fn reference(&self) -> &str {
        &self.call.reference
    }

    /// The run's time in milliseconds since 1970.
    pub fn time(&self) -> u64 {
        self.call.time
    }

    /// The run's clock now, see [`Host::now`].
    pub fn now(&self) -> u64 {
        self.host.now()
    }

    /// The inbound addresses of the installation.
    pub fn sources(&self) -> &[Source] {
        &self.call.sources
    }

    /// The source of this id.
    pub fn source(&self, id: &str) -> Option<&Source> {
        self.call.sources.iter().find(|source| source.id == id)
    }

    /// The source of this name, else the first one.
    pub fn source_named(&self, name: &str) -> Option<&Source> {
        self.call.sources.iter().find(|source| source.name == name).or(self.call.sources.first())
    }

    /// Data added to the call inside this line of the contract.
    pub fn extensions(&self) -> Option<&Value> {
        self.call.extensions.as_ref()
    }

    /// Calls to the provider behind a connection of the manifest.
    pub fn http(&self, connection: &'a str) -> Http<'a> {
        Http::new(self.host, connection)
    }

    /// The installation's key-value data.
    pub fn kv(&self) -> Kv<'a> {
        Kv::new(self.host)
    }

    /// Whether `tag` is the MAC of `data` under `<slot>.<field>`.
    pub fn verify_mac(&self, secret: &str, algorithm: Mac, data: &[u8], tag: &[u8]) -> Result<bool, CryptoError> {
        self.host.verify_mac(secret, algorithm, data, tag)
    }

    /// Whether `token` equals `<slot>.<field>`.
    pub fn verify_token(&self, secret: &str, token: &str) -> Result<bool, CryptoError> {
        self.host.verify_token(secret, token)
    }

    /// The claims of a signed token meant for `audience`.
    pub fn verify_jwt(&self, secret: &str, token: &str, audience: &str) -> Result<Value, CryptoError> {
        self.host.verify_jwt(secret, token, audience)
    }

    /// A line for the author.
    pub fn debug(&self, message: &str, fields: &[Pair]) {
        self.host.log(Level::Debug, message, fields);
    }

    /// A fact of the run.
    pub fn info(&self, message: &str, fields: &[Pair]) {
        self.host.log(Level::Info, message, fields);
    }

    /// Something unexpected that was handled.
    pub fn warn(&self, message: &str, fields: &[Pair]) {
        self.host.log(Level::Warn, message, fields);
    }

    /// Adds to a counter of the manifest.
    pub fn count(&self, name: &str, value: u64, labels: &[Pair]) {
        self.host.counter_add(name, value, labels);
    }

    /// Adds one value to a histogram of the manifest.
    pub fn observe(&self, name: &str, value: f64, labels: &[Pair]) {
        self.host.histogram_record(name, value, labels);
    }
}
