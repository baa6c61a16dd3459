//! Inbound requests: raw ones kept beside their events, parked ones, rejections.

use sqlx::SqliteConnection;

use super::{
    accept::bytes,
    direct::{Each, WriteConnection},
    registry::require_tenant,
    row::{Fields, inconsistent},
    sql::{Rows, one_row},
};
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
fn write_headers(headers: &[(String, Vec<u8>)]) -> String {
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

/// Keeps the requests that events came from.
pub(super) fn keep(conn: &mut WriteConnection, requests: &[&RawRequest]) -> StoreResult<()> {
    static KEEP: Each = Each(
        "insert into raw_request (key, tenant, source_id, method, url, headers, body, received_at, remote_addr, \
         correlation_id) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    );
    KEEP.write(conn, requests, |query, request| {
        query
            .bind(&request.key.0[..])
            .bind(request.tenant.as_str())
            .bind(&*request.source_id)
            .bind(&*request.method)
            .bind(&*request.url)
            .bind(write_headers(&request.headers))
            .bind(&request.body[..])
            .bind(request.received_at.0)
            .bind(request.remote_addr.as_deref())
            .bind(&*request.correlation_id)
    })?;
    Ok(())
}

/// The tenant or app whose source took a request is there.
async fn require_owner(conn: &mut SqliteConnection, owner: &TenantId) -> StoreResult<()> {
    const EXISTS: &str = "select 1 from app where key = ?";
    let Some(app) = owner.app() else { return require_tenant(conn, owner).await };
    let row = sqlx::query(EXISTS).bind(bytes(app)).fetch_optional(conn).await?;
    row.map(drop).ok_or(StoreError::NotFound)
}

/// Parks a request, or notes another try of one that is parked. Answers how many of its source had to go.
pub(super) async fn park(conn: &mut SqliteConnection, parked: ParkedRequest) -> StoreResult<u64> {
    const PARK: &str = "insert into parked (key, tenant, plugin, source_id, method, url, headers, body, bytes, \
        received_at, remote_addr, correlation_id, reason, code, message, tries) \
        values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    // Newest first, a request goes when those from it on are too many or too large.
    const CAP: &str = "delete from parked where key in (select key from (select key, \
          row_number() over newest as place, sum(bytes) over newest as held \
          from parked where tenant = ?1 and source_id = ?2 window newest as (order by key desc)) \
        where place > ?3 or (held > ?4 and place > 1))";
    if parked.tries > 1 {
        return note_try(conn, parked).await;
    }
    let request = parked.request;
    // It was judged while its tenant or app was deleted: nobody would ever find it.
    require_owner(conn, &request.tenant).await?;
    let size = request.body.len() + request.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let (tenant, source) = (request.tenant.as_str().to_owned(), request.source_id.clone());
    let query = sqlx::query(PARK)
        .bind(bytes(request.key))
        .bind(tenant.clone())
        .bind(parked.plugin)
        .bind(request.source_id)
        .bind(request.method)
        .bind(request.url)
        .bind(write_headers(&request.headers))
        .bind(request.body.to_vec())
        .bind(i64::try_from(size).unwrap_or(i64::MAX))
        .bind(request.received_at.0)
        .bind(request.remote_addr)
        .bind(request.correlation_id)
        .bind(parked.failure.reason.as_str())
        .bind(parked.failure.code)
        .bind(parked.failure.message)
        .bind(i64::from(parked.tries));
    one_row(conn, query).await?;
    let gone =
        sqlx::query(CAP).bind(tenant).bind(source).bind(PARKED_REQUESTS).bind(PARKED_BYTES).execute(conn).await?;
    Ok(gone.rows_affected())
}

/// Notes another try of a request that is still parked. One that was judged meanwhile does not come back.
async fn note_try(conn: &mut SqliteConnection, parked: ParkedRequest) -> StoreResult<u64> {
    const NOTE: &str = "update parked set reason = ?, code = ?, message = ?, tries = ? where tenant = ? and key = ?";
    let query = sqlx::query(NOTE)
        .bind(parked.failure.reason.as_str())
        .bind(parked.failure.code)
        .bind(parked.failure.message)
        .bind(i64::from(parked.tries))
        .bind(parked.request.tenant.as_str().to_owned())
        .bind(bytes(parked.request.key));
    query.execute(conn).await?;
    Ok(0)
}

/// The parked requests of an installation, oldest first.
pub(super) async fn parked_due(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    plugin: &str,
    limit: u32,
) -> StoreResult<Vec<ParkedRequest>> {
    const DUE: &str = "select key, tenant, source_id, method, url, headers, body, received_at, remote_addr, \
        correlation_id, plugin, reason, code, message, tries from parked \
        where tenant = ? and plugin = ? order by key limit ?";
    let query = sqlx::query(DUE).bind(tenant.as_str().to_owned()).bind(plugin.to_owned()).bind(limit);
    let rows = query.fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
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
        })
        .collect()
}

