//! Schedules: what is due, and at most one live poll of each.

use std::{sync::Arc, time::Duration};

use sqlx::SqliteConnection;

use super::{accept::bytes, row::Fields};
use crate::{
    clock::Timestamp,
    event::{Event, TenantId},
    store::{
        StoreResult,
        ledger::{PollDue, PollSettled, ScheduleName},
    },
};

/// When a schedule is due again whose poll ended without saying so.
const UNSETTLED: Duration = Duration::from_secs(60);

/// The polls that a group starts.
#[derive(Default)]
pub(super) struct Polls {
    started: Vec<(ScheduleName, Arc<str>)>,
}

impl Polls {
    /// For each schedule, the public id of its live poll if it has one.
    pub(super) async fn live(
        &self,
        conn: &mut SqliteConnection,
        names: &[ScheduleName],
    ) -> StoreResult<Vec<Option<Arc<str>>>> {
        const LIVE: &str = "select e.id from schedule s \
            join event e on e.tenant = s.tenant and e.key = s.poll_event \
            where s.tenant = ? and s.plugin = ? and s.name = ? \
              and exists (select 1 from delivery d where d.event = s.poll_event and d.state in (0, 1, 2))";
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
        conn: &mut SqliteConnection,
        name: &ScheduleName,
        event: &Event,
    ) -> StoreResult<()> {
        const START: &str = "update schedule set poll_event = ?4, hinted = 0, due_at = max(due_at, ?5) \
            where tenant = ?1 and plugin = ?2 and name = ?3";
        self.started.push((name.clone(), event.id.clone()));
        let again = event.accepted_at.after(UNSETTLED);
        named(START, name).bind(bytes(event.key)).bind(again.0).execute(conn).await?;
        Ok(())
    }
}

fn named<'q>(sql: &'static str, name: &ScheduleName) -> super::sql::Bound<'q> {
    sqlx::query(sql).bind(name.tenant.as_str().to_owned()).bind(name.plugin.clone()).bind(name.schedule.clone())
}

/// Makes a schedule due. While its poll is live the wish is kept for the poll's end.
pub(super) async fn make_due(conn: &mut SqliteConnection, name: &ScheduleName, now: Timestamp) -> StoreResult<()> {
    const DUE: &str = "update schedule set due_at = min(due_at, ?4), hinted = exists (select 1 from delivery d \
        where d.event = schedule.poll_event and d.state in (0, 1, 2)) \
        where tenant = ?1 and plugin = ?2 and name = ?3";
    named(DUE, name).bind(now.0).execute(conn).await?;
    Ok(())
}

/// Writes what a poll leaves. A schedule that the manifest no longer has keeps nothing.
pub(super) async fn settle(
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    plugin: &str,
    poll: &PollSettled,
    now: Timestamp,
) -> StoreResult<()> {
    const SETTLE: &str = "update schedule set \
        cursor = case when ?4 then ?5 else cursor end, \
        due_at = case when ?6 is null then due_at when hinted = 1 then min(?6, ?7) else ?6 end, \
        hinted = case when ?6 is null then hinted else 0 end, \
        succeeded_at = coalesce(?8, succeeded_at) \
        where tenant = ?1 and plugin = ?2 and name = ?3";
    sqlx::query(SETTLE)
        .bind(tenant.as_str().to_owned())
        .bind(plugin.to_owned())
        .bind(poll.schedule.clone())
        .bind(poll.cursor.is_some())
        .bind(poll.cursor.clone().flatten())
        .bind(poll.due_at.map(|at| at.0))
        .bind(now.0)
        .bind(poll.succeeded_at.map(|at| at.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// Schedules of working installations that are due and have no live poll, the longest due first.
pub(super) async fn due(conn: &mut SqliteConnection, now: Timestamp, limit: u32) -> StoreResult<Vec<PollDue>> {
    const DUE: &str = "select s.tenant, s.plugin, s.name, s.due_at, s.cursor from schedule s \
        join installation i on i.tenant = s.tenant and i.plugin = s.plugin \
        where s.due_at <= ? and i.mode = 'live' and i.state = 'ready' \
          and not exists (select 1 from delivery d where d.event = s.poll_event and d.state in (0, 1, 2)) \
        order by s.due_at limit ?";
    let rows = sqlx::query(DUE).bind(now.0).bind(limit).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            let name = ScheduleName { tenant: fields.parsed()?, plugin: fields.text()?, schedule: fields.text()? };
            Ok(PollDue { name, due_at: fields.time()?, cursor: fields.opt_text()? })
        })
        .collect()
}

/// Counts runs that were missed and moves the schedule from when it was due, unless it has moved or runs by now.
pub(super) async fn missed(
    conn: &mut SqliteConnection,
    name: &ScheduleName,
    (seen, next): (Timestamp, Timestamp),
    missed: u32,
    now: Timestamp,
) -> StoreResult<bool> {
    const MISSED: &str = "update schedule set due_at = ?5, missed = missed + ?6, missed_at = ?7 \
        where tenant = ?1 and plugin = ?2 and name = ?3 and due_at = ?4 and not exists \
          (select 1 from delivery d where d.event = schedule.poll_event and d.state in (0, 1, 2))";
    let query = named(MISSED, name).bind(seen.0).bind(next.0).bind(missed).bind(now.0);
    Ok(query.execute(conn).await?.rows_affected() == 1)
}

/// When the next schedule of a working installation without a live poll is due.
pub(super) async fn next(conn: &mut SqliteConnection) -> StoreResult<Option<Timestamp>> {
    const NEXT: &str = "select s.due_at from schedule s \
        join installation i on i.tenant = s.tenant and i.plugin = s.plugin \
        where i.mode = 'live' and i.state = 'ready' \
          and not exists (select 1 from delivery d where d.event = s.poll_event and d.state in (0, 1, 2)) \
        order by s.due_at limit 1";
    let row = sqlx::query(NEXT).fetch_optional(conn).await?;
    row.map(|row| Fields::of(&row).time()).transpose()
}
