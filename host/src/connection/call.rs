//! What an answer to a provider call means: for the journal, for the plugin, for the connection's health.
//!
//! | answer to a write | journal | the plugin sees |
//! |---|---|---|
//! | 2xx, 3xx; 409 with an id of one's own; 410 to a DELETE | confirmed | the response, or `response-too-large` |
//! | not sent; 401; 429; any other 4xx | failed | `unreachable` or `denied`, `needs-login`, `rate-limited`, the response |
//! | 403 whose body names a rate as the reason | failed | `rate-limited` |
//! | 5xx, may be repeated | unknown | the response |
//! | time-out or broken line, may be repeated | unknown | `timeout` |
//! | 5xx, time-out or broken line, not repeatable | unknown | `unknown-outcome` |
//! | to a repeat: not sent, 401, 403, 408, 425, 429 | unknown, with the same key | as above |
//!
//! A repeat that is turned away says nothing about the first sending, which may have been executed.

use std::{borrow::Cow, fmt, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, Method, StatusCode,
    header::{RETRY_AFTER, SET_COOKIE},
};
use serde_json::Value;

use crate::{
    clock::Timestamp,
    connection::{
        breaker::{DEFAULT_SLOW_DOWN, Signal},
        template::UsedSecrets,
    },
    outbound::{
        client::{Answer, NotSent, SendError},
        egress::EgressError,
        outcome::retry_after,
    },
};

/// How a provider recognises a write that it receives twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idempotency {
    /// It does not.
    #[default]
    None,
    /// By a header with our key.
    Header,
    /// By a query parameter with our key.
    Query,
    /// By an id of ours inside the request; a second one is answered 409.
    OwnId,
}

/// What is known of a call before its answer.
#[derive(Clone, Debug)]
pub struct Sending {
    /// The method.
    pub method: Method,
    /// The request says that it only asks.
    pub read_only: bool,
    /// The convention in force: the request's, else the manifest's.
    pub idempotency: Idempotency,
    /// This sending repeats one whose answer never came.
    pub is_repeat: bool,
    /// When the call was first sent.
    pub first_sent_at: Timestamp,
    /// The limit for the answer's body, for the message.
    pub response_cap: u64,
}

impl Sending {
    /// Whether the call may change something at the provider.
    #[must_use]
    pub fn is_write(&self) -> bool {
        is_write(&self.method, self.read_only)
    }

    /// Whether sending it twice has the effect of sending it once.
    #[must_use]
    pub fn may_repeat(&self) -> bool {
        may_repeat(&self.method, self.idempotency)
    }
}

/// Any method but GET and HEAD writes, unless the request says that it only asks.
#[must_use]
pub fn is_write(method: &Method, read_only: bool) -> bool {
    !read_only && !matches!(*method, Method::GET | Method::HEAD)
}

/// PUT and DELETE may be repeated by their nature, others where the provider recognises the repeat.
#[must_use]
pub fn may_repeat(method: &Method, idempotency: Idempotency) -> bool {
    matches!(*method, Method::PUT | Method::DELETE) || idempotency != Idempotency::None
}

/// What the journal records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalOutcome {
    /// The call changed nothing, whatever came back.
    Read,
    /// The write was executed.
    Confirmed,
    /// The write was not executed.
    Failed,
    /// Nobody knows.
    Unknown,
}

/// A response as a plugin sees it. `Debug` shows neither fields nor body.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Fields without `set-cookie`, names in lower case.
    pub headers: Vec<(HeaderName, Vec<u8>)>,
    /// The body.
    pub body: Bytes,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Response");
        shown.field("status", &self.status).field("body_bytes", &self.body.len()).finish_non_exhaustive()
    }
}

impl Response {
    fn new(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Self {
        let kept = headers.iter().filter(|(name, _)| **name != SET_COOKIE);
        let headers = kept.map(|(name, value)| (name.clone(), value.as_bytes().to_vec())).collect();
        Self { status: status.as_u16(), headers, body }
    }

    /// The response with every used secret masked, in fields and body.
    #[must_use]
    pub fn masked(mut self, used: &UsedSecrets) -> Self {
        for (_, value) in &mut self.headers {
            let masked = used.mask(value).into_owned();
            *value = masked;
        }
        if let Cow::Owned(masked) = used.mask(&self.body) {
            self.body = Bytes::from(masked);
        }
        self
    }
}

/// Why there is no response; the cases of the plugin contract that a sending can end in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The connection's URL may not be called.
    Denied(String),
    /// The credential was refused.
    NeedsLogin(String),
    /// Too many requests: wait this long.
    RateLimited(Duration),
    /// No connection could be made, or the breaker is open: wait this long if known.
    Unreachable(Option<Duration>),
    /// No answer in time to a call that may be repeated.
    Timeout,
    /// The answer passed the limit.
    ResponseTooLarge {
        /// The status that came before the body.
        status: u16,
        /// The limit in bytes.
        limit: u64,
    },
    /// A write that may not be repeated was perhaps executed.
    UnknownOutcome {
        /// When it was first sent.
        sent_at: Timestamp,
        /// What happened.
        message: String,
    },
}

/// The judgement of one sending.
#[derive(Clone, Debug)]
pub struct Judged {
    /// For the journal.
    pub outcome: JournalOutcome,
    /// For the plugin.
    pub seen: Result<Response, CallError>,
    /// For the connection's pace and breaker.
    pub signal: Signal,
}

