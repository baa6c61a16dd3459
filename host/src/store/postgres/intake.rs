//! Inbound requests: parked ones, and rejections.

use std::collections::BTreeMap;

use sqlx::{PgConnection, postgres::PgRow};

use super::row::{Fields, inconsistent};
use crate::{
    event::TenantId,
    id::Key,
    store::{
        StoreError, StoreResult,
        ledger::{Parked, ParkedRequest, RawRequest, Rejection},
    },
};

/// How many parked requests a source may hold.
const PARKED_REQUESTS: i64 = 1000;

/// How many bytes of parked requests a source may hold.
const PARKED_BYTES: i64 = 64 << 20;

/// How many rejections of a source are kept.
const REJECTIONS: i64 = 1000;

/// Header fields as JSON pairs. Values are bytes; as Latin-1 each byte is one character, and nothing is lost.
pub(super) fn write_headers(headers: &[(String, Vec<u8>)]) -> String {
    let pairs: Vec<(&str, String)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.iter().map(|byte| char::from(*byte)).collect()))
        .collect();
    serde_json::to_string(&pairs).unwrap_or_default()
}

fn read_headers(text: &str) -> StoreResult<Vec<(String, Vec<u8>)>> {
    let pairs: Vec<(String, String)> = serde_json::from_str(text).map_err(|_| inconsistent("header list"))?;
    pairs
        .into_iter()
        .map(|(name, value)| {
            let value: Result<Vec<u8>, _> = value.chars().map(|char| u8::try_from(u32::from(char))).collect();
            Ok((name, value.map_err(|_| inconsistent("header value"))?))
        })
        .collect()
}

/// The tenant or app whose source took a request is there, and stays until the transaction ends.
async fn require_owner(conn: &mut PgConnection, owner: &TenantId) -> StoreResult<()> {
    const APP: &str = "select 1 from app where key = $1 for key share";
    const TENANT: &str = "select 1 from tenant where id = $1 for key share";
    let row = match owner.app() {
        Some(app) => sqlx::query(APP).bind(&app.0[..]).fetch_optional(conn).await?,
        None => sqlx::query(TENANT).bind(owner.as_str()).fetch_optional(conn).await?,
    };
    row.map(drop).ok_or(StoreError::NotFound)
}

/// Those who write to one source's capped rows come one after the other, on whichever node: each then counts what the
/// one before has left.
async fn alone_at_source(conn: &mut PgConnection, owner: &TenantId, source: &str) -> StoreResult<()> {
    const LOCK: &str = "select pg_advisory_xact_lock(hashtextextended('source ' || $1 || ' ' || $2, 0))";
    sqlx::query(LOCK).bind(owner.as_str()).bind(source).execute(conn).await?;
    Ok(())
}

/// Parks a request, or notes another try of one that is parked. Answers how many of its source had to go.
pub(super) async fn park(conn: &mut PgConnection, parked: &ParkedRequest) -> StoreResult<u64> {
    const PARK: &str = "insert into parked (key, tenant, plugin, source_id, method, url, headers, body, bytes, \
        received_at, remote_addr, correlation_id, reason, code, message, tries) \
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
    // Newest first, a request goes when those from it on are too many or too large. They go oldest first, so that two
    // who remove the same ones do not hold each other up.
    const CAP: &str = "delete from parked where key in (select p.key from parked p join (select key, \
          row_number() over newest as place, sum(bytes) over newest as held \
          from parked where tenant = $1 and source_id = $2 window newest as (order by key desc)) as counted \
          on counted.key = p.key where place > $3 or (held > $4 and place > 1) order by p.key for update of p)";
    if parked.tries > 1 {
        return note_try(conn, parked).await;
    }
    let request = &parked.request;
    // It was judged while its tenant or app was deleted: nobody would ever find it.
    require_owner(conn, &request.tenant).await?;
    alone_at_source(conn, &request.tenant, &request.source_id).await?;
    let size = request.body.len() + request.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    sqlx::query(PARK)
        .bind(&request.key.0[..])
        .bind(request.tenant.as_str())
        .bind(&parked.plugin)
        .bind(&request.source_id)
        .bind(&request.method)
        .bind(&request.url)
        .bind(write_headers(&request.headers))
        .bind(&request.body[..])
        .bind(i64::try_from(size).unwrap_or(i64::MAX))
        .bind(request.received_at.0)
        .bind(request.remote_addr.as_deref())
        .bind(&*request.correlation_id)
        .bind(parked.failure.reason.as_str())
        .bind(&parked.failure.code)
        .bind(&parked.failure.message)
        .bind(i64::from(parked.tries))
        .execute(&mut *conn)
        .await?;
    let cap = sqlx::query(CAP).bind(request.tenant.as_str()).bind(&request.source_id);
    Ok(cap.bind(PARKED_REQUESTS).bind(PARKED_BYTES).execute(conn).await?.rows_affected())
}

/// Notes another try of a request that is still parked. One that was judged meanwhile does not come back.
async fn note_try(conn: &mut PgConnection, parked: &ParkedRequest) -> StoreResult<u64> {
    const NOTE: &str =
        "update parked set reason = $1, code = $2, message = $3, tries = $4 where tenant = $5 and key = $6";
    sqlx::query(NOTE)
        .bind(parked.failure.reason.as_str())
        .bind(&parked.failure.code)
        .bind(&parked.failure.message)
        .bind(i64::from(parked.tries))
        .bind(parked.request.tenant.as_str())
        .bind(&parked.request.key.0[..])
        .execute(conn)
        .await?;
    Ok(0)
}

