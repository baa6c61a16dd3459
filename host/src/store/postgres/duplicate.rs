//! Which events were there before. A name is claimed by inserting it, so of two nodes one has it and the other, once the
//! first has committed, reads whose it is.

use std::collections::{BTreeMap, HashMap};

use sqlx::PgConnection;

use super::row::{Fields, inconsistent};
use crate::{
    id::Key,
    store::{
        StoreError, StoreResult,
        group::{First, Firsts, Name, Print, by_id, by_key, is_own},
        ledger::{EventOutcome, NewEvent},
    },
};

/// The names of a group's events: those that were there, and those that the group has claimed.
pub(super) struct Names<'a> {
    firsts: Firsts<'a>,
    /// Each claimed name, with the event for which it stands in the database now.
    claimed: BTreeMap<Name<'a>, &'a NewEvent>,
}

// A row of this transaction is a claim; any other is an earlier event's. Sorted, so that two nodes that want the same
// names wait for each other instead of in a circle.
const CLAIM_KEYS: &str = "insert into dedupe (tenant, scope, key, event_id, hash, at) \
    select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::int8[]) \
    on conflict (tenant, scope, key) do nothing";

const KNOWN_KEYS: &str = "select w.place, d.event_id, d.hash, e.correlation_id \
    from unnest($1::text[], $2::text[], $3::text[]) with ordinality as w (tenant, scope, key, place) \
    join dedupe d on d.tenant = w.tenant and d.scope = w.scope and d.key = w.key \
    left join event_name n on n.tenant = d.tenant and n.id = d.event_id \
    left join lateral (select e.correlation_id from event e where e.tenant = d.tenant and e.id = d.event_id \
        and e.key = coalesce(n.key, \
            case when d.event_id ~ '^evt_[0-9a-f]{32}$' then decode(substr(d.event_id, 5), 'hex') end) limit 1) e on true \
    where d.xmin <> pg_current_xact_id()::xid";

const CLAIM_IDS: &str = "insert into event_name (tenant, id, key) \
    select * from unnest($1::text[], $2::text[], $3::bytea[]) on conflict (tenant, id) do nothing";

const KNOWN_IDS: &str = "select w.place, n.key, e.key is not null, e.correlation_id, e.type, e.data \
    from unnest($1::text[], $2::text[]) with ordinality as w (tenant, id, place) \
    join event_name n on n.tenant = w.tenant and n.id = w.id \
    left join event e on e.tenant = n.tenant and e.key = n.key \
    where n.xmin <> pg_current_xact_id()::xid";

// The event is gone and left its name.
const TAKE_IDS: &str = "update event_name n set key = w.key \
    from unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[]) as w (tenant, id, gone, key) \
    where n.tenant = w.tenant and n.id = w.id and n.key = w.gone";

const OWN_IDS: &str = "select w.place, e.correlation_id, e.type, e.data \
    from unnest($1::text[], $2::bytea[]) with ordinality as w (tenant, key, place) \
    join event e on e.tenant = w.tenant and e.key = w.key";

const DROP_KEYS: &str = "delete from dedupe d using unnest($1::text[], $2::text[], $3::text[]) as w (tenant, scope, key) \
    where d.tenant = w.tenant and d.scope = w.scope and d.key = w.key";

const DROP_IDS: &str = "delete from event_name n using unnest($1::text[], $2::text[]) as w (tenant, id) \
    where n.tenant = w.tenant and n.id = w.id";

impl<'a> Names<'a> {
    /// Claims the names of `events` and reads what stands under those that are taken. Ids that the hub made are new, so
    /// they are looked up only if `own_ids` says so.
    pub(super) async fn claim(
        conn: &mut PgConnection,
        events: impl Iterator<Item = &'a NewEvent> + Clone,
        own_ids: bool,
    ) -> StoreResult<Self> {
        let mut names = Self { firsts: Firsts { by_name: HashMap::new() }, claimed: BTreeMap::new() };
        let mut keyed = BTreeMap::new();
        for new in events.clone() {
            if let Some(name) = by_key(new) {
                keyed.entry(name).or_insert(new);
            }
        }
        names.claim_keys(conn, keyed).await?;
        let mut named = BTreeMap::new();
        for new in events.clone().filter(|new| !is_own(new)) {
            named.entry(by_id(new)).or_insert(new);
        }
        names.claim_ids(conn, named).await?;
        if own_ids {
            names.read_own(conn, &events.filter(|new| is_own(new)).collect::<Vec<_>>()).await?;
        }
        Ok(names)
    }

