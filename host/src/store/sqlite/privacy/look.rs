//! The rows of each place, a portion at a time. What a portion weighs is read first, and then no more than fits.

use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use super::super::{
    accept::bytes,
    row::{Fields, event_columns, inconsistent},
};
use crate::{
    event::TenantId,
    id::Key,
    store::{
        StoreResult,
        privacy::{
            Kept, KeptAttempt, KeptConsent, KeptDelivery, KeptEvent, KeptRejection, KeptRequest, KeptRows, KeptValue,
            Place, Portion,
        },
    },
};

/// Between the parts of a place in an order; no part holds it.
const BETWEEN: char = '\0';

/// The next rows of a place.
pub(super) async fn kept(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    place: Place,
    after: Option<&str>,
    portion: Portion,
) -> StoreResult<KeptRows> {
    let after = after.unwrap_or_default();
    match place {
        Place::Events | Place::Deliveries | Place::Parked | Place::Rejections => {
            by_key(conn, tenant, place, after, portion).await
        }
        Place::Requests => requests(conn, tenant, after, portion).await,
        Place::AppRequests => app_requests(conn, tenant, after, portion).await,
        Place::Kv => values(conn, tenant, after, portion).await,
        Place::Consents => consents(conn, tenant, after, portion).await,
    }
}

/// How many of the rows, whose weights stand in their last column, fit, and whether these are all that there are.
fn fitting(rows: &[SqliteRow], portion: Portion) -> StoreResult<(usize, bool)> {
    let (mut weight, mut count) = (0_u64, 0);
    for row in rows {
        let more: i64 = row.try_get(row.len() - 1)?;
        weight = weight.saturating_add(u64::try_from(more).unwrap_or(0));
        if count > 0 && weight > portion.bytes {
            break;
        }
        count += 1;
    }
    let all = count == rows.len() && rows.len() < usize::try_from(portion.rows).unwrap_or(usize::MAX);
    Ok((count, all))
}

async fn by_key(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    place: Place,
    after: &str,
    portion: Portion,
) -> StoreResult<KeptRows> {
    const EVENTS: &str = "select key, octet_length(data) + coalesce(octet_length(extensions), 0) from event \
        where tenant = ? and key > ? order by key limit ?";
    const DELIVERIES: &str = "select d.key, coalesce((select octet_length(j.record) from journal j where j.delivery = d.key), 0) \
          + coalesce((select sum(octet_length(a.detail)) from attempt a where a.delivery = d.key), 0) \
          + coalesce((select octet_length(e.data) from event e where e.tenant = d.tenant and e.key = d.event), 0) \
        from delivery d where d.tenant = ? and d.key > ? order by d.key limit ?";
    const PARKED: &str = "select key, bytes from parked where tenant = ? and key > ? order by key limit ?";
    const REJECTIONS: &str = "select key, 0 from rejection where tenant = ? and key > ? order by key limit ?";
    let weigh = match place {
        Place::Deliveries => DELIVERIES,
        Place::Parked => PARKED,
        Place::Rejections => REJECTIONS,
        _ => EVENTS,
    };
    let from = if after.is_empty() { Key::default() } else { after.parse().map_err(|_| inconsistent("place"))? };
    let query = sqlx::query(weigh).bind(tenant.as_str().to_owned()).bind(bytes(from)).bind(portion.rows);
    let weighed = query.fetch_all(&mut *conn).await?;
    let (count, all) = fitting(&weighed, portion)?;
    let Some(last) = count.checked_sub(1).map(|last| Fields::of(&weighed[last]).key()).transpose()? else {
        return Ok(KeptRows::default());
    };
    let rows = match place {
        Place::Deliveries => deliveries(conn, tenant, from, last).await?,
        Place::Parked => parked(conn, tenant, from, last).await?,
        Place::Rejections => rejections(conn, tenant, from, last).await?,
        _ => events(conn, tenant, from, last).await?,
    };
    Ok(KeptRows { rows, next: (!all).then(|| last.to_string()) })
}

fn event(fields: &mut Fields<'_>) -> StoreResult<KeptEvent> {
    let event = fields.event()?;
    Ok(KeptEvent { event, persons: fields.opt_bytes()?.unwrap_or_default(), erased: fields.flag()? })
}

