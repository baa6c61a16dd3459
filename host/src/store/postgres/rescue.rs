//! Deliveries whose worker is gone, and deliveries whose time has passed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sqlx::{PgConnection, postgres::PgRow};

use super::{
    PostgresStore, accept,
    lanes::{Ranges, SUSPECT_CRASHES},
    order::{self, all_touched},
    registry::Concerns,
    row::{Fields, event_columns},
};
use crate::{
    clock::Timestamp,
    event::Target,
    failpoint,
    id::Key,
    queue::{
        lane::{Lane, LaneKey},
        partition::PartitionSet,
        reason::Failure,
        state::{Cause, State, transition},
    },
    store::{
        StoreError, StoreResult,
        group::{NewRow, rows_of},
        ledger::{Death, LiveDelivery, NewEvent, Rescued},
    },
};

/// Held deliveries live this long after they were made, or after their block began.
const HELD_LIFE_MS: i64 = 7 * 86_400_000;

/// How many deliveries are given back in one transaction.
const STEP: usize = 500;

/// A running delivery without a worker.
struct Lost {
    key: Key,
    lane: Lane,
    epoch: u32,
    tries: u32,
    crashes: u32,
    started_at: Timestamp,
    ordering_key: Option<String>,
    end: State,
}

/// A delivery that dies.
struct NewlyDead {
    key: Key,
    epoch: u32,
    crashes: u32,
    failure: Failure,
    target: String,
}

async fn die(conn: &mut PgConnection, deaths: &[NewlyDead], now: Timestamp) -> StoreResult<()> {
    const DIE: &str = "update delivery set state = 4, behind = false, crashes = won.crashes, reason = won.reason, \
          code = won.code, message = won.message, fingerprint = won.fingerprint, updated_at = $8 \
        from unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[]) \
          as won (key, epoch, crashes, reason, code, message, fingerprint) \
        where delivery.key = won.key and delivery.epoch = won.epoch and delivery.state in (0, 1, 2)";
    if deaths.is_empty() {
        return Ok(());
    }
    let query = sqlx::query(DIE)
        .bind(deaths.iter().map(|death| death.key.0).collect::<Vec<_>>())
        .bind(deaths.iter().map(|death| i64::from(death.epoch)).collect::<Vec<_>>())
        .bind(deaths.iter().map(|death| i64::from(death.crashes)).collect::<Vec<_>>())
        .bind(deaths.iter().map(|death| death.failure.reason.as_str()).collect::<Vec<_>>())
        .bind(deaths.iter().map(|death| &*death.failure.code).collect::<Vec<_>>())
        .bind(deaths.iter().map(|death| &*death.failure.message).collect::<Vec<_>>())
        .bind(deaths.iter().map(|death| death.failure.fingerprint(&death.target)).collect::<Vec<_>>())
        .bind(now.0);
    all_touched(deaths.len(), query.execute(conn).await?.rows_affected())
}

impl PostgresStore {
    /// See [`Ledger::rescue`](crate::store::Ledger::rescue). What runs now is given back step by step, so that others get
    /// between; the suspect that died alone ends in the step that finds it.
    pub(super) async fn rescue_partitions(
        &self,
        killed_alone: Option<Death>,
        partitions: PartitionSet,
        now: Timestamp,
    ) -> StoreResult<Vec<Rescued>> {
        let running = running(&mut *self.reader().await?, partitions).await?;
        let mut rescued = Vec::with_capacity(running.len());
        for keys in running.chunks(STEP) {
            let input = (keys.to_vec(), killed_alone.clone(), now);
            let step = self
                .change_at(failpoint::RESCUE, Concerns::Nobody, input, |conn, (keys, killed_alone, now)| {
                    Box::pin(rescue(conn, keys, killed_alone.as_ref(), *now))
                })
                .await?;
            rescued.extend(step);
        }
        Ok(rescued)
    }
}

/// What runs in `partitions`, oldest first.
async fn running(conn: &mut PgConnection, partitions: PartitionSet) -> StoreResult<Vec<Key>> {
    // The first condition repeats that of the index, so that it is used.
    const RUNNING: &str = "select key from delivery d where state in (0, 1, 2, 4) and state = 1 and exists \
        (select 1 from unnest($1::bytea[], $2::bytea[]) as own (first, last) where d.lane between own.first and own.last) \
        order by key";
    let ranges = Ranges::of(partitions);
    let rows = sqlx::query(RUNNING).bind(&ranges.first).bind(&ranges.last).fetch_all(conn).await?;
    rows.iter().map(|row| Fields::of(row).key()).collect()
}

