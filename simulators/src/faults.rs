//! What can go wrong, armed per operation and for a number of times.
//!
//! Faults of requests (the hub calls the provider): `latency`, `fail_before`, `rate_limit`, `wrong_token`, `expire_token`,
//! `drop_before`, `fail_after`, `spoil`, `drop_after`, `reset_after`, `hang_after`. Faults of webhooks (the provider calls
//! the hub): `delay`, `duplicate`, `out_of_order`, `wrong_signature`. Operations are names such as `messages.create`;
//! `messages.*` and `*` match several.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Nobody is held longer than this, released or not.
const LONGEST_HOLD: Duration = Duration::from_secs(600);

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// The request waits before it is looked at; real milliseconds, not scaled.
    Latency {
        /// How long.
        ms: u64,
    },
    /// An error status, and nothing has been executed.
    FailBefore {
        /// The status, usually 500 or 503.
        status: u16,
        /// How the body looks.
        #[serde(default)]
        body: FaultBody,
    },
    /// An error status although the request has been executed.
    FailAfter {
        /// The status, usually 500 or 504.
        status: u16,
        /// How the body looks.
        #[serde(default)]
        body: FaultBody,
    },
    /// Executed, then answered with its own status and another body.
    Spoil {
        /// How the body looks.
        body: FaultBody,
    },
    /// Nothing is executed, and the connection is closed without an answer.
    DropBefore,
    /// Executed, then the connection is closed without an answer.
    DropAfter,
    /// Executed, then the connection is reset, so that the client sees an error and no end.
    ResetAfter,
    /// Executed, then the answer is withheld until [`Faults::release`], or until the client goes away.
    HangAfter,
    /// 429, and nothing has been executed.
    RateLimit {
        /// `Retry-After` in seconds, if one is sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_s: Option<u32>,
    },
    /// Answered as if the credential were wrong.
    WrongToken,
    /// The credential of this request ends now, and the request is refused for it. Where credentials have no end, the
    /// same as a wrong one.
    ExpireToken,
    /// The webhook leaves later; provider time, so the time factor applies.
    Delay {
        /// How long.
        ms: u64,
    },
    /// The webhook is sent twice.
    Duplicate,
    /// The webhooks of one message are sent in another order than they happened.
    OutOfOrder,
    /// The webhook carries a signature made with another key.
    WrongSignature,
}

/// The body of an injected answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultBody {
    /// The provider's usual error document.
    #[default]
    Provider,
    /// An HTML page as a proxy in front of the provider would make it.
    Html,
    /// A line of log text, then the provider's usual error document.
    LogLineThenProvider,
    /// No body.
    Empty,
    /// The first half of the usual document.
    Truncated,
    /// The usual document with every value of another type.
    WrongTypes,
    /// `{}`, so that every field is missing.
    EmptyObject,
    /// 10 MiB.
    Huge,
    /// One byte every quarter of a second, for hours.
    Drip,
}

/// A fault that waits for its operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Armed {
    /// The operation's name, `<resource>.*`, or `*`.
    pub operation: String,
    /// What goes wrong.
    #[serde(flatten)]
    pub fault: Fault,
    /// How often it still goes wrong.
    #[serde(default = "once")]
    pub times: u32,
}

const fn once() -> u32 {
    1
}

impl Fault {
    /// Whether it happens to what the provider sends, not to what it receives.
    #[must_use]
    pub const fn is_of_webhooks(&self) -> bool {
        matches!(self, Self::Delay { .. } | Self::Duplicate | Self::OutOfOrder | Self::WrongSignature)
    }
}

impl Armed {
    pub(crate) fn matches(&self, operation: &str) -> bool {
        match self.operation.strip_suffix('*') {
            Some(prefix) => operation.starts_with(prefix),
            None => self.operation == operation,
        }
    }
}

/// Fewer requests than expected were held within the time.
#[derive(Debug, thiserror::Error)]
#[error("expected {expected} requests held after executing, saw {held}")]
pub struct NotHeld {
    /// How many were waited for.
    pub expected: usize,
    /// How many were held when the time was over.
    pub held: usize,
}

/// The armed faults of one simulator, in the order in which they were armed.
pub struct Faults {
    armed: Mutex<Vec<Armed>>,
    held: watch::Sender<usize>,
    releases: watch::Sender<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { armed: Mutex::default(), held: watch::Sender::new(0), releases: watch::Sender::new(0) }
    }
}

