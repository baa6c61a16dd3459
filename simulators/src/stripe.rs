//! A Stripe account as a hub sees it: subscriptions that move through their states, events that are kept, and webhooks
//! that are signed, repeated until they are taken, and spoilt on request.

mod account;
mod routes;
mod webhook;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::{account::Account, routes::Api};
pub use self::{
    account::{EventRecord, StripeError},
    webhook::{Attempt, Forgery, Sending, sign},
};
use crate::{
    clock::{OffsetClock, SharedClock, TimeFactor},
    faults::Faults,
    http,
    provider::Simulator,
};

/// How the simulated account is set up.
#[derive(Clone)]
pub struct Options {
    /// The secret key of the API.
    pub api_key: String,
    /// The endpoint's signing secret, whole (`whsec_..`).
    pub secret: String,
    /// Where webhooks go; can be set later.
    pub url: Option<String>,
    /// The connected account that every event names, as a platform's endpoint gets them.
    pub account: Option<String>,
    /// Sends every webhook to this address in plain HTTP, whatever host its URL names.
    pub connect_to: Option<SocketAddr>,
    /// Whether events say that they are about real money.
    pub livemode: bool,
    /// Where stamps come from.
    pub clock: SharedClock,
    /// Scales delays and the waits between two tries of a webhook.
    pub time_factor: TimeFactor,
    /// The same seed gives the same identifiers.
    pub seed: u64,
}

impl Options {
    /// An account in live mode without an endpoint's URL yet.
    #[must_use]
    pub fn new(api_key: impl Into<String>, secret: impl Into<String>, clock: SharedClock) -> Self {
        Self {
            api_key: api_key.into(),
            secret: secret.into(),
            url: None,
            account: None,
            connect_to: None,
            livemode: true,
            clock,
            time_factor: TimeFactor::REAL,
            seed: 6,
        }
    }
}

/// The simulator; see [`Stripe::start`].
pub struct Stripe;

impl Stripe {
    /// Serves the account on `listener` until `shutdown`.
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub fn start(listener: TcpListener, options: Options, shutdown: CancellationToken) -> io::Result<Handle> {
        let address = listener.local_addr()?;
        let clock = OffsetClock::new(Arc::clone(&options.clock));
        let faults = Arc::new(Faults::default());
        let account = Arc::new(Account::new(options, Arc::clone(&faults), clock.clone(), shutdown.clone()));
        let simulator = Arc::new(Simulator::new(Api(account), faults, clock, address));
        http::serve(listener, Arc::clone(&simulator) as Arc<dyn http::Handler>, shutdown);
        Ok(Handle { simulator })
    }
}

/// Steers a running simulator; clones steer the same one.
#[derive(Clone)]
pub struct Handle {
    simulator: Arc<Simulator<Api>>,
}

impl Handle {
    crate::provider::steering! {
        /// `http://address`, without a slash at the end; stands for `https://api.stripe.com`.
        base_url;
        /// The faults of this simulator.
        faults;
    }

    /// Sets where webhooks go.
    pub fn set_url(&self, url: impl Into<String>) {
        self.account().change(|state| state.url = Some(url.into()));
    }

    /// Rolls the signing secret: until [`Self::end_rotation`] webhooks carry a signature of each.
    pub fn rotate_secret(&self, secret: impl Into<String>) {
        self.account().change(|state| state.secrets.insert(0, secret.into()));
    }

    /// Lets only the newest signing secret sign.
    pub fn end_rotation(&self) {
        self.account().change(|state| state.secrets.truncate(1));
    }

    /// A customer subscribes; the event goes out by itself. Answers the subscription's id.
    pub fn subscribe(&self, customer: &str, status: &str) -> String {
        let id = account::subscribe(self.account(), customer, status);
        self.account().publish();
        id
    }

    /// A subscription goes to another state; the event goes out by itself.
    ///
    /// # Errors
    ///
    /// When there is no such subscription, or it is over.
    pub fn set_status(&self, subscription: &str, status: &str) -> Result<(), StripeError> {
        account::set_status(self.account(), subscription, status)?;
        self.account().publish();
        Ok(())
    }

    /// Something happens to an object; the event goes out by itself. Answers the event's id.
    pub fn happen(&self, kind: &str, object: Value) -> String {
        let id = account::record(self.account(), kind, object, None);
        self.account().publish();
        id
    }

    /// All events, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<EventRecord> {
        self.account().read(|state| state.events.clone())
    }

    /// Sends an event once more, in whatever way `sending` says, and answers with the hub's status.
    ///
    /// # Errors
    ///
    /// When there is no such event or no URL, or the hub cannot be reached.
    pub async fn send(&self, event: &str, sending: &Sending) -> Result<u16, StripeError> {
        webhook::send_once(self.account(), event, sending).await
    }

    /// Keeps new events until they are sent one by one with [`Self::send`].
    pub fn hold(&self) {
        self.account().change(|state| state.holding = true);
    }

    /// All tries of webhooks that have ended, in their order.
    #[must_use]
    pub fn attempts(&self) -> Vec<Attempt> {
        self.account().read(|state| state.attempts.clone())
    }

    /// Waits until every event was taken by the endpoint; false when `limit` passes first.
    pub async fn wait_until_taken(&self, limit: Duration) -> bool {
        self.account().wait_until(limit, |state| state.events.iter().all(|event| event.taken)).await
    }

    fn account(&self) -> &Arc<Account> {
        &self.simulator.provider.0
    }
}