/// Judges the end of one sending; `now` is when it ended.
#[must_use]
pub fn judge(sending: &Sending, result: Result<Answer, SendError>, now: Timestamp) -> Judged {
    match result {
        Ok(answer) => judge_answer(sending, answer, now),
        Err(SendError::NotSent(cause)) => Judged {
            outcome: sending.outcome(if sending.is_repeat { JournalOutcome::Unknown } else { JournalOutcome::Failed }),
            seen: Err(not_sent(cause)),
            signal: match cause {
                NotSent::Egress(EgressError::BlockedAddress(_) | EgressError::MalformedUrl(_)) => Signal::Nothing,
                _ => Signal::Failed,
            },
        },
        Err(SendError::MaybeSent(cause)) => Judged {
            outcome: sending.outcome(JournalOutcome::Unknown),
            seen: Err(if sending.is_write() && !sending.may_repeat() {
                sending.unknown(cause.to_string())
            } else {
                CallError::Timeout
            }),
            signal: Signal::Failed,
        },
    }
}

impl Sending {
    fn outcome(&self, of_write: JournalOutcome) -> JournalOutcome {
        if self.is_write() { of_write } else { JournalOutcome::Read }
    }

    fn unknown(&self, message: String) -> CallError {
        CallError::UnknownOutcome { sent_at: self.first_sent_at, message }
    }

    fn outcome_of_status(&self, status: StatusCode) -> JournalOutcome {
        let executed = status.is_success()
            || status.is_redirection()
            || (status == StatusCode::CONFLICT && self.idempotency == Idempotency::OwnId)
            || (status == StatusCode::GONE && self.method == Method::DELETE);
        let turned_away = matches!(status.as_u16(), 401 | 403 | 408 | 425 | 429);
        self.outcome(if executed {
            JournalOutcome::Confirmed
        } else if !status.is_client_error() || (self.is_repeat && turned_away) {
            JournalOutcome::Unknown
        } else {
            JournalOutcome::Failed
        })
    }
}

fn judge_answer(sending: &Sending, answer: Answer, now: Timestamp) -> Judged {
    let Answer { status, headers, body, truncated } = answer;
    let outcome = sending.outcome_of_status(status);
    let too_many = status == StatusCode::TOO_MANY_REQUESTS || is_rate_refusal(status, &body);
    let wait = headers.get(RETRY_AFTER).and_then(|value| retry_after(value, now));
    let wait = if too_many { wait.or_else(|| retry_after_in_text(&body, now)) } else { wait };
    let signal = if too_many {
        Signal::SlowDown(wait)
    } else if status.is_server_error() {
        Signal::Failed
    } else {
        Signal::Good
    };
    let seen = if status == StatusCode::UNAUTHORIZED {
        Err(CallError::NeedsLogin("the provider refused the connection's credential (status 401)".to_owned()))
    } else if too_many {
        Err(CallError::RateLimited(wait.unwrap_or(DEFAULT_SLOW_DOWN)))
    } else if outcome == JournalOutcome::Unknown && !sending.may_repeat() {
        Err(sending.unknown(format!("the provider answered with status {}", status.as_u16())))
    } else if truncated {
        Err(CallError::ResponseTooLarge { status: status.as_u16(), limit: sending.response_cap })
    } else {
        Ok(Response::new(status, &headers, body))
    };
    Judged { outcome, seen, signal }
}

fn not_sent(cause: NotSent) -> CallError {
    match cause {
        NotSent::Egress(error @ (EgressError::BlockedAddress(_) | EgressError::MalformedUrl(_))) => {
            CallError::Denied(format!("the connection's base URL cannot be called: {error}"))
        }
        NotSent::Egress(EgressError::Dns)
        | NotSent::Refused
        | NotSent::ConnectTimeout
        | NotSent::Unreachable
        | NotSent::Tls
        | NotSent::ConnectionEnded => CallError::Unreachable(None),
    }
}

/// Google says until when it wants no call in a sentence for people: `Retry after 2026-11-20T10:00:00.000Z`.
fn retry_after_in_text(body: &[u8], now: Timestamp) -> Option<Duration> {
    const BEFORE: &str = "retry after ";
    let body: Value = serde_json::from_slice(body).ok()?;
    let text = body.pointer("/error/message")?.as_str()?;
    let at = text.to_ascii_lowercase().find(BEFORE)? + BEFORE.len();
    let time = text.get(at..)?.split_whitespace().next()?.trim_end_matches('.');
    let until: Timestamp = time.parse().ok()?;
    Some(until.since(now)).filter(|wait| !wait.is_zero())
}

/// Google says "too many requests" with 403 and a reason in the body.
pub(super) fn is_rate_refusal(status: StatusCode, body: &[u8]) -> bool {
    const REASONS: [&str; 4] = ["rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "dailyLimitExceeded"];
    if status != StatusCode::FORBIDDEN {
        return false;
    }
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    let errors = parsed.as_ref().and_then(|value| value.pointer("/error/errors")).and_then(Value::as_array);
    let reasons = errors.into_iter().flatten().filter_map(|error| error.get("reason").and_then(Value::as_str));
    reasons.into_iter().any(|reason| REASONS.contains(&reason))
}

#[cfg(test)]
#[path = "call_tests.rs"]
mod tests;
