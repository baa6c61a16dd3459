//! A step of a request: what it empties, in one transaction with how far it came.

use sqlx::PgConnection;

use super::super::{
    policy,
    records::act,
    registry::{audit, write::require_tenant},
    row::Fields,
};
use crate::{
    clock::Timestamp,
    event::TenantId,
    id::Key,
    store::{
        StoreError, StoreResult,
        privacy::{Emptied, PrivacyStep},
        records::Touched,
    },
};

/// What stands in place of words that named somebody.
const ERASED: &str = "erased";

/// Writes a step if it is the next one.
pub(super) async fn step(conn: &mut PgConnection, step: &PrivacyStep) -> StoreResult<Option<Touched>> {
    const NEXT: &str = "update privacy_request set progress = $1, standing = $2, turn = turn + 1, due_at = $3, updated_at = $4 \
        where tenant = $5 and key = $6 and turn = $7 and standing = 'running'";
    const PIECE: &str = "insert into privacy_piece (request, number, tenant, sealed) values ($1, $2, $3, $4)";
    require_tenant(conn, &step.tenant).await?;
    let next = sqlx::query(NEXT)
        .bind(&step.progress)
        .bind(step.standing.as_str())
        .bind(step.due_at.0)
        .bind(step.now.0)
        .bind(step.tenant.as_str())
        .bind(step.request.0)
        .bind(i64::try_from(step.turn).unwrap_or(i64::MAX));
    if next.execute(&mut *conn).await?.rows_affected() == 0 {
        return Ok(None);
    }
    if let Some((number, sealed)) = &step.piece {
        let query = sqlx::query(PIECE).bind(step.request.0).bind(i64::from(*number));
        query.bind(step.tenant.as_str()).bind(sealed).execute(&mut *conn).await?;
    }
    let mut touched = Touched::default();
    for emptied in &step.emptied {
        empty(conn, &step.tenant, emptied, step.now, &mut touched).await?;
    }
    if let Some(progress) = &step.ends_exports {
        end_exports(conn, &step.tenant, progress, step.now).await?;
    }
    if let Some(entry) = &step.audit {
        audit::write(conn, entry).await?;
    }
    Ok(Some(touched))
}

async fn end_exports(conn: &mut PgConnection, tenant: &TenantId, progress: &str, now: Timestamp) -> StoreResult<()> {
    const PIECES: &str =
        "delete from privacy_piece where request in (select key from privacy_request where tenant = $1)";
    const ANEW: &str = "update privacy_request set progress = $1, turn = turn + 1, due_at = $2 \
        where tenant = $3 and asked = 'export' and standing = 'running'";
    sqlx::query(PIECES).bind(tenant.as_str()).execute(&mut *conn).await?;
    sqlx::query(ANEW).bind(progress).bind(now.0).bind(tenant.as_str()).execute(conn).await?;
    Ok(())
}

async fn empty(
    conn: &mut PgConnection,
    tenant: &TenantId,
    emptied: &Emptied,
    now: Timestamp,
    touched: &mut Touched,
) -> StoreResult<()> {
    match emptied {
        Emptied::Event { key, data, subject } => {
            let ended = empty_event(conn, tenant, *key, data, subject.as_deref(), now).await?;
            touched.deliveries.extend(ended.deliveries);
            touched.lanes.extend(ended.lanes);
            Ok(())
        }
        Emptied::Delivery { key, message, without_order, attempts, journal } => {
            empty_delivery(conn, tenant, *key, message.as_deref(), *without_order).await?;
            for (number, message, detail) in attempts {
                empty_attempt(conn, *key, *number, message.as_deref(), detail.as_deref()).await?;
            }
            match journal {
                Some(record) => empty_journal(conn, *key, record).await,
                None => Ok(()),
            }
        }
        Emptied::Request { owner, key, correlation_id, url, body } => {
            const REQUEST: &str = "update raw_request set url = $1, headers = '[]', body = $2, remote_addr = null \
                where tenant = $3 and correlation_id = $4 and key = $5";
            let query = sqlx::query(REQUEST).bind(url).bind(body).bind(owner.as_str());
            query.bind(correlation_id).bind(key.0).execute(&mut *conn).await?;
            Ok(())
        }
        Emptied::Parked(key) => empty_parked(conn, tenant, *key).await,
        Emptied::Rejection(key) => {
            const REJECTION: &str =
                "update rejection set reason = $1, remote_addr = null where tenant = $2 and key = $3";
            let query = sqlx::query(REJECTION).bind(ERASED).bind(tenant.as_str()).bind(key.0);
            query.execute(&mut *conn).await?;
            Ok(())
        }
        Emptied::Value { plugin, key, version, value } => {
            empty_value(conn, tenant, (plugin, key), *version, value.as_deref(), now).await
        }
        Emptied::Consents(person) => policy::erase(conn, tenant, person).await,
    }
}

