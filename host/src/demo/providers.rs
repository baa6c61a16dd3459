//! The provider simulators of a stage.

use std::{path::Path, sync::Arc};

use anyhow::Context as _;
use serde_json::{Map, Value};
use switchyard_simulators::{
    billy, calendar,
    clock::{SystemClock as SimulatorClock, TimeFactor},
    gmail, google,
    oauth::{Client, Consent, Decision},
    quickbooks, stripe, subscriber, twilio,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{cli::simulate::ADDRESSES, id::Ids};

/// Twilio's account in the simulator.
pub(super) const ACCOUNT_SID: &str = "AC00000000000000000000000000000001";

/// The mailbox of the story.
pub(super) const MAILBOX: &str = "kontor@acme.test";

/// The calendar of the story.
pub(super) const CALENDAR: &str = "aftaler@acme.test";

/// The service account whose tokens prove the pushes about the mailbox.
pub(super) const PUSHER: &str = "push@acme.iam.gserviceaccount.com";

/// The company of the second tenant at QuickBooks.
pub(super) const REALM: &str = "9341453908059321";

/// All simulators, each at an address of its own, and what opens them.
pub(super) struct Providers {
    pub(super) twilio: twilio::Handle,
    pub(super) billy: billy::Handle,
    pub(super) google: google::Handle,
    pub(super) gmail: gmail::Handle,
    pub(super) calendar: calendar::Handle,
    pub(super) quickbooks: quickbooks::Handle,
    pub(super) stripe: stripe::Handle,
    pub(super) subscriber: subscriber::Handle,
    /// Twilio's auth token.
    pub(super) twilio_token: String,
    /// Billy's access token.
    pub(super) billy_token: String,
    /// The verifier token of QuickBooks' webhooks.
    pub(super) verifier: String,
    /// The signing secret of Stripe's webhooks.
    pub(super) stripe_secret: String,
    /// The operator's registration at Google.
    pub(super) google_client: Client,
    /// The operator's registration at Intuit.
    pub(super) intuit_client: Client,
}

/// One simulator as it is shown to people.
pub(super) struct Shown {
    /// Its name on the command line.
    pub(super) name: &'static str,
    /// Where it listens.
    pub(super) url: String,
    /// What to try, after `switchyard simulate`.
    pub(super) example: &'static str,
}

impl Providers {
    /// Starts all of them on free ports.
    pub(super) async fn start(ids: &Ids, time_factor: u32, shutdown: &CancellationToken) -> anyhow::Result<Self> {
        let secret = || hex::encode(ids.random::<16>());
        let (twilio_token, billy_token) = (secret(), secret());
        let mut options = twilio::Options::new(ACCOUNT_SID, twilio_token.as_str(), Arc::new(SimulatorClock));
        options.time_factor = TimeFactor::new(time_factor);
        let twilio = twilio::Twilio::start(listener().await?, options, shutdown.clone())?;
        let options = billy::Options::new(billy_token.as_str(), Arc::new(SimulatorClock));
        let billy = billy::Billy::start(listener().await?, options, shutdown.clone())?;
        let client = |id: &str| Client { id: id.to_owned(), secret: secret(), redirect_uris: Vec::new() };
        let (google_client, intuit_client) = (client("demo.apps.googleusercontent.com"), client("demo-at-intuit"));
        let mut options = google::Options::new(Arc::new(SimulatorClock));
        options.rules.time_factor = TimeFactor::REAL;
        let google = google::Google::start(listener().await?, options, shutdown.clone())?;
        google.grants().register(google_client.clone());
        let clock = Arc::new(SimulatorClock);
        let mut options = gmail::Options::new(MAILBOX, google.grants(), google.signing_keys(), clock);
        options.time_factor = TimeFactor::new(time_factor);
        let gmail = gmail::Gmail::start(listener().await?, options, shutdown.clone())?;
        let mut options = calendar::Options::new(google.grants(), Arc::new(SimulatorClock));
        options.calendars = vec![(CALENDAR.to_owned(), "Europe/Copenhagen".to_owned())];
        options.time_factor = TimeFactor::new(time_factor);
        let calendar = calendar::Calendar::start(listener().await?, options, shutdown.clone())?;
        let verifier = secret();
        let clock = Arc::new(SimulatorClock);
        let mut options = quickbooks::Options::new(REALM, intuit_client.clone(), verifier.as_str(), clock);
        options.time_factor = TimeFactor::new(time_factor);
        let quickbooks = quickbooks::QuickBooks::start(listener().await?, options, shutdown.clone())?;
        let stripe_secret = format!("whsec_{}", secret());
        let clock = Arc::new(SimulatorClock);
        let mut options = stripe::Options::new(format!("rk_{}", secret()), stripe_secret.as_str(), clock);
        options.time_factor = TimeFactor::new(time_factor);
        let stripe = stripe::Stripe::start(listener().await?, options, shutdown.clone())?;
        let options = subscriber::Options { clock: Arc::new(SimulatorClock) };
        let subscriber = subscriber::Subscriber::start(listener().await?, options, shutdown.clone())?;
        Ok(Self {
            twilio,
            billy,
            google,
            gmail,
            calendar,
            quickbooks,
            stripe,
            subscriber,
            twilio_token,
            billy_token,
            verifier,
            stripe_secret,
            google_client,
            intuit_client,
        })
    }

    /// A refresh token of Google's as if the account's owner had consented to these scopes.
    pub(super) fn google_login(&self, account: &str, scopes: &[&str]) -> String {
        let consent = Consent { account: account.to_owned(), realm: None, decision: Decision::Allow };
        let scopes: Vec<String> = scopes.iter().map(|name| format!("https://www.googleapis.com/auth/{name}")).collect();
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        self.google.grants().issue(&self.google_client.id, &consent, &scopes).refresh_token
    }

    /// All of them but the subscriber.
    pub(super) fn shown(&self) -> Vec<Shown> {
        let shown = |name, url, example| Shown { name, url, example };
        vec![
            shown("twilio", self.twilio.base_url(), "twilio sms --from +4520123456 --to +4570000001 --body Hej"),
            shown("billy", self.billy.base_url(), "billy drop-answer-after-commit --operation invoices.create"),
            shown("google", self.google.base_url(), "google fail --status 429 --times 3"),
            shown(
                "gmail",
                self.gmail.base_url(),
                "gmail mail --from a@kunde.test --subject Hej --text \"Kan I komme?\"",
            ),
            shown("calendar", self.calendar.base_url(), "calendar expire-token"),
            shown("quickbooks", self.quickbooks.base_url(), "quickbooks spoil --body truncated"),
            shown("stripe", self.stripe.base_url(), "stripe subscribe --customer cus_1"),
        ]
    }

    /// The origins of the real providers that stand for simulators here, as the setting `provider_origins` takes them.
    pub(super) fn origins(&self) -> String {
        let (google, intuit) = (self.google.base_url(), self.quickbooks.base_url());
        let pairs = [
            ("https://accounts.google.com", &google),
            ("https://oauth2.googleapis.com", &google),
            ("https://www.googleapis.com", &google),
            ("https://gmail.googleapis.com", &self.gmail.base_url()),
            ("https://appcenter.intuit.com", &intuit),
            ("https://oauth.platform.intuit.com", &intuit),
            ("https://quickbooks.api.intuit.com", &intuit),
        ];
        pairs.map(|(real, here)| format!("{real}={here}")).join(",")
    }

    /// Writes the addresses where `switchyard simulate` looks for them.
    pub(super) fn write_addresses(&self, folder: &Path) -> anyhow::Result<()> {
        let addresses = self.shown().into_iter().map(|shown| (shown.name.to_owned(), Value::from(shown.url)));
        let addresses: Map<String, Value> = addresses.collect();
        let file = folder.join(ADDRESSES);
        std::fs::write(&file, Value::from(addresses).to_string())
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

/// A listener on a free port of this machine.
pub(super) async fn listener() -> anyhow::Result<TcpListener> {
    Ok(TcpListener::bind("127.0.0.1:0").await?)
}
