//! The scheduler against a model of the store: whatever happens in whatever order, every due delivery starts, and no
//! limit is passed.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::event::{Target, TenantId};

const LANES: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    Queued,
    Running,
    Ended,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    lane: usize,
    state: Row,
    epoch: u32,
    due_at: Timestamp,
    suspect: bool,
}

/// What was asked of the shell and is not done yet.
#[derive(Clone, Debug)]
enum Pending {
    Read { key: LaneKey, limit: u32, seen: Option<Vec<ReadyDelivery>> },
    Claim { key: LaneKey, ready: ReadyDelivery },
    Attempt { key: LaneKey, delivery: Key, epoch: u32 },
    GiveBack { key: LaneKey, delivery: Key, due_at: Option<Timestamp>, health: Health },
}

#[derive(Clone, Debug)]
enum Act {
    Offer {
        lane: usize,
    },
    Insert {
        lane: usize,
        delay_s: u8,
        suspect: bool,
    },
    /// The next thing of one of the pending jobs happens; `how` chooses among its possible ends.
    Proceed {
        which: prop::sample::Index,
        how: u8,
    },
    Replay {
        which: prop::sample::Index,
    },
    Cancel {
        which: prop::sample::Index,
    },
    Limit {
        lane: usize,
        held: bool,
        concurrency: u32,
        rate_per_s: Option<u32>,
    },
    Wait {
        ms: u16,
    },
}

fn acts() -> impl Strategy<Value = Act> {
    let lane = 0..LANES;
    let which = || any::<prop::sample::Index>();
    prop_oneof![
        4 => lane.clone().prop_map(|lane| Act::Offer { lane }),
        3 => (lane.clone(), 0_u8..4, prop::bool::weighted(0.15))
            .prop_map(|(lane, delay_s, suspect)| Act::Insert { lane, delay_s, suspect }),
        12 => (which(), any::<u8>()).prop_map(|(which, how)| Act::Proceed { which, how }),
        2 => which().prop_map(|which| Act::Replay { which }),
        1 => which().prop_map(|which| Act::Cancel { which }),
        2 => (lane, any::<bool>(), 1_u32..4, prop::option::of(1_u32..5))
            .prop_map(|(lane, held, concurrency, rate_per_s)| Act::Limit { lane, held, concurrency, rate_per_s }),
        3 => (0_u16..3000).prop_map(|ms| Act::Wait { ms }),
    ]
}

struct Model {
    scheduler: Scheduler,
    tuning: Tuning,
    now: Timestamp,
    lanes: Vec<(Arc<Lane>, LaneKey, LaneLimits)>,
    rows: BTreeMap<Key, Stored>,
    pending: Vec<Pending>,
    /// Who holds a slot, and whether as a suspect.
    slots: BTreeMap<Key, (usize, bool)>,
}

impl Model {
    fn new() -> Self {
        let tuning = Tuning { send_slots: 3, run_slots: 4, runs_per_tenant: 2, breaker_open: Duration::from_secs(2) };
        let lanes = (0..LANES).map(|at| {
            let tenant: TenantId = ["a", "b", "c"][at % 3].parse().unwrap();
            let runs = at < 4;
            let target = if runs { Target::Plugin(format!("p{at}").into()) } else { Target::Endpoint(Key::default()) };
            let urgency = if at == 3 { Urgency::Emergency } else { Urgency::Normal };
            let lane = Arc::new(Lane { tenant, target, urgency });
            let pool = if runs { PoolKind::Run } else { PoolKind::Send };
            let key = lane.key();
            (lane, key, LaneLimits { pool, concurrency: 2, rate_per_s: None, held: false })
        });
        Self {
            scheduler: Scheduler::new(tuning),
            tuning,
            now: Timestamp(1_000_000),
            lanes: lanes.collect(),
            rows: BTreeMap::new(),
            pending: Vec::new(),
            slots: BTreeMap::new(),
        }
    }

    fn lane_at(&self, key: LaneKey) -> usize {
        self.lanes.iter().position(|(_, other, _)| *other == key).unwrap()
    }

    fn next_key(&self) -> Key {
        Key((self.rows.len() as u128 + 1).to_be_bytes())
    }

    /// The head of a lane as the store would answer it now.
    fn head(&self, key: LaneKey, limit: u32) -> Vec<ReadyDelivery> {
        let lane = self.lane_at(key);
        let queued = self.rows.iter().filter(|(_, row)| row.lane == lane && row.state == Row::Queued);
        let mut head: Vec<_> = queued
            .map(|(key, row)| ReadyDelivery {
                delivery: *key,
                epoch: row.epoch,
                due_at: row.due_at,
                suspect: row.suspect,
            })
            .collect();
        head.sort_by_key(|ready| (ready.due_at, ready.delivery));
        head.truncate(limit as usize);
        head
    }

