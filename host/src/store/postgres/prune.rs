//! What goes row by row: old events with all that hangs on them, old dedupe keys, and the rows of removed tenants. Large
//! days go as a whole, see [`retention`](super::retention).

use std::collections::HashSet;

use sqlx::{PgConnection, postgres::PgRow};

use super::{days, registry::api_key::ANSWER_LIFE_MS, rescue::arrays, row::Fields};
use crate::{
    clock::Timestamp,
    id::Key,
    queue::state::State,
    store::{StoreResult, policy::kept_since},
};

/// How many events of a removed tenant go in one transaction.
const LEAVING_EVENTS: i64 = 500;

/// How many dedupe keys, or rows of the person index, one call looks at. The walk goes on where it stopped, so all are
/// looked at in turn.
const STEP: i64 = 20_000;

/// Whoever removes rows takes turns with other nodes that do, until the transaction ends: they would go for the same ones.
pub(super) async fn take_turn(conn: &mut PgConnection) -> StoreResult<()> {
    const TURN: &str = "select pg_advisory_xact_lock($1)";
    sqlx::query(TURN).bind(days::LOCK + 1).execute(conn).await?;
    Ok(())
}

/// An event that goes.
struct Going {
    key: Key,
    tenant: String,
    correlation_id: String,
    /// Hashes of 32 bytes, one after the other.
    persons: Option<Vec<u8>>,
}

fn read_going(fields: &mut Fields<'_>) -> StoreResult<Going> {
    Ok(Going {
        key: fields.key()?,
        tenant: fields.text()?,
        correlation_id: fields.text()?,
        persons: fields.opt_bytes()?,
    })
}

/// Where the walk over the events of a day stopped.
pub(super) type EventCursor = Option<(String, Key)>;

/// The next events of one day, and whether each is old and has no live delivery.
pub(super) const OLDEST: &str = "select e.key, e.tenant, e.correlation_id, e.persons, e.accepted_at < $1, \
    exists (select 1 from delivery d where d.event = e.key and d.state in (0, 1, 2)) \
    from event e where e.key >= $2 and e.key < $3 and (e.tenant, e.key) > ($4, $5) order by e.tenant, e.key limit $6";

/// Looks at the events of a day after `from` and deletes those that are old and have no live delivery. Answers how many
/// went and where to go on: events that stay are not looked at again before the walk has reached the end of the day.
pub(super) async fn events(
    conn: &mut PgConnection,
    day: i64,
    before: Timestamp,
    from: &EventCursor,
    limit: u32,
) -> StoreResult<(u64, EventCursor)> {
    take_turn(conn).await?;
    let (tenant, key) = from.clone().unwrap_or_default();
    let rows = sqlx::query(OLDEST)
        .bind(before.0)
        .bind(days::first_key(day).0)
        .bind(days::first_key(day + 1).0)
        .bind(tenant)
        .bind(key.0)
        .bind(i64::from(limit))
        .fetch_all(&mut *conn)
        .await?;
    let (mut going, mut next) = (Vec::new(), None);
    for row in &rows {
        let mut fields = Fields::of(row);
        let event = read_going(&mut fields)?;
        let (old, live) = (fields.flag()?, fields.flag()?);
        next = Some((event.tenant.clone(), event.key));
        if old && !live {
            going.push(event);
        }
    }
    if rows.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
        next = None;
    }
    Ok((delete(conn, going).await?, next))
}

