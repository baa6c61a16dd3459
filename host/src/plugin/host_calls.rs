//! What a plugin asks of its caller: one method for each import.

use std::{any::Any, fmt};

use async_trait::async_trait;

use super::model::{
    CryptoError, HttpError, HttpRequest, HttpResponse, KvEntry, KvError, KvOptions, KvPage, LogLine, Mac, MetricSample,
    SwapResult,
};

/// Ends the attempt from the host's side: a journal mismatch, a lost compare-and-swap, a lost lease. It comes out
/// of the sandbox as `CallEnd::Stopped`; the guest never sees it and so cannot swallow it.
pub struct Stop(pub Box<dyn std::error::Error + Send + Sync>);

impl Stop {
    /// Stops with this cause.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }

    /// Stops a `describe` that calls `import`.
    pub(super) fn in_describe(import: &str) -> Self {
        Self::new(format!("`describe` called the import `{import}`; only `log` may be used there"))
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stop({})", self.0)
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Stop {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

/// The answer to a host call: an outer error ends the attempt, an inner one is the guest's to handle.
pub type Answer<T, E> = Result<Result<T, E>, Stop>;

/// The caller's side of one plugin call. The sandbox counts operations and log bytes and asks only while the
/// budget lasts; grants, journal and secrets are the implementation's. The wall limit may drop a method's future
/// at any await, after which [`Ended::host`](super::sandbox::Ended) is what the method left behind.
#[async_trait]
pub trait HostCalls: Send + Any {
    /// Sends one request to a provider.
    async fn http_send(&mut self, request: HttpRequest) -> Answer<HttpResponse, HttpError>;

    /// Reads one key.
    async fn kv_get(&mut self, key: String) -> Answer<Option<KvEntry>, KvError>;

    /// Reads up to 100 keys; the answers are in the order of the keys.
    async fn kv_get_many(&mut self, keys: Vec<String>) -> Answer<Vec<Option<KvEntry>>, KvError>;

    /// Writes, whatever is there.
    async fn kv_set(&mut self, key: String, value: Vec<u8>, options: KvOptions) -> Answer<(), KvError>;

    /// Removes.
    async fn kv_delete(&mut self, key: String) -> Answer<(), KvError>;

    /// Writes if the key is at `expected`, where none means absent.
    async fn kv_swap(
        &mut self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        options: KvOptions,
    ) -> Answer<SwapResult, KvError>;

    /// Lists keys that begin with `prefix`, at most `limit` (1 to 1,000).
    async fn kv_list_keys(&mut self, prefix: String, cursor: Option<String>, limit: u32) -> Answer<KvPage, KvError>;

    /// Whether `tag` is the MAC of `data` under the named secret.
    async fn verify_mac(
        &mut self,
        secret: String,
        algorithm: Mac,
        data: Vec<u8>,
        tag: Vec<u8>,
    ) -> Answer<bool, CryptoError>;

    /// Whether `token` equals the named secret.
    async fn verify_token(&mut self, secret: String, token: String) -> Answer<bool, CryptoError>;

    /// The claims, JSON, of a signed token meant for `audience`.
    async fn verify_jwt(&mut self, secret: String, token: String, audience: String) -> Answer<String, CryptoError>;

    /// Keeps one line of the run record.
    fn log(&mut self, line: LogLine);

    /// Takes one reported number.
    fn metric(&mut self, sample: MetricSample);

    /// Gives the caller its own type back: `host.into_any().downcast::<Mine>()`.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
}

/// The host of a call that may ask for nothing but `log`: every other import ends it.
#[derive(Debug, Default)]
pub struct DeniedHost {
    /// The lines that the guest logged.
    pub lines: Vec<LogLine>,
}

fn denied<T, E>(import: &str) -> Answer<T, E> {
    Err(Stop::in_describe(import))
}

#[async_trait]
impl HostCalls for DeniedHost {
    async fn http_send(&mut self, _: HttpRequest) -> Answer<HttpResponse, HttpError> {
        denied("http.send")
    }

    async fn kv_get(&mut self, _: String) -> Answer<Option<KvEntry>, KvError> {
        denied("kv.get")
    }

    async fn kv_get_many(&mut self, _: Vec<String>) -> Answer<Vec<Option<KvEntry>>, KvError> {
        denied("kv.get-many")
    }

    async fn kv_set(&mut self, _: String, _: Vec<u8>, _: KvOptions) -> Answer<(), KvError> {
        denied("kv.set")
    }

    async fn kv_delete(&mut self, _: String) -> Answer<(), KvError> {
        denied("kv.delete")
    }

    async fn kv_swap(&mut self, _: String, _: Option<u64>, _: Vec<u8>, _: KvOptions) -> Answer<SwapResult, KvError> {
        denied("kv.swap")
    }

    async fn kv_list_keys(&mut self, _: String, _: Option<String>, _: u32) -> Answer<KvPage, KvError> {
        denied("kv.list-keys")
    }

    async fn verify_mac(&mut self, _: String, _: Mac, _: Vec<u8>, _: Vec<u8>) -> Answer<bool, CryptoError> {
        denied("crypto.verify-mac")
    }

    async fn verify_token(&mut self, _: String, _: String) -> Answer<bool, CryptoError> {
        denied("crypto.verify-token")
    }

    async fn verify_jwt(&mut self, _: String, _: String, _: String) -> Answer<String, CryptoError> {
        denied("crypto.verify-jwt")
    }

    fn log(&mut self, line: LogLine) {
        self.lines.push(line);
    }

    fn metric(&mut self, _: MetricSample) {}

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}
