//! How fast a connection may be used, and when to leave its provider alone. Pure state: time and chance are parameters.
//!
//! The pace is a token bucket whose rate halves when the provider asks for less and climbs back with every success. The
//! breaker opens when at least half of at least 20 calls in a minute fail, or 10 in a row; it stays open 30 s, 1 min, 2 min, ... up
//! to 30 min, by chance less, then lets one call through at a time and closes after 5 good ones.

use std::time::Duration;

/// What a finished call says about the provider's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It answered, if only to refuse.
    Good,
    /// No connection, no answer, or a 5xx.
    Failed,
    /// It asked for fewer calls, perhaps for a time.
    SlowDown(Option<Duration>),
    /// The call says nothing about the provider: it was refused on our side.
    Nothing,
}

/// Why a call has to wait, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The connection's rate is used up.
    Rate(Duration),
    /// The breaker is open.
    Down(Duration),
}

/// The wait after "too many requests" that names none.
pub const DEFAULT_SLOW_DOWN: Duration = Duration::from_secs(5);

/// Calls per second of a connection whose plugin and admin say nothing.
pub const DEFAULT_RATE: f64 = 10.0;

/// The slowest pace, as a part of the full one.
const FLOOR: f64 = 1.0 / 64.0;

/// How many successes bring a halved pace back, per full pace.
const RECOVERY: f64 = 50.0;

/// A token bucket whose rate adapts.
#[derive(Clone, Debug)]
pub struct Pace {
    full: f64,
    rate: f64,
    tokens: f64,
    counted: Duration,
    blocked_until: Duration,
}

impl Pace {
    /// `per_second` calls at full pace, with bursts of one second's worth, at least 1. A rate that is no positive number counts
    /// as [`DEFAULT_RATE`].
    #[must_use]
    pub fn new(per_second: f64, now: Duration) -> Self {
        let full = if per_second.is_finite() && per_second > 0.0 { per_second } else { DEFAULT_RATE };
        Self { full, rate: full, tokens: full.max(1.0), counted: now, blocked_until: Duration::ZERO }
    }

    /// Takes one token, or says how long until there is one.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        if let Some(blocked) = self.blocked_until.checked_sub(now).filter(|wait| !wait.is_zero()) {
            return Err(blocked);
        }
        let gained = now.saturating_sub(self.counted).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.rate.max(1.0));
        self.counted = self.counted.max(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        // At least a millisecond, so that nobody waits for nothing because of rounding.
        let wait = Duration::from_secs_f64((1.0 - self.tokens) / self.rate);
        Err(wait.max(Duration::from_millis(1)))
    }

    /// The current calls per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.rate
    }

    fn slow_down(&mut self, now: Duration, wait: Option<Duration>) {
        // Of many answers that ask for less at once only the first halves; the others were sent at the old pace.
        if now >= self.blocked_until {
            self.rate = (self.rate / 2.0).max(self.full * FLOOR);
        }
        self.tokens = 0.0;
        self.counted = self.counted.max(now);
        let until = now.saturating_add(wait.unwrap_or(DEFAULT_SLOW_DOWN).min(crate::queue::retry::RETRY_AFTER_CAP));
        self.blocked_until = self.blocked_until.max(until);
    }

    fn speed_up(&mut self) {
        self.rate = (self.rate + self.full / RECOVERY).min(self.full);
    }
}

const SLOT: Duration = Duration::from_secs(10);
const SLOTS: usize = 6;
const MIN_CALLS: u32 = 20;
const MAX_IN_A_ROW: u32 = 10;
const FIRST_OPEN: Duration = Duration::from_secs(30);
const LONGEST_OPEN: Duration = Duration::from_secs(30 * 60);
const GOOD_TO_CLOSE: u32 = 5;

/// A probe that has not reported for so long is lost, and the next call takes its place.
const PROBE_LIMIT: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    number: u64,
    good: u32,
    bad: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Duration },
    Probing { good: u32, since: Option<Duration> },
}

/// Leaves a failing provider alone for a while.
#[derive(Clone, Debug)]
pub struct Breaker {
    slots: [Slot; SLOTS],
    in_a_row: u32,
    opened: u32,
    state: State,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { slots: [Slot::default(); SLOTS], in_a_row: 0, opened: 0, state: State::Closed }
    }
}

