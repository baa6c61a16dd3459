//! Replays under way: how far they are, and giving up what has not begun.

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{
    super::{accept::bytes, direct::WriteConnection, order, registry::audit, row::Fields, sql::Rows},
    act::{CHOSEN, move_by, read_chosen, touched},
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
    conn: &mut SqliteConnection,
    tenant: &TenantId,
    target: &Target,
    since: Timestamp,
) -> StoreResult<ReplayProgress> {
    // Given back after a try or not yet tried: `tries` tells a retry from a start.
    const COUNTS: &str = "select state, tries > 0, count(*), min(due_at), max(due_at) from delivery \
        where tenant = ? and target = ? and replayed = 1 and updated_at >= ? group by state, tries > 0";
    let query = sqlx::query(COUNTS).bind(tenant.as_str().to_owned()).bind(target.to_string()).bind(since.0);
    let mut progress = ReplayProgress::default();
    for row in query.fetch_all(conn).await? {
        let mut fields = Fields::of(&row);
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
    conn: &mut WriteConnection,
    tenant: TenantId,
    target: Target,
    limit: u32,
    entry: AuditEntry,
) -> StoreResult<Touched> {
    static DEAD_AGAIN: Rows = Rows::new(
        "with won (key, epoch, reason, code, message, fingerprint, now) as (values ",
        "(?, ?, ?, ?, ?, ?, ?)",
        ") update delivery set state = 4, behind = 0, updated_at = won.now, \
         reason = coalesce(delivery.reason, won.reason), code = coalesce(delivery.code, won.code), \
         message = coalesce(delivery.message, won.message), \
         fingerprint = coalesce(delivery.fingerprint, won.fingerprint) from won \
         where delivery.key = won.key and delivery.epoch = won.epoch and delivery.state = 0",
    );
    let aborted = Failure::new(ReasonClass::Policy, "replay_aborted", "A person stopped its replay before it began.");
    let fingerprint = aborted.fingerprint(&target.to_string());
    let mut query = QueryBuilder::<Sqlite>::new(CHOSEN);
    query.push_bind(tenant.as_str().to_owned()).push(" and state in (0, 1, 2, 4) and state = 0 and target = ");
    query.push_bind(target.to_string()).push(" and replayed = 1 and tries = 0 order by key limit ").push_bind(limit);
    let rows = query.build().fetch_all(&mut **conn).await?;
    let chosen = rows.iter().map(read_chosen).collect::<StoreResult<Vec<_>>>()?;
    for one in &chosen {
        move_by(one.state, Cause::Die)?;
    }
    DEAD_AGAIN
        .write_all(conn, &chosen, |query, one| {
            query
                .bind(bytes(one.key))
                .bind(i64::from(one.epoch))
                .bind(aborted.reason.as_str())
                .bind(aborted.code.clone())
                .bind(aborted.message.clone())
                .bind(fingerprint.clone())
                .bind(entry.at.0)
        })
        .await?;
    let left: Vec<order::Place> =
        chosen.iter().filter_map(|one| one.ordering_key.clone().map(|key| (one.lane.key(), key))).collect();
    order::release(conn, &left)?;
    audit::write(conn, entry).await?;
    Ok(touched(&chosen))
}
