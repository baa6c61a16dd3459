//! What goes: old events with all that hangs on them, old dedupe keys, and the rows of removed tenants.

use sqlx::SqliteConnection;

use super::{accept::bytes, registry::api_key::ANSWER_LIFE_MS, row::Fields, sql::Rows};
use crate::{clock::Timestamp, id::Key, store::StoreResult};

/// How many events of a removed tenant go in one transaction.
const LEAVING_EVENTS: i64 = 500;

/// How many dedupe keys one call looks at. The walk goes on where it stopped, so all are looked at in turn.
const DEDUPE_STEP: i64 = 20_000;

/// Deletes old events without live deliveries, the oldest first.
pub(super) async fn events(conn: &mut SqliteConnection, before: Timestamp, limit: u32) -> StoreResult<u64> {
    // In the order of storing, which is nearly that of `accepted_at`: the walk ends within the limit.
    const OLD: &str = "select e.seq, e.key from event e where e.accepted_at < ?1 \
        and not exists (select 1 from delivery d where d.event = e.key and d.state in (0, 1, 2)) \
        order by e.seq limit ?2";
    let rows = sqlx::query(OLD).bind(before.0).bind(limit).fetch_all(&mut *conn).await?;
    delete(conn, &keys(&rows)?).await?;
    requests(conn, before, limit).await?;
    Ok(rows.len() as u64)
}

fn keys(rows: &[sqlx::sqlite::SqliteRow]) -> StoreResult<Vec<(i64, Key)>> {
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok((fields.int()?, fields.key()?))
        })
        .collect()
}

async fn delete(conn: &mut SqliteConnection, events: &[(i64, Key)]) -> StoreResult<()> {
    static ATTEMPTS: Rows =
        Rows::new("delete from attempt where delivery in (select key from delivery where event in (", "?", "))");
    static JOURNALS: Rows =
        Rows::new("delete from journal where delivery in (select key from delivery where event in (", "?", "))");
    static DELIVERIES: Rows = Rows::new("delete from delivery where event in (", "?", ")");
    static PERSONS: Rows = Rows::new("delete from person_index where event in (", "?", ")");
    static EVENTS: Rows = Rows::new("delete from event where seq in (", "?", ")");
    for statement in [&ATTEMPTS, &JOURNALS, &DELIVERIES, &PERSONS] {
        statement.write(conn, events, |query, (_, key)| query.bind(bytes(*key))).await?;
    }
    EVENTS.write_all(conn, events, |query, (seq, _)| query.bind(*seq)).await
}

/// Deletes old requests that no event of their correlation id is left of.
async fn requests(conn: &mut SqliteConnection, before: Timestamp, limit: u32) -> StoreResult<()> {
    const REQUESTS: &str = "delete from raw_request where seq in (select r.seq from raw_request r \
        where r.received_at < ?1 and not exists (select 1 from event e \
          where e.tenant = r.tenant and e.correlation_id = r.correlation_id) \
        order by r.seq limit ?2)";
    sqlx::query(REQUESTS).bind(before.0).bind(limit).execute(conn).await?;
    Ok(())
}

/// Where the walk over the dedupe keys stopped.
pub(super) type DedupeCursor = Option<(String, String, String)>;

/// Looks at the next dedupe keys and deletes those that are old. Answers where to go on.
pub(super) async fn dedupes(
    conn: &mut SqliteConnection,
    before: Timestamp,
    from: DedupeCursor,
) -> StoreResult<DedupeCursor> {
    const END: &str = "select tenant, scope, key from dedupe where (tenant, scope, key) > (?, ?, ?) \
        order by tenant, scope, key limit 1 offset ?";
    const DELETE: &str = "delete from dedupe where (tenant, scope, key) > (?1, ?2, ?3) \
        and (?4 is null or (tenant, scope, key) <= (?4, ?5, ?6)) and at < ?7";
    let (tenant, scope, key) = from.unwrap_or_default();
    let started = |sql| sqlx::query(sql).bind(tenant.clone()).bind(scope.clone()).bind(key.clone());
    let end = started(END).bind(DEDUPE_STEP).fetch_optional(&mut *conn).await?;
    let end = end
        .map(|row| {
            let mut fields = Fields::of(&row);
            Ok::<_, crate::store::StoreError>((fields.text()?, fields.text()?, fields.text()?))
        })
        .transpose()?;
    let (to_tenant, to_scope, to_key) = match end.clone() {
        Some((tenant, scope, key)) => (Some(tenant), Some(scope), Some(key)),
        None => (None, None, None),
    };
    let query = started(DELETE).bind(to_tenant).bind(to_scope).bind(to_key).bind(before.0);
    query.execute(conn).await?;
    Ok(end)
}

/// Deletes kv tombstones and expired values older than `before`, and answers whose day is over.
pub(super) async fn small_things(conn: &mut SqliteConnection, before: Timestamp, limit: u32) -> StoreResult<()> {
    const KV: &str = "delete from kv where (tenant, plugin, key) in (select tenant, plugin, key from kv \
        where (value is null or expires_at is not null) and updated_at < ?1 \
          and (value is null or expires_at < ?1) limit ?2)";
    const ANSWERS: &str = "delete from answer where (caller, key) in \
        (select caller, key from answer where at < ? order by at limit ?)";
    sqlx::query(KV).bind(before.0).bind(limit).execute(&mut *conn).await?;
    let over = before.0.saturating_sub(ANSWER_LIFE_MS);
    sqlx::query(ANSWERS).bind(over).bind(limit).execute(conn).await?;
    Ok(())
}

/// One small step of removing the tenants that are leaving; answers whether there is more to do.
pub(super) async fn leaving(conn: &mut SqliteConnection) -> StoreResult<bool> {
    const NEXT: &str = "select tenant from tenant_removal limit 1";
    const EVENTS: &str = "select seq, key from event where tenant = ? limit ?";
    const GONE: &str = "delete from tenant_removal where tenant = ?";
    /// Tables whose rows of a tenant are few, or narrow, enough to go by their first column in pieces.
    const REST: [&str; 7] = [
        "delete from dedupe where (tenant, scope, key) in (select tenant, scope, key from dedupe where tenant = ?1 limit ?2)",
        "delete from raw_request where seq in (select seq from raw_request where tenant = ?1 limit ?2)",
        "delete from parked where key in (select key from parked where tenant = ?1 limit ?2)",
        "delete from rejection where (tenant, key) in (select tenant, key from rejection where tenant = ?1 limit ?2)",
        "delete from rejection_count where tenant = ?1 and ?2 > 0",
        "delete from kv where (tenant, plugin, key) in (select tenant, plugin, key from kv where tenant = ?1 limit ?2)",
        "delete from person_index where (tenant, hash, event) in \
         (select tenant, hash, event from person_index where tenant = ?1 limit ?2)",
    ];
    let Some(row) = sqlx::query(NEXT).fetch_optional(&mut *conn).await? else { return Ok(false) };
    let tenant = Fields::of(&row).text()?;
    let rows = sqlx::query(EVENTS).bind(tenant.clone()).bind(LEAVING_EVENTS).fetch_all(&mut *conn).await?;
    if !rows.is_empty() {
        delete(conn, &keys(&rows)?).await?;
        return Ok(true);
    }
    for statement in REST {
        let query = sqlx::query(statement).bind(tenant.clone()).bind(LEAVING_EVENTS);
        if query.execute(&mut *conn).await?.rows_affected() > 0 {
            return Ok(true);
        }
    }
    sqlx::query(GONE).bind(tenant).execute(conn).await?;
    Ok(true)
}
