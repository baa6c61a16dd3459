//! The sandbox: compiles plugins and runs their calls; what does not end at once goes on on threads of its own.

use std::{future::Future as _, path::PathBuf, sync::Arc, task::Poll, time::Duration};

use tokio::{runtime::Runtime, sync::Semaphore};
use tokio_util::task::AbortOnDropHandle;

use super::{
    cache::{Cache, CacheContents},
    call::{Call, CallEnd, Ended, PluginLabel},
    engine::{self, Ticker},
    guest::{CompileError, Compiler, Guest, WASM_BYTES},
    host_calls::DeniedHost,
    invoke::{self, Entry, Returned},
    limits::Limits,
    model::{CallContext, HandledEvent, InboundRequest, Manifest, Output, PollOutput, Received},
    turn::Turns,
    virtual_time::VirtualClock,
};
use crate::clock::SharedClock;

/// Time for one compilation. The compiler cannot be interrupted, so what takes longer goes on in the background and keeps
/// others from compiling, but nobody waits for it.
const COMPILE_TIME: Duration = Duration::from_secs(30);

/// How long a file waits for others to be compiled.
const COMPILE_TURN: Duration = Duration::from_secs(120);

/// How a sandbox is made.
#[derive(Clone)]
pub struct SandboxOptions {
    /// Calls at once; each reserves 4 GiB of address space, and fewer are taken where that is short.
    pub pool_size: u32,
    /// Threads that run guests; 0 means one less than the machine has, and at least one.
    pub threads: usize,
    /// Where native code is kept; none compiles at every start.
    pub cache_dir: Option<PathBuf>,
    /// Seals what is kept there. Whoever knows it can run native code in the host.
    pub cache_key: [u8; 32],
}

impl SandboxOptions {
    /// 256 calls at once, threads by the machine, no cache.
    #[must_use]
    pub const fn uncached() -> Self {
        Self { pool_size: 256, threads: 0, cache_dir: None, cache_key: [0; 32] }
    }
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The engine could not be made.
    #[error("the wasm engine could not be made: {0}")]
    Engine(String),
    /// The cache directory cannot be used.
    #[error("the directory for native code {dir} cannot be used", dir = dir.display())]
    Cache {
        /// Which directory.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("a thread of the sandbox could not be started")]
    Threads(#[source] std::io::Error),
}

/// Why a plugin could not say what it is.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// The call failed.
    #[error("`describe` failed: {0}")]
    Failed(#[source] CallEnd),
    /// Two calls gave two manifests.
    #[error("`describe` is not a constant: two calls differ in `{field}`")]
    Differs {
        /// The first field that differs.
        field: String,
    },
}

/// Compiles plugins and runs their calls. One per process: guests of one sandbox cannot run in another.
pub struct Sandbox {
    compiler: Arc<Compiler>,
    compiling: Arc<Semaphore>,
    slots: Arc<Semaphore>,
    turns: Turns,
    clock: SharedClock,
    // Taken only by `drop`, because a runtime must not be dropped where blocking is not allowed.
    runtime: Option<Runtime>,
    _ticker: Ticker,
}

/// How much less than the hub's own threads the sandbox's threads weigh in the system's scheduler, as `nice` counts.
const NICE: i32 = 5;

/// Guests may use all of their CPU time. What the hub does itself (answering, sending, storing) then goes first, so
/// that a tenant whose plugins spin does not slow the others' deliveries.
fn yield_to_others() {
    // On Linux this concerns the calling thread alone. Where it is not allowed, guests weigh as much as the hub.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the sandbox's threads keep their priority");
    }
}

impl Sandbox {
    /// Makes the engine, its pool, its ticker and its threads.
    pub fn new(options: SandboxOptions, clock: SharedClock) -> Result<Self, SandboxError> {
        let fault = |error: wasmtime::Error| SandboxError::Engine(format!("{error:#}"));
        let built = engine::build(options.pool_size).map_err(fault)?;
        let cache = options.cache_dir.map(|dir| {
            Cache::open(dir.clone(), options.cache_key, &built.engine)
                .map_err(|source| SandboxError::Cache { dir, source })
        });
        let compiler = Compiler::new(built.engine.clone(), cache.transpose()?).map_err(fault)?;
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get).saturating_sub(1).max(1),
            threads => threads,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("sandbox")
            .on_thread_start(yield_to_others)
            // A hostile guest keeps a thread for a tick at each turn. With tokio's default of 61 turns, new calls
            // and finished I/O would wait for 61 such ticks.
            .global_queue_interval(2)
            .event_interval(4)
            .enable_all()
            .build()
            .map_err(SandboxError::Threads)?;
        // One slot stays free: a slot is given back a moment after the call's permit.
        let permits = usize::try_from(built.slots - 1).unwrap_or(1);
        Ok(Self {
            compiler: Arc::new(compiler),
            compiling: Arc::new(Semaphore::new(1)),
            slots: Arc::new(Semaphore::new(permits)),
            turns: Turns::new(threads),
            clock,
            runtime: Some(runtime),
            _ticker: Ticker::start(&built.engine).map_err(SandboxError::Threads)?,
        })
    }

