//! A subscriber's endpoint: verifies what it gets, records it, and answers as its script says.

mod control;
pub mod script;
pub mod signature;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

pub use self::{
    script::{Script, Step},
    signature::{Secret, SecretError, Verdict},
};
use crate::{
    clock::SharedClock,
    http::{self, Answer, Call, Handler},
};

/// The oldest requests go beyond this many, or beyond this many bytes of bodies.
const KEPT: usize = 20_000;
const KEPT_BYTES: usize = 64 << 20;

/// One request as it arrived.
#[derive(Clone, Debug, Serialize)]
pub struct Received {
    /// Counts all requests of this subscriber from 1.
    pub number: u64,
    /// The method.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// Names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// The body's bytes.
    #[serde(serialize_with = "as_text")]
    pub body: Bytes,
    /// What the receiver thought of it.
    pub verdict: Verdict,
    /// The status that it was given; none for a hang, a close or a reset.
    pub status: Option<u16>,
    /// When it arrived.
    pub at_ms: i64,
}

fn as_text<S: serde::Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(body))
}

impl Received {
    /// A header by its lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The `webhook-id`, the same for all attempts of a delivery.
    #[must_use]
    pub fn webhook_id(&self) -> Option<&str> {
        self.header("webhook-id")
    }

    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Fewer requests came than were waited for.
#[derive(Debug, thiserror::Error)]
#[error("expected {expected} requests at {path}, saw {seen}")]
pub struct TooFew {
    /// Where.
    pub path: String,
    /// How many were waited for.
    pub expected: usize,
    /// How many came within the time.
    pub seen: usize,
}

/// How the subscriber is set up.
#[derive(Clone)]
pub struct Options {
    /// Where arrival times, and the age of signatures, come from.
    pub clock: SharedClock,
}

/// The simulator; see [`Subscriber::start`].
pub struct Subscriber;

impl Subscriber {
    /// Receives on `listener` until `shutdown`. Every path exists, accepts everything, and has no key until told so.
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub fn start(listener: TcpListener, options: Options, shutdown: CancellationToken) -> io::Result<Handle> {
        let address = listener.local_addr()?;
        let inbox = Arc::new(Inbox { clock: options.clock, state: Mutex::default(), changes: watch::Sender::new(0) });
        http::serve(listener, Arc::clone(&inbox) as Arc<dyn Handler>, shutdown);
        Ok(Handle { inbox, address })
    }
}

/// Steers a running subscriber; clones steer the same one.
#[derive(Clone)]
pub struct Handle {
    inbox: Arc<Inbox>,
    address: SocketAddr,
}

impl Handle {
    /// `http://address`, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL of a path that begins with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Trusts these keys, and no others, at this path. Requests that do not verify are then answered 401.
    ///
    /// # Errors
    ///
    /// When one of them is no key.
    pub fn set_secrets(&self, path: &str, secrets: &[&str]) -> Result<(), SecretError> {
        let secrets = secrets.iter().map(|text| text.parse()).collect::<Result<Vec<Secret>, _>>()?;
        self.inbox.change(|state| state.path_mut(path).secrets = secrets);
        Ok(())
    }

    /// What this path answers from now on, to requests that verify or that it cannot check.
    pub fn set_script(&self, path: &str, script: Script) {
        self.inbox.change(|state| state.path_mut(path).script = script);
    }

    /// The requests at a path, oldest first.
    #[must_use]
    pub fn requests(&self, path: &str) -> Vec<Received> {
        self.inbox.requests(Some(path))
    }

    /// All requests, oldest first.
    #[must_use]
    pub fn all_requests(&self) -> Vec<Received> {
        self.inbox.requests(None)
    }

    /// How many requests have come to each path, also those that are no longer kept.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<String, u64> {
        self.inbox.read(|state| state.totals.clone())
    }

    /// For each path the most requests that were under way at once.
    #[must_use]
    pub fn peaks(&self) -> BTreeMap<String, usize> {
        self.inbox.read(|state| state.under_way.iter().map(|(path, (_, peak))| (path.clone(), *peak)).collect())
    }

    /// Waits until `count` requests have come to a path, and gives those that are kept.
    ///
    /// # Errors
    ///
    /// When `limit` passes first.
    pub async fn wait_for(&self, path: &str, count: usize, limit: Duration) -> Result<Vec<Received>, TooFew> {
        self.inbox.wait_for(path, count, limit).await
    }

    /// Waits until `count` requests that satisfy `wanted` are kept, on whatever path, and gives those.
    ///
    /// # Errors
    ///
    /// When `limit` passes first.
    pub async fn wait_for_where(
        &self,
        count: usize,
        limit: Duration,
        wanted: impl Fn(&Received) -> bool,
    ) -> Result<Vec<Received>, TooFew> {
        let found = || -> Vec<Received> {
            self.inbox.read(|state| state.received.iter().filter(|received| wanted(received)).cloned().collect())
        };
        self.inbox.wait_until(limit, || found().len() >= count).await;
        let seen = found();
        if seen.len() < count {
            return Err(TooFew { path: "any path".to_owned(), expected: count, seen: seen.len() });
        }
        Ok(seen)
    }
}

