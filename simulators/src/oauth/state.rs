//! What the server remembers: clients, codes, grants and their tokens.

use std::collections::{BTreeMap, BTreeSet};

use super::{Client, Consent, Decision, Dialect, Grants, Rotation, TokenCounts};

/// More access tokens than this and the ones that end first are forgotten.
const KEPT: usize = 10_000;

/// Google silently forgets the oldest refresh token of an account and client beyond this many.
const GOOGLE_REFRESH_TOKENS: usize = 100;

/// A code that waits to be exchanged.
pub(super) struct Code {
    pub(super) client: String,
    pub(super) redirect_uri: String,
    pub(super) challenge: Option<String>,
    pub(super) consent: Consent,
    pub(super) scopes: BTreeSet<String>,
    pub(super) offline: bool,
    pub(super) expires_at_ms: i64,
    /// The grant that the first exchange made: a second one ends it, as RFC 6749 4.1.2 advises.
    pub(super) used_for: Option<String>,
}

/// What an account consented to.
pub(super) struct GrantEntry {
    pub(super) client: String,
    pub(super) account: String,
    pub(super) realm: Option<String>,
    pub(super) scopes: BTreeSet<String>,
}

pub(super) struct Access {
    pub(super) grant: String,
    pub(super) expires_at_ms: i64,
}

pub(super) struct Refresh {
    pub(super) grant: String,
    pub(super) made_at_ms: i64,
    /// Which of its account's tokens it is, in order of making.
    pub(super) number: u64,
    pub(super) replaced: bool,
}

pub(super) struct State {
    pub(super) clients: BTreeMap<String, Client>,
    pub(super) codes: BTreeMap<String, Code>,
    pub(super) grants: BTreeMap<String, GrantEntry>,
    pub(super) access: BTreeMap<String, Access>,
    pub(super) refresh: BTreeMap<String, Refresh>,
    pub(super) consent: Consent,
    pub(super) rotation: Option<Rotation>,
    pub(super) counts: TokenCounts,
    pub(super) made: u64,
}

impl Default for State {
    fn default() -> Self {
        let consent = Consent {
            account: "owner@customer.example".to_owned(),
            realm: Some("1185883450".to_owned()),
            decision: Decision::Allow,
        };
        Self {
            clients: BTreeMap::new(),
            codes: BTreeMap::new(),
            grants: BTreeMap::new(),
            access: BTreeMap::new(),
            refresh: BTreeMap::new(),
            consent,
            rotation: None,
            counts: TokenCounts::default(),
            made: 0,
        }
    }
}

impl State {
    /// Forgets a grant with all its tokens.
    pub(super) fn end_grant(&mut self, id: &str) {
        self.grants.remove(id);
        self.access.retain(|_, access| access.grant != id);
        self.refresh.retain(|_, refresh| refresh.grant != id);
    }

    fn make_room(&mut self) {
        while self.access.len() >= KEPT {
            let first = self.access.iter().min_by_key(|(_, access)| access.expires_at_ms);
            let Some(first) = first.map(|(token, _)| token.clone()) else { return };
            self.access.remove(&first);
        }
    }

    fn forget_oldest_refresh_token(&mut self, grant: &str) {
        let Some(owner) = self.grants.get(grant) else { return };
        let same_owner = |refresh: &Refresh| {
            let other = self.grants.get(&refresh.grant);
            other.is_some_and(|other| other.client == owner.client && other.account == owner.account)
        };
        let tokens: Vec<_> = self.refresh.iter().filter(|(_, refresh)| same_owner(refresh)).collect();
        if tokens.len() >= GOOGLE_REFRESH_TOKENS {
            let oldest = tokens.into_iter().min_by_key(|(_, refresh)| refresh.number).map(|(token, _)| token.clone());
            if let Some(oldest) = oldest {
                self.refresh.remove(&oldest);
            }
        }
    }
}

impl Grants {
    pub(super) fn new_grant(
        &self,
        state: &mut State,
        client: &str,
        consent: &Consent,
        scopes: BTreeSet<String>,
    ) -> String {
        let id = self.ids.uuid();
        let entry = GrantEntry {
            client: client.to_owned(),
            account: consent.account.clone(),
            realm: consent.realm.clone(),
            scopes,
        };
        state.grants.insert(id.clone(), entry);
        id
    }

    pub(super) fn new_access_token(&self, state: &mut State, grant: &str) -> String {
        state.make_room();
        let prefix = match self.rules.dialect {
            Dialect::Google => "ya29.",
            Dialect::Intuit => "eyJlbmMiOiJBMTI4Q0JD",
        };
        let token = format!("{prefix}{}{}", self.ids.base62(), self.ids.base62());
        let expires_at_ms = self.clock.now_ms().saturating_add(self.scaled_ms(self.rules.access_lifetime));
        state.access.insert(token.clone(), Access { grant: grant.to_owned(), expires_at_ms });
        token
    }

    pub(super) fn new_refresh_token(&self, state: &mut State, grant: &str) -> String {
        let prefix = match self.rules.dialect {
            Dialect::Google => "1//0",
            Dialect::Intuit => "AB11",
        };
        if self.rules.dialect == Dialect::Google {
            state.forget_oldest_refresh_token(grant);
        }
        let token = format!("{prefix}{}{}", self.ids.base62(), self.ids.base62());
        state.made += 1;
        let refresh =
            Refresh { grant: grant.to_owned(), made_at_ms: self.clock.now_ms(), number: state.made, replaced: false };
        state.refresh.insert(token.clone(), refresh);
        token
    }
}
