//! Time as a parameter: the only file that reads the machine's clocks.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A moment as milliseconds since 1970-01-01T00:00:00Z. Serialised as RFC 3339 text in UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The moment `delay` later; saturates.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        let millis = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// How long from `earlier` to here; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl std::str::FromStr for Timestamp {
    type Err = jiff::Error;

    /// Reads RFC 3339 text with any offset.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<jiff::Timestamp>().map(|time| Self(time.as_millisecond()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::custom("expected an RFC 3339 time such as 2026-11-21T09:00:00Z"))
    }
}

/// Where time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock. It may step back.
    fn now(&self) -> Timestamp;

    /// Time since some fixed start; never steps back.
    fn monotonic(&self) -> Duration;
}

/// A clock that everything in a hub shares.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks.
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn shared() -> SharedClock {
        Arc::new(Self { start: std::time::Instant::now() })
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// The queue's clock: the later of the wall clock and the time that has passed since the latest moment it has shown.
/// When the wall clock steps back it goes on at its own pace, so that nothing waits for an hour to pass twice.
pub struct SteadyClock {
    wall: SharedClock,
    /// A moment that was shown, and the monotonic time at which it was.
    base: Mutex<(Timestamp, Duration)>,
}

impl SteadyClock {
    /// A clock that never shows a moment before `latest`, which is kept from an earlier process.
    #[must_use]
    pub fn after(latest: Timestamp, wall: SharedClock) -> SharedClock {
        let base = Mutex::new((latest, wall.monotonic()));
        Arc::new(Self { wall, base })
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let (wall, monotonic) = (self.wall.now(), self.wall.monotonic());
        let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        let steady = base.0.after(monotonic.saturating_sub(base.1));
        if wall > steady {
            *base = (wall, monotonic);
        }
        wall.max(steady)
    }

    fn monotonic(&self) -> Duration {
        self.wall.monotonic()
    }
}

/// The clock of a database server, as a process that shares it knows it: the moment that the server showed, and the time
/// that has passed here since. What this machine's own clock says does not matter, so that nodes whose clocks differ agree
/// on when something is due.
pub struct ServerClock {
    own: SharedClock,
    /// What the server showed, and the monotonic time at which it did.
    base: Mutex<(Timestamp, Duration)>,
}

/// A server that seems to be off by less is taken to be right: its answer was on its way for some time.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

impl ServerClock {
    /// A clock that shows what the server shows now.
    #[must_use]
    pub fn showing(server: Timestamp, own: SharedClock) -> Arc<Self> {
        let base = Mutex::new((server, own.monotonic()));
        Arc::new(Self { own, base })
    }

    /// Goes by what the server shows now, where that is something else.
    pub fn set(&self, server: Timestamp) {
        let apart = server.since(self.now()).max(self.now().since(server));
        if apart > ON_ITS_WAY {
            *self.base.lock().unwrap_or_else(PoisonError::into_inner) = (server, self.own.monotonic());
        }
    }
}

impl Clock for ServerClock {
    fn now(&self) -> Timestamp {
        let (shown, at) = *self.base.lock().unwrap_or_else(PoisonError::into_inner);
        shown.after(self.own.monotonic().saturating_sub(at))
    }

    fn monotonic(&self) -> Duration {
        self.own.monotonic()
    }
}

/// A clock that moves only when a test says so.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock standing at `start`.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(start.0)))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap_or(0), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.load(Ordering::SeqCst)).unwrap_or(0))
    }
}

/// How much faster than real time retries, polls and schedules run. 1 except in `demo` and `dev`.
/// Stamps and signature windows are never scaled.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A wall clock that can be set, beside a monotonic one that cannot.
    #[derive(Default)]
    struct Settable {
        wall: AtomicI64,
        monotonic_ms: AtomicI64,
    }

    impl Settable {
        fn pass(&self, ms: i64) {
            self.wall.fetch_add(ms, Ordering::SeqCst);
            self.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
        }
    }

    impl Clock for Settable {
        fn now(&self) -> Timestamp {
            Timestamp(self.wall.load(Ordering::SeqCst))
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(u64::try_from(self.monotonic_ms.load(Ordering::SeqCst)).unwrap_or(0))
        }
    }

    #[test]
    fn the_queues_clock_goes_on_when_the_wall_clock_steps_back() {
        let wall = Arc::new(Settable::default());
        wall.pass(10_000);
        let steady = SteadyClock::after(Timestamp(0), wall.clone());
        assert_eq!(steady.now(), Timestamp(10_000));
        wall.wall.fetch_sub(8000, Ordering::SeqCst);
        assert_eq!(steady.now(), Timestamp(10_000));
        wall.pass(500);
        assert_eq!(steady.now(), Timestamp(10_500), "it neither steps back nor stands still");
        wall.wall.store(30_000, Ordering::SeqCst);
        assert_eq!(steady.now(), Timestamp(30_000), "a step ahead is taken over");
        wall.pass(1);
        assert_eq!(steady.now(), Timestamp(30_001));
    }

    #[test]
    fn a_servers_clock_follows_the_server_and_not_this_machine() {
        let wall = Arc::new(Settable::default());
        let server = ServerClock::showing(Timestamp(1_000_000), wall.clone());
        wall.wall.store(99_000_000, Ordering::SeqCst);
        assert_eq!(server.now(), Timestamp(1_000_000), "this machine's clock was put wrong");
        wall.pass(700);
        assert_eq!(server.now(), Timestamp(1_000_700));
        server.set(Timestamp(1_000_100));
        assert_eq!(server.now(), Timestamp(1_000_700), "an answer takes a while");
        server.set(Timestamp(2_000_000));
        assert_eq!(server.now(), Timestamp(2_000_000));
        server.set(Timestamp(1_500_000));
        assert_eq!(server.now(), Timestamp(1_500_000), "steps back are for the steady clock to hide");
    }

    #[test]
    fn the_queues_clock_begins_where_an_earlier_process_ended() {
        let wall = Arc::new(Settable::default());
        wall.pass(10_000);
        let steady = SteadyClock::after(Timestamp(50_000), wall.clone());
        assert_eq!(steady.now(), Timestamp(50_000));
        wall.pass(700);
        assert_eq!(steady.now(), Timestamp(50_700));
    }
}
