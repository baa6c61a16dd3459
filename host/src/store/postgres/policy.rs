//! Consents, plans and counts, in PostgreSQL.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sqlx::PgConnection;

use super::{
    PostgresStore,
    registry::{
        Concerns, audit,
        write::{json, one_row, require_tenant},
    },
    row::{Fields, inconsistent},
    transaction::note_change,
};
use crate::{
    event::TenantId,
    policy::{
        address::Channel,
        consent::ConsentState,
        plan::{DayUsage, Follows, Plan, Telling},
    },
    store::{
        StoreError, StoreResult,
        ledger::{NewEvent, Outcome, Settle},
        policy::{
            ConsentFilter, ConsentRow, ConsentSaid, KEPT_SAYINGS, PastConsent, Person, PlanRow, Policies, PolicyChange,
            Reservation, Reserved, decide, standing,
        },
        registry::AuditEntry,
    },
};

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

async fn follow(conn: &mut PgConnection, telling: &Telling) -> StoreResult<()> {
    // Locked in the order of the tenants, which all nodes keep.
    const FOLLOW: &str = "with following as materialized (select tenant from plan where follows_tenant = $1 \
            and follows_customer = $2 and (told_at is null or told_at <= $4) order by tenant for no key update) \
        update plan p set state = $3, since = case when p.state = $3 then p.since else $4 end, told_at = $4 \
        from following f where p.tenant = f.tenant returning p.tenant";
    let query = sqlx::query(FOLLOW).bind(telling.tenant.as_str()).bind(&telling.customer_id);
    let rows = query.bind(telling.state.as_str()).bind(telling.at.0).fetch_all(&mut *conn).await?;
    for row in &rows {
        let tenant: TenantId = Fields::of(row).parsed()?;
        note_change(conn, Some(&tenant)).await?;
    }
    Ok(())
}

/// Counts the commands of settles that won, each once for its delivery, and gives their places back.
pub(super) async fn count(conn: &mut PgConnection, settled: &[&Settle]) -> StoreResult<()> {
    // The attempt that succeeds now is stored already; an earlier one means that it was counted then.
    const COUNT: &str = "insert into usage as u (tenant, day, command, total) \
        select w.tenant, w.day, w.command, count(*) from unnest($1::text[], $2::int8[], $3::text[], $4::bytea[], \
            $5::int8[]) as w (tenant, day, command, delivery, number) \
        where not exists (select 1 from attempt a where a.delivery = w.delivery and a.outcome = 'succeeded' \
            and a.number < w.number) \
        group by w.tenant, w.day, w.command order by w.tenant, w.day, w.command \
        on conflict (tenant, day, command) do update set total = u.total + excluded.total";
    const GIVE_BACK: &str = "delete from reservation r using unnest($1::bytea[]) as w (delivery) \
        where r.delivery = w.delivery";
    let counted: Vec<_> =
        settled.iter().filter_map(|settle| settle.counted.as_ref().map(|counted| (*settle, counted))).collect();
    if counted.is_empty() {
        return Ok(());
    }
    let delivered: Vec<_> = counted.iter().filter(|(settle, _)| matches!(settle.outcome, Outcome::Delivered)).collect();
    if !delivered.is_empty() {
        sqlx::query(COUNT)
            .bind(delivered.iter().map(|(settle, _)| settle.tenant.as_str()).collect::<Vec<_>>())
            .bind(delivered.iter().map(|(_, counted)| counted.day).collect::<Vec<_>>())
            .bind(delivered.iter().map(|(_, counted)| &*counted.command).collect::<Vec<_>>())
            .bind(delivered.iter().map(|(settle, _)| &settle.delivery.0[..]).collect::<Vec<_>>())
            .bind(delivered.iter().map(|(settle, _)| i64::from(settle.epoch)).collect::<Vec<_>>())
            .execute(&mut *conn)
            .await?;
    }
    let keys: Vec<&[u8]> = counted.iter().map(|(settle, _)| &settle.delivery.0[..]).collect();
    sqlx::query(GIVE_BACK).bind(keys).execute(conn).await?;
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

async fn erase(conn: &mut PgConnection, tenant: &TenantId, person: &Person) -> StoreResult<u64> {
    const ADDRESSES: &str = "update consent set address = null where tenant = $1 and person = $2";
    const EVENTS: &str = "update consent_history set event = null where tenant = $1 and person = $2";
    let of = |sql: &'static str| sqlx::query(sql).bind(tenant.as_str()).bind(&person[..]);
    let erased = of(ADDRESSES).execute(&mut *conn).await?.rows_affected();
    of(EVENTS).execute(conn).await?;
    Ok(erased)
}

async fn put_plan(conn: &mut PgConnection, row: &PlanRow, entry: &AuditEntry) -> StoreResult<()> {
    // The next telling is followed whenever it was said: its teller keeps the order.
    const PUT: &str = "insert into plan (tenant, state, since, grace_days, caps, follows_tenant, follows_customer, \
        told_at, updated_at) values ($1, $2, $3, $4, $5, $6, $7, null, $8) on conflict (tenant) do update set \
        state = excluded.state, since = excluded.since, grace_days = excluded.grace_days, caps = excluded.caps, \
        follows_tenant = excluded.follows_tenant, follows_customer = excluded.follows_customer, told_at = null, \
        updated_at = excluded.updated_at";
    require_tenant(conn, &row.tenant).await?;
    let Plan { state, since, grace_days, caps, follows } = &row.plan;
    let query = sqlx::query(PUT)
        .bind(row.tenant.as_str())
        .bind(state.as_str())
        .bind(since.0)
        .bind(i64::from(*grace_days))
        .bind(json(caps)?)
        .bind(follows.as_ref().map(|follows| follows.tenant.as_str()))
        .bind(follows.as_ref().map(|follows| &*follows.customer_id))
        .bind(row.updated_at.0);
    query.execute(&mut *conn).await?;
    audit::write(conn, entry).await
}

async fn delete_plan(conn: &mut PgConnection, tenant: &TenantId, entry: &AuditEntry) -> StoreResult<()> {
    one_row(conn, sqlx::query("delete from plan where tenant = $1").bind(tenant.as_str())).await?;
    audit::write(conn, entry).await
}

/// The plans of all tenants, or of one.
pub(super) async fn plans(conn: &mut PgConnection, tenant: Option<&TenantId>) -> StoreResult<Vec<PlanRow>> {
    const LIST: &str = "select tenant, state, since, grace_days, caps, follows_tenant, follows_customer, updated_at \
        from plan where $1::text is null or tenant = $1 order by tenant";
    let rows = sqlx::query(LIST).bind(tenant.map(TenantId::as_str)).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            let tenant = fields.parsed()?;
            let (state, since, grace_days, caps) = (fields.word()?, fields.time()?, fields.number()?, fields.json()?);
            let follows = follows(fields.opt_text()?, fields.opt_text()?)?;
            let plan = Plan { state, since, grace_days, caps, follows };
            Ok(PlanRow { tenant, plan, updated_at: fields.time()? })
        })
        .collect()
}

