//! An OAuth 2 authorization server as the providers run it: a person's consent, codes with PKCE, access tokens that
//! expire, refresh tokens that may rotate. A provider simulator puts [`Grants`] behind its own paths and asks it about
//! every bearer token; simulators of one provider share it by `Arc`, so that a token of one is good at the others.

mod authorize;
mod control;
mod state;
pub(crate) mod token;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use self::state::State;
use crate::{
    clock::{OffsetClock, SharedClock, TimeFactor},
    ids::Ids,
};

/// Whose manners the server has: which members its answers carry and with which words it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Google: a refresh token only for `access_type=offline`, never a new one at a refresh.
    Google,
    /// Intuit: a refresh token in every answer with its own lifetime, and the company as `realmId` at the redirect.
    Intuit,
}

/// When a refresh replaces the refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Never: the answer to a refresh carries none, or the same one.
    Never,
    /// When the token is at least this old, in provider time; zero rotates at every refresh. The one before is dead at once.
    After(Duration),
}

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Members and words of the answers.
    pub dialect: Dialect,
    /// How long an access token is good, in provider time. The time factor shortens it, and `expires_in` says the
    /// shortened time, since the clock of whoever reads it is real.
    pub access_lifetime: Duration,
    /// How long a code waits to be exchanged, in provider time.
    pub code_lifetime: Duration,
    /// When refresh tokens are replaced.
    pub rotation: Rotation,
    /// A refresh with a token that was replaced ends the whole grant, as servers do that take it for theft.
    pub reuse_ends_grant: bool,
    /// The scopes that exist; empty knows all.
    pub scopes: BTreeSet<String>,
    /// Scales the lifetimes.
    pub time_factor: TimeFactor,
    /// The same seed gives the same tokens.
    pub seed: u64,
}

impl Rules {
    /// Google's: access tokens of 3,599 s, no rotation.
    #[must_use]
    pub fn google() -> Self {
        Self {
            dialect: Dialect::Google,
            access_lifetime: Duration::from_secs(3_599),
            code_lifetime: Duration::from_secs(600),
            rotation: Rotation::Never,
            reuse_ends_grant: false,
            scopes: BTreeSet::new(),
            time_factor: TimeFactor::REAL,
            seed: 11,
        }
    }

    /// Intuit's: access tokens of an hour, and another refresh token after a day.
    #[must_use]
    pub fn intuit() -> Self {
        Self {
            dialect: Dialect::Intuit,
            access_lifetime: Duration::from_secs(3_600),
            rotation: Rotation::After(Duration::from_secs(86_400)),
            seed: 12,
            ..Self::google()
        }
    }
}

/// A registered application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// `client_id`.
    pub id: String,
    /// `client_secret`.
    pub secret: String,
    /// Where a person may be sent back; compared as text.
    pub redirect_uris: Vec<String>,
}

/// What the person in front of the consent page does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Agrees at once.
    #[default]
    Allow,
    /// Refuses at once: `error=access_denied`.
    Deny,
    /// Sees a page with two links, and the request waits for one of them.
    Ask,
}

/// Who consents, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// The account that logs in: a mail address, a user.
    pub account: String,
    /// The company that it chooses; QuickBooks names it as `realmId` in the redirect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    /// What it decides.
    #[serde(default)]
    pub decision: Decision,
}

/// What a good access token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The client, or the service account's address.
    pub client: String,
    /// Whose data.
    pub account: String,
    /// Which company.
    pub realm: Option<String>,
    /// For what.
    pub scopes: BTreeSet<String>,
    /// When the token ends.
    pub expires_at_ms: i64,
}

/// Why a bearer token is not good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none.
    #[error("no bearer token")]
    Missing,
    /// Nobody issued it, or its grant was revoked: 401.
    #[error("unknown or revoked token")]
    Unknown,
    /// It was good once: 401.
    #[error("expired token")]
    Expired,
    /// It is good, but for none of the scopes asked for: 403.
    #[error("insufficient scopes")]
    Scope,
}

/// The tokens of one grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// For API calls.
    pub access_token: String,
    /// For the token endpoint.
    pub refresh_token: String,
}

/// How often what happened at the token endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCounts {
    /// Codes exchanged.
    pub exchanges: u64,
    /// Refreshes that gave a new access token.
    pub refreshes: u64,
    /// Refresh tokens replaced.
    pub rotations: u64,
    /// Refreshes with a token that had been replaced.
    pub reuses: u64,
    /// Requests refused, for whatever reason.
    pub refusals: u64,
    /// Access tokens for service accounts.
    pub assertions: u64,
}

/// The server's memory.
pub struct Grants {
    rules: Rules,
    clock: OffsetClock,
    ids: Ids,
    state: Mutex<State>,
}

