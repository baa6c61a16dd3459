//! The Calls resource: create, fetch, list, and end.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    account::Account,
    errors::ApiError,
    messages::{RFC2822, is_callback_url, is_e164},
    pages, voice,
};
use crate::{
    clock::{date_utc, format_utc},
    http::{Call as Request, Reply},
};

/// Twilio's limit of a document that comes with the request.
const LONGEST_TWIML: usize = 4000;

/// Where a call stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallStatus {
    /// Asked for, not yet dialled.
    #[default]
    Queued,
    /// Dialled. Only callbacks say so; the resource stays queued.
    Initiated,
    /// The telephone rings.
    Ringing,
    /// Somebody answered.
    InProgress,
    /// Answered, and over.
    Completed,
    /// The other side was busy.
    Busy,
    /// It could not be put through.
    Failed,
    /// Nobody answered.
    NoAnswer,
    /// Withdrawn before anybody answered.
    Canceled,
}

impl CallStatus {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Initiated => "initiated",
            Self::Ringing => "ringing",
            Self::InProgress => "in-progress",
            Self::Completed => "completed",
            Self::Busy => "busy",
            Self::Failed => "failed",
            Self::NoAnswer => "no-answer",
            Self::Canceled => "canceled",
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Busy | Self::Failed | Self::NoAnswer | Self::Canceled)
    }
}

/// Of what a status callback tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallEvent {
    /// It is dialled.
    Initiated,
    /// It rings.
    Ringing,
    /// Somebody answered.
    Answered,
    /// It is over, however it ended.
    Completed,
}

impl CallEvent {
    fn named(name: &str) -> Option<Self> {
        match name {
            "initiated" => Some(Self::Initiated),
            "ringing" => Some(Self::Ringing),
            "answered" => Some(Self::Answered),
            "completed" => Some(Self::Completed),
            _ => None,
        }
    }
}

/// A telephone call in either direction.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Call {
    /// `CA` and 32 hex digits.
    pub sid: String,
    /// The caller's number.
    pub from: String,
    /// The number that is called.
    pub to: String,
    /// `inbound` or `outbound-api`.
    pub direction: &'static str,
    /// Where it stands.
    pub status: CallStatus,
    /// `human` or `machine_start`, where detection was asked for.
    pub answered_by: Option<String>,
    /// The SIP answer.
    pub sip_code: Option<u16>,
    /// The caller's name.
    pub caller_name: Option<String>,
    /// The number that was called first.
    pub forwarded_from: Option<String>,
    /// Where status callbacks go.
    pub status_callback: Option<String>,
    /// Of what they tell.
    pub events: Vec<CallEvent>,
    /// When it was made.
    pub created_ms: i64,
    /// When somebody answered.
    pub started_ms: Option<i64>,
    /// When it was over.
    pub ended_ms: Option<i64>,
    /// What is done once somebody answers.
    #[serde(skip)]
    pub(crate) document: Option<Document>,
    /// Whether it is found out who answered.
    #[serde(skip)]
    pub(crate) detects: bool,
    /// Whether all of it is recorded, and who is told.
    #[serde(skip)]
    pub(crate) recording: Option<Option<String>>,
}

/// Where the first document of an outgoing call comes from.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    Inline(String),
    At { url: String, fallback: Option<String> },
}

impl Call {
    /// Whole seconds between answer and end.
    pub(crate) fn duration_s(&self) -> Option<i64> {
        let (Some(started), Some(ended)) = (self.started_ms, self.ended_ms) else { return None };
        Some((ended - started).max(0) / 1000)
    }

    fn resource(&self, account_sid: &str) -> Value {
        let uri = format!("/2010-04-01/Accounts/{account_sid}/Calls/{}", self.sid);
        let date = |ms: i64| format_utc(ms, RFC2822);
        json!({
            "sid": self.sid, "account_sid": account_sid, "api_version": "2010-04-01", "status": self.status,
            "direction": self.direction, "from": self.from, "to": self.to, "from_formatted": self.from,
            "to_formatted": self.to, "duration": self.duration_s().map(|seconds| seconds.to_string()),
            "date_created": date(self.created_ms), "date_updated": date(self.ended_ms.unwrap_or(self.created_ms)),
            "start_time": self.started_ms.map(date), "end_time": self.ended_ms.map(date), "queue_time": "0",
            "price": null, "price_unit": "USD", "parent_call_sid": null, "answered_by": self.answered_by,
            "caller_name": self.caller_name, "forwarded_from": self.forwarded_from, "phone_number_sid": null,
            "subresource_uris": {"recordings": format!("{uri}/Recordings.json")}, "uri": format!("{uri}.json"),
        })
    }
}

