use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use crate::context::{Call, Ctx, Source};
use crate::dispatch;
use crate::error::{HttpError, PluginError};
use crate::event::{Event, InboundRequest};
use crate::host::{HttpRequest, HttpResponse, Level};
use crate::output::{Output, PollOutput, Received};
use crate::plugin::{Handler, Ingest, Lifecycle, Plugin, Poller};

mod answer;
mod host;
mod schema;

pub use answer::Answer;
pub use schema::config_schema_is_derived;

/// The time at which a [`MockHost`] stands: 2026-11-20T12:00:00Z.
pub const NOON: u64 = 1_795_176_000_000;

/// The reference of its calls.
pub const REFERENCE: &str = "0123456789abcdef0123456789abcdef";

/// What a fake provider does with a request.
type Provider = Box<dyn Fn(&HttpRequest) -> Result<HttpResponse, HttpError>>;

/// A line that a plugin logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// The message.
    pub message: String,
    /// Names and values.
    pub fields: Vec<(String, String)>,
}

/// A host in memory: scripted providers, key-value data with versions, real MACs over given secrets, a clock that only
/// the test moves. It lasts over calls, so that a test can send a command and then poll.
///
/// Like the real one it refuses `http` and key-value writes inside `receive`, and drops the key-value writes of a run
/// that failed, except those made before a provider write.
pub struct MockHost {
    call: RefCell<Call>,
    now: Cell<u64>,
    answers: RefCell<BTreeMap<String, VecDeque<Answer>>>,
    providers: RefCell<BTreeMap<String, Provider>>,
    requests: RefCell<Vec<HttpRequest>>,
    secrets: RefCell<BTreeMap<String, Vec<Vec<u8>>>>,
    tokens: RefCell<BTreeMap<String, Result<Value, String>>>,
    kv: RefCell<host::Store>,
    receiving: Cell<bool>,
    logs: RefCell<Vec<LogLine>>,
    metrics: RefCell<BTreeMap<String, f64>>,
}

impl Default for MockHost {
    fn default() -> Self {
        Self::new()
    }
}

impl MockHost {
    /// A host at [`NOON`] with [`REFERENCE`] and one source `default` at `https://hub.test/in/src_0`.
    pub fn new() -> Self {
        let source =
            Source { id: "src_0".to_owned(), name: "default".to_owned(), url: "https://hub.test/in/src_0".to_owned() };
        let call = Call {
            tenant_id: "acme".to_owned(),
            installation_id: "ins_0".to_owned(),
            correlation_id: "cor_0".to_owned(),
            traceparent: "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01".to_owned(),
            reference: REFERENCE.to_owned(),
            time: NOON,
            sources: vec![source],
            config: Value::Null,
            extensions: None,
        };
        Self {
            call: RefCell::new(call),
            now: Cell::new(NOON),
            answers: RefCell::default(),
            providers: RefCell::default(),
            requests: RefCell::default(),
            secrets: RefCell::default(),
            tokens: RefCell::default(),
            kv: RefCell::default(),
            receiving: Cell::new(false),
            logs: RefCell::default(),
            metrics: RefCell::default(),
        }
    }

    /// Gives the next answer to this call. A path without a query stands for every query; several answers to one call
    /// are given in order, each once.
    pub fn answer(self, connection: &str, method: &str, path: &str, answer: Answer) -> Self {
        self.answers.borrow_mut().entry(format!("{connection} {method} {path}")).or_default().push_back(answer);
        self
    }

    /// Lets a function answer what no scripted answer is left for; a provider with a memory is a closure over a cell.
    pub fn provider(
        self,
        connection: &str,
        answer: impl Fn(&HttpRequest) -> Result<HttpResponse, HttpError> + 'static,
    ) -> Self {
        self.providers.borrow_mut().insert(connection.to_owned(), Box::new(answer));
        self
    }

