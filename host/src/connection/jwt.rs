//! Signed tokens (RFC 7515 and 7519), judged against a set of public keys.
//!
//! The algorithm is one of four with public keys, and it must fit the type of the key that the token names: a token
//! cannot choose how it is checked, so that neither `none` nor a public key taken for an HMAC secret proves anything.
//! Keys come from the issuer's set alone; `jwk`, `jku`, `x5c` and `x5u` inside a token are never looked at.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::key_set::KeySet;
use crate::{clock::Timestamp, event::json_limits::check_json_limits};

/// The longest token that is read, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// How far the issuer's clock may differ from ours.
pub const LEEWAY: Duration = Duration::from_secs(60);

/// How a token may be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA, PKCS #1 v1.5, SHA-256.
    Rs256,
    /// RSA, PSS, SHA-256.
    Ps256,
    /// ECDSA on P-256, SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// The algorithm of this name in a token or a key; names are compared exactly.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }

    const fn known_to_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// Why a token proves nothing. Never repeats what the token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`MAX_TOKEN`].
    #[error("the token is longer than {MAX_TOKEN} bytes")]
    TooLong,
    /// Not a token in the compact form.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// Another algorithm, `none` and HMAC among them.
    #[error("the token's algorithm is none of RS256, PS256, ES256 and EdDSA")]
    Algorithm,
    /// No `kid`.
    #[error("the token does not name its key")]
    NoKey,
    /// The issuer's set has no such key.
    #[error("the issuer's key set has no key of the token's name")]
    UnknownKey,
    /// The key of that name is for another algorithm.
    #[error("the token's key is not for the token's algorithm")]
    WrongKey,
    /// It was not signed with that key, or was changed.
    #[error("the token's signature does not fit")]
    Signature,
    /// Another issuer, or none.
    #[error("the token is from another issuer")]
    Issuer,
    /// Meant for somebody else, or for nobody.
    #[error("the token is meant for another audience")]
    Audience,
    /// `exp` has passed, or is missing.
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` lies ahead.
    #[error("the token is not valid yet")]
    NotYet,
}

/// What a token must say to be believed.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Accepted values of `iss`, compared exactly.
    pub issuers: &'a [String],
    /// The value that `aud` is or contains, compared exactly.
    pub audience: &'a str,
    /// The moment at which the token must be valid.
    pub at: Timestamp,
    /// How far clocks may differ.
    pub leeway: Duration,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// A token whose form is good. Nothing of it is proven.
#[derive(Debug)]
pub struct Token<'a> {
    algorithm: Algorithm,
    key: String,
    signed: &'a str,
    claims: &'a str,
    signature: &'a str,
}

impl<'a> Token<'a> {
    /// Reads the three parts and the header.
    ///
    /// # Errors
    /// The form, the algorithm, or a header that names no key.
    pub fn read(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN {
            return Err(TokenError::TooLong);
        }
        let malformed = TokenError::Malformed("it is not three parts with dots between");
        let (signed, signature) = text.rsplit_once('.').ok_or(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(malformed)?;
        if claims.contains('.') {
            return Err(malformed);
        }
        let header: Header = serde_json::from_slice(&object(header)?)
            .map_err(|_| TokenError::Malformed("its header is not that of a signed token"))?;
        let algorithm = Algorithm::named(&header.alg).ok_or(TokenError::Algorithm)?;
        if header.crit.is_some() {
            // RFC 7515, 4.1.11: who does not understand what is critical must refuse, and nothing is understood here.
            return Err(TokenError::Malformed("it asks for extensions that are not understood"));
        }
        let key = header.kid.filter(|kid| !kid.is_empty()).ok_or(TokenError::NoKey)?;
        Ok(Self { algorithm, key, signed, claims, signature })
    }

    /// The name of the key that is said to have signed it. It is for a look-up only.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The claims as JSON, if the token is signed by a key of the set and says what is expected.
    ///
    /// # Errors
    /// The first thing that does not fit; the signature comes before the claims.
    pub fn claims(&self, keys: &KeySet, expected: &Expected<'_>) -> Result<String, TokenError> {
        if !keys.names(&self.key) {
            return Err(TokenError::UnknownKey);
        }
        let key = keys.key(&self.key, self.algorithm).ok_or(TokenError::WrongKey)?;
        let algorithm = self.algorithm.known_to_library();
        let signed = jsonwebtoken::crypto::verify(self.signature, self.signed.as_bytes(), key, algorithm);
        if !signed.unwrap_or(false) {
            return Err(TokenError::Signature);
        }
        let json = object(self.claims)?;
        let not_json = TokenError::Malformed("its claims are not a JSON object");
        let claims: Map<String, Value> = serde_json::from_slice(&json).map_err(|_| not_json)?;
        check(&claims, expected)?;
        String::from_utf8(json).map_err(|_| not_json)
    }
}

/// A part as JSON text. A name that stands twice is refused, since the plugin could read another value than was judged.
fn object(part: &str) -> Result<Vec<u8>, TokenError> {
    let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed("a part is not base64url"))?;
    match check_json_limits(&json) {
        Ok(()) => Ok(json),
        Err(_) => Err(TokenError::Malformed("a part nests too deeply or has a name twice")),
    }
}

fn check(claims: &Map<String, Value>, expected: &Expected<'_>) -> Result<(), TokenError> {
    let issuer = claims.get("iss").and_then(Value::as_str).ok_or(TokenError::Issuer)?;
    if !expected.issuers.iter().any(|accepted| accepted == issuer) {
        return Err(TokenError::Issuer);
    }
    let meant = |value: &Value| value.as_str() == Some(expected.audience);
    let for_us = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(meant),
        Some(one) => meant(one),
        None => false,
    };
    if !for_us {
        return Err(TokenError::Audience);
    }
    let (now, leeway) = (Duration::from_millis(u64::try_from(expected.at.0).unwrap_or(0)), expected.leeway);
    let (now, leeway) = (now.as_secs_f64(), leeway.as_secs_f64());
    let time = |name: &str| claims.get(name).map(|value| value.as_f64().filter(|time| time.is_finite()));
    match time("exp") {
        Some(Some(end)) if now < end + leeway => {}
        _ => return Err(TokenError::Expired),
    }
    for name in ["nbf", "iat"] {
        match time(name) {
            Some(Some(begin)) if begin > now + leeway => return Err(TokenError::NotYet),
            Some(None) => return Err(TokenError::Malformed("`nbf` or `iat` is not a number")),
            Some(Some(_)) | None => {}
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
