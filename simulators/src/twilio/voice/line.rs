//! One call that was answered, or is about to be: gets documents and carries them out.

use std::{collections::VecDeque, sync::Arc};

use url::Url;

use super::{
    CallOutcome, Input, Person,
    told::{self, Teller},
    verbs::{self, Dial, Gather, PARSE_FAILURE, Record, Refused, Step},
};
use crate::{
    clock::format_utc,
    twilio::{
        account::Account,
        calls::{Call, CallEvent, CallStatus, Document},
        messages::RFC2822,
        recordings::Recording,
        webhook::{self, Forgery, Signing, Webhook},
    },
};

/// The name of requests for documents as an operation of faults, and that of recording callbacks.
const VOICE: &str = "webhook.voice";
const RECORDING: &str = "webhook.recording";

/// Twilio ends a call whose documents lead in a circle.
const MOST_DOCUMENTS: usize = 50;

/// Twilio's code for an answer that is no document by its media type.
const NO_DOCUMENT: u32 = 12300;

type Params = Vec<(String, String)>;

/// What follows a step.
enum Then {
    Next,
    Ask { url: String, params: Params },
    End(CallStatus),
}

/// The call.
pub(super) struct Line {
    account: Arc<Account>,
    sid: String,
    person: Person,
    signing: Signing,
    forgery: Forgery,
    teller: Teller,
    fallback: Option<String>,
    /// Where the document at hand came from, against which addresses in it are resolved.
    base: String,
    steps: usize,
    documents: usize,
    transcript: Vec<String>,
    answers: Vec<Option<u16>>,
    errors: Vec<String>,
}

