//! All calendars of one account, who watches them, and who was written to.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Behaviour, Options,
    agenda::{Agenda, Stroke},
    channel::{Channel, Notification, send_all},
    errors::ApiError,
    event::{Event, Mode},
};
use crate::{clock::OffsetClock, faults::Faults, ids::Ids};

/// The oldest entries of every list go beyond this many.
const KEPT: usize = 10_000;

/// A mail that Google sent because of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invitation {
    /// The calendar.
    pub calendar: String,
    /// The event.
    pub event_id: String,
    /// Who got it.
    pub email: String,
    /// `invited`, `updated` or `cancelled`.
    pub about: &'static str,
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

/// What changes over time.
pub(crate) struct State {
    pub(crate) agendas: BTreeMap<String, Agenda>,
    primary: String,
    change: u64,
    pub(crate) channels: VecDeque<Channel>,
    /// Sync messages that go out before the answer to their `watch`.
    pub(crate) first_messages: Vec<Notification>,
    pub(crate) notifications: VecDeque<Notification>,
    pub(crate) invitations: VecDeque<Invitation>,
    /// Nobody is told of changes.
    pub(crate) silent: bool,
    /// How often a channel still speaks after it was stopped.
    pub(crate) orphan_posts: u32,
    pub(crate) behaviour: Behaviour,
    pub(crate) limit_reason: String,
}

impl State {
    /// `primary` stands for the account's own calendar.
    pub(crate) fn real_id<'a>(&'a self, id: &'a str) -> &'a str {
        if id == "primary" { &self.primary } else { id }
    }

    pub(crate) fn agenda(&mut self, id: &str) -> Result<&mut Agenda, ApiError> {
        let id = self.real_id(id).to_owned();
        self.agendas.get_mut(&id).ok_or_else(ApiError::not_found)
    }

    pub(crate) fn add_channel(&mut self, channel: Channel) {
        keep(&mut self.channels, channel);
    }

    pub(crate) fn add_notification(&mut self, notification: Notification) {
        keep(&mut self.notifications, notification);
    }
}

fn keep<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == KEPT {
        list.pop_front();
    }
    list.push_back(item);
}

/// What is written.
pub(crate) enum Write<'a> {
    Insert(&'a Map<String, Value>),
    Update { id: &'a str, body: &'a Map<String, Value>, mode: Mode },
    Delete { id: &'a str },
}

/// Who writes, under which condition, and who is told.
#[derive(Clone, Copy)]
pub(crate) struct Writer<'a> {
    pub(crate) by: &'a str,
    pub(crate) if_match: Option<&'a str>,
    /// Whether attendees get mail.
    pub(crate) mails: bool,
}

impl Account {
    pub(crate) fn new(options: Options, faults: Arc<Faults>, clock: OffsetClock, shutdown: CancellationToken) -> Self {
        let agendas = options.calendars.iter().map(|(id, zone)| (id.clone(), Agenda::new(id, zone))).collect();
        let primary = options.calendars.first().map(|(id, _)| id.clone()).unwrap_or_default();
        let state = State {
            agendas,
            primary,
            change: 0,
            channels: VecDeque::new(),
            first_messages: Vec::new(),
            notifications: VecDeque::new(),
            invitations: VecDeque::new(),
            silent: false,
            orphan_posts: options.orphan_posts,
            behaviour: options.behaviour,
            limit_reason: "rateLimitExceeded".to_owned(),
        };
        let ids = Ids::seeded(options.seed);
        Self { options, clock, ids, faults, shutdown, state: Mutex::new(state), changes: watch::Sender::new(0) }
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the state and wakes whoever waits for a change.
    pub(crate) fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let result = act(&mut self.lock());
        self.changes.send_modify(|version| *version += 1);
        result
    }

    /// Waits until the state is as wanted; false when `limit` passes first.
    pub(crate) async fn wait_until(&self, limit: Duration, wanted: impl Fn(&State) -> bool) -> bool {
        let mut changes = self.changes.subscribe();
        let watching = async {
            while !self.read(&wanted) {
                if changes.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(limit, watching).await.unwrap_or(false)
    }

    /// Writes an event, mails its attendees, and tells every channel.
    pub(crate) fn write(
        self: &Arc<Self>,
        calendar: &str,
        writer: Writer<'_>,
        write: &Write,
    ) -> Result<Event, ApiError> {
        let now_ms = self.clock.now_ms();
        let fresh_id = self.ids.uuid().replace('-', "").chars().take(26).collect::<String>();
        let (event, messages) = self.change(|state| {
            state.change += 1;
            let stroke = Stroke { now_ms, change: state.change, by: writer.by };
            let agenda = state.agenda(calendar)?;
            let (event, about) = match write {
                Write::Insert(body) => (agenda.insert(body, fresh_id, stroke)?.clone(), "invited"),
                Write::Update { id, body, mode } => {
                    (agenda.update(id, body, *mode, writer.if_match, stroke)?, "updated")
                }
                Write::Delete { id } => (agenda.delete(id, writer.if_match, stroke)?, "cancelled"),
            };
            let calendar = agenda.id.clone();
            if writer.mails {
                for attendee in event.attendees() {
                    let email = attendee["email"].as_str().unwrap_or_default().to_owned();
                    let mail = Invitation { calendar: calendar.clone(), event_id: event.id.clone(), email, about };
                    keep(&mut state.invitations, mail);
                }
            }
            Ok((event, state.messages_of(&calendar, now_ms, &self.ids)))
        })?;
        send_all(self, messages);
        Ok(event)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
