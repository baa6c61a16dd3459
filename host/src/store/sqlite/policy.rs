//! Consents, plans and counts, in SQLite.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::{
    SqliteStore,
    accept::bytes,
    direct::{Each, WriteConnection},
    registry::{audit, require_tenant},
    row::Fields,
};
use crate::{
    clock::Timestamp,
    event::TenantId,
    failpoint,
    policy::{
        address::Channel,
        consent::ConsentState,
        plan::{DayUsage, Telling},
    },
    queue::lane::Lane,
    store::{
        StoreResult,
        ledger::NewEvent,
        policy::{
            ConsentFilter, ConsentRow, ConsentSaid, KEPT_SAYINGS, PastConsent, Person, PlanRow, Policies, PolicyChange,
            Reservation, Reserved, standing,
        },
        registry::AuditEntry,
    },
};

/// Plans, and commands that were carried out.
mod plan;

pub(super) use plan::{count, plans};
use plan::{delete_plan, put_plan, reserve, usage};

/// What an admin says stands from the moment after all that was said before.
const PUT: &str = "insert into consent (tenant, person, channel, address, state, source, at, updated_at) \
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) on conflict do update set address = excluded.address, \
    state = excluded.state, source = excluded.source, at = max(excluded.at, at + 1), updated_at = excluded.updated_at";

const HISTORY: &str = "insert or ignore into consent_history (tenant, person, channel, at, state, source, event, \
    recorded_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

const FORGET_OLD: &str = "delete from consent_history where tenant = ?1 and person = ?2 and channel = ?3 and at < \
    (select at from consent_history where tenant = ?1 and person = ?2 and channel = ?3 order by at desc limit 1 offset ?4)";

/// Stores what the events of a group say of persons and plans.
pub(super) fn apply(conn: &mut WriteConnection, stored: &[&NewEvent]) -> StoreResult<()> {
    // What was said later stands; of two at once the one that withdraws.
    static SAY: Each = Each(
        "insert into consent (tenant, person, channel, address, state, source, at, updated_at) \
         values (?, ?, ?, ?, ?, ?, ?, ?) on conflict do update set address = excluded.address, state = excluded.state, \
         source = excluded.source, at = excluded.at, updated_at = excluded.updated_at \
         where excluded.at > at or (excluded.at = at and excluded.state = 'withdrawn')",
    );
    static REMEMBER: Each = Each(HISTORY);
    static FORGET: Each = Each(FORGET_OLD);
    static FOLLOW: Each = Each(
        "update plan set state = ?3, since = case when state = ?3 then since else ?4 end, told_at = ?4 \
         where follows_tenant = ?1 and follows_customer = ?2 and (told_at is null or told_at <= ?4)",
    );
    let changes = || stored.iter().flat_map(|new| &new.changes);
    let said: Vec<&ConsentSaid> = changes()
        .filter_map(|change| match change {
            PolicyChange::Consent(said) => Some(said),
            PolicyChange::Plan(_) => None,
        })
        .collect();
    let told: Vec<&Telling> = changes()
        .filter_map(|change| match change {
            PolicyChange::Plan(telling) => Some(telling),
            PolicyChange::Consent(_) => None,
        })
        .collect();
    let stands: Vec<&ConsentSaid> = standing(said.iter().copied()).into_values().collect();
    SAY.write(conn, &stands, |query, said| {
        query
            .bind(said.tenant.as_str())
            .bind(&said.person[..])
            .bind(said.channel.as_str())
            .bind(&said.address[..])
            .bind(said.state.as_str())
            .bind(said.source.as_str())
            .bind(said.at.0)
            .bind(said.now.0)
    })?;
    REMEMBER.write(conn, &said, |query, said| {
        query
            .bind(said.tenant.as_str())
            .bind(&said.person[..])
            .bind(said.channel.as_str())
            .bind(said.at.0)
            .bind(said.state.as_str())
            .bind(said.source.as_str())
            .bind(said.event.as_ref().map(|key| &key.0[..]))
            .bind(said.now.0)
    })?;
    FORGET.write(conn, &stands, |query, said| {
        query.bind(said.tenant.as_str()).bind(&said.person[..]).bind(said.channel.as_str()).bind(KEPT_SAYINGS - 1)
    })?;
    FOLLOW.write(conn, &told, |query, told| {
        query.bind(told.tenant.as_str()).bind(&*told.customer_id).bind(told.state.as_str()).bind(told.at.0)
    })?;
    Ok(())
}

async fn put(conn: &mut SqliteConnection, said: ConsentSaid, entry: AuditEntry) -> StoreResult<()> {
    require_tenant(conn, &said.tenant).await?;
    let place = |sql: &'static str| {
        let query = sqlx::query(sql).bind(said.tenant.as_str().to_owned()).bind(said.person.to_vec());
        query.bind(said.channel.as_str())
    };
    let query = place(PUT).bind(said.address.clone()).bind(said.state.as_str()).bind(said.source.as_str());
    query.bind(said.at.0).bind(said.now.0).execute(&mut *conn).await?;
    let query = place(HISTORY).bind(said.at.0).bind(said.state.as_str()).bind(said.source.as_str());
    query.bind(said.event.map(bytes)).bind(said.now.0).execute(&mut *conn).await?;
    place(FORGET_OLD).bind(KEPT_SAYINGS - 1).execute(&mut *conn).await?;
    audit::write(conn, entry).await
}

