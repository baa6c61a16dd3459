//! What a connection's `secret` holds, per kind, and how it is put on a request.
//!
//! | kind | `secret` | on a request |
//! |---|---|---|
//! | `header` | `{name, value}` | that field |
//! | `basic` | `{username, password}` | `authorization: Basic` |
//! | `bearer` | `{token}` | `authorization: Bearer` |
//! | `oauth2` | `{app, refresh_token?}` | `authorization: Bearer` and an access token that the host obtains |
//! | `google_service_account` | `{key, subject?}`, the JSON key file and whom it impersonates | the same |
//! | `hmac` | `{secret}` | `x-hub-signature-256: sha256=` and the HMAC-SHA256 of the body in hex |
//! | `generated` | `{}`, the host makes the field `secret` | nothing; it is for `{{secret:...}}` and checks |

use std::{fmt, str::FromStr};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hmac::{Hmac, KeyInit, Mac};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, InvalidHeaderValue},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    connection::{
        guard::is_reserved_header,
        service_account::{KeyFile, KeyFileError},
    },
    id::Ids,
    secret::{ExposeSecret, SecretString},
};

/// The field that carries the signature of kind `hmac`.
pub const HMAC_HEADER: HeaderName = HeaderName::from_static("x-hub-signature-256");

const MAX_VALUE: usize = 8192;

/// The kinds of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionKind {
    /// One field with a fixed value.
    Header,
    /// User name and password.
    Basic,
    /// A bearer token.
    Bearer,
    /// OAuth 2: a person logs in, and the host obtains access tokens.
    Oauth2,
    /// A Google service account: the host signs for access tokens.
    GoogleServiceAccount,
    /// A shared secret that signs bodies.
    Hmac,
    /// 32 random bytes made by the host.
    Generated,
}

impl ConnectionKind {
    const ALL: [Self; 7] = [
        Self::Header,
        Self::Basic,
        Self::Bearer,
        Self::Oauth2,
        Self::GoogleServiceAccount,
        Self::Hmac,
        Self::Generated,
    ];

    /// The name in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Basic => "basic",
            Self::Bearer => "bearer",
            Self::Oauth2 => "oauth2",
            Self::GoogleServiceAccount => "google_service_account",
            Self::Hmac => "hmac",
            Self::Generated => "generated",
        }
    }

    /// The fields that a caller must give.
    const fn asked(self) -> &'static [&'static str] {
        match self {
            Self::Header => &["name", "value"],
            Self::Basic => &["username", "password"],
            Self::Bearer => &["token"],
            Self::Hmac => &["secret"],
            Self::Oauth2 => &["app"],
            Self::GoogleServiceAccount => &["key"],
            Self::Generated => &[],
        }
    }

    /// The fields that a caller may leave out.
    const fn optional(self) -> &'static [&'static str] {
        match self {
            Self::Oauth2 => &["refresh_token"],
            Self::GoogleServiceAccount => &["subject"],
            Self::Header | Self::Basic | Self::Bearer | Self::Hmac | Self::Generated => &[],
        }
    }

    /// The fields that are stored.
    const fn stored(self) -> &'static [&'static str] {
        match self {
            Self::Generated => &["secret"],
            other => other.asked(),
        }
    }
}

impl fmt::Display for ConnectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ConnectionKind {
    type Err = CredentialError;

    fn from_str(text: &str) -> Result<Self, CredentialError> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| {
            CredentialError::new(
                "kind",
                "is none of header, basic, bearer, oauth2, google_service_account, hmac, generated",
            )
        })
    }
}

