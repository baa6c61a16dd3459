//! Which request means which operation, and what other processes may ask of the simulator.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, header::CACHE_CONTROL};
use serde::Deserialize;
use serde_json::json;

use super::Google;
use crate::{
    http::{Call, Reply},
    oauth::token::{Form, TokenError},
    provider::{Provider, control_problem, unknown_command, with_body},
};

/// How long caches may keep the keys, in seconds; Google's changes from answer to answer.
const KEYS_MAX_AGE_S: u32 = 19_800;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Google behind HTTP.
pub(crate) struct Api(pub(crate) Arc<Google>);

impl Api {
    /// Who the bearer of an access token is.
    fn userinfo(&self, call: &Call) -> Reply {
        let bearer = call.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        match self.0.grants.check(bearer, &[]) {
            Ok(grant) => Reply::json(200, &json!({"sub": "113774264463038321964", "email": grant.account})),
            Err(_) => {
                let words = "Request is missing required authentication credential or it has expired.";
                Reply::json(401, &json!({"error": "invalid_request", "error_description": words}))
            }
        }
    }

    fn token(&self, call: &Call) -> Reply {
        match Form::of(call) {
            Ok(form) if form.get("grant_type") == Some(JWT_BEARER) => self.0.grants.answer(self.0.assert(&form)),
            _ => self.0.grants.token(call),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewServiceAccount {
    email: String,
    #[serde(default)]
    delegated: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    email: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RotateKeys {
    #[serde(default)]
    forget: bool,
}

#[async_trait]
impl Provider for Api {
    fn operation(&self, call: &Call) -> String {
        let operation = match (&call.method, call.path.as_str()) {
            (&Method::GET, "/o/oauth2/v2/auth") => "authorize",
            (&Method::POST, "/token") => match Form::of(call).ok().as_ref().and_then(|form| form.get("grant_type")) {
                Some("authorization_code") => "token.code",
                Some("refresh_token") => "token.refresh",
                Some(JWT_BEARER) => "token.assertion",
                _ => "token.unknown",
            },
            (&Method::POST, "/revoke") => "revoke",
            (&Method::GET, "/oauth2/v3/certs") => "certs",
            (&Method::GET | &Method::POST, "/oauth2/v3/userinfo") => "userinfo",
            _ => "unknown",
        };
        operation.to_owned()
    }

    fn execute(&self, call: &Call) -> Reply {
        match self.operation(call).as_str() {
            "authorize" => self.0.grants.authorize(call),
            "revoke" => self.0.grants.revoke_by_form(call),
            "certs" => Reply::json(200, &self.0.keys.jwks())
                .with(CACHE_CONTROL, &format!("public, max-age={KEYS_MAX_AGE_S}, must-revalidate, no-transform")),
            "userinfo" => self.userinfo(call),
            "unknown" => Reply::new(404, "text/html; charset=utf-8", "<title>Error 404 (Not Found)!!1</title>"),
            _ => self.token(call),
        }
    }

    fn failure(&self, status: u16) -> Reply {
        let (error, words) = match status {
            400 => ("invalid_grant", "Token has been expired or revoked."),
            429 => ("rate_limit_exceeded", "Rate Limit Exceeded"),
            _ => ("internal_failure", "Backend Error"),
        };
        Reply::json(status, &json!({"error": error, "error_description": words}))
    }

    fn unauthenticated(&self) -> Reply {
        TokenError::new(401, "invalid_client", "Unauthorized").reply()
    }

    async fn control(&self, command: &str, call: &Call) -> Reply {
        if let Some(reply) = self.0.grants.control(command, call) {
            return reply;
        }
        match (&call.method, command) {
            (&Method::POST, "rotate-keys") => {
                with_body(call, |rotate: RotateKeys| match self.0.keys.rotate(rotate.forget) {
                    Ok(()) => Reply::json(200, &json!({"kid": self.0.keys.current_id()})),
                    Err(error) => control_problem(500, &error.to_string()),
                })
            }
            (&Method::POST, "service-accounts") => with_body(call, |new: NewServiceAccount| {
                let delegated: Vec<&str> = new.delegated.iter().map(String::as_str).collect();
                match self.0.add_service_account(&new.email, &delegated) {
                    Ok(key_file) => Reply::json(200, &key_file),
                    Err(error) => control_problem(500, &error.to_string()),
                }
            }),
            (&Method::POST, "users") => with_body(call, |new: NewUser| {
                self.0.users().insert(new.email);
                Reply::json(200, &json!({"ok": true}))
            }),
            _ => unknown_command(command),
        }
    }
}
