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

/// The most calls per second that a plugin may ask for.
pub const MAX_RATE: f64 = 1000.0;

/// The longest that a call which finds no turn is sent away for at once.
const LONGEST_AWAY: Duration = Duration::from_secs(300);

/// A turn that was given, now or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// Until then.
    pub wait: Duration,
    slowed: u64,
}

/// What is left of a connection's pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Calls per second now.
    pub rate: f64,
    /// Calls per second when nobody asks for less.
    pub full: f64,
    /// Calls that could begin at once.
    pub left: u32,
    /// How long the provider wants no call at all.
    pub silent_for: Duration,
    /// How long the breaker lets no call through.
    pub down_for: Duration,
}

/// A token bucket whose rate adapts. Turns are given in the order of asking: who asks for one that is not there yet owes
/// it to the bucket and waits.
#[derive(Clone, Debug)]
pub struct Pace {
    full: f64,
    rate: f64,
    tokens: f64,
    counted: Duration,
    blocked_until: Duration,
    /// How often it was slowed down; a turn given before is void.
    slowed: u64,
    /// When the last of those who were sent away may come back, so that they do not come back together.
    away_until: Duration,
}

impl Pace {
    /// `per_second` calls at full pace, with bursts of one second's worth, at least 1. A rate that is no positive number counts
    /// as [`DEFAULT_RATE`], and none is above [`MAX_RATE`].
    #[must_use]
    pub fn new(per_second: f64, now: Duration) -> Self {
        let full = if per_second.is_finite() && per_second > 0.0 { per_second.min(MAX_RATE) } else { DEFAULT_RATE };
        Self {
            full,
            rate: full,
            tokens: full.max(1.0),
            counted: now,
            blocked_until: Duration::ZERO,
            slowed: 0,
            away_until: Duration::ZERO,
        }
    }

    /// Gives a turn that comes within `patience`, or says when to ask again.
    pub fn reserve(&mut self, now: Duration, patience: Duration) -> Result<Reserved, Duration> {
        self.count(now);
        let blocked = self.blocked_until.saturating_sub(now);
        let owed = (1.0 - self.tokens).max(0.0) / self.rate;
        // At least a millisecond, so that nobody waits for nothing because of rounding.
        let least = if owed > 0.0 { Duration::from_millis(1) } else { Duration::ZERO };
        let wait = Duration::from_secs_f64(owed).max(least).max(blocked);
        if wait <= patience {
            self.tokens -= 1.0;
            return Ok(Reserved { wait, slowed: self.slowed });
        }
        let place = Duration::from_secs_f64(1.0 / self.rate);
        let away = self.away_until.saturating_sub(now).min(LONGEST_AWAY).saturating_add(place).max(wait);
        self.away_until = now.saturating_add(away);
        Err(away)
    }

    /// Whether a turn that was given still stands.
    #[must_use]
    pub const fn honours(&self, reserved: &Reserved) -> bool {
        self.slowed == reserved.slowed
    }

    /// The current calls per second.
    #[must_use]
    pub const fn rate(&self) -> f64 {
        self.rate
    }

    /// Whether the provider asked for less, and the full pace is not back yet.
    #[must_use]
    pub fn is_lowered(&self) -> bool {
        self.rate < self.full
    }

    fn count(&mut self, now: Duration) {
        let gained = now.saturating_sub(self.counted).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.rate.max(1.0));
        self.counted = self.counted.max(now);
    }

    fn slow_down(&mut self, now: Duration, wait: Option<Duration>) {
        // Of many answers that ask for less at once only the first halves; the others were sent at the old pace.
        if now >= self.blocked_until {
            self.rate = (self.rate / 2.0).max(self.full * FLOOR);
        }
        self.tokens = 0.0;
        self.counted = self.counted.max(now);
        self.slowed += 1;
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

    /// How long no call has a chance. Looking takes no probe.
    #[must_use]
    pub fn down_for(&self, now: Duration) -> Duration {
        match self.state {
            State::Open { until } => until.saturating_sub(now),
            State::Closed | State::Probing { .. } => Duration::ZERO,
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
    /// Calls that wait for a turn that they were given.
    pub waiting: u32,
}

impl Gate {
    /// A gate at full pace, closed breaker.
    #[must_use]
    pub fn new(per_second: f64, now: Duration) -> Self {
        Self { pace: Pace::new(per_second, now), breaker: Breaker::default(), waiting: 0 }
    }

    /// Gives a turn within `patience`, or says why there is none and how long to stay away. Who was given one calls
    /// [`Gate::enter`] when it has come.
    pub fn reserve(&mut self, now: Duration, patience: Duration) -> Result<Reserved, Wait> {
        let down = self.breaker.down_for(now);
        if !down.is_zero() {
            return Err(Wait::Down(down));
        }
        self.pace.reserve(now, patience).map_err(Wait::Rate)
    }

    /// Lets a call through whose turn has come. False if the pace was lowered meanwhile and the turn is void. The breaker
    /// comes last: a token lost to an open breaker costs nothing, a probe lost to the pace would block the next ones.
    pub fn enter(&mut self, now: Duration, reserved: &Reserved) -> Result<bool, Duration> {
        if !self.pace.honours(reserved) {
            return Ok(false);
        }
        self.breaker.try_pass(now).map(|()| true)
    }

    /// What is left of the pace.
    #[must_use]
    pub fn budget(&self, now: Duration) -> Budget {
        let mut pace = self.pace.clone();
        pace.count(now);
        let silent_for = pace.blocked_until.saturating_sub(now);
        let down_for = self.breaker.down_for(now);
        let stopped = !silent_for.is_zero() || !down_for.is_zero();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the full pace")]
        let left = if stopped { 0 } else { pace.tokens.max(0.0) as u32 };
        Budget { rate: pace.rate, full: pace.full, left, silent_for, down_for }
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