/// Deletes events with all that hangs on them, unless one of their deliveries came to life meanwhile. Answers how many
/// went.
async fn delete(conn: &mut PgConnection, events: Vec<Going>) -> StoreResult<u64> {
    // Whoever adds deliveries to an event holds it.
    const HOLD: &str = "select e.key from unnest($1::text[], $2::bytea[]) as going (tenant, key) \
        join event e on e.tenant = going.tenant and e.key = going.key order by e.key for update of e";
    const PERSONS: &str = "delete from person_index p using unnest($1::text[], $2::bytea[], $3::bytea[]) \
        as gone (tenant, hash, event) where p.tenant = gone.tenant and p.hash = gone.hash and p.event = gone.event";
    const NAMES: &str = "delete from event_name n using unnest($1::bytea[]) as gone (key) where n.key = gone.key";
    const EVENTS: &str = "delete from event e using unnest($1::text[], $2::bytea[]) as gone (tenant, key) \
        where e.tenant = gone.tenant and e.key = gone.key";
    // A request goes with the last event of its correlation id.
    const REQUESTS: &str = "delete from raw_request r \
        using (select distinct tenant, correlation_id from unnest($1::text[], $2::text[]) as g (tenant, correlation_id)) \
          as gone \
        where r.tenant = gone.tenant and r.correlation_id = gone.correlation_id \
          and not exists (select 1 from event e where e.tenant = r.tenant and e.correlation_id = r.correlation_id \
            and e.correlation_id <> encode(e.key, 'hex'))";
    if events.is_empty() {
        return Ok(0);
    }
    let tenants = |events: &[Going]| events.iter().map(|event| event.tenant.clone()).collect::<Vec<_>>();
    let keys = |events: &[Going]| events.iter().map(|event| event.key.0).collect::<Vec<_>>();
    sqlx::query(HOLD).bind(tenants(&events)).bind(keys(&events)).execute(&mut *conn).await?;
    let alive = delete_deliveries(conn, &events).await?;
    let events: Vec<Going> = events.into_iter().filter(|event| !alive.contains(&event.key)).collect();
    let named: Vec<(&str, &[u8], [u8; 16])> = events
        .iter()
        .flat_map(|event| {
            let hashes = event.persons.as_deref().unwrap_or_default().chunks_exact(32);
            hashes.map(|hash| (&*event.tenant, hash, event.key.0))
        })
        .collect();
    sqlx::query(PERSONS)
        .bind(named.iter().map(|(tenant, ..)| *tenant).collect::<Vec<_>>())
        .bind(named.iter().map(|(_, hash, _)| *hash).collect::<Vec<_>>())
        .bind(named.iter().map(|(.., event)| *event).collect::<Vec<_>>())
        .execute(&mut *conn)
        .await?;
    sqlx::query(NAMES).bind(keys(&events)).execute(&mut *conn).await?;
    let gone = sqlx::query(EVENTS).bind(tenants(&events)).bind(keys(&events)).execute(&mut *conn).await?;
    let correlations: Vec<&str> = events.iter().map(|event| &*event.correlation_id).collect();
    sqlx::query(REQUESTS).bind(tenants(&events)).bind(correlations).execute(conn).await?;
    Ok(gone.rows_affected())
}

/// Deletes the deliveries of events, save of those that have a live one; answers those.
async fn delete_deliveries(conn: &mut PgConnection, events: &[Going]) -> StoreResult<HashSet<Key>> {
    const DELIVERIES: &str = "select d.key, d.event, d.state in (0, 1, 2) from unnest($1::bytea[]) as going (event) \
        join delivery d on d.event = going.event order by d.key for update of d";
    let rows = sqlx::query(DELIVERIES)
        .bind(events.iter().map(|event| event.key.0).collect::<Vec<_>>())
        .fetch_all(&mut *conn)
        .await?;
    let read = |row: &PgRow| {
        let mut fields = Fields::of(row);
        Ok((fields.key()?, fields.key()?, fields.flag()?))
    };
    let found: Vec<(Key, Key, bool)> = rows.iter().map(read).collect::<StoreResult<_>>()?;
    let alive: HashSet<Key> = found.iter().filter(|(.., live)| *live).map(|(_, event, _)| *event).collect();
    let going: Vec<Key> =
        found.iter().filter(|(_, event, _)| !alive.contains(event)).map(|(delivery, ..)| *delivery).collect();
    delete_by_key(conn, &going).await?;
    Ok(alive)
}

/// Deletes deliveries with their attempts, journals and shadow runs.
pub(super) async fn delete_by_key(conn: &mut PgConnection, deliveries: &[Key]) -> StoreResult<()> {
    const PARTS: [&str; 4] = [
        "delete from attempt a using unnest($1::bytea[]) as gone (key) where a.delivery = gone.key",
        "delete from journal j using unnest($1::bytea[]) as gone (key) where j.delivery = gone.key",
        "delete from shadow_run s using unnest($1::bytea[]) as gone (key) where s.delivery = gone.key",
        "delete from delivery d using unnest($1::bytea[]) as gone (key) where d.key = gone.key",
    ];
    if deliveries.is_empty() {
        return Ok(());
    }
    for part in PARTS {
        sqlx::query(part).bind(arrays(deliveries)).execute(&mut *conn).await?;
    }
    Ok(())
}

/// Where a walk over a table with a key of three columns stopped.
pub(super) type Cursor<T> = Option<(String, T, T)>;