/// What is wrong with a connection's `kind` or `secret`. Never repeats a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {problem}")]
pub struct CredentialError {
    /// The JSON member, as a path: `kind`, `secret`, `secret.token`.
    pub field: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl CredentialError {
    fn new(field: impl Into<String>, problem: &'static str) -> Self {
        Self { field: field.into(), problem }
    }

    fn of_secret(field: &str, problem: &'static str) -> Self {
        Self::new(format!("secret.{field}"), problem)
    }
}

/// A checked credential. `Debug` shows its kind alone.
#[derive(Clone)]
pub struct Credential {
    kind: ConnectionKind,
    fields: Vec<(&'static str, SecretString)>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.kind)
    }
}

impl Credential {
    /// Checks the `secret` of an API call, null counting as `{}`. Kind `generated` gets its random secret here.
    pub fn from_api(kind: ConnectionKind, secret: &Value, ids: &Ids) -> Result<Self, CredentialError> {
        let none = Map::new();
        let given = match secret {
            Value::Object(members) => members,
            Value::Null => &none,
            _ => return Err(CredentialError::new("secret", "must be an object")),
        };
        let mut credential = match kind {
            ConnectionKind::GoogleServiceAccount => Self::read(kind, kind.asked(), &with_compact_key(given)?)?,
            _ => Self::read(kind, kind.asked(), given)?,
        };
        if kind == ConnectionKind::Generated {
            let random = Zeroizing::new(ids.random::<32>());
            let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*random));
            credential.fields.push(("secret", SecretString::from(text.as_str())));
        }
        Ok(credential)
    }

    /// The JSON that is sealed and stored.
    #[must_use]
    pub fn to_stored(&self) -> Zeroizing<Vec<u8>> {
        let member = |(name, value): &(&str, SecretString)| ((*name).to_owned(), Value::from(value.expose_secret()));
        let members: Map<String, Value> = self.fields.iter().map(member).collect();
        Zeroizing::new(Value::Object(members).to_string().into_bytes())
    }

    /// Reads what [`Credential::to_stored`] wrote.
    pub fn from_stored(kind: ConnectionKind, stored: &[u8]) -> Result<Self, CredentialError> {
        let members: Map<String, Value> = serde_json::from_slice(stored)
            .map_err(|_| CredentialError::new("secret", "is stored in a form that cannot be read"))?;
        Self::read(kind, kind.stored(), &members)
    }

    fn read(
        kind: ConnectionKind,
        wanted: &[&'static str],
        given: &Map<String, Value>,
    ) -> Result<Self, CredentialError> {
        let known = |name: &String| wanted.contains(&name.as_str()) || kind.optional().contains(&name.as_str());
        if let Some(unknown) = given.keys().find(|name| !known(name)) {
            return Err(CredentialError::of_secret(unknown, "is not a field of this kind"));
        }
        let field = |name: &&'static str| {
            let value = given.get(*name).ok_or_else(|| CredentialError::of_secret(name, "is missing"))?;
            let text = value.as_str().ok_or_else(|| CredentialError::of_secret(name, "must be text"))?;
            check_text(name, text)?;
            Ok((*name, SecretString::from(text)))
        };
        let there = kind.optional().iter().filter(|name| given.get(**name).is_some_and(|value| !value.is_null()));
        let credential =
            Self { kind, fields: wanted.iter().chain(there).map(field).collect::<Result<_, CredentialError>>()? };
        credential.check_whole()?;
        Ok(credential)
    }

    fn check_whole(&self) -> Result<(), CredentialError> {
        if self.kind == ConnectionKind::Header {
            let name = HeaderName::from_str(self.text("name"))
                .map_err(|_| CredentialError::of_secret("name", "is not the name of an HTTP field"))?;
            if is_reserved_header(&name) {
                return Err(CredentialError::of_secret("name", "is a field that the host or the protocol sets"));
            }
        }
        if self.kind == ConnectionKind::GoogleServiceAccount
            && let Some(Err(error)) = self.key_file()
        {
            return Err(CredentialError::of_secret("key", error.0));
        }
        if self.kind == ConnectionKind::Basic && self.text("username").contains(':') {
            return Err(CredentialError::of_secret("username", "must not contain a colon"));
        }
        Ok(())
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ConnectionKind {
        self.kind
    }

    /// The value that a plugin names as `<slot>.<field>`. What only the host needs has no such name: a refresh token and a
    /// service account's key never go into a request of a plugin.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&SecretString> {
        match self.kind {
            ConnectionKind::Oauth2 | ConnectionKind::GoogleServiceAccount => None,
            _ => self.stored(name),
        }
    }

    /// The refresh token of kind `oauth2`, if somebody has logged in.
    #[must_use]
    pub fn refresh_token(&self) -> Option<&SecretString> {
        (self.kind == ConnectionKind::Oauth2).then(|| self.stored("refresh_token"))?
    }

    /// The app of kind `oauth2`, as `app_..`.
    #[must_use]
    pub fn app(&self) -> Option<&str> {
        (self.kind == ConnectionKind::Oauth2).then(|| self.stored("app"))?.map(|app| app.expose_secret())
    }

    /// The same credential with another refresh token.
    #[must_use]
    pub fn with_refresh_token(&self, token: &SecretString) -> Self {
        let mut fields: Vec<_> = self.fields.iter().filter(|(name, _)| *name != "refresh_token").cloned().collect();
        fields.push(("refresh_token", token.clone()));
        Self { kind: self.kind, fields }
    }

    /// The key file of a service account; an error in it is one that the API would not have taken.
    #[must_use]
    pub fn key_file(&self) -> Option<Result<KeyFile, KeyFileError>> {
        let key = (self.kind == ConnectionKind::GoogleServiceAccount).then(|| self.stored("key"))??;
        Some(KeyFile::read(&Value::from(key.expose_secret())))
    }

    /// Whom a service account impersonates.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.stored("subject").map(|subject| subject.expose_secret())
    }

    fn stored(&self, name: &str) -> Option<&SecretString> {
        self.fields.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// All fields with their names.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, &SecretString)> {
        self.fields.iter().map(|(name, value)| (*name, value))
    }

    /// Everything that must not come back to a plugin in an answer, in the forms in which it left: a provider that echoes
    /// requests would otherwise hand it over.
    #[must_use]
    pub fn masked_values(&self) -> Vec<SecretString> {
        let secret_fields = self.fields().filter(|(name, _)| !matches!(*name, "name" | "username" | "app" | "subject"));
        let mut values: Vec<_> = secret_fields.map(|(_, value)| value.clone()).collect();
        if self.kind == ConnectionKind::Basic {
            values.push(SecretString::from(self.basic_pair().as_str()));
        }
        values
    }

    /// The field in which the credential goes; none for a kind that puts nothing on a request.
    #[must_use]
    pub fn header(&self) -> Option<HeaderName> {
        match self.kind {
            ConnectionKind::Header => HeaderName::from_str(self.text("name")).ok(),
            ConnectionKind::Basic
            | ConnectionKind::Bearer
            | ConnectionKind::Oauth2
            | ConnectionKind::GoogleServiceAccount => Some(AUTHORIZATION),
            ConnectionKind::Hmac => Some(HMAC_HEADER),
            ConnectionKind::Generated => None,
        }
    }

    /// Puts the credential on a request with this body. A field of the same name that is there already is replaced. Kinds
    /// with access tokens put nothing: [`put_bearer`] does once there is one.
    pub fn apply(&self, headers: &mut HeaderMap, body: &[u8]) -> Result<(), CredentialError> {
        let unusable = |_: InvalidHeaderValue| CredentialError::new("secret", "cannot be put into an HTTP field");
        let (name, text) = match self.kind {
            ConnectionKind::Header => {
                let name = HeaderName::from_str(self.text("name"));
                let name = name.map_err(|_| CredentialError::of_secret("name", "is not the name of an HTTP field"))?;
                (name, Zeroizing::new(self.text("value").to_owned()))
            }
            ConnectionKind::Basic => (AUTHORIZATION, Zeroizing::new(format!("Basic {}", *self.basic_pair()))),
            ConnectionKind::Bearer => (AUTHORIZATION, Zeroizing::new(format!("Bearer {}", self.text("token")))),
            ConnectionKind::Hmac => (HMAC_HEADER, Zeroizing::new(self.body_signature(body)?)),
            ConnectionKind::Generated | ConnectionKind::Oauth2 | ConnectionKind::GoogleServiceAccount => return Ok(()),
        };
        let mut value = HeaderValue::from_str(&text).map_err(unusable)?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    }

    /// Empty only for a field that [`Credential::read`] would not have let be absent.
    fn text(&self, name: &str) -> &str {
        self.stored(name).map_or("", |value| value.expose_secret())
    }

    fn basic_pair(&self) -> Zeroizing<String> {
        let pair = Zeroizing::new(format!("{}:{}", self.text("username"), self.text("password")));
        Zeroizing::new(STANDARD.encode(pair.as_bytes()))
    }

    fn body_signature(&self, body: &[u8]) -> Result<String, CredentialError> {
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.text("secret").as_bytes());
        let mac = mac.map_err(|_| CredentialError::of_secret("secret", "cannot be used as a key"))?;
        Ok(format!("sha256={}", hex::encode(mac.chain_update(body).finalize().into_bytes())))
    }
}