/// Which installations have parked requests, and how many.
pub(super) async fn parked_installations(conn: &mut SqliteConnection) -> StoreResult<Vec<Parked>> {
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
pub(super) async fn forget(conn: &mut SqliteConnection, tenant: &TenantId, key: Key) -> StoreResult<bool> {
    const FORGET: &str = "delete from parked where tenant = ? and key = ?";
    let query = sqlx::query(FORGET).bind(tenant.as_str().to_owned()).bind(bytes(key));
    Ok(query.execute(conn).await?.rows_affected() > 0)
}

/// Removes a parked request.
pub(super) async fn unpark(conn: &mut SqliteConnection, tenant: &TenantId, key: Key) -> StoreResult<()> {
    if forget(conn, tenant, key).await? { Ok(()) } else { Err(StoreError::NotFound) }
}

/// Keeps rejections, drops the oldest of their sources and counts all.
pub(super) async fn reject(conn: &mut SqliteConnection, rejections: Vec<Rejection>) -> StoreResult<()> {
    static KEEP: Rows = Rows::new(
        "insert or ignore into rejection (tenant, key, source_id, at, status, code, reason, bytes, remote_addr, \
         correlation_id) values ",
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "",
    );
    const CAP: &str = "delete from rejection where tenant = ?1 and source_id = ?2 and key <= \
        (select key from rejection where tenant = ?1 and source_id = ?2 order by key desc limit 1 offset ?3)";
    const COUNT: &str = "insert into rejection_count (tenant, source_id, total) values (?, ?, ?) \
        on conflict do update set total = total + excluded.total";
    let mut kept = Vec::with_capacity(rejections.len());
    for rejection in rejections {
        match require_owner(conn, &rejection.tenant).await {
            Ok(()) => kept.push(rejection),
            // Its tenant or app was deleted meanwhile.
            Err(StoreError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    let rejections = kept;
    KEEP.write(conn, &rejections, |query, rejection| {
        query
            .bind(rejection.tenant.as_str().to_owned())
            .bind(bytes(rejection.key))
            .bind(rejection.source_id.clone())
            .bind(rejection.at.0)
            .bind(i64::from(rejection.status))
            .bind(rejection.code.clone())
            .bind(rejection.reason.clone())
            .bind(i64::try_from(rejection.bytes).unwrap_or(i64::MAX))
            .bind(rejection.remote_addr.clone())
            .bind(rejection.correlation_id.clone())
    })
    .await?;
    let mut sources = std::collections::BTreeMap::new();
    for rejection in &rejections {
        *sources.entry((&rejection.tenant, &rejection.source_id)).or_insert(0_i64) += 1;
    }
    for ((tenant, source), count) in sources {
        let bound = |sql| sqlx::query(sql).bind(tenant.as_str().to_owned()).bind(source.clone());
        bound(CAP).bind(REJECTIONS).execute(&mut *conn).await?;
        bound(COUNT).bind(count).execute(&mut *conn).await?;
    }
    Ok(())
}
