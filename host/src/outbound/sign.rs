//! Standard Webhooks signatures, as sender and, for receivers of ours, as verifier.
//!
//! Signed are the bytes `{id}.{timestamp}.{body}`. `v1` is HMAC-SHA256 under a secret of 24 to 64 bytes (`whsec_` and base64);
//! `v1a` is ed25519 (`whsk_`: seed and public key, `whpk_`: public key). While a secret is rotated the old ones sign too, so
//! the header holds one entry per active secret, newest first, separated by spaces.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderValue;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    clock::Timestamp,
    id::Ids,
    secret::{ExposeSecret, SecretString},
};

/// The header with the event id, equal in every attempt.
pub const ID_HEADER: &str = "webhook-id";

/// The header with the attempt's time in whole seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";

/// The header with the signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// The current secret and ten old ones.
pub const MAX_ACTIVE: usize = 11;

/// How many entries of a header a verifier tries before it gives up.
pub const MAX_TRIED: usize = 16;

/// How far a receiver of ours lets the stamp be from its own clock, either way.
pub const TOLERANCE: Duration = Duration::from_secs(300);

const SYMMETRIC: &str = "whsec_";
const PRIVATE: &str = "whsk_";
const PUBLIC: &str = "whpk_";

/// Why a secret cannot be used, or a message not be signed. No variant repeats any part of the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// No known prefix.
    #[error("a signing secret begins with whsec_ or whsk_")]
    UnknownPrefix,
    /// Not base64 after the prefix.
    #[error("the part of the signing secret after its prefix is not standard base64")]
    NotBase64,
    /// A symmetric secret outside 24 to 64 bytes.
    #[error("a whsec_ secret must hold 24 to 64 bytes, this one holds {0}")]
    Length(usize),
    /// An ed25519 secret whose halves do not fit.
    #[error("a whsk_ secret must hold a 32-byte seed followed by its own 32-byte public key")]
    KeyPair,
    /// None, or more than [`MAX_ACTIVE`].
    #[error("an endpoint has 1 to {MAX_ACTIVE} active secrets, not {0}")]
    Count(usize),
    /// The id would make the signed bytes ambiguous.
    #[error("an event id must be printable text without a full stop")]
    Id,
}

/// One active signing secret, ready to sign.
#[derive(Clone)]
pub struct SigningSecret(Scheme);

#[derive(Clone)]
enum Scheme {
    /// Keyed once; each signature starts from a copy of this state.
    Symmetric(Hmac<Sha256>),
    Asymmetric(Box<SigningKey>),
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Scheme::Symmetric(_) => "SigningSecret(v1)",
            Scheme::Asymmetric(_) => "SigningSecret(v1a)",
        })
    }
}

impl SigningSecret {
    /// Reads `whsec_...` or `whsk_...`.
    pub fn parse(text: &SecretString) -> Result<Self, SignError> {
        let text = text.expose_secret();
        if let Some(encoded) = text.strip_prefix(SYMMETRIC) {
            let key = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| SignError::NotBase64)?);
            if !(24..=64).contains(&key.len()) {
                return Err(SignError::Length(key.len()));
            }
            let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&key).map_err(|_| SignError::Length(key.len()))?;
            Ok(Self(Scheme::Symmetric(mac)))
        } else if let Some(encoded) = text.strip_prefix(PRIVATE) {
            let pair = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| SignError::NotBase64)?);
            let pair = <&[u8; 64]>::try_from(pair.as_slice()).map_err(|_| SignError::KeyPair)?;
            let key = SigningKey::from_keypair_bytes(pair).map_err(|_| SignError::KeyPair)?;
            Ok(Self(Scheme::Asymmetric(Box::new(key))))
        } else {
            Err(SignError::UnknownPrefix)
        }
    }

    /// The `whpk_` text that receivers pin; none for a symmetric secret.
    #[must_use]
    pub fn public_text(&self) -> Option<String> {
        match &self.0 {
            Scheme::Symmetric(_) => None,
            Scheme::Asymmetric(key) => Some(format!("{PUBLIC}{}", STANDARD.encode(key.verifying_key().as_bytes()))),
        }
    }

    fn write_entry(&self, id: &str, stamp: &str, body: &[u8], header: &mut String) {
        match &self.0 {
            Scheme::Symmetric(keyed) => {
                let mut mac = keyed.clone();
                for part in [id.as_bytes(), b".", stamp.as_bytes(), b".", body] {
                    mac.update(part);
                }
                header.push_str("v1,");
                STANDARD.encode_string(mac.finalize().into_bytes(), header);
            }
            Scheme::Asymmetric(key) => {
                header.push_str("v1a,");
                STANDARD.encode_string(key.sign(&signed_bytes(id, stamp, body)).to_bytes(), header);
            }
        }
    }
}

/// A new symmetric secret of 32 random bytes, as `whsec_` text.
#[must_use]
pub fn generate_symmetric(ids: &Ids) -> SecretString {
    let key = Zeroizing::new(ids.random::<32>());
    let mut text = Zeroizing::new(String::from(SYMMETRIC));
    STANDARD.encode_string(*key, &mut text);
    SecretString::from(text.as_str())
}

