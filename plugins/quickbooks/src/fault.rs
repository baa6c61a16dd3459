use std::time::Duration;

use serde_json::{Value, json};
use switchyard_sdk::prelude::*;

/// The provider's words are shown up to here.
const SHOWN: usize = 500;

/// How long to stay away when QuickBooks says that it was too much, and not for how long.
const THROTTLED: Duration = Duration::from_secs(60);

/// A name is taken.
pub const DUPLICATE_NAME: &str = "6240";

/// A document's number is taken.
pub const DUPLICATE_NUMBER: &str = "6140";

/// Somebody has changed it since.
pub const STALE: &str = "5010";

/// There is no such object, or it is inactive.
pub const NOT_FOUND: &str = "610";

/// What QuickBooks says against a request. A fault can come with any status, 200 included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The status that it came with.
    pub status: u16,
    /// Without zeros in front, since both spellings occur.
    pub code: String,
    message: String,
    detail: String,
    element: Option<String>,
}

impl Fault {
    /// The first error of a fault in either spelling; none if the body carries none.
    pub fn read(status: u16, body: &Value) -> Option<Self> {
        let fault = any_case(body, "fault").filter(|fault| fault.is_object())?;
        let error = any_case(fault, "error").and_then(|errors| errors.get(0)).unwrap_or(&Value::Null);
        let text = |name: &str| -> String {
            match any_case(error, name) {
                Some(Value::String(text)) => text.chars().take(SHOWN).collect(),
                Some(Value::Number(number)) => number.to_string(),
                _ => String::new(),
            }
        };
        let code = text("code").trim_start_matches('0').to_owned();
        let element = Some(text("element")).filter(|element| !element.is_empty());
        Some(Self { status, code, message: text("message"), detail: text("detail"), element })
    }

    /// Whether it came as a success, so that nobody knows from it whether the write was made.
    pub fn is_hidden(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the same request can succeed later.
    pub fn is_passing(&self) -> bool {
        self.status >= 500 || self.status == 429 || matches!(self.code.as_str(), "3001" | "10000")
    }

    /// What to do about it. QuickBooks' own words go with it; what it says in detail may name a person, so that is for
    /// the dead letter's page and not for the message.
    pub fn disposition(&self) -> PluginError {
        let words = if self.message.is_empty() { "without a word" } else { self.message.as_str() };
        let message = format!("QuickBooks refused the request with {} ({}): {words}", self.status, self.code);
        let error = match (self.code.as_str(), self.status) {
            ("3001", _) | (_, 429) => PluginError::retry(Reason::RateLimited, "throttled", message).after(THROTTLED),
            ("3200" | "120", _) | (_, 401) => PluginError::needs_attention(Reason::Auth, "login_needed", message),
            ("3100", _) | (_, 403) => PluginError::needs_attention(Reason::Config, "not_authorized", message),
            ("6190", _) => PluginError::needs_attention(Reason::Config, "subscription_ended", message),
            ("10000", _) | (_, 500..=599) => PluginError::retry(Reason::ProviderDown, "qbo_down", message),
            (code, _) if !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_digit()) && code.len() <= 8 => {
                PluginError::reject(Reason::BadData, &format!("qbo_{code}"), message)
            }
            _ => PluginError::reject(Reason::BadData, "qbo_fault", message),
        };
        error.with_details(json!({
            "status": self.status, "code": self.code, "message": self.message, "detail": self.detail,
            "element": self.element
        }))
    }
}

impl From<Fault> for PluginError {
    fn from(fault: Fault) -> Self {
        fault.disposition()
    }
}

/// A member whose name differs in case only.
fn any_case<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}
