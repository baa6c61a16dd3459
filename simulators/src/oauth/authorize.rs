//! The page where a person consents, and the way back with a code.

use std::collections::BTreeSet;

use http::header::LOCATION;

use super::{Client, Decision, Dialect, Grants, state::Code};
use crate::http::{Call, Reply};

/// The parameter with which the two links of the consent page come back; no provider knows it.
const DECISION: &str = "sim_decision";

impl Grants {
    /// A request to the authorize endpoint: a redirect with `code` and `state`, a redirect with `error`, the consent page,
    /// or, when it may not redirect, an error page.
    pub(crate) fn authorize(&self, call: &Call) -> Reply {
        let asked = |name: &str| call.query_value(name).filter(|value| !value.is_empty());
        let client = asked("client_id").and_then(|id| self.lock().clients.get(&id).cloned());
        let Some(client) = client else { return refused("invalid_client", "The OAuth client was not found.") };
        let Some(redirect) = asked("redirect_uri").filter(|uri| client.redirect_uris.contains(uri)) else {
            return refused("redirect_uri_mismatch", "The redirect URI is not registered for this client.");
        };
        let state = asked("state");
        let back = |pairs: &[(&str, &str)]| send_back(&redirect, state.as_deref(), pairs);
        if asked("response_type").as_deref() != Some("code") {
            return back(&[("error", "unsupported_response_type")]);
        }
        let challenge = asked("code_challenge");
        if challenge.is_some() && asked("code_challenge_method").as_deref() != Some("S256") {
            return back(&[("error", "invalid_request"), ("error_description", "Use code_challenge_method S256.")]);
        }
        let scopes: BTreeSet<String> =
            asked("scope").unwrap_or_default().split_ascii_whitespace().map(str::to_owned).collect();
        if scopes.is_empty() || !self.knows(&scopes) {
            return back(&[("error", "invalid_scope")]);
        }
        let consent = self.lock().consent.clone();
        let decision = match asked(DECISION).as_deref() {
            Some("allow") => Decision::Allow,
            Some("deny") => Decision::Deny,
            _ => consent.decision,
        };
        match decision {
            Decision::Deny => back(&[("error", "access_denied")]),
            Decision::Ask => consent_page(&client, call),
            Decision::Allow => {
                let realm = consent.realm.clone().filter(|_| self.rules.dialect == Dialect::Intuit);
                let code = Code {
                    client: client.id.clone(),
                    redirect_uri: redirect.clone(),
                    challenge,
                    consent,
                    scopes,
                    offline: self.rules.dialect == Dialect::Intuit
                        || asked("access_type").as_deref() == Some("offline"),
                    expires_at_ms: self.clock.now_ms().saturating_add(self.scaled_ms(self.rules.code_lifetime)),
                    used_for: None,
                };
                let text = format!("4/{}", self.ids.base62());
                self.lock().codes.insert(text.clone(), code);
                match realm {
                    Some(realm) => back(&[("code", &text), ("realmId", &realm)]),
                    None => back(&[("code", &text)]),
                }
            }
        }
    }

    /// Whether all of these scopes exist.
    pub(crate) fn knows(&self, scopes: &BTreeSet<String>) -> bool {
        self.rules.scopes.is_empty() || scopes.is_subset(&self.rules.scopes)
    }
}

fn send_back(redirect: &str, state: Option<&str>, pairs: &[(&str, &str)]) -> Reply {
    let Ok(mut url) = url::Url::parse(redirect) else {
        return refused("redirect_uri_mismatch", "The registered redirect URI is no URL.");
    };
    {
        let mut query = url.query_pairs_mut();
        query.extend_pairs(pairs);
        if let Some(state) = state {
            query.append_pair("state", state);
        }
    }
    Reply::empty(302).with(LOCATION, url.as_str())
}

/// An error that must not be sent to an address that nobody registered.
fn refused(error: &str, words: &str) -> Reply {
    Reply::new(
        400,
        "text/html; charset=utf-8",
        format!("<html><body><h1>Error 400: {error}</h1><p>{words}</p></body></html>"),
    )
}

/// Two links that repeat the request, since the answer must know all of it.
fn consent_page(client: &Client, call: &Call) -> Reply {
    let link = |decision: &str| {
        let pairs = call.query_pairs().into_iter().filter(|(name, _)| name != DECISION);
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .append_pair(DECISION, decision)
            .finish();
        format!("{}?{}", call.path, query.replace('&', "&amp;"))
    };
    let name: String = client.id.chars().filter(|char| char.is_ascii_alphanumeric() || "-_.".contains(*char)).collect();
    let page = format!(
        "<html><body><p>{name} wants to use your account.</p><a href=\"{}\">Allow</a> <a href=\"{}\">Deny</a></body></html>",
        link("allow"),
        link("deny")
    );
    Reply::new(200, "text/html; charset=utf-8", page)
}
