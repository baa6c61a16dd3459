//! How long events stay: small days go row by row, and a large day goes as a whole once all of it is old, which costs no
//! more than a small one. A day with a live delivery goes row by row, around what is live.

use std::{collections::HashMap, time::Duration};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{
    PostgresStore, cluster, days, prune,
    prune::{Cursor, EventCursor, take_turn},
    registry::Concerns,
    row::Fields,
    transaction::become_owner,
};
use crate::{
    clock::Timestamp,
    failpoint,
    id::Key,
    store::{StoreError, StoreResult, registry::Registry as _},
};

/// From so many events on a day is large.
const LARGE: i64 = 5_000;

/// A whole day is not counted further than this.
const COUNTED: i64 = 1_000_000;

/// How many deliveries of other days go in one transaction before a day does.
const STRAY: i64 = 500;

/// A key is made at most so long before what it names is stored.
pub(super) const KEY_SLACK: Duration = Duration::from_secs(3_600);

/// How often a day's tables are asked for, and how long apart. Others wait meanwhile for at most [`LOCK_WAIT`].
const TRIES: u32 = 3;
const APART: Duration = Duration::from_millis(300);
const LOCK_WAIT: &str = "set local lock_timeout = '100ms'";

/// At most so many steps clear away what whole days have left in one call, each so many rows of a table.
const CLEARING: u32 = 50;
const CLEARED: u32 = 5_000;

/// Where the walks of pruning stopped; a restart begins them anew.
#[derive(Default)]
pub(super) struct Walks {
    days: HashMap<i64, (String, Key)>,
    dedupes: Cursor<String>,
    persons: Cursor<Vec<u8>>,
}

/// What may be done with a day that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing in it is needed.
    Whole,
    /// An event of the next day has a delivery here, so it goes after that day.
    Later,
    /// Something is live.
    Rows,
}

impl PostgresStore {
    /// See [`Ledger::prune`](crate::store::Ledger::prune). A large day is not counted against `limit`.
    pub(super) async fn prune_old(&self, before: Timestamp, dedupe_before: Timestamp, limit: u32) -> StoreResult<u64> {
        while self.remove_leaving().await? {}
        let mut walks = self.walks.lock().await;
        let gone = self.prune_days(&mut walks, before, limit).await?;
        let input = (dedupe_before, walks.dedupes.take());
        walks.dedupes = self
            .change_at(failpoint::PRUNE, Concerns::Nobody, input, |conn, (before, from)| {
                Box::pin(prune::dedupes(conn, *before, from))
            })
            .await?;
        let input = (before, walks.persons.take());
        walks.persons = self
            .change_at(failpoint::PRUNE, Concerns::Nobody, input, |conn, (before, from)| {
                Box::pin(prune::persons(conn, *before, from))
            })
            .await?;
        self.change_at(failpoint::PRUNE, Concerns::Nobody, (before, limit), |conn, (before, limit)| {
            Box::pin(async move {
                prune::small_things(conn, *before, *limit).await?;
                cluster::tidy(conn).await
            })
        })
        .await?;
        Ok(gone)
    }

    async fn prune_days(&self, walks: &mut Walks, before: Timestamp, limit: u32) -> StoreResult<u64> {
        let known = days::all(&mut *self.reader().await?).await?;
        walks.days.retain(|day, _| known.contains(day));
        let mut gone = 0;
        for day in known.into_iter().filter(|day| days::begins(*day) < before) {
            let room = u64::from(limit).saturating_sub(gone);
            if room == 0 {
                break;
            }
            gone += self.prune_day(walks, day, before, u32::try_from(room).unwrap_or(limit)).await?;
        }
        for _ in 0..CLEARING {
            let cleared = self
                .change_at(failpoint::PRUNE, Concerns::Nobody, before, |conn, before| {
                    Box::pin(prune::left_behind(conn, *before, CLEARED))
                })
                .await?;
            if cleared == 0 {
                break;
            }
        }
        Ok(gone)
    }

    async fn prune_day(&self, walks: &mut Walks, day: i64, before: Timestamp, limit: u32) -> StoreResult<u64> {
        let over = days::begins(day + 1).after(KEY_SLACK) <= before;
        let events = count(&mut *self.reader().await?, day, LARGE).await?;
        if over && (events == 0 || events == LARGE) {
            match verdict(&mut *self.reader().await?, day).await? {
                Verdict::Whole => return self.drop_whole(day).await,
                Verdict::Later => return Ok(0),
                Verdict::Rows => {}
            }
        } else if events == LARGE {
            // It goes as a whole when it is over.
            return Ok(0);
        }
        let input: (i64, Timestamp, EventCursor, u32) = (day, before, walks.days.remove(&day), limit);
        let (gone, next) = self
            .change_at(failpoint::PRUNE, Concerns::Nobody, input, |conn, (day, before, from, limit)| {
                Box::pin(prune::events(conn, *day, *before, from, *limit))
            })
            .await?;
        walks.days.extend(next.map(|next| (day, next)));
        Ok(gone)
    }