async fn events(conn: &mut SqliteConnection, tenant: &TenantId, from: Key, last: Key) -> StoreResult<Vec<Kept>> {
    const READ: &str = concat!(
        "select ",
        event_columns!(),
        ", e.persons, e.erased_at is not null from event e where e.tenant = ? and e.key > ? and e.key <= ? order by e.key"
    );
    let query = sqlx::query(READ).bind(tenant.as_str().to_owned()).bind(bytes(from)).bind(bytes(last));
    let rows = query.fetch_all(conn).await?;
    rows.iter().map(|row| Ok(Kept::Event(Box::new(event(&mut Fields::of(row))?)))).collect()
}

async fn deliveries(conn: &mut SqliteConnection, tenant: &TenantId, from: Key, last: Key) -> StoreResult<Vec<Kept>> {
    const READ: &str = concat!(
        "select d.key, d.target, d.state, d.created_at, d.reason, d.code, d.message, d.ordering_key, j.record, ",
        event_columns!(),
        ", e.persons, e.erased_at is not null from delivery d join event e on e.tenant = d.tenant and e.key = d.event \
         left join journal j on j.delivery = d.key where d.tenant = ? and d.key > ? and d.key <= ? order by d.key"
    );
    const ATTEMPTS: &str = "select a.delivery, a.number, a.started_at, a.outcome, a.message, a.detail \
        from delivery d join attempt a on a.delivery = d.key \
        where d.tenant = ? and d.key > ? and d.key <= ? order by a.delivery, a.number";
    let asked = |sql| sqlx::query(sql).bind(tenant.as_str().to_owned()).bind(bytes(from)).bind(bytes(last));
    let mut found: Vec<KeptDelivery> = Vec::new();
    for row in &asked(READ).fetch_all(&mut *conn).await? {
        let mut fields = Fields::of(row);
        found.push(KeptDelivery {
            key: fields.key()?,
            target: fields.parsed()?,
            state: fields.state()?,
            created_at: fields.time()?,
            failure: fields.failure()?,
            ordering_key: fields.opt_text()?,
            attempts: Vec::new(),
            journal: fields.opt_bytes()?,
            event: event(&mut fields)?,
        });
    }
    for row in &asked(ATTEMPTS).fetch_all(conn).await? {
        let mut fields = Fields::of(row);
        let delivery = fields.key()?;
        let attempt = KeptAttempt {
            number: fields.number()?,
            started_at: fields.time()?,
            outcome: fields.text()?,
            message: fields.opt_text()?,
            detail: fields.opt_text()?,
        };
        // Both are in the order of keys; one that came in between is looked at the next time.
        if let Ok(at) = found.binary_search_by_key(&delivery, |delivery| delivery.key) {
            found[at].attempts.push(attempt);
        }
    }
    Ok(found.into_iter().map(|delivery| Kept::Delivery(Box::new(delivery))).collect())
}

macro_rules! request_columns {
    () => {
        "key, tenant, source_id, method, url, headers, body, received_at, remote_addr, correlation_id"
    };
}

fn request(row: &SqliteRow) -> StoreResult<Box<KeptRequest>> {
    let mut fields = Fields::of(row);
    Ok(Box::new(KeptRequest {
        key: fields.key()?,
        owner: fields.owner()?,
        source_id: fields.text()?,
        method: fields.text()?,
        url: fields.text()?,
        headers: fields.text()?,
        body: fields.bytes()?,
        received_at: fields.time()?,
        remote_addr: fields.opt_text()?,
        correlation_id: fields.text()?,
    }))
}

async fn parked(conn: &mut SqliteConnection, tenant: &TenantId, from: Key, last: Key) -> StoreResult<Vec<Kept>> {
    const READ: &str =
        concat!("select ", request_columns!(), " from parked where tenant = ? and key > ? and key <= ? order by key");
    let query = sqlx::query(READ).bind(tenant.as_str().to_owned()).bind(bytes(from)).bind(bytes(last));
    query.fetch_all(conn).await?.iter().map(|row| Ok(Kept::Parked(request(row)?))).collect()
}

