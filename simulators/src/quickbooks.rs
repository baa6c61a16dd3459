//! A company in QuickBooks Online: login, the accounting API, and signed webhooks about every change.

mod amount;
mod company;
mod control;
mod customers;
mod errors;
mod payments;
mod query;
mod record;
mod routes;
mod sale;
mod sales;
pub mod webhook;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use self::{
    amount::Cents,
    control::{ActError, InvoiceView, PaymentView},
    record::Kind,
    webhook::{Attempt, Forgery, Format, Operation, SentWebhook},
};
use self::{company::Company, routes::Api};
use crate::{
    clock::{OffsetClock, SharedClock, TimeFactor},
    faults::Faults,
    http,
    oauth::{Client, Consent, Decision, Grants, Issued, Rules},
    provider::Simulator,
};

/// The item that every company has.
pub const ITEM: &str = "1";

/// The tax code of 25 % VAT.
pub const TAX_25: &str = "5";

/// The tax code without VAT.
pub const TAX_0: &str = "6";

/// The account that money goes to.
pub const BANK_ACCOUNT: &str = "35";

/// The account of sales.
pub(crate) const INCOME_ACCOUNT: &str = "79";

/// Names that vendors have, so that no customer can.
const VENDORS: [&str; 1] = ["Leverandør A/S"];

/// What can be changed while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// In which form changes are told.
    pub format: Format,
    /// No webhook tells of what happens from now on.
    pub lose_webhooks: bool,
    /// Refuses with 429 what is over so many requests in a minute; Intuit's limit is 500.
    pub requests_per_minute: Option<u32>,
    /// How many objects change data capture answers for each entity; 1,000 is Intuit's limit.
    pub most_changes: usize,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { format: Format::CloudEvents, lose_webhooks: false, requests_per_minute: Some(500), most_changes: 1_000 }
    }
}

/// How the simulated company is set up.
#[derive(Clone)]
pub struct Options {
    /// The company's id, decimal digits.
    pub realm_id: String,
    /// The registered application, with where a person may be sent back.
    pub client: Client,
    /// The key of the webhooks' signatures.
    pub verifier_token: String,
    /// Where webhooks go; can be set later.
    pub webhook_url: Option<String>,
    /// Sends every webhook to this address in plain HTTP, whatever host its URL names.
    pub connect_to: Option<SocketAddr>,
    /// How long changes are gathered before a webhook tells of them, in provider time.
    pub gathering: Duration,
    /// What can be changed later.
    pub behaviour: Behaviour,
    /// How tokens are given.
    pub rules: Rules,
    /// Tokens that another company's simulator gives, so that several companies have one login; else its own.
    pub grants: Option<Arc<Grants>>,
    /// Where stamps come from.
    pub clock: SharedClock,
    /// Scales the gathering, the ladder of tries, and delays.
    pub time_factor: TimeFactor,
    /// The same seed gives the same identifiers.
    pub seed: u64,
}

impl Options {
    /// A company with the documented behaviour, whose webhooks go nowhere yet.
    #[must_use]
    pub fn new(
        realm_id: impl Into<String>,
        client: Client,
        verifier_token: impl Into<String>,
        clock: SharedClock,
    ) -> Self {
        Self {
            realm_id: realm_id.into(),
            client,
            verifier_token: verifier_token.into(),
            webhook_url: None,
            connect_to: None,
            gathering: Duration::ZERO,
            behaviour: Behaviour::default(),
            rules: Rules::intuit(),
            grants: None,
            clock,
            time_factor: TimeFactor::REAL,
            seed: 4,
        }
    }
}

/// The simulator; see [`QuickBooks::start`].
pub struct QuickBooks;

impl QuickBooks {
    /// Serves the company on `listener` until `shutdown`: the login, the token endpoint and the API, which are three hosts
    /// of Intuit's, under one address.
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub fn start(listener: TcpListener, options: Options, shutdown: CancellationToken) -> io::Result<Handle> {
        let address = listener.local_addr()?;
        let clock = OffsetClock::new(Arc::clone(&options.clock));
        let faults = Arc::new(Faults::default());
        let grants = options.grants.clone().unwrap_or_else(|| {
            let grants = Grants::with_clock(options.rules.clone(), clock.clone());
            grants.register(options.client.clone());
            grants.set_consent(consent(&options));
            grants
        });
        let company = Company::new(options, Arc::clone(&faults), clock.clone(), shutdown.clone());
        webhook::start(&company);
        let simulator = Arc::new(Simulator::new(Api { company, grants }, faults, clock, address));
        http::serve(listener, Arc::clone(&simulator) as Arc<dyn http::Handler>, shutdown);
        Ok(Handle { simulator })
    }
}

