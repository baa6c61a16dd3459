//! What the account holds, and how it moves.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Options,
    webhook::{self, Attempt},
};
use crate::{clock::OffsetClock, faults::Faults, ids::Ids};

/// At most this many events and attempts are kept; the oldest go.
const KEPT: usize = 10_000;

/// How long a trial lasts, and what one payment is for.
const TRIAL_S: i64 = 14 * 86_400;
const PERIOD_S: i64 = 30 * 86_400;

/// What cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum StripeError {
    /// There is no object of this id.
    #[error("no {0} with the id {1}")]
    Unknown(&'static str, String),
    /// What is over is never taken up again.
    #[error("the subscription {0} is over")]
    Over(String),
    /// Nobody has said where webhooks go.
    #[error("no URL is configured")]
    NoUrl,
    /// The hub gave no answer.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

/// An event as it is kept.
#[derive(Clone, Debug, Serialize)]
pub struct EventRecord {
    /// `evt_..`
    pub id: String,
    /// Its type.
    pub kind: String,
    /// Whether the endpoint has answered 2xx.
    pub taken: bool,
    /// All of it, as webhooks and the API carry it.
    pub body: Value,
}

/// Everything that changes.
pub(crate) struct State {
    pub(crate) url: Option<String>,
    /// The newest first; all of them sign.
    pub(crate) secrets: Vec<String>,
    pub(crate) subscriptions: Vec<Value>,
    pub(crate) events: Vec<EventRecord>,
    pub(crate) attempts: Vec<Attempt>,
    /// Events wait to be sent by hand.
    pub(crate) holding: bool,
    /// The first event that was not published yet.
    next: usize,
    /// Events that go out behind the next one.
    kept_back: Vec<String>,
}

/// The account with everything around it.
pub(crate) struct Account {
    pub(crate) options: Options,
    pub(crate) clock: OffsetClock,
    pub(crate) ids: Ids,
    pub(crate) faults: Arc<Faults>,
    pub(crate) shutdown: CancellationToken,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

impl Account {
    pub(crate) fn new(options: Options, faults: Arc<Faults>, clock: OffsetClock, shutdown: CancellationToken) -> Self {
        let state = State {
            url: options.url.clone(),
            secrets: vec![options.secret.clone()],
            subscriptions: Vec::new(),
            events: Vec::new(),
            attempts: Vec::new(),
            holding: false,
            next: 0,
            kept_back: Vec::new(),
        };
        let ids = Ids::seeded(options.seed);
        Self { options, clock, ids, faults, shutdown, state: Mutex::new(state), changes: watch::Sender::new(0) }
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    pub(crate) fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let result = act(&mut self.lock());
        self.changes.send_modify(|change| *change += 1);
        result
    }

    pub(crate) async fn wait_until(&self, limit: Duration, reached: impl Fn(&State) -> bool) -> bool {
        let mut changes = self.changes.subscribe();
        let wait = async {
            while !self.read(&reached) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, wait).await.is_ok()
    }

    pub(crate) fn now_s(&self) -> i64 {
        self.clock.now_ms() / 1000
    }

    /// Lets every new event go out. One that is to come out of order waits for the one behind it.
    pub(crate) fn publish(self: &Arc<Self>) {
        let due = self.change(|state| {
            if state.holding {
                return Vec::new();
            }
            let new: Vec<(String, String)> =
                state.events[state.next..].iter().map(|event| (event.id.clone(), event.kind.clone())).collect();
            state.next = state.events.len();
            let mut due = Vec::new();
            for (id, kind) in new {
                if self.faults.take_out_of_order(&webhook::operation(&kind)) {
                    state.kept_back.push(id);
                } else {
                    due.push(id);
                    due.append(&mut state.kept_back);
                }
            }
            due
        });
        if !due.is_empty() {
            tokio::spawn(webhook::deliver_all(Arc::clone(self), due));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(crate) fn event(&self, id: &str) -> Option<&EventRecord> {
        self.events.iter().find(|event| event.id == id)
    }

    pub(crate) fn add_attempt(&mut self, attempt: Attempt) {
        if (200..300).contains(&attempt.status.unwrap_or(0))
            && attempt.genuine
            && let Some(event) = self.events.iter_mut().find(|event| event.id == attempt.event)
        {
            event.taken = true;
        }
        self.attempts.push(attempt);
        if self.attempts.len() > KEPT {
            self.attempts.remove(0);
        }
    }
}

/// Writes an event down and answers its id.
pub(crate) fn record(account: &Account, kind: &str, object: Value, previous: Option<Value>) -> String {
    let id = format!("evt_{}", account.ids.base62());
    let mut body = json!({
        "id": id, "object": "event", "api_version": "2026-01-28.clover", "created": account.now_s(),
        "livemode": account.options.livemode, "type": kind, "pending_webhooks": 1,
        "request": {"id": null, "idempotency_key": null}, "data": {"object": object},
    });
    if let Some(connected) = &account.options.account {
        body["account"] = json!(connected);
    }
    if let Some(previous) = previous {
        body["data"]["previous_attributes"] = previous;
    }
    let event = EventRecord { id: id.clone(), kind: kind.to_owned(), taken: false, body };
    account.change(|state| {
        state.events.push(event);
        if state.events.len() > KEPT {
            state.events.remove(0);
            state.next = state.next.saturating_sub(1);
        }
    });
    id
}

/// A customer subscribes.
pub(crate) fn subscribe(account: &Account, customer: &str, status: &str) -> String {
    let now = account.now_s();
    let id = format!("sub_{}", account.ids.base62());
    let trial_end = (status == "trialing").then_some(now + TRIAL_S);
    let subscription = json!({
        "id": id, "object": "subscription", "customer": customer, "status": status, "created": now,
        "livemode": account.options.livemode, "trial_end": trial_end, "cancel_at_period_end": false,
        "cancel_at": null, "canceled_at": null, "ended_at": null, "currency": "dkk", "metadata": {},
        "items": {"object": "list", "data": [{
            "id": format!("si_{}", account.ids.base62()), "object": "subscription_item", "quantity": 1,
            "current_period_start": now, "current_period_end": now + PERIOD_S,
            "price": {"id": "price_pro", "object": "price", "lookup_key": "pro_monthly", "product": "prod_pro",
                "unit_amount": 49_900, "currency": "dkk"},
        }]},
    });
    account.change(|state| state.subscriptions.push(subscription.clone()));
    record(account, "customer.subscription.created", subscription, None);
    id
}

/// A subscription goes to another state; `canceled` ends it.
pub(crate) fn set_status(account: &Account, id: &str, status: &str) -> Result<(), StripeError> {
    let now = account.now_s();
    let (subscription, previous) = account.change(|state| {
        let subscription = state.subscriptions.iter_mut().find(|subscription| subscription["id"] == id);
        let subscription = subscription.ok_or_else(|| StripeError::Unknown("subscription", id.to_owned()))?;
        let previous = subscription["status"].clone();
        if previous == "canceled" || previous == "incomplete_expired" {
            return Err(StripeError::Over(id.to_owned()));
        }
        subscription["status"] = json!(status);
        if status == "canceled" {
            subscription["ended_at"] = json!(now);
            subscription["canceled_at"] = json!(now);
        }
        Ok((subscription.clone(), previous))
    })?;
    match status {
        "canceled" => record(account, "customer.subscription.deleted", subscription, None),
        _ => record(account, "customer.subscription.updated", subscription, Some(json!({"status": previous}))),
    };
    Ok(())
}
