use std::time::Duration;

use mail_parser::DateTime;
use serde_json::{Value, json};
use switchyard_sdk::http::{RequestBuilder, Response};
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;

use crate::CONNECTION;
use crate::config::Config;

/// Reasons of a 403 that time heals.
const RATE_REASONS: [&str; 4] = ["userRateLimitExceeded", "rateLimitExceeded", "quotaExceeded", "RATE_LIMIT_EXCEEDED"];

/// A day's quota is used up; it is asked again only after a while.
const DAILY_REASON: &str = "dailyLimitExceeded";
const DAILY_WAIT: Duration = Duration::from_secs(3600);

/// The longest wait that a provider's text is believed with.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// How much of Gmail's words is shown.
const SHOWN: usize = 300;

/// A GET below the mailbox.
pub fn get<'a>(ctx: &Ctx<'a, Config>, path: &str) -> RequestBuilder<'a> {
    ctx.http(CONNECTION).get(format!("/gmail/v1/users/me{path}"))
}

/// A POST below the mailbox.
pub fn post<'a>(ctx: &Ctx<'a, Config>, path: &str) -> RequestBuilder<'a> {
    ctx.http(CONNECTION).post(format!("/gmail/v1/users/me{path}"))
}

/// The answer to a request that only asks. One that is larger than any that was asked for is nonsense that passes.
pub fn ask(request: &RequestBuilder<'_>) -> Result<Response, PluginError> {
    request.send().map_err(|error| match error {
        HttpError::ResponseTooLarge { .. } => malformed("is larger than any that was asked for"),
        other => other.into(),
    })
}

/// The JSON object of a successful answer, or the disposition of a refusal.
pub fn read(ctx: &Ctx<Config>, response: &Response) -> Result<Value, PluginError> {
    if !response.is_success() {
        return Err(refusal(ctx, response));
    }
    match json::parse(&response.body) {
        Ok(body @ Value::Object(_)) => Ok(body),
        _ => Err(malformed("is no JSON object")),
    }
}

/// An answer that cannot be used: tried again, since providers answer odd things while they are down.
pub fn malformed(what: &str) -> PluginError {
    PluginError::retry(Reason::ProviderDown, "malformed_answer", format!("Gmail's answer {what}."))
}

/// What a refusal means. Gmail's words go with it, without addresses.
pub fn refusal(ctx: &Ctx<Config>, response: &Response) -> PluginError {
    let body = response.value();
    let reasons = reasons(&body);
    let words = body.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    let is = |reason: &str| reasons.iter().any(|found| found.eq_ignore_ascii_case(reason));
    let reason = reasons.first().cloned().unwrap_or_default();
    let error = match response.status {
        403 if RATE_REASONS.iter().any(|reason| is(reason)) => {
            let error = PluginError::retry(Reason::RateLimited, "rate_limited", "Gmail asks to slow down.");
            match asked_wait(ctx, response, words) {
                Some(wait) => error.after(wait),
                None => error,
            }
        }
        403 if is(DAILY_REASON) => {
            PluginError::retry(Reason::RateLimited, "daily_limit", "The day's quota at Gmail is used up.")
                .after(asked_wait(ctx, response, words).unwrap_or(DAILY_WAIT))
        }
        403 => {
            let message =
                format!("Gmail does not allow this: {}.", if reason.is_empty() { "forbidden" } else { &reason });
            PluginError::needs_attention(Reason::Config, "gmail_forbidden", message)
        }
        status @ (400 | 404 | 409 | 412 | 413 | 422) => {
            let message = format!("Gmail refused the request with {status}.");
            PluginError::reject(Reason::BadData, &format!("gmail_{status}"), message)
        }
        status => PluginError::from_status(CONNECTION, status),
    };
    error.with_details(json!({ "status": response.status, "reason": reason, "provider_message": shown(words) }))
}

/// Every reason that an error document names, the old form first.
fn reasons(body: &Value) -> Vec<String> {
    let list = |pointer: &str| body.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let named = list("/error/errors").into_iter().chain(list("/error/details"));
    named.filter_map(|item| item.get("reason").and_then(Value::as_str).map(str::to_owned)).collect()
}

/// How long Gmail asks to wait: by its header, or by a text such as `Retry after 2026-11-20T10:00:00.000Z`. Whether the
/// header is ever sent is not confirmed, so both are read and the longer wins.
fn asked_wait(ctx: &Ctx<Config>, response: &Response, words: &str) -> Option<Duration> {
    let header = response.header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let text = retry_after(words).map(|at| Duration::from_millis(at.saturating_sub(ctx.now())));
    header.max(text).map(|wait| wait.min(LONGEST_WAIT))
}

/// The time that an error's text names, in milliseconds since 1970.
pub fn retry_after(words: &str) -> Option<u64> {
    let lower = words.to_ascii_lowercase();
    let at = lower.find("retry after ")? + "retry after ".len();
    let time = words.get(at..)?.split_ascii_whitespace().next()?;
    let seconds = DateTime::parse_rfc3339(time).filter(DateTime::is_valid)?.to_timestamp();
    // A fraction of a second is rounded up, so that the wait is never too short.
    u64::try_from(seconds).ok().map(|seconds| (seconds + u64::from(time.contains('.'))) * 1000)
}

/// A provider's words, shortened and without addresses.
fn shown(words: &str) -> String {
    let masked = words.split_ascii_whitespace().map(|word| if word.contains('@') { "(address)" } else { word });
    let masked: Vec<&str> = masked.collect();
    masked.join(" ").chars().take(SHOWN).collect()
}

/// A part of a path.
pub fn segment(id: &str) -> String {
    let mut escaped = String::new();
    switchyard_sdk::http::percent_encode(id, &mut escaped);
    escaped
}

/// A number that Gmail writes as text, and sometimes as a number.
pub fn number(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_u64(),
        _ => None,
    }
}

/// A text that is there and not empty.
pub fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}
