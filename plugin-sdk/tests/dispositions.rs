//! What `?` makes of failures.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic, also in its set-up")]

use std::time::Duration;

use switchyard_sdk::{CryptoError, HttpError, KvError, PluginError, Reason, UnknownOutcome};

/// The disposition in one word, with its reason.
fn disposition(error: &PluginError) -> (&'static str, Reason) {
    let word = match error {
        PluginError::Reject(_) => "reject",
        PluginError::Retry { .. } => "retry",
        PluginError::NeedsAttention(_) => "needs attention",
        PluginError::Other(_) => "other",
    };
    (word, error.detail().reason.clone())
}

#[test]
fn a_failed_call_says_what_to_do() {
    let unknown = UnknownOutcome { sent_at: 1, message: "no answer".to_owned() };
    for (error, expected) in [
        (HttpError::Denied("no".to_owned()), ("reject", Reason::Config)),
        (HttpError::NeedsLogin("no".to_owned()), ("needs attention", Reason::Auth)),
        (HttpError::Unreachable(None), ("retry", Reason::ProviderDown)),
        (HttpError::Timeout, ("retry", Reason::ProviderDown)),
        (HttpError::RequestTooLarge(1), ("reject", Reason::BadData)),
        (HttpError::ResponseTooLarge { status: 200, limit: 1 }, ("reject", Reason::BadData)),
        (HttpError::Unknown(unknown), ("retry", Reason::UnknownOutcome)),
        (HttpError::BudgetExhausted, ("reject", Reason::PluginBug)),
        (HttpError::Other("?".to_owned()), ("other", Reason::ProviderDown)),
    ] {
        assert_eq!(disposition(&error.into()), expected);
    }
}

#[test]
fn a_rate_limit_waits_as_long_as_it_says() {
    let error = PluginError::from(HttpError::RateLimited(Duration::from_secs(7)));
    assert!(matches!(error, PluginError::Retry { after: Some(wait), .. } if wait.as_secs() == 7), "{error}");
}

#[test]
fn a_status_says_what_to_do() {
    for (status, expected) in [
        (500, ("retry", Reason::ProviderDown)),
        (503, ("retry", Reason::ProviderDown)),
        (401, ("needs attention", Reason::Auth)),
        (403, ("needs attention", Reason::Auth)),
        (429, ("retry", Reason::RateLimited)),
        (301, ("needs attention", Reason::Config)),
        (400, ("reject", Reason::BadData)),
        (404, ("reject", Reason::BadData)),
        (422, ("reject", Reason::BadData)),
    ] {
        let error = PluginError::from_status("billy", status);
        assert_eq!(disposition(&error), expected, "{status}");
    }
}

#[test]
fn a_missing_key_parks_a_request_and_never_refuses_it() {
    for error in [CryptoError::NoSuchSecret, CryptoError::WrongKind, CryptoError::Unavailable] {
        assert_eq!(disposition(&error.into()).0, "retry");
    }
}

#[test]
fn a_mistake_of_the_plugin_with_its_data_is_its_own() {
    for error in [KvError::InvalidKey, KvError::TooLarge(1), KvError::ReadOnly, KvError::BudgetExhausted] {
        assert_eq!(disposition(&error.into()), ("reject", Reason::PluginBug));
    }
}

#[test]
fn a_code_is_brought_into_its_alphabet() {
    let error = PluginError::reject(Reason::BadData, "Twilio-21211!", "x");
    assert_eq!(error.detail().code, "twilio_21211_");
}
