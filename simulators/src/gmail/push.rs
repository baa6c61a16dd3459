//! One push: its token, what can be forged about it, and its way to the hub.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Gmail,
    pubsub::{Notice, Subscription},
};
use crate::{
    client::{self, Answered, Outgoing, Patience, SendError},
    google::keys::RsaKey,
};

/// How long a token is good, in seconds.
const LIFETIME_S: i64 = 3_600;

/// How a push is spoilt on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forgery {
    /// Not at all.
    #[default]
    None,
    /// No token.
    NoToken,
    /// A token that is no JWT.
    Garbage,
    /// Signed for somebody else's endpoint.
    WrongAudience,
    /// By another issuer.
    WrongIssuer,
    /// Another customer's service account, signed by Google all the same.
    WrongEmail,
    /// No address at all.
    NoEmail,
    /// The address is not verified.
    EmailNotVerified,
    /// It expired two minutes ago.
    Expired,
    /// It is issued in five minutes.
    FromFuture,
    /// Signed with another key under the `kid` of Google's.
    OtherKey,
    /// Signed with another key under its own `kid`.
    UnknownKey,
    /// `alg: none`, without a signature.
    AlgNone,
    /// HMAC with the public key as secret.
    AlgHs256,
    /// The claims were changed after signing.
    AlteredClaims,
    /// Two `Authorization` fields, one of them good.
    TwoTokens,
}

impl Forgery {
    /// All ways, for a test that tries each.
    pub const ALL: [Self; 15] = [
        Self::NoToken,
        Self::Garbage,
        Self::WrongAudience,
        Self::WrongIssuer,
        Self::WrongEmail,
        Self::NoEmail,
        Self::EmailNotVerified,
        Self::Expired,
        Self::FromFuture,
        Self::OtherKey,
        Self::UnknownKey,
        Self::AlgNone,
        Self::AlgHs256,
        Self::AlteredClaims,
        Self::TwoTokens,
    ];
}

/// A push that somebody asks for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PushOrder {
    /// How it is spoilt.
    pub forgery: Forgery,
    /// The id that it names; where the mailbox stands if none is given.
    pub history_id: Option<u64>,
    /// The mailbox that it names; this one if none is given.
    pub mailbox: Option<String>,
    /// A body in place of the envelope.
    pub body: Option<String>,
}

/// What became of it.
#[derive(Clone, Debug, Serialize)]
pub struct PushOutcome {
    /// The hub's status.
    pub status: u16,
    /// The hub's answer.
    pub body: String,
}

/// A push on its way, or arrived.
#[derive(Clone, Debug, Serialize)]
pub struct Pushed {
    #[serde(skip)]
    pub(crate) number: u64,
    /// Pub/Sub's id of the message.
    pub message_id: String,
    /// The subscription that it went through.
    pub subscription: String,
    /// The history id that it names.
    pub history_id: u64,
    /// The status of each try; 0 where there was no answer.
    pub statuses: Vec<u16>,
    /// Whether the last of them acknowledged it.
    pub acked: bool,
}

/// Why a push was not sent.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Nobody subscribed.
    #[error("there is no push subscription")]
    NoSubscription,
    /// The hub could not be reached.
    #[error("the push could not be sent: {0}")]
    Unreachable(String),
}

/// Sends one push to each subscription, without another try.
pub(crate) async fn once(gmail: &Arc<Gmail>, order: &PushOrder) -> Result<PushOutcome, PushError> {
    let (subscriptions, notice) = {
        let mut mailbox = gmail.mailbox();
        mailbox.notices += 17;
        let history_id = order.history_id.unwrap_or(mailbox.history_id);
        let named = order.mailbox.as_deref().unwrap_or(&gmail.address);
        let numeric = mailbox.behaviour.numeric_history_id;
        let notice = Notice::new(mailbox.notices, named, history_id, numeric, gmail.clock.now_ms());
        (mailbox.subscriptions.clone(), notice)
    };
    let mut outcome = Err(PushError::NoSubscription);
    for subscription in subscriptions {
        let body = order.body.clone().unwrap_or_else(|| notice.envelope(&subscription.name).to_string());
        let answered = post(gmail, &subscription, body, order.forgery).await;
        let answered = answered.map_err(|error| PushError::Unreachable(error.to_string()))?;
        let body = String::from_utf8_lossy(&answered.body).into_owned();
        outcome = Ok(PushOutcome { status: answered.status, body });
    }
    outcome
}

