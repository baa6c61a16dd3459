//! Schedules: what is due, and at most one live poll of each.

use sqlx::PgConnection;

use super::row::Fields;
use crate::{
    clock::Timestamp,
    store::{
        StoreResult,
        ledger::{PollDue, ScheduleName},
    },
};

/// Schedules of working installations that are due and have no live poll, the longest due first.
pub(super) async fn due(conn: &mut PgConnection, now: Timestamp, limit: u32) -> StoreResult<Vec<PollDue>> {
    const DUE: &str = "select s.tenant, s.plugin, s.name, s.due_at, s.cursor from schedule s \
        join installation i on i.tenant = s.tenant and i.plugin = s.plugin \
        where s.due_at <= $1 and i.mode = 'live' and i.state = 'ready' \
          and not exists (select 1 from delivery d where d.event = s.poll_event and d.state in (0, 1, 2)) \
        order by s.due_at limit $2";
    let rows = sqlx::query(DUE).bind(now.0).bind(i64::from(limit)).fetch_all(conn).await?;
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
    conn: &mut PgConnection,
    name: &ScheduleName,
    (seen, next): (Timestamp, Timestamp),
    missed: u32,
    now: Timestamp,
) -> StoreResult<bool> {
    const MISSED: &str = "update schedule set due_at = $5, missed = missed + $6, missed_at = $7 \
        where tenant = $1 and plugin = $2 and name = $3 and due_at = $4 and not exists \
          (select 1 from delivery d where d.event = schedule.poll_event and d.state in (0, 1, 2))";
    let query = sqlx::query(MISSED).bind(name.tenant.as_str()).bind(&*name.plugin).bind(&*name.schedule);
    let query = query.bind(seen.0).bind(next.0).bind(i64::from(missed)).bind(now.0);
    Ok(query.execute(conn).await?.rows_affected() == 1)
}

/// When the next schedule of a working installation without a live poll is due.
pub(super) async fn next(conn: &mut PgConnection) -> StoreResult<Option<Timestamp>> {
    const NEXT: &str = "select s.due_at from schedule s \
        join installation i on i.tenant = s.tenant and i.plugin = s.plugin \
        where i.mode = 'live' and i.state = 'ready' \
          and not exists (select 1 from delivery d where d.event = s.poll_event and d.state in (0, 1, 2)) \
        order by s.due_at limit 1";
    let row = sqlx::query(NEXT).fetch_optional(conn).await?;
    row.map(|row| Fields::of(&row).time()).transpose()
}
