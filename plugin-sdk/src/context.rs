use serde_json::Value;

use crate::error::{CryptoError, PluginError};
use crate::host::{Host, KvOptions, Level, Mac, Pair};
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

    pub(crate) fn host(&self) -> &'a dyn Host {
        self.host
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

    /// Notes that something ends `at` (milliseconds since 1970) unless somebody or something renews it: a watch, a
    /// channel, a subscription. The hub lists it in the tenant's forecast until it is noted anew or
    /// [`Ctx::expires_no_more`]. `renews` says that the plugin itself renews it in time; `what` is for people and names
    /// nobody. It is kept in kv under `expires/<name>`.
    ///
    /// # Errors
    /// As a kv write.
    pub fn expires(&self, name: &str, at: u64, what: &str, renews: bool) -> Result<(), PluginError> {
        let note = serde_json::json!({"at": at, "what": what, "renews": renews});
        self.kv().set_json(&format!("expires/{name}"), &note, &KvOptions::default())
    }

    /// Takes back what [`Ctx::expires`] noted under this name.
    ///
    /// # Errors
    /// As a kv write.
    pub fn expires_no_more(&self, name: &str) -> Result<(), PluginError> {
        Ok(self.kv().delete(&format!("expires/{name}"))?)
    }

    /// Whether `tag` is the MAC of `data` under `<slot>.<field>`.
    pub fn verify_mac(&self, secret: &str, algorithm: Mac, data: &[u8], tag: &[u8]) -> Result<bool, CryptoError> {
        self.host.verify_mac(secret, algorithm, data, tag)
    }

    /// Whether `token` equals `<slot>.<field>`.
    pub fn verify_token(&self, secret: &str, token: &str) -> Result<bool, CryptoError> {
        self.host.verify_token(secret, token)
    }

    /// The claims of a token meant for `audience` and signed by the issuer that the secret `slot` names. Its time is judged
    /// at the request's arrival with a minute of leeway.
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
