//! One call of a plugin: what goes in, and how it ended.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    host_calls::{HostCalls, Stop},
    limits::Limits,
    model::{CallContext, PluginError, Reason},
    virtual_time::VirtualClock,
};

/// Which plugin, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginLabel {
    /// The manifest's id.
    pub name: String,
    /// The manifest's version.
    pub version: String,
}

impl fmt::Display for PluginLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Everything a call needs besides its own argument.
pub struct Call {
    /// What the call is about.
    pub context: CallContext,
    /// How much it may use.
    pub limits: Limits,
    /// The record's seed, from which all of the guest's randomness follows.
    pub seed: [u8; 32],
    /// The guest's clock, shared with the journal.
    pub clock: Arc<VirtualClock>,
    /// Answers the guest's imports; its methods are polled on the sandbox's threads.
    pub host: Box<dyn HostCalls>,
    /// The plugin, for messages.
    pub plugin: PluginLabel,
}

/// How a call ended. `host` comes back whatever happened.
pub struct Ended<T> {
    /// What the guest returned, or why it did not.
    pub result: Result<T, CallEnd>,
    /// The caller's own object.
    pub host: Box<dyn HostCalls>,
    /// What the call used.
    pub usage: Usage,
    /// The last 8 KiB that the guest wrote to standard error.
    pub stderr: String,
    /// The plugin, for messages.
    pub plugin: PluginLabel,
}

impl<T> Ended<T> {
    /// Counts the call with its end and what it used; `call` is the export's name.
    pub fn count(&self, call: &'static str) {
        let end = match &self.result {
            Ok(_) => "ok",
            Err(CallEnd::Error(_)) => "error",
            Err(CallEnd::Trap { .. }) => "trap",
            Err(CallEnd::Limit { .. }) => "limit",
            Err(CallEnd::Malformed { .. }) => "malformed",
            Err(CallEnd::Stopped(_)) => "stopped",
            Err(CallEnd::MissingExport(_)) => "missing_export",
            Err(CallEnd::HostFault(_)) => "host_fault",
        };
        let (cpu, wall) = (Duration::from_millis(self.usage.cpu_ms), Duration::from_millis(self.usage.wall_ms));
        crate::observe::metrics::run_ended(call, end, cpu, wall);
    }

    /// One sentence that names plugin, version and reason; none when the call succeeded.
    pub fn failure(&self) -> Option<String> {
        self.result.as_ref().err().map(|end| format!("{}: {end}", self.plugin))
    }

    pub(super) fn and_then<U>(self, take: impl FnOnce(T) -> Result<U, CallEnd>) -> Ended<U> {
        let Self { result, host, usage, stderr, plugin } = self;
        Ended { result: result.and_then(take), host, usage, stderr, plugin }
    }
}

/// What a call used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in the sandbox, rounded up.
    pub cpu_ms: u64,
    /// The largest linear memory.
    pub peak_memory_bytes: u64,
    /// Elapsed time.
    pub wall_ms: u64,
    /// Calls of `http.send` that reached the host.
    pub http_calls: u32,
    /// Operations of `kv` and `crypto` that reached the host.
    pub kv_operations: u32,
    /// Log lines over the limit.
    pub log_lines_dropped: u32,
    /// Metric samples over the limit or not finite.
    pub metrics_dropped: u32,
}

/// Which limit ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitKind {
    /// CPU time, milliseconds.
    Cpu,
    /// Elapsed time, milliseconds.
    Wall,
    /// Linear memory, bytes.
    Memory,
    /// The result, or the data of one host call, bytes.
    Output,
}

/// Why a call returned nothing.
#[derive(Debug)]
pub enum CallEnd {
    /// The plugin's own error, a disposition.
    Error(PluginError),
    /// The guest crashed.
    Trap {
        /// What happened.
        message: String,
        /// The guest's functions, innermost first, demangled.
        frames: Vec<String>,
        /// The last that it wrote to standard error, where a panic message is.
        stderr: String,
    },
    /// A limit was passed.
    Limit {
        /// Which one.
        which: LimitKind,
        /// Its value.
        allowed: u64,
    },
    /// What the guest returned or passed breaks the contract.
    Malformed {
        /// The field, as in the contract.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The caller's side ended the call.
    Stopped(Stop),
    /// The plugin does not have the function; the manifest of a valid plugin rules this out.
    MissingExport(&'static str),
    /// The host's own fault: the plugin is not to blame.
    HostFault(String),
}

impl CallEnd {
    /// The class this counts under; none where the failure is not the plugin's.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Error(error) => Some(error.detail().reason.clone()),
            Self::Trap { .. } | Self::Limit { .. } | Self::Malformed { .. } | Self::MissingExport(_) => {
                Some(Reason::PluginBug)
            }
            Self::Stopped(_) | Self::HostFault(_) => None,
        }
    }

    /// A stable code of `[a-z0-9_]` for grouping.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Error(error) => &error.detail().code,
            Self::Trap { .. } => "trap",
            Self::Limit { which: LimitKind::Cpu, .. } => "cpu_limit",
            Self::Limit { which: LimitKind::Wall, .. } => "wall_limit",
            Self::Limit { which: LimitKind::Memory, .. } => "memory_limit",
            Self::Limit { which: LimitKind::Output, .. } => "output_limit",
            Self::Malformed { .. } => "malformed_result",
            Self::MissingExport(_) => "missing_export",
            Self::Stopped(_) => "stopped",
            Self::HostFault(_) => "host_fault",
        }
    }
}

impl fmt::Display for CallEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => write!(f, "{error}"),
            Self::Trap { message, frames, .. } => {
                f.write_str(message)?;
                frames.first().map_or(Ok(()), |frame| write!(f, " (in {frame})"))
            }
            Self::Limit { which: LimitKind::Cpu, allowed } => {
                write!(f, "it used more than {allowed} ms of CPU time (manifest field `limits.cpu`)")
            }
            Self::Limit { which: LimitKind::Wall, allowed } => {
                write!(f, "it did not end within {allowed} ms (manifest field `limits.wall`)")
            }
            Self::Limit { which: LimitKind::Memory, allowed } => {
                write!(f, "it used more than {allowed} bytes of memory (manifest field `limits.memory-bytes`)")
            }
            Self::Limit { which: LimitKind::Output, allowed } => {
                write!(f, "it handed over more than {allowed} bytes at once (manifest field `limits.output-bytes`)")
            }
            Self::Malformed { field, problem } => write!(f, "`{field}` breaks the contract: {problem}"),
            Self::Stopped(stop) => write!(f, "stopped by the host: {stop}"),
            Self::MissingExport(name) => write!(f, "it does not export `{name}`"),
            Self::HostFault(text) => write!(f, "the host itself failed: {text}"),
        }
    }
}

impl std::error::Error for CallEnd {}
