//! A set of public keys as issuers publish it (RFC 7517): read once, never trusted further than its keys can prove.
//!
//! Kept are RSA keys of 2048 to 8192 bits, points on P-256 and Ed25519 keys that have a name and are for signatures.
//! Everything else in a set is passed over: what another reader needs must not end our reading. A key that comes with
//! its private part is passed over as well, because whoever read the set could sign with it.

use std::{collections::HashMap, fmt};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::jwt::Algorithm;
use crate::event::json_limits::check_json_limits;

/// The largest set that is read, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;

/// The most keys that a set may have.
pub const MAX_KEYS: usize = 100;

/// The longest name of a key, in bytes.
const MAX_NAME: usize = 256;

/// Members that only a private or a symmetric key has.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a text is no usable set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum KeySetError {
    /// Larger than [`MAX_BYTES`].
    #[error("the key set is larger than {MAX_BYTES} bytes")]
    TooLarge,
    /// Not `{"keys":[..]}`, or nested beyond what is read.
    #[error("the key set is not a JSON object with a list `keys`")]
    Malformed,
    /// More than [`MAX_KEYS`] keys.
    #[error("the key set has more than {MAX_KEYS} keys")]
    TooMany,
    /// Nothing in it can be used.
    #[error("the key set has no public key that signs tokens")]
    Empty,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Family {
    Rsa,
    P256,
    Ed25519,
}

impl Family {
    const fn of(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Rs256 | Algorithm::Ps256 => Self::Rsa,
            Algorithm::Es256 => Self::P256,
            Algorithm::EdDsa => Self::Ed25519,
        }
    }
}

struct PublicKey {
    family: Family,
    /// The one algorithm that its issuer names for it.
    only: Option<Algorithm>,
    key: DecodingKey,
}

/// Public keys by name.
pub struct KeySet {
    keys: HashMap<String, Vec<PublicKey>>,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySet({} names)", self.keys.len())
    }
}

impl KeySet {
    /// Reads a published set.
    ///
    /// # Errors
    /// It is too large, not of this form, or has no key that can be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        if bytes.len() > MAX_BYTES {
            return Err(KeySetError::TooLarge);
        }
        check_json_limits(bytes).map_err(|_| KeySetError::Malformed)?;
        let document: Value = serde_json::from_slice(bytes).map_err(|_| KeySetError::Malformed)?;
        let listed = document.get("keys").and_then(Value::as_array).ok_or(KeySetError::Malformed)?;
        if listed.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let mut keys: HashMap<String, Vec<PublicKey>> = HashMap::new();
        for (name, key) in listed.iter().filter_map(Value::as_object).filter_map(read) {
            let known = keys.entry(name).or_default();
            // Names are meant to differ among keys of one type; of two that do not the first one counts.
            if known.iter().all(|other| other.family != key.family) {
                known.push(key);
            }
        }
        if keys.is_empty() { Err(KeySetError::Empty) } else { Ok(Self { keys }) }
    }

    /// Whether a key has this name.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        self.keys.contains_key(name)
    }

    /// The key of this name that may be used with this algorithm.
    pub(super) fn key(&self, name: &str, algorithm: Algorithm) -> Option<&DecodingKey> {
        let fits =
            |key: &&PublicKey| key.family == Family::of(algorithm) && key.only.is_none_or(|only| only == algorithm);
        self.keys.get(name)?.iter().find(fits).map(|key| &key.key)
    }
}

/// The name and the key, if it is a public one for signatures of a kind that is known here.
fn read(members: &Map<String, Value>) -> Option<(String, PublicKey)> {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    if PRIVATE.iter().any(|name| members.contains_key(*name)) {
        return None;
    }
    if members.contains_key("use") && text("use") != Some("sig") {
        return None;
    }
    let verifies = |operations: &Value| {
        operations.as_array().is_some_and(|all| all.iter().any(|operation| operation.as_str() == Some("verify")))
    };
    if !members.get("key_ops").is_none_or(verifies) {
        return None;
    }
    let only = match members.get("alg") {
        None => None,
        Some(name) => Some(Algorithm::named(name.as_str()?)?),
    };
    let name = text("kid").filter(|name| (1..=MAX_NAME).contains(&name.len()))?;
    let (family, key) = match (text("kty")?, text("crv")) {
        ("RSA", _) => (Family::Rsa, rsa(text("n")?, text("e")?)?),
        ("EC", Some("P-256")) => (Family::P256, point(text("x")?, text("y")?)?),
        ("OKP", Some("Ed25519")) => (Family::Ed25519, edwards(text("x")?)?),
        _ => return None,
    };
    if only.is_some_and(|only| Family::of(only) != family) {
        return None;
    }
    Some((name.to_owned(), PublicKey { family, only, key }))
}

fn rsa(modulus: &str, exponent: &str) -> Option<DecodingKey> {
    let (modulus, exponent) = (number(modulus)?, number(exponent)?);
    let bits = modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?;
    // A small or even exponent, or 1, would make signatures easy to make up.
    let sound = exponent.len() <= 5 && exponent.last()? % 2 == 1 && exponent != [1];
    ((2048..=8192).contains(&bits) && sound).then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

fn point(x: &str, y: &str) -> Option<DecodingKey> {
    let exact = |text: &str| URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 32);
    // Whether the point lies on the curve is judged when a signature is checked.
    if exact(x) && exact(y) { DecodingKey::from_ec_components(x, y).ok() } else { None }
}

fn edwards(x: &str) -> Option<DecodingKey> {
    let bytes = URL_SAFE_NO_PAD.decode(x).ok()?;
    if bytes.len() == 32 { DecodingKey::from_ed_components(x).ok() } else { None }
}

/// A big-endian number without leading zeros.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let start = bytes.iter().position(|byte| *byte != 0)?;
    Some(bytes[start..].to_vec())
}

#[cfg(test)]
#[path = "key_set_tests.rs"]
mod tests;