    fn feed(&mut self, input: Input) -> bool {
        let mut granted = false;
        let offered = match &input {
            Input::Offer { key, delivery, .. } => Some((*key, *delivery)),
            _ => None,
        };
        for command in self.scheduler.step(input, self.now) {
            match command {
                Command::Granted => {
                    granted = true;
                    let (key, delivery) = offered.unwrap();
                    self.take_slot(key, delivery, false);
                }
                Command::Read { key, limit } => {
                    assert!(!self.lanes[self.lane_at(key)].2.held, "a held lane is not read");
                    self.pending.push(Pending::Read { key, limit, seen: None });
                }
                Command::Start { key, delivery } => {
                    self.take_slot(key, delivery.delivery, delivery.suspect);
                    self.pending.push(Pending::Claim { key, ready: delivery });
                }
            }
        }
        self.check();
        granted
    }

    fn take_slot(&mut self, key: LaneKey, delivery: Key, suspect: bool) {
        let lane = self.lane_at(key);
        let limits = self.lanes[lane].2;
        assert!(!limits.held, "a held lane starts nothing");
        let before = self.slots.insert(delivery, (lane, suspect));
        assert!(before.is_none(), "a delivery has one slot at a time");
        let of_lane = self.slots.values().filter(|(other, _)| *other == lane).count();
        assert!(of_lane <= limits.concurrency.max(1) as usize || suspect, "no more than the lane's limit run");
    }

    fn check(&self) {
        let runs = self.slots.values().filter(|(lane, _)| self.lanes[*lane].2.pool == PoolKind::Run).count() as u32;
        let sends = self.slots.len() as u32 - runs;
        assert_eq!(self.scheduler.in_flight(), (sends, runs), "the pools count what runs");
        assert!(runs <= self.tuning.run_slots && sends <= self.tuning.send_slots, "no pool gives more than it has");
        let alone = self.slots.values().any(|(lane, suspect)| *suspect && self.lanes[*lane].2.pool == PoolKind::Run);
        assert!(!alone || runs == 1, "a suspect runs alone");
    }

    fn queued(&mut self, lane: usize, due_at: Timestamp) {
        let (of, key, limits) = self.lanes[lane].clone();
        self.feed(Input::Queued { lane: of, key, limits, due_at });
    }

