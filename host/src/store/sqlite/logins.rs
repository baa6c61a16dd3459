//! States of logins, and the tokens of connections.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::{
    SqliteStore,
    accept::bytes,
    registry::{audit, connection},
    row::Fields,
    sql::{Bound, one_row},
};
use crate::{
    clock::Timestamp,
    event::TenantId,
    failpoint,
    id::Key,
    store::{
        StoreError, StoreResult,
        logins::{CompletedLogin, LoginState, LoginUse, Logins, NewTokens, StoredAccess, StoredTokens},
        registry::AuditEntry,
    },
};

/// How long a state is remembered after its end, so that whoever comes late is told so.
const REMEMBERED_MS: i64 = 86_400_000;

/// A statement about one connection: ?1 tenant, ?2 key, ?3 version.
fn of_version<'q>(statement: &'static str, tenant: &TenantId, key: Key, version: u64) -> Bound<'q> {
    let version = i64::try_from(version).unwrap_or(i64::MAX);
    sqlx::query(statement).bind(tenant.as_str().to_owned()).bind(bytes(key)).bind(version)
}

async fn won(conn: &mut SqliteConnection, query: Bound<'_>) -> StoreResult<bool> {
    Ok(query.execute(conn).await?.rows_affected() == 1)
}

#[async_trait]
impl Logins for SqliteStore {
    async fn begin_login(&self, state: LoginState, audit: AuditEntry) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(begin(conn, state, audit))).await
    }

    async fn take_login(&self, hash: [u8; 32], now: Timestamp) -> StoreResult<LoginUse> {
        self.writer.alone(move |conn| Box::pin(take(conn, hash, now))).await
    }

    async fn complete_login(&self, login: CompletedLogin, audit: AuditEntry) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(complete(conn, login, audit))).await
    }

    async fn tokens(&self, tenant: &TenantId, connection: Key) -> StoreResult<StoredTokens> {
        tokens(&mut *self.reader().await?, tenant, connection).await
    }

    async fn claim_refresh(
        &self,
        tenant: &TenantId,
        connection: Key,
        version: u64,
        until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Option<Timestamp>> {
        const CLAIM: &str = "update connection set refreshing_until = ?4 where tenant = ?1 and key = ?2 \
            and token_version = ?3 and (refreshing_until is null or refreshing_until <= ?5)";
        let query = of_version(CLAIM, tenant, connection, version).bind(until.0).bind(now.0);
        let won = self.writer.alone_at(failpoint::REFRESH_CLAIM, |conn| Box::pin(won(conn, query))).await?;
        Ok(won.then_some(until))
    }

    async fn release_refresh(
        &self,
        tenant: &TenantId,
        connection: Key,
        version: u64,
        until: Timestamp,
    ) -> StoreResult<()> {
        const RELEASE: &str = "update connection set refreshing_until = null where tenant = ?1 and key = ?2 \
            and token_version = ?3 and refreshing_until = ?4";
        let query = of_version(RELEASE, tenant, connection, version).bind(until.0);
        // A claim that lapsed and was taken by another is not ours to end.
        self.writer.alone(|conn| Box::pin(won(conn, query))).await.map(drop)
    }

    async fn store_tokens(
        &self,
        tenant: &TenantId,
        connection: Key,
        version: u64,
        tokens: NewTokens,
    ) -> StoreResult<bool> {
        let tenant = tenant.clone();
        self.writer
            .alone_at(failpoint::REFRESH, move |conn| Box::pin(store(conn, tenant, connection, version, tokens)))
            .await
    }

    async fn forget_refresh_claims(&self) -> StoreResult<()> {
        const FORGET: &str = "update connection set refreshing_until = null where refreshing_until is not null";
        self.writer
            .alone(|conn| {
                Box::pin(async move {
                    let _ = sqlx::query(FORGET).execute(&mut **conn).await?;
                    Ok(())
                })
            })
            .await
    }
}

async fn begin(conn: &mut SqliteConnection, state: LoginState, entry: AuditEntry) -> StoreResult<()> {
    const FORGET: &str = "delete from oauth_state where expires_at < ?";
    const BEGIN: &str = "insert into oauth_state (hash, tenant, connection, api_key, verifier, return_to, expires_at) \
        values (?, ?, ?, ?, ?, ?, ?)";
    super::registry::require_tenant(conn, &state.tenant).await?;
    sqlx::query(FORGET).bind(entry.at.0 - REMEMBERED_MS).execute(&mut *conn).await?;
    let query = sqlx::query(BEGIN)
        .bind(state.hash.to_vec())
        .bind(state.tenant.as_str().to_owned())
        .bind(bytes(state.connection))
        .bind(bytes(state.api_key))
        .bind(state.verifier)
        .bind(state.return_to)
        .bind(state.expires_at.0);
    one_row(conn, query).await?;
    audit::write(conn, entry).await
}

