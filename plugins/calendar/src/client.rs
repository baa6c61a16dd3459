use serde_json::{Value, json};
use switchyard_sdk::http::{RequestBuilder, Response, percent_encode};
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;

use crate::config::{Config, Login};
use crate::{CONNECTION, SERVICE_CONNECTION};

/// Reasons of a 403 that time heals.
const RATE_REASONS: [&str; 4] = ["rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "RATE_LIMIT_EXCEEDED"];

/// How much of Google's words is shown.
const SHOWN: usize = 300;

/// The bound connection.
pub fn connection(config: &Config) -> &'static str {
    match config.login {
        Login::Oauth2 => CONNECTION,
        Login::ServiceAccount => SERVICE_CONNECTION,
    }
}

/// A request below a calendar's events; `rest` begins with a slash or is empty.
pub fn events<'a>(ctx: &Ctx<'a, Config>, method: Method, calendar: &str, rest: &str) -> RequestBuilder<'a> {
    let path = format!("/calendars/{}/events{rest}", segment(calendar));
    ctx.http(connection(&ctx.config)).request(method, path)
}

/// A request for one event.
pub fn event<'a>(ctx: &Ctx<'a, Config>, method: Method, calendar: &str, id: &str) -> RequestBuilder<'a> {
    events(ctx, method, calendar, &format!("/{}", segment(id)))
}

/// A POST beside the calendars.
pub fn post<'a>(ctx: &Ctx<'a, Config>, path: &str, body: &Value) -> RequestBuilder<'a> {
    ctx.http(connection(&ctx.config)).post(path).json(body)
}

fn segment(id: &str) -> String {
    let mut escaped = String::new();
    percent_encode(id, &mut escaped);
    escaped
}

/// Sends a write; none if it was executed and its answer does not fit.
pub fn written(request: &RequestBuilder) -> Result<Option<Response>, PluginError> {
    match request.send() {
        Err(HttpError::ResponseTooLarge { status: 200..=299, .. }) => Ok(None),
        other => Ok(Some(other?)),
    }
}

/// The JSON object of a successful answer, or the disposition of a refusal.
pub fn read(response: &Response) -> Result<Value, PluginError> {
    if !response.is_success() {
        return Err(refusal(response));
    }
    match json::parse(&response.body) {
        Ok(body @ Value::Object(_)) => Ok(body),
        _ => Err(malformed("is no JSON object")),
    }
}

/// An answer that cannot be used: tried again, since providers answer odd things while they are down.
pub fn malformed(what: &str) -> PluginError {
    PluginError::retry(Reason::ProviderDown, "malformed_answer", format!("Google's answer {what}."))
}

/// Google's word for why.
pub fn reason(response: &Response) -> String {
    let body = response.value();
    let reason = body.pointer("/error/errors/0/reason").or_else(|| body.pointer("/error/status"));
    reason.and_then(Value::as_str).map(|reason| reason.chars().take(64).collect()).unwrap_or_default()
}

/// What a refusal means. Google's words go with it, without addresses.
pub fn refusal(response: &Response) -> PluginError {
    let (status, reason) = (response.status, reason(response));
    let body = response.value();
    let words = body.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    let message = match (reason.as_str(), without_addresses(words)) {
        ("", words) if words.is_empty() => format!("Google answered {status}."),
        (reason, words) => format!("Google answered {status}, {reason}: {words}"),
    };
    let code = if reason.is_empty() { format!("http_{status}") } else { format!("google_{reason}") };
    let error = match status {
        403 if RATE_REASONS.contains(&reason.as_str()) => PluginError::retry(Reason::RateLimited, &code, message),
        403 if reason == "forbiddenForServiceAccounts" => PluginError::needs_attention(Reason::Config, &code, message),
        403 if reason == "forbiddenForNonOrganizer" => PluginError::reject(Reason::BadData, &code, message),
        401 | 403 => PluginError::needs_attention(Reason::Auth, &code, message),
        408 | 425 | 429 => PluginError::retry(Reason::RateLimited, &code, message),
        300..=399 => PluginError::needs_attention(Reason::Config, "redirected", message),
        400..=499 => PluginError::reject(Reason::BadData, &code, message),
        _ => PluginError::retry(Reason::ProviderDown, &code, message),
    };
    error.with_details(json!({ "status": status, "reason": reason }))
}

/// Cut to a length, with every word that has an `@` masked: what goes with an error is kept and shown.
fn without_addresses(text: &str) -> String {
    let masked = text.split_ascii_whitespace().map(|word| if word.contains('@') { "***" } else { word });
    masked.collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect()
}

/// A calendar that Google does not show is a matter of the config or of who logged in.
pub fn no_calendar(ctx: &Ctx<Config>, id: &str) -> PluginError {
    let index = ctx.config.calendars.iter().position(|calendar| calendar.id == id).unwrap_or(0);
    let words = "Google has no calendar of this id, or the login may not see it.";
    PluginError::bad_config(&format!("calendars[{index}].id"), words)
}