    async fn claim_keys(
        &mut self,
        conn: &mut PgConnection,
        wanted: BTreeMap<Name<'a>, &'a NewEvent>,
    ) -> StoreResult<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        if insert_keys(conn, &wanted).await? < wanted.len() as u64 {
            let names: Vec<_> = wanted.iter().map(|(name, new)| (*name, *new)).collect();
            let (tenants, scopes, keys) = columns(wanted.keys());
            let rows = sqlx::query(KNOWN_KEYS).bind(tenants).bind(scopes).bind(keys).fetch_all(conn).await?;
            for row in &rows {
                let mut fields = Fields::of(row);
                let (name, _) = at(&names, &mut fields)?;
                let (id, print) = (fields.shared()?, Print::Hash(fields.array()?));
                let first = First { id, correlation_id: fields.opt_shared()?, print };
                self.firsts.by_name.insert(name, first);
            }
        }
        self.note_claimed(wanted);
        Ok(())
    }

    async fn claim_ids(
        &mut self,
        conn: &mut PgConnection,
        wanted: BTreeMap<Name<'a>, &'a NewEvent>,
    ) -> StoreResult<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        if insert_ids(conn, &wanted).await? < wanted.len() as u64 {
            let names: Vec<_> = wanted.iter().map(|(name, new)| (*name, *new)).collect();
            let (tenants, _, ids) = columns(wanted.keys());
            let rows = sqlx::query(KNOWN_IDS).bind(tenants).bind(ids).fetch_all(&mut *conn).await?;
            let mut left: Vec<(Name<'a>, Key, &NewEvent)> = Vec::new();
            for row in &rows {
                let mut fields = Fields::of(row);
                let (name, new) = at(&names, &mut fields)?;
                let (key, stands) = (fields.key()?, fields.flag()?);
                if !stands {
                    left.push((name, key, new));
                    continue;
                }
                let correlation_id = fields.opt_shared()?;
                let print = Print::Whole(fields.shared()?, fields.shared()?);
                self.firsts.by_name.insert(name, First { id: new.event.id.clone(), correlation_id, print });
            }
            take_left(conn, &left).await?;
        }
        self.note_claimed(wanted);
        Ok(())
    }

    fn note_claimed(&mut self, wanted: BTreeMap<Name<'a>, &'a NewEvent>) {
        let firsts = &self.firsts.by_name;
        self.claimed.extend(wanted.into_iter().filter(|(name, _)| !firsts.contains_key(name)));
    }

    async fn read_own(&mut self, conn: &mut PgConnection, own: &[&'a NewEvent]) -> StoreResult<()> {
        let (tenants, keys): (Vec<_>, Vec<_>) =
            own.iter().map(|new| (new.event.tenant.as_str(), &new.event.key.0[..])).unzip();
        let rows = sqlx::query(OWN_IDS).bind(tenants).bind(keys).fetch_all(conn).await?;
        for row in &rows {
            let mut fields = Fields::of(row);
            let new = at(own, &mut fields)?;
            let correlation_id = fields.opt_shared()?;
            let print = Print::Whole(fields.shared()?, fields.shared()?);
            self.firsts.by_name.insert(by_id(new), First { id: new.event.id.clone(), correlation_id, print });
        }
        Ok(())
    }

    /// Whether `new` is the first of its names; if so, later ones of the group are its duplicates.
    pub(super) fn decide(&mut self, new: &'a NewEvent) -> EventOutcome {
        self.firsts.decide(new)
    }

    /// Lets go of claimed names whose events are not stored after all, and gives those to the right event that another
    /// one had claimed.
    pub(super) async fn keep_for(self, conn: &mut PgConnection, stored: &[&'a NewEvent]) -> StoreResult<()> {
        let holders: HashMap<Name<'a>, &'a NewEvent> = stored
            .iter()
            .flat_map(|new| by_key(new).into_iter().chain((!is_own(new)).then(|| by_id(new))).map(|name| (name, *new)))
            .collect();
        let stands =
            |name: &Name<'a>, new: &NewEvent| holders.get(name).is_some_and(|holder| holder.event.key == new.event.key);
        let wrong: Vec<Name<'a>> =
            self.claimed.into_iter().filter(|(name, new)| !stands(name, new)).map(|(name, _)| name).collect();
        if wrong.is_empty() {
            return Ok(());
        }
        // An id stands under the empty scope.
        let (ids, keys): (Vec<_>, Vec<_>) = wrong.into_iter().partition(|name| name.1.is_empty());
        let (tenants, scopes, texts) = columns(keys.iter());
        sqlx::query(DROP_KEYS).bind(tenants).bind(scopes).bind(texts).execute(&mut *conn).await?;
        let (tenants, _, texts) = columns(ids.iter());
        sqlx::query(DROP_IDS).bind(tenants).bind(texts).execute(&mut *conn).await?;
        let right = |names: Vec<Name<'a>>| -> BTreeMap<_, _> {
            names.into_iter().filter_map(|name| holders.get(&name).map(|new| (name, *new))).collect()
        };
        let (keys, ids) = (right(keys), right(ids));
        insert_keys(conn, &keys).await?;
        insert_ids(conn, &ids).await?;
        Ok(())
    }
}

