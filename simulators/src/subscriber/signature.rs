//! Verifies Standard Webhooks signatures from the receiver's side.

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// How far a timestamp may lie from the receiver's clock, in seconds, both ways.
pub const TOLERANCE_S: i64 = 300;

/// At most this many entries of a signature header are looked at.
const MOST_SIGNATURES: usize = 32;

/// A key that a subscriber trusts.
#[derive(Clone)]
pub struct Secret(Key);

#[derive(Clone)]
enum Key {
    Symmetric(Vec<u8>),
    Public(Box<VerifyingKey>),
}

/// The text is not a key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It begins with neither prefix.
    #[error("a key begins with whsec_ or whpk_")]
    Prefix,
    /// The rest is not base64 of a key of a permitted length.
    #[error("the part after the prefix is not base64 of a key of the right length")]
    Malformed,
}

impl std::str::FromStr for Secret {
    type Err = SecretError;

    /// Reads `whsec_` with 24 to 64 bytes, or `whpk_` with an ed25519 public key.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let decode = |encoded: &str| STANDARD.decode(encoded).map_err(|_| SecretError::Malformed);
        if let Some(encoded) = text.strip_prefix("whsec_") {
            let key = decode(encoded)?;
            let permitted = (24..=64).contains(&key.len());
            return if permitted { Ok(Self(Key::Symmetric(key))) } else { Err(SecretError::Malformed) };
        }
        let encoded = text.strip_prefix("whpk_").ok_or(SecretError::Prefix)?;
        let bytes: [u8; 32] = decode(encoded)?.try_into().map_err(|_| SecretError::Malformed)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| SecretError::Malformed)?;
        Ok(Self(Key::Public(Box::new(key))))
    }
}

/// What the receiver thinks of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Signed by a trusted key, and fresh.
    Verified,
    /// The receiver knows no key for this path, so it cannot tell.
    Unchecked,
    /// One of the three headers is missing, or the timestamp is not a number.
    MissingHeader,
    /// Signed rightly or not, it is too old or too far ahead.
    Stale,
    /// No entry of the signature header fits a trusted key.
    WrongSignature,
}

/// Judges a request as received at `now_ms`.
#[must_use]
pub fn verify(secrets: &[Secret], headers: &HeaderMap, body: &[u8], now_ms: i64) -> Verdict {
    if secrets.is_empty() {
        return Verdict::Unchecked;
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(id), Some(stamp), Some(signatures)) =
        (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"))
    else {
        return Verdict::MissingHeader;
    };
    let Ok(seconds) = stamp.parse::<i64>() else { return Verdict::MissingHeader };
    if now_ms.div_euclid(1000).saturating_sub(seconds).saturating_abs() > TOLERANCE_S {
        return Verdict::Stale;
    }
    let mut signed = format!("{id}.{stamp}.").into_bytes();
    signed.extend_from_slice(body);
    let fits = |entry: &str| secrets.iter().any(|secret| secret.fits(entry, &signed));
    if signatures.split(' ').take(MOST_SIGNATURES).any(fits) { Verdict::Verified } else { Verdict::WrongSignature }
}

impl Secret {
    /// Whether an entry such as `v1,<base64>` is this key's signature of `signed`.
    fn fits(&self, entry: &str, signed: &[u8]) -> bool {
        let Some((version, encoded)) = entry.split_once(',') else { return false };
        let Ok(signature) = STANDARD.decode(encoded) else { return false };
        match (&self.0, version) {
            (Key::Symmetric(key), "v1") => <Hmac<Sha256> as KeyInit>::new_from_slice(key).is_ok_and(|mut mac| {
                mac.update(signed);
                mac.verify_slice(&signature).is_ok()
            }),
            (Key::Public(key), "v1a") => {
                Signature::from_slice(&signature).is_ok_and(|signature| key.verify_strict(signed, &signature).is_ok())
            }
            _ => false,
        }
    }
}