/// Looks at the next dedupe keys and deletes those that are old. Answers where to go on.
pub(super) async fn dedupes(
    conn: &mut PgConnection,
    before: Timestamp,
    from: &Cursor<String>,
) -> StoreResult<Cursor<String>> {
    const END: &str = "select tenant, scope, key from dedupe where (tenant, scope, key) > ($1, $2, $3) \
        order by tenant, scope, key limit 1 offset $4";
    const REST: &str = "delete from dedupe where (tenant, scope, key) > ($1, $2, $3) and at < $4";
    const PART: &str = "delete from dedupe where (tenant, scope, key) > ($1, $2, $3) and at < $4 \
        and (tenant, scope, key) <= ($5, $6, $7)";
    take_turn(conn).await?;
    let (tenant, scope, key) = from.clone().unwrap_or_default();
    let started = |sql| sqlx::query(sql).bind(tenant.clone()).bind(scope.clone()).bind(key.clone());
    let end = started(END).bind(STEP).fetch_optional(&mut *conn).await?;
    let read = |row: PgRow| {
        let mut fields = Fields::of(&row);
        Ok::<_, crate::store::StoreError>((fields.text()?, fields.text()?, fields.text()?))
    };
    let end = end.map(read).transpose()?;
    let query = match &end {
        None => started(REST).bind(before.0),
        Some((tenant, scope, key)) => started(PART).bind(before.0).bind(tenant).bind(scope).bind(key),
    };
    query.execute(conn).await?;
    Ok(end)
}

/// Deletes kv tombstones and expired values older than `before`, requests to apps as old, answers whose day is over, and
/// counts of days that no plan looks at any more.
pub(super) async fn small_things(conn: &mut PgConnection, before: Timestamp, limit: u32) -> StoreResult<()> {
    // Locked, so that a value that is written anew meanwhile is looked at again and stays.
    const KV: &str = "delete from kv where (tenant, plugin, key) in (select tenant, plugin, key from kv \
        where (value is null or expires_at is not null) and updated_at < $1 \
          and (value is null or expires_at < $1) order by tenant, plugin, key limit $2 for update)";
    // What came to an app became events of several tenants, and goes by its age alone. No tenant's name has a `_`.
    const APPS: &str = "delete from raw_request where (tenant, correlation_id, key) in \
        (select tenant, correlation_id, key from raw_request \
          where tenant >= 'app_' and tenant < 'app`' and received_at < $1 and key < $3 limit $2)";
    const ANSWERS: &str = "delete from answer where (caller, key) in \
        (select caller, key from answer where at < $1 order by at limit $2 for update)";
    const USAGE: &str = "delete from usage where (tenant, day, command) in \
        (select tenant, day, command from usage where day < $1 order by tenant, day, command limit $2 for update)";
    take_turn(conn).await?;
    let limit = i64::from(limit);
    sqlx::query(USAGE).bind(kept_since(before)).bind(limit).execute(&mut *conn).await?;
    sqlx::query(KV).bind(before.0).bind(limit).execute(&mut *conn).await?;
    let old = days::first_key(days::day_at(before) + 1);
    sqlx::query(APPS).bind(before.0).bind(limit).bind(old.0).execute(&mut *conn).await?;
    let over = before.0.saturating_sub(ANSWER_LIFE_MS);
    sqlx::query(ANSWERS).bind(over).bind(limit).execute(conn).await?;
    Ok(())
}

/// Deletes ids and shadow runs of events that went with their day. Answers how many.
pub(super) async fn left_behind(conn: &mut PgConnection, before: Timestamp, limit: u32) -> StoreResult<u64> {
    const NAMES: &str = "delete from event_name where (tenant, id) in (select n.tenant, n.id from event_name n \
        where n.key < $1 and not exists (select 1 from event e where e.tenant = n.tenant and e.key = n.key) \
        order by n.key limit $2)";
    const SHADOWS: &str = "delete from shadow_run where delivery in (select s.delivery from shadow_run s \
        where s.delivery < $1 and not exists (select 1 from delivery d where d.key = s.delivery) \
        order by s.delivery limit $2)";
    take_turn(conn).await?;
    let old = days::first_key(days::day_at(before) + 1);
    let mut gone = 0;
    for sql in [NAMES, SHADOWS] {
        gone += sqlx::query(sql).bind(old.0).bind(i64::from(limit)).execute(&mut *conn).await?.rows_affected();
    }
    Ok(gone)
}

