//! The grant `urn:ietf:params:oauth:grant-type:jwt-bearer`: a service account's signed assertion becomes an access token.

use std::collections::BTreeSet;

use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Google, TOKEN_URI};
use crate::oauth::token::{Form, TokenError};

/// The longest that an assertion may be good, in seconds.
const LONGEST_S: i64 = 3_600;

/// How far `iat` may lie in the future, in seconds; not documented by Google, and chosen.
const SKEW_S: i64 = 300;

#[derive(Deserialize)]
struct Claims {
    iss: String,
    scope: Option<String>,
    aud: String,
    iat: i64,
    exp: i64,
    sub: Option<String>,
}

fn invalid_grant(words: &str) -> TokenError {
    TokenError::new(400, "invalid_grant", words)
}

impl Google {
    /// Exchanges an assertion, or says with Google's words what is wrong with it.
    pub(super) fn assert(&self, form: &Form) -> Result<Value, TokenError> {
        let assertion = form.require("assertion")?;
        let claims = self.verified(assertion)?;
        self.check_times(&claims)?;
        if claims.aud != TOKEN_URI && claims.aud != format!("http://{}/token", self.address) {
            return Err(invalid_grant(
                "Invalid JWT: Failed audience check. The right audience is https://oauth2.googleapis.com/token",
            ));
        }
        let scopes: BTreeSet<String> =
            claims.scope.as_deref().unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
        if scopes.is_empty() || !self.grants.knows(&scopes) {
            return Err(TokenError::new(400, "invalid_scope", "Invalid OAuth scope or ID token audience provided."));
        }
        let account = match &claims.sub {
            None => claims.iss.clone(),
            Some(subject) => {
                if !self.users().contains(subject) {
                    return Err(invalid_grant("Invalid email or User ID"));
                }
                let delegated =
                    self.service_accounts().get(&claims.iss).is_some_and(|known| scopes.is_subset(&known.delegated));
                if !delegated {
                    return Err(TokenError::new(
                        401,
                        "unauthorized_client",
                        "Client is unauthorized to retrieve access tokens using this method, or client not authorized for \
                         any of the scopes requested.",
                    ));
                }
                subject.clone()
            }
        };
        let access_token = self.grants.issue_access(&claims.iss, &account, scopes);
        Ok(json!({"access_token": access_token, "expires_in": self.grants.expires_in_s(), "token_type": "Bearer"}))
    }

    /// The claims of an assertion that a known key of its issuer signed, with the algorithm pinned.
    fn verified(&self, assertion: &str) -> Result<Claims, TokenError> {
        let bad_signature = || invalid_grant("Invalid JWT Signature.");
        let header = jsonwebtoken::decode_header(assertion)
            .map_err(|_| TokenError::new(400, "invalid_request", "Bad Request: the assertion is no JWT"))?;
        if header.alg != Algorithm::RS256 {
            return Err(bad_signature());
        }
        let unverified = jsonwebtoken::dangerous::insecure_decode::<Claims>(assertion)
            .map_err(|_| invalid_grant("Invalid JWT: a required claim is missing or of the wrong type"))?;
        let accounts = self.service_accounts();
        let account =
            accounts.get(&unverified.claims.iss).ok_or_else(|| invalid_grant("Invalid grant: account not found"))?;
        // Google knows the key by its id, and without one tries all of the account's.
        let candidates = account.keys.iter().filter(|(id, _)| header.kid.as_ref().is_none_or(|kid| kid == *id));
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        for (_, key) in candidates {
            if let Ok(token) = jsonwebtoken::decode::<Claims>(assertion, &key.decoding(), &validation) {
                return Ok(token.claims);
            }
        }
        Err(bad_signature())
    }

    fn check_times(&self, claims: &Claims) -> Result<(), TokenError> {
        let now = self.clock.now_ms() / 1000;
        let lifetime = claims.exp.saturating_sub(claims.iat);
        if claims.exp <= now || claims.iat > now + SKEW_S || !(1..=LONGEST_S).contains(&lifetime) {
            return Err(invalid_grant(
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat \
                 and exp values in the JWT claim.",
            ));
        }
        Ok(())
    }
}
