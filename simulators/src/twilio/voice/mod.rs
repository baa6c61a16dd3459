//! Telephone calls: a person calls one of the account's numbers, or is called. The documents of the hub are carried out
//! step by step, with the person doing what the test says, and status callbacks tell of it.

mod line;
mod told;
mod verbs;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::{line::Line, told::Teller};
use super::{
    account::Account,
    calls::{Call, CallEvent, CallStatus, Document},
    inbound::InboundError,
    messages::is_e164,
    webhook::{Forgery, Signing},
};

/// What a person does at the telephone. Beyond each list nothing more is entered, and whoever is dialled answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Person {
    /// What is entered at each `<Gather>` in turn; none is silence.
    pub inputs: Vec<Option<Input>>,
    /// How each `<Dial>` ends in turn.
    pub dials: Vec<CallStatus>,
    /// Seconds that are spoken at a `<Record>`; zero is silence.
    pub speaks_s: u32,
    /// Hangs up after so many steps.
    pub hangs_up_after: Option<usize>,
}

impl Default for Person {
    fn default() -> Self {
        Self { inputs: Vec::new(), dials: Vec::new(), speaks_s: 5, hangs_up_after: None }
    }
}

/// What is entered at a `<Gather>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Input {
    /// Keys.
    Digits(String),
    /// Words, with how sure Twilio is of them.
    Speech(String, f64),
}

/// A person calls.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboundCall {
    /// One of the account's numbers.
    pub to: String,
    /// The caller's number.
    pub from: String,
    /// The caller's name, if it is known.
    #[serde(default)]
    pub caller_name: Option<String>,
    /// The number that was called first.
    #[serde(default)]
    pub forwarded_from: Option<String>,
    /// What the caller does.
    #[serde(default)]
    pub person: Person,
    /// How the requests for documents are signed and encoded.
    #[serde(default)]
    pub signing: Signing,
    /// How the first one is spoilt.
    #[serde(default)]
    pub forgery: Forgery,
}

/// What happens when a number is called.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Callee {
    /// How it ends without an answer: `busy`, `no-answer`, `failed`. None answers.
    pub ends: Option<CallStatus>,
    /// Who answers, where the caller wants to know: `human`, `machine_start`.
    pub answered_by: Option<String>,
    /// What they do then.
    pub person: Person,
}

/// What became of a call.
#[derive(Clone, Debug, Serialize)]
pub struct CallOutcome {
    /// The call.
    pub call_sid: String,
    /// How it ended.
    pub status: CallStatus,
    /// What happened, a line for each step: `say ...`, `gather 1`, `dial +45... no-answer`, `record 5`, `hang up`.
    pub transcript: Vec<String>,
    /// The hub's status at each request for a document, none where it did not answer.
    pub answers: Vec<Option<u16>>,
    /// Twilio's codes for what it could not get or carry out.
    pub errors: Vec<String>,
}

/// A person calls, and the call is carried to its end.
pub(crate) async fn receive(account: &Arc<Account>, call: &InboundCall) -> Result<CallOutcome, InboundError> {
    if !account.owns(&call.to) {
        return Err(InboundError::UnknownNumber(call.to.clone()));
    }
    if !is_e164(&call.from) {
        return Err(InboundError::BadSender(call.from.clone()));
    }
    let (urls, usual) = account.read(|state| (state.voice.clone(), state.signing.clone()));
    let url = urls.url.ok_or(InboundError::NoVoiceUrl)?;
    let record = Call {
        sid: account.ids.sid("CA"),
        from: call.from.clone(),
        to: call.to.clone(),
        direction: "inbound",
        status: CallStatus::Ringing,
        caller_name: call.caller_name.clone(),
        forwarded_from: call.forwarded_from.clone(),
        status_callback: urls.status,
        events: if urls.events.is_empty() { vec![CallEvent::Completed] } else { urls.events },
        created_ms: account.clock.now_ms(),
        ..Call::default()
    };
    let mut teller = Teller::start(account, &record);
    account.change(|state| state.add_call(record.clone()));
    teller.tell(CallEvent::Ringing, &record);
    let signing = if call.signing == Signing::default() { usual } else { call.signing.clone() };
    let mut line = Line::new(account, record.sid, call.person.clone(), signing, call.forgery, teller);
    Ok(line.carry_out(Document::At { url, fallback: urls.fallback }).await)
}

/// Places an outgoing call in the background.
pub(crate) fn place(account: &Arc<Account>, sid: String) {
    let account = Arc::clone(account);
    tokio::spawn(async move {
        let shutdown = account.shutdown.clone();
        shutdown.run_until_cancelled(dial(&account, &sid)).await;
    });
}

async fn dial(account: &Arc<Account>, sid: &str) {
    let Some(call) = account.call(sid) else { return };
    let callee = account.read(|state| state.callees.get(&call.to).cloned()).unwrap_or_default();
    let mut teller = Teller::start(account, &call);
    account.step().await;
    let Some(dialled) = account.advance_call(sid, |_| {}) else {
        return teller.tell_end(account, sid);
    };
    teller.tell(CallEvent::Initiated, &Call { status: CallStatus::Initiated, ..dialled });
    account.step().await;
    let Some(ringing) = account.advance_call(sid, |call| call.status = CallStatus::Ringing) else {
        return teller.tell_end(account, sid);
    };
    teller.tell(CallEvent::Ringing, &ringing);
    account.step().await;
    let signing = account.read(|state| state.signing.clone());
    let answered_by = callee.answered_by.filter(|_| call.detects);
    let mut line = Line::new(account, sid.to_owned(), callee.person, signing, Forgery::None, teller);
    match (callee.ends, call.document) {
        (Some(status), _) => line.end(status),
        (None, None) => line.end(CallStatus::Completed),
        (None, Some(document)) => {
            let _ = account.advance_call(sid, |call| call.answered_by = answered_by);
            let _ = line.carry_out(document).await;
        }
    }
}