/// Everything that arrived, and how to answer.
pub(crate) struct Inbox {
    clock: SharedClock,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) received: VecDeque<Received>,
    kept_bytes: usize,
    /// By path, also what is no longer kept.
    pub(crate) totals: BTreeMap<String, u64>,
    /// By path, how many requests are under way and how many were at most.
    under_way: BTreeMap<String, (usize, usize)>,
    paths: BTreeMap<String, PathSetup>,
    last_number: u64,
}

/// What a path trusts and answers.
#[derive(Default)]
pub(crate) struct PathSetup {
    pub(crate) secrets: Vec<Secret>,
    pub(crate) script: Script,
}

impl State {
    pub(crate) fn path_mut(&mut self, path: &str) -> &mut PathSetup {
        self.paths.entry(path.to_owned()).or_default()
    }

    /// Forgets the requests; totals stay.
    pub(crate) fn forget(&mut self) {
        self.received.clear();
        self.kept_bytes = 0;
    }

    fn record(&mut self, received: Received) {
        *self.totals.entry(received.path.clone()).or_default() += 1;
        self.kept_bytes += received.body.len();
        self.received.push_back(received);
        while self.received.len() > KEPT || self.kept_bytes > KEPT_BYTES {
            let Some(oldest) = self.received.pop_front() else { break };
            self.kept_bytes -= oldest.body.len();
        }
    }
}

impl Inbox {
    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    pub(crate) fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let result = act(&mut self.lock());
        self.changes.send_modify(|version| *version += 1);
        result
    }

    pub(crate) fn requests(&self, path: Option<&str>) -> Vec<Received> {
        let wanted = |received: &&Received| path.is_none_or(|path| received.path == path);
        self.read(|state| state.received.iter().filter(wanted).cloned().collect())
    }

    pub(crate) async fn wait_for(&self, path: &str, count: usize, limit: Duration) -> Result<Vec<Received>, TooFew> {
        let total = || {
            let total = self.read(|state| state.totals.get(path).copied().unwrap_or(0));
            usize::try_from(total).unwrap_or(usize::MAX)
        };
        self.wait_until(limit, || total() >= count).await;
        let seen = total();
        if seen < count {
            return Err(TooFew { path: path.to_owned(), expected: count, seen });
        }
        Ok(self.requests(Some(path)))
    }

    async fn wait_until(&self, limit: Duration, reached: impl Fn() -> bool) {
        let mut changes = self.changes.subscribe();
        let watching = async {
            while !reached() {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        // The caller looks again at what was reached, so running out of time needs no word here.
        let _ = tokio::time::timeout(limit, watching).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Verifies, chooses the answer and records all of it, in one step.
    fn receive(&self, call: &Call) -> Step {
        let at_ms = self.clock.now_ms();
        let headers = call.headers.iter();
        let headers = headers
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
        let headers = headers.collect();
        self.change(|state| {
            let setup = state.path_mut(&call.path);
            let verdict = signature::verify(&setup.secrets, &call.headers, &call.body, at_ms);
            let step = match verdict {
                Verdict::Verified | Verdict::Unchecked => setup.script.next(),
                Verdict::MissingHeader | Verdict::Stale | Verdict::WrongSignature => Step::status(401),
            };
            state.last_number += 1;
            state.record(Received {
                number: state.last_number,
                method: call.method.to_string(),
                path: call.path.clone(),
                headers,
                body: call.body.clone(),
                verdict,
                status: step.status_seen(),
                at_ms,
            });
            step
        })
    }
}

/// Counts one request until it is answered or its sender goes away.
struct UnderWay<'a> {
    inbox: &'a Inbox,
    path: &'a str,
}

impl<'a> UnderWay<'a> {
    fn begin(inbox: &'a Inbox, path: &'a str) -> Self {
        let mut state = inbox.lock();
        let (now, peak) = state.under_way.entry(path.to_owned()).or_default();
        *now += 1;
        *peak = (*peak).max(*now);
        drop(state);
        Self { inbox, path }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some((now, _)) = self.inbox.lock().under_way.get_mut(self.path) {
            *now = now.saturating_sub(1);
        }
    }
}

#[async_trait]
impl Handler for Inbox {
    async fn answer(&self, call: Call) -> Answer {
        match call.path.strip_prefix("/_sim/") {
            Some(command) => Answer::Reply(control::answer(self, command, &call).await),
            None => {
                let _under_way = UnderWay::begin(self, &call.path);
                self.receive(&call).perform().await
            }
        }
    }
}
