//! Sending: in a closed loop as fast as answers come, or in an open loop at a rate that no answer holds back.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use switchyard::clock::SharedClock;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    connection::Connection,
    message::{self, Requests},
};

/// How long any answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Requests of an open loop without an answer; more means that the hub does not keep up at all.
const MOST_UNANSWERED: usize = 1000;

/// A kept connection that was silent for longer may be closed from the other side at any moment.
const FRESH: Duration = Duration::from_secs(3);

/// What became of the requests.
pub(crate) struct Answered {
    /// How many were answered as they should.
    pub(crate) count: u64,
    /// The ids of the accepted events.
    pub(crate) ids: Vec<u128>,
    /// From request to answer, in microseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Answered {
    fn none() -> Self {
        Self { count: 0, ids: Vec::new(), latency: histogram() }
    }

    fn note(&mut self, body: &[u8], took: Duration) {
        self.count += 1;
        self.ids.extend(message::accepted_id(body));
        self.latency.saturating_record(micros(took));
    }

    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.ids.extend(other.ids);
        // Both have the same bounds.
        self.latency.add(other.latency).ok();
    }
}

/// Microseconds from 1 to a minute, three digits of each.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are sound")
}

/// A time as a histogram takes it.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A closed loop under way. Its connections end when it is dropped.
pub(crate) struct ClosedLoop {
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    callers: JoinSet<anyhow::Result<Answered>>,
}

impl ClosedLoop {
    /// Starts `connections` callers, each of which sends its next request when the last was answered with `status`.
    pub(crate) fn start(
        address: SocketAddr,
        connections: usize,
        requests: Arc<dyn Requests>,
        status: u16,
        clock: &SharedClock,
    ) -> Self {
        let (answered, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut callers = JoinSet::new();
        for _ in 0..connections {
            let caller = Caller {
                address,
                requests: requests.clone(),
                status,
                answered: answered.clone(),
                stop: stop.clone(),
                clock: clock.clone(),
            };
            callers.spawn(caller.call());
        }
        Self { answered, stop, callers }
    }

    /// How many were answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Answers per second in `length`, after `warm`.
    pub(crate) async fn rate(&self, warm: Duration, length: Duration, clock: &SharedClock) -> f64 {
        tokio::time::sleep(warm).await;
        let (began, before) = (clock.monotonic(), self.answered());
        tokio::time::sleep(length).await;
        let (ended, after) = (clock.monotonic(), self.answered());
        (after - before) as f64 / (ended - began).as_secs_f64()
    }

    /// Lets what is under way be answered, and sends no more.
    pub(crate) async fn stop(self) -> anyhow::Result<Answered> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish().await
    }

    /// Waits until all requests are sent and answered.
    pub(crate) async fn finish(mut self) -> anyhow::Result<Answered> {
        let mut all = Answered::none();
        while let Some(caller) = self.callers.join_next().await {
            all.add(caller.context("a caller stopped")??);
        }
        Ok(all)
    }
}

struct Caller {
    address: SocketAddr,
    requests: Arc<dyn Requests>,
    status: u16,
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    clock: SharedClock,
}

impl Caller {
    async fn call(self) -> anyhow::Result<Answered> {
        let mut connection = Connection::open(self.address).await?;
        let (mut request, mut answered) = (Vec::with_capacity(2048), Answered::none());
        while !self.stop.load(Ordering::Relaxed) {
            request.clear();
            if !self.requests.next(&mut request) {
                break;
            }
            let began = self.clock.monotonic();
            let closes = exchange(&mut connection, &request, self.status, |body| {
                answered.note(body, self.clock.monotonic().saturating_sub(began));
            })
            .await?;
            self.answered.fetch_add(1, Ordering::Relaxed);
            if closes {
                connection = Connection::open(self.address).await?;
            }
        }
        Ok(answered)
    }
}

/// One request that must be answered with `status`; answers whether the connection closes.
async fn exchange(
    connection: &mut Connection,
    request: &[u8],
    status: u16,
    take: impl FnOnce(&[u8]),
) -> anyhow::Result<bool> {
    let answering = tokio::time::timeout(ANSWER_WITHIN, connection.exchange(request));
    let answer = answering.await.context("no answer in time")??;
    ensure!(answer.status == status, "answered {}: {}", answer.status, String::from_utf8_lossy(answer.body));
    take(answer.body);
    Ok(answer.closes)
}

/// Writes request number `n`, which is due at a moment.
pub(crate) type Write = Arc<dyn Fn(u64, Duration, &mut Vec<u8>) + Send + Sync>;

/// What an open loop sends.
#[derive(Clone)]
pub(crate) struct OpenLoop {
    /// Where to.
    pub(crate) address: SocketAddr,
    /// Requests per second.
    pub(crate) rate: f64,
    /// How many in all.
    pub(crate) count: u64,
    /// The status that each must be answered with.
    pub(crate) status: u16,
    /// Makes them.
    pub(crate) write: Write,
}

impl OpenLoop {
    /// Sends every request when it is due, on a kept connection that is free or else on a new one, and waits for all
    /// answers. The latency is from when a request was due.
    pub(crate) async fn run(self, clock: SharedClock) -> anyhow::Result<Answered> {
        let mut due = pace(self.rate, self.count, clock.clone())?;
        let idle: Arc<Mutex<Vec<(Connection, Duration)>>> = Arc::default();
        let mut under_way = JoinSet::new();
        let mut all = Answered::none();
        while let Some((n, at)) = due.recv().await {
            let (this, idle, clock) = (self.clone(), idle.clone(), clock.clone());
            under_way.spawn(async move { this.send(n, at, &idle, &clock).await });
            while let Some(sent) = under_way.try_join_next() {
                all.add(sent.context("a request was dropped")??);
            }
            ensure!(under_way.len() < MOST_UNANSWERED, "{MOST_UNANSWERED} requests wait for their answers");
        }
        while let Some(sent) = under_way.join_next().await {
            all.add(sent.context("a request was dropped")??);
        }
        Ok(all)
    }

    async fn send(
        &self,
        n: u64,
        at: Duration,
        idle: &Mutex<Vec<(Connection, Duration)>>,
        clock: &SharedClock,
    ) -> anyhow::Result<Answered> {
        let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let fresh = kept.filter(|(_, used)| clock.monotonic().saturating_sub(*used) < FRESH);
        let mut connection = match fresh {
            Some((connection, _)) => connection,
            None => Connection::open(self.address).await?,
        };
        let mut request = Vec::with_capacity(2048);
        (self.write)(n, at, &mut request);
        let mut answered = Answered::none();
        let closes = exchange(&mut connection, &request, self.status, |body| {
            answered.note(body, clock.monotonic().saturating_sub(at));
        })
        .await?;
        if !closes {
            idle.lock().unwrap_or_else(PoisonError::into_inner).push((connection, clock.monotonic()));
        }
        Ok(answered)
    }
}

/// Says when each request is due, from a thread of its own: the runtime's timer counts whole milliseconds, which would
/// show in the latency.
fn pace(rate: f64, count: u64, clock: SharedClock) -> anyhow::Result<mpsc::UnboundedReceiver<(u64, Duration)>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let tick = move || {
        let start = clock.monotonic();
        for n in 0..count {
            let at = start + Duration::from_secs_f64(n as f64 / rate);
            #[expect(clippy::disallowed_methods, reason = "this thread is the timer")]
            std::thread::sleep(at.saturating_sub(clock.monotonic()));
            if sender.send((n, at)).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("pace".to_owned()).spawn(tick)?;
    Ok(receiver)
}