fn follows(tenant: Option<String>, customer: Option<String>) -> StoreResult<Option<Follows>> {
    let Some((tenant, customer_id)) = tenant.zip(customer) else { return Ok(None) };
    let tenant = tenant.parse().map_err(|_| inconsistent("tenant"))?;
    Ok(Some(Follows { tenant, customer_id }))
}

async fn usage(conn: &mut PgConnection, tenant: &TenantId, since: i64) -> StoreResult<Vec<DayUsage>> {
    const USAGE: &str = "select day, command, total from usage where tenant = $1 and day >= $2";
    let rows = sqlx::query(USAGE).bind(tenant.as_str()).bind(since).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok(DayUsage { day: fields.int()?, command: fields.text()?, total: fields.number()? })
        })
        .collect()
}

async fn reserve(conn: &mut PgConnection, asked: &Reservation) -> StoreResult<Reserved> {
    // One after the other for each plan, so that two do not take the same room.
    const LOCK: &str = "select 1 from plan where tenant = $1 for no key update";
    const RUNS: &str = "select d.state + 0 = 1, exists (select 1 from attempt a where a.delivery = d.key \
        and a.outcome = 'succeeded') from delivery d where d.key = $1 and d.tenant = $2";
    // One statement, which sees one moment: a settle makes a running command a counted one.
    const COUNT: &str = "select day, command, total from usage where tenant = $1 and day >= $2 union all \
        select null::int8, r.command, count(*) from reservation r join delivery d on d.key = r.delivery \
        where r.tenant = $1 and r.delivery != $3 and d.state + 0 = 1 group by r.command";
    const STALE: &str = "delete from reservation where delivery in (select r.delivery from reservation r \
        left join delivery d on d.key = r.delivery where r.tenant = $1 and r.delivery != $2 \
          and (d.key is null or d.state + 0 != 1) order by r.delivery for update of r skip locked)";
    const RESERVE: &str =
        "insert into reservation (delivery, tenant, command) values ($1, $2, $3) on conflict (delivery) do nothing";
    let (tenant, delivery) = (asked.tenant.as_str(), &asked.delivery.0[..]);
    sqlx::query(LOCK).bind(tenant).fetch_optional(&mut *conn).await?;
    let row = sqlx::query(RUNS).bind(delivery).bind(tenant).fetch_optional(&mut *conn).await?;
    let row = row.ok_or(StoreError::NotFound)?;
    let mut fields = Fields::of(&row);
    if !fields.flag()? {
        return Err(StoreError::NotFound);
    }
    if fields.flag()? {
        return Ok(Reserved::Yes);
    }
    let rows = sqlx::query(COUNT).bind(tenant).bind(asked.today.month_from).bind(delivery);
    let (mut used, mut running) = (Vec::new(), BTreeMap::new());
    for row in &rows.fetch_all(&mut *conn).await? {
        let mut fields = Fields::of(row);
        let (day, command, total) = (fields.opt_number::<i64>()?, fields.text()?, fields.number()?);
        match day {
            Some(day) => used.push(DayUsage { day, command, total }),
            None => {
                running.insert(command, total);
            }
        }
    }
    let reserved = decide(asked, &used, &running);
    sqlx::query(STALE).bind(tenant).bind(delivery).execute(&mut *conn).await?;
    if reserved == Reserved::Yes {
        sqlx::query(RESERVE).bind(delivery).bind(tenant).bind(&asked.command).execute(conn).await?;
    }
    Ok(reserved)
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

    async fn erase_consents(&self, tenant: &TenantId, person: Person) -> StoreResult<u64> {
        self.change(Concerns::Nobody, (tenant.clone(), person), |conn, (tenant, person)| {
            Box::pin(erase(conn, tenant, person))
        })
        .await
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
}
