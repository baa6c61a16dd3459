use std::time::Duration;

use serde_json::Value;

use crate::error::{CryptoError, HttpError, KvError};

/// An HTTP method. GET and HEAD are reads; every other one is a write unless the request says it only asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PUT; may be repeated when its outcome is unknown.
    Put,
    /// PATCH.
    Patch,
    /// DELETE; may be repeated when its outcome is unknown.
    Delete,
    /// Any other token, in upper case.
    Other(String),
}

impl Method {
    /// The token as it goes over the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Other(token) => token,
        }
    }
}

/// How a provider recognises a write that it receives twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Idempotency {
    /// It does not: the host never repeats such a write, and the plugin looks it up.
    #[default]
    None,
    /// By a key in the header of this name, which the host adds.
    Header(String),
    /// By a key in the query parameter of this name, which the host adds.
    Query(String),
    /// By an id that the plugin chose; a repeat is answered 409 or as the first.
    OwnId,
    /// A convention outside this list; handled as none.
    Other(String),
}

/// One HTTP field; the name is lower case, the value its exact bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Lower-case name.
    pub name: String,
    /// The bytes of the value, which need not be UTF-8.
    pub value: Vec<u8>,
}

/// One call to a provider, as the host takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// A connection of the manifest.
    pub connection: String,
    /// A method that the manifest asked for.
    pub method: Method,
    /// Path and query, percent-encoded, beginning with `/`.
    pub path: String,
    /// Fields to add; the host adds the credential's.
    pub headers: Vec<Header>,
    /// The exact body.
    pub body: Option<Vec<u8>>,
    /// Time for the whole exchange.
    pub timeout: Option<Duration>,
    /// True for a POST that only asks.
    pub read_only: bool,
    /// How the provider recognises this write; none means as the manifest says.
    pub idempotency: Option<Idempotency>,
}

/// A provider's answer, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// Fields in order.
    pub headers: Vec<Header>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bytes.
    pub value: Vec<u8>,
    /// For [`Host::kv_swap`].
    pub version: u64,
}

/// How a value is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvOptions {
    /// The key expires that long after it became durable.
    pub ttl: Option<Duration>,
    /// Phone number or e-mail address of the person whom the value is about; the key goes when that person is erased.
    pub person: Option<String>,
}

impl KvOptions {
    /// Kept that long.
    pub fn ttl(wait: Duration) -> Self {
        Self { ttl: Some(wait), person: None }
    }

    /// The same, about this person.
    pub fn about(mut self, person: &str) -> Self {
        self.person = Some(person.to_owned());
        self
    }
}

/// What a compare-and-swap did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// Written, under this version.
    Swapped(u64),
    /// Not written: this is what is there now.
    Stale(Option<Entry>),
}

/// A part of the keys, in byte order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<String>,
    /// Give it back to go on; none at the end.
    pub cursor: Option<String>,
}

/// A MAC algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mac {
    /// HMAC-SHA1.
    HmacSha1,
    /// HMAC-SHA256.
    HmacSha256,
    /// HMAC-SHA512.
    HmacSha512,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Each step.
    Trace,
    /// For the author.
    Debug,
    /// A fact of the run.
    Info,
    /// Unexpected, and handled.
    Warn,
    /// The run will fail.
    Error,
}

/// A label or field: name and value.
pub type Pair<'a> = (&'a str, &'a str);

/// The door to the outside. The hub is behind it in the sandbox, [`crate::testing::MockHost`] in native tests; a
/// plugin reaches it through [`crate::Ctx`]. All methods take `&self`, since a run is one straight line of calls.
pub trait Host {
    /// The run's clock in milliseconds since 1970. It stands still between calls and jumps to the time of each
    /// answer, so it says how long ago a recorded call was, the same in every re-run.
    fn now(&self) -> u64;

    /// Sends one request and waits for the whole answer.
    fn send(&self, request: &HttpRequest) -> Result<HttpResponse, HttpError>;

    /// Reads one key; none if absent or expired.
    fn kv_get(&self, key: &str) -> Result<Option<Entry>, KvError>;

    /// Reads up to 100 keys; the answers are in the order of the keys.
    fn kv_get_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, KvError>;

    /// Writes, whatever is there.
    fn kv_set(&self, key: &str, value: &[u8], options: &KvOptions) -> Result<(), KvError>;

    /// Removes; an absent key is no error.
    fn kv_delete(&self, key: &str) -> Result<(), KvError>;

    /// Writes if the key is at `expected`, where none means absent.
    fn kv_swap(&self, key: &str, expected: Option<u64>, value: &[u8], options: &KvOptions) -> Result<Swap, KvError>;

    /// Lists keys that begin with `prefix`, at most `limit` (1 to 1,000).
    fn kv_list(&self, prefix: &str, cursor: Option<&str>, limit: u32) -> Result<KeyPage, KvError>;

    /// Whether `tag`, raw bytes, is the MAC of `data` under any active value of `secret` (`<slot>.<field>`).
    fn verify_mac(&self, secret: &str, algorithm: Mac, data: &[u8], tag: &[u8]) -> Result<bool, CryptoError>;

    /// Whether `token` equals the secret.
    fn verify_token(&self, secret: &str, token: &str) -> Result<bool, CryptoError>;

    /// The claims of a signed token meant for `audience`.
    fn verify_jwt(&self, secret: &str, token: &str, audience: &str) -> Result<Value, CryptoError>;

    /// Keeps one line for the trace page.
    fn log(&self, level: Level, message: &str, fields: &[Pair]);

    /// Adds to a counter of the manifest.
    fn counter_add(&self, name: &str, value: u64, labels: &[Pair]);

    /// Adds one value to a histogram of the manifest.
    fn histogram_record(&self, name: &str, value: f64, labels: &[Pair]);
}