/// Empties an event and cancels what is not over of it, dead letters included: there is nothing left to deliver.
async fn empty_event(
    conn: &mut PgConnection,
    tenant: &TenantId,
    key: Key,
    data: &str,
    subject: Option<&str>,
    now: Timestamp,
) -> StoreResult<Touched> {
    const NAMED: &str = "select persons from event where tenant = $1 and key = $2 for update";
    const UNNAME: &str = "delete from person_index where tenant = $1 and hash = $2 and event = $3";
    const EMPTY: &str = "update event set data = $1, subject = $2, ordering_key = null, extensions = null, persons = null, \
        erased_at = $3 where tenant = $4 and key = $5";
    let id = || tenant.as_str();
    let row = sqlx::query(NAMED).bind(id()).bind(key.0).fetch_optional(&mut *conn).await?;
    // It may have been pruned since it was looked at.
    let Some(row) = row else { return Ok(Touched::default()) };
    let persons = Fields::of(&row).opt_bytes()?.unwrap_or_default();
    for hash in persons.chunks_exact(32) {
        let query = sqlx::query(UNNAME).bind(id()).bind(hash).bind(key.0);
        query.execute(&mut *conn).await?;
    }
    let query = sqlx::query(EMPTY).bind(data).bind(subject).bind(now.0).bind(id()).bind(key.0);
    query.execute(&mut *conn).await?;
    act::end_of_event(conn, tenant, key, now).await
}

async fn empty_delivery(
    conn: &mut PgConnection,
    tenant: &TenantId,
    key: Key,
    message: Option<&str>,
    without_order: bool,
) -> StoreResult<()> {
    const DELIVERY: &str = "update delivery set message = coalesce($1, message), \
        ordering_key = case when $2 and not behind and state in (3, 4, 5) then null else ordering_key end \
        where tenant = $3 and key = $4";
    if message.is_none() && !without_order {
        return Ok(());
    }
    let query = sqlx::query(DELIVERY).bind(message).bind(without_order);
    query.bind(tenant.as_str()).bind(key.0).execute(conn).await?;
    Ok(())
}

async fn empty_attempt(
    conn: &mut PgConnection,
    delivery: Key,
    number: u32,
    message: Option<&str>,
    detail: Option<&str>,
) -> StoreResult<()> {
    const ATTEMPT: &str = "update attempt set message = coalesce($1, message), detail = coalesce($2, detail) \
        where delivery = $3 and number = $4";
    let query = sqlx::query(ATTEMPT).bind(message).bind(detail).bind(delivery.0).bind(i64::from(number));
    query.execute(conn).await?;
    Ok(())
}

/// A journal by which a run may still go on stays.
async fn empty_journal(conn: &mut PgConnection, delivery: Key, record: &[u8]) -> StoreResult<()> {
    const JOURNAL: &str = "update journal set record = $1 where delivery = $2 \
        and exists (select 1 from delivery d where d.key = $2 and d.state in (3, 4, 5))";
    sqlx::query(JOURNAL).bind(record).bind(delivery.0).execute(conn).await?;
    Ok(())
}

/// A parked request becomes a rejection: what is known without its body.
async fn empty_parked(conn: &mut PgConnection, tenant: &TenantId, key: Key) -> StoreResult<()> {
    const REJECTED: &str = "insert into rejection (tenant, key, source_id, at, status, code, reason, bytes, correlation_id) \
        select tenant, key, source_id, received_at, 503, $1, $1, octet_length(body), correlation_id from parked \
        where tenant = $2 and key = $3 on conflict do nothing";
    const COUNTED: &str = "insert into rejection_count as c (tenant, source_id, total) \
        select tenant, source_id, 1 from parked where tenant = $1 and key = $2 \
        on conflict (tenant, source_id) do update set total = c.total + 1";
    const GONE: &str = "delete from parked where tenant = $1 and key = $2";
    let id = || tenant.as_str();
    sqlx::query(REJECTED).bind(ERASED).bind(id()).bind(key.0).execute(&mut *conn).await?;
    sqlx::query(COUNTED).bind(id()).bind(key.0).execute(&mut *conn).await?;
    sqlx::query(GONE).bind(id()).bind(key.0).execute(conn).await?;
    Ok(())
}

/// A value that was written since is looked at again the next time.
async fn empty_value(
    conn: &mut PgConnection,
    tenant: &TenantId,
    (plugin, key): (&str, &str),
    version: u64,
    value: Option<&[u8]>,
    now: Timestamp,
) -> StoreResult<()> {
    const KEEP: &str = "update kv set value = $1, version = version + 1, person = null, updated_at = $2 \
        where tenant = $3 and plugin = $4 and key = $5 and version = $6";
    const GONE: &str = "delete from kv where tenant = $1 and plugin = $2 and key = $3 and version = $4";
    let version = i64::try_from(version).map_err(|_| StoreError::Inconsistent("a version is too large".to_owned()))?;
    let query = match value {
        Some(value) => sqlx::query(KEEP).bind(value).bind(now.0),
        None => sqlx::query(GONE),
    };
    let query = query.bind(tenant.as_str()).bind(plugin).bind(key).bind(version);
    query.execute(conn).await?;
    Ok(())
}
