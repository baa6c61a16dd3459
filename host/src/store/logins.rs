//! Logins by OAuth: the state of a person who is on the way, and the tokens of connections.
//!
//! Who obtains a token claims it first: one row update on the version that it read. What comes of it is stored under that
//! version, which raises it, so that of two answers one is kept, and a login by a person in between wins over both.

use async_trait::async_trait;

use super::{StoreResult, registry::AuditEntry};
use crate::{clock::Timestamp, event::TenantId, id::Key};

/// A login that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginState {
    /// SHA-256 of the state in the URL.
    pub hash: [u8; 32],
    /// Whose login.
    pub tenant: TenantId,
    /// Of which connection.
    pub connection: Key,
    /// The API key that began it.
    pub api_key: Key,
    /// The PKCE verifier, sealed by the tenant's key.
    pub verifier: Vec<u8>,
    /// Where the person goes afterwards.
    pub return_to: Option<String>,
    /// When it is too late.
    pub expires_at: Timestamp,
}

/// What a state in a URL turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginUse {
    /// It is good, and used up now.
    Taken(LoginState),
    /// Somebody came back with it before.
    Used,
    /// It is too late.
    Expired,
    /// Nobody began it, or it is long over.
    Unknown,
}

/// An access token as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAccess {
    /// The token with its scopes, sealed by the tenant's key.
    pub sealed: Vec<u8>,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When the next one should be obtained.
    pub refresh_at: Timestamp,
}

/// What is stored of a connection's tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTokens {
    /// Raised by every change.
    pub version: u64,
    /// Until when somebody obtains the next one.
    pub refreshing_until: Option<Timestamp>,
    /// The connection's current secret, sealed.
    pub secret: Option<Vec<u8>>,
    /// The access token, if there is one.
    pub access: Option<StoredAccess>,
    /// Why a person must log in.
    pub needs_login: Option<String>,
}

/// What a refresh brought.
#[derive(Clone, Debug)]
pub struct NewTokens {
    /// The connection's secret with another refresh token, sealed; none keeps the one stored.
    pub secret: Option<Vec<u8>>,
    /// The access token.
    pub access: StoredAccess,
}

/// What a login brought.
#[derive(Clone, Debug)]
pub struct CompletedLogin {
    /// Whose.
    pub tenant: TenantId,
    /// Of which connection.
    pub connection: Key,
    /// Which account at the provider; none keeps the one stored.
    pub account: Option<String>,
    /// The connection's secret with its refresh token, sealed.
    pub secret: Vec<u8>,
    /// The access token.
    pub access: StoredAccess,
    /// When.
    pub at: Timestamp,
}

/// States and tokens.
#[async_trait]
pub trait Logins: Send + Sync {
    /// Remembers a login that begins, and forgets those that are long over.
    async fn begin_login(&self, state: LoginState, audit: AuditEntry) -> StoreResult<()>;

    /// Uses a state up, if it is good at `now`.
    async fn take_login(&self, hash: [u8; 32], now: Timestamp) -> StoreResult<LoginUse>;

    /// Stores what a login brought and takes the connection out of `needs_login`. `Conflict` if the account belongs to
    /// another connection, `NotFound` if the connection is gone.
    async fn complete_login(&self, login: CompletedLogin, audit: AuditEntry) -> StoreResult<()>;

    /// The tokens of a connection.
    async fn tokens(&self, tenant: &TenantId, connection: Key) -> StoreResult<StoredTokens>;

    /// Claims the next token until `until`, if `version` is still in force and nobody else's claim lasts at `now`. Answers
    /// the end of the claim, which names it. Where nodes share a database, it is the database's clock that judges.
    async fn claim_refresh(
        &self,
        tenant: &TenantId,
        connection: Key,
        version: u64,
        until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Option<Timestamp>>;

    /// Gives a claim back that brought nothing; `until` is what [`claim_refresh`](Self::claim_refresh) answered.
    async fn release_refresh(
        &self,
        tenant: &TenantId,
        connection: Key,
        version: u64,
        until: Timestamp,
    ) -> StoreResult<()>;

    /// Stores what a refresh brought, if `version` is still in force; raises it and ends the claim.
    async fn store_tokens(
        &self,
        tenant: &TenantId,
        connection: Key,
        version: u64,
        tokens: NewTokens,
    ) -> StoreResult<bool>;

    /// Ends the claims that nobody can hold any more, by a process that has just begun: on a database of its own all, on
    /// one that nodes share none, since others may hold them; those of a node that died lapse.
    async fn forget_refresh_claims(&self) -> StoreResult<()>;
}