    /// Makes a secret (`<slot>.<field>`) usable. Several values of one name are tried in turn, as during a rotation.
    pub fn secret(self, name: &str, key: impl AsRef<[u8]>) -> Self {
        self.secrets.borrow_mut().entry(name.to_owned()).or_default().push(key.as_ref().to_vec());
        self
    }

    /// Makes `verify_jwt` answer these claims for this token, or say why it is invalid.
    pub fn token(self, token: &str, claims: Result<Value, String>) -> Self {
        self.tokens.borrow_mut().insert(token.to_owned(), claims);
        self
    }

    /// Changes what the following calls are about.
    pub fn call(self, change: impl FnOnce(&mut Call)) -> Self {
        change(&mut self.call.borrow_mut());
        self
    }

    /// Gives the following calls this reference, as another delivery would have.
    pub fn next_reference(&self, reference: &str) {
        self.call.borrow_mut().reference = reference.to_owned();
    }

    /// Moves the clock on.
    pub fn advance(&self, millis: u64) {
        self.now.set(self.now.get() + millis);
        self.call.borrow_mut().time += millis;
    }

    /// Runs `handle` with this config.
    pub fn handle<P: Handler>(&self, config: Value, event: Event) -> Result<Output, PluginError> {
        self.run(config, |call| dispatch::handle::<P>(self, call, event))
    }

    /// Runs `poll` with this config.
    pub fn poll<P: Poller>(
        &self,
        config: Value,
        schedule: &str,
        cursor: Option<String>,
    ) -> Result<PollOutput, PluginError> {
        self.run(config, |call| dispatch::poll::<P>(self, call, schedule, cursor))
    }

    /// Runs `receive` with this config.
    pub fn receive<P: Ingest>(&self, config: Value, request: InboundRequest) -> Result<Received, PluginError> {
        self.receiving.set(true);
        let received = self.run(config, |call| dispatch::receive::<P>(self, call, request));
        self.receiving.set(false);
        received
    }

    /// Runs a part of a plugin that takes the context.
    pub fn with<P: Plugin, T>(
        &self,
        config: Value,
        part: impl FnOnce(&Ctx<P::Config>) -> Result<T, PluginError>,
    ) -> Result<T, PluginError> {
        self.run(config, |call| part(&dispatch::context::<P>(self, call)?))
    }

    /// Runs `install` with this config.
    pub fn install<P: Lifecycle>(&self, config: Value) -> Result<Output, PluginError> {
        self.run(config, |call| dispatch::install::<P>(self, call))
    }

    /// Runs `uninstall` with this config.
    pub fn uninstall<P: Lifecycle>(&self, config: Value) -> Result<Output, PluginError> {
        self.run(config, |call| dispatch::uninstall::<P>(self, call))
    }

    /// All provider calls so far, in order.
    pub fn requests(&self) -> Vec<HttpRequest> {
        self.requests.borrow().clone()
    }

    /// The provider calls so far as `POST /invoices`, without queries.
    pub fn calls(&self) -> Vec<String> {
        let requests = self.requests.borrow();
        let path = |request: &HttpRequest| request.path.split('?').next().unwrap_or_default().to_owned();
        requests.iter().map(|request| format!("{} {}", request.method.as_str(), path(request))).collect()
    }

    /// The stored value of a key.
    pub fn stored(&self, key: &str) -> Option<Vec<u8>> {
        self.kv.borrow().value(key)
    }

    /// The lines logged so far.
    pub fn logs(&self) -> Vec<LogLine> {
        self.logs.borrow().clone()
    }

    /// The sum reported under a metric's name, whatever its labels.
    pub fn metric(&self, name: &str) -> f64 {
        self.metrics.borrow().get(name).copied().unwrap_or_default()
    }

    fn run<T>(&self, config: Value, call: impl FnOnce(&Call) -> Result<T, PluginError>) -> Result<T, PluginError> {
        self.call.borrow_mut().config = config;
        let context = self.call.borrow().clone();
        let result = call(&context);
        if result.is_ok() {
            self.kv.borrow_mut().commit()
        } else {
            self.kv.borrow_mut().roll_back()
        }
        result
    }
}
