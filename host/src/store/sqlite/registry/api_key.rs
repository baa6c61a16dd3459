//! API keys, stored answers of idempotent requests, and facts of the database itself.

use sqlx::SqliteConnection;

use super::{
    super::{
        accept::bytes,
        row::{Fields, inconsistent},
        sql::one_row,
    },
    audit, word,
};
use crate::{
    clock::Timestamp,
    id::Key,
    store::{
        StoreResult,
        registry::{ApiKeyRow, AuditEntry, StoredAnswer},
    },
};

/// How long an answer is kept.
pub(in super::super) const ANSWER_LIFE_MS: i64 = 86_400_000;

/// All keys.
pub(in super::super) async fn list(conn: &mut SqliteConnection) -> StoreResult<Vec<ApiKeyRow>> {
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
pub(in super::super) async fn create(
    conn: &mut SqliteConnection,
    new: ApiKeyRow,
    entry: AuditEntry,
) -> StoreResult<()> {
    const CREATE: &str = "insert into api_key (key, hash, hint, name, tenant, scope, emergency, created_at, expires_at) \
        values (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    if let Some(tenant) = &new.tenant {
        super::require_tenant(conn, tenant).await?;
    }
    let query = sqlx::query(CREATE)
        .bind(bytes(new.key))
        .bind(new.hash.to_vec())
        .bind(new.hint)
        .bind(new.name)
        .bind(new.tenant.map(|tenant| tenant.as_str().to_owned()))
        .bind(word(&new.scope)?)
        .bind(new.emergency)
        .bind(new.created_at.0)
        .bind(new.expires_at.map(|at| at.0));
    one_row(conn, query).await?;
    audit::write(conn, entry).await
}

/// Replaces name, hash, hint and expiry.
pub(in super::super) async fn update(
    conn: &mut SqliteConnection,
    new: ApiKeyRow,
    entry: AuditEntry,
) -> StoreResult<()> {
    const UPDATE: &str = "update api_key set hash = ?, hint = ?, name = ?, expires_at = ? where key = ?";
    let query = sqlx::query(UPDATE).bind(new.hash.to_vec()).bind(new.hint).bind(new.name);
    one_row(conn, query.bind(new.expires_at.map(|at| at.0)).bind(bytes(new.key))).await?;
    audit::write(conn, entry).await
}

/// Removes a key.
pub(in super::super) async fn delete(conn: &mut SqliteConnection, key: Key, entry: AuditEntry) -> StoreResult<()> {
    const DELETE: &str = "delete from api_key where key = ?";
    one_row(conn, sqlx::query(DELETE).bind(bytes(key))).await?;
    audit::write(conn, entry).await
}

/// Notes when keys were last used; one that is gone is skipped.
pub(in super::super) async fn touch(conn: &mut SqliteConnection, used: Vec<(Key, Timestamp)>) -> StoreResult<()> {
    const TOUCH: &str = "update api_key set last_used_at = max(coalesce(last_used_at, 0), ?) where key = ?";
    for (key, at) in used {
        sqlx::query(TOUCH).bind(at.0).bind(bytes(key)).execute(&mut *conn).await?;
    }
    Ok(())
}

/// The answer stored under a caller's `Idempotency-Key`, if it is young enough.
pub(in super::super) async fn answer(
    conn: &mut SqliteConnection,
    caller: Key,
    key: &str,
    now: Timestamp,
) -> StoreResult<Option<StoredAnswer>> {
    const ANSWER: &str = "select request, status, body from answer where caller = ? and key = ? and at > ?";
    let query = sqlx::query(ANSWER).bind(bytes(caller)).bind(key.to_owned()).bind(now.0 - ANSWER_LIFE_MS);
    let Some(row) = query.fetch_optional(conn).await? else { return Ok(None) };
    let mut fields = Fields::of(&row);
    Ok(Some(StoredAnswer { request: fields.array()?, status: fields.number()?, body: fields.bytes()? }))
}

/// Stores an answer; the first one stands for a day.
pub(in super::super) async fn store_answer(
    conn: &mut SqliteConnection,
    caller: Key,
    key: String,
    answer: StoredAnswer,
    now: Timestamp,
) -> StoreResult<()> {
    const STORE: &str = "insert into answer (caller, key, request, status, body, at) values (?1, ?2, ?3, ?4, ?5, ?6) \
        on conflict do update set request = excluded.request, status = excluded.status, body = excluded.body, \
        at = excluded.at where answer.at <= ?7";
    let query = sqlx::query(STORE).bind(bytes(caller)).bind(key).bind(answer.request.to_vec());
    let query = query.bind(i64::from(answer.status)).bind(answer.body).bind(now.0).bind(now.0 - ANSWER_LIFE_MS);
    query.execute(conn).await?;
    Ok(())
}

/// A fact of the database itself.
pub(in super::super) async fn meta(conn: &mut SqliteConnection, name: &str) -> StoreResult<Option<Vec<u8>>> {
    const META: &str = "select value from meta where name = ?";
    let row = sqlx::query(META).bind(name.to_owned()).fetch_optional(conn).await?;
    row.map(|row| Fields::of(&row).bytes()).transpose()
}

/// Sets such a fact.
pub(in super::super) async fn set_meta(conn: &mut SqliteConnection, name: String, value: Vec<u8>) -> StoreResult<()> {
    const SET: &str = "insert into meta (name, value) values (?, ?) on conflict do update set value = excluded.value";
    one_row(conn, sqlx::query(SET).bind(name).bind(value)).await
}

/// Sets such a fact if it is not there, and answers what stands.
pub(in super::super) async fn first_meta(
    conn: &mut SqliteConnection,
    name: String,
    value: Vec<u8>,
) -> StoreResult<Vec<u8>> {
    if let Some(stands) = meta(conn, &name).await? {
        return Ok(stands);
    }
    set_meta(conn, name, value.clone()).await?;
    Ok(value)
}
