//! How much one call may use.

use serde::{Deserialize, Serialize};

use super::model::LimitsRequest;

const MIB: u64 = 1 << 20;

/// The limits of one call, each decided: what the manifest asked for, or the default, under every cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Linear memory in bytes, all memories together.
    pub memory_bytes: u64,
    /// CPU time in the sandbox in milliseconds; time in host calls does not count.
    pub cpu_ms: u64,
    /// Elapsed time in milliseconds, host calls included.
    pub wall_ms: u64,
    /// Bytes of the result, all strings together.
    pub output_bytes: u64,
    /// Calls of `http.send`.
    pub http_calls: u32,
    /// Operations of `kv` and `crypto` together.
    pub kv_operations: u32,
    /// Bytes of one answer of `http.send`; kept by whoever makes the call.
    pub response_bytes: u64,
    /// Log lines.
    pub log_lines: u32,
    /// Bytes of log messages and fields.
    pub log_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 * MIB,
            cpu_ms: 200,
            wall_ms: 30_000,
            output_bytes: MIB,
            http_calls: 64,
            kv_operations: 2_000,
            response_bytes: MIB,
            log_lines: 1_000,
            log_bytes: 64 << 10,
        }
    }
}

impl Limits {
    /// What no manifest and no plan can pass. The memory is that of a slot of the pool.
    pub const MAXIMUM: Self = Self {
        memory_bytes: 256 * MIB,
        cpu_ms: 5_000,
        wall_ms: 120_000,
        output_bytes: 4 * MIB,
        http_calls: 1_000,
        kv_operations: 20_000,
        response_bytes: 4 * MIB,
        log_lines: 10_000,
        log_bytes: MIB,
    };

    /// What `describe` gets. It may call nothing, so that only its own time can pass.
    pub const DESCRIBE: Self = Self {
        memory_bytes: 16 * MIB,
        cpu_ms: 50,
        wall_ms: 5_000,
        output_bytes: MIB,
        http_calls: 0,
        kv_operations: 0,
        response_bytes: 0,
        log_lines: 100,
        log_bytes: 16 << 10,
    };

    /// The manifest's wishes over the defaults, under [`Limits::MAXIMUM`].
    #[must_use]
    pub fn resolve(request: &LimitsRequest) -> Self {
        let default = Self::default();
        Self {
            memory_bytes: request.memory_bytes.unwrap_or(default.memory_bytes),
            cpu_ms: request.cpu_ms.unwrap_or(default.cpu_ms),
            wall_ms: request.wall_ms.unwrap_or(default.wall_ms),
            output_bytes: request.output_bytes.unwrap_or(default.output_bytes),
            http_calls: request.http_calls.unwrap_or(default.http_calls),
            kv_operations: request.kv_operations.unwrap_or(default.kv_operations),
            response_bytes: request.response_bytes.unwrap_or(default.response_bytes),
            log_lines: request.log_lines.unwrap_or(default.log_lines),
            log_bytes: request.log_bytes.unwrap_or(default.log_bytes),
        }
        .capped(&Self::MAXIMUM)
    }

    /// Each limit, at most that of `cap`: a tenant's plan.
    #[must_use]
    pub fn capped(self, cap: &Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.min(cap.memory_bytes),
            cpu_ms: self.cpu_ms.min(cap.cpu_ms),
            wall_ms: self.wall_ms.min(cap.wall_ms),
            output_bytes: self.output_bytes.min(cap.output_bytes),
            http_calls: self.http_calls.min(cap.http_calls),
            kv_operations: self.kv_operations.min(cap.kv_operations),
            response_bytes: self.response_bytes.min(cap.response_bytes),
            log_lines: self.log_lines.min(cap.log_lines),
            log_bytes: self.log_bytes.min(cap.log_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_asks_for_nothing_gets_the_defaults() {
        assert_eq!(Limits::resolve(&LimitsRequest::default()), Limits::default());
    }

    #[test]
    fn a_wish_is_granted_up_to_the_maximum_and_the_plan() {
        let request = LimitsRequest { cpu_ms: Some(900), memory_bytes: Some(u64::MAX), ..LimitsRequest::default() };
        let limits = Limits::resolve(&request);
        assert_eq!(limits.cpu_ms, 900);
        assert_eq!(limits.memory_bytes, Limits::MAXIMUM.memory_bytes);
        let plan = Limits { cpu_ms: 500, ..Limits::MAXIMUM };
        assert_eq!(limits.capped(&plan).cpu_ms, 500);
    }
}
