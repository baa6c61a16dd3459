//! Google calendars: events and series, lists with sync tokens, free and busy times, and push channels.
//!
//! Access tokens are judged by [`Grants`], which is shared with [`crate::google`]. People write through the handle or
//! `/_sim/`, and every change is told to the channels of its calendar.

mod account;
mod agenda;
mod channel;
mod control;
mod errors;
mod event;
mod freebusy;
mod listing;
mod moment;
mod person;
mod recurrence;
mod routes;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::{account::Account, routes::Api};
pub use self::{
    account::Invitation,
    channel::{Channel, Notification},
    event::Status,
    person::{Forgery, PersonError},
};
use crate::{
    clock::{OffsetClock, SharedClock, TimeFactor},
    faults::Faults,
    http,
    oauth::Grants,
    provider::Simulator,
};

/// Where the public documentation leaves a choice: a plugin must work with every combination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Lists show of a deleted event its id and nothing else.
    pub bare_deletions: bool,
}

/// How the simulated account is set up.
#[derive(Clone)]
pub struct Options {
    /// Who may call.
    pub grants: Arc<Grants>,
    /// Calendars with their zones; the first is `primary`.
    pub calendars: Vec<(String, String)>,
    /// Takes channels at plain HTTP addresses too, which Google does not.
    pub plain_http: bool,
    /// Sends every notification to this address in plain HTTP, whatever host its URL names.
    pub connect_to: Option<SocketAddr>,
    /// How often a channel still speaks after it was stopped.
    pub orphan_posts: u32,
    /// The choices.
    pub behaviour: Behaviour,
    /// Where stamps come from.
    pub clock: SharedClock,
    /// Shortens the lives of channels, and waits. The `expiration` that is answered is the shortened one, since whoever
    /// reads it has a real clock.
    pub time_factor: TimeFactor,
    /// The same seed gives the same identifiers.
    pub seed: u64,
}

impl Options {
    /// One calendar, `owner@customer.example`, in Copenhagen.
    #[must_use]
    pub fn new(grants: Arc<Grants>, clock: SharedClock) -> Self {
        Self {
            grants,
            calendars: vec![("owner@customer.example".to_owned(), "Europe/Copenhagen".to_owned())],
            plain_http: true,
            connect_to: None,
            orphan_posts: 0,
            behaviour: Behaviour::default(),
            clock,
            time_factor: TimeFactor::REAL,
            seed: 5,
        }
    }
}

/// The simulator; see [`Calendar::start`].
pub struct Calendar;

