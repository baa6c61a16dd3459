//! What goes: old events with all that hangs on them, old dedupe keys, and the rows of removed tenants.

use sqlx::SqliteConnection;

use super::{accept::bytes, registry::api_key::ANSWER_LIFE_MS, row::Fields, sql::Rows};
use crate::{
    clock::Timestamp,
    id::Key,
    queue::state::State,
    store::{StoreResult, policy::kept_since},
};

/// How many events of a removed tenant go in one transaction.
const LEAVING_EVENTS: i64 = 500;

/// How many dedupe keys one call looks at. The walk goes on where it stopped, so all are looked at in turn.
const DEDUPE_STEP: i64 = 20_000;

/// An event that goes.
struct Going {
    seq: i64,
    key: Key,
    tenant: String,
    correlation_id: String,
    /// Hashes of 32 bytes, one after the other.
    persons: Option<Vec<u8>>,
}

fn read_going(fields: &mut Fields<'_>) -> StoreResult<Going> {
    Ok(Going {
        seq: fields.int()?,
        key: fields.key()?,
        tenant: fields.text()?,
        correlation_id: fields.text()?,
        persons: fields.opt_bytes()?,
    })
}

/// In the order of storing, which is nearly that of `accepted_at`.
pub(super) const OLDEST: &str = "select e.seq, e.key, e.tenant, e.correlation_id, e.persons, e.accepted_at < ?1, \
    exists (select 1 from delivery d where d.event = e.key and d.state in (0, 1, 2)) \
    from event e where e.seq > ?2 order by e.seq limit ?3";

/// Looks at the events stored after `from` and deletes those that are old and have no live delivery. Answers how many
/// went and where to go on: events that stay are not looked at again before the walk has reached the young ones.
pub(super) async fn events(
    conn: &mut SqliteConnection,
    before: Timestamp,
    from: i64,
    limit: u32,
) -> StoreResult<(u64, i64)> {
    let rows = sqlx::query(OLDEST).bind(before.0).bind(from).bind(limit).fetch_all(&mut *conn).await?;
    let (mut going, mut next) = (Vec::new(), 0);
    for row in &rows {
        let mut fields = Fields::of(row);
        let event = read_going(&mut fields)?;
        let (old, live) = (fields.flag()?, fields.flag()?);
        next = if old { event.seq } else { 0 };
        if old && !live {
            going.push(event);
        } else if !old {
            break;
        }
    }
    if rows.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
        next = 0;
    }
    delete(conn, &going).await?;
    Ok((going.len() as u64, next))
}

async fn delete(conn: &mut SqliteConnection, events: &[Going]) -> StoreResult<()> {
    static ATTEMPTS: Rows =
        Rows::new("delete from attempt where delivery in (select key from delivery where event in (", "?", "))");
    static JOURNALS: Rows =
        Rows::new("delete from journal where delivery in (select key from delivery where event in (", "?", "))");
    static SHADOWS: Rows =
        Rows::new("delete from shadow_run where delivery in (select key from delivery where event in (", "?", "))");
    static DELIVERIES: Rows = Rows::new("delete from delivery where event in (", "?", ")");
    static PERSONS: Rows = Rows::new(
        "with gone (tenant, hash, event) as (values ",
        "(?, ?, ?)",
        ") delete from person_index where (tenant, hash, event) in (select tenant, hash, event from gone)",
    );
    static EVENTS: Rows = Rows::new("delete from event where seq in (", "?", ")");
    // A request goes with the last event of its correlation id.
    static REQUESTS: Rows = Rows::new(
        "with gone (tenant, correlation_id) as (values ",
        "(?, ?)",
        ") delete from raw_request where seq in (select r.seq from gone cross join raw_request r \
         on r.tenant = gone.tenant and r.correlation_id = gone.correlation_id \
         where not exists (select 1 from event e where e.tenant = r.tenant and e.correlation_id = r.correlation_id \
           and e.correlation_id <> lower(hex(e.key))))",
    );
    for statement in [&ATTEMPTS, &JOURNALS, &SHADOWS, &DELIVERIES] {
        statement.write(conn, events, |query, event| query.bind(bytes(event.key))).await?;
    }
    let named = |event: &Going| -> Vec<_> {
        let hashes = event.persons.as_deref().unwrap_or_default().chunks_exact(32);
        hashes.map(|hash| (event.tenant.clone(), hash.to_vec(), bytes(event.key))).collect()
    };
    let persons: Vec<_> = events.iter().flat_map(named).collect();
    PERSONS
        .write(conn, &persons, |query, (tenant, hash, event)| {
            query.bind(tenant.clone()).bind(hash.clone()).bind(event.clone())
        })
        .await?;
    EVENTS.write_all(conn, events, |query, event| query.bind(event.seq)).await?;
    REQUESTS
        .write(conn, events, |query, event| query.bind(event.tenant.clone()).bind(event.correlation_id.clone()))
        .await?;
    Ok(())
}

/// Where the walk over the dedupe keys stopped.
pub(super) type DedupeCursor = Option<(String, String, String)>;

/// Where the walks of pruning stopped; a restart begins them anew.
#[derive(Default)]
pub(super) struct Walks {
    pub(super) events: i64,
    pub(super) dedupes: DedupeCursor,
}

