//! Access tokens of connections: kept in memory while they are good, obtained once when they are not.
//!
//! Who obtains one claims it first: one row update on the version that it read. What the provider answers is stored under
//! that version *before* it is used, so a refresh token that replaced another is never lost to a crash after that, and of
//! two nodes one refreshes. Callers of one process take turns; those of others read the row again until the answer is
//! there. All waiting is bounded.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    credential::{ConnectionKind, Credential},
    login::{login_of, service_account_scopes},
    token_endpoint::{self, Client, Obtained, TokenError},
};
use crate::{
    clock::Timestamp,
    directory::{
        places,
        view::{ConnectionView, TenantView},
    },
    failpoint::{self, Point},
    hub::Hub,
    id::Key,
    secret::{ExposeSecret, SecretString},
    store::{
        StoreError,
        logins::{NewTokens, StoredAccess, StoredTokens},
    },
};

/// How long a claim lasts: the request's time and some for storing its answer.
const CLAIM: Duration = Duration::from_secs(30);

/// How long a call waits for a token, whoever obtains it; a run has 30 seconds in all.
const CALLERS_PATIENCE: Duration = Duration::from_secs(25);

/// How long a caller waits for somebody else's refresh.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it looks whether the answer is there.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Between two tries after the app was refused: an operator has to act.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// More connections than this are not remembered.
const REMEMBERED: usize = 10_000;

/// An access token.
#[derive(Clone)]
pub struct AccessToken {
    /// The version of the connection's tokens.
    pub version: u64,
    /// The token.
    pub token: SecretString,
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessToken(version {})", self.version)
    }
}

/// Why there is no access token.
#[derive(Debug, thiserror::Error)]
pub enum NoToken {
    /// A person must log in; with the version of the tokens that the provider refused.
    #[error("{0}")]
    NeedsLogin(String, Option<u64>),
    /// The connection cannot be used so.
    #[error("{0}")]
    Denied(String),
    /// Later, perhaps.
    #[error("{0}")]
    Later(String, Option<Duration>),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is remembered of connections in this process.
#[derive(Default)]
pub struct Tokens {
    known: Mutex<HashMap<Key, Known>>,
    turns: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Clone)]
enum Known {
    Good(Arc<Good>),
    /// The provider ended the grant of this version.
    Ended(u64, String),
}

struct Good {
    access: AccessToken,
    scopes: BTreeSet<String>,
    expires_at: Timestamp,
    refresh_at: Timestamp,
}

/// How an access token is sealed.
#[derive(Serialize, Deserialize)]
struct Sealed {
    token: String,
    scopes: BTreeSet<String>,
    /// When the login ends by itself, if the provider said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    login_ends_at: Option<Timestamp>,
}

impl Tokens {
    fn known(&self, key: Key) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    fn remember(&self, key: Key, what: Known) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(key, what);
    }

    fn turn(&self, key: Key) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= REMEMBERED {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        turns.entry(key).or_default().clone()
    }
}

/// One caller's need.
struct Need {
    tenant: Arc<TenantView>,
    connection: Key,
    kind: ConnectionKind,
    scopes: BTreeSet<String>,
    /// The provider refused the token of this version although its time is not over.
    refused: Option<u64>,
}

impl Need {
    fn view(&self) -> Result<&ConnectionView, NoToken> {
        let view = self.tenant.connections.get(&self.connection);
        view.map(AsRef::as_ref).ok_or_else(|| NoToken::Denied("the connection is gone".to_owned()))
    }

    fn takes(&self, version: u64, scopes: &BTreeSet<String>) -> bool {
        self.refused.is_none_or(|refused| version > refused)
            && (self.kind == ConnectionKind::Oauth2 || *scopes == self.scopes)
    }
}

/// Whether calls with this kind carry an access token that the host obtains.
#[must_use]
pub fn obtains_tokens(kind: ConnectionKind) -> bool {
    matches!(kind, ConnectionKind::Oauth2 | ConnectionKind::GoogleServiceAccount)
}