/// Gives those of `keys` back that still run, and records the lost attempts.
async fn rescue(
    conn: &mut PgConnection,
    keys: &[Key],
    killed_alone: Option<&Death>,
    now: Timestamp,
) -> StoreResult<Vec<Rescued>> {
    let lost = lost(conn, keys, killed_alone.map(|death| death.delivery)).await?;
    note_lost(conn, &lost, now).await?;
    let left: Vec<order::Place> = lost
        .iter()
        .filter(|row| row.end == State::Dead)
        .filter_map(|row| row.ordering_key.clone().map(|key| (row.lane.key(), key)))
        .collect();
    order::lock(conn, &left).await?;
    let (dead, back): (Vec<_>, Vec<_>) = lost.iter().partition(|row| row.end == State::Dead);
    give_back(conn, &back, now).await?;
    if let Some(end) = killed_alone {
        let newly = |row: &&Lost| NewlyDead {
            key: row.key,
            epoch: row.epoch,
            crashes: row.crashes,
            failure: end.failure.clone(),
            target: row.lane.target.to_string(),
        };
        let deaths: Vec<NewlyDead> = dead.iter().map(newly).collect();
        die(conn, &deaths, now).await?;
        let told: Vec<&NewEvent> = end.told.iter().filter(|_| !dead.is_empty()).collect();
        accept::tell(conn, &told).await?;
    }
    order::release(conn, &left).await?;
    Ok(lost.into_iter().map(|row| Rescued { delivery: row.key, lane: row.lane, crashes: row.crashes }).collect())
}

const LOST: &str = "select d.key, d.tenant, d.target, d.shard, d.epoch, d.tries, d.crashes, d.updated_at, \
    d.ordering_key from unnest($1::bytea[]) as wanted (key) join delivery d on d.key = wanted.key \
    where d.state = 1 order by d.key for update of d";

async fn lost(conn: &mut PgConnection, keys: &[Key], killed_alone: Option<Key>) -> StoreResult<Vec<Lost>> {
    let rows = sqlx::query(LOST).bind(arrays(keys)).fetch_all(conn).await?;
    let read = |row: &PgRow| {
        let mut fields = Fields::of(row);
        let (key, lane) = (fields.key()?, fields.lane()?);
        let (epoch, tries, before) = (fields.number()?, fields.number()?, fields.number::<u32>()?);
        let crashes = before + u32::from(matches!(lane.target, Target::Plugin(_)));
        let killer = killed_alone == Some(key) && before >= SUSPECT_CRASHES;
        let end = transition(State::Running, if killer { Cause::Die } else { Cause::Rescue })
            .map_err(|error| StoreError::Inconsistent(error.to_string()))?;
        let (started_at, ordering_key) = (fields.time()?, fields.opt_text()?);
        Ok(Lost { key, lane, epoch, tries, crashes, started_at, ordering_key, end })
    };
    rows.iter().map(read).collect()
}

/// Keys as an array that is bound.
pub(super) fn arrays(keys: &[Key]) -> Vec<[u8; 16]> {
    keys.iter().map(|key| key.0).collect()
}

async fn note_lost(conn: &mut PgConnection, lost: &[Lost], now: Timestamp) -> StoreResult<()> {
    const LOST_ATTEMPT: &str = "insert into attempt (delivery, number, started_at, duration_us, outcome) \
        select delivery, number, started_at, duration_us, 'lost' \
        from unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[]) \
          as lost (delivery, number, started_at, duration_us)";
    let duration = |row: &Lost| i64::try_from(now.since(row.started_at).as_micros()).unwrap_or(i64::MAX);
    sqlx::query(LOST_ATTEMPT)
        .bind(lost.iter().map(|row| row.key.0).collect::<Vec<_>>())
        .bind(lost.iter().map(|row| i64::from(row.epoch)).collect::<Vec<_>>())
        .bind(lost.iter().map(|row| row.started_at.0).collect::<Vec<_>>())
        .bind(lost.iter().map(duration).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}

async fn give_back(conn: &mut PgConnection, back: &[&Lost], now: Timestamp) -> StoreResult<()> {
    const GIVE_BACK: &str = "update delivery set state = 0, tries = won.tries, crashes = won.crashes, updated_at = $5 \
        from unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[]) as won (key, epoch, tries, crashes) \
        where delivery.key = won.key and delivery.epoch = won.epoch and delivery.state = 1";
    let query = sqlx::query(GIVE_BACK)
        .bind(back.iter().map(|row| row.key.0).collect::<Vec<_>>())
        .bind(back.iter().map(|row| i64::from(row.epoch)).collect::<Vec<_>>())
        .bind(back.iter().map(|row| i64::from(row.tries.saturating_sub(1))).collect::<Vec<_>>())
        .bind(back.iter().map(|row| i64::from(row.crashes)).collect::<Vec<_>>())
        .bind(now.0);
    all_touched(back.len(), query.execute(conn).await?.rows_affected())
}

const LATE: &str = "select key from delivery \
    where expires_at is not null and state in (0, 2) and expires_at <= $1 order by expires_at limit $2";

// Both branches walk an index of the lane's own deliveries.
const HELD: &str = "select key from delivery \
    where lane = $1 and state in (0, 2) and not behind and created_at <= $2 \
    union select key from delivery \
    where lane = $1 and ordering_key is not null and state in (0, 1, 2) and state != 1 and created_at <= $2 \
    limit $3";

const LIVE: &str = concat!(
    "select d.key, d.tenant, d.target, d.shard, d.epoch, d.state, d.crashes, ",
    event_columns!(),
    " from unnest($1::bytea[]) as wanted (key) join delivery d on d.key = wanted.key \
      join event e on e.tenant = d.tenant and e.key = d.event where d.state in (0, 1, 2) order by d.key"
);

/// Live deliveries by key, each with its crashes.
async fn live(conn: &mut PgConnection, keys: &[Key]) -> StoreResult<Vec<(LiveDelivery, State, u32)>> {
    let rows = sqlx::query(LIVE).bind(arrays(keys)).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            let (delivery, lane, epoch) = (fields.key()?, fields.lane()?, fields.number()?);
            let (state, crashes) = (fields.state()?, fields.number()?);
            Ok((LiveDelivery { delivery, epoch, lane, event: Arc::new(fields.event()?) }, state, crashes))
        })
        .collect()
}