async fn rejections(conn: &mut SqliteConnection, tenant: &TenantId, from: Key, last: Key) -> StoreResult<Vec<Kept>> {
    const READ: &str = "select key, source_id, at, reason from rejection \
        where tenant = ? and key > ? and key <= ? order by key";
    let query = sqlx::query(READ).bind(tenant.as_str().to_owned()).bind(bytes(from)).bind(bytes(last));
    let read = |row: &SqliteRow| {
        let mut fields = Fields::of(row);
        let (key, source_id, at, reason) = (fields.key()?, fields.text()?, fields.time()?, fields.text()?);
        Ok(Kept::Rejection(KeptRejection { key, source_id, at, reason }))
    };
    query.fetch_all(conn).await?.iter().map(read).collect()
}

/// In the order of their correlation ids, which an index has.
async fn requests(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    after: &str,
    portion: Portion,
) -> StoreResult<KeptRows> {
    const WEIGH: &str = "select correlation_id, seq, length(body) + octet_length(headers) from raw_request \
        where tenant = ? and (correlation_id, seq) > (?, ?) order by correlation_id, seq limit ?";
    const READ: &str = concat!(
        "select ",
        request_columns!(),
        " from raw_request where tenant = ?1 and (correlation_id, seq) > (?2, ?3) and (correlation_id, seq) <= (?4, ?5) \
         order by correlation_id, seq"
    );
    let (correlation_id, seq) = after.split_once(BETWEEN).unwrap_or_default();
    let seq: i64 = seq.parse().unwrap_or(0);
    let asked = |sql| sqlx::query(sql).bind(tenant.as_str().to_owned()).bind(correlation_id.to_owned()).bind(seq);
    let weighed = asked(WEIGH).bind(portion.rows).fetch_all(&mut *conn).await?;
    let (count, all) = fitting(&weighed, portion)?;
    let Some(last) = count.checked_sub(1) else { return Ok(KeptRows::default()) };
    // In a block of its own, since what is read of a row must not be held while others are read.
    let (correlation_id, seq) = {
        let mut fields = Fields::of(&weighed[last]);
        (fields.text()?, fields.int()?)
    };
    let rows = asked(READ).bind(correlation_id.clone()).bind(seq).fetch_all(conn).await?;
    let rows = rows.iter().map(|row| Ok(Kept::Request(request(row)?))).collect::<StoreResult<_>>()?;
    Ok(KeptRows { rows, next: (!all).then(|| format!("{correlation_id}{BETWEEN}{seq}")) })
}

/// Those of every app from which an event of the tenant's came.
async fn app_requests(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    after: &str,
    portion: Portion,
) -> StoreResult<KeptRows> {
    const WEIGH: &str = "select r.tenant, r.correlation_id, r.seq, length(r.body) + octet_length(r.headers) \
        from raw_request r where r.tenant >= 'app_' and r.tenant < 'app`' \
          and (r.tenant, r.correlation_id, r.seq) > (?2, ?3, ?4) \
          and exists (select 1 from event e where e.tenant = ?1 and e.correlation_id = r.correlation_id \
            and e.correlation_id <> lower(hex(e.key))) \
        order by r.tenant, r.correlation_id, r.seq limit ?5";
    const READ: &str = concat!(
        "select ",
        request_columns!(),
        " from raw_request r where r.tenant >= 'app_' and r.tenant < 'app`' \
           and (r.tenant, r.correlation_id, r.seq) > (?2, ?3, ?4) \
           and (r.tenant, r.correlation_id, r.seq) <= (?5, ?6, ?7) \
           and exists (select 1 from event e where e.tenant = ?1 and e.correlation_id = r.correlation_id \
             and e.correlation_id <> lower(hex(e.key))) \
         order by r.tenant, r.correlation_id, r.seq"
    );
    let mut parts = after.split(BETWEEN);
    let mut part = || parts.next().unwrap_or_default().to_owned();
    let (owner, correlation_id, seq) = (part(), part(), part().parse::<i64>().unwrap_or(0));
    let asked = |sql| {
        let query = sqlx::query(sql).bind(tenant.as_str().to_owned()).bind(owner.clone());
        query.bind(correlation_id.clone()).bind(seq)
    };
    let weighed = asked(WEIGH).bind(portion.rows).fetch_all(&mut *conn).await?;
    let (count, all) = fitting(&weighed, portion)?;
    let Some(last) = count.checked_sub(1) else { return Ok(KeptRows::default()) };
    // In a block of its own, since what is read of a row must not be held while others are read.
    let (owner, correlation_id, seq) = {
        let mut fields = Fields::of(&weighed[last]);
        (fields.text()?, fields.text()?, fields.int()?)
    };
    let rows = asked(READ).bind(owner.clone()).bind(correlation_id.clone()).bind(seq).fetch_all(conn).await?;
    let rows = rows.iter().map(|row| Ok(Kept::Request(request(row)?))).collect::<StoreResult<_>>()?;
    Ok(KeptRows { rows, next: (!all).then(|| format!("{owner}{BETWEEN}{correlation_id}{BETWEEN}{seq}")) })
}

