//! The compiled guest, one sandbox for all tests, and a host that answers as a test says.

use std::{
    any::Any,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use switchyard::{
    clock::{SharedClock, SystemClock},
    plugin::{
        call::{Call, CallEnd, Ended, PluginLabel},
        guest::Guest,
        host_calls::{Answer, HostCalls, Stop},
        limits::Limits,
        model::{
            CallContext, CryptoError, HandledEvent, HttpError, HttpRequest, HttpResponse, KvEntry, KvError, KvOptions,
            KvPage, LogLine, Mac, MetricSample, Output, SwapResult,
        },
        sandbox::{Sandbox, SandboxOptions},
        virtual_time::VirtualClock,
    },
};
use tokio::sync::OnceCell;

/// When the guest's clock starts.
pub const START_MS: u64 = 1_790_000_000_000;

/// The guest's wasm, built once.
pub fn wasm() -> &'static [u8] {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    WASM.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        let status = Command::new(env!("CARGO"))
            .args(["build", "--profile", "plugin", "--target", "wasm32-wasip2", "-p", "misbehave"])
            .current_dir(&root)
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the guest builds; is the target there? `rustup target add wasm32-wasip2`");
        std::fs::read(target.join("wasm32-wasip2/plugin/misbehave.wasm")).expect("the guest was built")
    })
}

/// The guest's wasm with `from` replaced by `to`, of equal length, wherever it stands.
#[track_caller]
pub fn patched(from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut wasm = wasm().to_vec();
    let mut places = 0;
    for at in 0..wasm.len() - from.len() {
        if &wasm[at..at + from.len()] == from.as_bytes() {
            wasm[at..at + to.len()].copy_from_slice(to.as_bytes());
            places += 1;
        }
    }
    assert!(places > 0, "the file has no `{from}`");
    wasm
}

pub fn clock() -> SharedClock {
    static CLOCK: OnceLock<SharedClock> = OnceLock::new();
    Arc::clone(CLOCK.get_or_init(SystemClock::shared))
}

pub fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| {
        let options = SandboxOptions { pool_size: 64, threads: 1, ..SandboxOptions::uncached() };
        Sandbox::new(options, clock()).expect("a sandbox")
    })
}

pub async fn guest() -> &'static Arc<Guest> {
    static GUEST: OnceCell<Arc<Guest>> = OnceCell::const_new();
    GUEST.get_or_init(|| async { sandbox().compile(wasm().to_vec()).await.expect("the guest compiles") }).await
}

/// What `http.send` does.
#[derive(Default)]
pub enum Http {
    #[default]
    Answers,
    Hangs,
    Panics,
    StopsAfter(u32),
    Burns(Duration),
    AnswersAt(u64),
}

/// A host that remembers.
#[derive(Default)]
pub struct TestHost {
    pub http: Http,
    pub clock: Option<Arc<VirtualClock>>,
    pub sent: Vec<HttpRequest>,
    pub kv: Vec<String>,
    pub crypto: Vec<String>,
    pub lines: Vec<LogLine>,
    pub samples: Vec<MetricSample>,
    /// Dropped with the host.
    #[expect(dead_code, reason = "only its drop is observed")]
    pub alive: Option<tokio::sync::oneshot::Sender<()>>,
}

/// The cause of a stop, to be found again by its type.
#[derive(Debug, thiserror::Error)]
#[error("the lease was lost")]
pub struct LeaseLost;

impl TestHost {
    pub fn with(http: Http) -> Self {
        Self { http, ..Self::default() }
    }

    fn noted<T>(&mut self, operation: impl Into<String>, answer: T) -> Answer<T, KvError> {
        self.kv.push(operation.into());
        Ok(Ok(answer))
    }
}

#[async_trait]
impl HostCalls for TestHost {
    async fn http_send(&mut self, request: HttpRequest) -> Answer<HttpResponse, HttpError> {
        self.sent.push(request);
        match &self.http {
            Http::Answers => {}
            Http::Hangs => std::future::pending().await,
            Http::Panics => panic!("a bug in the host"),
            Http::StopsAfter(calls) if self.sent.len() > *calls as usize => return Err(Stop::new(LeaseLost)),
            Http::StopsAfter(_) => return Ok(Err(HttpError::Timeout)),
            Http::Burns(time) => {
                let until = clock().monotonic() + *time;
                while clock().monotonic() < until {
                    std::hint::spin_loop();
                }
            }
            Http::AnswersAt(at_ms) => self.clock.as_ref().expect("a clock").advance_to(*at_ms),
        }
        Ok(Ok(HttpResponse { status: 200, headers: vec![], body: b"[]".to_vec() }))
    }

