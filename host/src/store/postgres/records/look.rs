//! Lists and details of events.

use std::sync::Arc;

use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::{
    super::{
        retention::KEY_SLACK,
        row::{Fields, event_columns, given_correlation},
    },
    LAST,
};
use crate::{
    clock::Timestamp,
    event::{Event, TenantId},
    id::Key,
    store::{
        StoreError, StoreResult,
        records::{EventFilter, Page, Recent},
    },
};

/// A key before all that were made for things stored at or after `since`.
pub(super) fn first_key(since: Timestamp) -> Key {
    let slack = i64::try_from(KEY_SLACK.as_millis()).unwrap_or(i64::MAX);
    let millis = u64::try_from(since.0.saturating_sub(slack)).unwrap_or(0).min((1 << 48) - 1);
    let mut key = [0; 16];
    key[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    Key(key)
}

/// An exact type, or all that begin with the part before `*`.
pub(super) fn push_type(query: &mut QueryBuilder<Postgres>, event_type: &str) {
    match event_type.strip_suffix('*') {
        Some(prefix) => query.push(" and starts_with(e.type, ").push_bind(prefix.to_owned()).push(")"),
        None => query.push(" and e.type = ").push_bind(event_type.to_owned()),
    };
}

/// Deliveries and published events that are counted at most.
const RECENT: i64 = 50_000;

/// What went where since then.
pub(super) async fn recent(conn: &mut PgConnection, tenant: &TenantId, since: Timestamp) -> StoreResult<Recent> {
    // The newest ones, which the index of a tenant's deliveries has in order.
    const BY_TARGET: &str = "select target, count(*) from (select target from delivery \
        where tenant = $1 and key >= $2 order by key desc limit $3) as newest group by target";
    const PUBLISHED: &str = "select count(*) from (select source from event \
        where tenant = $1 and key >= $2 order by key desc limit $3) as newest where source not like 'switchyard:%'";
    let first = first_key(since);
    let bound = |sql| sqlx::query(sql).bind(tenant.as_str()).bind(first.0).bind(RECENT);
    let mut recent = Recent::default();
    let mut counted = 0;
    for row in &bound(BY_TARGET).fetch_all(&mut *conn).await? {
        let mut fields = Fields::of(row);
        let (target, count): (String, u64) = (fields.text()?, fields.number()?);
        counted += count;
        recent.by_target.push((target, count));
    }
    recent.published = Fields::of(&bound(PUBLISHED).fetch_one(conn).await?).number()?;
    recent.at_least = counted >= RECENT.unsigned_abs() || recent.published >= RECENT.unsigned_abs();
    Ok(recent)
}

/// The key whose 32 digits `text` is.
fn written(text: &str) -> Option<Key> {
    Key::parse("evt", &format!("evt_{text}"))
}

/// Events, newest first.
pub(super) async fn events(
    conn: &mut PgConnection,
    tenant: &TenantId,
    filter: &EventFilter,
    page: Page,
) -> StoreResult<Vec<Arc<Event>>> {
    const START: &str = concat!("select ", event_columns!(), " from event e where e.tenant = ");
    // The events of a correlation id are few and found by it. `offset 0` keeps them from being looked for among all of
    // the tenant's, in the order of the list.
    const CORRELATED: &str = concat!(
        "select ",
        event_columns!(),
        " from (select * from event e where ",
        given_correlation!(),
        " and e.tenant = "
    );
    let mut query = QueryBuilder::<Postgres>::new("");
    match &filter.correlation_id {
        None => {
            query.push(START).push_bind(tenant.as_str().to_owned());
        }
        Some(correlation_id) => {
            query.push(CORRELATED).push_bind(tenant.as_str().to_owned());
            query.push(" and e.correlation_id = ").push_bind(correlation_id.clone());
            // The first cause of all that has this correlation id, where the id is its own.
            query.push(" union all select * from event where tenant = ").push_bind(tenant.as_str().to_owned());
            query.push(" and key = ").push_bind(written(correlation_id).map(|key| key.0.to_vec()));
            query.push(" and correlation_id = ").push_bind(correlation_id.clone());
            query.push(" and correlation_id = encode(key, 'hex') offset 0) as e where true");
        }
    }
    query.push(" and e.key < ").push_bind(page.after.unwrap_or(LAST).0);
    if let Some(subject) = &filter.subject {
        query.push(" and e.subject = ").push_bind(subject.clone());
    }
    if let Some(event_type) = &filter.event_type {
        push_type(&mut query, event_type);
    }
    if let Some(since) = filter.since {
        query.push(" and e.key > ").push_bind(first_key(since).0);
        query.push(" and e.accepted_at >= ").push_bind(since.0);
    }
    if let Some(until) = filter.until {
        query.push(" and e.accepted_at < ").push_bind(until.0);
    }
    query.push(" order by e.key desc limit ").push_bind(i64::from(page.limit));
    let rows = query.build().fetch_all(conn).await?;
    rows.iter().map(|row| Ok(Arc::new(Fields::of(row).event()?))).collect()
}

/// One event by its public id: by the key within it, or by the name that its sender gave it.
pub(super) async fn event(conn: &mut PgConnection, tenant: &TenantId, id: &str) -> StoreResult<Arc<Event>> {
    const OWN: &str =
        concat!("select ", event_columns!(), " from event e where e.tenant = $1 and e.key = $2 and e.id = $3");
    const NAMED: &str = concat!(
        "select ",
        event_columns!(),
        " from event e where e.tenant = $1 and e.key = (select key from event_name where tenant = $1 and id = $2) \
          and e.id = $2"
    );
    let own = match Key::parse("evt", id) {
        Some(key) => sqlx::query(OWN).bind(tenant.as_str()).bind(key.0).bind(id).fetch_optional(&mut *conn).await?,
        None => None,
    };
    let row = match own {
        Some(row) => Some(row),
        None => sqlx::query(NAMED).bind(tenant.as_str()).bind(id).fetch_optional(conn).await?,
    };
    let row = row.ok_or(StoreError::NotFound)?;
    Ok(Arc::new(Fields::of(&row).event()?))
}
