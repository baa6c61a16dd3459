use super::*;
use crate::event::{Target, TenantId};

const START: Timestamp = Timestamp(1_000_000);

fn tuning() -> Tuning {
    Tuning { send_slots: 8, run_slots: 8, runs_per_tenant: 2, breaker_open: Duration::from_secs(30) }
}

fn limits(concurrency: u32) -> LaneLimits {
    LaneLimits { pool: PoolKind::Run, concurrency, rate_per_s: None, held: false }
}

fn lane(tenant: &str, urgency: Urgency) -> Arc<Lane> {
    let tenant: TenantId = tenant.parse().unwrap();
    Arc::new(Lane { tenant, target: Target::Plugin("p".into()), urgency })
}

fn key(number: u32) -> Key {
    Key(u128::from(number).to_be_bytes())
}

fn ready(number: u32) -> ReadyDelivery {
    ReadyDelivery { delivery: key(number), epoch: 0, due_at: START, suspect: false }
}

fn started(commands: &[Command]) -> Vec<(LaneKey, Key)> {
    let started = commands.iter().filter_map(|command| match command {
        Command::Start { key, delivery } => Some((*key, delivery.delivery)),
        _ => None,
    });
    started.collect()
}

/// Announces work in a lane and answers the read with `deliveries`; answers what started.
fn fill(
    scheduler: &mut Scheduler,
    lane: &Arc<Lane>,
    limits: LaneLimits,
    deliveries: Vec<ReadyDelivery>,
    now: Timestamp,
) -> Vec<(LaneKey, Key)> {
    let key = lane.key();
    let asked = scheduler.step(Input::Queued { lane: lane.clone(), key, limits, due_at: START }, now);
    assert!(asked.contains(&Command::Read { key, limit: WINDOW }), "{asked:?}");
    started(&scheduler.step(Input::Head { key, deliveries, limit: WINDOW }, now))
}

fn finish(
    scheduler: &mut Scheduler,
    (lane, delivery): (LaneKey, Key),
    health: Health,
    now: Timestamp,
) -> Vec<(LaneKey, Key)> {
    let input = Input::Finished { key: lane, delivery, health, silent_until: None, due_at: None };
    started(&scheduler.step(input, now))
}

#[test]
fn an_offer_starts_at_once_where_nothing_waits_and_queues_behind_what_does() {
    let mut scheduler = Scheduler::new(tuning());
    let lane = lane("a", Urgency::Normal);
    let offer = |delivery| Input::Offer { lane: lane.clone(), key: lane.key(), limits: limits(1), delivery };
    assert_eq!(scheduler.step(offer(key(1)), START), [Command::Granted]);
    assert_eq!(scheduler.step(offer(key(2)), START), [], "the lane is at its limit");
    let queued = Input::Queued { lane: lane.clone(), key: lane.key(), limits: limits(1), due_at: START };
    assert_eq!(scheduler.step(queued, START), [Command::Read { key: lane.key(), limit: WINDOW }]);
    scheduler.step(
        Input::Finished { key: lane.key(), delivery: key(1), health: Health::Good, silent_until: None, due_at: None },
        START,
    );
    assert_eq!(scheduler.step(offer(key(3)), START), [], "it would pass what waits in the store");
}

#[test]
fn work_that_arrives_during_a_read_is_read_again() {
    let mut scheduler = Scheduler::new(tuning());
    let lane = lane("a", Urgency::Normal);
    let queued = || Input::Queued { lane: lane.clone(), key: lane.key(), limits: limits(1), due_at: START };
    assert_eq!(scheduler.step(queued(), START).len(), 1);
    assert_eq!(scheduler.step(queued(), START), [], "one read at a time");
    let answer = Input::Head { key: lane.key(), deliveries: Vec::new(), limit: WINDOW };
    assert_eq!(scheduler.step(answer, START), [Command::Read { key: lane.key(), limit: WINDOW }]);
}

#[test]
fn a_delivery_replayed_before_its_slot_came_back_is_not_forgotten() {
    let mut scheduler = Scheduler::new(tuning());
    let lane = lane("a", Urgency::Normal);
    assert_eq!(fill(&mut scheduler, &lane, limits(1), vec![ready(1)], START).len(), 1);
    // It was settled and replayed; its slot is still out when the lane is read.
    let again = ReadyDelivery { epoch: 1, ..ready(1) };
    assert_eq!(fill(&mut scheduler, &lane, limits(1), vec![again], START), [], "it still holds a slot");
    let input =
        Input::Finished { key: lane.key(), delivery: key(1), health: Health::Good, silent_until: None, due_at: None };
    assert_eq!(scheduler.step(input, START), [Command::Read { key: lane.key(), limit: WINDOW }]);
}

