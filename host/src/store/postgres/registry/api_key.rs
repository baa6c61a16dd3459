//! API keys, stored answers of idempotent requests, and facts of the database itself.

use sqlx::PgConnection;

use super::{
    super::row::{Fields, inconsistent},
    audit,
    write::{one_row, require_tenant, word},
};
use crate::{
    clock::Timestamp,
    event::TenantId,
    id::Key,
    store::{
        StoreResult,
        registry::{ApiKeyRow, AuditEntry, StoredAnswer},
    },
};

/// How long an answer is kept.
pub(in super::super) const ANSWER_LIFE_MS: i64 = 86_400_000;

/// All keys.
pub(in super::super) async fn list(conn: &mut PgConnection) -> StoreResult<Vec<ApiKeyRow>> {
    const LIST: &str = "select key, hash, hint, name, tenant, scope, emergency, created_at, expires_at, last_used_at \
        from api_key order by key";
    let rows = sqlx::query(LIST).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            let (key, hash, hint, name) = (fields.key()?, fields.array()?, fields.text()?, fields.text()?);
            let tenant = fields.opt_text()?.map(|text| text.parse()).transpose();
            Ok(ApiKeyRow {
                key,
                hash,
                hint,
                name,
                tenant: tenant.map_err(|_| inconsistent("tenant"))?,
                scope: fields.word()?,
                emergency: fields.flag()?,
                created_at: fields.time()?,
                expires_at: fields.opt_time()?,
                last_used_at: fields.opt_time()?,
            })
        })
        .collect()
}

/// Makes a key.
pub(in super::super) async fn create(conn: &mut PgConnection, new: &ApiKeyRow, entry: &AuditEntry) -> StoreResult<()> {
    const CREATE: &str = "insert into api_key (key, hash, hint, name, tenant, scope, emergency, created_at, expires_at) \
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    if let Some(tenant) = &new.tenant {
        require_tenant(conn, tenant).await?;
    }
    let query = sqlx::query(CREATE)
        .bind(&new.key.0[..])
        .bind(&new.hash[..])
        .bind(&new.hint)
        .bind(&new.name)
        .bind(new.tenant.as_ref().map(TenantId::as_str))
        .bind(word(&new.scope)?)
        .bind(new.emergency)
        .bind(new.created_at.0)
        .bind(new.expires_at.map(|at| at.0));
    one_row(conn, query).await?;
    audit::write(conn, entry).await
}

/// Replaces name, hash, hint and expiry.
pub(in super::super) async fn update(conn: &mut PgConnection, new: &ApiKeyRow, entry: &AuditEntry) -> StoreResult<()> {
    const UPDATE: &str = "update api_key set hash = $2, hint = $3, name = $4, expires_at = $5 where key = $1";
    let query = sqlx::query(UPDATE).bind(&new.key.0[..]).bind(&new.hash[..]).bind(&new.hint).bind(&new.name);
    one_row(conn, query.bind(new.expires_at.map(|at| at.0))).await?;
    audit::write(conn, entry).await
}

/// Removes a key.
pub(in super::super) async fn delete(conn: &mut PgConnection, key: Key, entry: &AuditEntry) -> StoreResult<()> {
    const DELETE: &str = "delete from api_key where key = $1";
    one_row(conn, sqlx::query(DELETE).bind(&key.0[..])).await?;
    audit::write(conn, entry).await
}

/// Notes when keys were last used; one that is gone is skipped. Several nodes note the same keys, so the rows are locked
/// in one order.
pub(in super::super) async fn touch(conn: &mut PgConnection, used: &[(Key, Timestamp)]) -> StoreResult<()> {
    const TOUCH: &str = "with used as (select u.key, max(u.at) as at from unnest($1::bytea[], $2::bigint[]) u (key, at) \
          group by u.key), \
        held as materialized (select k.key, used.at from api_key k join used on used.key = k.key \
          order by k.key for no key update of k) \
        update api_key k set last_used_at = greatest(coalesce(k.last_used_at, 0), held.at) \
        from held where k.key = held.key";
    let (keys, times): (Vec<&[u8]>, Vec<i64>) = used.iter().map(|(key, at)| (&key.0[..], at.0)).unzip();
    sqlx::query(TOUCH).bind(keys).bind(times).execute(conn).await?;
    Ok(())
}

/// The answer stored under a caller's `Idempotency-Key`, if it is young enough.
pub(in super::super) async fn answer(
    conn: &mut PgConnection,
    caller: Key,
    key: &str,
    now: Timestamp,
) -> StoreResult<Option<StoredAnswer>> {
    const ANSWER: &str = "select request, status, body from answer where caller = $1 and key = $2 and at > $3";
    let query = sqlx::query(ANSWER).bind(&caller.0[..]).bind(key).bind(now.0 - ANSWER_LIFE_MS);
    let Some(row) = query.fetch_optional(conn).await? else { return Ok(None) };
    let mut fields = Fields::of(&row);
    Ok(Some(StoredAnswer { request: fields.array()?, status: fields.number()?, body: fields.bytes()? }))
}

/// Stores an answer; the first one stands for a day.
pub(in super::super) async fn store_answer(
    conn: &mut PgConnection,
    caller: Key,
    key: &str,
    answer: &StoredAnswer,
    now: Timestamp,
) -> StoreResult<()> {
    const STORE: &str = "insert into answer (caller, key, request, status, body, at) values ($1, $2, $3, $4, $5, $6) \
        on conflict (caller, key) do update set request = excluded.request, status = excluded.status, \
        body = excluded.body, at = excluded.at where answer.at <= $7";
    let query = sqlx::query(STORE).bind(&caller.0[..]).bind(key).bind(&answer.request[..]);
    let query = query.bind(i64::from(answer.status)).bind(&answer.body).bind(now.0).bind(now.0 - ANSWER_LIFE_MS);
    query.execute(conn).await?;
    Ok(())
}

/// A fact of the database itself.
pub(in super::super) async fn meta(conn: &mut PgConnection, name: &str) -> StoreResult<Option<Vec<u8>>> {
    const META: &str = "select value from meta where name = $1";
    let row = sqlx::query(META).bind(name).fetch_optional(conn).await?;
    row.map(|row| Fields::of(&row).bytes()).transpose()
}

/// Sets such a fact.
pub(in super::super) async fn set_meta(conn: &mut PgConnection, name: &str, value: &[u8]) -> StoreResult<()> {
    const SET: &str =
        "insert into meta (name, value) values ($1, $2) on conflict (name) do update set value = excluded.value";
    one_row(conn, sqlx::query(SET).bind(name).bind(value)).await
}

/// Sets such a fact if it is not there, and answers what stands.
pub(in super::super) async fn first_meta(conn: &mut PgConnection, name: &str, value: &[u8]) -> StoreResult<Vec<u8>> {
    const FIRST: &str = "insert into meta (name, value) values ($1, $2) on conflict (name) do nothing";
    const STANDS: &str = "select value from meta where name = $1";
    sqlx::query(FIRST).bind(name).bind(value).execute(&mut *conn).await?;
    let row = sqlx::query(STANDS).bind(name).fetch_one(conn).await?;
    Fields::of(&row).bytes()
}
