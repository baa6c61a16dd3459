use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;

/// What broke, as the console groups it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A credential is missing, expired or not allowed to do this.
    Auth,
    /// The installation or the manifest is set up wrongly.
    Config,
    /// The provider does not answer or answers 5xx.
    ProviderDown,
    /// The provider or the host asks to slow down.
    RateLimited,
    /// The event or the provider's data is not acceptable.
    BadData,
    /// The plugin met a state that it should never meet.
    PluginBug,
    /// A rule forbids it.
    Policy,
    /// A provider write may or may not have happened, and looking it up did not settle it.
    UnknownOutcome,
    /// A class outside this list, at most 64 bytes.
    Other(String),
}

/// What went wrong, for people and for grouping. Put no secret and no personal data into it.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorDetail {
    /// The class it counts under.
    pub reason: Reason,
    /// Stable identifier of `[a-z0-9_]`; with the reason it makes the fingerprint.
    pub code: String,
    /// One sentence for a person.
    pub message: String,
    /// Facts for the dead letter's page.
    pub details: Option<Value>,
}

/// Why a call did not succeed, as the disposition that the host carries out.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PluginError {
    /// Trying again cannot help: the delivery is dead. From `receive`: the sender gets 400.
    #[error("rejected, {}: {}", .0.code, .0.message)]
    Reject(ErrorDetail),
    /// Try again later, not before `after` if that is longer than the retry table says. From `receive`: parked.
    #[error("retry, {}: {}", .error.code, .error.message)]
    Retry {
        /// What went wrong.
        error: ErrorDetail,
        /// The shortest wait, up to 24 h.
        after: Option<Duration>,
    },
    /// A person must act: the delivery is held. From `receive`: parked.
    #[error("needs attention, {}: {}", .0.code, .0.message)]
    NeedsAttention(ErrorDetail),
    /// None of these; handled like a retry and counted apart.
    #[error("other, {}: {}", .0.code, .0.message)]
    Other(ErrorDetail),
}

impl ErrorDetail {
    /// A detail without facts. The code is brought into its alphabet, so that any text may be given.
    pub fn new(reason: Reason, code: &str, message: impl Into<String>) -> Self {
        let code = code.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
        Self { reason, code: code.take(64).collect(), message: message.into(), details: None }
    }
}

impl PluginError {
    /// Trying again cannot help.
    pub fn reject(reason: Reason, code: &str, message: impl Into<String>) -> Self {
        Self::Reject(ErrorDetail::new(reason, code, message))
    }

    /// Time can heal it.
    pub fn retry(reason: Reason, code: &str, message: impl Into<String>) -> Self {
        Self::Retry { error: ErrorDetail::new(reason, code, message), after: None }
    }

    /// A person must act.
    pub fn needs_attention(reason: Reason, code: &str, message: impl Into<String>) -> Self {
        Self::NeedsAttention(ErrorDetail::new(reason, code, message))
    }

    /// A config value that cannot work, named by its path, for what the schema alone cannot say.
    pub fn bad_config(path: &str, message: &str) -> Self {
        let mut error = ErrorDetail::new(Reason::Config, "bad_config", format!("Config field `{path}`: {message}"));
        error.details = Some(json!({ "field": path }));
        Self::NeedsAttention(error)
    }

    /// The same failure with a shortest wait; without effect on anything but a retry.
    pub fn after(self, wait: Duration) -> Self {
        match self {
            Self::Retry { error, .. } => Self::Retry { error, after: Some(wait) },
            other => other,
        }
    }

    /// The same failure with facts for the dead letter's page.
    pub fn with_details(mut self, details: Value) -> Self {
        match &mut self {
            Self::Reject(error) | Self::NeedsAttention(error) | Self::Other(error) => error.details = Some(details),
            Self::Retry { error, .. } => error.details = Some(details),
        }
        self
    }

    /// What went wrong, whatever the disposition.
    pub fn detail(&self) -> &ErrorDetail {
        match self {
            Self::Reject(error) | Self::NeedsAttention(error) | Self::Other(error) => error,
            Self::Retry { error, .. } => error,
        }
    }

    /// The disposition for an answer outside 2xx: 5xx is tried again, 401 and 403 need a person, 408, 425 and 429 are
    /// tried again as rate limits, a redirect is a wrong base URL, and any other status is final.
    pub fn from_status(connection: &str, status: u16) -> Self {
        let message = format!("The connection `{connection}` answered {status}.");
        let error = match status {
            500..=599 => Self::retry(Reason::ProviderDown, &format!("http_{status}"), message),
            401 | 403 => Self::needs_attention(Reason::Auth, &format!("http_{status}"), message),
            408 | 425 | 429 => Self::retry(Reason::RateLimited, &format!("http_{status}"), message),
            300..=399 => Self::needs_attention(Reason::Config, "redirected", message),
            _ => Self::reject(Reason::BadData, &format!("http_{status}"), message),
        };
        error.with_details(json!({ "connection": connection, "status": status }))
    }
}

/// A write of which nobody knows whether it was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownOutcome {
    /// When it was first sent, in milliseconds since 1970: where a look-up should begin.
    pub sent_at: u64,
    /// What happened.
    pub message: String,
}

/// A wait in seconds, or milliseconds below one. The formatting that a duration has brings more code than that.
fn shown(wait: &Duration) -> String {
    let (seconds, millis) = (wait.as_secs(), wait.subsec_millis());
    match (seconds, millis) {
        (0, _) => format!("{millis}ms"),
        (_, 0) => format!("{seconds}s"),
        _ => format!("{}s", format!("{seconds}.{millis:03}").trim_end_matches('0')),
    }
}