#[test]
fn a_fresher_read_replaces_the_epoch_of_what_is_ready() {
    let mut scheduler = Scheduler::new(tuning());
    let lane = lane("a", Urgency::Normal);
    let first = fill(&mut scheduler, &lane, limits(1), vec![ready(1), ready(2)], START);
    fill(&mut scheduler, &lane, limits(1), vec![ReadyDelivery { epoch: 4, ..ready(2) }], START);
    let input = Input::Finished {
        key: lane.key(),
        delivery: first[0].1,
        health: Health::Good,
        silent_until: None,
        due_at: None,
    };
    let commands = scheduler.step(input, START);
    let epochs: Vec<u32> = commands
        .iter()
        .filter_map(|command| match command {
            Command::Start { delivery, .. } => Some(delivery.epoch),
            _ => None,
        })
        .collect();
    assert_eq!(epochs, [4]);
}

#[test]
fn a_tenant_with_one_delivery_does_not_wait_behind_ten_thousand() {
    let mut scheduler = Scheduler::new(tuning());
    let (big, small) = (lane("big", Urgency::Normal), lane("small", Urgency::Normal));
    let mut running = fill(&mut scheduler, &big, limits(64), (0..64).map(ready).collect(), START);
    assert_eq!(running.len(), 6, "a quarter of the pool stays free for a newcomer");
    assert_eq!(fill(&mut scheduler, &small, limits(64), vec![ready(100)], START).len(), 1, "it starts at once");
    // And it does again when the pool is full of others.
    let other = lane("other", Urgency::Normal);
    running.extend(fill(&mut scheduler, &other, limits(64), (200..220).map(ready).collect(), START));
    let next = finish(&mut scheduler, running.remove(0), Health::Good, START);
    assert!(
        next.iter().all(|(lane, _)| *lane != big.key()),
        "big runs more than its share while another waits: {next:?}"
    );
}

#[test]
fn a_tenant_runs_two_at_once_while_others_wait() {
    let mut scheduler = Scheduler::new(Tuning { run_slots: 4, ..tuning() });
    let (a, b) = (lane("a", Urgency::Normal), lane("b", Urgency::Normal));
    let mut of_a = fill(&mut scheduler, &a, limits(64), (0..64).map(ready).collect(), START);
    let mut of_b = fill(&mut scheduler, &b, limits(64), (100..164).map(ready).collect(), START);
    assert_eq!((of_a.len(), of_b.len()), (3, 1));
    for _ in 0..20 {
        let ended = if of_a.len() > 2 { of_a.remove(0) } else { of_b.remove(0) };
        for start in finish(&mut scheduler, ended, Health::Good, START) {
            if start.0 == a.key() { of_a.push(start) } else { of_b.push(start) }
        }
        assert_eq!((of_a.len(), of_b.len()), (2, 2));
    }
}

#[test]
fn emergencies_start_first() {
    let mut scheduler = Scheduler::new(Tuning { run_slots: 1, ..tuning() });
    let (normal, emergency) = (lane("a", Urgency::Normal), lane("b", Urgency::Emergency));
    let running = fill(&mut scheduler, &normal, limits(8), (0..40).map(ready).collect(), START);
    assert_eq!(fill(&mut scheduler, &emergency, limits(8), vec![ready(100), ready(101)], START), []);
    let next = finish(&mut scheduler, running[0], Health::Good, START);
    assert_eq!(next, [(emergency.key(), key(100))]);
    let next = finish(&mut scheduler, next[0], Health::Good, START);
    assert_eq!(next, [(emergency.key(), key(101))]);
}

#[test]
fn a_rate_bounds_the_starts_of_every_window() {
    let mut scheduler = Scheduler::new(tuning());
    let lane = lane("a", Urgency::Normal);
    let limits = LaneLimits { rate_per_s: Some(5), ..limits(8) };
    let mut waiting: Vec<_> = (0..40).map(ready).collect();
    let mut times: Vec<i64> = Vec::new();
    let mut now = START;
    let mut queue = fill(&mut scheduler, &lane, limits, std::mem::take(&mut waiting), now);
    for _ in 0..200 {
        for start in std::mem::take(&mut queue) {
            times.push(now.0);
            queue.extend(finish(&mut scheduler, start, Health::Good, now));
        }
        let Some(at) = scheduler.next_tick() else { break };
        now = now.max(at);
        queue.extend(started(&scheduler.step(Input::Tick, now)));
    }
    assert_eq!(times.len(), 40);
    for window in times.windows(6) {
        assert!(window[5] - window[0] >= 1000, "six starts within {} ms", window[5] - window[0]);
    }
    assert!(times[39] - times[0] <= 39 * 200 + 40, "it is no slower than its rate: {} ms", times[39] - times[0]);
}