/// A new ed25519 key pair, as `whsk_` text; [`SigningSecret::public_text`] gives its public half.
#[must_use]
pub fn generate_ed25519(ids: &Ids) -> SecretString {
    let seed = Zeroizing::new(ids.random::<32>());
    let pair = Zeroizing::new(SigningKey::from_bytes(&seed).to_keypair_bytes());
    let mut text = Zeroizing::new(String::from(PRIVATE));
    STANDARD.encode_string(*pair, &mut text);
    SecretString::from(text.as_str())
}

/// The active secrets of one endpoint, newest first.
#[derive(Clone, Debug)]
pub struct ActiveSecrets(Vec<SigningSecret>);

impl ActiveSecrets {
    /// At least one, at most [`MAX_ACTIVE`], in the order in which their signatures shall stand.
    pub fn new(newest_first: Vec<SigningSecret>) -> Result<Self, SignError> {
        match newest_first.len() {
            1..=MAX_ACTIVE => Ok(Self(newest_first)),
            count => Err(SignError::Count(count)),
        }
    }

    /// The values of the three headers for one attempt that sends exactly `body` at `at`.
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> Result<SignedHeaders, SignError> {
        if id.is_empty() || id.contains('.') {
            return Err(SignError::Id);
        }
        let stamp = at.unix_seconds().to_string();
        let mut entries = String::with_capacity(self.0.len() * 92);
        for (index, secret) in self.0.iter().enumerate() {
            if index > 0 {
                entries.push(' ');
            }
            secret.write_entry(id, &stamp, body, &mut entries);
        }
        let value = |text: String| HeaderValue::try_from(text).map_err(|_| SignError::Id);
        Ok(SignedHeaders { id: value(id.to_owned())?, timestamp: value(stamp)?, signature: value(entries)? })
    }
}

/// What [`ActiveSecrets::sign`] made.
#[derive(Clone, Debug)]
pub struct SignedHeaders {
    /// For [`ID_HEADER`].
    pub id: HeaderValue,
    /// For [`TIMESTAMP_HEADER`].
    pub timestamp: HeaderValue,
    /// For [`SIGNATURE_HEADER`].
    pub signature: HeaderValue,
}

/// Why a received message is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The key text is none of `whsec_`, `whsk_`, `whpk_`, or its content does not fit.
    #[error("the verification key cannot be used")]
    Key,
    /// The stamp is not a whole number of seconds.
    #[error("the timestamp is not a number of seconds")]
    Timestamp,
    /// The stamp is further than [`TOLERANCE`] from the receiver's clock.
    #[error("the timestamp is outside the tolerance")]
    OutsideTolerance,
    /// No entry fits.
    #[error("no signature fits")]
    NoMatch,
}

/// Verifies as a receiver does: `key` is the endpoint's `whsec_` secret, or the pinned `whpk_` (or `whsk_`) key; `signatures`
/// is the header's value. Entries of other versions are passed over; at most [`MAX_TRIED`] entries are looked at.
pub fn verify(
    key: &SecretString,
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    now: Timestamp,
) -> Result<(), Refusal> {
    let digits = timestamp.strip_prefix('-').unwrap_or(timestamp);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::Timestamp);
    }
    let stamp: i64 = timestamp.parse().map_err(|_| Refusal::Timestamp)?;
    if now.unix_seconds().abs_diff(stamp) > TOLERANCE.as_secs() {
        return Err(Refusal::OutsideTolerance);
    }
    let entries = signatures.split(' ').take(MAX_TRIED).filter_map(|entry| entry.split_once(','));
    let decoded = |version| {
        let of_version = entries.filter(move |(found, _)| *found == version);
        of_version.filter_map(|(_, encoded)| STANDARD.decode(encoded).ok())
    };
    let fits = match verification_key(key)? {
        VerificationKey::Symmetric(keyed) => decoded("v1").any(|tag| {
            let mac =
                [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].iter().fold(keyed.clone(), Mac::chain_update);
            mac.verify_slice(&tag).is_ok()
        }),
        VerificationKey::Asymmetric(public) => {
            let signed = signed_bytes(id, timestamp, body);
            let mut signatures = decoded("v1a").filter_map(|bytes| Signature::from_slice(&bytes).ok());
            signatures.any(|signature| public.verify_strict(&signed, &signature).is_ok())
        }
    };
    if fits { Ok(()) } else { Err(Refusal::NoMatch) }
}

enum VerificationKey {
    Symmetric(Hmac<Sha256>),
    Asymmetric(Box<VerifyingKey>),
}

fn verification_key(key: &SecretString) -> Result<VerificationKey, Refusal> {
    if let Some(encoded) = key.expose_secret().strip_prefix(PUBLIC) {
        let bytes = STANDARD.decode(encoded).map_err(|_| Refusal::Key)?;
        let bytes = <&[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| Refusal::Key)?;
        let public = VerifyingKey::from_bytes(bytes).map_err(|_| Refusal::Key)?;
        return Ok(VerificationKey::Asymmetric(Box::new(public)));
    }
    match SigningSecret::parse(key).map_err(|_| Refusal::Key)?.0 {
        Scheme::Symmetric(keyed) => Ok(VerificationKey::Symmetric(keyed)),
        Scheme::Asymmetric(pair) => Ok(VerificationKey::Asymmetric(Box::new(pair.verifying_key()))),
    }
}

fn signed_bytes(id: &str, stamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", stamp.as_bytes(), b".", body].concat()
}

#[cfg(test)]
#[path = "sign_tests.rs"]
mod tests;