/// Looks at the next dedupe keys and deletes those that are old. Answers where to go on.
pub(super) async fn dedupes(
    conn: &mut SqliteConnection,
    before: Timestamp,
    from: DedupeCursor,
) -> StoreResult<DedupeCursor> {
    const END: &str = "select tenant, scope, key from dedupe where (tenant, scope, key) > (?, ?, ?) \
        order by tenant, scope, key limit 1 offset ?";
    const REST: &str = "delete from dedupe where (tenant, scope, key) > (?1, ?2, ?3) and at < ?4";
    const PART: &str = "delete from dedupe where (tenant, scope, key) > (?1, ?2, ?3) and at < ?4 \
        and (tenant, scope, key) <= (?5, ?6, ?7)";
    let (tenant, scope, key) = from.unwrap_or_default();
    let started = |sql| sqlx::query(sql).bind(tenant.clone()).bind(scope.clone()).bind(key.clone());
    let end = started(END).bind(DEDUPE_STEP).fetch_optional(&mut *conn).await?;
    let end = end
        .map(|row| {
            let mut fields = Fields::of(&row);
            Ok::<_, crate::store::StoreError>((fields.text()?, fields.text()?, fields.text()?))
        })
        .transpose()?;
    let query = match end.clone() {
        None => started(REST).bind(before.0),
        Some((tenant, scope, key)) => started(PART).bind(before.0).bind(tenant).bind(scope).bind(key),
    };
    query.execute(conn).await?;
    Ok(end)
}

/// Deletes kv tombstones and expired values older than `before`, requests to apps as old, answers whose day is over, and
/// counts of days that no plan looks at any more.
pub(super) async fn small_things(conn: &mut SqliteConnection, before: Timestamp, limit: u32) -> StoreResult<()> {
    const KV: &str = "delete from kv where (tenant, plugin, key) in (select tenant, plugin, key from kv \
        where (value is null or expires_at is not null) and updated_at < ?1 \
          and (value is null or expires_at < ?1) limit ?2)";
    // What came to an app became events of several tenants, and goes by its age alone. The oldest stand first.
    const APPS: &str = "delete from raw_request where seq in (select seq from \
        (select seq, tenant, received_at from raw_request order by seq limit ?2) \
        where substr(tenant, 1, 4) = 'app_' and received_at < ?1)";
    const ANSWERS: &str = "delete from answer where (caller, key) in \
        (select caller, key from answer where at < ? order by at limit ?)";
    const USAGE: &str = "delete from usage where (tenant, day, command) in \
        (select tenant, day, command from usage where day < ? limit ?)";
    sqlx::query(USAGE).bind(kept_since(before)).bind(limit).execute(&mut *conn).await?;
    sqlx::query(KV).bind(before.0).bind(limit).execute(&mut *conn).await?;
    sqlx::query(APPS).bind(before.0).bind(limit).execute(&mut *conn).await?;
    let over = before.0.saturating_sub(ANSWER_LIFE_MS);
    sqlx::query(ANSWERS).bind(over).bind(limit).execute(conn).await?;
    Ok(())
}

/// The first condition is the index's own, the second finds the place in it without a look at what is dead already.
pub(super) const END_LEAVING: &str = "update delivery set state = 4, reason = 'config', code = 'tenant_deleted', \
    message = 'the tenant was deleted', fingerprint = 'tenant_deleted', behind = 0, updated_at = ?2 \
    where key in (select key from delivery where state in (0, 1, 2, 4) and state = ?3 and tenant = ?1 limit ?4)";

/// One small step of removing the tenants that are leaving; answers whether there is more to do. First every live
/// delivery ends, so that nothing of the tenant is found to start, then all rows go.
pub(super) async fn leaving(conn: &mut SqliteConnection, now: Timestamp) -> StoreResult<bool> {
    const NEXT: &str = "select tenant from tenant_removal limit 1";
    const EVENTS: &str = "select seq, key, tenant, correlation_id, persons from event where tenant = ? limit ?";
    const GONE: &str = "delete from tenant_removal where tenant = ?";
    /// Tables whose rows of a tenant are few, or narrow, enough to go by their first column in pieces.
    const REST: [&str; 8] = [
        "delete from dedupe where (tenant, scope, key) in (select tenant, scope, key from dedupe where tenant = ?1 limit ?2)",
        "delete from raw_request where seq in (select seq from raw_request where tenant = ?1 limit ?2)",
        "delete from parked where key in (select key from parked where tenant = ?1 limit ?2)",
        "delete from rejection where (tenant, key) in (select tenant, key from rejection where tenant = ?1 limit ?2)",
        "delete from rejection_count where tenant = ?1 and ?2 > 0",
        "delete from shadow_total where tenant = ?1 and ?2 > 0",
        "delete from kv where (tenant, plugin, key) in (select tenant, plugin, key from kv where tenant = ?1 limit ?2)",
        "delete from person_index where (tenant, hash, event) in \
         (select tenant, hash, event from person_index where tenant = ?1 limit ?2)",
    ];
    let Some(row) = sqlx::query(NEXT).fetch_optional(&mut *conn).await? else { return Ok(false) };
    let tenant = Fields::of(&row).text()?;
    for state in [State::Queued, State::Running, State::Waiting] {
        let query = sqlx::query(END_LEAVING).bind(tenant.clone()).bind(now.0).bind(state.code()).bind(LEAVING_EVENTS);
        if query.execute(&mut *conn).await?.rows_affected() > 0 {
            return Ok(true);
        }
    }
    let rows = sqlx::query(EVENTS).bind(tenant.clone()).bind(LEAVING_EVENTS).fetch_all(&mut *conn).await?;
    if !rows.is_empty() {
        let going: Vec<Going> = rows.iter().map(|row| read_going(&mut Fields::of(row))).collect::<StoreResult<_>>()?;
        delete(conn, &going).await?;
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