/// The item for which a row stands, by its place from 1 on.
fn at<T: Copy>(items: &[T], fields: &mut Fields<'_>) -> StoreResult<T> {
    let place: usize = fields.number()?;
    items.get(place.wrapping_sub(1)).copied().ok_or_else(|| inconsistent("place"))
}

/// Names as three columns.
fn columns<'n, 'a: 'n>(names: impl Iterator<Item = &'n Name<'a>>) -> (Vec<&'a str>, Vec<&'a str>, Vec<&'a str>) {
    let (mut tenants, mut scopes, mut keys) = (Vec::new(), Vec::new(), Vec::new());
    for (tenant, scope, key) in names {
        tenants.push(*tenant);
        scopes.push(*scope);
        keys.push(*key);
    }
    (tenants, scopes, keys)
}

async fn insert_keys(conn: &mut PgConnection, wanted: &BTreeMap<Name<'_>, &NewEvent>) -> StoreResult<u64> {
    let rows: Vec<_> =
        wanted.iter().filter_map(|(name, new)| new.dedupe.as_ref().map(|dedupe| (name, &new.event, dedupe))).collect();
    if rows.is_empty() {
        return Ok(0);
    }
    let (tenants, scopes, keys) = columns(rows.iter().map(|(name, ..)| *name));
    let inserted = sqlx::query(CLAIM_KEYS)
        .bind(tenants)
        .bind(scopes)
        .bind(keys)
        .bind(rows.iter().map(|(_, event, _)| &*event.id).collect::<Vec<_>>())
        .bind(rows.iter().map(|(.., dedupe)| &dedupe.hash[..]).collect::<Vec<_>>())
        .bind(rows.iter().map(|(_, event, _)| event.accepted_at.0).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(inserted.rows_affected())
}

async fn insert_ids(conn: &mut PgConnection, wanted: &BTreeMap<Name<'_>, &NewEvent>) -> StoreResult<u64> {
    if wanted.is_empty() {
        return Ok(0);
    }
    let (tenants, _, ids) = columns(wanted.keys());
    let keys: Vec<_> = wanted.values().map(|new| &new.event.key.0[..]).collect();
    Ok(sqlx::query(CLAIM_IDS).bind(tenants).bind(ids).bind(keys).execute(conn).await?.rows_affected())
}

/// Takes over names whose events are gone. Another node that does the same has it first; then the group begins anew.
async fn take_left(conn: &mut PgConnection, left: &[(Name<'_>, Key, &NewEvent)]) -> StoreResult<()> {
    if left.is_empty() {
        return Ok(());
    }
    let (tenants, _, ids) = columns(left.iter().map(|(name, ..)| name));
    let taken = sqlx::query(TAKE_IDS)
        .bind(tenants)
        .bind(ids)
        .bind(left.iter().map(|(_, gone, _)| &gone.0[..]).collect::<Vec<_>>())
        .bind(left.iter().map(|(.., new)| &new.event.key.0[..]).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    if taken.rows_affected() == left.len() as u64 {
        Ok(())
    } else {
        Err(StoreError::Contended("another node took an event's name".to_owned()))
    }
}