/// `POST Calls.json`.
pub(crate) fn create(account: &Arc<Account>, request: &Request) -> Result<Reply, ApiError> {
    let form = request.form_pairs();
    let filled =
        |name: &str| form.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.clone());
    let to = filled("To").ok_or_else(|| ApiError::new(400, 21201, "No 'To' number is specified"))?;
    if !is_e164(&to) {
        return Err(ApiError::new(400, 21211, format!("The 'To' number {to} is not a valid phone number.")));
    }
    let from = filled("From").ok_or_else(|| ApiError::new(400, 21213, "'From' phone number is required"))?;
    if !account.owns(&from) {
        return Err(ApiError::new(400, 21210, format!("'From' phone number {from} is not verified for this account")));
    }
    for (name, code) in [("Url", 21205), ("FallbackUrl", 21205), ("StatusCallback", 21609)] {
        if let Some(url) = filled(name).filter(|url| !is_callback_url(url)) {
            return Err(ApiError::new(400, code, format!("{name} {url} is not a valid URL")));
        }
    }
    let call = Call {
        sid: account.ids.sid("CA"),
        from,
        to,
        direction: "outbound-api",
        status_callback: filled("StatusCallback"),
        events: events(&form)?,
        created_ms: account.clock.now_ms(),
        document: document(&filled)?,
        detects: filled("MachineDetection").is_some(),
        recording: (filled("Record").as_deref() == Some("true")).then(|| filled("RecordingStatusCallback")),
        ..Call::default()
    };
    let resource = call.resource(&account.options.account_sid);
    let sid = call.sid.clone();
    account.change(|state| state.add_call(call));
    voice::place(account, sid);
    Ok(Reply::json(201, &resource))
}

/// The words of `StatusCallbackEvent`, which may stand in several parameters or in one, divided by spaces.
fn events(form: &[(String, String)]) -> Result<Vec<CallEvent>, ApiError> {
    let named = form.iter().filter(|(name, _)| name == "StatusCallbackEvent");
    let words: Vec<&str> = named.flat_map(|(_, value)| value.split_ascii_whitespace()).collect();
    if words.is_empty() {
        return Ok(vec![CallEvent::Completed]);
    }
    let event = |word: &&str| {
        CallEvent::named(word)
            .ok_or_else(|| ApiError::new(400, 21626, format!("Invalid value(s) for StatusCallbackEvent: {word}")))
    };
    words.iter().map(event).collect()
}

fn document(filled: &impl Fn(&str) -> Option<String>) -> Result<Option<Document>, ApiError> {
    let inline = filled("Twiml");
    if inline.as_ref().is_some_and(|text| text.chars().count() > LONGEST_TWIML) {
        return Err(ApiError::new(400, 21664, format!("Twiml is longer than {LONGEST_TWIML} characters")));
    }
    match (filled("Url"), inline) {
        (Some(url), _) => Ok(Some(Document::At { url, fallback: filled("FallbackUrl") })),
        (None, Some(text)) => Ok(Some(Document::Inline(text))),
        (None, None) if filled("ApplicationSid").is_some() => Ok(None),
        (None, None) => Err(ApiError::new(400, 21205, "Url, Twiml or ApplicationSid is required")),
    }
}

/// `GET Calls/{sid}.json`.
pub(crate) fn fetch(account: &Account, request: &Request, sid: &str) -> Result<Reply, ApiError> {
    account
        .call(sid)
        .map(|call| Reply::json(200, &call.resource(&account.options.account_sid)))
        .ok_or_else(|| ApiError::not_found(&request.path))
}

/// `POST Calls/{sid}.json`: `Status=canceled` before somebody answered, `Status=completed` at any time.
pub(crate) fn update(account: &Account, request: &Request, sid: &str) -> Result<Reply, ApiError> {
    let form = request.form_pairs();
    let wanted = form.iter().find(|(name, _)| name == "Status").map(|(_, value)| value.as_str());
    let now = account.clock.now_ms();
    account.change(|state| {
        let call = state.call_mut(sid).ok_or_else(|| ApiError::not_found(&request.path))?;
        let status = match (wanted, call.status) {
            (Some("canceled"), CallStatus::Queued | CallStatus::Ringing) => CallStatus::Canceled,
            (Some("completed"), status) if !status.is_final() => CallStatus::Completed,
            (Some("canceled" | "completed"), _) => {
                return Err(ApiError::new(400, 21220, "Call is not in-progress. Cannot redirect."));
            }
            _ => return Err(ApiError::new(400, 20001, "Only Status=canceled and Status=completed are known here.")),
        };
        (call.status, call.ended_ms) = (status, Some(now));
        Ok(Reply::json(200, &call.resource(&account.options.account_sid)))
    })
}

/// `GET Calls.json`, newest first. A call that nobody answered yet is found by the day it was made.
pub(crate) fn list(account: &Account, request: &Request) -> Reply {
    let query = request.query_pairs();
    let field = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let matching: Vec<(String, Value)> = account.read(|state| {
        let day = |call: &Call| date_utc(call.started_ms.unwrap_or(call.created_ms));
        let wanted = |call: &&Call| {
            field("To").is_none_or(|to| call.to == to)
                && field("From").is_none_or(|from| call.from == from)
                && field("Status").is_none_or(|status| call.status.name() == status)
                && field("StartTime").is_none_or(|date| day(call) == date)
                && field("StartTime>").is_none_or(|date| day(call).as_str() >= date)
                && field("StartTime<").is_none_or(|date| day(call).as_str() <= date)
        };
        let resource = |call: &Call| (call.sid.clone(), call.resource(&account.options.account_sid));
        state.calls.iter().rev().filter(wanted).map(resource).collect()
    });
    let path = format!("/2010-04-01/Accounts/{}/Calls.json", account.options.account_sid);
    pages::page(request, &path, "calls", &matching)
}