impl Faults {
    /// Arms `fault` for the next `times` uses of `operation`, after those already armed for it.
    pub fn arm(&self, operation: &str, fault: Fault, times: u32) {
        self.push(Armed { operation: operation.to_owned(), fault, times });
    }

    /// Arms a fault as read from a control request.
    pub fn push(&self, armed: Armed) {
        if armed.times > 0 {
            self.lock().push(armed);
        }
    }

    /// The faults that are still to come.
    #[must_use]
    pub fn armed(&self) -> Vec<Armed> {
        self.lock().clone()
    }

    /// Disarms everything. Requests that are held stay held.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// How many requests have been executed and now wait for [`Self::release`].
    #[must_use]
    pub fn held(&self) -> usize {
        *self.held.borrow()
    }

    /// Waits until at least `expected` requests are held after executing.
    ///
    /// # Errors
    ///
    /// When `limit` passes first.
    pub async fn wait_held(&self, expected: usize, limit: Duration) -> Result<(), NotHeld> {
        let mut held = self.held.subscribe();
        match tokio::time::timeout(limit, held.wait_for(|held| *held >= expected)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NotHeld { expected, held: self.held() }),
        }
    }

    /// Waits until nobody is held any more, because of a release or because the clients went away; false when `limit`
    /// passes first.
    pub async fn wait_none_held(&self, limit: Duration) -> bool {
        let mut held = self.held.subscribe();
        matches!(tokio::time::timeout(limit, held.wait_for(|held| *held == 0)).await, Ok(Ok(_)))
    }

    /// Lets every held request have its answer.
    pub fn release(&self) {
        self.releases.send_modify(|release| *release += 1);
    }

    /// Withholds the caller until the next release; counted as held until it returns or is dropped.
    pub(crate) async fn hold(&self) {
        let mut releases = self.releases.subscribe();
        self.held.send_modify(|held| *held += 1);
        let _held = Held(&self.held);
        let _ = tokio::time::timeout(LONGEST_HOLD, releases.changed()).await;
    }

    /// What happens to this request: all the latency that is due, and at most one other fault.
    pub(crate) fn take_request(&self, operation: &str) -> RequestPlan {
        let latency = self.take(operation, |fault| matches!(fault, Fault::Latency { .. }));
        let effect = self.take(operation, |fault| !fault.is_of_webhooks() && !matches!(fault, Fault::Latency { .. }));
        RequestPlan { latency: milliseconds(latency), effect }
    }

    /// What happens to this webhook.
    pub(crate) fn take_webhook(&self, operation: &str) -> WebhookPlan {
        WebhookPlan {
            delay: milliseconds(self.take(operation, |fault| matches!(fault, Fault::Delay { .. }))),
            duplicate: self.take(operation, |fault| *fault == Fault::Duplicate).is_some(),
            wrong_signature: self.take(operation, |fault| *fault == Fault::WrongSignature).is_some(),
        }
    }

    /// Whether the webhooks of this message go out in another order.
    pub(crate) fn take_out_of_order(&self, operation: &str) -> bool {
        self.take(operation, |fault| *fault == Fault::OutOfOrder).is_some()
    }

    fn take(&self, operation: &str, wanted: impl Fn(&Fault) -> bool) -> Option<Fault> {
        let mut armed = self.lock();
        let index = armed.iter().position(|armed| armed.matches(operation) && wanted(&armed.fault))?;
        armed[index].times -= 1;
        if armed[index].times == 0 { Some(armed.remove(index).fault) } else { Some(armed[index].fault.clone()) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Armed>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a held request for as long as it lives, so that a client that goes away is no longer counted.
struct Held<'a>(&'a watch::Sender<usize>);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|held| *held -= 1);
    }
}

/// What happens to one request.
pub(crate) struct RequestPlan {
    pub(crate) latency: Duration,
    pub(crate) effect: Option<Fault>,
}

/// What happens to one webhook.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WebhookPlan {
    pub(crate) delay: Duration,
    pub(crate) duplicate: bool,
    pub(crate) wrong_signature: bool,
}

fn milliseconds(fault: Option<Fault>) -> Duration {
    match fault {
        Some(Fault::Latency { ms } | Fault::Delay { ms }) => Duration::from_millis(ms),
        _ => Duration::ZERO,
    }
}
