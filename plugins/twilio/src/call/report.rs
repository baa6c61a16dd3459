use serde::{Deserialize, Serialize};

/// A report on its way to the handler, which may write what `receive` may only read.
pub const CALL: &str = "_twilio.call";

/// What one request, answer or command says of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Report {
    /// `CA` and 32 hex digits.
    pub call_id: String,
    /// The account.
    pub account: String,
    /// Twilio's status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Where our own document led the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// Twilio's number of the callback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// `inbound`, `outbound-api`, `outbound-dial`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// The caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Who is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Seconds between answer and end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<u64>,
    /// A person or a machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<String>,
    /// The SIP answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_code: Option<u64>,
    /// How a forwarding ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dial_status: Option<String>,
    /// When it happened, by Twilio's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    /// The reference of the command that asked for the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_ref: Option<String>,
}

/// A part of a call that Twilio has no status for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Somebody else is called for the caller.
    Transfer,
    /// The caller is recorded.
    Voicemail,
}

impl Report {
    /// The person at the other side.
    pub fn person(&self) -> Option<&str> {
        let outgoing = self.direction.as_deref().is_some_and(|direction| direction != "inbound");
        if outgoing { self.to.as_deref() } else { self.from.as_deref() }
    }
}