/// Looks at the next rows of the person index and deletes those of events that went with their day. Answers where to go
/// on.
pub(super) async fn persons(
    conn: &mut PgConnection,
    before: Timestamp,
    from: &Cursor<Vec<u8>>,
) -> StoreResult<Cursor<Vec<u8>>> {
    const END: &str = "select tenant, hash, event from person_index where (tenant, hash, event) > ($1, $2, $3) \
        order by tenant, hash, event limit 1 offset $4";
    const PART: &str = "delete from person_index p where (tenant, hash, event) > ($1, $2, $3) and event < $4 \
        and ($5::text is null or (tenant, hash, event) <= ($5, $6, $7)) \
        and not exists (select 1 from event e where e.tenant = p.tenant and e.key = p.event)";
    take_turn(conn).await?;
    let (tenant, hash, event) = from.clone().unwrap_or_default();
    let started = |sql| sqlx::query(sql).bind(tenant.clone()).bind(hash.clone()).bind(event.clone());
    let end = started(END).bind(STEP).fetch_optional(&mut *conn).await?;
    let read = |row: PgRow| {
        let mut fields = Fields::of(&row);
        Ok::<_, crate::store::StoreError>((fields.text()?, fields.bytes()?, fields.bytes()?))
    };
    let end = end.map(read).transpose()?;
    let old = days::first_key(days::day_at(before) + 1);
    let (tenant, hash, event) = match &end {
        Some((tenant, hash, event)) => (Some(&**tenant), Some(&**hash), Some(&**event)),
        None => (None, None, None),
    };
    started(PART).bind(old.0).bind(tenant).bind(hash).bind(event).execute(conn).await?;
    Ok(end)
}

/// The first condition is the index's own, the second finds the place in it without a look at what is dead already.
pub(super) const END_LEAVING: &str = "with going as materialized (select key from delivery \
      where state in (0, 1, 2, 4) and state = $3 and tenant = $1 order by key limit $4 for update) \
    update delivery d set state = 4, reason = 'config', code = 'tenant_deleted', \
      message = 'the tenant was deleted', fingerprint = 'tenant_deleted', behind = false, updated_at = $2 \
    from going where d.key = going.key and d.state in (0, 1, 2)";

/// Tables whose rows of a tenant are few, or narrow, enough to go by their first column in pieces.
const REST: [&str; 9] = [
    "delete from dedupe where (tenant, scope, key) in \
     (select tenant, scope, key from dedupe where tenant = $1 limit $2)",
    "delete from event_name where (tenant, id) in (select tenant, id from event_name where tenant = $1 limit $2)",
    "delete from raw_request where (tenant, correlation_id, key) in \
     (select tenant, correlation_id, key from raw_request where tenant = $1 limit $2)",
    "delete from parked where key in (select key from parked where tenant = $1 limit $2)",
    "delete from rejection where (tenant, key) in (select tenant, key from rejection where tenant = $1 limit $2)",
    "delete from rejection_count where tenant = $1 and $2 > 0",
    "delete from shadow_total where tenant = $1 and $2 > 0",
    "delete from kv where (tenant, plugin, key) in (select tenant, plugin, key from kv where tenant = $1 limit $2)",
    "delete from person_index where (tenant, hash, event) in \
     (select tenant, hash, event from person_index where tenant = $1 limit $2)",
];

/// One small step of removing the tenants that are leaving; answers whether there is more to do. First every live
/// delivery ends, so that nothing of the tenant is found to start, then all rows go.
pub(super) async fn leaving(conn: &mut PgConnection, now: Timestamp) -> StoreResult<bool> {
    const NEXT: &str = "select tenant from tenant_removal order by tenant limit 1";
    const EVENTS: &str = "select key, tenant, correlation_id, persons from event where tenant = $1 limit $2";
    const GONE: &str = "delete from tenant_removal where tenant = $1";
    take_turn(conn).await?;
    let Some(row) = sqlx::query(NEXT).fetch_optional(&mut *conn).await? else { return Ok(false) };
    let tenant = Fields::of(&row).text()?;
    for state in [State::Queued, State::Running, State::Waiting] {
        let query = sqlx::query(END_LEAVING).bind(&tenant).bind(now.0).bind(state.code()).bind(LEAVING_EVENTS);
        if query.execute(&mut *conn).await?.rows_affected() > 0 {
            return Ok(true);
        }
    }
    let rows = sqlx::query(EVENTS).bind(&tenant).bind(LEAVING_EVENTS).fetch_all(&mut *conn).await?;
    if !rows.is_empty() {
        let going: Vec<Going> = rows.iter().map(|row| read_going(&mut Fields::of(row))).collect::<StoreResult<_>>()?;
        delete(conn, going).await?;
        return Ok(true);
    }
    for statement in REST {
        let query = sqlx::query(statement).bind(&tenant).bind(LEAVING_EVENTS);
        if query.execute(&mut *conn).await?.rows_affected() > 0 {
            return Ok(true);
        }
    }
    sqlx::query(GONE).bind(&tenant).execute(conn).await?;
    Ok(true)
}
