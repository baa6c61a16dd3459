//! A person sends an SMS: the webhook, the TwiML that comes back, and forged or repeated requests.

use serde::{Deserialize, Serialize};

use super::{
    account::Account,
    messages::{Message, MessageStatus, is_e164, segments},
    twiml::{Twiml, TwimlError},
    webhook::{self, Attempt, Forgery, SentWebhook, Signing, Webhook},
};
use crate::client::Answered;

/// The name of inbound SMS as an operation of faults.
const OPERATION: &str = "webhook.sms";
const STOP_WORDS: [&str; 8] = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"];
const START_WORDS: [&str; 3] = ["START", "YES", "UNSTOP"];

/// An SMS that a person sends.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboundSms {
    /// One of the account's numbers.
    pub to: String,
    /// The person's number.
    pub from: String,
    /// The text; may be empty.
    #[serde(default)]
    pub body: String,
    /// URL and content type of each picture.
    #[serde(default)]
    pub media: Vec<(String, String)>,
    /// `STOP`, `START` or `HELP`, as Advanced Opt-Out adds it.
    #[serde(default)]
    pub opt_out_type: Option<String>,
    /// How the request is signed and encoded.
    #[serde(default)]
    pub signing: Signing,
    /// How it is spoilt.
    #[serde(default)]
    pub forgery: Forgery,
}

/// What became of a webhook.
#[derive(Clone, Debug, Serialize)]
pub struct WebhookOutcome {
    /// The message.
    pub message_sid: String,
    /// The hub's last status; none if it never answered.
    pub status: Option<u16>,
    /// The last answer's content type.
    pub content_type: String,
    /// The last answer's body.
    pub body: String,
    /// The verbs of the answer, if it was a success with a body.
    pub twiml: Option<Twiml>,
    /// Why a successful answer could not be read as TwiML.
    pub twiml_error: Option<TwimlError>,
    /// Every try.
    pub attempts: Vec<Attempt>,
}

/// Why no webhook was sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InboundError {
    /// The account does not own the recipient's number.
    #[error("{0} is not a number of this account")]
    UnknownNumber(String),
    /// The sender's number is not in E.164 form.
    #[error("{0} is not a phone number such as +4520123456")]
    BadSender(String),
    /// No URL is configured for incoming SMS.
    #[error("no SMS URL is configured for this account")]
    NoUrl,
    /// No URL is configured for incoming calls.
    #[error("no voice URL is configured for this account")]
    NoVoiceUrl,
    /// There is no earlier webhook to repeat.
    #[error("no webhook of that message was sent")]
    NothingToReplay,
}

/// The SMS arrives at Twilio and is passed on.
pub(crate) async fn receive(account: &Account, sms: &InboundSms) -> Result<WebhookOutcome, InboundError> {
    if !account.owns(&sms.to) {
        return Err(InboundError::UnknownNumber(sms.to.clone()));
    }
    if !is_e164(&sms.from) {
        return Err(InboundError::BadSender(sms.from.clone()));
    }
    let (url, fallback) = account.read(|state| (state.sms_url.clone(), state.sms_fallback_url.clone()));
    let url = url.ok_or(InboundError::NoUrl)?;
    let sid = account.ids.sid("SM");
    record(account, sms, &sid);
    let usual = account.read(|state| state.signing.clone());
    let plan = account.faults.take_webhook(OPERATION);
    if !plan.delay.is_zero() {
        tokio::time::sleep(account.options.time_factor.scale(plan.delay)).await;
    }
    let hook = Webhook {
        message_sid: &sid,
        about: "sms",
        url: &url,
        fallback_url: fallback.as_deref(),
        params: parameters(account, sms, &sid),
        signing: if sms.signing == Signing::default() { &usual } else { &sms.signing },
        forgery: if plan.wrong_signature { Forgery::WrongKey } else { sms.forgery },
    };
    let (sent, answered) = webhook::send(account, hook).await;
    let mut outcome = outcome(&sid, sent.attempts.clone(), answered);
    reply_to_person(account, sms, &outcome);
    if plan.duplicate {
        let (again, _) = webhook::resend(account, &sent, false).await;
        outcome.attempts.extend(again);
    }
    Ok(outcome)
}

