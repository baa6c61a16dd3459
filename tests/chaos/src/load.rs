use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use switchyard_tests::{
    api::{Api, Tenant},
    world::sender_signature,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::world::{MARKER, OTHER_MARKER, World};

/// After an attempt that was not answered the same event is tried again so soon.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An event for one endpoint.
    Plain,
    /// An event with an ordering key.
    Step,
    /// An event for an endpoint that refuses everything.
    Refused,
    /// A command to make an invoice.
    Invoice,
    /// A command to send a text message.
    Text,
    /// A command to call a provider with an access token.
    Call,
    /// A signed request of a provider.
    Hook,
    /// An event of another tenant.
    Other,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Step => "step",
            Self::Refused => "refused",
            Self::Invoice => "invoice",
            Self::Text => "text",
            Self::Call => "call",
            Self::Hook => "hook",
            Self::Other => "other",
        }
    }

    /// How long a caller thinks between two events.
    const fn pause(self) -> Duration {
        Duration::from_millis(match self {
            Self::Plain => 50,
            Self::Step | Self::Hook => 70,
            Self::Other => 100,
            Self::Refused => 200,
            // Within ten calls a second of a connection, together with the polls.
            Self::Text | Self::Invoice | Self::Call => 700,
        })
    }
}

/// Who publishes at the same time: the kind and its caller, whose events keep order.
const CALLERS: [(Kind, usize); 13] = [
    (Kind::Plain, 0),
    (Kind::Plain, 1),
    (Kind::Plain, 2),
    (Kind::Step, 0),
    (Kind::Step, 1),
    (Kind::Step, 2),
    (Kind::Refused, 0),
    (Kind::Invoice, 0),
    (Kind::Invoice, 1),
    (Kind::Text, 0),
    (Kind::Call, 0),
    (Kind::Hook, 0),
    (Kind::Other, 0),
];

/// What was asked and what was answered.
#[derive(Default)]
pub struct Books {
    /// Every id that was ever tried.
    pub tried: BTreeSet<String>,
    /// Ids that were answered with a 2xx, by kind.
    pub accepted: BTreeMap<Kind, BTreeSet<String>>,
    /// Answers that nobody should get.
    pub wrong: Vec<String>,
}

impl Books {
    /// The accepted ids of a kind.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Vec<&String> {
        self.accepted.get(&kind).into_iter().flatten().collect()
    }

    /// How many were accepted.
    #[must_use]
    pub fn count(&self) -> usize {
        self.accepted.values().map(BTreeSet::len).sum()
    }
}

/// The books, shared by the callers.
#[derive(Default)]
pub struct Shared {
    books: Mutex<Books>,
    tries: AtomicU64,
}

impl Shared {
    /// What is in them now.
    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often anything was tried.
    #[must_use]
    pub fn tries(&self) -> u64 {
        self.tries.load(Ordering::Relaxed)
    }
}

/// Callers who go on, whatever happens to the hub, until they are told to stop.
pub struct Load {
    /// What they have asked and heard.
    pub shared: Arc<Shared>,
    stop: CancellationToken,
    callers: JoinSet<()>,
}

/// Where one caller sends its events.
#[derive(Clone)]
struct Caller {
    kind: Kind,
    number: usize,
    acme: Tenant,
    other: Tenant,
    source: String,
    stranger: Api,
}

impl Load {
    /// Lets all callers begin.
    #[must_use]
    pub fn begin(world: &World) -> Self {
        let (shared, stop, mut callers) = (Arc::<Shared>::default(), CancellationToken::new(), JoinSet::new());
        for (kind, number) in CALLERS {
            let caller = Caller {
                kind,
                number,
                acme: world.acme.clone(),
                other: world.other.clone(),
                source: world.sources["acme"].clone(),
                stranger: world.hub.without_key(),
            };
            callers.spawn(caller.go_on(shared.clone(), stop.clone()));
        }
        Self { shared, stop, callers }
    }

    /// Lets every caller finish its event, which needs a hub that answers.
    ///
    /// # Panics
    /// A caller still has no answer after a minute.
    pub async fn end(mut self) -> Arc<Shared> {
        self.stop.cancel();
        let ending = async { while self.callers.join_next().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(60), ending).await.expect("every caller gets an answer at last");
        self.shared
    }
}

impl Caller {
    async fn go_on(self, shared: Arc<Shared>, stop: CancellationToken) {
        for n in 0_u32.. {
            let id = format!("{}-{}-{n:05}", self.kind.word(), self.number);
            shared.books().tried.insert(id.clone());
            self.surely(&id, n, &shared).await;
            if tokio::time::timeout(self.kind.pause(), stop.cancelled()).await.is_ok() {
                return;
            }
        }
    }

    /// Tries one event until it is answered.
    async fn surely(&self, id: &str, n: u32, shared: &Shared) {
        loop {
            shared.tries.fetch_add(1, Ordering::Relaxed);
            match self.once(id, n).await {
                Some((200..=299, _)) => {
                    shared.books().accepted.entry(self.kind).or_default().insert(id.to_owned());
                    return;
                }
                // Away, or too busy: what an honest client repeats.
                None | Some((503 | 429, _)) => tokio::time::sleep(AGAIN_AFTER).await,
                Some((status, text)) => {
                    shared.books().wrong.push(format!("{id}: {status} {text}"));
                    return;
                }
            }
        }
    }

    async fn once(&self, id: &str, n: u32) -> Option<(u16, String)> {
        let json = ("content-type", "application/json");
        let reply = if self.kind == Kind::Hook {
            let body = json!({"id": id, "marker": MARKER}).to_string();
            let signature = sender_signature(body.as_bytes());
            let headers = [json, ("x-signature", signature.as_str())];
            self.stranger.try_raw("POST", &self.source, &headers, Bytes::from(body)).await
        } else {
            let tenant = if self.kind == Kind::Other { &self.other } else { &self.acme };
            let body = self.event(id, n).to_string();
            tenant.api.try_raw("POST", &tenant.path("/events"), &[json], Bytes::from(body)).await
        };
        reply.ok().map(|reply| (reply.status, reply.text))
    }

    fn event(&self, id: &str, n: u32) -> Value {
        match self.kind {
            Kind::Plain => json!({"type": "plain.made", "id": id, "data": {"marker": MARKER}}),
            Kind::Other => json!({"type": "plain.made", "id": id, "data": {"marker": OTHER_MARKER}}),
            Kind::Refused => json!({"type": "refused.made", "id": id, "data": {"marker": MARKER}}),
            Kind::Step => json!({"type": "step.done", "id": id, "ordering_key": format!("key-{}", self.number),
                "data": {"marker": MARKER, "key": self.number, "seq": n}}),
            Kind::Invoice => json!({"type": "invoice.create", "id": id, "correlation_id": id, "data": {
                "customer": {"name": format!("Customer {}", self.number), "email": "a@example.test"},
                "lines": [{"description": MARKER, "quantity": 1, "unit_price": "100.00"}]}}),
            Kind::Call => json!({"type": "api.call", "id": id, "correlation_id": id,
                "data": {"method": "GET", "path": format!("/oauth2/v3/userinfo?alt=json&quotaUser={id}")}}),
            Kind::Text | Kind::Hook => json!({"type": "sms.send", "id": id, "correlation_id": id,
                "data": {"to": "+4520000001", "body": format!("{MARKER} {id}")}}),
        }
    }
}
