//! Replays under way: how far they are, and giving up what has not begun.

use sqlx::{PgConnection, Postgres, QueryBuilder};

use super::{
    super::{
        order::{self, all_touched},
        registry::audit,
        row::Fields,
    },
    act::{CHOSEN, lock_unchanged, move_by, places, read_chosen, touched},
};
use crate::{
    clock::Timestamp,
    event::{Target, TenantId},
    queue::{
        reason::{Failure, ReasonClass},
        state::{Cause, State},
    },
    store::{
        StoreResult,
        records::{ReplayProgress, Touched},
        registry::AuditEntry,
    },
};

/// Counts the replayed deliveries of a target by what became of them.
pub(super) async fn progress(
    conn: &mut PgConnection,
    tenant: &TenantId,
    target: &Target,
    since: Timestamp,
) -> StoreResult<ReplayProgress> {
    // Given back after a try or not yet tried: `tries` tells a retry from a start.
    const COUNTS: &str = "select state, tries > 0, count(*), min(due_at), max(due_at) from delivery \
        where tenant = $1 and target = $2 and replayed and updated_at >= $3 group by state, tries > 0";
    let query = sqlx::query(COUNTS).bind(tenant.as_str()).bind(target.to_string()).bind(since.0);
    let mut progress = ReplayProgress::default();
    for row in &query.fetch_all(conn).await? {
        let mut fields = Fields::of(row);
        let (state, tried, count) = (fields.state()?, fields.flag()?, fields.number::<u64>()?);
        let (first, last) = (fields.time()?, fields.time()?);
        match state {
            State::Queued if !tried => {
                progress.waiting += count;
                (progress.next_at, progress.last_at) = (Some(first), Some(last));
            }
            State::Queued | State::Waiting => progress.retrying += count,
            State::Running => progress.running += count,
            State::Delivered => progress.delivered += count,
            State::Dead => progress.dead += count,
            State::Cancelled => {}
        }
    }
    Ok(progress)
}

/// Makes what has not begun dead again.
pub(super) async fn abort(
    conn: &mut PgConnection,
    tenant: &TenantId,
    target: &Target,
    limit: u32,
    entry: &AuditEntry,
) -> StoreResult<Touched> {
    const DEAD_AGAIN: &str = "update delivery set state = 4, behind = false, updated_at = $3, \
          reason = coalesce(delivery.reason, $4), code = coalesce(delivery.code, $5), \
          message = coalesce(delivery.message, $6), fingerprint = coalesce(delivery.fingerprint, $7) \
        from unnest($1::bytea[], $2::bigint[]) as won (key, epoch) \
        where delivery.key = won.key and delivery.epoch = won.epoch and delivery.state = 0";
    let aborted = Failure::new(ReasonClass::Policy, "replay_aborted", "A person stopped its replay before it began.");
    let fingerprint = aborted.fingerprint(&target.to_string());
    let mut query = QueryBuilder::<Postgres>::new(CHOSEN);
    query.push_bind(tenant.as_str().to_owned()).push(" and state in (0, 1, 2, 4) and state = 0 and target = ");
    query.push_bind(target.to_string()).push(" and replayed and tries = 0 order by key limit ");
    query.push_bind(i64::from(limit));
    let rows = query.build().fetch_all(&mut *conn).await?;
    let chosen = rows.iter().map(read_chosen).collect::<StoreResult<Vec<_>>>()?;
    let chosen = lock_unchanged(conn, chosen).await?;
    for one in &chosen {
        move_by(one.state, Cause::Die)?;
    }
    let left = places(&chosen);
    order::lock(conn, &left).await?;
    let died = sqlx::query(DEAD_AGAIN)
        .bind(chosen.iter().map(|one| one.key.0).collect::<Vec<_>>())
        .bind(chosen.iter().map(|one| i64::from(one.epoch)).collect::<Vec<_>>())
        .bind(entry.at.0)
        .bind(aborted.reason.as_str())
        .bind(&*aborted.code)
        .bind(&*aborted.message)
        .bind(fingerprint)
        .execute(&mut *conn)
        .await?;
    all_touched(chosen.len(), died.rows_affected())?;
    order::release(conn, &left).await?;
    audit::write(conn, entry).await?;
    Ok(touched(&chosen))
}