/// Posts a push with its token.
pub(crate) async fn post(
    gmail: &Gmail,
    subscription: &Subscription,
    body: String,
    forgery: Forgery,
) -> Result<Answered, SendError> {
    let mut headers = vec![
        ("Content-Type".to_owned(), "application/json".to_owned()),
        ("User-Agent".to_owned(), "CloudPubSub-Google".to_owned()),
    ];
    let bearer = |token: String| ("Authorization".to_owned(), format!("Bearer {token}"));
    if let Some(token) = token(gmail, subscription, forgery) {
        headers.push(bearer(token));
    }
    if forgery == Forgery::TwoTokens {
        headers.push(bearer("x.y.z".to_owned()));
    }
    let total = gmail.time_factor.scale(subscription.ack_deadline).max(Duration::from_secs(5));
    let patience = Patience { connect: Duration::from_secs(5), total };
    client::post(&Outgoing { url: &subscription.url, headers: &headers, body: Bytes::from(body) }, None, patience).await
}

/// The token of a push; none where it is left out.
fn token(gmail: &Gmail, subscription: &Subscription, forgery: Forgery) -> Option<String> {
    let now = gmail.clock.now_ms() / 1000;
    let mut claims = claims(subscription, now);
    match forgery {
        Forgery::NoToken => return None,
        Forgery::Garbage => return Some("not-a-token".to_owned()),
        Forgery::WrongAudience => claims["aud"] = json!("https://evil.example.test/"),
        Forgery::WrongIssuer => claims["iss"] = json!("https://accounts.example.test"),
        Forgery::WrongEmail => claims["email"] = json!("someone-else@other-project.iam.gserviceaccount.com"),
        Forgery::NoEmail => claims["email"] = Value::Null,
        Forgery::EmailNotVerified => claims["email_verified"] = json!(false),
        Forgery::Expired => {
            claims["iat"] = json!(now - LIFETIME_S - 120);
            claims["exp"] = json!(now - 120);
        }
        Forgery::FromFuture => {
            claims["iat"] = json!(now + 300);
            claims["exp"] = json!(now + 300 + LIFETIME_S);
        }
        Forgery::OtherKey | Forgery::UnknownKey => return by_another_key(gmail, &claims, forgery),
        Forgery::AlgNone => {
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            return Some(format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT"})), part(&claims)));
        }
        Forgery::AlgHs256 => {
            let public = gmail.keys.jwks()["keys"][0]["n"].as_str().unwrap_or_default().to_owned();
            let header = Header { kid: Some(gmail.keys.current_id()), ..Header::new(Algorithm::HS256) };
            return jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(public.as_bytes())).ok();
        }
        Forgery::None | Forgery::AlteredClaims | Forgery::TwoTokens => {}
    }
    let token = gmail.keys.sign(&claims).ok()?;
    if forgery != Forgery::AlteredClaims {
        return Some(token);
    }
    claims["exp"] = json!(now + 10 * LIFETIME_S);
    let (head, rest) = token.split_once('.')?;
    let (_, signature) = rest.split_once('.')?;
    Some(format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string())))
}

fn claims(subscription: &Subscription, now: i64) -> Value {
    json!({"aud": subscription.audience.as_ref().unwrap_or(&subscription.url), "azp": "113774264463038321964",
        "email": subscription.service_account, "email_verified": true, "exp": now + LIFETIME_S, "iat": now,
        "iss": "https://accounts.google.com", "sub": "113774264463038321964"})
}

fn by_another_key(gmail: &Gmail, claims: &Value, forgery: Forgery) -> Option<String> {
    let key = RsaKey::generate().ok()?;
    let id = if forgery == Forgery::OtherKey { gmail.keys.current_id() } else { key.id().to_owned() };
    let header = Header { kid: Some(id), ..Header::new(Algorithm::RS256) };
    let signing = EncodingKey::from_rsa_pem(key.private_pem().ok()?.as_bytes()).ok()?;
    jsonwebtoken::encode(&header, claims, &signing).ok()
}
