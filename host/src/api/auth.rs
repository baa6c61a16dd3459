//! Who calls, and what the key allows.
//!
//! Without a valid key the answer is 401. What a key may not see looks as if it were not there: 404. What it may see and
//! not do is 403.

use std::{collections::HashMap, marker::PhantomData, sync::Arc};

use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::{header, request::Parts},
};

use super::{
    Api,
    problem::{Answer, Code, Problem},
};
use crate::{
    clock::Timestamp,
    directory::view::TenantView,
    event::TenantId,
    id::Key,
    secret::api_key,
    store::registry::{ApiKeyRow, Scope},
};

/// A valid key.
#[derive(Clone)]
pub(super) struct Caller {
    /// Its row.
    pub(super) key: Arc<ApiKeyRow>,
}

impl Caller {
    /// The name in audit rows.
    pub(super) fn actor(&self) -> String {
        self.key.key.with_prefix("key")
    }

    /// Whether it may set `urgency: emergency`.
    pub(super) fn may_emergency(&self) -> bool {
        self.key.emergency
    }

    /// Whether it may act on everything.
    pub(super) fn is_operator(&self) -> bool {
        self.key.scope == Scope::Operator
    }

    /// Whether it may see this tenant.
    pub(super) fn sees(&self, tenant: &TenantId) -> bool {
        self.is_operator() || self.key.tenant.as_ref() == Some(tenant)
    }

    /// Refuses a key below `scope`.
    pub(super) fn require(&self, scope: Scope) -> Answer<()> {
        if self.key.scope >= scope {
            return Ok(());
        }
        let (needed, has) = (scope_name(scope), scope_name(self.key.scope));
        Err(Problem::new(Code::Forbidden, format!("this needs a key of scope {needed}; this one has scope {has}")))
    }
}

pub(super) const fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Reader => "reader",
        Scope::Publisher => "publisher",
        Scope::Admin => "admin",
        Scope::Operator => "operator",
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let caller = identify(parts, api)?;
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}

/// Finds the key of a request.
pub(super) fn identify(parts: &Parts, api: &Api) -> Answer<Caller> {
    let refuse = |detail: &str| Problem::new(Code::Unauthenticated, detail);
    let Some(value) = parts.headers.get(header::AUTHORIZATION) else {
        return Err(refuse("send the key as `Authorization: Bearer <key>`"));
    };
    let text = value.to_str().ok().and_then(|value| {
        let (scheme, text) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(text.trim())
    });
    let Some(text) = text else { return Err(refuse("send the key as `Authorization: Bearer <key>`")) };
    // One text for every cause: a caller must not learn whether a key ever existed.
    let unknown = || refuse("the key is not valid: unknown, expired or revoked");
    if !api_key::is_plausible(text) {
        return Err(unknown());
    }
    let now = api.hub.clock.now();
    let key = api.hub.directory.view().keys.get(&api_key::hash(text)).cloned().ok_or_else(unknown)?;
    if key.expires_at.is_some_and(|end| end <= now) {
        return Err(unknown());
    }
    api.note_use(key.key, now);
    Ok(Caller { key })
}

/// A scope that a route needs.
pub(super) trait Need: Send + Sync + 'static {
    /// Which.
    const SCOPE: Scope;
}

/// Reading a tenant.
pub(super) struct Read;
/// Publishing events of a tenant.
pub(super) struct Publish;
/// Changing a tenant.
pub(super) struct Manage;
/// Changing the hub.
pub(super) struct Operate;

impl Need for Read {
    const SCOPE: Scope = Scope::Reader;
}
impl Need for Publish {
    const SCOPE: Scope = Scope::Publisher;
}
impl Need for Manage {
    const SCOPE: Scope = Scope::Admin;
}
impl Need for Operate {
    const SCOPE: Scope = Scope::Operator;
}

/// The tenant of the path, for a caller that may do what `N` names.
pub(super) struct In<N> {
    /// The tenant as it is now.
    pub(super) tenant: Arc<TenantView>,
    /// Who asks.
    pub(super) caller: Caller,
    need: PhantomData<N>,
}

impl<N> In<N> {
    /// The tenant's name.
    pub(super) fn id(&self) -> &TenantId {
        &self.tenant.row.id
    }
}

impl<N: Need> FromRequestParts<Api> for In<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, api).await?;
        let params = RawPathParams::from_request_parts(parts, api).await;
        let params = params.map_err(|_| Problem::new(Code::InvalidRequest, "the path is not valid UTF-8"))?;
        let named = params.iter().find(|(name, _)| *name == "tenant").and_then(|(_, text)| text.parse().ok());
        let tenant = named.filter(|tenant| caller.sees(tenant)).and_then(|tenant| api.hub.directory.tenant(&tenant));
        let tenant = tenant.ok_or_else(|| Problem::not_found("tenant"))?;
        caller.require(N::SCOPE)?;
        Ok(Self { tenant, caller, need: PhantomData })
    }
}

/// A caller that may do what `N` names, outside a tenant.
pub(super) struct May<N> {
    /// Who asks.
    pub(super) caller: Caller,
    need: PhantomData<N>,
}

impl<N: Need> FromRequestParts<Api> for May<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, api).await?;
        caller.require(N::SCOPE)?;
        Ok(Self { caller, need: PhantomData })
    }
}

/// When keys were last used, gathered and written now and then.
#[derive(Default)]
pub(super) struct Uses {
    waiting: HashMap<Key, Timestamp>,
    noted: HashMap<Key, i64>,
    written_at: Timestamp,
}

/// Between two writes.
const WRITE_EVERY_MS: i64 = 10_000;
/// Keys whose last minute is remembered; above it the memory starts anew.
const MAX_NOTED: usize = 100_000;

impl Uses {
    /// Notes a use, once a minute for a key. Answers what is to be written now, if it is time.
    pub(super) fn note(&mut self, key: Key, now: Timestamp) -> Option<Vec<(Key, Timestamp)>> {
        let minute = now.0.div_euclid(60_000);
        if self.noted.get(&key) != Some(&minute) {
            if self.noted.len() >= MAX_NOTED {
                self.noted.clear();
            }
            self.noted.insert(key, minute);
            self.waiting.insert(key, now);
        }
        let late = now.0.saturating_sub(self.written_at.0).abs() >= WRITE_EVERY_MS;
        if self.waiting.is_empty() || !late {
            return None;
        }
        self.written_at = now;
        Some(self.waiting.drain().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_of_a_key_are_written_once_a_minute_and_in_batches() {
        let mut uses = Uses::default();
        let (a, b) = (Key([1; 16]), Key([2; 16]));
        assert_eq!(uses.note(a, Timestamp(1_000_000)).map(|list| list.len()), Some(1));
        assert_eq!(uses.note(a, Timestamp(1_000_100)), None);
        assert_eq!(uses.note(b, Timestamp(1_000_200)), None);
        let written = uses.note(a, Timestamp(1_011_000)).unwrap();
        assert_eq!(written, [(b, Timestamp(1_000_200))]);
        assert_eq!(uses.note(a, Timestamp(1_080_000)).map(|list| list.len()), Some(1));
    }
}