async fn values(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    after: &str,
    portion: Portion,
) -> StoreResult<KeptRows> {
    const WEIGH: &str = "select plugin, key, coalesce(length(value), 0) from kv \
        where tenant = ? and (plugin, key) > (?, ?) order by plugin, key limit ?";
    const READ: &str = "select plugin, key, version, value, person from kv \
        where tenant = ? and (plugin, key) > (?, ?) and (plugin, key) <= (?, ?) order by plugin, key";
    let (plugin, key) = after.split_once(BETWEEN).unwrap_or_default();
    let asked = |sql| sqlx::query(sql).bind(tenant.as_str().to_owned()).bind(plugin.to_owned()).bind(key.to_owned());
    let weighed = asked(WEIGH).bind(portion.rows).fetch_all(&mut *conn).await?;
    let (count, all) = fitting(&weighed, portion)?;
    let Some(last) = count.checked_sub(1) else { return Ok(KeptRows::default()) };
    // In a block of its own, since what is read of a row must not be held while others are read.
    let (plugin, key) = {
        let mut fields = Fields::of(&weighed[last]);
        (fields.text()?, fields.text()?)
    };
    let read = |row: &SqliteRow| {
        let mut fields = Fields::of(row);
        let (plugin, key, version, value) = (fields.text()?, fields.text()?, fields.number()?, fields.opt_bytes()?);
        let person = fields.opt_bytes()?.map(|person| person.try_into().map_err(|_| inconsistent("person")));
        Ok(Kept::Value(KeptValue { plugin, key, version, value, person: person.transpose()? }))
    };
    let rows = asked(READ).bind(plugin.clone()).bind(key.clone()).fetch_all(conn).await?;
    let rows = rows.iter().map(read).collect::<StoreResult<_>>()?;
    Ok(KeptRows { rows, next: (!all).then(|| format!("{plugin}{BETWEEN}{key}")) })
}

/// Consents are few and small, so that rows alone bound a portion.
async fn consents(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    after: &str,
    portion: Portion,
) -> StoreResult<KeptRows> {
    const READ: &str = "select person, channel, state, source, at, address is not null from consent \
        where tenant = ? and (person, channel) > (?, ?) order by person, channel limit ?";
    let (person, channel) = after.split_once(BETWEEN).unwrap_or_default();
    let person = hex::decode(person).map_err(|_| inconsistent("place"))?;
    let query = sqlx::query(READ).bind(tenant.as_str().to_owned()).bind(person).bind(channel.to_owned());
    let rows = query.bind(portion.rows).fetch_all(conn).await?;
    let read = |row: &SqliteRow| {
        let mut fields = Fields::of(row);
        Ok(KeptConsent {
            person: fields.array()?,
            channel: fields.text()?,
            state: fields.text()?,
            source: fields.text()?,
            at: fields.time()?,
            addressed: fields.flag()?,
        })
    };
    let rows = rows.iter().map(read).collect::<StoreResult<Vec<_>>>()?;
    let more = rows.len() >= usize::try_from(portion.rows).unwrap_or(usize::MAX);
    let last = rows.last().filter(|_| more);
    let next = last.map(|last| format!("{}{BETWEEN}{}", hex::encode(last.person), last.channel));
    Ok(KeptRows { rows: rows.into_iter().map(Kept::Consent).collect(), next })
}