impl Line {
    pub(super) fn new(
        account: &Arc<Account>,
        sid: String,
        person: Person,
        signing: Signing,
        forgery: Forgery,
        teller: Teller,
    ) -> Self {
        Self {
            account: Arc::clone(account),
            sid,
            person,
            signing,
            forgery,
            teller,
            fallback: None,
            base: String::new(),
            steps: 0,
            documents: 0,
            transcript: Vec::new(),
            answers: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Carries the call from its first document to its end.
    pub(super) async fn carry_out(&mut self, first: Document) -> CallOutcome {
        let outgoing = self.account.call(&self.sid).is_some_and(|call| call.direction != "inbound");
        if outgoing {
            // An outgoing call has a document only once somebody has answered it.
            self.answer();
        }
        let document = match first {
            Document::Inline(text) => {
                self.documents += 1;
                verbs::read(&text).map_err(|refused| self.errors.push(refused.to_string())).ok()
            }
            Document::At { url, fallback } => {
                self.fallback = fallback;
                self.document(&url, Vec::new()).await
            }
        };
        let status = match document.as_ref().and_then(|steps| steps.first()) {
            Some(Step::Reject { busy }) if !outgoing => {
                self.transcript.push("reject".to_owned());
                if *busy { CallStatus::Busy } else { CallStatus::NoAnswer }
            }
            _ => {
                if !outgoing {
                    self.answer();
                }
                self.converse(document).await
            }
        };
        self.end(status);
        CallOutcome {
            call_sid: self.sid.clone(),
            status: self.account.call(&self.sid).map_or(status, |call| call.status),
            transcript: std::mem::take(&mut self.transcript),
            answers: std::mem::take(&mut self.answers),
            errors: std::mem::take(&mut self.errors),
        }
    }

    /// Somebody picks up.
    fn answer(&mut self) {
        let now = self.account.clock.now_ms();
        let answered = self.account.advance_call(&self.sid, |call| {
            (call.status, call.started_ms) = (CallStatus::InProgress, Some(now));
        });
        if let Some(call) = answered {
            self.teller.tell(CallEvent::Answered, &call);
        }
    }

    /// The call is over; one that was ended through the API stays as it was ended.
    pub(super) fn end(&mut self, status: CallStatus) {
        let now = self.account.clock.now_ms();
        let _ = self.account.advance_call(&self.sid, |call| {
            (call.status, call.ended_ms) = (status, Some(now));
            call.sip_code = match status {
                CallStatus::Busy => Some(486),
                CallStatus::NoAnswer => Some(487),
                CallStatus::Failed => Some(404),
                _ => Some(200),
            };
        });
        let recorded = self.account.call(&self.sid).and_then(|call| {
            let seconds = call.duration_s().filter(|_| call.started_ms.is_some())?;
            Some((u32::try_from(seconds).unwrap_or(0).max(1), call.recording?))
        });
        if let Some((seconds, callback)) = recorded {
            self.recorded("OutboundAPI", seconds, callback);
        }
        let account = Arc::clone(&self.account);
        self.teller.tell_end(&account, &self.sid);
    }

    async fn converse(&mut self, document: Option<Vec<Step>>) -> CallStatus {
        let Some(steps) = document else {
            self.transcript.push("application error".to_owned());
            return CallStatus::Completed;
        };
        let mut steps: VecDeque<Step> = steps.into();
        while let Some(step) = steps.pop_front() {
            self.account.step().await;
            if self.account.call(&self.sid).is_none_or(|call| call.status.is_final()) {
                return CallStatus::Completed;
            }
            self.steps += 1;
            let hangs_up = self.person.hangs_up_after.is_some_and(|after| self.steps > after);
            if hangs_up {
                self.transcript.push("caller hangs up".to_owned());
                return CallStatus::Completed;
            }
            match self.carry(step) {
                Then::Next => {}
                Then::End(status) => return status,
                Then::Ask { url, params } => match self.document(&url, params).await {
                    Some(next) => steps = next.into(),
                    None => {
                        self.transcript.push("application error".to_owned());
                        return CallStatus::Completed;
                    }
                },
            }
        }
        CallStatus::Completed
    }

    fn carry(&mut self, step: Step) -> Then {
        match step {
            Step::Say(text) => self.note(format!("say {text}")),
            Step::Play(what) => self.note(format!("play {what}")),
            Step::Pause(length) => self.note(format!("pause {}", length.as_secs())),
            Step::Gather(gather) => self.gather(gather),
            Step::Dial(dial) => self.dial(&dial),
            Step::Record(record) => self.record(&record),
            Step::Redirect(url) => Then::Ask { url: self.resolve(&url), params: Vec::new() },
            // Elsewhere than first it only ends the call.
            Step::Hangup | Step::Reject { .. } => {
                self.transcript.push("hang up".to_owned());
                Then::End(CallStatus::Completed)
            }
        }
    }

    fn note(&mut self, line: String) -> Then {
        self.transcript.push(line);
        Then::Next
    }

    fn gather(&mut self, gather: Gather) -> Then {
        for prompt in gather.prompts {
            let _ = self.carry(prompt);
        }
        let input = if self.person.inputs.is_empty() { None } else { self.person.inputs.remove(0) };
        let mut params = Params::new();
        match input {
            Some(Input::Digits(keys)) if gather.digits => {
                let keys: String = keys.chars().take(gather.num_digits.unwrap_or(usize::MAX)).collect();
                self.transcript.push(format!("gather {keys}"));
                params.push(("Digits".to_owned(), keys));
            }
            Some(Input::Speech(words, confidence)) if gather.speech => {
                self.transcript.push(format!("gather {words}"));
                params.push(("SpeechResult".to_owned(), words));
                params.push(("Confidence".to_owned(), confidence.to_string()));
            }
            _ => {
                self.transcript.push("gather nothing".to_owned());
                if !gather.on_empty {
                    return Then::Next;
                }
                params.push(("Digits".to_owned(), String::new()));
            }
        }
        Then::Ask { url: self.action(gather.action.as_deref()), params }
    }

    fn dial(&mut self, dial: &Dial) -> Then {
        let ended = if self.person.dials.is_empty() { CallStatus::Completed } else { self.person.dials.remove(0) };
        self.transcript.push(format!("dial {} {}", dial.numbers.join(" "), ended.name()));
        let mut params = vec![
            ("DialCallStatus".to_owned(), ended.name().to_owned()),
            ("DialCallSid".to_owned(), self.account.ids.sid("CA")),
        ];
        if ended == CallStatus::Completed {
            params.push(("DialCallDuration".to_owned(), "42".to_owned()));
            if dial.records {
                let recording = self.recorded("DialVerb", 42, dial.recording_callback.clone());
                params.push(("RecordingUrl".to_owned(), recording.url(&self.account.options.account_sid)));
            }
        }
        match &dial.action {
            Some(action) => Then::Ask { url: self.resolve(action), params },
            None => Then::Next,
        }
    }

    fn record(&mut self, record: &Record) -> Then {
        let seconds = self.person.speaks_s.min(record.max_length_s);
        self.transcript.push(format!("record {seconds}"));
        if seconds == 0 {
            return Then::Next;
        }
        let recording = self.recorded("RecordVerb", seconds, record.callback.as_ref().map(|url| self.resolve(url)));
        let params = vec![
            ("RecordingUrl".to_owned(), recording.url(&self.account.options.account_sid)),
            ("RecordingSid".to_owned(), recording.sid),
            ("RecordingDuration".to_owned(), seconds.to_string()),
            ("Digits".to_owned(), "hangup".to_owned()),
        ];
        Then::Ask { url: self.action(record.action.as_deref()), params }
    }

    /// Keeps a recording and tells of it in the background.
    fn recorded(&mut self, source: &'static str, duration_s: u32, callback: Option<String>) -> Recording {
        let recording = Recording {
            sid: self.account.ids.sid("RE"),
            call_sid: self.sid.clone(),
            duration_s,
            source,
            started_ms: self.account.clock.now_ms(),
        };
        self.account.change(|state| state.add_recording(recording.clone()));
        if let Some(url) = callback {
            let (account, signing, told) = (Arc::clone(&self.account), self.signing.clone(), recording.clone());
            tokio::spawn(async move {
                let shutdown = account.shutdown.clone();
                shutdown.run_until_cancelled(tell_recording(&account, &signing, &url, &told)).await;
            });
        }
        recording
    }

    fn action(&self, action: Option<&str>) -> String {
        action.map_or_else(|| self.base.clone(), |action| self.resolve(action))
    }

    fn resolve(&self, reference: &str) -> String {
        if reference.starts_with("http://") || reference.starts_with("https://") {
            return reference.to_owned();
        }
        let base = Url::parse(&self.base).ok();
        base.and_then(|base| base.join(reference).ok()).map_or_else(|| reference.to_owned(), Into::into)
    }

    /// The document at an address, or the one at the fallback URL.
    async fn document(&mut self, url: &str, extra: Params) -> Option<Vec<Step>> {
        self.documents += 1;
        if self.documents > MOST_DOCUMENTS {
            self.errors.push("too many documents in one call".to_owned());
            return None;
        }
        match self.ask(url, &extra).await {
            Ok(steps) => {
                url.clone_into(&mut self.base);
                Some(steps)
            }
            Err(refused) => {
                self.errors.push(refused.to_string());
                let fallback = self.fallback.clone()?;
                let mut params = extra;
                params.push(("ErrorCode".to_owned(), refused.code.to_string()));
                params.push(("ErrorUrl".to_owned(), url.to_owned()));
                let steps = self.ask(&fallback, &params).await;
                self.base = fallback;
                steps.map_err(|refused| self.errors.push(refused.to_string())).ok()
            }
        }
    }

    async fn ask(&mut self, url: &str, extra: &[(String, String)]) -> Result<Vec<Step>, Refused> {
        let mut params =
            self.account.call(&self.sid).as_ref().map(|call| current(&self.account, call)).unwrap_or_default();
        params.extend_from_slice(extra);
        let plan = self.account.faults.take_webhook(VOICE);
        if !plan.delay.is_zero() {
            tokio::time::sleep(self.account.options.time_factor.scale(plan.delay)).await;
        }
        let forgery = std::mem::take(&mut self.forgery);
        let hook = Webhook {
            message_sid: &self.sid,
            about: "voice",
            url,
            fallback_url: None,
            params,
            signing: &self.signing,
            forgery: if plan.wrong_signature { Forgery::WrongKey } else { forgery },
        };
        let (sent, answered) = webhook::send(&self.account, hook).await;
        self.answers.push(answered.as_ref().map(|answered| answered.status));
        if plan.duplicate {
            let _ = webhook::resend(&self.account, &sent, false).await;
        }
        let Some(answered) = answered else {
            return Err(Refused { code: 11205, why: "no answer".to_owned() });
        };
        if !(200..300).contains(&answered.status) {
            return Err(Refused { code: 11200, why: format!("the answer was {}", answered.status) });
        }
        let media_type = answered.content_type.split(';').next().unwrap_or_default().trim();
        if !matches!(media_type, "text/xml" | "application/xml" | "text/html") {
            return Err(Refused { code: NO_DOCUMENT, why: format!("the content type is {media_type:?}") });
        }
        let text = std::str::from_utf8(&answered.body)
            .map_err(|_| Refused { code: PARSE_FAILURE, why: "the document is not UTF-8".to_owned() })?;
        verbs::read(text)
    }
}

/// The parameters of a request for a document.
fn current(account: &Account, call: &Call) -> Params {
    let mut params = told::base(call);
    params.push(("AccountSid".to_owned(), account.options.account_sid.clone()));
    params.push(("CallStatus".to_owned(), call.status.name().to_owned()));
    if let Some(who) = &call.answered_by {
        params.push(("AnsweredBy".to_owned(), who.clone()));
    }
    params
}

async fn tell_recording(account: &Account, signing: &Signing, url: &str, recording: &Recording) {
    let plan = account.faults.take_webhook(RECORDING);
    if !plan.delay.is_zero() {
        tokio::time::sleep(account.options.time_factor.scale(plan.delay)).await;
    }
    let account_sid = &account.options.account_sid;
    let params = [
        ("AccountSid", account_sid.clone()),
        ("CallSid", recording.call_sid.clone()),
        ("RecordingSid", recording.sid.clone()),
        ("RecordingUrl", recording.url(account_sid)),
        ("RecordingStatus", "completed".to_owned()),
        ("RecordingDuration", recording.duration_s.to_string()),
        ("RecordingChannels", "1".to_owned()),
        ("RecordingSource", recording.source.to_owned()),
        ("RecordingStartTime", format_utc(recording.started_ms, RFC2822)),
    ];
    let hook = Webhook {
        message_sid: &recording.call_sid,
        about: "recording",
        url,
        fallback_url: None,
        params: params.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        signing,
        forgery: if plan.wrong_signature { Forgery::WrongKey } else { Forgery::None },
    };
    let (sent, _) = webhook::send(account, hook).await;
    if plan.duplicate {
        let _ = webhook::resend(account, &sent, false).await;
    }
}
