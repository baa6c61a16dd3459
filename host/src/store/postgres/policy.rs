//! Consents, plans and counts, in PostgreSQL.

use async_trait::async_trait;
use sqlx::PgConnection;

use super::{
    PostgresStore,
    registry::{Concerns, audit, write::require_tenant},
    row::Fields,
};
use crate::{
    clock::Timestamp,
    event::TenantId,
    failpoint,
    policy::{address::Channel, consent::ConsentState, plan::DayUsage},
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
use plan::{delete_plan, follow, put_plan, reserve, usage};

/// Stores what the events of a group say of persons and plans. Rows are written in the order of their keys, which all
/// nodes keep.
pub(super) async fn apply(conn: &mut PgConnection, stored: &[&NewEvent]) -> StoreResult<()> {
    let changes = || stored.iter().flat_map(|new| &new.changes);
    let said: Vec<&ConsentSaid> = changes()
        .filter_map(|change| match change {
            PolicyChange::Consent(said) => Some(said),
            PolicyChange::Plan(_) => None,
        })
        .collect();
    if !said.is_empty() {
        let stands: Vec<&ConsentSaid> = standing(said.iter().copied()).into_values().collect();
        say(conn, &stands).await?;
        remember(conn, &said).await?;
        for said in stands {
            forget_old(conn, said).await?;
        }
    }
    for change in changes() {
        if let PolicyChange::Plan(telling) = change {
            follow(conn, telling).await?;
        }
    }
    Ok(())
}

async fn say(conn: &mut PgConnection, said: &[&ConsentSaid]) -> StoreResult<()> {
    // What was said later stands; of two at once the one that withdraws.
    const SAY: &str = "insert into consent as c (tenant, person, channel, address, state, source, at, updated_at) \
        select * from unnest($1::text[], $2::bytea[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::int8[], \
            $8::int8[]) \
        on conflict (tenant, person, channel) do update set address = excluded.address, state = excluded.state, \
            source = excluded.source, at = excluded.at, updated_at = excluded.updated_at \
        where excluded.at > c.at or (excluded.at = c.at and excluded.state = 'withdrawn')";
    sqlx::query(SAY)
        .bind(said.iter().map(|said| said.tenant.as_str()).collect::<Vec<_>>())
        .bind(said.iter().map(|said| &said.person[..]).collect::<Vec<_>>())
        .bind(said.iter().map(|said| said.channel.as_str()).collect::<Vec<_>>())
        .bind(said.iter().map(|said| &said.address[..]).collect::<Vec<_>>())
        .bind(said.iter().map(|said| said.state.as_str()).collect::<Vec<_>>())
        .bind(said.iter().map(|said| said.source.as_str()).collect::<Vec<_>>())
        .bind(said.iter().map(|said| said.at.0).collect::<Vec<_>>())
        .bind(said.iter().map(|said| said.now.0).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}

async fn remember(conn: &mut PgConnection, said: &[&ConsentSaid]) -> StoreResult<()> {
    const REMEMBER: &str = "insert into consent_history (tenant, person, channel, at, state, source, event, recorded_at) \
        select * from unnest($1::text[], $2::bytea[], $3::text[], $4::int8[], $5::text[], $6::text[], $7::bytea[], \
            $8::int8[]) on conflict do nothing";
    sqlx::query(REMEMBER)
        .bind(said.iter().map(|said| said.tenant.as_str()).collect::<Vec<_>>())
        .bind(said.iter().map(|said| &said.person[..]).collect::<Vec<_>>())
        .bind(said.iter().map(|said| said.channel.as_str()).collect::<Vec<_>>())
        .bind(said.iter().map(|said| said.at.0).collect::<Vec<_>>())
        .bind(said.iter().map(|said| said.state.as_str()).collect::<Vec<_>>())
        .bind(said.iter().map(|said| said.source.as_str()).collect::<Vec<_>>())
        .bind(said.iter().map(|said| said.event.as_ref().map(|key| &key.0[..])).collect::<Vec<_>>())
        .bind(said.iter().map(|said| said.now.0).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}

async fn forget_old(conn: &mut PgConnection, said: &ConsentSaid) -> StoreResult<()> {
    const FORGET: &str = "delete from consent_history where tenant = $1 and person = $2 and channel = $3 and at < \
        (select at from consent_history where tenant = $1 and person = $2 and channel = $3 \
        order by at desc limit 1 offset $4)";
    let query = sqlx::query(FORGET).bind(said.tenant.as_str()).bind(&said.person[..]).bind(said.channel.as_str());
    query.bind(i64::from(KEPT_SAYINGS - 1)).execute(conn).await?;
    Ok(())
}

async fn put(conn: &mut PgConnection, said: &ConsentSaid, entry: &AuditEntry) -> StoreResult<()> {
    // What an admin says stands from the moment after all that was said before.
    const PUT: &str = "insert into consent as c (tenant, person, channel, address, state, source, at, updated_at) \
        values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (tenant, person, channel) do update \
        set address = excluded.address, state = excluded.state, source = excluded.source, \
            at = greatest(excluded.at, c.at + 1), updated_at = excluded.updated_at";
    require_tenant(conn, &said.tenant).await?;
    sqlx::query(PUT)
        .bind(said.tenant.as_str())
        .bind(&said.person[..])
        .bind(said.channel.as_str())
        .bind(&said.address)
        .bind(said.state.as_str())
        .bind(said.source.as_str())
        .bind(said.at.0)
        .bind(said.now.0)
        .execute(&mut *conn)
        .await?;
    remember(conn, &[said]).await?;
    forget_old(conn, said).await?;
    audit::write(conn, entry).await
}

async fn list(
    conn: &mut PgConnection,
    tenant: &TenantId,
    filter: &ConsentFilter,
    limit: u32,
) -> StoreResult<Vec<ConsentRow>> {
    const LIST: &str = "select channel, person, address, state, source, at, updated_at from consent where tenant = $1 \
        and ($2::text is null or channel = $2) and ($3::text is null or state = $3) \
        and ($4::bytea is null or person = $4) and ($5::bytea is null or (person, channel) > ($5, $6::text)) \
        order by person, channel limit $7";
    let query = sqlx::query(LIST)
        .bind(tenant.as_str())
        .bind(filter.channel.map(Channel::as_str))
        .bind(filter.state.map(ConsentState::as_str))
        .bind(filter.person.map(|person| person.to_vec()))
        .bind(filter.after.map(|(person, _)| person.to_vec()))
        .bind(filter.after.map(|(_, channel)| channel.as_str()))
        .bind(i64::from(limit));
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
    conn: &mut PgConnection,
    tenant: &TenantId,
    channel: Channel,
    person: &Person,
) -> StoreResult<Vec<PastConsent>> {
    const READ: &str = "select at, state, source, event, recorded_at from consent_history \
        where tenant = $1 and person = $2 and channel = $3 order by at desc, recorded_at desc limit $4";
    let query = sqlx::query(READ).bind(tenant.as_str()).bind(&person[..]).bind(channel.as_str());
    let rows = query.bind(i64::from(KEPT_SAYINGS)).fetch_all(conn).await?;
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
    conn: &mut PgConnection,
    tenant: &TenantId,
    persons: &[Person],
) -> StoreResult<Vec<(Person, Channel, ConsentState)>> {
    const KNOWN: &str = "select person, channel, state from consent where tenant = $1 and person = any ($2)";
    let persons: Vec<&[u8]> = persons.iter().map(|person| &person[..]).collect();
    let rows = sqlx::query(KNOWN).bind(tenant.as_str()).bind(persons).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok((fields.array()?, fields.word()?, fields.word()?))
        })
        .collect()
}

/// Forgets a person's addresses and the events that spoke of them. What they want stays, under their hash.
pub(super) async fn erase(conn: &mut PgConnection, tenant: &TenantId, person: &Person) -> StoreResult<()> {
    const ADDRESSES: &str = "update consent set address = null where tenant = $1 and person = $2";
    const EVENTS: &str = "update consent_history set event = null where tenant = $1 and person = $2";
    let of = |sql: &'static str| sqlx::query(sql).bind(tenant.as_str()).bind(&person[..]);
    of(ADDRESSES).execute(&mut *conn).await?;
    of(EVENTS).execute(conn).await?;
    Ok(())
}

async fn ask_again(
    conn: &mut PgConnection,
    tenant: &TenantId,
    now: Timestamp,
    due: Timestamp,
    limit: u32,
) -> StoreResult<Vec<Lane>> {
    // Locked in the order in which everybody locks deliveries.
    const DUE: &str = "with waiting as materialized (select key from delivery where state in (0, 1, 2, 4) and state = 2 \
            and tenant = $1 and reason = 'policy' and due_at > $3 and updated_at < $2 order by key limit $4 for update) \
        update delivery d set due_at = $3, updated_at = $2 from waiting \
        where d.key = waiting.key and d.state + 0 = 2 returning d.tenant, d.target, d.shard";
    let query = sqlx::query(DUE).bind(tenant.as_str()).bind(now.0).bind(due.0).bind(i64::from(limit));
    query.fetch_all(conn).await?.iter().map(|row| Fields::of(row).lane()).collect()
}

#[async_trait]
impl Policies for PostgresStore {
    async fn consents(&self, tenant: &TenantId, filter: ConsentFilter, limit: u32) -> StoreResult<Vec<ConsentRow>> {
        self.look(tenant, (filter, limit), |conn, tenant, (filter, limit)| Box::pin(list(conn, tenant, filter, *limit)))
            .await
    }

    async fn consent_history(
        &self,
        tenant: &TenantId,
        channel: Channel,
        person: Person,
    ) -> StoreResult<Vec<PastConsent>> {
        self.look(tenant, (channel, person), |conn, tenant, (channel, person)| {
            Box::pin(history(conn, tenant, *channel, person))
        })
        .await
    }

    async fn put_consent(&self, said: ConsentSaid, audit: AuditEntry) -> StoreResult<()> {
        self.change(Concerns::Nobody, (said, audit), |conn, (said, audit)| Box::pin(put(conn, said, audit))).await
    }

    async fn consents_of(
        &self,
        tenant: &TenantId,
        persons: Vec<Person>,
    ) -> StoreResult<Vec<(Person, Channel, ConsentState)>> {
        self.look(tenant, persons, |conn, tenant, persons| Box::pin(known(conn, tenant, persons))).await
    }

    async fn put_plan(&self, plan: PlanRow, audit: AuditEntry) -> StoreResult<()> {
        let tenant = plan.tenant.clone();
        self.change(&tenant, (plan, audit), |conn, (plan, audit)| Box::pin(put_plan(conn, plan, audit))).await
    }

    async fn delete_plan(&self, tenant: &TenantId, audit: AuditEntry) -> StoreResult<()> {
        self.change(tenant, (tenant.clone(), audit), |conn, (tenant, audit)| Box::pin(delete_plan(conn, tenant, audit)))
            .await
    }

    async fn usage(&self, tenant: &TenantId, since_day: i64) -> StoreResult<Vec<DayUsage>> {
        self.look(tenant, since_day, |conn, tenant, since| Box::pin(usage(conn, tenant, *since))).await
    }

    async fn reserve(&self, reservation: Reservation) -> StoreResult<Reserved> {
        self.change(Concerns::Nobody, reservation, |conn, asked| Box::pin(reserve(conn, asked))).await
    }

    async fn ask_again(&self, tenant: &TenantId, now: Timestamp, due: Timestamp, limit: u32) -> StoreResult<Vec<Lane>> {
        let input = (tenant.clone(), now, due, limit);
        self.change_at(failpoint::ACT, Concerns::Nobody, input, |conn, (tenant, now, due, limit)| {
            Box::pin(ask_again(conn, tenant, *now, *due, *limit))
        })
        .await
    }
}
