//! The one engine of the process: what wasm may use, the pool of instances, and the ticker behind CPU limits.

use std::{
    num::NonZeroUsize,
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use super::{
    limits::Limits,
    memory::{CORE_INSTANCES, MEMORIES, TABLE_ELEMENTS, TABLES},
};

/// One tick of CPU accounting: a run yields at each, and its CPU limit is checked at each.
const TICK: Duration = Duration::from_millis(1);

/// The smallest pool worth having.
const SMALLEST_POOL: u32 = 8;

/// Bytes of stack for wasm; the host's calls below it get as much again.
const WASM_STACK: usize = 512 << 10;

/// Memory that stays mapped between two calls in one slot. Without `PAGEMAP_SCAN` all of it would be zeroed
/// after every call.
const RESIDENT_WITH_SCAN: usize = 2 << 20;
const RESIDENT_WITHOUT_SCAN: usize = 128 << 10;

/// An engine with the number of calls it can hold at once.
pub(super) struct BuiltEngine {
    pub(super) engine: Engine,
    pub(super) slots: u32,
}

/// Whether the kernel can say which pages of a call's memory were written, so that only those are cleared after it.
#[must_use]
pub fn pagemap_scan_available() -> bool {
    PoolingAllocationConfig::is_pagemap_scan_available()
}

/// Builds the engine with a pool of `pool_size` slots, of fewer where the address space is too small, or without a
/// pool. Which it became is logged.
pub(super) fn build(pool_size: u32) -> wasmtime::Result<BuiltEngine> {
    let scan = pagemap_scan_available();
    let mut slots = pool_size.max(SMALLEST_POOL);
    loop {
        match Engine::new(&config(Some(pool(slots, scan)))) {
            Ok(engine) => {
                tracing::info!(sandbox.slots = slots, sandbox.pagemap_scan = scan, "The sandbox has its pool.");
                return Ok(BuiltEngine { engine, slots });
            }
            Err(error) if slots > SMALLEST_POOL => {
                let fewer = (slots / 2).max(SMALLEST_POOL);
                let error = format!("{error:#}");
                tracing::warn!(sandbox.slots = slots, sandbox.next_slots = fewer, error, "The pool is too large.");
                slots = fewer;
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "No pool fits: every call maps its own memory, which is several times slower.");
                return Ok(BuiltEngine { engine: Engine::new(&config(None))?, slots: pool_size.max(SMALLEST_POOL) });
            }
        }
    }
}

fn config(pool: Option<PoolingAllocationConfig>) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .shared_memory(false)
        .wasm_relaxed_simd(false)
        // The same bits for the same input on every machine: a run is compared with its journal.
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(2 * WASM_STACK)
        .memory_init_cow(true)
        .wasm_backtrace_max_frames(NonZeroUsize::new(32))
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .generate_address_map(true)
        // Registering unwind tables is quadratic in the number of modules.
        .native_unwind_info(false);
    if let Some(pool) = pool {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

fn pool(slots: u32, scan: bool) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_stacks(slots)
        .total_memories(slots)
        .total_tables(TABLES.saturating_mul(slots))
        .total_core_instances(CORE_INSTANCES.saturating_mul(slots))
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_memory_size(usize::try_from(Limits::MAXIMUM.memory_bytes).unwrap_or(usize::MAX))
        .table_elements(TABLE_ELEMENTS)
        .max_unused_warm_slots(64)
        .decommit_batch_size(16)
        .linear_memory_keep_resident(if scan { RESIDENT_WITH_SCAN } else { RESIDENT_WITHOUT_SCAN })
        .table_keep_resident(16 << 10)
        .pagemap_scan(if scan { Enabled::Yes } else { Enabled::No });
    pool
}

/// Advances the engine's epoch every millisecond from a thread of its own, so that a blocked runtime cannot stop
/// the clock. Ends when it is dropped, or with the engine.
pub(super) struct Ticker {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Ticker {
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let weak = engine.weak();
        let thread = std::thread::Builder::new().name("sandbox-ticker".to_owned()).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(TICK) {
                let Some(engine) = weak.upgrade() else { return };
                engine.increment_epoch();
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and it wakes up within one tick.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_beyond_the_address_space_becomes_a_smaller_one() {
        let built = build(1 << 20).unwrap();
        assert!((SMALLEST_POOL..1 << 20).contains(&built.slots), "{} slots", built.slots);
    }
}
