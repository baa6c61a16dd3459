//! The token endpoint: codes and refresh tokens become access tokens. And revoking them.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Client, Dialect, Grants, Rotation, state::State};
use crate::http::{Call, Reply};

/// How long Intuit says that a refresh token lasts: 101 days.
const INTUIT_REFRESH_LIFETIME_S: u64 = 8_726_400;

/// A refusal of the token endpoint.
pub(crate) struct TokenError {
    status: u16,
    error: &'static str,
    description: String,
}

impl TokenError {
    pub(crate) fn new(status: u16, error: &'static str, description: impl Into<String>) -> Self {
        Self { status, error, description: description.into() }
    }

    /// The error document of RFC 6749.
    pub(crate) fn reply(&self) -> Reply {
        Reply::json(self.status, &json!({"error": self.error, "error_description": self.description}))
    }
}

/// A form with each parameter at most once.
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form body; other content types and repeated parameters are refused, as RFC 6749 3.2 demands.
    pub(crate) fn of(call: &Call) -> Result<Self, TokenError> {
        let media = call.header(CONTENT_TYPE.as_str()).unwrap_or_default();
        if media.split(';').next().map(str::trim) != Some("application/x-www-form-urlencoded") {
            return Err(TokenError::new(400, "invalid_request", "The body must be a form."));
        }
        let pairs = call.form_pairs();
        let repeated =
            pairs.iter().enumerate().find(|(at, (name, _))| pairs[..*at].iter().any(|(other, _)| other == name));
        match repeated {
            Some((_, (name, _))) => {
                Err(TokenError::new(400, "invalid_request", format!("Parameter specified more than once: {name}")))
            }
            None => Ok(Self(pairs)),
        }
    }

    /// A parameter that is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, value)| found == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(crate) fn require(&self, name: &str) -> Result<&str, TokenError> {
        let missing = || TokenError::new(400, "invalid_request", format!("Missing required parameter: {name}"));
        self.get(name).ok_or_else(missing)
    }
}

impl Grants {
    /// A request to the token endpoint with a code or a refresh token.
    pub(crate) fn token(&self, call: &Call) -> Reply {
        let answer = Form::of(call).and_then(|form| {
            let client = self.authenticated(call, &form)?;
            match form.require("grant_type")? {
                "authorization_code" => self.exchange(&client, &form),
                "refresh_token" => self.refresh(&client, &form),
                other => Err(TokenError::new(400, "unsupported_grant_type", format!("Invalid grant_type: {other}"))),
            }
        });
        self.answer(answer)
    }

    /// Counts a refusal, and forbids caches to keep tokens.
    pub(crate) fn answer(&self, answer: Result<Value, TokenError>) -> Reply {
        let reply = match answer {
            Ok(document) => Reply::json(200, &document),
            Err(error) => {
                self.lock().counts.refusals += 1;
                error.reply()
            }
        };
        reply.with(CACHE_CONTROL, "no-store")
    }

    /// The client by `Authorization: Basic` or by the form.
    pub(crate) fn authenticated(&self, call: &Call, form: &Form) -> Result<Client, TokenError> {
        let refused = || {
            let words = match self.rules.dialect {
                Dialect::Google => "Unauthorized",
                Dialect::Intuit => "The client is unknown or its secret is wrong",
            };
            TokenError::new(401, "invalid_client", words)
        };
        let by_header = call.header("authorization").and_then(|value| value.strip_prefix("Basic ")).map(|encoded| {
            let text = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            text.and_then(|text| text.split_once(':').map(|(id, secret)| (form_decoded(id), form_decoded(secret))))
        });
        let (id, secret) = match by_header {
            Some(pair) => pair.ok_or_else(refused)?,
            None => (form.require("client_id")?.to_owned(), form.get("client_secret").ok_or_else(refused)?.to_owned()),
        };
        self.lock().clients.get(&id).filter(|client| client.secret == secret).cloned().ok_or_else(refused)
    }

