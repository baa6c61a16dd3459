//! Sends a webhook as Twilio does: signed over the configured URL, retried on a failed connect, then the fallback URL.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    account::Account,
    signature::{self, Algorithm, Port},
};
use crate::client::{self, Answered, Outgoing, Patience, SendError};

/// A key that a Webhook Rule signs with instead of the auth token.
#[derive(Clone)]
pub struct SharedKey {
    /// `webhooks_sharedkey_` and 26 characters.
    pub id: String,
    /// The key's bytes as text.
    pub secret: String,
    /// The hash it signs with.
    pub algorithm: Algorithm,
}

/// In which of its ways Twilio signs and encodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Signing {
    /// What happens to the port before signing.
    pub port: Port,
    /// Signs the URL as a WHATWG parser writes it, while the request carries it as configured.
    pub whatwg: bool,
    /// Signs with the account's shared key and sends the settings header.
    pub shared_key: bool,
    /// Sends a JSON body with `bodySHA256` in the URL, as Studio does.
    pub json: bool,
    /// Parameters that no documentation mentions; they are signed like all others.
    pub extra: Vec<(String, String)>,
}

/// How a request is spoilt on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forgery {
    /// Not at all.
    #[default]
    None,
    /// Signed with a key that nobody configured.
    WrongKey,
    /// The header is missing.
    NoSignature,
    /// The body was changed after signing.
    AlteredBody,
}

/// One try of a webhook.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// Where it went.
    pub url: String,
    /// Whether that was the fallback URL.
    pub fallback: bool,
    /// The status, if there was an answer.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<String>,
}

/// A webhook that was sent, kept so that the same bytes can be sent again.
#[derive(Clone, Debug, Serialize)]
pub struct SentWebhook {
    /// The message or call it speaks of.
    pub message_sid: String,
    /// `sms`, `voice`, `recording`, or the status it reports.
    pub about: String,
    /// The URL on the wire, with `bodySHA256` if there is one.
    pub url: String,
    /// Every header that Twilio adds.
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(serialize_with = "as_text")]
    pub body: Bytes,
    /// Its tries, the fallback last.
    pub attempts: Vec<Attempt>,
}

fn as_text<S: serde::Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(body))
}

/// A webhook before it is signed.
pub(crate) struct Webhook<'a> {
    pub(crate) message_sid: &'a str,
    pub(crate) about: &'a str,
    pub(crate) url: &'a str,
    pub(crate) fallback_url: Option<&'a str>,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) signing: &'a Signing,
    pub(crate) forgery: Forgery,
}