    fn insert(&mut self, lane: usize, state: Row, due_at: Timestamp, suspect: bool) -> Key {
        let (delivery, epoch) = (self.next_key(), u32::from(state == Row::Running));
        self.rows.insert(delivery, Stored { lane, state, epoch, due_at, suspect });
        delivery
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Offer { lane } => {
                let (of, key, limits) = self.lanes[lane].clone();
                let delivery = self.next_key();
                if self.feed(Input::Offer { lane: of, key, limits, delivery }) {
                    self.insert(lane, Row::Running, self.now, false);
                    self.pending.push(Pending::Attempt { key, delivery, epoch: 1 });
                } else {
                    self.insert(lane, Row::Queued, self.now, false);
                    self.queued(lane, self.now);
                }
            }
            Act::Insert { lane, delay_s, suspect } => {
                let due_at = self.now.after(Duration::from_secs(delay_s.into()));
                let suspect = suspect && self.lanes[lane].2.pool == PoolKind::Run;
                self.insert(lane, Row::Queued, due_at, suspect);
                self.queued(lane, due_at);
            }
            Act::Proceed { which, how } => {
                if !self.pending.is_empty() {
                    let job = self.pending.swap_remove(which.index(self.pending.len()));
                    self.proceed(job, how);
                }
            }
            Act::Replay { which } => {
                let ended: Vec<Key> =
                    self.rows.iter().filter(|(_, row)| row.state == Row::Ended).map(|(key, _)| *key).collect();
                if !ended.is_empty() {
                    let now = self.now;
                    let row = self.rows.get_mut(which.get(&ended)).unwrap();
                    (row.state, row.due_at) = (Row::Queued, now);
                    let lane = row.lane;
                    self.queued(lane, now);
                }
            }
            Act::Cancel { which } => {
                let live: Vec<Key> =
                    self.rows.iter().filter(|(_, row)| row.state != Row::Ended).map(|(key, _)| *key).collect();
                if !live.is_empty() {
                    self.rows.get_mut(which.get(&live)).unwrap().state = Row::Ended;
                }
            }
            Act::Limit { lane, held, concurrency, rate_per_s } => self.limit(lane, held, concurrency, rate_per_s),
            Act::Wait { ms } => self.wait(Duration::from_millis(ms.into())),
        }
    }

    fn limit(&mut self, lane: usize, held: bool, concurrency: u32, rate_per_s: Option<u32>) {
        let (_, key, limits) = &mut self.lanes[lane];
        *limits = LaneLimits { pool: limits.pool, concurrency, rate_per_s, held };
        let (key, limits) = (*key, *limits);
        self.feed(Input::Limits { key, limits });
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.feed(Input::Tick);
    }

    fn proceed(&mut self, job: Pending, how: u8) {
        match job {
            Pending::Read { key, limit, seen: None } => {
                if how.is_multiple_of(8) {
                    self.feed(Input::ReadFailed { key });
                } else {
                    // The snapshot is taken here and told later: meanwhile it grows stale.
                    let seen = Some(self.head(key, limit));
                    self.pending.push(Pending::Read { key, limit, seen });
                }
            }
            Pending::Read { key, limit, seen: Some(deliveries) } => {
                self.feed(Input::Head { key, deliveries, limit });
            }
            Pending::Claim { key, ready } => {
                let row = self.rows.get_mut(&ready.delivery).unwrap();
                let (delivery, health) = (ready.delivery, Health::Neutral);
                self.pending.push(if row.state == Row::Queued && row.epoch == ready.epoch {
                    (row.state, row.epoch) = (Row::Running, row.epoch + 1);
                    Pending::Attempt { key, delivery, epoch: row.epoch }
                } else {
                    Pending::GiveBack { key, delivery, due_at: None, health }
                });
            }
            Pending::Attempt { key, delivery, epoch } => {
                let now = self.now;
                let row = self.rows.get_mut(&delivery).unwrap();
                let health = [Health::Good, Health::Bad, Health::Neutral][usize::from(how) % 3];
                let mut due_at = None;
                if row.state == Row::Running && row.epoch == epoch {
                    due_at = [None, Some(now), Some(now.after(Duration::from_secs(3)))][usize::from(how / 3) % 3];
                    row.state = if due_at.is_some() { Row::Queued } else { Row::Ended };
                    row.due_at = due_at.unwrap_or(now);
                }
                self.pending.push(Pending::GiveBack { key, delivery, due_at, health });
            }
            Pending::GiveBack { key, delivery, due_at, health } => {
                self.slots.remove(&delivery).unwrap();
                self.feed(Input::Finished { key, delivery, health, silent_until: None, due_at });
            }
        }
    }

    /// Lets everything go well from here on, and time pass: nothing may be left.
    fn drain(&mut self) {
        for lane in 0..LANES {
            let rate = self.lanes[lane].2.rate_per_s;
            self.limit(lane, false, 2, rate);
        }
        for _ in 0..10_000 {
            if let Some(job) = self.pending.pop() {
                // 9 answers a read, and delivers an attempt in good health.
                self.proceed(job, 9);
            } else if let Some(at) = self.scheduler.next_tick() {
                self.now = self.now.max(at);
                self.feed(Input::Tick);
            } else {
                break;
            }
        }
        let left: Vec<_> = self.rows.iter().filter(|(_, row)| row.state != Row::Ended).collect();
        assert!(left.is_empty(), "these were forgotten: {left:?}");
        assert_eq!(self.scheduler.in_flight(), (0, 0));
        assert_eq!(self.scheduler.lanes_in_memory(), 0, "idle lanes are dropped");
        assert!(self.scheduler.runs.is_idle() && self.scheduler.sends.is_idle(), "idle tenants are dropped");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_due_delivery_starts_and_no_limit_is_passed(acts in prop::collection::vec(acts(), 1..160)) {
        let mut model = Model::new();
        for act in acts {
            model.act(act);
        }
        model.drain();
    }

    #[test]
    fn after_stop_nothing_starts(acts in prop::collection::vec(acts(), 1..60), more in prop::collection::vec(acts(), 1..60)) {
        let mut model = Model::new();
        for act in acts {
            model.act(act);
        }
        model.feed(Input::Stop);
        let under_way = model.slots.len();
        for act in more {
            let before = model.slots.len();
            model.act(act);
            prop_assert!(model.slots.len() <= before);
        }
        prop_assert!(model.slots.len() <= under_way);
    }
}
