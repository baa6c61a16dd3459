//! A Gmail mailbox: the REST API for messages, threads, labels and history, and the Pub/Sub topic that announces changes
//! by push.
//!
//! Access tokens are those of [`crate::oauth::Grants`], and pushes are signed by [`crate::google::keys::SigningKeys`];
//! both come from a running [`crate::google`].

mod errors;
mod labels;
mod mailbox;
mod messages;
mod outgoing;
mod payload;
mod pubsub;
mod push;
mod routes;
mod search;
mod threads;
mod watch;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, sync::watch::Sender};
use tokio_util::sync::CancellationToken;

use self::{mailbox::Mailbox, routes::Api};
pub use self::{
    mailbox::MessageView,
    pubsub::{Subscription, Topic},
    push::{Forgery, PushOrder, PushOutcome, Pushed},
};
use crate::{
    clock::{OffsetClock, SharedClock, TimeFactor},
    faults::Faults,
    google::keys::SigningKeys,
    http,
    ids::Ids,
    oauth::Grants,
    provider::Simulator,
};

/// The topic that a new mailbox knows, to which Gmail may publish.
pub const TOPIC: &str = "projects/hub-test/topics/gmail";

/// Where the documentation is silent or contradicted: a plugin must work with every combination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// A sent message gets another Message-ID; its other fields stay.
    pub rewrite_message_id: bool,
    /// So long after it came a message is not found by a search; provider time.
    pub index_delay_ms: u64,
    /// The history id of a notification is a number instead of text.
    pub numeric_history_id: bool,
    /// Header values are given decoded instead of as they were written.
    pub decoded_headers: bool,
    /// At most one notification a second is sent, and those in between are dropped, as Gmail does.
    pub limit_notifications: bool,
    /// The most records or messages of a page; 0 is the API's own limit.
    pub page_size: usize,
}

/// How the simulated mailbox is set up.
#[derive(Clone)]
pub struct Options {
    /// The mailbox's address: the account of the tokens that may use it.
    pub address: String,
    /// Who issued the access tokens.
    pub grants: Arc<Grants>,
    /// Who signs the pushes.
    pub keys: Arc<SigningKeys>,
    /// The unconfirmed parts.
    pub behaviour: Behaviour,
    /// Where stamps come from.
    pub clock: SharedClock,
    /// Scales how long a watch lasts and how long Pub/Sub waits.
    pub time_factor: TimeFactor,
    /// The same seed gives the same identifiers.
    pub seed: u64,
}

impl Options {
    /// An empty mailbox of this address.
    #[must_use]
    pub fn new(address: impl Into<String>, grants: Arc<Grants>, keys: Arc<SigningKeys>, clock: SharedClock) -> Self {
        let (behaviour, time_factor) = (Behaviour::default(), TimeFactor::REAL);
        Self { address: address.into(), grants, keys, behaviour, clock, time_factor, seed: 5 }
    }
}

/// The mailbox with everything around it.
pub struct Gmail {
    address: String,
    grants: Arc<Grants>,
    keys: Arc<SigningKeys>,
    clock: OffsetClock,
    time_factor: TimeFactor,
    ids: Ids,
    faults: Arc<Faults>,
    shutdown: CancellationToken,
    mailbox: Mutex<Mailbox>,
    /// Grows whenever something about pushes changes.
    pushes: Sender<u64>,
}

impl Gmail {
    /// Serves the mailbox on `listener` until `shutdown`.
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub fn start(listener: TcpListener, options: Options, shutdown: CancellationToken) -> io::Result<Handle> {
        let address = listener.local_addr()?;
        let clock = OffsetClock::new(Arc::clone(&options.clock));
        let faults = Arc::new(Faults::default());
        let gmail = Arc::new(Self {
            address: options.address,
            grants: options.grants,
            keys: options.keys,
            clock: clock.clone(),
            time_factor: options.time_factor,
            ids: Ids::seeded(options.seed),
            faults: Arc::clone(&faults),
            shutdown: shutdown.clone(),
            mailbox: Mutex::new(Mailbox::new(options.behaviour)),
            pushes: Sender::new(0),
        });
        let simulator = Arc::new(Simulator::new(Api(gmail), faults, clock, address));
        http::serve(listener, Arc::clone(&simulator) as Arc<dyn http::Handler>, shutdown);
        Ok(Handle { simulator })
    }

    fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Provider time in milliseconds of the clock.
    fn scaled_ms(&self, provider_time: Duration) -> i64 {
        i64::try_from(self.time_factor.scale(provider_time).as_millis()).unwrap_or(i64::MAX)
    }
}

/// Steers a running simulator; clones steer the same one.
#[derive(Clone)]
pub struct Handle {
    simulator: Arc<Simulator<Api>>,
}

impl Handle {
    crate::provider::steering! {
        /// `http://address`, without a slash at the end; stands for `https://gmail.googleapis.com`.
        base_url;
        /// The faults of this simulator: operations `messages.list|get|send|modify`, `attachments.get`, `threads.get`,
        /// `history.list`, `labels.list|create`, `profile.get`, `watch`, `stop`, and `push` for what Pub/Sub sends.
        faults;
    }

    /// Changes the unconfirmed parts.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.gmail().mailbox().behaviour = behaviour;
    }

    /// A message arrives: RFC 822 as it came over the wire. Answers its id.
    pub fn receive(&self, raw: impl Into<Bytes>) -> String {
        self.receive_with_labels(raw, &["INBOX", "UNREAD"])
    }

    /// A message arrives with these labels, for instance `SPAM`.
    pub fn receive_with_labels(&self, raw: impl Into<Bytes>, labels: &[&str]) -> String {
        messages::receive(self.gmail(), raw.into(), labels)
    }

    /// The owner adds and removes labels of a message; false if there is no such message.
    pub fn relabel(&self, id: &str, add: &[&str], remove: &[&str]) -> bool {
        labels::relabel(self.gmail(), id, add, remove)
    }

    /// The owner deletes a message for good; false if there is none.
    pub fn delete(&self, id: &str) -> bool {
        self.gmail().mailbox().messages.remove(id).is_some()
    }

    /// All messages, oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<MessageView> {
        self.gmail().mailbox().views()
    }

    /// The messages that were sent from the mailbox, oldest first.
    #[must_use]
    pub fn sent(&self) -> Vec<MessageView> {
        self.messages().into_iter().filter(|message| message.labels.iter().any(|label| label == "SENT")).collect()
    }

    /// Where the mailbox stands.
    #[must_use]
    pub fn history_id(&self) -> u64 {
        self.gmail().mailbox().history_id
    }

    /// Forgets the history so far, so that every id from before is too old.
    pub fn forget_history(&self) {
        self.gmail().mailbox().forget_history();
    }

    /// Whether Gmail announces changes now.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        watch::is_watched(self.gmail())
    }

    /// Ends the announcements, as after seven days.
    pub fn expire_watch(&self) {
        self.gmail().mailbox().watch = None;
    }

    /// Adds a topic, or replaces it.
    pub fn add_topic(&self, name: &str, topic: Topic) {
        self.gmail().mailbox().topics.insert(name.to_owned(), topic);
    }

    /// Adds a push subscription to a topic.
    pub fn subscribe(&self, subscription: Subscription) {
        self.gmail().mailbox().subscriptions.push(subscription);
    }

    /// What Pub/Sub has sent or tries to send, oldest first.
    #[must_use]
    pub fn pushes(&self) -> Vec<Pushed> {
        self.gmail().mailbox().pushed.iter().cloned().collect()
    }

    /// Waits until as many pushes were acknowledged; false when `limit` passes first.
    pub async fn wait_for_acks(&self, count: usize, limit: Duration) -> bool {
        let mut changes = self.gmail().pushes.subscribe();
        let enough = || self.pushes().iter().filter(|pushed| pushed.acked).count() >= count;
        let watching = async {
            while !enough() {
                if changes.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(limit, watching).await.unwrap_or(false)
    }

    /// Sends one push to every subscription, forged or not, once; answers what the hub said to the last.
    ///
    /// # Errors
    ///
    /// When there is no subscription, or its URL cannot be reached.
    pub async fn push(&self, order: &PushOrder) -> Result<PushOutcome, push::PushError> {
        push::once(self.gmail(), order).await
    }

    /// Publishes the last notification again, under the same message id or a fresh one. Nothing is published if there
    /// was none.
    pub fn republish(&self, fresh_id: bool) {
        pubsub::republish(self.gmail(), fresh_id);
    }

    fn gmail(&self) -> &Arc<Gmail> {
        &self.simulator.provider.0
    }
}
