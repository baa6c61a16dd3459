use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde_json::json;
use switchyard_tests::api::Api;
use tokio::task::JoinSet;

use super::{BUSY, Cluster, TENANTS};

/// After an attempt that was not answered the same event is tried again so soon, elsewhere.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Chains of events that keep order.
const CHAINS: usize = 3;

/// What was accepted, by its id.
#[derive(Clone, Debug, Default)]
pub struct Accepted {
    /// Plain events.
    pub plain: BTreeSet<String>,
    /// Steps of chains, as `s-<chain>-<number>`.
    pub steps: BTreeSet<String>,
    /// Commands to make an invoice.
    pub invoices: BTreeSet<String>,
}

/// Callers that publish until they are told to stop. An event that was not answered is tried again under its id, through
/// the next node, until it is.
pub struct Load {
    callers: JoinSet<()>,
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Accepted>>,
}

#[derive(Clone)]
struct Caller {
    apis: Vec<Api>,
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Accepted>>,
    turn: Arc<AtomicUsize>,
}

impl Load {
    /// Begins.
    #[must_use]
    pub fn begin(cluster: &Cluster) -> Self {
        let (stop, accepted) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Accepted>>::default());
        let apis = cluster.nodes.hubs.iter().map(|hub| (**hub).clone()).collect();
        let caller = Caller { apis, stop: stop.clone(), accepted: accepted.clone(), turn: Arc::default() };
        let mut callers = JoinSet::new();
        for number in 0..TENANTS {
            callers.spawn(caller.clone().plain(number));
        }
        for chain in 0..CHAINS {
            callers.spawn(caller.clone().steps(chain));
        }
        callers.spawn(caller.invoices());
        Self { callers, stop, accepted }
    }

    /// How many events were accepted by now.
    #[must_use]
    pub fn count(&self) -> usize {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.plain.len() + accepted.steps.len() + accepted.invoices.len()
    }

    /// Ends, once each caller's last event was answered.
    ///
    /// # Panics
    /// A caller was refused what it must not be.
    pub async fn end(mut self) -> Accepted {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("a caller ends well");
        }
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Caller {
    async fn plain(self, number: usize) {
        for n in 0.. {
            let id = format!("p-{number}-{n}");
            let body = json!({"type": "plain.made", "id": id, "data": {"n": n}}).to_string();
            if !self.publish(&format!("t{number}"), body, |accepted| accepted.plain.insert(id.clone())).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }

    async fn steps(self, chain: usize) {
        for n in 0.. {
            let id = format!("s-{chain}-{n}");
            let body =
                json!({"type": "step.done", "id": id, "ordering_key": format!("chain-{chain}"), "data": {"n": n}});
            if !self.publish(BUSY, body.to_string(), |accepted| accepted.steps.insert(id.clone())).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(90)).await;
        }
    }

    async fn invoices(self) {
        for n in 0.. {
            let id = format!("i-{n}");
            let data = json!({"customer": {"name": "Ida", "email": "ida@example.test"},
                "lines": [{"description": "work", "quantity": 1, "unit_price": "100.00"}]});
            let body = json!({"type": "invoice.create", "id": id, "data": data}).to_string();
            if !self.publish(BUSY, body, |accepted| accepted.invoices.insert(id.clone())).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
    }

    /// Publishes until it is accepted. Answers whether there should be another one.
    async fn publish(&self, tenant: &str, body: String, note: impl Fn(&mut Accepted) -> bool) -> bool {
        let (path, headers) = (format!("/v1/tenants/{tenant}/events"), [("content-type", "application/json")]);
        loop {
            let api = &self.apis[self.turn.fetch_add(1, Ordering::Relaxed) % self.apis.len()];
            match api.try_raw("POST", &path, &headers, Bytes::from(body.clone())).await {
                Ok(reply) if reply.status == 202 => break,
                // A node that is starting knows nobody yet, one without its database takes nothing.
                Ok(reply) => assert!(matches!(reply.status, 401 | 404 | 429 | 503), "{}: {}", reply.status, reply.text),
                Err(_) => {}
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        // A caller never publishes an id again, so that each is new.
        let _ = note(&mut self.accepted.lock().unwrap_or_else(PoisonError::into_inner));
        !self.stop.load(Ordering::Relaxed)
    }
}