    /// Drops the tables of a day, unless somebody holds one of them for long or brings something in it to life. Answers
    /// how many events went.
    async fn drop_whole(&self, day: i64) -> StoreResult<u64> {
        while self
            .change_at(failpoint::PRUNE, Concerns::Nobody, day, |conn, day| Box::pin(delete_stray(conn, *day)))
            .await?
        {}
        let events = count(&mut *self.reader().await?, day, COUNTED).await?;
        for nth in 0..TRIES {
            if nth > 0 {
                tokio::time::sleep(APART).await;
            }
            let dropped = self
                .change_at(failpoint::PRUNE, Concerns::Nobody, day, |conn, day| Box::pin(drop_day(conn, *day)))
                .await?;
            match dropped {
                Some(true) => {
                    self.days.forget();
                    return Ok(u64::try_from(events).unwrap_or_default());
                }
                Some(false) => return Ok(0),
                // Somebody reads for long; the day goes with a later call.
                None => {}
            }
        }
        tracing::info!(day, "an old day could not be dropped, since its tables are in use; the next sweep tries again");
        Ok(0)
    }
}

/// How many events a day has, at most `most`.
async fn count(conn: &mut PgConnection, day: i64, most: i64) -> StoreResult<i64> {
    const COUNT: &str =
        "select count(*) from (select 1 from event where key >= $1 and key < $2 limit $3) as of_the_day";
    Fields::of(&of_day(COUNT, day).bind(most).fetch_one(conn).await?).int()
}

fn of_day(sql: &'static str, day: i64) -> super::registry::write::Bound<'static> {
    sqlx::query(sql).bind(days::first_key(day).0).bind(days::first_key(day + 1).0)
}

/// Whether something of a day is needed: a live delivery in it, or of one of its events, or a delivery in it of an event
/// of another day that is still there.
async fn verdict(conn: &mut PgConnection, day: i64) -> StoreResult<Verdict> {
    const LIVE: &str = "select exists (select 1 from delivery where key >= $1 and key < $2 and state in (0, 1, 2)) \
        or exists (select 1 from delivery where event >= $1 and event < $2 and (key < $1 or key >= $2) \
          and state in (0, 1, 2)) \
        or exists (select 1 from delivery d where d.key >= $1 and d.key < $2 and d.event < $1 \
          and exists (select 1 from event e where e.tenant = d.tenant and e.key = d.event))";
    const NEXT_DAY: &str = "select exists (select 1 from delivery d where d.key >= $1 and d.key < $2 and d.event >= $2 \
        and exists (select 1 from event e where e.tenant = d.tenant and e.key = d.event))";
    if Fields::of(&of_day(LIVE, day).fetch_one(&mut *conn).await?).flag()? {
        return Ok(Verdict::Rows);
    }
    let next_day = Fields::of(&of_day(NEXT_DAY, day).fetch_one(conn).await?).flag()?;
    Ok(if next_day { Verdict::Later } else { Verdict::Whole })
}

/// Whether an event of the day has a delivery in another day. They were made when it was replayed, or around midnight.
const STRAYS: &str = "select key from delivery where event >= $1 and event < $2 and (key < $1 or key >= $2) \
    and state not in (0, 1, 2) order by key limit $3 for update";

/// Deletes some deliveries of other days whose events go with this one; answers whether there may be more.
async fn delete_stray(conn: &mut PgConnection, day: i64) -> StoreResult<bool> {
    take_turn(conn).await?;
    let rows = of_day(STRAYS, day).bind(STRAY).fetch_all(&mut *conn).await?;
    let keys: Vec<Key> = rows.iter().map(|row| Fields::of(row).key()).collect::<StoreResult<_>>()?;
    prune::delete_by_key(conn, &keys).await?;
    Ok(i64::try_from(keys.len()).is_ok_and(|found| found == STRAY))
}

/// Drops the tables of a day if nothing in them is needed, which nobody can change meanwhile. None: they are in use.
async fn drop_day(conn: &mut PgConnection, day: i64) -> StoreResult<Option<bool>> {
    // Within the transaction, which goes on if the tables are not to be had.
    let mut waiting = conn.begin().await?;
    match hold_tables(&mut waiting).await {
        Ok(()) => waiting.commit().await?,
        Err(StoreError::Contended(_)) => {
            waiting.rollback().await?;
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    // The owner of the tables sees no rows.
    sqlx::query("set local role switchyard_hub").execute(&mut *conn).await?;
    let strays = of_day(STRAYS, day).bind(1_i64).fetch_optional(&mut *conn).await?.is_some();
    if strays || verdict(conn, day).await? != Verdict::Whole {
        return Ok(Some(false));
    }
    become_owner(conn).await?;
    let tables = days::TABLES.map(|table| days::partition(table, day)).join(", ");
    // Names are constants and numbers.
    sqlx::raw_sql(AssertSqlSafe(format!("drop table if exists {tables}"))).execute(&mut *conn).await?;
    sqlx::query("set local role switchyard_hub").execute(conn).await?;
    Ok(Some(true))
}

/// Waits for a moment in which nobody reads or writes the tables. Who comes meanwhile waits behind, so not for long.
async fn hold_tables(conn: &mut PgConnection) -> StoreResult<()> {
    const TURN: &str = "select pg_advisory_xact_lock($1)";
    const HOLD: &str = "lock table only event, only delivery, only attempt, only journal, only raw_request \
        in access exclusive mode";
    sqlx::query(LOCK_WAIT).execute(&mut *conn).await?;
    sqlx::query(TURN).bind(days::LOCK).execute(&mut *conn).await?;
    become_owner(conn).await?;
    sqlx::query(HOLD).execute(conn).await?;
    Ok(())
}
