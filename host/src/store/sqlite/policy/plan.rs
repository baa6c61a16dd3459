//! Plans, and commands that were carried out.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::super::{
    accept::bytes,
    direct::{Each, WriteConnection},
    registry::{audit, json, require_tenant},
    row::{Fields, inconsistent},
    sql::one_row,
};
use crate::{
    event::TenantId,
    policy::plan::{DayUsage, Follows, Plan},
    store::{
        StoreError, StoreResult,
        ledger::{Outcome, Settle},
        policy::{PlanRow, Reservation, Reserved, decide},
        registry::AuditEntry,
    },
};

/// Counts the commands of settles that won, each once for its delivery, and gives their places back.
pub(in super::super) fn count(conn: &mut WriteConnection, settled: &[&Settle]) -> StoreResult<()> {
    // The attempt that succeeds now is stored already; an earlier one means that it was counted then.
    static COUNT: Each = Each(
        "insert into usage (tenant, day, command, total) select ?1, ?2, ?3, 1 where not exists (select 1 from attempt \
         where delivery = ?4 and outcome = 'succeeded' and number < ?5) on conflict do update set total = total + 1",
    );
    static GIVE_BACK: Each = Each("delete from reservation where delivery = ?");
    let counted: Vec<_> =
        settled.iter().filter_map(|settle| settle.counted.as_ref().map(|counted| (*settle, counted))).collect();
    let delivered: Vec<_> =
        counted.iter().copied().filter(|(settle, _)| matches!(settle.outcome, Outcome::Delivered)).collect();
    COUNT.write(conn, &delivered, |query, (settle, counted)| {
        query
            .bind(settle.tenant.as_str())
            .bind(counted.day)
            .bind(&*counted.command)
            .bind(&settle.delivery.0[..])
            .bind(settle.epoch)
    })?;
    GIVE_BACK.write(conn, &counted, |query, (settle, _)| query.bind(&settle.delivery.0[..]))?;
    Ok(())
}

pub(super) async fn put_plan(conn: &mut SqliteConnection, row: PlanRow, entry: AuditEntry) -> StoreResult<()> {
    // The next telling is followed whenever it was said: its teller keeps the order.
    const PUT: &str = "insert into plan (tenant, state, since, grace_days, caps, follows_tenant, follows_customer, \
        told_at, updated_at) values (?, ?, ?, ?, ?, ?, ?, null, ?) on conflict do update set state = excluded.state, \
        since = excluded.since, grace_days = excluded.grace_days, caps = excluded.caps, \
        follows_tenant = excluded.follows_tenant, follows_customer = excluded.follows_customer, told_at = null, \
        updated_at = excluded.updated_at";
    require_tenant(conn, &row.tenant).await?;
    let Plan { state, since, grace_days, caps, follows } = row.plan;
    let query = sqlx::query(PUT)
        .bind(row.tenant.as_str().to_owned())
        .bind(state.as_str())
        .bind(since.0)
        .bind(grace_days)
        .bind(json(&caps)?)
        .bind(follows.as_ref().map(|follows| follows.tenant.as_str().to_owned()))
        .bind(follows.map(|follows| follows.customer_id))
        .bind(row.updated_at.0);
    query.execute(&mut *conn).await?;
    audit::write(conn, entry).await
}

pub(super) async fn delete_plan(conn: &mut SqliteConnection, tenant: TenantId, entry: AuditEntry) -> StoreResult<()> {
    one_row(conn, sqlx::query("delete from plan where tenant = ?").bind(tenant.as_str().to_owned())).await?;
    audit::write(conn, entry).await
}

/// The plans of all tenants, or of one.
pub(in super::super) async fn plans(
    conn: &mut SqliteConnection,
    tenant: Option<&TenantId>,
) -> StoreResult<Vec<PlanRow>> {
    const LIST: &str = "select tenant, state, since, grace_days, caps, follows_tenant, follows_customer, updated_at \
        from plan where ?1 is null or tenant = ?1 order by tenant";
    let rows = sqlx::query(LIST).bind(tenant.map(|tenant| tenant.as_str().to_owned())).fetch_all(conn).await?;
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

pub(super) async fn usage(conn: &mut SqliteConnection, tenant: &TenantId, since: i64) -> StoreResult<Vec<DayUsage>> {
    const USAGE: &str = "select day, command, total from usage where tenant = ? and day >= ?";
    let rows = sqlx::query(USAGE).bind(tenant.as_str().to_owned()).bind(since).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok(DayUsage { day: fields.int()?, command: fields.text()?, total: fields.number()? })
        })
        .collect()
}

pub(super) async fn reserve(conn: &mut SqliteConnection, asked: Reservation) -> StoreResult<Reserved> {
    const RUNS: &str = "select 1 from delivery where key = ? and tenant = ? and state = 1";
    const COUNTED: &str = "select 1 from attempt where delivery = ? and outcome = 'succeeded' limit 1";
    const STALE: &str = "delete from reservation where tenant = ?1 and delivery in (select r.delivery from reservation r \
        left join delivery d on d.key = r.delivery where r.tenant = ?1 and (d.key is null or d.state != 1))";
    const RUNNING: &str =
        "select command, count(*) from reservation where tenant = ? and delivery != ? group by command";
    const RESERVE: &str = "insert or ignore into reservation (delivery, tenant, command) values (?, ?, ?)";
    let (tenant, delivery) = (|| asked.tenant.as_str().to_owned(), || bytes(asked.delivery));
    let runs = sqlx::query(RUNS).bind(delivery()).bind(tenant()).fetch_optional(&mut *conn).await?;
    runs.map(drop).ok_or(StoreError::NotFound)?;
    if sqlx::query(COUNTED).bind(delivery()).fetch_optional(&mut *conn).await?.is_some() {
        return Ok(Reserved::Yes);
    }
    sqlx::query(STALE).bind(tenant()).execute(&mut *conn).await?;
    let rows = sqlx::query(RUNNING).bind(tenant()).bind(delivery()).fetch_all(&mut *conn).await?;
    let running = rows.iter().map(|row| {
        let mut fields = Fields::of(row);
        Ok((fields.text()?, fields.number()?))
    });
    let running = running.collect::<StoreResult<BTreeMap<String, u64>>>()?;
    let used = usage(conn, &asked.tenant, asked.today.month_from).await?;
    let reserved = decide(&asked, &used, &running);
    if reserved == Reserved::Yes {
        let query = sqlx::query(RESERVE).bind(delivery()).bind(tenant()).bind(asked.command.clone());
        query.execute(conn).await?;
    }
    Ok(reserved)
}