fn consent(options: &Options) -> Consent {
    Consent {
        account: "owner@customer.example".to_owned(),
        realm: Some(options.realm_id.clone()),
        decision: Decision::Allow,
    }
}

/// Steers a running simulator; clones steer the same one.
#[derive(Clone)]
pub struct Handle {
    simulator: Arc<Simulator<Api>>,
}

impl Handle {
    crate::provider::steering! {
        /// `http://address`, without a slash at the end; stands for `https://quickbooks.api.intuit.com`,
        /// `https://appcenter.intuit.com` and `https://oauth.platform.intuit.com`.
        base_url;
        /// The faults of this simulator.
        faults;
    }

    /// The server that its tokens come from.
    #[must_use]
    pub fn grants(&self) -> &Arc<Grants> {
        &self.simulator.provider.grants
    }

    /// Tokens as if a person had logged in earlier.
    #[must_use]
    pub fn logged_in(&self) -> Issued {
        let options = &self.company().options;
        self.grants().issue(&options.client.id, &consent(options), &[routes::SCOPE])
    }

    /// Sets where webhooks go, and tells what is waiting.
    pub fn set_webhook_url(&self, url: impl Into<String>) {
        self.company().books().webhook_url = Some(url.into());
        self.company().news.notify_one();
    }

    /// Changes the behaviour.
    pub fn set_behaviour(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.company().books().behaviour);
    }

    /// A person makes, changes, mails, voids or deletes something, or a customer pays; see [`control`] for the forms.
    ///
    /// # Errors
    ///
    /// What QuickBooks would refuse.
    pub fn act(&self, act: Value) -> Result<Value, ActError> {
        control::act(self.company(), act)
    }

    /// All invoices that were not deleted, oldest first.
    #[must_use]
    pub fn invoices(&self) -> Vec<InvoiceView> {
        control::invoices(self.company())
    }

    /// All payments that were not deleted, oldest first.
    #[must_use]
    pub fn payments(&self) -> Vec<PaymentView> {
        control::payments(self.company())
    }

    /// The records of a kind that were not deleted, as the API shows them, oldest first.
    #[must_use]
    pub fn records(&self, kind: Kind) -> Vec<Value> {
        control::records(self.company(), kind)
    }

    /// To whom each invoice was mailed, oldest first: its id and the address.
    #[must_use]
    pub fn mails(&self) -> Vec<(String, String)> {
        self.company().books().mails.iter().cloned().collect()
    }

    /// All webhooks that were sent, in the order in which they ended.
    #[must_use]
    pub fn webhooks(&self) -> Vec<SentWebhook> {
        self.company().books().webhooks.iter().cloned().collect()
    }

    /// Waits until so many webhooks have ended; false when `limit` passes first.
    pub async fn wait_for_webhooks(&self, count: usize, limit: Duration) -> bool {
        let mut ended = self.company().ended.subscribe();
        matches!(tokio::time::timeout(limit, ended.wait_for(|ended| *ended >= count)).await, Ok(Ok(_)))
    }

    /// How many changes no webhook has told of yet.
    #[must_use]
    pub fn untold(&self) -> usize {
        self.company().books().untold.len()
    }

    /// Sends the very bytes of an earlier webhook again, once; none if there is no such webhook.
    pub async fn replay(&self, index: usize) -> Option<Attempt> {
        control::replay(self.company(), index).await
    }

    /// Sends a body of one's own making once, signed or spoilt as told; none while webhooks go nowhere.
    pub async fn forge(&self, body: impl Into<Vec<u8>>, forgery: Forgery) -> Option<Attempt> {
        let url = self.company().books().webhook_url.clone()?;
        Some(webhook::forge(self.company(), &url, body.into(), forgery).await)
    }

    fn company(&self) -> &Company {
        &self.simulator.provider.company
    }
}
