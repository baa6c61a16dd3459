//! Plans, and commands that were carried out.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::super::{
    registry::{
        audit,
        write::{json, one_row, require_tenant},
    },
    row::{Fields, inconsistent},
    transaction::note_change,
};
use crate::{
    event::TenantId,
    policy::plan::{DayUsage, Follows, Plan, Telling},
    store::{
        StoreError, StoreResult,
        ledger::{Outcome, Settle},
        policy::{PlanRow, Reservation, Reserved, decide},
        registry::AuditEntry,
    },
};

pub(super) async fn follow(conn: &mut PgConnection, telling: &Telling) -> StoreResult<()> {
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
pub(in super::super) async fn count(conn: &mut PgConnection, settled: &[&Settle]) -> StoreResult<()> {
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

pub(super) async fn put_plan(conn: &mut PgConnection, row: &PlanRow, entry: &AuditEntry) -> StoreResult<()> {
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

pub(super) async fn delete_plan(conn: &mut PgConnection, tenant: &TenantId, entry: &AuditEntry) -> StoreResult<()> {
    one_row(conn, sqlx::query("delete from plan where tenant = $1").bind(tenant.as_str())).await?;
    audit::write(conn, entry).await
}

/// The plans of all tenants, or of one.
pub(in super::super) async fn plans(conn: &mut PgConnection, tenant: Option<&TenantId>) -> StoreResult<Vec<PlanRow>> {
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

pub(super) async fn usage(conn: &mut PgConnection, tenant: &TenantId, since: i64) -> StoreResult<Vec<DayUsage>> {
    const USAGE: &str = "select day, command, total from usage where tenant = $1 and day >= $2";
    let rows = sqlx::query(USAGE).bind(tenant.as_str()).bind(since).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok(DayUsage { day: fields.int()?, command: fields.text()?, total: fields.number()? })
        })
        .collect()
}

pub(super) async fn reserve(conn: &mut PgConnection, asked: &Reservation) -> StoreResult<Reserved> {
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
    require_tenant(conn, &asked.tenant).await?;
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
