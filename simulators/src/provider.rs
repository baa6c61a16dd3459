//! What every provider simulator shares: a request meets its faults before and after it is executed, uses are counted,
//! and `/_sim/` lets another process steer.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use http::{Method, header::RETRY_AFTER};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    clock::OffsetClock,
    faults::{Armed, Fault, Faults},
    http::{Answer, Call, Handler, Reply},
    spoil::spoil,
};

/// The longest that a control request may wait for something to happen.
const LONGEST_WAIT_MS: u64 = 60_000;

/// How often an operation was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Requests that arrived, whatever became of them.
    pub received: u64,
    /// Requests that were carried out, also when their answer was an error of the caller's or never left.
    pub executed: u64,
}

/// What a provider adds to the shared behaviour.
#[async_trait]
pub(crate) trait Provider: Send + Sync + 'static {
    /// The name of the operation that a request means, for faults and counts.
    fn operation(&self, call: &Call) -> String;

    /// Carries the request out.
    fn execute(&self, call: &Call) -> Reply;

    /// What happens between executing a request and answering it.
    async fn before_answer(&self) {}

    /// The provider's own form of an injected error.
    fn failure(&self, status: u16) -> Reply;

    /// The provider's answer to a wrong credential.
    fn unauthenticated(&self) -> Reply;

    /// Ends the credential that this request carries; nothing where credentials do not end by themselves.
    fn expire_token(&self, _call: &Call) {}

    /// The operations that there are, `resource.verb` each, so that a fault for another one is refused; empty where they
    /// cannot be listed.
    fn operations(&self) -> Vec<String> {
        Vec::new()
    }

    /// A control request that only this provider knows, its path without `/_sim/`.
    async fn control(&self, command: &str, call: &Call) -> Reply;
}

/// A provider with its faults and counts, as the server calls it.
pub(crate) struct Simulator<P> {
    pub(crate) provider: P,
    pub(crate) faults: Arc<Faults>,
    pub(crate) clock: OffsetClock,
    pub(crate) address: SocketAddr,
    counts: Mutex<BTreeMap<String, Count>>,
}

impl<P: Provider> Simulator<P> {
    pub(crate) fn new(provider: P, faults: Arc<Faults>, clock: OffsetClock, address: SocketAddr) -> Self {
        Self { provider, faults, clock, address, counts: Mutex::default() }
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, Count> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, operation: &str, add: impl FnOnce(&mut Count)) {
        add(self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(operation.to_owned()).or_default());
    }

    async fn provide(&self, call: &Call) -> Answer {
        let operation = self.provider.operation(call);
        self.count(&operation, |count| count.received += 1);
        let plan = self.faults.take_request(&operation);
        if !plan.latency.is_zero() {
            tokio::time::sleep(plan.latency).await;
        }
        if let Some(answer) = self.refused(plan.effect.as_ref(), call) {
            return answer;
        }
        self.count(&operation, |count| count.executed += 1);
        let reply = self.provider.execute(call);
        self.provider.before_answer().await;
        match plan.effect {
            Some(Fault::FailAfter { status, body }) => Answer::Reply(spoil(self.provider.failure(status), body)),
            Some(Fault::Spoil { body }) => Answer::Reply(spoil(reply, body)),
            Some(Fault::DropAfter) => Answer::Close,
            Some(Fault::ResetAfter) => Answer::Reset,
            Some(Fault::HangAfter) => {
                self.faults.hold().await;
                Answer::Reply(reply)
            }
            _ => Answer::Reply(reply),
        }
    }

    /// The answer to a request that is not executed.
    fn refused(&self, effect: Option<&Fault>, call: &Call) -> Option<Answer> {
        Some(match effect? {
            Fault::FailBefore { status, body } => Answer::Reply(spoil(self.provider.failure(*status), *body)),
            Fault::RateLimit { retry_after_s } => {
                let reply = self.provider.failure(429);
                Answer::Reply(match retry_after_s {
                    Some(seconds) => reply.with(RETRY_AFTER, &seconds.to_string()),
                    None => reply,
                })
            }
            Fault::WrongToken => Answer::Reply(self.provider.unauthenticated()),
            Fault::ExpireToken => {
                self.provider.expire_token(call);
                Answer::Reply(self.provider.unauthenticated())
            }
            Fault::DropBefore => Answer::Close,
            _ => return None,
        })
    }

