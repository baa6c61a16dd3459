//! A Twilio account: the REST API for messages, calls and recordings, signed webhooks for incoming SMS and calls, and
//! status callbacks.

mod account;
mod callback;
mod calls;
mod errors;
mod inbound;
mod messages;
mod pages;
mod recordings;
mod routes;
pub mod signature;
mod twiml;
mod voice;
mod webhook;

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::{account::Account, routes::Api};
pub use self::{
    calls::{Call, CallEvent, CallStatus},
    inbound::{InboundError, InboundSms, WebhookOutcome},
    messages::{Message, MessageStatus},
    recordings::Recording,
    twiml::{Twiml, TwimlError, Verb},
    voice::{CallOutcome, Callee, InboundCall, Input, Person},
    webhook::{Attempt, Forgery, SentWebhook, SharedKey, Signing},
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
    /// `AC` and 32 hex digits.
    pub account_sid: String,
    /// The primary auth token: the API's password and the key of the signatures.
    pub auth_token: String,
    /// The numbers that the account owns.
    pub numbers: Vec<String>,
    /// Messaging services with their sender pools.
    pub messaging_services: BTreeMap<String, Vec<String>>,
    /// Where incoming SMS go; can be set later.
    pub sms_url: Option<String>,
    /// Where they go when that fails.
    pub sms_fallback_url: Option<String>,
    /// Where incoming calls go; can be set later.
    pub voice_url: Option<String>,
    /// Sends every webhook to this address in plain HTTP, whatever host its URL names.
    pub connect_to: Option<SocketAddr>,
    /// The key for [`Signing::shared_key`].
    pub shared_key: Option<SharedKey>,
    /// Provider time between two statuses of a message, and for each step of a call.
    pub status_step: Duration,
    /// Where stamps come from.
    pub clock: SharedClock,
    /// Scales `status_step` and delays.
    pub time_factor: TimeFactor,
    /// The same seed gives the same identifiers.
    pub seed: u64,
}

impl Options {
    /// An account with one Danish number, no webhook URL yet, and one second between statuses.
    #[must_use]
    pub fn new(account_sid: impl Into<String>, auth_token: impl Into<String>, clock: SharedClock) -> Self {
        Self {
            account_sid: account_sid.into(),
            auth_token: auth_token.into(),
            numbers: vec!["+4570000001".to_owned()],
            messaging_services: BTreeMap::new(),
            sms_url: None,
            sms_fallback_url: None,
            voice_url: None,
            connect_to: None,
            shared_key: None,
            status_step: Duration::from_secs(1),
            clock,
            time_factor: TimeFactor::REAL,
            seed: 1,
        }
    }
}

/// The simulator; see [`Twilio::start`].
pub struct Twilio;

impl Twilio {
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
        /// `http://address`, without a slash at the end; stands for `https://api.twilio.com`.
        base_url;
        /// The faults of this simulator.
        faults;
    }

    /// Sets where incoming SMS go.
    pub fn set_sms_url(&self, url: impl Into<String>, fallback: Option<String>) {
        self.account().change(|state| {
            state.sms_url = Some(url.into());
            state.sms_fallback_url = fallback;
        });
    }

    /// Sets where incoming calls go.
    pub fn set_voice_url(&self, url: impl Into<String>, fallback: Option<String>) {
        self.account().change(|state| (state.voice.url, state.voice.fallback) = (Some(url.into()), fallback));
    }

    /// Sets who is told of incoming calls, and of what; of the end only when `events` is empty.
    pub fn set_voice_status_url(&self, url: impl Into<String>, events: &[CallEvent]) {
        self.account().change(|state| (state.voice.status, state.voice.events) = (Some(url.into()), events.to_vec()));
    }

    /// Signs and encodes all later webhooks so, unless they say otherwise.
    pub fn set_signing(&self, signing: Signing) {
        self.account().change(|state| state.signing = signing);
    }

    /// Says what happens when `number` is called. Others answer and listen.
    pub fn set_callee(&self, number: &str, callee: Callee) {
        self.account().change(|state| state.callees.insert(number.to_owned(), callee));
    }

    /// Makes every later message to `number` end undelivered with this code; none makes it reachable again.
    pub fn set_unreachable(&self, number: &str, error_code: Option<u32>) {
        self.account().change(|state| match error_code {
            Some(code) => state.unreachable.insert(number.to_owned(), code),
            None => state.unreachable.remove(number),
        });
    }

    /// A person sends a plain SMS; returns once the hub has answered, or failed to.
    ///
    /// # Errors
    ///
    /// When the account does not own `to`, `from` is no phone number, or no URL is configured.
    pub async fn send_sms(&self, to: &str, from: &str, body: &str) -> Result<WebhookOutcome, InboundError> {
        let sms =
            InboundSms { to: to.to_owned(), from: from.to_owned(), body: body.to_owned(), ..InboundSms::default() };
        self.send(&sms).await
    }

    /// A person sends an SMS, signed, encoded or forged as it says.
    ///
    /// # Errors
    ///
    /// As [`Self::send_sms`].
    pub async fn send(&self, sms: &InboundSms) -> Result<WebhookOutcome, InboundError> {
        inbound::receive(self.account(), sms).await
    }

    /// A person calls; returns when the call is over. Its callbacks may still be on their way.
    ///
    /// # Errors
    ///
    /// When the account does not own `to`, `from` is no phone number, or no URL is configured.
    pub async fn call(&self, call: &InboundCall) -> Result<CallOutcome, InboundError> {
        voice::receive(self.account(), call).await
    }

    /// Sends the very bytes of an earlier webhook again: the last of that message, or the last SMS.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn replay(&self, message_sid: Option<&str>, fresh_token: bool) -> Result<WebhookOutcome, InboundError> {
        inbound::replay(self.account(), message_sid, fresh_token).await
    }

    /// All messages, oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.account().read(|state| state.messages.iter().cloned().collect())
    }

    /// All calls in both directions, oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.account().read(|state| state.calls.iter().cloned().collect())
    }

    /// All recordings, oldest first.
    #[must_use]
    pub fn recordings(&self) -> Vec<Recording> {
        self.account().read(|state| state.recordings.iter().cloned().collect())
    }

    /// All webhooks that were sent, in the order in which they ended.
    #[must_use]
    pub fn webhooks(&self) -> Vec<SentWebhook> {
        self.account().read(|state| state.webhooks.iter().cloned().collect())
    }

    /// Waits until a message has a status; false when `limit` passes first.
    pub async fn wait_for_status(&self, sid: &str, status: MessageStatus, limit: Duration) -> bool {
        self.account()
            .wait_until(limit, |state| {
                state.messages.iter().any(|message| message.sid == sid && message.status == status)
            })
            .await
    }

    /// Waits until a call has a status; false when `limit` passes first.
    pub async fn wait_for_call(&self, sid: &str, status: CallStatus, limit: Duration) -> bool {
        let there = |call: &Call| call.sid == sid && call.status == status;
        self.account().wait_until(limit, |state| state.calls.iter().any(there)).await
    }

    /// Waits until `count` webhooks about a message or call have ended; false when `limit` passes first.
    pub async fn wait_for_webhooks(&self, message_sid: &str, count: usize, limit: Duration) -> bool {
        self.account()
            .wait_until(limit, |state| {
                state.webhooks.iter().filter(|sent| sent.message_sid == message_sid).count() >= count
            })
            .await
    }

    fn account(&self) -> &Arc<Account> {
        &self.simulator.provider.0
    }
}