impl Hub {
    /// The access token of a connection of kind `oauth2` or `google_service_account`. `refused` is the version of a token
    /// that the provider answered with 401: another one is obtained, once, however many callers ask.
    ///
    /// What is obtained is stored even if the caller goes away.
    pub async fn access_token(
        self: &Arc<Self>,
        tenant: &Arc<TenantView>,
        connection: &ConnectionView,
        refused: Option<u64>,
    ) -> Result<AccessToken, NoToken> {
        let row = &connection.row;
        let kind = row.kind.parse::<ConnectionKind>().map_err(|error| NoToken::Denied(error.to_string()))?;
        let scopes = match kind {
            ConnectionKind::GoogleServiceAccount => service_account_scopes(tenant, row.key),
            _ => BTreeSet::new(),
        };
        let need = Need { tenant: Arc::clone(tenant), connection: row.key, kind, scopes, refused };
        if let Some(token) = self.remembered(&need)? {
            return Ok(token);
        }
        // Nothing is lost with a caller that is cancelled while the provider answers.
        let hub = Arc::clone(self);
        let working = self.tasks.spawn(async move { hub.obtain(&need).await });
        match tokio::time::timeout(CALLERS_PATIENCE, working).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(NoToken::Later("the refresh of its token ended early".to_owned(), None)),
            Err(_) => Err(NoToken::Later("its token is still being obtained".to_owned(), None)),
        }
    }

    /// What is known without looking into the database.
    fn remembered(&self, need: &Need) -> Result<Option<AccessToken>, NoToken> {
        let at_least = need.view()?.row.token_version;
        match self.tokens.known(need.connection) {
            Some(Known::Good(good))
                if good.access.version >= at_least && need.takes(good.access.version, &good.scopes) =>
            {
                let due = self.clock.now() >= good.refresh_at;
                Ok((!due).then(|| good.access.clone()))
            }
            Some(Known::Ended(version, why)) if version >= at_least => Err(NoToken::NeedsLogin(why, Some(version))),
            _ => Ok(None),
        }
    }

    async fn obtain(self: Arc<Self>, need: &Need) -> Result<AccessToken, NoToken> {
        let turn = self.tokens.turn(need.connection);
        let waited = tokio::time::timeout(PATIENCE, turn.lock()).await;
        let _turn = waited.map_err(|_| NoToken::Later("its token is still being obtained".to_owned(), None))?;
        if let Some(token) = self.remembered(need)? {
            return Ok(token);
        }
        let began = self.clock.monotonic();
        loop {
            let tenant = &need.tenant.row.id;
            let stored = self.store.tokens(tenant, need.connection).await?;
            if let Some(why) = &stored.needs_login {
                return Err(NoToken::NeedsLogin(why.clone(), Some(stored.version)));
            }
            let current = self.opened(need, &stored);
            let now = self.clock.now();
            if let Some(good) = current.as_ref().filter(|good| now < good.refresh_at) {
                return Ok(good.access.clone());
            }
            let usable = current.filter(|good| now < good.expires_at);
            let (queue_now, version) = (self.queue_clock.now(), stored.version);
            let wanted = queue_now.after(CLAIM);
            let claimed = self.store.claim_refresh(tenant, need.connection, version, wanted, queue_now).await?;
            if let Some(until) = claimed {
                if let Some(result) = self.renew(need, &stored, until, usable.as_deref()).await {
                    return result;
                }
            } else if let Some(good) = usable {
                // Somebody else is at it, and this one still has some minutes.
                return Ok(good.access.clone());
            }
            if self.clock.monotonic().saturating_sub(began) > PATIENCE {
                let wait = stored.refreshing_until.map(|until| until.since(queue_now));
                return Err(NoToken::Later("its token is still being obtained".to_owned(), wait));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The stored access token, if it may serve; remembered.
    fn opened(&self, need: &Need, stored: &StoredTokens) -> Option<Arc<Good>> {
        let access = stored.access.as_ref()?;
        let place = places::access_token(&need.tenant.row.id, &need.connection);
        let plain = self.vault.open(&need.tenant.key, place, &access.sealed);
        let plain = plain.inspect_err(|error| tracing::error!(%error, "a sealed access token does not open")).ok()?;
        let Sealed { token, scopes, .. } = serde_json::from_slice(&plain).ok()?;
        if !need.takes(stored.version, &scopes) {
            return None;
        }
        let access_token = AccessToken { version: stored.version, token: SecretString::from(token) };
        let good = Good { access: access_token, scopes, expires_at: access.expires_at, refresh_at: access.refresh_at };
        let good = Arc::new(good);
        self.tokens.remember(need.connection, Known::Good(Arc::clone(&good)));
        Some(good)
    }

    /// Asks the provider under a claim; none when another's answer has to be read instead.
    async fn renew(
        &self,
        need: &Need,
        stored: &StoredTokens,
        until: Timestamp,
        usable: Option<&Good>,
    ) -> Option<Result<AccessToken, NoToken>> {
        let (tenant, version) = (&need.tenant.row.id, stored.version);
        let asked_at = self.clock.now();
        // Nobody could be told of an error here, so this place only waits or dies.
        failpoint::pass(Point::RefreshBeforeSend).await.ok();
        let asked = self.ask(need, stored).await;
        failpoint::pass(Point::RefreshAfterAnswer).await.ok();
        match asked {
            Ok((obtained, credential)) => match self.keep(need, version, &obtained, &credential, asked_at).await {
                Ok(kept) => kept.map(Ok),
                Err(error) => Some(Err(error)),
            },
            Err(error) => {
                let given_back = self.store.release_refresh(tenant, need.connection, version, until).await;
                if let Err(error) = given_back {
                    return Some(Err(error.into()));
                }
                tracing::warn!(
                    tenant = %tenant, connection.id = %need.connection.with_prefix("con"), %error,
                    "no access token was obtained"
                );
                self.without(need, version, error, usable).await
            }
        }
    }

    /// What follows from a refusal. A login of meanwhile wins over it.
    async fn without(
        &self,
        need: &Need,
        version: u64,
        error: NoToken,
        usable: Option<&Good>,
    ) -> Option<Result<AccessToken, NoToken>> {
        match (error, usable) {
            (NoToken::NeedsLogin(why, _), _) => match self.store.tokens(&need.tenant.row.id, need.connection).await {
                Ok(now) if now.version != version => None,
                Ok(_) => {
                    self.tokens.remember(need.connection, Known::Ended(version, why.clone()));
                    Some(Err(NoToken::NeedsLogin(why, Some(version))))
                }
                Err(error) => Some(Err(error.into())),
            },
            (NoToken::Later(..), Some(good)) => Some(Ok(good.access.clone())),
            (error, _) => Some(Err(error)),
        }
    }

    /// Sends the refresh token, or an assertion.
    async fn ask(&self, need: &Need, stored: &StoredTokens) -> Result<(Obtained, Credential), NoToken> {
        let view = need.view()?;
        let credential = self.stored_credential(need, stored)?;
        let asked = match need.kind {
            ConnectionKind::GoogleServiceAccount => self.ask_by_assertion(need, &credential).await,
            _ => self.ask_by_refresh_token(need, view, &credential).await,
        };
        let obtained = asked.map_err(|error| no_token(error, need.kind))??;
        Ok((obtained, credential))
    }

    /// The secret as it is stored now, not as it was when the directory read it: a refresh may have replaced it.
    fn stored_credential(&self, need: &Need, stored: &StoredTokens) -> Result<Credential, NoToken> {
        let unusable = || NoToken::Denied("the connection's secret does not open".to_owned());
        let sealed = stored.secret.as_ref().ok_or_else(unusable)?;
        let place = places::connection_secret(&need.tenant.row.id, &need.connection);
        let plain = self.vault.open(&need.tenant.key, place, sealed).map_err(|_| unusable())?;
        Credential::from_stored(need.kind, &plain).map_err(|_| unusable())
    }

    async fn ask_by_refresh_token(
        &self,
        need: &Need,
        view: &ConnectionView,
        credential: &Credential,
    ) -> Result<Result<Obtained, NoToken>, TokenError> {
        let directory = self.directory.view();
        let denied = |text: &str| Ok(Err(NoToken::Denied(text.to_owned())));
        let Some(refresh_token) = credential.refresh_token() else {
            return Ok(Err(NoToken::NeedsLogin("nobody has logged in yet".to_owned(), None)));
        };
        let Some(app) = view.row.app.and_then(|key| directory.apps.get(&key)) else {
            return denied("the connection's app is gone");
        };
        let Some(client_id) = app.row.client_id.as_deref() else {
            return denied("the connection's app has no client_id");
        };
        let Some(login) = login_of(&directory, &need.tenant, &view.row) else {
            return denied("no plugin says where this connection logs in; bind it, or name a plugin in its app");
        };
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose_secret())];
        let client = Client { id: client_id, secret: app.client_secret.as_ref() };
        self.request_token(&login.token_url, &form, Some(client)).await.map(Ok)
    }

    async fn ask_by_assertion(
        &self,
        need: &Need,
        credential: &Credential,
    ) -> Result<Result<Obtained, NoToken>, TokenError> {
        const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        let denied = |text: String| Ok(Err(NoToken::Denied(text)));
        if need.scopes.is_empty() {
            return denied("no plugin says for which scopes this service account is used; bind it".to_owned());
        }
        let file = match credential.key_file() {
            Some(Ok(file)) => file,
            Some(Err(error)) => return denied(format!("the service account's key {error}")),
            None => return denied("the connection has no service account's key".to_owned()),
        };
        let assertion = match file.assertion(&need.scopes, credential.subject(), self.clock.now()) {
            Ok(assertion) => assertion,
            Err(error) => return denied(format!("the service account's key {error}")),
        };
        let form = [("grant_type", JWT_BEARER), ("assertion", assertion.expose_secret())];
        self.request_token(file.token_uri(), &form, None).await.map(Ok)
    }

    /// Stores what the provider gave, under the version that was claimed, and only then lets it be used; none when that
    /// version is no longer in force.
    async fn keep(
        &self,
        need: &Need,
        version: u64,
        obtained: &Obtained,
        credential: &Credential,
        asked_at: Timestamp,
    ) -> Result<Option<AccessToken>, NoToken> {
        let access = self.sealed_access(&need.tenant, need.connection, obtained, &need.scopes, asked_at)?;
        let (expires_at, refresh_at) = (access.expires_at, access.refresh_at);
        let secret = match &obtained.refresh_token {
            Some(token) => {
                Some(self.sealed_credential(&need.tenant, need.connection, &credential.with_refresh_token(token))?)
            }
            None => None,
        };
        let tokens = NewTokens { secret, access };
        if !self.store.store_tokens(&need.tenant.row.id, need.connection, version, tokens).await? {
            return Ok(None);
        }
        let access = AccessToken { version: version + 1, token: obtained.access_token.clone() };
        let good = Good { access: access.clone(), scopes: need.scopes.clone(), expires_at, refresh_at };
        self.tokens.remember(need.connection, Known::Good(Arc::new(good)));
        Ok(Some(access))
    }

    /// An access token as it is stored.
    pub(crate) fn sealed_access(
        &self,
        tenant: &TenantView,
        connection: Key,
        obtained: &Obtained,
        scopes: &BTreeSet<String>,
        asked_at: Timestamp,
    ) -> Result<StoredAccess, NoToken> {
        let (expires_at, refresh_at) = token_endpoint::due(asked_at, obtained.lifetime);
        let token = obtained.access_token.expose_secret().to_owned();
        let login_ends_at = obtained.login_lifetime.map(|lifetime| asked_at.after(lifetime));
        let plain = serde_json::to_vec(&Sealed { token, scopes: scopes.clone(), login_ends_at }).map(Zeroizing::new);
        let plain = plain.map_err(|error| NoToken::Denied(error.to_string()))?;
        let sealed = self.vault.seal(&tenant.key, places::access_token(&tenant.row.id, &connection), &plain);
        let sealed = sealed.map_err(|error| NoToken::Denied(error.to_string()))?;
        Ok(StoredAccess { sealed, expires_at, refresh_at })
    }

    /// When the login behind a stored access token ends by itself, if the provider said so.
    pub(crate) fn login_end(&self, tenant: &TenantView, connection: Key, access: &StoredAccess) -> Option<Timestamp> {
        let place = places::access_token(&tenant.row.id, &connection);
        let plain = self.vault.open(&tenant.key, place, &access.sealed).ok()?;
        serde_json::from_slice::<Sealed>(&plain).ok()?.login_ends_at
    }

    /// A secret as it is stored.
    pub(crate) fn sealed_credential(
        &self,
        tenant: &TenantView,
        connection: Key,
        credential: &Credential,
    ) -> Result<Vec<u8>, NoToken> {
        let place = places::connection_secret(&tenant.row.id, &connection);
        let sealed = self.vault.seal(&tenant.key, place, &credential.to_stored());
        sealed.map_err(|error| NoToken::Denied(error.to_string()))
    }
}

/// What a token endpoint's refusal means for a call. A service account's own key and delegation are the connection's, so
/// a person must set them right; an app's client is the operator's, and what waits goes on by itself once it is.
fn no_token(error: TokenError, kind: ConnectionKind) -> NoToken {
    let text = error.to_string();
    match error {
        TokenError::Ended(_) => NoToken::NeedsLogin(text, None),
        TokenError::Refused(_) if kind == ConnectionKind::GoogleServiceAccount => NoToken::NeedsLogin(text, None),
        TokenError::Refused(_) => NoToken::Later(text, Some(AFTER_REFUSAL)),
        TokenError::Unavailable(_, wait) => NoToken::Later(text, wait),
    }
}
