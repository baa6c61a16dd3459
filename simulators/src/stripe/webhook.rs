//! Sends webhooks as Stripe does: signed anew at each try, and tried for three days.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::account::{Account, StripeError};
use crate::client::{self, Outgoing, Patience};

/// The waits between two tries: more and more, three days together.
const WAITS_S: [u64; 12] = [60, 300, 1_800, 7_200, 18_000, 36_000, 36_000, 36_000, 36_000, 36_000, 36_000, 15_840];

/// How long an endpoint may take.
const PATIENCE: Patience = Patience { connect: Duration::from_secs(5), total: Duration::from_secs(20) };

/// How a request is spoilt on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forgery {
    /// Not at all.
    #[default]
    None,
    /// Signed with a secret that nobody configured.
    WrongKey,
    /// The header is missing.
    NoSignature,
    /// Only a signature of the test scheme `v0`.
    OnlyV0,
    /// The body was changed after signing.
    AlteredBody,
    /// The time stamp was changed after signing.
    AlteredStamp,
    /// The header is sent twice.
    TwoHeaders,
}

/// How an event is sent by hand.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sending {
    /// How it is spoilt.
    pub forgery: Forgery,
    /// How many seconds ago it claims to have been signed; negative is in the future.
    pub age_s: i64,
}

/// One try of a webhook.
#[derive(Clone, Debug, Serialize)]
pub struct Attempt {
    /// The event.
    pub event: String,
    /// The signature header, where there was one.
    pub signature: Option<String>,
    /// Whether it was signed as Stripe signs.
    pub genuine: bool,
    /// The status, if there was an answer.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<String>,
}

/// The operation's name for faults: `webhook.customer.subscription.updated`.
pub(crate) fn operation(kind: &str) -> String {
    format!("webhook.{kind}")
}

/// The hex signature of a body at a time.
#[must_use]
pub fn sign(secret: &str, stamp: i64, body: &[u8]) -> String {
    // HMAC takes a key of any length, so that there is always one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(format!("{stamp}.").as_bytes());
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// Sends events one after the other; what is not taken is tried again beside the others.
pub(crate) async fn deliver_all(account: Arc<Account>, events: Vec<String>) {
    for event in events {
        let kind = account.read(|state| state.event(&event).map(|event| event.kind.clone())).unwrap_or_default();
        let plan = account.faults.take_webhook(&operation(&kind));
        let forgery = if plan.wrong_signature { Forgery::WrongKey } else { Forgery::None };
        let first = Sending { forgery, age_s: 0 };
        let times = if plan.duplicate { 2 } else { 1 };
        if !plan.delay.is_zero() {
            tokio::time::sleep(account.options.time_factor.scale(plan.delay)).await;
        }
        let mut taken = false;
        for _ in 0..times {
            let sent = send_once(&account, &event, &first).await;
            // Who takes what is spoilt has not taken the event.
            taken = forgery == Forgery::None && sent.is_ok_and(|status| (200..300).contains(&status));
        }
        if !taken {
            tokio::spawn(insist(Arc::clone(&account), event));
        }
    }
}

/// Tries an event again until it is taken or three days are over.
async fn insist(account: Arc<Account>, event: String) {
    for wait in WAITS_S {
        let wait = account.options.time_factor.scale(Duration::from_secs(wait));
        tokio::select! {
            () = account.shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let sent = send_once(&account, &event, &Sending::default()).await;
        if sent.is_ok_and(|status| (200..300).contains(&status)) {
            return;
        }
    }
}

/// One try, written down however it ends.
pub(crate) async fn send_once(account: &Account, event: &str, sending: &Sending) -> Result<u16, StripeError> {
    let (body, url, secrets) = account.read(|state| {
        (state.event(event).map(|event| event.body.to_string()), state.url.clone(), state.secrets.clone())
    });
    let body = body.ok_or_else(|| StripeError::Unknown("event", event.to_owned()))?;
    let url = url.ok_or(StripeError::NoUrl)?;
    let (headers, body) = spoilt(account.now_s() - sending.age_s, sending.forgery, &secrets, body);
    let signature = headers.iter().find(|(name, _)| name == "Stripe-Signature").map(|(_, value)| value.clone());
    let outgoing = Outgoing { url: &url, headers: &headers, body: Bytes::from(body) };
    let result = client::post(&outgoing, account.options.connect_to, PATIENCE).await;
    let attempt = Attempt {
        event: event.to_owned(),
        signature,
        genuine: sending.forgery == Forgery::None,
        status: result.as_ref().ok().map(|answered| answered.status),
        error: result.as_ref().err().map(ToString::to_string),
    };
    account.change(|state| state.add_attempt(attempt));
    result.map(|answered| answered.status).map_err(|error| StripeError::NoAnswer(error.to_string()))
}

/// Headers and body of one try, spoilt as asked.
fn spoilt(stamp: i64, forgery: Forgery, secrets: &[String], mut body: String) -> (Vec<(String, String)>, String) {
    let tags = |secrets: &[String], scheme: &str| -> String {
        secrets.iter().map(|secret| format!(",{scheme}={}", sign(secret, stamp, body.as_bytes()))).collect()
    };
    // Stripe adds a `v0` signature to test events; it proves nothing and must be ignored.
    let genuine = format!("t={stamp}{},v0={}", tags(secrets, "v1"), "0".repeat(64));
    let header = match forgery {
        Forgery::None | Forgery::AlteredBody | Forgery::TwoHeaders => Some(genuine.clone()),
        Forgery::WrongKey => Some(format!("t={stamp}{}", tags(&["whsec_nobodys".to_owned()], "v1"))),
        Forgery::OnlyV0 => Some(format!("t={stamp}{}", tags(secrets, "v0"))),
        Forgery::AlteredStamp => Some(genuine.replacen(&stamp.to_string(), &(stamp + 1).to_string(), 1)),
        Forgery::NoSignature => None,
    };
    if forgery == Forgery::AlteredBody {
        body.push(' ');
    }
    let mut headers = vec![
        ("Content-Type".to_owned(), "application/json; charset=utf-8".to_owned()),
        ("User-Agent".to_owned(), "Stripe/1.0 (+https://stripe.com/docs/webhooks)".to_owned()),
    ];
    headers.extend(header.map(|header| ("Stripe-Signature".to_owned(), header)));
    if forgery == Forgery::TwoHeaders {
        headers.push(("Stripe-Signature".to_owned(), genuine));
    }
    (headers, body)
}