/// Why there is no answer to a provider call.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HttpError {
    /// Not in the manifest, not granted, malformed, or not allowed here.
    #[error("denied: {0}")]
    Denied(String),
    /// The connection is unbound or its credential was refused.
    #[error("the connection needs a login: {0}")]
    NeedsLogin(String),
    /// Wait this long.
    #[error("rate limited for {}", shown(.0))]
    RateLimited(Duration),
    /// No connection could be made, or the breaker is open; wait this long if known.
    #[error("unreachable")]
    Unreachable(Option<Duration>),
    /// A read, or a write that may be repeated, got no answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The body passed the limit in bytes; nothing was sent.
    #[error("the request passes {0} bytes")]
    RequestTooLarge(u64),
    /// The answer passed the limit. A write with a 2xx status was executed.
    #[error("the answer with status {status} passes {limit} bytes")]
    ResponseTooLarge {
        /// The status that came before the body.
        status: u16,
        /// The limit in bytes.
        limit: u64,
    },
    /// Look it up; [`crate::once::SendOnce`] does that in the right order.
    #[error("the outcome is unknown: {}", .0.message)]
    Unknown(UnknownOutcome),
    /// The run has used up its calls; nothing was sent.
    #[error("the run has used up its http calls")]
    BudgetExhausted,
    /// Any other cause.
    #[error("{0}")]
    Other(String),
}

impl From<HttpError> for PluginError {
    fn from(error: HttpError) -> Self {
        let message = error.to_string();
        match error {
            HttpError::Denied(_) => Self::reject(Reason::Config, "call_denied", message),
            HttpError::NeedsLogin(_) => Self::needs_attention(Reason::Auth, "login_needed", message),
            HttpError::RateLimited(wait) => Self::retry(Reason::RateLimited, "rate_limited", message).after(wait),
            HttpError::Unreachable(wait) => {
                let retry = Self::retry(Reason::ProviderDown, "unreachable", message);
                wait.map_or(retry.clone(), |wait| retry.after(wait))
            }
            HttpError::Timeout => Self::retry(Reason::ProviderDown, "timeout", message),
            HttpError::RequestTooLarge(_) => Self::reject(Reason::BadData, "request_too_large", message),
            HttpError::ResponseTooLarge { .. } => Self::reject(Reason::BadData, "response_too_large", message),
            HttpError::Unknown(_) => Self::retry(Reason::UnknownOutcome, "unknown_outcome", message),
            HttpError::BudgetExhausted => Self::reject(Reason::PluginBug, "http_budget_exhausted", message),
            HttpError::Other(_) => Self::Other(ErrorDetail::new(Reason::ProviderDown, "http_failed", message)),
        }
    }
}

/// Why a key-value operation failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KvError {
    /// A key must have 1 to 512 bytes.
    #[error("a key must have 1 to 512 bytes")]
    InvalidKey,
    /// The value passed the limit in bytes.
    #[error("the value passes {0} bytes")]
    TooLarge(u64),
    /// The installation's total would be passed.
    #[error("the installation's key-value quota is used up")]
    QuotaExceeded,
    /// A write inside `receive`.
    #[error("key-value data cannot be written here")]
    ReadOnly,
    /// The run has used up its operations.
    #[error("the run has used up its key-value operations")]
    BudgetExhausted,
    /// Any other cause.
    #[error("{0}")]
    Other(String),
}

impl From<KvError> for PluginError {
    fn from(error: KvError) -> Self {
        let message = error.to_string();
        match error {
            KvError::InvalidKey => Self::reject(Reason::PluginBug, "kv_invalid_key", message),
            KvError::TooLarge(_) => Self::reject(Reason::PluginBug, "kv_value_too_large", message),
            KvError::QuotaExceeded => Self::needs_attention(Reason::Config, "kv_quota_exceeded", message),
            KvError::ReadOnly => Self::reject(Reason::PluginBug, "kv_read_only", message),
            KvError::BudgetExhausted => Self::reject(Reason::PluginBug, "kv_budget_exhausted", message),
            KvError::Other(_) => Self::Other(ErrorDetail::new(Reason::PluginBug, "kv_failed", message)),
        }
    }
}

/// Why a check could not be made, or a token is not valid.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CryptoError {
    /// Nothing usable is bound to the slot. It becomes a retry, so that an inbound request is parked, not refused.
    #[error("no usable secret is bound")]
    NoSuchSecret,
    /// The secret is of a kind that this function does not use.
    #[error("the secret is of another kind")]
    WrongKind,
    /// Only from `verify_jwt`: the token is not valid, so the request is unauthenticated. Match on it before `?`.
    #[error("the token is not valid: {0}")]
    Invalid(String),
    /// Only from `verify_jwt`: the key set could not be fetched.
    #[error("the key set is unavailable")]
    Unavailable,
    /// The call has used up its operations.
    #[error("the call has used up its operations")]
    BudgetExhausted,
    /// Any other cause.
    #[error("{0}")]
    Other(String),
}

impl From<CryptoError> for PluginError {
    fn from(error: CryptoError) -> Self {
        let message = error.to_string();
        match error {
            CryptoError::NoSuchSecret => Self::retry(Reason::Config, "no_such_secret", message),
            CryptoError::WrongKind => Self::retry(Reason::Config, "wrong_secret_kind", message),
            CryptoError::Invalid(_) => Self::reject(Reason::Auth, "invalid_token", message),
            CryptoError::Unavailable => Self::retry(Reason::ProviderDown, "keys_unavailable", message),
            CryptoError::BudgetExhausted => Self::reject(Reason::PluginBug, "crypto_budget_exhausted", message),
            CryptoError::Other(_) => Self::Other(ErrorDetail::new(Reason::PluginBug, "crypto_failed", message)),
        }
    }
}
