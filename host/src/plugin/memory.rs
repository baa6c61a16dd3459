//! Linear memory and tables of one store.

use wasmtime::{Result, bail};

/// Elements of one table; interpreters compiled to wasm need up to 8,000.
pub(super) const TABLE_ELEMENTS: usize = 20_000;

/// Core instances of one component; a Python plugin with two exports has 38.
pub(super) const CORE_INSTANCES: u32 = 64;

/// Tables of one component.
pub(super) const TABLES: u32 = 16;

/// Memories of one component.
pub(super) const MEMORIES: u32 = 2;

/// Counts the memory of one store and ends the call that passes its limit.
pub(super) struct MemoryLimiter {
    limit: usize,
    total: usize,
    peak: usize,
    last_growth: usize,
    exceeded: bool,
}

impl MemoryLimiter {
    pub(super) fn new(limit_bytes: u64) -> Self {
        let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        Self { limit, total: 0, peak: 0, last_growth: 0, exceeded: false }
    }

    pub(super) const fn peak(&self) -> u64 {
        self.peak as u64
    }

    pub(super) const fn exceeded(&self) -> bool {
        self.exceeded
    }
}

impl wasmtime::ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let growth = desired.saturating_sub(current);
        let total = self.total.saturating_add(growth);
        if total > self.limit {
            // An answer of "no" would surface in the guest as an abort without a reason.
            self.exceeded = true;
            bail!("the memory limit of {} bytes was passed", self.limit);
        }
        self.last_growth = growth;
        self.total = total;
        self.peak = self.peak.max(total);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> Result<()> {
        self.total = self.total.saturating_sub(self.last_growth);
        self.last_growth = 0;
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        Ok(desired <= maximum.unwrap_or(TABLE_ELEMENTS).min(TABLE_ELEMENTS))
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}
