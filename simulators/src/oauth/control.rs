//! What `/_sim/` offers about tokens, at every simulator that has [`Grants`].

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{Client, Consent, Grants, Rotation};
use crate::{
    http::{Call, Reply},
    provider::with_body,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    #[serde(default)]
    account: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Issue {
    client_id: String,
    account: String,
    #[serde(default)]
    realm: Option<String>,
    scopes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    /// Seconds of provider time; null never rotates.
    after_s: Option<u64>,
}

impl Grants {
    /// The control requests about tokens, their path without `/_sim/`; none for one that is about something else.
    pub(crate) fn control(&self, command: &str, call: &Call) -> Option<Reply> {
        let done = || Reply::json(200, &json!({"ok": true}));
        let reply = match (&call.method, command) {
            (&Method::POST, "expire-tokens") => {
                self.expire_tokens();
                done()
            }
            (&Method::POST, "revoke-grants") => with_body(call, |revoke: Revoke| {
                Reply::json(200, &json!({"revoked": self.revoke_grants(revoke.account.as_deref())}))
            }),
            (&Method::POST, "clients") => with_body(call, |client: Client| {
                self.register(client);
                done()
            }),
            (&Method::POST, "consent") => with_body(call, |consent: Consent| {
                self.set_consent(consent);
                done()
            }),
            (&Method::POST, "rotation") => with_body(call, |rotate: Rotate| {
                let after = rotate.after_s.map(std::time::Duration::from_secs);
                self.set_rotation(after.map_or(Rotation::Never, Rotation::After));
                done()
            }),
            (&Method::POST, "issue") => with_body(call, |issue: Issue| {
                let consent = Consent { account: issue.account, realm: issue.realm, decision: super::Decision::Allow };
                let scopes: Vec<&str> = issue.scopes.iter().map(String::as_str).collect();
                Reply::json(200, &json!(self.issue(&issue.client_id, &consent, &scopes)))
            }),
            (&Method::GET, "tokens") => {
                Reply::json(200, &json!({"counts": self.counts(), "live_grants": self.live_grants()}))
            }
            _ => return None,
        };
        Some(reply)
    }
}