#[test]
fn a_suspect_runs_alone_and_the_others_have_their_turn_before_the_next() {
    let mut scheduler = Scheduler::new(tuning());
    let (innocent, bad) = (lane("a", Urgency::Normal), lane("b", Urgency::Normal));
    let running = fill(&mut scheduler, &innocent, limits(2), (0..10).map(ready).collect(), START);
    let suspects = (100..103).map(|number| ReadyDelivery { suspect: true, ..ready(number) }).collect();
    assert_eq!(fill(&mut scheduler, &bad, limits(8), suspects, START), []);
    // Others pass it for a second, then the pool empties for it.
    let next = finish(&mut scheduler, running[0], Health::Good, START);
    assert_eq!(next.len(), 1);
    let later = START.after(Duration::from_secs(2));
    assert_eq!(finish(&mut scheduler, running[1], Health::Good, later), []);
    let alone = finish(&mut scheduler, next[0], Health::Good, later);
    assert_eq!(alone, [(bad.key(), key(100))]);
    assert_eq!(scheduler.in_flight(), (0, 1));
    let offered = Input::Offer { lane: innocent.clone(), key: innocent.key(), limits: limits(2), delivery: key(50) };
    assert_eq!(scheduler.step(offered, later), []);
    let after = finish(&mut scheduler, alone[0], Health::Good, later);
    assert!(after.iter().all(|(lane, _)| *lane == innocent.key()) && after.len() == 2, "{after:?}");
}

#[test]
fn ten_failures_in_a_row_open_the_breaker_and_one_probe_closes_it() {
    let mut scheduler = Scheduler::new(Tuning { run_slots: 64, ..tuning() });
    let lane = lane("a", Urgency::Normal);
    let running = fill(&mut scheduler, &lane, limits(20), (0..60).map(ready).collect(), START);
    assert_eq!(running.len(), 20);
    let mut more = Vec::new();
    for start in &running {
        more.extend(finish(&mut scheduler, *start, Health::Bad, START));
    }
    assert_eq!(more.len(), 9, "the tenth failure closes the lane");
    for start in more {
        assert_eq!(finish(&mut scheduler, start, Health::Bad, START), []);
    }
    let opens = START.after(Duration::from_secs(30));
    assert_eq!(scheduler.silent_until(lane.key(), START), Some(opens), "late failures do not lengthen it");
    let probe = started(&scheduler.step(Input::Tick, opens));
    assert_eq!(probe.len(), 1, "one probe");
    // A bad probe opens it twice as long.
    assert_eq!(finish(&mut scheduler, probe[0], Health::Bad, opens), []);
    let again = opens.after(Duration::from_secs(60));
    assert_eq!(scheduler.silent_until(lane.key(), opens), Some(again));
    let probe = started(&scheduler.step(Input::Tick, again));
    assert_eq!(probe.len(), 1);
    // Each success doubles what may run.
    let two = finish(&mut scheduler, probe[0], Health::Good, again);
    assert_eq!(two.len(), 2);
    assert_eq!(finish(&mut scheduler, two[0], Health::Good, again).len(), 3);
}

#[test]
fn failures_of_an_idle_target_are_forgotten() {
    let mut scheduler = Scheduler::new(tuning());
    let lane = lane("a", Urgency::Normal);
    let running = fill(&mut scheduler, &lane, limits(4), (0..3).map(ready).collect(), START);
    for start in running {
        finish(&mut scheduler, start, Health::Bad, START);
    }
    assert_eq!(scheduler.lanes_in_memory(), 1, "three failures are remembered");
    let at = scheduler.next_tick().unwrap();
    assert!(at <= START.after(Duration::from_secs(3600)));
    scheduler.step(Input::Tick, at);
    assert_eq!((scheduler.lanes_in_memory(), scheduler.next_tick()), (0, None));
}

#[test]
fn a_silence_that_the_target_asked_for_is_kept() {
    let mut scheduler = Scheduler::new(tuning());
    let lane = lane("a", Urgency::Normal);
    let running = fill(&mut scheduler, &lane, limits(1), vec![ready(1), ready(2)], START);
    let until = START.after(Duration::from_secs(7));
    let input = Input::Finished {
        key: lane.key(),
        delivery: running[0].1,
        health: Health::Neutral,
        silent_until: Some(until),
        due_at: None,
    };
    assert_eq!(started(&scheduler.step(input, START)), []);
    assert_eq!(scheduler.next_tick(), Some(until));
    assert_eq!(started(&scheduler.step(Input::Tick, until)), [(lane.key(), key(2))]);
}

#[test]
fn a_lane_whose_tenant_is_gone_is_forgotten() {
    let mut scheduler = Scheduler::new(tuning());
    let (gone, other) = (lane("gone", Urgency::Normal), lane("other", Urgency::Normal));
    let running = fill(&mut scheduler, &gone, limits(1), vec![ready(1), ready(2)], START)[0];
    let held = LaneLimits { held: true, ..limits(1) };
    let later = Input::Queued { lane: other.clone(), key: other.key(), limits: held, due_at: START };
    assert_eq!(scheduler.step(later, START), []);
    assert_eq!(scheduler.step(Input::Forget { key: gone.key() }, START), []);
    assert_eq!(scheduler.lanes_in_memory(), 2, "its attempt still holds a slot");
    assert_eq!(finish(&mut scheduler, running, Health::Bad, START), [], "what waited is gone");
    scheduler.step(Input::Forget { key: gone.key() }, START);
    scheduler.step(Input::Forget { key: other.key() }, START);
    assert_eq!((scheduler.lanes_in_memory(), scheduler.next_tick()), (0, None));
}