    async fn kv_get(&mut self, key: String) -> Answer<Option<KvEntry>, KvError> {
        self.noted(format!("get {key}"), None)
    }

    async fn kv_get_many(&mut self, keys: Vec<String>) -> Answer<Vec<Option<KvEntry>>, KvError> {
        let entry = KvEntry { value: b"one".to_vec(), version: 1 };
        let entries = keys.iter().map(|_| Some(entry.clone())).collect();
        self.noted(format!("get-many {}", keys.join(",")), entries)
    }

    async fn kv_set(&mut self, key: String, value: Vec<u8>, options: KvOptions) -> Answer<(), KvError> {
        self.noted(format!("set {key} {} {:?}", value.len(), options.ttl_ms), ())
    }

    async fn kv_delete(&mut self, key: String) -> Answer<(), KvError> {
        self.noted(format!("delete {key}"), ())
    }

    async fn kv_swap(
        &mut self,
        key: String,
        expected: Option<u64>,
        _: Vec<u8>,
        _: KvOptions,
    ) -> Answer<SwapResult, KvError> {
        let entry = KvEntry { value: b"other".to_vec(), version: 7 };
        self.noted(format!("swap {key} {expected:?}"), SwapResult::Stale(Some(entry)))
    }

    async fn kv_list_keys(&mut self, prefix: String, _: Option<String>, limit: u32) -> Answer<KvPage, KvError> {
        self.noted(format!("list {prefix:?} {limit}"), KvPage { keys: vec!["a".to_owned()], cursor: None })
    }

    async fn verify_mac(&mut self, secret: String, mac: Mac, data: Vec<u8>, tag: Vec<u8>) -> Answer<bool, CryptoError> {
        self.crypto.push(format!("mac {secret} {mac:?} {} {}", data.len(), tag.len()));
        Ok(Ok(true))
    }

    async fn verify_token(&mut self, secret: String, _: String) -> Answer<bool, CryptoError> {
        self.crypto.push(format!("token {secret}"));
        Ok(Ok(false))
    }

    async fn verify_jwt(&mut self, secret: String, _: String, audience: String) -> Answer<String, CryptoError> {
        self.crypto.push(format!("jwt {secret} {audience}"));
        Ok(Err(CryptoError::Invalid("expired".to_owned())))
    }

    fn log(&mut self, line: LogLine) {
        self.lines.push(line);
    }

    fn metric(&mut self, sample: MetricSample) {
        self.samples.push(sample);
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// A call with `limits` and `host`, and fixed context, seed and time.
pub fn call(limits: Limits, host: TestHost) -> Call {
    let context = CallContext {
        tenant_id: "acme".to_owned(),
        installation_id: "ins_1".to_owned(),
        correlation_id: "c-1".to_owned(),
        reference: "0123456789abcdef0123456789abcdef".to_owned(),
        time_ms: START_MS,
        config: r#"{"greeting":"hej"}"#.to_owned(),
        ..CallContext::default()
    };
    let clock = VirtualClock::starting_at(START_MS);
    let plugin = PluginLabel { name: "misbehave".to_owned(), version: "0.1.0".to_owned() };
    Call { context, limits, seed: [7; 32], clock, host: Box::new(host), plugin }
}

/// A command for the guest.
pub fn order(what: &str, n: u64) -> HandledEvent {
    HandledEvent {
        id: "evt_1".to_owned(),
        type_: "test.do".to_owned(),
        source: "test".to_owned(),
        data: format!(r#"{{"do":"{what}","n":{n}}}"#),
        ..HandledEvent::default()
    }
}

/// Has the guest do `what`, and gives the test its host back.
pub async fn handle(what: &str, n: u64, limits: Limits, host: TestHost) -> (Ended<Output>, Box<TestHost>) {
    let mut ended = sandbox().handle(guest().await, order(what, n), call(limits, host)).await;
    let empty = Box::new(TestHost::default());
    let host = std::mem::replace(&mut ended.host, empty).into_any().downcast::<TestHost>();
    (ended, host.expect("the host comes back as it was given"))
}

/// The data of the one event that a call emitted.
#[track_caller]
pub fn data(ended: &Ended<Output>) -> serde_json::Value {
    let output = ended.result.as_ref().unwrap_or_else(|end| panic!("the call failed: {end:?} {}", ended.stderr));
    assert_eq!(output.events.len(), 1);
    serde_json::from_str(&output.events[0].data).expect("JSON")
}

/// Why a call failed.
#[track_caller]
pub fn failure<T>(ended: Ended<T>) -> CallEnd {
    ended.result.err().expect("the call should fail")
}