    async fn control(&self, command: &str, call: &Call) -> Reply {
        match (&call.method, command) {
            (&Method::GET, "faults") => Reply::json(200, &json!({"armed": self.faults.armed()})),
            (&Method::POST, "faults") => with_body(call, |armed: Armed| self.arm(armed)),
            (&Method::DELETE, "faults") => {
                self.faults.clear();
                Reply::json(200, &json!({"armed": []}))
            }
            (&Method::GET, "held") => self.held(call).await,
            (&Method::POST, "release") => {
                let held = self.faults.held();
                self.faults.release();
                Reply::json(200, &json!({"released": held}))
            }
            (&Method::GET, "counts") => Reply::json(200, &json!(self.counts())),
            (&Method::POST, "clock") => with_body(call, |offset: ClockOffset| {
                self.clock.set_offset_ms(offset.offset_ms);
                Reply::json(200, &json!({"offset_ms": offset.offset_ms}))
            }),
            _ => self.provider.control(command, call).await,
        }
    }

    /// Arms a fault that can happen: a name that is no operation would never be met, and nobody would know.
    fn arm(&self, armed: Armed) -> Reply {
        let operations = self.provider.operations();
        if armed.times == 0 {
            return control_problem(400, "`times` must be at least 1; to disarm, DELETE /_sim/faults");
        }
        let operation = &armed.operation;
        if !operations.is_empty() && !armed.fault.is_of_webhooks() && !operations.iter().any(|one| armed.matches(one)) {
            let text = format!(
                "no operation here is `{operation}`; take `*` for any, `<resource>.*`, or one of {}",
                operations.join(", ")
            );
            return control_problem(400, &text);
        }
        self.faults.push(armed);
        Reply::json(200, &json!({"armed": self.faults.armed()}))
    }

    /// `?wait_ms=` waits until one is held; without it the answer is immediate.
    async fn held(&self, call: &Call) -> Reply {
        let wait_ms = call.query_value("wait_ms").and_then(|text| text.parse().ok()).unwrap_or(0);
        let limit = Duration::from_millis(LONGEST_WAIT_MS.min(wait_ms));
        // Whether it came in time is what `held` says; being late is no error here.
        let _ = self.faults.wait_held(1, limit).await;
        Reply::json(200, &json!({"held": self.faults.held()}))
    }
}

#[derive(Deserialize)]
struct ClockOffset {
    offset_ms: i64,
}

#[async_trait]
impl<P: Provider> Handler for Simulator<P> {
    async fn answer(&self, call: Call) -> Answer {
        match call.path.strip_prefix("/_sim/") {
            Some(command) => Answer::Reply(self.control(command, &call).await),
            None => self.provide(&call).await,
        }
    }
}

/// What every simulator's `Handle` offers over the [`Simulator`] in its field `simulator`.
macro_rules! steering {
    ($(#[$of_url:meta])* base_url; $(#[$of_faults:meta])* faults;) => {
        $(#[$of_url])*
        #[must_use]
        pub fn base_url(&self) -> String {
            format!("http://{}", self.simulator.address)
        }

        $(#[$of_faults])*
        #[must_use]
        pub fn faults(&self) -> &$crate::faults::Faults {
            &self.simulator.faults
        }

        /// How often each operation was used.
        #[must_use]
        pub fn counts(&self) -> std::collections::BTreeMap<String, $crate::provider::Count> {
            self.simulator.counts()
        }

        /// Lets the provider's clock be wrong by this much.
        pub fn set_clock_offset_ms(&self, offset_ms: i64) {
            self.simulator.clock.set_offset_ms(offset_ms);
        }
    };
}
pub(crate) use steering;

/// Reads a control request's JSON body, or says what is wrong with it.
pub(crate) fn with_body<T: DeserializeOwned>(call: &Call, act: impl FnOnce(T) -> Reply) -> Reply {
    match call.json() {
        Ok(body) => act(body),
        Err(error) => control_problem(400, &error.to_string()),
    }
}

/// The error document of control requests.
pub(crate) fn control_problem(status: u16, message: &str) -> Reply {
    Reply::json(status, &json!({"error": message}))
}

/// The answer to a control request that nobody knows.
pub(crate) fn unknown_command(command: &str) -> Reply {
    let known: Value = json!({"error": format!("no control named {command:?} with this method")});
    Reply::json(404, &known)
}
