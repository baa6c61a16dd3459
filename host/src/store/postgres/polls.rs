//! The polls of schedules, as groups start and settle them: at most one live poll of each.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use sqlx::{PgConnection, Postgres, postgres::PgArguments, query::Query};

use super::row::Fields;
use crate::{
    clock::Timestamp,
    event::{Event, TenantId},
    store::{
        StoreResult,
        ledger::{Accept, PollSettled, ScheduleName},
    },
};

/// When a schedule is due again whose poll ended without saying so.
const UNSETTLED: Duration = Duration::from_secs(60);

/// The polls that a group starts.
#[derive(Default)]
pub(super) struct Polls {
    started: Vec<(ScheduleName, Arc<str>)>,
}

/// Locks the schedules that accepts of the group name, in the order of their names, so that a poll that another node
/// starts is seen.
pub(super) async fn lock<'a>(conn: &mut PgConnection, accepts: impl Iterator<Item = &'a Accept>) -> StoreResult<()> {
    const LOCK: &str = "select 1 from unnest($1::text[], $2::text[], $3::text[]) as w (tenant, plugin, name) \
        join schedule s on s.tenant = w.tenant and s.plugin = w.plugin and s.name = w.name \
        order by s.tenant, s.plugin, s.name for update of s";
    let mut wanted = BTreeSet::new();
    for name in accepts.flat_map(|accept| accept.polls_now.iter().chain(&accept.polls_started)) {
        wanted.insert((name.tenant.as_str(), name.plugin.as_str(), name.schedule.as_str()));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    sqlx::query(LOCK)
        .bind(wanted.iter().map(|name| name.0).collect::<Vec<_>>())
        .bind(wanted.iter().map(|name| name.1).collect::<Vec<_>>())
        .bind(wanted.iter().map(|name| name.2).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}

impl Polls {
    /// For each schedule, the public id of its live poll if it has one.
    pub(super) async fn live(
        &self,
        conn: &mut PgConnection,
        names: &[ScheduleName],
    ) -> StoreResult<Vec<Option<Arc<str>>>> {
        const LIVE: &str = "select e.id from schedule s \
            join event e on e.tenant = s.tenant and e.key = s.poll_event \
            where s.tenant = $1 and s.plugin = $2 and s.name = $3 \
              and (select true from delivery d where d.event = s.poll_event and d.state + 0 in (0, 1, 2) limit 1)";
        let mut live = Vec::with_capacity(names.len());
        for name in names {
            if let Some((_, id)) = self.started.iter().find(|(started, _)| started == name) {
                live.push(Some(id.clone()));
                continue;
            }
            let row = named(LIVE, name).fetch_optional(&mut *conn).await?;
            live.push(row.map(|row| Fields::of(&row).shared()).transpose()?);
        }
        Ok(live)
    }

    /// Notes which event is the schedule's poll. A schedule that is gone notes nothing: its poll finds no installation.
    /// The poll's settle says when it is due again; should it end without one (cancelled, expired), it is after a while.
    pub(super) async fn start(
        &mut self,
        conn: &mut PgConnection,
        name: &ScheduleName,
        event: &Event,
    ) -> StoreResult<()> {
        const START: &str = "update schedule set poll_event = $4, hinted = false, due_at = greatest(due_at, $5) \
            where tenant = $1 and plugin = $2 and name = $3";
        self.started.push((name.clone(), event.id.clone()));
        let again = event.accepted_at.after(UNSETTLED);
        named(START, name).bind(&event.key.0[..]).bind(again.0).execute(conn).await?;
        Ok(())
    }
}

fn named<'q>(sql: &'static str, name: &'q ScheduleName) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(sql).bind(name.tenant.as_str()).bind(&*name.plugin).bind(&*name.schedule)
}

/// Makes a schedule due. While its poll is live the wish is kept for the poll's end.
pub(super) async fn make_due(conn: &mut PgConnection, name: &ScheduleName, now: Timestamp) -> StoreResult<()> {
    const DUE: &str = "update schedule set due_at = least(due_at, $4), hinted = coalesce((select true from delivery d \
        where d.event = schedule.poll_event and d.state + 0 in (0, 1, 2) limit 1), false) \
        where tenant = $1 and plugin = $2 and name = $3";
    named(DUE, name).bind(now.0).execute(conn).await?;
    Ok(())
}

/// Writes what a poll leaves. A schedule that the manifest no longer has keeps nothing.
pub(super) async fn settle(
    conn: &mut PgConnection,
    tenant: &TenantId,
    plugin: &str,
    poll: &PollSettled,
    now: Timestamp,
) -> StoreResult<()> {
    const SETTLE: &str = "update schedule set \
        cursor = case when $4 then $5 else cursor end, \
        due_at = case when $6::int8 is null then due_at when hinted then least($6, $7) else $6 end, \
        hinted = case when $6::int8 is null then hinted else false end, \
        succeeded_at = coalesce($8, succeeded_at) \
        where tenant = $1 and plugin = $2 and name = $3";
    sqlx::query(SETTLE)
        .bind(tenant.as_str())
        .bind(plugin)
        .bind(&*poll.schedule)
        .bind(poll.cursor.is_some())
        .bind(poll.cursor.clone().flatten())
        .bind(poll.due_at.map(|at| at.0))
        .bind(now.0)
        .bind(poll.succeeded_at.map(|at| at.0))
        .execute(conn)
        .await?;
    Ok(())
}
