//! A Google service account: its key file, and the signed assertion that it exchanges for an access token.

use std::{collections::BTreeSet, fmt, time::Duration};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    clock::Timestamp,
    secret::{ExposeSecret, SecretString},
};

/// How long an assertion is good; Google allows an hour at most.
const LIFETIME: Duration = Duration::from_secs(3600);

/// How far `iat` is set back, for a provider whose clock is behind.
const SET_BACK: Duration = Duration::from_secs(10);

/// What is wrong with a key file; never repeats a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyFileError(pub &'static str);

/// A key file, as the provider's console gives it out. `Debug` shows the account alone.
pub struct KeyFile {
    client_email: String,
    private_key_id: Option<String>,
    token_uri: String,
    private_key: SecretString,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFile({})", self.client_email)
    }
}

#[derive(Deserialize)]
struct Written {
    #[serde(rename = "type")]
    kind: String,
    client_email: String,
    private_key_id: Option<String>,
    private_key: String,
    token_uri: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
}

impl KeyFile {
    /// Reads the JSON of a key file: the object itself, or its text.
    pub fn read(value: &Value) -> Result<Self, KeyFileError> {
        let malformed = || KeyFileError("must be the JSON key file of a service account");
        let written: Written = match value {
            Value::String(text) => serde_json::from_str(text).map_err(|_| malformed())?,
            object => Written::deserialize(object).map_err(|_| malformed())?,
        };
        if written.kind != "service_account" {
            return Err(KeyFileError(
                "is of another type than `service_account`; make a key under the service account",
            ));
        }
        if !written.client_email.contains('@') {
            return Err(KeyFileError("has no e-mail address in `client_email`"));
        }
        let https = url::Url::parse(&written.token_uri).is_ok_and(|url| url.scheme() == "https" && url.has_host());
        if !https {
            return Err(KeyFileError("has no https URL in `token_uri`"));
        }
        let file = Self {
            client_email: written.client_email,
            private_key_id: written.private_key_id,
            token_uri: written.token_uri,
            private_key: SecretString::from(written.private_key),
        };
        file.signing_key()?;
        Ok(file)
    }

    /// Where the assertion is exchanged, and its audience.
    #[must_use]
    pub fn token_uri(&self) -> &str {
        &self.token_uri
    }

    /// A signed assertion for these scopes, in the name of `subject` if there is one.
    pub fn assertion(
        &self,
        scopes: &BTreeSet<String>,
        subject: Option<&str>,
        now: Timestamp,
    ) -> Result<SecretString, KeyFileError> {
        let scope = scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        let seconds = |at: Timestamp| at.0.div_euclid(1000);
        let iat = seconds(now) - i64::try_from(SET_BACK.as_secs()).unwrap_or(0);
        let exp = iat + i64::try_from(LIFETIME.as_secs()).unwrap_or(0);
        let claims = Claims { iss: &self.client_email, scope: &scope, aud: &self.token_uri, iat, exp, sub: subject };
        let header = Header { kid: self.private_key_id.clone(), ..Header::new(Algorithm::RS256) };
        let signed = jsonwebtoken::encode(&header, &claims, &self.signing_key()?);
        signed.map(SecretString::from).map_err(|_| KeyFileError("has a private key that cannot sign"))
    }

    fn signing_key(&self) -> Result<EncodingKey, KeyFileError> {
        EncodingKey::from_rsa_pem(self.private_key.expose_secret().as_bytes())
            .map_err(|_| KeyFileError("has no RSA key in PEM form in `private_key`"))
    }
}