impl Grants {
    /// A server that knows no client yet, where `owner@customer.example` of company `1185883450` consents at once.
    #[must_use]
    pub fn new(rules: Rules, clock: SharedClock) -> Arc<Self> {
        Self::with_clock(rules, OffsetClock::new(clock))
    }

    /// A server on the clock of its simulator, whose offset then holds for tokens as well.
    pub(crate) fn with_clock(rules: Rules, clock: OffsetClock) -> Arc<Self> {
        let ids = Ids::seeded(rules.seed);
        Arc::new(Self { rules, clock, ids, state: Mutex::default() })
    }

    /// Registers an application, or replaces it.
    pub fn register(&self, client: Client) {
        self.lock().clients.insert(client.id.clone(), client);
    }

    /// Who consents from now on, and how.
    pub fn set_consent(&self, consent: Consent) {
        self.lock().consent = consent;
    }

    /// Sets when refresh tokens are replaced.
    pub fn set_rotation(&self, rotation: Rotation) {
        self.lock().rotation = Some(rotation);
    }

    /// A grant as if an account had consented earlier, without the redirects.
    pub fn issue(&self, client: &str, consent: &Consent, scopes: &[&str]) -> Issued {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let mut state = self.lock();
        let grant = self.new_grant(&mut state, client, consent, scopes);
        let refresh_token = self.new_refresh_token(&mut state, &grant);
        let access_token = self.new_access_token(&mut state, &grant);
        Issued { access_token, refresh_token }
    }

    /// An access token without a refresh token, as a service account gets it.
    pub fn issue_access(&self, client: &str, account: &str, scopes: BTreeSet<String>) -> String {
        let consent = Consent { account: account.to_owned(), realm: None, decision: Decision::Allow };
        let mut state = self.lock();
        state.counts.assertions += 1;
        let grant = self.new_grant(&mut state, client, &consent, scopes);
        self.new_access_token(&mut state, &grant)
    }

    /// Judges the bearer token of an API call: it must be good, and for one of the scopes. No scopes asks for none.
    ///
    /// # Errors
    ///
    /// Why it is not good enough.
    pub fn check(&self, bearer: Option<&str>, any_of: &[&str]) -> Result<Grant, Refusal> {
        let now = self.clock.now_ms();
        let state = self.lock();
        let access = state.access.get(bearer.ok_or(Refusal::Missing)?).ok_or(Refusal::Unknown)?;
        let grant = state.grants.get(&access.grant).ok_or(Refusal::Unknown)?;
        if access.expires_at_ms <= now {
            return Err(Refusal::Expired);
        }
        if !any_of.is_empty() && !any_of.iter().any(|scope| grant.scopes.contains(*scope)) {
            return Err(Refusal::Scope);
        }
        Ok(Grant {
            client: grant.client.clone(),
            account: grant.account.clone(),
            realm: grant.realm.clone(),
            scopes: grant.scopes.clone(),
            expires_at_ms: access.expires_at_ms,
        })
    }

    /// Ends every access token now, while `expires_in` promised more. Refresh tokens stay.
    pub fn expire_tokens(&self) {
        let now = self.clock.now_ms();
        for access in self.lock().access.values_mut() {
            access.expires_at_ms = access.expires_at_ms.min(now);
        }
    }

    /// Ends the access token in an `Authorization` field now, while `expires_in` promised more.
    pub(crate) fn expire_bearer(&self, authorization: Option<&str>) {
        let now = self.clock.now_ms();
        let Some(token) = authorization.and_then(|value| value.strip_prefix("Bearer ")) else { return };
        if let Some(access) = self.lock().access.get_mut(token) {
            access.expires_at_ms = access.expires_at_ms.min(now);
        }
    }

    /// Ends the grants of an account with all their tokens, as the person can on the provider's page; all accounts when
    /// none is named. Answers how many there were.
    pub fn revoke_grants(&self, account: Option<&str>) -> usize {
        let mut state = self.lock();
        let ended: Vec<String> = state
            .grants
            .iter()
            .filter(|(_, grant)| account.is_none_or(|account| grant.account == account))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &ended {
            state.end_grant(id);
        }
        ended.len()
    }

    /// How many grants live: consented to, and neither revoked nor ended.
    #[must_use]
    pub fn live_grants(&self) -> usize {
        self.lock().grants.len()
    }

    /// Whether this is a refresh token that the server would take.
    #[must_use]
    pub fn is_live_refresh_token(&self, token: &str) -> bool {
        self.lock().refresh.get(token).is_some_and(|refresh| !refresh.replaced)
    }

    /// How often what happened at the token endpoint.
    #[must_use]
    pub fn counts(&self) -> TokenCounts {
        self.lock().counts
    }

    /// The rules it was made with.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    fn scaled_ms(&self, provider_time: Duration) -> i64 {
        i64::try_from(self.rules.time_factor.scale(provider_time).as_millis()).unwrap_or(i64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