/// Puts an access token on a request.
pub fn put_bearer(headers: &mut HeaderMap, token: &SecretString) -> Result<(), CredentialError> {
    let text = Zeroizing::new(format!("Bearer {}", token.expose_secret()));
    let value = HeaderValue::from_str(&text);
    let mut value = value.map_err(|_| CredentialError::new("secret", "cannot be put into an HTTP field"))?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    Ok(())
}

/// A key file may be given as the object that it is or as its text; stored is its text without line breaks.
fn with_compact_key(given: &Map<String, Value>) -> Result<Map<String, Value>, CredentialError> {
    let mut given = given.clone();
    let Some(key) = given.get("key") else { return Ok(given) };
    let object = match key {
        Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        other => other.clone(),
    };
    if !object.is_object() {
        return Err(CredentialError::of_secret("key", "must be the JSON key file of a service account"));
    }
    given.insert("key".to_owned(), Value::from(object.to_string()));
    Ok(given)
}

fn check_text(name: &str, text: &str) -> Result<(), CredentialError> {
    let problem = if text.is_empty() {
        "must not be empty"
    } else if text.len() > MAX_VALUE {
        "is longer than 8192 bytes"
    } else if text.trim() != text {
        "begins or ends with white space, which is usually a copying mistake"
    } else if text.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Ok(());
    };
    Err(CredentialError::of_secret(name, problem))
}

#[cfg(test)]
#[path = "credential_tests.rs"]
mod tests;
