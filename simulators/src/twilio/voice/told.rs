//! Status callbacks of a call, with their numbers, and what can go wrong on their way.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::{
    clock::format_utc,
    twilio::{
        account::Account,
        calls::{Call, CallEvent},
        messages::RFC2822,
        webhook::{self, Forgery, Webhook},
    },
};

/// The name of these callbacks as an operation of faults.
const OPERATION: &str = "webhook.call_status";

/// A call has four callbacks at most.
const WAITING: usize = 16;

/// Tells of one call, in the order of its callbacks unless a fault says otherwise. What was told is sent also when this
/// is gone.
pub(super) struct Teller {
    queue: mpsc::Sender<Told>,
    subscribed: Vec<CallEvent>,
    sequence: u32,
}

/// A callback on its way.
struct Told {
    url: String,
    sid: String,
    about: &'static str,
    params: Vec<(String, String)>,
}

impl Teller {
    pub(super) fn start(account: &Arc<Account>, call: &Call) -> Self {
        let (queue, told) = mpsc::channel(WAITING);
        let account = Arc::clone(account);
        tokio::spawn(async move {
            let shutdown = account.shutdown.clone();
            shutdown.run_until_cancelled(deliver(&account, told)).await;
        });
        Self { queue, subscribed: call.events.clone(), sequence: 0 }
    }

    /// Tells of `event` if somebody wants to know; `call` is as it stands then.
    pub(super) fn tell(&mut self, event: CallEvent, call: &Call) {
        let Some(url) = call.status_callback.clone().filter(|_| self.subscribed.contains(&event)) else { return };
        let params = parameters(call, self.sequence);
        self.sequence += 1;
        // Full only if the hub answers nothing, when this one would not arrive either.
        let _ = self.queue.try_send(Told { url, sid: call.sid.clone(), about: call.status.name(), params });
    }

    /// Tells that a call is over that was ended through the API.
    pub(super) fn tell_end(&mut self, account: &Account, sid: &str) {
        if let Some(call) = account.call(sid).filter(|call| call.status.is_final()) {
            self.tell(CallEvent::Completed, &call);
        }
    }
}

fn parameters(call: &Call, sequence: u32) -> Vec<(String, String)> {
    let mut params = vec![("SequenceNumber".to_owned(), sequence.to_string())];
    let mut put = |name: &str, value: String| params.push((name.to_owned(), value));
    put("CallStatus", call.status.name().to_owned());
    put("CallbackSource", "call-progress-events".to_owned());
    put("Timestamp", String::new());
    if let Some(seconds) = call.duration_s().filter(|_| call.status.is_final()) {
        put("CallDuration", seconds.to_string());
        put("Duration", (seconds + 59).div_euclid(60).to_string());
    }
    if let Some(code) = call.sip_code {
        put("SipResponseCode", code.to_string());
    }
    if let Some(who) = &call.answered_by {
        put("AnsweredBy", who.clone());
    }
    params.extend(base(call));
    params
}

/// The parameters that every request about a call has, but for its status and account.
pub(super) fn base(call: &Call) -> Vec<(String, String)> {
    let mut params = vec![
        ("CallSid", call.sid.clone()),
        ("From", call.from.clone()),
        ("To", call.to.clone()),
        ("Caller", call.from.clone()),
        ("Called", call.to.clone()),
        ("Direction", call.direction.to_owned()),
        ("ApiVersion", "2010-04-01".to_owned()),
        ("FromCountry", "DK".to_owned()),
        ("FromCity", String::new()),
        ("ToCountry", "DK".to_owned()),
        ("ToCity", String::new()),
    ];
    if let Some(name) = &call.caller_name {
        params.push(("CallerName", name.clone()));
    }
    if let Some(number) = &call.forwarded_from {
        params.push(("ForwardedFrom", number.clone()));
    }
    params.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

async fn deliver(account: &Arc<Account>, mut told: mpsc::Receiver<Told>) {
    let mut shuffled = None;
    let mut late = Vec::new();
    while let Some(mut next) = told.recv().await {
        let stamp = format_utc(account.clock.now_ms(), RFC2822);
        for (_, value) in next.params.iter_mut().filter(|(name, _)| name == "Timestamp") {
            value.clone_from(&stamp);
        }
        next.params.push(("AccountSid".to_owned(), account.options.account_sid.clone()));
        if *shuffled.get_or_insert_with(|| account.faults.take_out_of_order(OPERATION)) {
            late.push(next);
        } else {
            send(account, next).await;
        }
    }
    account.ids.disorder(&mut late);
    for next in late {
        send(account, next).await;
    }
}

async fn send(account: &Arc<Account>, told: Told) {
    let plan = account.faults.take_webhook(OPERATION);
    let forgery = if plan.wrong_signature { Forgery::WrongKey } else { Forgery::None };
    if plan.delay.is_zero() {
        return post(account, told, forgery, plan.duplicate).await;
    }
    // Those after it overtake it.
    let account = Arc::clone(account);
    tokio::spawn(async move {
        let shutdown = account.shutdown.clone();
        let later = async {
            tokio::time::sleep(account.options.time_factor.scale(plan.delay)).await;
            post(&account, told, forgery, plan.duplicate).await;
        };
        shutdown.run_until_cancelled(later).await;
    });
}

async fn post(account: &Account, told: Told, forgery: Forgery, twice: bool) {
    let signing = account.read(|state| state.signing.clone());
    let hook = Webhook {
        message_sid: &told.sid,
        about: told.about,
        url: &told.url,
        fallback_url: None,
        params: told.params,
        signing: &signing,
        forgery,
    };
    let (sent, _) = webhook::send(account, hook).await;
    if twice {
        let _ = webhook::resend(account, &sent, false).await;
    }
}
