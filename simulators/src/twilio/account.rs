//! One Twilio account: what it owns, what it has sent and received, and who does not want to hear from it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Options,
    calls::{Call, CallEvent},
    messages::Message,
    recordings::Recording,
    voice::Callee,
    webhook::{SentWebhook, Signing},
};
use crate::{clock::OffsetClock, faults::Faults, ids::Ids};

/// The oldest entries of every list go beyond this many.
const KEPT: usize = 10_000;

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

/// Where the account's numbers send their calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct VoiceUrls {
    pub(crate) url: Option<String>,
    pub(crate) fallback: Option<String>,
    pub(crate) status: Option<String>,
    /// Of what status callbacks tell; without a word of the end only.
    pub(crate) events: Vec<CallEvent>,
}

/// What changes over time.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) sms_url: Option<String>,
    pub(crate) sms_fallback_url: Option<String>,
    pub(crate) voice: VoiceUrls,
    /// How webhooks are signed that do not say otherwise.
    pub(crate) signing: Signing,
    /// Oldest first.
    pub(crate) messages: VecDeque<Message>,
    pub(crate) calls: VecDeque<Call>,
    pub(crate) recordings: VecDeque<Recording>,
    /// Who does not simply answer when called.
    pub(crate) callees: BTreeMap<String, Callee>,
    pub(crate) webhooks: VecDeque<SentWebhook>,
    /// (person, our number).
    opt_outs: BTreeSet<(String, String)>,
    /// Recipients that cannot be reached, with the error code of their callbacks.
    pub(crate) unreachable: BTreeMap<String, u32>,
}

impl State {
    pub(crate) fn add(&mut self, message: Message) {
        keep(&mut self.messages, message);
    }

    pub(crate) fn add_call(&mut self, call: Call) {
        keep(&mut self.calls, call);
    }

    pub(crate) fn add_recording(&mut self, recording: Recording) {
        keep(&mut self.recordings, recording);
    }

    pub(crate) fn call_mut(&mut self, sid: &str) -> Option<&mut Call> {
        self.calls.iter_mut().find(|call| call.sid == sid)
    }

    pub(crate) fn add_webhook(&mut self, webhook: SentWebhook) {
        keep(&mut self.webhooks, webhook);
    }

    pub(crate) fn message_mut(&mut self, sid: &str) -> Option<&mut Message> {
        self.messages.iter_mut().find(|message| message.sid == sid)
    }

    /// Notes a person's wish, for one of our numbers.
    pub(crate) fn set_opt_out(&mut self, person: &str, number: &str, out: bool) {
        let pair = (person.to_owned(), number.to_owned());
        if out {
            self.opt_outs.insert(pair);
        } else {
            self.opt_outs.remove(&pair);
        }
    }
}

fn keep<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == KEPT {
        list.pop_front();
    }
    list.push_back(item);
}

impl Account {
    pub(crate) fn new(options: Options, faults: Arc<Faults>, clock: OffsetClock, shutdown: CancellationToken) -> Self {
        let state = State {
            sms_url: options.sms_url.clone(),
            sms_fallback_url: options.sms_fallback_url.clone(),
            voice: VoiceUrls { url: options.voice_url.clone(), ..VoiceUrls::default() },
            ..State::default()
        };
        Self {
            ids: Ids::seeded(options.seed),
            options,
            clock,
            faults,
            shutdown,
            state: Mutex::new(state),
            changes: watch::Sender::new(0),
        }
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

    pub(crate) fn message(&self, sid: &str) -> Option<Message> {
        self.read(|state| state.messages.iter().find(|message| message.sid == sid).cloned())
    }

    pub(crate) fn call(&self, sid: &str) -> Option<Call> {
        self.read(|state| state.calls.iter().find(|call| call.sid == sid).cloned())
    }

    /// Changes a call that is not over yet; answers it as it is then.
    pub(crate) fn advance_call(&self, sid: &str, act: impl FnOnce(&mut Call)) -> Option<Call> {
        self.change(|state| {
            let call = state.call_mut(sid).filter(|call| !call.status.is_final())?;
            act(call);
            Some(call.clone())
        })
    }

    /// Waits as long as one step of a message or call takes.
    pub(crate) async fn step(&self) {
        tokio::time::sleep(self.options.time_factor.scale(self.options.status_step)).await;
    }

    pub(crate) fn owns(&self, number: &str) -> bool {
        self.options.numbers.iter().any(|owned| owned == number)
    }

    pub(crate) fn opted_out(&self, person: &str, number: &str) -> bool {
        self.read(|state| state.opt_outs.contains(&(person.to_owned(), number.to_owned())))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