impl Breaker {
    /// Lets a call through, or says how long to wait. Who is let through reports by [`Breaker::record`].
    pub fn try_pass(&mut self, now: Duration) -> Result<(), Duration> {
        match self.state {
            State::Closed => Ok(()),
            State::Open { until } if now < until => Err(until - now),
            State::Probing { since: Some(since), .. } if now.saturating_sub(since) < PROBE_LIMIT => {
                Err(Duration::from_secs(1))
            }
            State::Open { .. } => {
                self.state = State::Probing { good: 0, since: Some(now) };
                Ok(())
            }
            State::Probing { good, .. } => {
                self.state = State::Probing { good, since: Some(now) };
                Ok(())
            }
        }
    }

    /// Counts a finished call; `fraction` in `[0, 1]` is the chance by which an opening is shortened.
    pub fn record(&mut self, now: Duration, good: bool, fraction: f64) {
        match (self.state, good) {
            // Calls that began before it opened say nothing new.
            (State::Open { .. }, _) => {}
            (State::Probing { .. }, false) => self.open(now, fraction),
            (State::Probing { good, .. }, true) if good + 1 >= GOOD_TO_CLOSE => *self = Self::default(),
            (State::Probing { good, .. }, true) => self.state = State::Probing { good: good + 1, since: None },
            (State::Closed, good) => {
                self.count(now, good);
                if self.too_many_failures(now) {
                    self.open(now, fraction);
                }
            }
        }
    }

    /// True while calls are refused or let through one by one.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    fn count(&mut self, now: Duration, good: bool) {
        let number = slot_number(now);
        let slot = &mut self.slots[usize::try_from(number).unwrap_or(0) % SLOTS];
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        if good {
            slot.good += 1;
            self.in_a_row = 0;
        } else {
            slot.bad += 1;
            self.in_a_row += 1;
        }
    }

    fn too_many_failures(&self, now: Duration) -> bool {
        let oldest = slot_number(now).saturating_sub(SLOTS as u64 - 1);
        let recent = self.slots.iter().filter(|slot| slot.number >= oldest);
        let (good, bad) = recent.fold((0, 0), |(good, bad), slot| (good + slot.good, bad + slot.bad));
        self.in_a_row >= MAX_IN_A_ROW || (good + bad >= MIN_CALLS && bad >= good)
    }

    fn open(&mut self, now: Duration, fraction: f64) {
        let longest = FIRST_OPEN.saturating_mul(1 << self.opened.min(16)).min(LONGEST_OPEN);
        let part = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 1.0 };
        let wait = longest.mul_f64(part).max(Duration::from_secs(1));
        let opened = self.opened.saturating_add(1);
        *self = Self { opened, state: State::Open { until: now + wait }, ..Self::default() };
    }
}

fn slot_number(now: Duration) -> u64 {
    // Counted from 1, so that an unused slot is never taken for the first ten seconds.
    now.as_secs() / SLOT.as_secs() + 1
}

/// Pace and breaker of one connection.
#[derive(Clone, Debug)]
pub struct Gate {
    /// How fast.
    pub pace: Pace,
    /// Whether at all.
    pub breaker: Breaker,
}

impl Gate {
    /// A gate at full pace, closed breaker.
    #[must_use]
    pub fn new(per_second: f64, now: Duration) -> Self {
        Self { pace: Pace::new(per_second, now), breaker: Breaker::default() }
    }

    /// Lets a call through, or says why and how long to wait.
    pub fn try_pass(&mut self, now: Duration) -> Result<(), Wait> {
        // The pace first: a token lost to an open breaker costs nothing, a probe lost to the pace would block the next ones.
        self.pace.take(now).map_err(Wait::Rate)?;
        self.breaker.try_pass(now).map_err(Wait::Down)
    }

    /// Reports a call that was let through.
    pub fn record(&mut self, now: Duration, signal: Signal, fraction: f64) {
        match signal {
            Signal::Good => {
                self.pace.speed_up();
                self.breaker.record(now, true, fraction);
            }
            Signal::Failed => self.breaker.record(now, false, fraction),
            // Who asks for patience is alive.
            Signal::SlowDown(wait) => {
                self.pace.slow_down(now, wait);
                self.breaker.record(now, true, fraction);
            }
            Signal::Nothing => self.breaker.forget_probe(),
        }
    }
}

impl Breaker {
    /// The probe never reached the provider; another may go.
    fn forget_probe(&mut self) {
        if let State::Probing { good, .. } = self.state {
            self.state = State::Probing { good, since: None };
        }
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
