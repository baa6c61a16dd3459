//! RSA keys: those that sign ID tokens, published and rotated, and those of service accounts. Made at start; they protect
//! nothing.

use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize, PublicKeyComponents},
    signature::KeyPair as _,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// How many replaced keys are still published.
const PUBLISHED: usize = 2;

/// A key could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The library could not make it.
    #[error("no RSA key could be made")]
    Generate,
    /// The library could not sign.
    #[error("the token could not be signed")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// A key pair of 2,048 bits.
pub struct RsaKey {
    id: String,
    pair: KeyPair,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl RsaKey {
    /// A new key, named by its own hash.
    ///
    /// # Errors
    ///
    /// When the library cannot make one.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Generate)?;
        let public = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        let id = hex::encode(&Sha256::digest(&public.n)[..20]);
        Ok(Self { id, pair, modulus: public.n, exponent: public.e })
    }

    /// `kid`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The private key in PKCS#8, as a key file has it.
    ///
    /// # Errors
    ///
    /// When the library cannot write it.
    pub fn private_pem(&self) -> Result<String, KeyError> {
        let der: Pkcs8V1Der<'static> = self.pair.as_der().map_err(|_| KeyError::Generate)?;
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
        Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n")))
    }

    /// The public key as a JWK.
    #[must_use]
    pub fn jwk(&self) -> Value {
        json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.id,
            "n": URL_SAFE_NO_PAD.encode(&self.modulus), "e": URL_SAFE_NO_PAD.encode(&self.exponent)})
    }

    pub(super) fn decoding(&self) -> DecodingKey {
        DecodingKey::from_rsa_raw_components(&self.modulus, &self.exponent)
    }

    fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::RS256) };
        let key = EncodingKey::from_rsa_pem(self.private_pem()?.as_bytes())?;
        Ok(jsonwebtoken::encode(&header, claims, &key)?)
    }
}

/// The keys of ID tokens: the newest signs, and it and its predecessors are published.
pub struct SigningKeys {
    /// Newest first.
    published: Mutex<Vec<RsaKey>>,
}

impl SigningKeys {
    pub(super) fn generate() -> Result<Self, KeyError> {
        Ok(Self { published: Mutex::new(vec![RsaKey::generate()?]) })
    }

    /// Signs an ID token (RS256, with `kid`) over exactly these claims.
    ///
    /// # Errors
    ///
    /// When the library cannot sign.
    pub fn sign(&self, claims: &Value) -> Result<String, KeyError> {
        self.lock().first().ok_or(KeyError::Generate)?.sign(claims)
    }

    /// Signs from now on with another key. The one before stays published, so that its tokens are good until they expire;
    /// with `forget` it does not, as after a leak.
    ///
    /// # Errors
    ///
    /// When no key can be made.
    pub fn rotate(&self, forget: bool) -> Result<(), KeyError> {
        let key = RsaKey::generate()?;
        let mut published = self.lock();
        if forget {
            published.clear();
        }
        published.insert(0, key);
        published.truncate(1 + PUBLISHED);
        Ok(())
    }

    /// The published keys, as `/oauth2/v3/certs` answers them.
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({"keys": self.lock().iter().map(RsaKey::jwk).collect::<Vec<_>>()})
    }

    /// The `kid` of the key that signs.
    #[must_use]
    pub fn current_id(&self) -> String {
        self.lock().first().map(|key| key.id.clone()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RsaKey>> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
