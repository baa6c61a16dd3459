//! One request to a provider's token endpoint, and what its answer means.
//!
//! | answer | means |
//! |---|---|
//! | 200 with a token | obtained |
//! | 400 `invalid_grant` | the grant has ended: a person must log in |
//! | another 4xx with an error of OAuth | refused: the app, the scopes or the delegation are not in order |
//! | 408, 425, 429, 5xx, `temporarily_unavailable` and the like, no answer, an answer that is none | try again |

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER},
};
use oauth2::{
    TokenResponse as _,
    basic::{BasicErrorResponse, BasicTokenResponse},
};
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::{
    clock::Timestamp,
    hub::Hub,
    outbound::{client::Outgoing, outcome::retry_after},
    secret::{ExposeSecret, SecretString},
};

/// Time for one request.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// The largest answer that is read; real ones have a few kilobytes.
const ANSWER_BYTES: usize = 64 << 10;

/// The longest token that is taken.
const TOKEN_BYTES: usize = 8 << 10;

/// How long a token is taken to be good where the answer does not say it.
const USUAL_LIFETIME: Duration = Duration::from_secs(3600);

/// No token is used for longer, whatever the answer says.
const LONGEST_LIFETIME: Duration = Duration::from_secs(86_400);

/// How much of a provider's words a person is shown.
const WORDS: usize = 300;

/// A login that lasts longer than this might as well never end.
const LONGEST_LOGIN: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// Errors of OAuth that pass, as Google's client libraries know them.
const PASSING: [&str; 5] =
    ["internal_failure", "server_error", "temporarily_unavailable", "rate_limit_exceeded", "slow_down"];

/// The client of a request.
pub struct Client<'a> {
    /// `client_id`.
    pub id: &'a str,
    /// `client_secret`.
    pub secret: Option<&'a SecretString>,
}

/// Tokens that a provider gave.
pub struct Obtained {
    /// For calls.
    pub access_token: SecretString,
    /// Another refresh token, if it gave one.
    pub refresh_token: Option<SecretString>,
    /// How long the access token is good, from before the request.
    pub lifetime: Duration,
    /// How long the refresh token is good, if the provider says so: after that a person must log in again.
    pub login_lifetime: Option<Duration>,
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The grant has ended.
    #[error("the provider has ended the login ({0})")]
    Ended(String),
    /// The app, the scopes or the delegation are not in order.
    #[error("the provider gives no token ({0})")]
    Refused(String),
    /// It may work later, after this time if it said so.
    #[error("the provider's token endpoint {0}")]
    Unavailable(String, Option<Duration>),
}

impl Hub {
    /// Sends a form to a token endpoint, whose URL is that of a manifest or key file.
    pub(crate) async fn request_token(
        &self,
        url: &str,
        form: &[(&str, &str)],
        client: Option<Client<'_>>,
    ) -> Result<Obtained, TokenError> {
        let later = |words: String| TokenError::Unavailable(words, None);
        let url = self.settings.provider_origins.replace(url);
        let target = self.client.policy().check_url(&url);
        let target = target.map_err(|error| TokenError::Refused(format!("its token URL cannot be called: {error}")))?;
        let (headers, body) = written(form, client)?;
        let outgoing =
            Outgoing { method: Method::POST, target, headers, body, timeout: TIMEOUT, response_cap: ANSWER_BYTES };
        let answer = self.client.send(outgoing).await.map_err(|error| later(format!("did not answer: {error}")))?;
        if answer.truncated {
            return Err(later(format!("answered with more than {ANSWER_BYTES} bytes")));
        }
        let wait = answer.headers.get(RETRY_AFTER).and_then(|value| retry_after(value, self.clock.now()));
        read(answer.status, &answer.body, wait)
    }
}

/// RFC 6749 2.3.1: the client by Basic, which every server must take; without a secret in the form.
fn written(form: &[(&str, &str)], client: Option<Client<'_>>) -> Result<(HeaderMap, Bytes), TokenError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(form);
    match client {
        None => {}
        Some(Client { id, secret: None }) => {
            body.append_pair("client_id", id);
        }
        Some(Client { id, secret: Some(secret) }) => {
            use base64::{Engine as _, engine::general_purpose::STANDARD};
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = Zeroizing::new(format!("{}:{}", encoded(id), encoded(secret.expose_secret())));
            let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| TokenError::Refused("the app's client id or secret fits into no header".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
    }
    Ok((headers, Bytes::from(body.finish())))
}

fn read(status: StatusCode, body: &[u8], wait: Option<Duration>) -> Result<Obtained, TokenError> {
    let later = |words: String| TokenError::Unavailable(words, wait);
    if status == StatusCode::OK {
        let answer: BasicTokenResponse = serde_json::from_slice(body)
            .map_err(|_| later("answered with status 200 and something that is no token".to_owned()))?;
        let access_token = answer.access_token().secret();
        let refresh_token = answer.refresh_token().map(|token| token.secret());
        if !is_token(access_token) || !refresh_token.is_none_or(|token| is_token(token)) {
            return Err(later("answered with a token that fits into no header".to_owned()));
        }
        let lifetime = answer.expires_in().unwrap_or(USUAL_LIFETIME);
        return Ok(Obtained {
            access_token: SecretString::from(access_token.as_str()),
            refresh_token: refresh_token.map(|token| SecretString::from(token.as_str())),
            lifetime: lifetime.clamp(Duration::from_secs(1), LONGEST_LIFETIME),
            login_lifetime: login_lifetime(body),
        });
    }
    let passes = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    let error = serde_json::from_slice::<BasicErrorResponse>(body).ok();
    match error {
        Some(error) if !passes && status.is_client_error() => {
            let code = error.error().as_ref().to_owned();
            let words = match error.error_description() {
                Some(description) => shown(&format!("{code}: {description}")),
                None => shown(&code),
            };
            match code.as_str() {
                passing if PASSING.contains(&passing) => Err(later(format!("says {words}"))),
                "invalid_grant" => Err(TokenError::Ended(words)),
                _ => Err(TokenError::Refused(words)),
            }
        }
        _ => Err(later(format!("answered with status {}", status.as_u16()))),
    }
}

/// How long a refresh token lasts, which no standard has a name for.
fn login_lifetime(body: &[u8]) -> Option<Duration> {
    /// Intuit's name, and those that others use.
    #[derive(serde::Deserialize)]
    struct Lifetime {
        #[serde(alias = "refresh_token_expires_in", alias = "refresh_expires_in")]
        x_refresh_token_expires_in: Option<u64>,
    }
    // Whoever writes it in another form has said nothing.
    let seconds = serde_json::from_slice::<Lifetime>(body).ok()?.x_refresh_token_expires_in?;
    (seconds > 0).then(|| Duration::from_secs(seconds).min(LONGEST_LOGIN))
}

/// Whether it may stand behind `Bearer`.
fn is_token(text: &str) -> bool {
    (1..=TOKEN_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A provider's words in one line of bounded length.
fn shown(words: &str) -> String {
    words.chars().filter(|char| !char.is_control()).take(WORDS).collect()
}

/// When a token that was asked for at `from` ends, and when the next one should be obtained: 15 minutes early, or after
/// three quarters of a life that is shorter than an hour.
#[must_use]
pub fn due(from: Timestamp, lifetime: Duration) -> (Timestamp, Timestamp) {
    let early = Duration::from_secs(900).min(lifetime / 4);
    (from.after(lifetime), from.after(lifetime.saturating_sub(early)))
}

#[cfg(test)]
#[path = "token_endpoint_tests.rs"]
mod tests;