/// The delivery, if it runs and its worker was lost too often before.
pub(super) async fn running_suspect(conn: &mut PgConnection, key: Key) -> StoreResult<Option<LiveDelivery>> {
    let found = live(conn, &[key]).await?.pop();
    let suspect = found.filter(|(_, state, crashes)| *state == State::Running && *crashes >= SUSPECT_CRASHES);
    Ok(suspect.map(|(delivery, ..)| delivery))
}

/// Deliveries that are too late: past their expiry, or held longer than they may be.
pub(super) async fn overdue(
    conn: &mut PgConnection,
    now: Timestamp,
    held_since: &[(LaneKey, Timestamp)],
    limit: u32,
) -> StoreResult<Vec<LiveDelivery>> {
    let mut rows = sqlx::query(LATE).bind(now.0).bind(i64::from(limit)).fetch_all(&mut *conn).await?;
    for (lane, since) in held_since {
        let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(rows.len());
        let made_before = now.0 - HELD_LIFE_MS;
        if room > 0 && since.0 <= made_before {
            let query = sqlx::query(HELD).bind(&lane.0[..]).bind(made_before);
            rows.extend(query.bind(i64::try_from(room).unwrap_or(i64::MAX)).fetch_all(&mut *conn).await?);
        }
    }
    let keys: BTreeSet<Key> = rows.iter().map(|row| Fields::of(row).key()).collect::<StoreResult<_>>()?;
    let keys: Vec<Key> = keys.into_iter().collect();
    let found = live(conn, &keys).await?;
    Ok(found.into_iter().filter(|(_, state, _)| *state != State::Running).map(|(delivery, ..)| delivery).collect())
}

const WAITING: &str = "select d.key, d.epoch, d.state, d.crashes, d.target, d.lane, d.ordering_key \
    from unnest($1::bytea[], $2::bigint[]) as wanted (key, epoch) \
    join delivery d on d.key = wanted.key and d.epoch = wanted.epoch \
    where d.state in (0, 2) order by d.key for update of d";

/// Ends what still waits as it was seen, lets the next of its order go, and stores what tells of it.
pub(super) async fn expire(conn: &mut PgConnection, ends: &[Death], now: Timestamp) -> StoreResult<Vec<Key>> {
    let query = sqlx::query(WAITING)
        .bind(ends.iter().map(|end| end.delivery.0).collect::<Vec<_>>())
        .bind(ends.iter().map(|end| i64::from(end.epoch)).collect::<Vec<_>>());
    let rows = query.fetch_all(&mut *conn).await?;
    let mut ends: BTreeMap<Key, &Death> = ends.iter().map(|end| (end.delivery, end)).collect();
    let (mut deaths, mut left, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for row in &rows {
        let mut fields = Fields::of(row);
        let (key, epoch) = (fields.key()?, fields.number()?);
        transition(fields.state()?, Cause::Die).map_err(|error| StoreError::Inconsistent(error.to_string()))?;
        let (crashes, target, lane): (_, _, LaneKey) = (fields.number()?, fields.text()?, fields.lane_key()?);
        let Some(end) = ends.remove(&key) else { continue };
        left.extend(fields.opt_text()?.map(|ordering_key| (lane, ordering_key)));
        deaths.push(NewlyDead { key, epoch, crashes, failure: end.failure.clone(), target });
        told.extend(&end.told);
    }
    let telling: Vec<NewRow> = told.iter().flat_map(|new: &&NewEvent| rows_of(new)).collect();
    let places: Vec<order::Place> = left.iter().cloned().chain(order::places(&telling)).collect();
    order::lock(conn, &places).await?;
    die(conn, &deaths, now).await?;
    order::release(conn, &left).await?;
    accept::tell(conn, &told).await?;
    Ok(deaths.into_iter().map(|death| death.key).collect())
}