/// The parked requests of an installation, oldest first.
pub(super) async fn parked_due(
    conn: &mut PgConnection,
    tenant: &TenantId,
    plugin: &str,
    limit: u32,
) -> StoreResult<Vec<ParkedRequest>> {
    const DUE: &str = "select key, tenant, source_id, method, url, headers, body, received_at, remote_addr, \
        correlation_id, plugin, reason, code, message, tries from parked \
        where tenant = $1 and plugin = $2 order by key limit $3";
    let rows = sqlx::query(DUE).bind(tenant.as_str()).bind(plugin).bind(i64::from(limit)).fetch_all(conn).await?;
    rows.iter().map(read_parked).collect()
}

fn read_parked(row: &PgRow) -> StoreResult<ParkedRequest> {
    let mut fields = Fields::of(row);
    let request = RawRequest {
        key: fields.key()?,
        tenant: fields.owner()?,
        source_id: fields.text()?,
        method: fields.text()?,
        url: fields.text()?,
        headers: read_headers(fields.str()?)?,
        body: fields.bytes()?.into(),
        received_at: fields.time()?,
        remote_addr: fields.opt_text()?,
        correlation_id: fields.shared()?,
    };
    let plugin = fields.text()?;
    let failure = fields.failure()?.ok_or_else(|| inconsistent("reason"))?;
    Ok(ParkedRequest { request, plugin, failure, tries: fields.number()? })
}

/// Which installations have parked requests, and how many.
pub(super) async fn parked_installations(conn: &mut PgConnection) -> StoreResult<Vec<Parked>> {
    const COUNTS: &str = "select tenant, plugin, count(*) from parked group by tenant, plugin";
    let rows = sqlx::query(COUNTS).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok(Parked { tenant: fields.owner()?, plugin: fields.text()?, count: fields.number()? })
        })
        .collect()
}

/// Removes a parked request if it is still there; answers whether it was.
pub(super) async fn forget(conn: &mut PgConnection, tenant: &TenantId, key: Key) -> StoreResult<bool> {
    const FORGET: &str = "delete from parked where tenant = $1 and key = $2";
    let query = sqlx::query(FORGET).bind(tenant.as_str()).bind(&key.0[..]);
    Ok(query.execute(conn).await?.rows_affected() > 0)
}

/// Removes a parked request.
pub(super) async fn unpark(conn: &mut PgConnection, tenant: &TenantId, key: Key) -> StoreResult<()> {
    if forget(conn, tenant, key).await? { Ok(()) } else { Err(StoreError::NotFound) }
}

/// Keeps rejections, drops the oldest of their sources and counts all.
pub(super) async fn reject(conn: &mut PgConnection, rejections: &[Rejection]) -> StoreResult<()> {
    const CAP: &str = "delete from rejection where tenant = $1 and key in (select key from rejection \
        where tenant = $1 and source_id = $2 and key <= (select key from rejection \
          where tenant = $1 and source_id = $2 order by key desc limit 1 offset $3) order by key for update)";
    const COUNT: &str = "insert into rejection_count as c (tenant, source_id, total) values ($1, $2, $3) \
        on conflict (tenant, source_id) do update set total = c.total + excluded.total";
    let mut sources: BTreeMap<(&TenantId, &str), Vec<&Rejection>> = BTreeMap::new();
    for rejection in rejections {
        sources.entry((&rejection.tenant, &rejection.source_id)).or_default().push(rejection);
    }
    for ((tenant, source), rejections) in sources {
        match require_owner(conn, tenant).await {
            Ok(()) => {}
            // Its tenant or app was deleted meanwhile.
            Err(StoreError::NotFound) => continue,
            Err(error) => return Err(error),
        }
        alone_at_source(conn, tenant, source).await?;
        keep_rejections(conn, tenant, source, &rejections).await?;
        sqlx::query(CAP).bind(tenant.as_str()).bind(source).bind(REJECTIONS).execute(&mut *conn).await?;
        let count = i64::try_from(rejections.len()).unwrap_or(i64::MAX);
        sqlx::query(COUNT).bind(tenant.as_str()).bind(source).bind(count).execute(&mut *conn).await?;
    }
    Ok(())
}

async fn keep_rejections(
    conn: &mut PgConnection,
    tenant: &TenantId,
    source: &str,
    rejections: &[&Rejection],
) -> StoreResult<()> {
    const KEEP: &str = "insert into rejection (tenant, key, source_id, at, status, code, reason, bytes, remote_addr, \
          correlation_id) \
        select $1, key, $2, at, status, code, reason, bytes, remote_addr, correlation_id \
        from unnest($3::bytea[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::bigint[], $9::text[], $10::text[]) \
          as refused (key, at, status, code, reason, bytes, remote_addr, correlation_id) \
        on conflict (tenant, key) do nothing";
    let bytes = |one: &&Rejection| i64::try_from(one.bytes).unwrap_or(i64::MAX);
    sqlx::query(KEEP)
        .bind(tenant.as_str())
        .bind(source)
        .bind(rejections.iter().map(|one| one.key.0).collect::<Vec<_>>())
        .bind(rejections.iter().map(|one| one.at.0).collect::<Vec<_>>())
        .bind(rejections.iter().map(|one| i64::from(one.status)).collect::<Vec<_>>())
        .bind(rejections.iter().map(|one| &*one.code).collect::<Vec<_>>())
        .bind(rejections.iter().map(|one| &*one.reason).collect::<Vec<_>>())
        .bind(rejections.iter().map(bytes).collect::<Vec<_>>())
        .bind(rejections.iter().map(|one| one.remote_addr.as_deref()).collect::<Vec<_>>())
        .bind(rejections.iter().map(|one| &*one.correlation_id).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}
