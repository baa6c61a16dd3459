//! States of logins, and the tokens of connections.
//!
//! Whether the claim of a refresh still lasts is judged by the database's clock, since the clocks of nodes differ: what
//! a caller calls now is moved by how far this store's clock is from the database's at that moment.

use async_trait::async_trait;
use sqlx::PgConnection;

use super::{
    PostgresStore,
    registry::{
        Concerns, audit, connection,
        write::{Bound, one_row, require_tenant},
    },
    row::Fields,
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

/// One connection at one version of its tokens.
struct Version {
    tenant: TenantId,
    connection: Key,
    number: u64,
}

impl Version {
    /// A statement about it: $1 tenant, $2 key, $3 version.
    fn bind<'q>(&'q self, statement: &'static str) -> Bound<'q> {
        let number = i64::try_from(self.number).unwrap_or(i64::MAX);
        sqlx::query(statement).bind(self.tenant.as_str()).bind(&self.connection.0[..]).bind(number)
    }
}

/// A claim as its caller sees it.
struct Claim {
    version: Version,
    until: Timestamp,
    now: Timestamp,
    /// This store's clock.
    clock: Timestamp,
}

#[async_trait]
impl Logins for PostgresStore {
    async fn begin_login(&self, state: LoginState, audit: AuditEntry) -> StoreResult<()> {
        self.change(Concerns::Nobody, (state, audit), |conn, (state, audit)| Box::pin(begin(conn, state, audit))).await
    }

    async fn take_login(&self, hash: [u8; 32], now: Timestamp) -> StoreResult<LoginUse> {
        self.change(Concerns::Nobody, (hash, now), |conn, (hash, now)| Box::pin(take(conn, *hash, *now))).await
    }

    async fn complete_login(&self, login: CompletedLogin, audit: AuditEntry) -> StoreResult<()> {
        let tenant = login.tenant.clone();
        self.change(&tenant, (login, audit), |conn, (login, audit)| Box::pin(complete(conn, login, audit))).await
    }

    async fn tokens(&self, tenant: &TenantId, connection: Key) -> StoreResult<StoredTokens> {
        tokens(&mut *self.reader().await?, tenant, connection, self.clock.now()).await
    }

    async fn claim_refresh(
        &self,
        tenant: &TenantId,
        connection: Key,
        version: u64,
        until: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Option<Timestamp>> {
        let version = Version { tenant: tenant.clone(), connection, number: version };
        let claim = Claim { version, until, now, clock: self.clock.now() };
        self.change_at(failpoint::REFRESH_CLAIM, Concerns::Nobody, claim, |conn, claim| {
            Box::pin(claim_refresh(conn, claim))
        })
        .await
    }

    async fn release_refresh(
        &self,
        tenant: &TenantId,
        connection: Key,
        version: u64,
        until: Timestamp,
    ) -> StoreResult<()> {
        let version = Version { tenant: tenant.clone(), connection, number: version };
        self.change(Concerns::Nobody, (version, until), |conn, (version, until)| {
            Box::pin(release(conn, version, *until))
        })
        .await
    }

    async fn store_tokens(
        &self,
        tenant: &TenantId,
        connection: Key,
        version: u64,
        tokens: NewTokens,
    ) -> StoreResult<bool> {
        let version = Version { tenant: tenant.clone(), connection, number: version };
        self.change_at(failpoint::REFRESH, tenant, (version, tokens), |conn, (version, tokens)| {
            Box::pin(store(conn, version, tokens))
        })
        .await
    }

    /// Another node may hold each of them, and those of a node that is gone lapse.
    async fn forget_refresh_claims(&self) -> StoreResult<()> {
        Ok(())
    }
}

async fn begin(conn: &mut PgConnection, state: &LoginState, entry: &AuditEntry) -> StoreResult<()> {
    const FORGET: &str = "delete from oauth_state where hash in \
        (select hash from oauth_state where expires_at < $1 for update skip locked)";
    const BEGIN: &str = "insert into oauth_state (hash, tenant, connection, api_key, verifier, return_to, expires_at) \
        values ($1, $2, $3, $4, $5, $6, $7)";
    require_tenant(conn, &state.tenant).await?;
    sqlx::query(FORGET).bind(entry.at.0 - REMEMBERED_MS).execute(&mut *conn).await?;
    let query = sqlx::query(BEGIN)
        .bind(&state.hash[..])
        .bind(state.tenant.as_str())
        .bind(&state.connection.0[..])
        .bind(&state.api_key.0[..])
        .bind(&state.verifier)
        .bind(&state.return_to)
        .bind(state.expires_at.0);
    one_row(conn, query).await?;
    audit::write(conn, entry).await
}

async fn take(conn: &mut PgConnection, hash: [u8; 32], now: Timestamp) -> StoreResult<LoginUse> {
    const FIND: &str = "select used_at, tenant, connection, api_key, verifier, return_to, expires_at from oauth_state \
        where hash = $1 for update";
    const USE: &str = "update oauth_state set used_at = $2, verifier = ''::bytea where hash = $1 and used_at is null";
    let Some(row) = sqlx::query(FIND).bind(&hash[..]).fetch_optional(&mut *conn).await? else {
        return Ok(LoginUse::Unknown);
    };
    let (used_at, state) = read_state(hash, Fields::of(&row))?;
    if used_at.is_some() {
        return Ok(LoginUse::Used);
    }
    if state.expires_at <= now {
        return Ok(LoginUse::Expired);
    }
    one_row(conn, sqlx::query(USE).bind(&hash[..]).bind(now.0)).await?;
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

async fn complete(conn: &mut PgConnection, login: &CompletedLogin, entry: &AuditEntry) -> StoreResult<()> {
    const COMPLETE: &str = "update connection set account = coalesce($3, account), updated_at = $4, access_token = $5, \
        access_expires_at = $6, refresh_at = $7, token_version = token_version + 1, refreshing_until = null, \
        needs_login_reason = null, needs_login_since = null where tenant = $1 and key = $2";
    let access = &login.access;
    let query = sqlx::query(COMPLETE)
        .bind(login.tenant.as_str())
        .bind(&login.connection.0[..])
        .bind(&login.account)
        .bind(login.at.0)
        .bind(&access.sealed)
        .bind(access.expires_at.0)
        .bind(access.refresh_at.0);
    one_row(conn, query).await.map_err(connection::taken)?;
    put_secret(conn, login.connection, &login.secret).await?;
    audit::write(conn, entry).await
}

/// Replaces the current secret; a login has no old ones.
async fn put_secret(conn: &mut PgConnection, key: Key, sealed: &[u8]) -> StoreResult<()> {
    const PUT: &str = "insert into connection_secret (connection, place, sealed, expires_at) values ($1, 0, $2, null) \
        on conflict (connection, place) do update set sealed = excluded.sealed, expires_at = null";
    one_row(conn, sqlx::query(PUT).bind(&key.0[..]).bind(sealed)).await
}

async fn tokens(conn: &mut PgConnection, tenant: &TenantId, key: Key, clock: Timestamp) -> StoreResult<StoredTokens> {
    // The end of a claim is told by the clock of whoever asks.
    const TOKENS: &str = "select c.token_version, \
          c.refreshing_until - (extract(epoch from clock_timestamp()) * 1000)::bigint + $3, \
          s.sealed, c.access_token, c.access_expires_at, c.refresh_at, c.needs_login_reason from connection c \
        left join connection_secret s on s.connection = c.key and s.place = 0 where c.tenant = $1 and c.key = $2";
    let query = sqlx::query(TOKENS).bind(tenant.as_str()).bind(&key.0[..]).bind(clock.0);
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

async fn claim_refresh(conn: &mut PgConnection, claim: &Claim) -> StoreResult<Option<Timestamp>> {
    // Read again after a wait for the row's lock, so the clock is that of the judgement.
    const CLAIM: &str = "update connection set \
          refreshing_until = (extract(epoch from clock_timestamp()) * 1000)::bigint + $4 \
        where tenant = $1 and key = $2 and token_version = $3 and (refreshing_until is null \
          or refreshing_until <= (extract(epoch from clock_timestamp()) * 1000)::bigint + $5) \
        returning refreshing_until";
    let (lasts, ahead) = (claim.until.0 - claim.clock.0, claim.now.0 - claim.clock.0);
    let row = claim.version.bind(CLAIM).bind(lasts).bind(ahead).fetch_optional(conn).await?;
    row.map(|row| Fields::of(&row).time()).transpose()
}

async fn release(conn: &mut PgConnection, version: &Version, until: Timestamp) -> StoreResult<()> {
    // A claim that lapsed and was taken by another is not ours to end.
    const RELEASE: &str = "update connection set refreshing_until = null where tenant = $1 and key = $2 \
        and token_version = $3 and refreshing_until = $4";
    version.bind(RELEASE).bind(until.0).execute(conn).await?;
    Ok(())
}

async fn store(conn: &mut PgConnection, version: &Version, tokens: &NewTokens) -> StoreResult<bool> {
    const STORE: &str = "update connection set token_version = token_version + 1, refreshing_until = null, \
        access_token = $4, access_expires_at = $5, refresh_at = $6 \
        where tenant = $1 and key = $2 and token_version = $3";
    let access = &tokens.access;
    let query = version.bind(STORE).bind(&access.sealed).bind(access.expires_at.0).bind(access.refresh_at.0);
    let stored = query.execute(&mut *conn).await?.rows_affected() == 1;
    if let Some(secret) = tokens.secret.as_ref().filter(|_| stored) {
        put_secret(conn, version.connection, secret).await?;
    }
    Ok(stored)
}