impl Calendar {
    /// Serves the calendars on `listener` until `shutdown`.
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
        /// `http://address`, without a slash at the end; stands for `https://www.googleapis.com`, so paths begin
        /// `/calendar/v3`.
        base_url;
        /// The faults of this simulator: operations `events.list|get|insert|patch|update|delete|watch`, `channels.stop`,
        /// `freebusy.query`, and `webhook.notification`.
        faults;
    }

    /// All events of a calendar as the API shows them, cancelled ones included.
    #[must_use]
    pub fn events(&self, calendar: &str) -> Vec<Value> {
        control::events(self.account(), Some(calendar)).as_array().cloned().unwrap_or_default()
    }

    /// Those that take place.
    #[must_use]
    pub fn live_events(&self, calendar: &str) -> Vec<Value> {
        self.events(calendar).into_iter().filter(|event| event["status"] != "cancelled").collect()
    }

    /// A person makes an event; answers it as the API shows it.
    ///
    /// # Errors
    ///
    /// When the calendar does not exist or the event is not valid.
    pub fn make(&self, calendar: &str, event: &Value) -> Result<Value, PersonError> {
        let made = person::make(self.account_arc(), calendar, &members(event))?;
        Ok(control::shown(self.account(), calendar, &made))
    }

    /// A person changes an event.
    ///
    /// # Errors
    ///
    /// When it does not exist or would not be valid.
    pub fn change(&self, calendar: &str, id: &str, event: &Value) -> Result<Value, PersonError> {
        let changed = person::change(self.account_arc(), calendar, id, &members(event))?;
        Ok(control::shown(self.account(), calendar, &changed))
    }

    /// A person deletes an event.
    ///
    /// # Errors
    ///
    /// When it does not exist.
    pub fn cancel(&self, calendar: &str, id: &str) -> Result<Value, PersonError> {
        let cancelled = person::cancel(self.account_arc(), calendar, id)?;
        Ok(control::shown(self.account(), calendar, &cancelled))
    }

    /// Somebody who was invited answers: `accepted`, `declined`, `tentative`.
    ///
    /// # Errors
    ///
    /// When the event does not exist.
    pub fn answer(&self, calendar: &str, id: &str, email: &str, response: &str) -> Result<Value, PersonError> {
        let answered = person::answer(self.account_arc(), calendar, id, email, response)?;
        Ok(control::shown(self.account(), calendar, &answered))
    }

    /// All channels that were ever made, oldest first.
    #[must_use]
    pub fn channels(&self) -> Vec<Channel> {
        self.account().read(|state| state.channels.iter().cloned().collect())
    }

    /// The channels that still speak.
    #[must_use]
    pub fn live_channels(&self) -> Vec<Channel> {
        let now = self.account().clock.now_ms();
        self.channels().into_iter().filter(|channel| !channel.stopped && channel.expiration_ms > now).collect()
    }

    /// Ends a channel before its time; false if there is none of this id.
    pub fn expire_channel(&self, id: &str) -> bool {
        person::expire_channel(self.account(), id)
    }

    /// Makes every sync token of a calendar, or of all, invalid.
    pub fn forget_sync_tokens(&self, calendar: Option<&str>) {
        person::forget_sync_tokens(self.account(), calendar);
    }

    /// All notifications, in the order in which they ended.
    #[must_use]
    pub fn notifications(&self) -> Vec<Notification> {
        self.account().read(|state| state.notifications.iter().cloned().collect())
    }

    /// Waits until so many notifications have ended; false when `limit` passes first.
    pub async fn wait_for_notifications(&self, count: usize, limit: Duration) -> bool {
        self.account().wait_until(limit, |state| state.notifications.len() >= count).await
    }

    /// Tells nobody of changes from now on, or everybody again.
    pub fn set_silent(&self, silent: bool) {
        self.account().change(|state| state.silent = silent);
    }

    /// How often a channel that is stopped from now on still speaks.
    pub fn set_orphan_posts(&self, posts: u32) {
        self.account().change(|state| state.orphan_posts = posts);
    }

    /// Changes the choices.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.account().change(|state| state.behaviour = behaviour);
    }

    /// Sends all earlier notifications again, so often and in another order; answers the statuses.
    ///
    /// # Errors
    ///
    /// When none was sent yet.
    pub async fn repeat(&self, times: usize) -> Result<Vec<Option<u16>>, PersonError> {
        person::repeat(self.account_arc(), times).await
    }

    /// Sends a notification that Google did not send so; answers the status.
    ///
    /// # Errors
    ///
    /// When none was sent yet, whose headers it would take.
    pub async fn forge(&self, forgery: &Forgery) -> Result<Option<u16>, PersonError> {
        person::forge(self.account_arc(), forgery).await
    }

    /// The mails that were sent because of events.
    #[must_use]
    pub fn invitations(&self) -> Vec<Invitation> {
        self.account().read(|state| state.invitations.iter().cloned().collect())
    }

    fn account(&self) -> &Account {
        &self.simulator.provider.0
    }

    fn account_arc(&self) -> &Arc<Account> {
        &self.simulator.provider.0
    }
}

fn members(event: &Value) -> Map<String, Value> {
    event.as_object().cloned().unwrap_or_else(|| Map::from_iter([("summary".to_owned(), json!(""))]))
}
