//! What a store holds for one call, and the budgets of its host calls.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::{
    call::{Call, CallEnd, LimitKind, PluginLabel, Usage},
    cpu::CpuMeter,
    host_calls::{HostCalls, Stop},
    limits::Limits,
    memory::MemoryLimiter,
    model::{CallContext, LogLine},
    stderr::StderrTail,
    turn::Turn,
    virtual_time,
};

/// Samples of one call.
const METRIC_SAMPLES: u32 = 1_000;

/// Handles (streams, pollables) of one call.
const WASI_HANDLES: usize = 256;

/// Bytes of randomness that one import may ask for.
const RANDOM_BYTES: u64 = 1 << 20;

/// The text behind an error that this module made itself; the cause is in [`State`].
#[derive(Debug, thiserror::Error)]
#[error("the call was ended by the host")]
pub(super) struct EndedByHost;

pub(super) struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    stderr: StderrTail,
    pub(super) memory: MemoryLimiter,
    pub(super) meter: Arc<CpuMeter>,
    pub(super) host: Box<dyn HostCalls>,
    pub(super) limits: Limits,
    pub(super) plugin: PluginLabel,
    describing: bool,
    cause: Option<CallEnd>,
    used: Used,
}

#[derive(Default)]
struct Used {
    http_calls: u32,
    kv_operations: u32,
    log_lines: u32,
    log_bytes: u64,
    log_lines_dropped: u32,
    metrics: u32,
    metrics_dropped: u32,
}

impl State {
    /// The store's data for `call`, and what the call is about.
    pub(super) fn new(call: Call, describing: bool, turn: Turn) -> (Self, CallContext) {
        let Call { context, limits, seed, clock, host, plugin } = call;
        let stderr = StderrTail::default();
        let mut wasi = WasiCtx::builder();
        wasi.stderr(stderr.clone()).max_random_size(RANDOM_BYTES);
        virtual_time::install(&mut wasi, &clock, seed);
        let mut table = ResourceTable::new();
        table.set_max_capacity(WASI_HANDLES);
        let state = Self {
            wasi: wasi.build(),
            table,
            stderr,
            memory: MemoryLimiter::new(limits.memory_bytes),
            meter: Arc::new(CpuMeter::new(turn)),
            host,
            limits,
            plugin,
            describing,
            cause: None,
            used: Used::default(),
        };
        (state, context)
    }

    /// Ends the call for `cause`; the first cause stands.
    pub(super) fn end(&mut self, cause: CallEnd) -> wasmtime::Error {
        self.cause.get_or_insert(cause);
        EndedByHost.into()
    }

    /// An answer for the guest, or the end of the call.
    pub(super) fn unless_stopped<T>(&mut self, answer: Result<T, Stop>) -> wasmtime::Result<T> {
        answer.map_err(|stop| self.end(CallEnd::Stopped(stop)))
    }

    /// Called at each tick while the guest runs.
    pub(super) fn check_cpu(&mut self) -> wasmtime::Result<()> {
        let allowed = self.limits.cpu_ms;
        if self.meter.within_poll_ns() / 1_000_000 >= allowed {
            return Err(self.end(CallEnd::Limit { which: LimitKind::Cpu, allowed }));
        }
        Ok(())
    }

    /// Ends a `describe` that calls `import`.
    pub(super) fn refuse_in_describe(&mut self, import: &str) -> wasmtime::Result<()> {
        if self.describing { self.unless_stopped(Err(Stop::in_describe(import))) } else { Ok(()) }
    }

    /// Whether one more call of `http.send` fits.
    pub(super) fn admits_http(&mut self) -> wasmtime::Result<bool> {
        self.refuse_in_describe("http.send")?;
        let fits = self.used.http_calls < self.limits.http_calls;
        self.used.http_calls += u32::from(fits);
        Ok(fits)
    }

    /// Whether one more operation of `kv` or `crypto` fits.
    pub(super) fn admits_kv(&mut self, import: &str) -> wasmtime::Result<bool> {
        self.refuse_in_describe(import)?;
        let fits = self.used.kv_operations < self.limits.kv_operations;
        self.used.kv_operations += u32::from(fits);
        Ok(fits)
    }

    /// Whether the line fits; counts it either way.
    pub(super) fn admits_line(&mut self, line: &LogLine) -> bool {
        let fields: usize = line.fields.iter().map(|field| field.name.len() + field.value.len()).sum();
        let bytes = self.used.log_bytes.saturating_add((line.message.len() + fields) as u64);
        if self.used.log_lines >= self.limits.log_lines || bytes > self.limits.log_bytes {
            self.used.log_lines_dropped = self.used.log_lines_dropped.saturating_add(1);
            return false;
        }
        self.used.log_lines += 1;
        self.used.log_bytes = bytes;
        true
    }

    /// Whether one more sample fits and may be kept; counts it either way.
    pub(super) const fn admits_metric(&mut self, finite: bool) -> bool {
        if !finite || self.used.metrics >= METRIC_SAMPLES {
            self.used.metrics_dropped = self.used.metrics_dropped.saturating_add(1);
            return false;
        }
        self.used.metrics += 1;
        true
    }

    /// The cause that the host recorded, if it ended the call.
    pub(super) fn take_cause(&mut self) -> Option<CallEnd> {
        let memory = self.memory.exceeded();
        self.cause.take().or_else(|| {
            memory.then_some(CallEnd::Limit { which: LimitKind::Memory, allowed: self.limits.memory_bytes })
        })
    }

    /// The end of what the guest wrote to standard error.
    pub(super) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// What the call used, but for the elapsed time.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            cpu_ms: self.meter.used_ms(),
            peak_memory_bytes: self.memory.peak(),
            wall_ms: 0,
            http_calls: self.used.http_calls,
            kv_operations: self.used.kv_operations,
            log_lines_dropped: self.used.log_lines_dropped,
            metrics_dropped: self.used.metrics_dropped,
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}