    fn exchange(&self, client: &Client, form: &Form) -> Result<Value, TokenError> {
        let malformed = |words: &str| TokenError::new(400, "invalid_grant", words);
        let code = form.require("code")?;
        let mut state = self.lock();
        let entry = state.codes.get(code).ok_or_else(|| malformed("Malformed auth code."))?;
        if let Some(grant) = entry.used_for.clone() {
            state.end_grant(&grant);
            return Err(malformed("The code was used before; its tokens are revoked."));
        }
        if entry.client != client.id || entry.expires_at_ms <= self.clock.now_ms() {
            return Err(malformed("Bad Request"));
        }
        if form.require("redirect_uri")? != entry.redirect_uri {
            return Err(TokenError::new(400, "redirect_uri_mismatch", "Bad Request"));
        }
        match (&entry.challenge, form.get("code_verifier")) {
            (None, _) => {}
            (Some(_), None) => return Err(malformed("Missing code verifier.")),
            (Some(challenge), Some(verifier)) => {
                if URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)) != *challenge {
                    return Err(malformed("Invalid code verifier."));
                }
            }
        }
        let (consent, scopes, offline) = (entry.consent.clone(), entry.scopes.clone(), entry.offline);
        let grant = self.new_grant(&mut state, &client.id, &consent, scopes);
        if let Some(entry) = state.codes.get_mut(code) {
            entry.used_for = Some(grant.clone());
        }
        state.counts.exchanges += 1;
        let refresh_token = offline.then(|| self.new_refresh_token(&mut state, &grant));
        Ok(self.tokens(&mut state, &grant, refresh_token.as_deref()))
    }

    fn refresh(&self, client: &Client, form: &Form) -> Result<Value, TokenError> {
        let words = match self.rules.dialect {
            Dialect::Google => "Token has been expired or revoked.",
            Dialect::Intuit => "Token invalid",
        };
        let dead = || TokenError::new(400, "invalid_grant", words);
        let token = form.require("refresh_token")?;
        let now = self.clock.now_ms();
        let mut state = self.lock();
        let refresh = state.refresh.get(token).ok_or_else(dead)?;
        let grant = refresh.grant.clone();
        if refresh.replaced {
            state.counts.reuses += 1;
            if self.rules.reuse_ends_grant {
                state.end_grant(&grant);
            }
            return Err(dead());
        }
        if state.grants.get(&grant).is_none_or(|entry| entry.client != client.id) {
            return Err(dead());
        }
        let rotates = match state.rotation.unwrap_or(self.rules.rotation) {
            Rotation::Never => false,
            Rotation::After(age) => now.saturating_sub(refresh.made_at_ms) >= self.scaled_ms(age),
        };
        state.counts.refreshes += 1;
        let answered = if rotates {
            state.counts.rotations += 1;
            if let Some(old) = state.refresh.get_mut(token) {
                old.replaced = true;
            }
            Some(self.new_refresh_token(&mut state, &grant))
        } else {
            (self.rules.dialect == Dialect::Intuit).then(|| token.to_owned())
        };
        Ok(self.tokens(&mut state, &grant, answered.as_deref()))
    }

    fn tokens(&self, state: &mut State, grant: &str, refresh_token: Option<&str>) -> Value {
        let access_token = self.new_access_token(state, grant);
        let expires_in = self.expires_in_s();
        let mut document = match self.rules.dialect {
            Dialect::Google => {
                let scopes = state.grants.get(grant).map(|entry| entry.scopes.iter().cloned().collect::<Vec<_>>());
                json!({"access_token": access_token, "expires_in": expires_in, "token_type": "Bearer",
                    "scope": scopes.unwrap_or_default().join(" ")})
            }
            Dialect::Intuit => json!({"token_type": "bearer", "access_token": access_token, "expires_in": expires_in,
                "x_refresh_token_expires_in": INTUIT_REFRESH_LIFETIME_S}),
        };
        if let Some(refresh_token) = refresh_token {
            document["refresh_token"] = json!(refresh_token);
        }
        document
    }

    /// What `expires_in` says: real seconds, at least one.
    pub(crate) fn expires_in_s(&self) -> i64 {
        (self.scaled_ms(self.rules.access_lifetime) / 1000).max(1)
    }

    /// Google's revocation: a form with either token ends the whole grant.
    pub(crate) fn revoke_by_form(&self, call: &Call) -> Reply {
        match Form::of(call).and_then(|form| form.require("token").map(str::to_owned)) {
            Ok(token) if self.revoke_token(&token) => Reply::json(200, &json!({})),
            Ok(_) => TokenError::new(400, "invalid_token", "Token expired or revoked").reply(),
            Err(error) => error.reply(),
        }
    }

    /// Intuit's revocation: Basic auth and `{"token":".."}`.
    pub(crate) fn revoke_by_json(&self, call: &Call) -> Reply {
        #[derive(Deserialize)]
        struct Revoke {
            token: String,
        }
        if let Err(error) = self.authenticated(call, &Form(Vec::new())) {
            return error.reply();
        }
        match call.json::<Revoke>() {
            Ok(revoke) if self.revoke_token(&revoke.token) => Reply::empty(200),
            Ok(_) | Err(_) => TokenError::new(400, "invalid_request", "Token invalid").reply(),
        }
    }

    /// Ends the grant of this access or refresh token; false when nobody knows it.
    pub fn revoke_token(&self, token: &str) -> bool {
        let mut state = self.lock();
        let by_access = state.access.get(token).map(|access| access.grant.clone());
        let grant = by_access.or_else(|| state.refresh.get(token).map(|refresh| refresh.grant.clone()));
        if let Some(grant) = &grant {
            state.end_grant(grant);
        }
        grant.is_some()
    }
}

/// RFC 6749 2.3.1 encodes both halves of the pair as form values before they are joined.
fn form_decoded(text: &str) -> String {
    let pair = format!("v={text}");
    let decoded = form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned());
    decoded.unwrap_or_default()
}
