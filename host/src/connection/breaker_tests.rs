use proptest::prelude::*;

use super::*;

impl Pace {
    /// One call that does not wait.
    fn take(&mut self, now: Duration) -> Result<(), Duration> {
        self.reserve(now, Duration::ZERO).map(|_| ())
    }
}

impl Gate {
    /// One call that does not wait.
    fn try_pass(&mut self, now: Duration) -> Result<(), Wait> {
        let reserved = self.reserve(now, Duration::ZERO)?;
        self.enter(now, &reserved).map(|_| ()).map_err(Wait::Down)
    }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_burst_of_one_second_passes_and_then_the_rate_holds() {
    let mut pace = Pace::new(4.0, at(0));
    for _ in 0..4 {
        assert_eq!(pace.take(at(0)), Ok(()));
    }
    assert_eq!(pace.take(at(0)), Err(Duration::from_millis(250)));
    assert_eq!(pace.take(Duration::from_millis(250)), Ok(()));
    assert!(pace.take(Duration::from_millis(250)).is_err());
}

#[test]
fn too_many_requests_blocks_as_long_as_asked_and_halves_the_rate_once() {
    let mut gate = Gate::new(8.0, at(0));
    gate.try_pass(at(0)).unwrap();
    gate.record(at(0), Signal::SlowDown(Some(at(30))), 0.5);
    gate.record(at(1), Signal::SlowDown(Some(at(10))), 0.5);
    assert_eq!(gate.try_pass(at(10)), Err(Wait::Rate(at(20))));
    assert!((gate.pace.rate() - 4.0).abs() < 1e-9);
    assert_eq!(gate.try_pass(at(31)), Ok(()));
    for _ in 0..200 {
        gate.record(at(31), Signal::Good, 0.5);
    }
    assert!((gate.pace.rate() - 8.0).abs() < 1e-9);
}

#[test]
fn a_wish_without_a_time_waits_the_default_and_the_rate_has_a_floor() {
    let mut gate = Gate::new(64.0, at(0));
    for round in 0..20 {
        gate.record(at(round * 10), Signal::SlowDown(None), 0.5);
        assert_eq!(gate.try_pass(at(round * 10)), Err(Wait::Rate(DEFAULT_SLOW_DOWN)));
    }
    assert!((gate.pace.rate() - 1.0).abs() < 1e-9);
}

#[test]
fn ten_failures_in_a_row_open_the_breaker() {
    let mut breaker = Breaker::default();
    for _ in 0..9 {
        breaker.record(at(1), false, 1.0);
    }
    assert_eq!(breaker.try_pass(at(1)), Ok(()));
    breaker.record(at(1), false, 1.0);
    assert_eq!(breaker.try_pass(at(1)), Err(at(30)));
}

#[test]
fn half_of_twenty_calls_in_a_minute_open_it_and_older_ones_do_not_count() {
    let mut breaker = Breaker::default();
    for call in 0..19 {
        breaker.record(at(5), call % 2 == 0, 1.0);
    }
    assert!(!breaker.is_open());
    let mut later = breaker.clone();
    breaker.record(at(55), false, 1.0);
    assert!(breaker.is_open());
    later.record(at(75), false, 1.0);
    assert!(!later.is_open());
}

#[test]
fn after_its_time_one_probe_passes_and_five_good_ones_close_it() {
    let mut breaker = Breaker::default();
    (0..10).for_each(|_| breaker.record(at(0), false, 1.0));
    for round in 0..5 {
        assert_eq!(breaker.try_pass(at(30 + round)), Ok(()));
        assert!(breaker.try_pass(at(30 + round)).is_err());
        breaker.record(at(30 + round), true, 1.0);
    }
    assert!(!breaker.is_open());
    assert!(breaker.try_pass(at(40)).is_ok() && breaker.try_pass(at(40)).is_ok());
}

#[test]
fn a_failed_probe_opens_it_for_longer_up_to_half_an_hour() {
    let mut breaker = Breaker::default();
    (0..10).for_each(|_| breaker.record(at(0), false, 1.0));
    let mut now = at(0);
    for expected in [30, 60, 120, 240, 480, 960, 1800, 1800] {
        let wait = breaker.try_pass(now).unwrap_err();
        assert_eq!(wait, at(expected));
        now += wait;
        breaker.try_pass(now).unwrap();
        breaker.record(now, false, 1.0);
    }
}

#[test]
fn a_lost_probe_does_not_block_for_ever() {
    let mut gate = Gate::new(100.0, at(0));
    (0..10).for_each(|_| gate.record(at(0), Signal::Failed, 1.0));
    assert_eq!(gate.try_pass(at(30)), Ok(()));
    assert_eq!(gate.try_pass(at(31)), Err(Wait::Down(at(1))));
    let mut reported = gate.clone();
    reported.record(at(31), Signal::Nothing, 1.0);
    assert_eq!(reported.try_pass(at(31)), Ok(()));
    assert_eq!(gate.try_pass(at(151)), Ok(()));
}

#[test]
fn refusals_of_the_provider_do_not_open_the_breaker() {
    let mut gate = Gate::new(100.0, at(0));
    (0..50).for_each(|_| gate.record(at(0), Signal::Good, 1.0));
    (0..50).for_each(|_| gate.record(at(0), Signal::SlowDown(None), 1.0));
    assert!(!gate.breaker.is_open());
}

proptest! {
    #[test]
    fn no_second_lets_more_through_than_rate_and_burst(
        rate in 0.5_f64..50.0, steps in proptest::collection::vec(0_u64..400, 1..300),
    ) {
        let mut pace = Pace::new(rate, Duration::ZERO);
        let (mut now, mut passed) = (Duration::ZERO, 0.0);
        for step in steps {
            now += Duration::from_millis(step);
            if pace.take(now).is_ok() {
                passed += 1.0;
            }
        }
        prop_assert!(passed <= rate.max(1.0) + rate * now.as_secs_f64() + 1e-6);
    }

    #[test]
    fn every_wait_is_bounded_and_ends(
        calls in proptest::collection::vec((0_u64..20_000, any::<bool>(), 0.0_f64..1.0), 1..200),
    ) {
        let mut breaker = Breaker::default();
        let mut now = Duration::ZERO;
        for (step, good, fraction) in calls {
            now += Duration::from_millis(step);
            match breaker.try_pass(now) {
                Ok(()) => breaker.record(now, good, fraction),
                Err(wait) => prop_assert!(!wait.is_zero() && wait <= LONGEST_OPEN),
            }
        }
        prop_assert!(breaker.try_pass(now + LONGEST_OPEN + PROBE_LIMIT).is_ok());
    }
}
