//! Time as a parameter: the only file that reads the machine's clock.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

/// Where a simulator's stamps come from.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now_ms(&self) -> i64;
}

/// A clock that several simulators share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now_ms(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }
}

/// A clock that moves only when it is told to.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock standing at `now_ms`.
    #[must_use]
    pub fn starting_at(now_ms: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now_ms)))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap_or(0), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// How much faster than real time a simulator waits. Stamps are never scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeFactor(u32);

impl TimeFactor {
    /// Real time.
    pub const REAL: Self = Self(1);

    /// `factor` times real time; zero counts as one.
    #[must_use]
    pub const fn new(factor: u32) -> Self {
        Self(if factor == 0 { 1 } else { factor })
    }

    /// The waiting time that stands for `delay`.
    #[must_use]
    pub fn scale(self, delay: Duration) -> Duration {
        delay / self.0
    }
}

impl Default for TimeFactor {
    fn default() -> Self {
        Self::REAL
    }
}

/// The clock of one simulator: a shared clock plus the offset that the fault "the provider's clock is wrong" sets.
#[derive(Clone)]
pub(crate) struct OffsetClock {
    clock: SharedClock,
    offset_ms: Arc<AtomicI64>,
}

impl OffsetClock {
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self { clock, offset_ms: Arc::new(AtomicI64::new(0)) }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.now_ms().saturating_add(self.offset_ms.load(Ordering::SeqCst))
    }

    pub(crate) fn set_offset_ms(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::SeqCst);
    }
}

impl fmt::Debug for OffsetClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OffsetClock({} ms)", self.offset_ms.load(Ordering::SeqCst))
    }
}

/// Formats `ms` in UTC by a strftime `pattern`; a moment outside the calendar becomes the epoch.
pub(crate) fn format_utc(ms: i64, pattern: &str) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap_or_default().strftime(pattern).to_string()
}

/// The UTC date of a moment, as `YYYY-MM-DD`.
pub(crate) fn date_utc(ms: i64) -> String {
    format_utc(ms, "%Y-%m-%d")
}