/// Sends the bytes of an earlier SMS webhook again: of that message, or of the last one.
pub(crate) async fn replay(
    account: &Account,
    message_sid: Option<&str>,
    fresh_token: bool,
) -> Result<WebhookOutcome, InboundError> {
    let earlier: Option<SentWebhook> = account.read(|state| {
        let wanted = |sent: &&SentWebhook| match message_sid {
            Some(sid) => sent.message_sid == sid,
            None => sent.about == "sms",
        };
        state.webhooks.iter().rev().find(wanted).cloned()
    });
    let earlier = earlier.ok_or(InboundError::NothingToReplay)?;
    let (attempts, answered) = webhook::resend(account, &earlier, fresh_token).await;
    Ok(outcome(&earlier.message_sid, attempts, answered))
}

fn record(account: &Account, sms: &InboundSms, sid: &str) {
    let now = account.clock.now_ms();
    let message = Message {
        sid: sid.to_owned(),
        from: sms.from.clone(),
        to: sms.to.clone(),
        body: sms.body.clone(),
        status: MessageStatus::Received,
        direction: "inbound",
        error_code: None,
        messaging_service_sid: None,
        status_callback: None,
        created_ms: now,
        updated_ms: now,
        sent_ms: Some(now),
    };
    // Only a message of one single word is a keyword.
    let word = sms.body.trim().to_ascii_uppercase();
    account.change(|state| {
        state.add(message);
        if STOP_WORDS.contains(&word.as_str()) {
            state.set_opt_out(&sms.from, &sms.to, true);
        } else if START_WORDS.contains(&word.as_str()) {
            state.set_opt_out(&sms.from, &sms.to, false);
        }
    });
}

fn parameters(account: &Account, sms: &InboundSms, sid: &str) -> Vec<(String, String)> {
    let mut params: Vec<(String, String)> = [
        ("ToCountry", "DK"),
        ("ToState", ""),
        ("SmsMessageSid", sid),
        ("NumMedia", &sms.media.len().to_string()),
        ("ToCity", ""),
        ("FromZip", ""),
        ("SmsSid", sid),
        ("FromState", ""),
        ("SmsStatus", "received"),
        ("FromCity", ""),
        ("Body", &sms.body),
        ("FromCountry", "DK"),
        ("To", &sms.to),
        ("ToZip", ""),
        ("NumSegments", &segments(&sms.body).to_string()),
        ("MessageSid", sid),
        ("AccountSid", &account.options.account_sid),
        ("From", &sms.from),
        ("ApiVersion", "2010-04-01"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    for (index, (url, content_type)) in sms.media.iter().enumerate() {
        params.push((format!("MediaUrl{index}"), url.clone()));
        params.push((format!("MediaContentType{index}"), content_type.clone()));
    }
    if let Some(kind) = &sms.opt_out_type {
        params.push(("OptOutType".to_owned(), kind.clone()));
    }
    params
}

fn outcome(sid: &str, attempts: Vec<Attempt>, answered: Option<Answered>) -> WebhookOutcome {
    let mut outcome = WebhookOutcome {
        message_sid: sid.to_owned(),
        status: None,
        content_type: String::new(),
        body: String::new(),
        twiml: None,
        twiml_error: None,
        attempts,
    };
    if let Some(answered) = answered {
        outcome.status = Some(answered.status);
        outcome.content_type = answered.content_type;
        outcome.body = String::from_utf8_lossy(&answered.body).into_owned();
        if (200..300).contains(&answered.status) && !outcome.body.trim().is_empty() {
            match Twiml::parse(&outcome.body) {
                Ok(twiml) => outcome.twiml = Some(twiml),
                Err(error) => outcome.twiml_error = Some(error),
            }
        }
    }
    outcome
}

/// `<Message>` verbs go back to the person, unless the person has opted out.
fn reply_to_person(account: &Account, sms: &InboundSms, outcome: &WebhookOutcome) {
    let Some(twiml) = &outcome.twiml else { return };
    if account.opted_out(&sms.from, &sms.to) {
        return;
    }
    let now = account.clock.now_ms();
    for text in twiml.messages() {
        let message = Message {
            sid: account.ids.sid("SM"),
            from: sms.to.clone(),
            to: sms.from.clone(),
            body: text.to_owned(),
            status: MessageStatus::Delivered,
            direction: "outbound-reply",
            error_code: None,
            messaging_service_sid: None,
            status_callback: None,
            created_ms: now,
            updated_ms: now,
            sent_ms: Some(now),
        };
        account.change(|state| state.add(message));
    }
}