async fn take(conn: &mut SqliteConnection, hash: [u8; 32], now: Timestamp) -> StoreResult<LoginUse> {
    const FIND: &str = "select used_at, tenant, connection, api_key, verifier, return_to, expires_at from oauth_state \
        where hash = ?";
    const USE: &str = "update oauth_state set used_at = ?2, verifier = x'' where hash = ?1 and used_at is null";
    let Some(row) = sqlx::query(FIND).bind(hash.to_vec()).fetch_optional(&mut *conn).await? else {
        return Ok(LoginUse::Unknown);
    };
    let (used_at, state) = read_state(hash, Fields::of(&row))?;
    if used_at.is_some() {
        return Ok(LoginUse::Used);
    }
    if state.expires_at <= now {
        return Ok(LoginUse::Expired);
    }
    one_row(conn, sqlx::query(USE).bind(hash.to_vec()).bind(now.0)).await?;
    Ok(LoginUse::Taken(state))
}

fn read_state(hash: [u8; 32], mut fields: Fields<'_>) -> StoreResult<(Option<Timestamp>, LoginState)> {
    let used_at = fields.opt_time()?;
    let state = LoginState {
        hash,
        tenant: fields.parsed()?,
        connection: fields.key()?,
        api_key: fields.key()?,
        verifier: fields.bytes()?,
        return_to: fields.opt_text()?,
        expires_at: fields.time()?,
    };
    Ok((used_at, state))
}

async fn complete(conn: &mut SqliteConnection, login: CompletedLogin, entry: AuditEntry) -> StoreResult<()> {
    const COMPLETE: &str = "update connection set account = coalesce(?3, account), updated_at = ?4, access_token = ?5, \
        access_expires_at = ?6, refresh_at = ?7, token_version = token_version + 1, refreshing_until = null, \
        needs_login_reason = null, needs_login_since = null where tenant = ?1 and key = ?2";
    let access = login.access;
    let query = sqlx::query(COMPLETE)
        .bind(login.tenant.as_str().to_owned())
        .bind(bytes(login.connection))
        .bind(login.account)
        .bind(login.at.0)
        .bind(access.sealed)
        .bind(access.expires_at.0)
        .bind(access.refresh_at.0);
    one_row(conn, query).await.map_err(connection::taken)?;
    put_secret(conn, login.connection, login.secret).await?;
    audit::write(conn, entry).await
}

/// Replaces the current secret; a login has no old ones.
async fn put_secret(conn: &mut SqliteConnection, key: Key, sealed: Vec<u8>) -> StoreResult<()> {
    const PUT: &str = "insert into connection_secret (connection, place, sealed, expires_at) values (?, 0, ?, null) \
        on conflict (connection, place) do update set sealed = excluded.sealed, expires_at = null";
    one_row(conn, sqlx::query(PUT).bind(bytes(key)).bind(sealed)).await
}

async fn tokens(conn: &mut SqliteConnection, tenant: &TenantId, key: Key) -> StoreResult<StoredTokens> {
    const TOKENS: &str = "select c.token_version, c.refreshing_until, s.sealed, c.access_token, c.access_expires_at, \
        c.refresh_at, c.needs_login_reason from connection c \
        left join connection_secret s on s.connection = c.key and s.place = 0 where c.tenant = ? and c.key = ?";
    let query = sqlx::query(TOKENS).bind(tenant.as_str().to_owned()).bind(bytes(key));
    let row = query.fetch_optional(conn).await?.ok_or(StoreError::NotFound)?;
    let mut fields = Fields::of(&row);
    let (version, refreshing_until, secret) = (fields.number()?, fields.opt_time()?, fields.opt_bytes()?);
    let access = (fields.opt_bytes()?, fields.opt_time()?, fields.opt_time()?);
    let access = match access {
        (Some(sealed), Some(expires_at), Some(refresh_at)) => Some(StoredAccess { sealed, expires_at, refresh_at }),
        _ => None,
    };
    Ok(StoredTokens { version, refreshing_until, secret, access, needs_login: fields.opt_text()? })
}

async fn store(
    conn: &mut SqliteConnection,
    tenant: TenantId,
    key: Key,
    version: u64,
    tokens: NewTokens,
) -> StoreResult<bool> {
    const STORE: &str = "update connection set token_version = token_version + 1, refreshing_until = null, \
        access_token = ?4, access_expires_at = ?5, refresh_at = ?6 where tenant = ?1 and key = ?2 and token_version = ?3";
    let access = tokens.access;
    let query = of_version(STORE, &tenant, key, version);
    let query = query.bind(access.sealed).bind(access.expires_at.0).bind(access.refresh_at.0);
    let stored = won(conn, query).await?;
    if let Some(secret) = tokens.secret.filter(|_| stored) {
        put_secret(conn, key, secret).await?;
    }
    Ok(stored)
}