/// The bytes of a webhook, ready for any number of tries.
struct Signed {
    url: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// Sends `webhook` with all its tries, records it, and gives the last answer.
pub(crate) async fn send(account: &Account, webhook: Webhook<'_>) -> (SentWebhook, Option<Answered>) {
    let token = account.ids.uuid();
    let signed = signed(account, &webhook, webhook.url, &webhook.params, &token);
    let overrides = Overrides::of(webhook.url);
    let mut attempts = Vec::new();
    let mut result = tries(account, &signed, overrides, &mut attempts).await;
    if let (Some(fallback), Some(code)) = (webhook.fallback_url, error_code(&result)) {
        let mut params = webhook.params.clone();
        params.push(("ErrorCode".to_owned(), code.to_owned()));
        params.push(("ErrorUrl".to_owned(), webhook.url.to_owned()));
        let again = self::signed(account, &webhook, fallback, &params, &token);
        result = try_once(account, &again, Overrides::of(fallback).patience, true, &mut attempts).await;
    }
    let sent = SentWebhook {
        message_sid: webhook.message_sid.to_owned(),
        about: webhook.about.to_owned(),
        url: signed.url,
        headers: signed.headers,
        body: signed.body,
        attempts,
    };
    account.change(|state| state.add_webhook(sent.clone()));
    (sent, result.ok())
}

/// Sends the bytes of an earlier webhook again, optionally under a fresh idempotency token.
pub(crate) async fn resend(
    account: &Account,
    earlier: &SentWebhook,
    fresh_token: bool,
) -> (Vec<Attempt>, Option<Answered>) {
    let mut headers = earlier.headers.clone();
    for (name, value) in &mut headers {
        if fresh_token && name == "I-Twilio-Idempotency-Token" {
            *value = account.ids.uuid();
        }
    }
    let signed = Signed { url: earlier.url.clone(), headers, body: earlier.body.clone() };
    let mut attempts = Vec::new();
    let result = try_once(account, &signed, Overrides::of(&earlier.url).patience, false, &mut attempts).await;
    (attempts, result.ok())
}

async fn tries(
    account: &Account,
    signed: &Signed,
    overrides: Overrides,
    attempts: &mut Vec<Attempt>,
) -> Result<Answered, SendError> {
    let mut left = overrides.retries;
    loop {
        let result = try_once(account, signed, overrides.patience, false, attempts).await;
        if left == 0 || !overrides.retry_on(&result) {
            return result;
        }
        left -= 1;
    }
}

async fn try_once(
    account: &Account,
    signed: &Signed,
    patience: Patience,
    fallback: bool,
    attempts: &mut Vec<Attempt>,
) -> Result<Answered, SendError> {
    let outgoing = Outgoing { url: &signed.url, headers: &signed.headers, body: signed.body.clone() };
    let result = client::post(&outgoing, account.options.connect_to, patience).await;
    attempts.push(Attempt {
        url: signed.url.clone(),
        fallback,
        status: result.as_ref().ok().map(|answered| answered.status),
        error: result.as_ref().err().map(ToString::to_string),
    });
    result
}

fn signed(account: &Account, webhook: &Webhook<'_>, url: &str, params: &[(String, String)], token: &str) -> Signed {
    let signing = webhook.signing;
    let mut params = params.to_vec();
    params.extend(signing.extra.iter().cloned());
    let encode = |params: &[(String, String)]| {
        if signing.json {
            let object: Map<String, Value> = params.iter().map(|(k, v)| (k.clone(), Value::from(v.clone()))).collect();
            Value::Object(object).to_string()
        } else {
            form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish()
        }
    };
    let mut body = encode(&params);
    let url = match signing.json {
        true => signature::with_body_sha256(url, &signature::body_sha256(body.as_bytes())),
        false => url.to_owned(),
    };
    let rewritten = if signing.whatwg { signature::whatwg(&url) } else { url.clone() };
    let rewritten = signature::with_port(&rewritten, signing.port);
    let text = signature::base_string(&rewritten, if signing.json { &[] } else { &params });
    let mut headers = headers(account, signing, webhook.forgery, &text);
    headers.push(("I-Twilio-Idempotency-Token".to_owned(), token.to_owned()));
    if webhook.forgery == Forgery::AlteredBody {
        const ALTERED: [&str; 3] = ["Body", "MessageStatus", "CallStatus"];
        for (_, value) in params.iter_mut().filter(|(name, _)| ALTERED.contains(&name.as_str())) {
            value.push('!');
        }
        body = encode(&params);
    }
    Signed { url, headers, body: Bytes::from(body) }
}

fn headers(account: &Account, signing: &Signing, forgery: Forgery, text: &str) -> Vec<(String, String)> {
    let content_type =
        if signing.json { "application/json" } else { "application/x-www-form-urlencoded; charset=UTF-8" };
    let mut headers = vec![
        ("Content-Type".to_owned(), content_type.to_owned()),
        ("User-Agent".to_owned(), "TwilioProxy/1.1".to_owned()),
        ("Accept".to_owned(), "*/*".to_owned()),
    ];
    let shared = account.options.shared_key.as_ref().filter(|_| signing.shared_key);
    let (algorithm, key) = shared.map_or((Algorithm::HmacSha1, account.options.auth_token.as_str()), |shared| {
        (shared.algorithm, shared.secret.as_str())
    });
    if let Some(shared) = shared {
        let settings = format!("key={},algorithm={}", shared.id, algorithm.name());
        headers.push(("X-Twilio-Webhooks-Signature-Settings".to_owned(), settings));
    }
    let signature = match forgery {
        Forgery::NoSignature => return headers,
        Forgery::WrongKey => signature::sign(algorithm, &format!("not-{key}"), text),
        Forgery::None | Forgery::AlteredBody => signature::sign(algorithm, key, text),
    };
    headers.push(("X-Twilio-Signature".to_owned(), signature));
    headers
}

/// The code that the fallback URL is told; none when the webhook succeeded.
fn error_code(result: &Result<Answered, SendError>) -> Option<&'static str> {
    match result {
        Ok(answered) if (200..300).contains(&answered.status) => None,
        Ok(_) => Some("11200"),
        Err(_) => Some("11205"),
    }
}

/// Connection overrides, as they stand in the fragment of a webhook URL.
#[derive(Clone, Copy, Debug)]
struct Overrides {
    patience: Patience,
    retries: u32,
    on_connect: bool,
    on_timeout: bool,
    on_4xx: bool,
    on_5xx: bool,
}

impl Overrides {
    /// Defaults: connect 5 s, all in all 15 s, one retry after a failed connect. Values out of range count as absent.
    fn of(url: &str) -> Self {
        let patience = Patience { connect: Duration::from_secs(5), total: Duration::from_secs(15) };
        let mut overrides =
            Self { patience, retries: 1, on_connect: true, on_timeout: false, on_4xx: false, on_5xx: false };
        let fragment = url.split_once('#').map_or("", |(_, fragment)| fragment);
        for (name, value) in fragment.split('&').filter_map(|pair| pair.split_once('=')) {
            let millis = |least: u64, most: u64| {
                value.parse().ok().filter(|ms| (least..=most).contains(ms)).map(Duration::from_millis)
            };
            match name {
                "ct" => overrides.patience.connect = millis(100, 10_000).unwrap_or(patience.connect),
                "rt" | "tt" => {
                    let limit = millis(100, 15_000).unwrap_or(patience.total);
                    overrides.patience.total = overrides.patience.total.min(limit);
                }
                "rc" => overrides.retries = value.parse().ok().filter(|count| *count <= 5).unwrap_or(1),
                "rp" => {
                    let names = |name: &str| value.split(',').any(|class| class == name || class == "all");
                    overrides.on_connect = names("ct");
                    overrides.on_timeout = names("rt");
                    overrides.on_4xx = names("4xx");
                    overrides.on_5xx = names("5xx");
                }
                _ => {}
            }
        }
        overrides
    }

    fn retry_on(&self, result: &Result<Answered, SendError>) -> bool {
        match result {
            Ok(answered) if answered.status >= 500 => self.on_5xx,
            Ok(answered) if answered.status >= 400 => self.on_4xx,
            Ok(_) | Err(SendError::Url(_)) => false,
            Err(SendError::Connect(_)) => self.on_connect,
            Err(SendError::Timeout | SendError::Broken(_)) => self.on_timeout,
        }
    }
}