    /// Looks at a directory of native code and changes nothing.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn examine_cache(&self, dir: PathBuf, key: [u8; 32]) -> std::io::Result<CacheContents> {
        Cache::examine(dir, key, &self.compiler.engine)
    }

    /// Compiles wasm, or loads what was compiled before. One file at a time: a compilation takes all cores. Both the wait
    /// for others and the compilation are bounded.
    pub async fn compile(&self, wasm: Vec<u8>) -> Result<Arc<Guest>, CompileError> {
        if wasm.len() > WASM_BYTES {
            return Err(CompileError::TooLarge { bytes: wasm.len() });
        }
        let Some(runtime) = &self.runtime else { return Err(CompileError::Compiler("it is shut down".to_owned())) };
        let turn = tokio::time::timeout(COMPILE_TURN, Arc::clone(&self.compiling).acquire_owned()).await;
        let turn = turn.map_err(|_| CompileError::Busy)?.map_err(|error| CompileError::Compiler(error.to_string()))?;
        let compiler = Arc::clone(&self.compiler);
        let task = runtime.spawn_blocking(move || {
            let guest = compiler.compile(&wasm);
            drop(turn);
            guest
        });
        let compiled = tokio::time::timeout(COMPILE_TIME, task).await;
        let compiled = compiled.map_err(|_| CompileError::TooSlow { seconds: COMPILE_TIME.as_secs() })?;
        compiled.map_err(|error| CompileError::Compiler(error.to_string()))?
    }

    /// Asks a plugin what it is, twice, at other times and with other randomness. The manifest is not validated.
    pub async fn describe(&self, guest: &Arc<Guest>) -> Result<Manifest, DescribeError> {
        let first = self.describe_once(guest, 0, [0; 32]).await?;
        let second = self.describe_once(guest, 1_900_000_000_000, [0xa5; 32]).await?;
        if first == second {
            Ok(first)
        } else {
            Err(DescribeError::Differs { field: first_difference(&first, &second) })
        }
    }

    async fn describe_once(&self, guest: &Arc<Guest>, at_ms: u64, seed: [u8; 32]) -> Result<Manifest, DescribeError> {
        let version = guest.sha256().chars().take(12).collect();
        let call = Call {
            context: CallContext::default(),
            limits: Limits::DESCRIBE,
            seed,
            clock: VirtualClock::starting_at(at_ms),
            host: Box::new(DeniedHost::default()),
            plugin: PluginLabel { name: "plugin with sha256".to_owned(), version },
        };
        match self.run(guest, Entry::Describe, call).await.result {
            Ok(Returned::Manifest(manifest)) => Ok(manifest),
            Ok(_) => Err(DescribeError::Failed(mismatch())),
            Err(end) => Err(DescribeError::Failed(end)),
        }
    }

    /// Calls `ingest.receive`.
    pub async fn receive(&self, guest: &Arc<Guest>, request: InboundRequest, call: Call) -> Ended<Received> {
        self.run(guest, Entry::Receive(request), call).await.and_then(|returned| match returned {
            Returned::Received(received) => Ok(received),
            _ => Err(mismatch()),
        })
    }

    /// Calls `handler.handle`.
    pub async fn handle(&self, guest: &Arc<Guest>, event: HandledEvent, call: Call) -> Ended<Output> {
        self.run(guest, Entry::Handle(event), call).await.and_then(output)
    }

    /// Calls `poller.poll`.
    pub async fn poll(
        &self,
        guest: &Arc<Guest>,
        schedule: String,
        cursor: Option<String>,
        call: Call,
    ) -> Ended<PollOutput> {
        self.run(guest, Entry::Poll { schedule, cursor }, call).await.and_then(|returned| match returned {
            Returned::Polled(polled) => Ok(polled),
            _ => Err(mismatch()),
        })
    }

    /// Calls `lifecycle.install`.
    pub async fn install(&self, guest: &Arc<Guest>, call: Call) -> Ended<Output> {
        self.run(guest, Entry::Install, call).await.and_then(output)
    }

    /// Calls `lifecycle.upgrade` on the new version.
    pub async fn upgrade(&self, guest: &Arc<Guest>, from_version: String, call: Call) -> Ended<Output> {
        self.run(guest, Entry::Upgrade { from_version }, call).await.and_then(output)
    }

    /// Calls `lifecycle.uninstall`.
    pub async fn uninstall(&self, guest: &Arc<Guest>, call: Call) -> Ended<Output> {
        self.run(guest, Entry::Uninstall, call).await.and_then(output)
    }

    /// Waits for a free slot, then runs the call. Dropping the future ends the call.
    ///
    /// A call begins on its caller's thread and moves to the sandbox's at its first tick, or when it first waits for its
    /// host. Most calls never do either, and handing them over and back would cost as much as the call itself. A plugin
    /// whose last call was long begins on the sandbox's threads.
    async fn run(&self, guest: &Arc<Guest>, entry: Entry, call: Call) -> Ended<Returned> {
        let permit = Arc::clone(&self.slots).acquire_owned().await;
        let (Ok(permit), Some(runtime)) = (permit, &self.runtime) else { return shut_down(call) };
        let begins_here = guest.is_brief() && !matches!(entry, Entry::Describe);
        let (engine, guest, clock) = (self.compiler.engine.clone(), Arc::clone(guest), Arc::clone(&self.clock));
        let turns = self.turns.clone();
        let mut work = Box::pin(async move {
            let ended = invoke::run(engine, &guest, entry, call, clock, turns).await;
            guest.note_cpu(ended.usage.cpu_ms);
            drop(permit);
            ended
        });
        if begins_here {
            let begun = std::future::poll_fn(|cx| {
                // Timers and tasks that the call starts belong where it goes on.
                let _inside = runtime.enter();
                Poll::Ready(work.as_mut().poll(cx))
            });
            if let Poll::Ready(ended) = begun.await {
                return ended;
            }
        }
        match AbortOnDropHandle::new(runtime.spawn(work)).await {
            Ok(ended) => ended,
            // Panics of guests and host calls end inside the call; one that comes out is a bug of this module.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only `drop` cancels tasks, and it cannot run while `self` is borrowed here.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn output(returned: Returned) -> Result<Output, CallEnd> {
    match returned {
        Returned::Output(output) => Ok(output),
        _ => Err(mismatch()),
    }
}

fn mismatch() -> CallEnd {
    CallEnd::HostFault("a call returned what another function returns".to_owned())
}

fn shut_down(call: Call) -> Ended<Returned> {
    Ended {
        result: Err(CallEnd::HostFault("the sandbox is shut down".to_owned())),
        host: call.host,
        usage: super::call::Usage::default(),
        stderr: String::new(),
        plugin: call.plugin,
    }
}

/// The first field of the manifest in which two differ.
fn first_difference(first: &Manifest, second: &Manifest) -> String {
    let fields = |manifest| serde_json::to_value(manifest).unwrap_or_default();
    let (first, second) = (fields(first), fields(second));
    let names = first.as_object().into_iter().flat_map(serde_json::Map::keys);
    names.into_iter().find(|name| first.get(name) != second.get(name)).cloned().unwrap_or_default()
}