async fn list(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    filter: ConsentFilter,
    limit: u32,
) -> StoreResult<Vec<ConsentRow>> {
    const LIST: &str = "select channel, person, address, state, source, at, updated_at from consent where tenant = ?1 \
        and (?2 is null or channel = ?2) and (?3 is null or state = ?3) and (?4 is null or person = ?4) \
        and (?5 is null or (person, channel) > (?5, ?6)) order by person, channel limit ?7";
    let query = sqlx::query(LIST)
        .bind(tenant.as_str().to_owned())
        .bind(filter.channel.map(Channel::as_str))
        .bind(filter.state.map(ConsentState::as_str))
        .bind(filter.person.map(|person| person.to_vec()))
        .bind(filter.after.map(|(person, _)| person.to_vec()))
        .bind(filter.after.map(|(_, channel)| channel.as_str()))
        .bind(limit);
    let rows = query.fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok(ConsentRow {
                channel: fields.word()?,
                person: fields.array()?,
                address: fields.opt_bytes()?,
                state: fields.word()?,
                source: fields.parsed()?,
                at: fields.time()?,
                updated_at: fields.time()?,
            })
        })
        .collect()
}

async fn history(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    channel: Channel,
    person: Person,
) -> StoreResult<Vec<PastConsent>> {
    const READ: &str = "select at, state, source, event, recorded_at from consent_history \
        where tenant = ?1 and person = ?2 and channel = ?3 order by at desc, recorded_at desc limit ?4";
    let query = sqlx::query(READ).bind(tenant.as_str().to_owned()).bind(person.to_vec()).bind(channel.as_str());
    let rows = query.bind(KEPT_SAYINGS).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok(PastConsent {
                at: fields.time()?,
                state: fields.word()?,
                source: fields.parsed()?,
                event: fields.opt_key()?,
                recorded_at: fields.time()?,
            })
        })
        .collect()
}

async fn known(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    persons: Vec<Person>,
) -> StoreResult<Vec<(Person, Channel, ConsentState)>> {
    const KNOWN: &str = "select channel, state from consent where tenant = ? and person = ?";
    let mut known = Vec::new();
    for person in persons {
        let query = sqlx::query(KNOWN).bind(tenant.as_str().to_owned()).bind(person.to_vec());
        for row in &query.fetch_all(&mut *conn).await? {
            let mut fields = Fields::of(row);
            known.push((person, fields.word()?, fields.word()?));
        }
    }
    Ok(known)
}

/// Forgets a person's addresses and the events that spoke of them. What they want stays, under their hash.
pub(super) async fn erase(conn: &mut SqliteConnection, tenant: &TenantId, person: &Person) -> StoreResult<()> {
    const ADDRESSES: &str = "update consent set address = null where tenant = ? and person = ?";
    const EVENTS: &str = "update consent_history set event = null where tenant = ? and person = ?";
    let of = |sql: &'static str| sqlx::query(sql).bind(tenant.as_str().to_owned()).bind(person.to_vec());
    of(EVENTS).execute(&mut *conn).await?;
    of(ADDRESSES).execute(conn).await?;
    Ok(())
}

async fn ask_again(
    conn: &mut SqliteConnection,
    tenant: TenantId,
    now: Timestamp,
    due: Timestamp,
    limit: u32,
) -> StoreResult<Vec<Lane>> {
    const DUE: &str = "update delivery set due_at = ?3, updated_at = ?2 where state in (0, 1, 2, 4) and key in \
        (select key from delivery where state in (0, 1, 2, 4) and state = 2 and tenant = ?1 and reason = 'policy' \
          and due_at > ?3 and updated_at < ?2 limit ?4) returning tenant, target, shard";
    let query = sqlx::query(DUE).bind(tenant.as_str().to_owned()).bind(now.0).bind(due.0).bind(limit);
    query.fetch_all(conn).await?.iter().map(|row| Fields::of(row).lane()).collect()
}

#[async_trait]
impl Policies for SqliteStore {
    async fn consents(&self, tenant: &TenantId, filter: ConsentFilter, limit: u32) -> StoreResult<Vec<ConsentRow>> {
        list(&mut *self.reader().await?, tenant, filter, limit).await
    }

    async fn consent_history(
        &self,
        tenant: &TenantId,
        channel: Channel,
        person: Person,
    ) -> StoreResult<Vec<PastConsent>> {
        history(&mut *self.reader().await?, tenant, channel, person).await
    }

    async fn put_consent(&self, said: ConsentSaid, audit: AuditEntry) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(put(conn, said, audit))).await
    }

    async fn consents_of(
        &self,
        tenant: &TenantId,
        persons: Vec<Person>,
    ) -> StoreResult<Vec<(Person, Channel, ConsentState)>> {
        known(&mut *self.reader().await?, tenant, persons).await
    }

    async fn put_plan(&self, plan: PlanRow, audit: AuditEntry) -> StoreResult<()> {
        self.writer.alone(|conn| Box::pin(put_plan(conn, plan, audit))).await
    }

    async fn delete_plan(&self, tenant: &TenantId, audit: AuditEntry) -> StoreResult<()> {
        let tenant = tenant.clone();
        self.writer.alone(|conn| Box::pin(delete_plan(conn, tenant, audit))).await
    }

    async fn usage(&self, tenant: &TenantId, since_day: i64) -> StoreResult<Vec<DayUsage>> {
        usage(&mut *self.reader().await?, tenant, since_day).await
    }

    async fn reserve(&self, reservation: Reservation) -> StoreResult<Reserved> {
        self.writer.alone(|conn| Box::pin(reserve(conn, reservation))).await
    }

    async fn ask_again(&self, tenant: &TenantId, now: Timestamp, due: Timestamp, limit: u32) -> StoreResult<Vec<Lane>> {
        let tenant = tenant.clone();
        self.writer.alone_at(failpoint::ACT, move |conn| Box::pin(ask_again(conn, tenant, now, due, limit))).await
    }
}
