use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;
use switchyard_sdk::json;
use switchyard_sdk::prelude::*;

use crate::client::{number, text};
use crate::config::{Config, Push};
use crate::{KEYS, SYNC};

/// How Google names itself in tokens.
pub const ISSUERS: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];

/// How far the clocks of Google and the hub may differ, in seconds.
const SKEW_S: u64 = 10;

/// What a change notification says.
#[derive(Debug, PartialEq, Eq)]
pub struct Notification {
    /// The mailbox that changed.
    pub mailbox: String,
    /// How far it has come.
    pub history_id: u64,
}

/// A push that is proven to be from our subscription makes the poll due; it carries no news itself. One that cannot be
/// read is taken as well: something changed, and sending it again would not make it readable.
pub fn receive(ctx: &Ctx<Config>, request: &InboundRequest) -> Result<Received, PluginError> {
    let Some(push) = &ctx.config.push else {
        return Ok(Received::unauthenticated("pushes are not configured: set `push`"));
    };
    if let Err(refusal) = authenticate(ctx, push, request)? {
        return Ok(Received::unauthenticated(refusal));
    }
    match notification(&request.body) {
        Some(news) if !ctx.config.is_mailbox(&news.mailbox) => {
            ctx.warn("a push for another mailbox was ignored", &[]);
            return Ok(Received::Handled(Reply::status(204)));
        }
        Some(_) => {}
        None => ctx.warn("a push could not be read; the mailbox is looked at nevertheless", &[]),
    }
    let reply = Some(Reply::status(204));
    Ok(Received::Accepted { events: Vec::new(), reply, poll_now: vec![SYNC.to_owned()] })
}

/// Signature, algorithm, key, issuer and audience are the host's to check; what it leaves a minute of leeway for, and the
/// claims that it does not know, are checked here.
fn authenticate(ctx: &Ctx<Config>, push: &Push, request: &InboundRequest) -> Result<Result<(), String>, PluginError> {
    let refused = |why: &str| Ok(Err(why.to_owned()));
    let Some(token) = request.header("authorization").and_then(bearer) else {
        return refused("no bearer token, or several");
    };
    let source = ctx.source(&request.source_id).map(|source| source.url.as_str());
    let Some(audience) = push.audience.as_deref().or(source) else {
        return refused("the source is not known, so neither is the audience");
    };
    let claims = match ctx.verify_jwt(KEYS, token, audience) {
        Ok(claims) => claims,
        Err(CryptoError::Invalid(why)) => return Ok(Err(why)),
        Err(error) => return Err(error.into()),
    };
    Ok(check_claims(&claims, audience, &push.service_account, request.received_at / 1000).map_err(str::to_owned))
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// Whether the claims of a token whose signature is good are those of our subscription at `now`, in seconds.
///
/// # Errors
/// The first claim that is not as it must be.
pub fn check_claims(claims: &Value, audience: &str, email: &str, now: u64) -> Result<(), &'static str> {
    if !text(claims, "iss").is_some_and(|issuer| ISSUERS.contains(&issuer)) {
        return Err("another issuer");
    }
    if text(claims, "aud") != Some(audience) {
        return Err("another audience");
    }
    match claims.get("exp").and_then(Value::as_u64) {
        Some(expires) if expires.saturating_add(SKEW_S) > now => {}
        Some(_) => return Err("the token has expired"),
        None => return Err("the token never expires"),
    }
    match claims.get("iat").and_then(Value::as_u64) {
        Some(issued) if issued <= now.saturating_add(SKEW_S) => {}
        Some(_) => return Err("the token is from the future"),
        None => return Err("the token does not say when it was issued"),
    }
    if text(claims, "email") != Some(email) {
        return Err("another service account");
    }
    if claims.get("email_verified") != Some(&Value::Bool(true)) {
        return Err("the service account's address is not verified");
    }
    Ok(())
}

/// The notification inside a push in the wrapped form; none if it is anything else.
pub fn notification(body: &[u8]) -> Option<Notification> {
    let envelope: Value = json::parse(body).ok()?;
    let data: Value = json::parse(&decode(text(envelope.get("message")?, "data")?)?).ok()?;
    let mailbox = text(&data, "emailAddress")?.to_owned();
    Some(Notification { mailbox, history_id: number(data.get("historyId"))? })
}

/// Base64 in either alphabet, with or without padding: both are in use, also by Gmail.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let alphabet = if text.contains(['+', '/']) { &STANDARD } else { &URL_SAFE };
    let engine = GeneralPurpose::new(alphabet, config);
    if text.contains(|letter: char| letter.is_ascii_whitespace()) {
        let joined: String = text.split_ascii_whitespace().collect();
        return engine.decode(joined).ok();
    }
    engine.decode(text).ok()
}
