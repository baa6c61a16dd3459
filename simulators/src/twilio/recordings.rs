//! The Recordings resource.

use serde::Serialize;
use serde_json::{Value, json};

use super::{account::Account, errors::ApiError, messages::RFC2822, pages};
use crate::{
    clock::format_utc,
    http::{Call as Request, Reply},
};

/// A recorded part of a call.
#[derive(Clone, Debug, Serialize)]
pub struct Recording {
    /// `RE` and 32 hex digits.
    pub sid: String,
    /// The call.
    pub call_sid: String,
    /// How long it is.
    pub duration_s: u32,
    /// `RecordVerb`, `DialVerb` or `OutboundAPI`.
    pub source: &'static str,
    /// When it began.
    pub started_ms: i64,
}

impl Recording {
    /// Its address as webhooks give it, without an extension.
    pub(crate) fn url(&self, account_sid: &str) -> String {
        format!("https://api.twilio.com{}", self.path(account_sid))
    }

    fn path(&self, account_sid: &str) -> String {
        format!("/2010-04-01/Accounts/{account_sid}/Recordings/{}", self.sid)
    }

    fn resource(&self, account_sid: &str) -> Value {
        json!({
            "sid": self.sid, "account_sid": account_sid, "call_sid": self.call_sid, "api_version": "2010-04-01",
            "status": "completed", "duration": self.duration_s.to_string(), "channels": 1, "source": self.source,
            "start_time": format_utc(self.started_ms, RFC2822), "date_created": format_utc(self.started_ms, RFC2822),
            "error_code": null, "price": null, "price_unit": "USD", "media_url": self.url(account_sid),
            "uri": format!("{}.json", self.path(account_sid)),
        })
    }
}

/// `GET Recordings.json`, or those of one call.
pub(crate) fn list(account: &Account, request: &Request, call_sid: Option<&str>) -> Reply {
    let of = &account.options.account_sid;
    let matching: Vec<(String, Value)> = account.read(|state| {
        let wanted = |recording: &&Recording| call_sid.is_none_or(|sid| recording.call_sid == sid);
        let resource = |recording: &Recording| (recording.sid.clone(), recording.resource(of));
        state.recordings.iter().rev().filter(wanted).map(resource).collect()
    });
    pages::page(request, &request.path, "recordings", &matching)
}

/// `GET Recordings/{sid}.json`.
pub(crate) fn fetch(account: &Account, request: &Request, sid: &str) -> Result<Reply, ApiError> {
    account
        .read(|state| state.recordings.iter().find(|recording| recording.sid == sid).cloned())
        .map(|recording| Reply::json(200, &recording.resource(&account.options.account_sid)))
        .ok_or_else(|| ApiError::not_found(&request.path))
}

/// `DELETE Recordings/{sid}.json`.
pub(crate) fn delete(account: &Account, request: &Request, sid: &str) -> Result<Reply, ApiError> {
    account.change(|state| {
        let at = state.recordings.iter().position(|recording| recording.sid == sid);
        state.recordings.remove(at.ok_or_else(|| ApiError::not_found(&request.path))?);
        Ok(Reply::empty(204))
    })
}
