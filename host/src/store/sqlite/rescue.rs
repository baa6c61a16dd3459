//! Deliveries whose worker is gone, and deliveries whose time has passed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sqlx::SqliteConnection;

use super::{
    accept::{self, bytes},
    direct::WriteConnection,
    lanes::SUSPECT_CRASHES,
    order,
    row::{Fields, event_columns},
    sql::Rows,
};
use crate::{
    clock::Timestamp,
    event::Target,
    id::Key,
    queue::{
        lane::{Lane, LaneKey},
        partition::PartitionSet,
        reason::Failure,
        state::{Cause, State, transition},
    },
    store::{
        StoreError, StoreResult,
        ledger::{Death, LiveDelivery, NewEvent, Rescued},
    },
};

/// Held deliveries live this long after they were made, or after their block began.
const HELD_LIFE_MS: i64 = 7 * 86_400_000;

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

static LOST_ATTEMPT: Rows = Rows::new(
    "insert into attempt (delivery, number, started_at, duration_us, outcome) values ",
    "(?, ?, ?, ?, 'lost')",
    "",
);

static GIVE_BACK: Rows = Rows::new(
    "with won (key, epoch, tries, crashes, now) as (values ",
    "(?, ?, ?, ?, ?)",
    ") update delivery set state = 0, tries = won.tries, crashes = won.crashes, updated_at = won.now from won \
     where delivery.key = won.key and delivery.epoch = won.epoch and delivery.state = 1",
);

static DIE: Rows = Rows::new(
    "with won (key, epoch, crashes, reason, code, message, fingerprint, now) as (values ",
    "(?, ?, ?, ?, ?, ?, ?, ?)",
    ") update delivery set state = 4, behind = 0, crashes = won.crashes, reason = won.reason, code = won.code, \
     message = won.message, fingerprint = won.fingerprint, updated_at = won.now from won \
     where delivery.key = won.key and delivery.epoch = won.epoch and delivery.state in (0, 1, 2)",
);

/// Key, epoch, crashes, failure, target, time.
type NewlyDead = (Key, u32, u32, Failure, String, Timestamp);

async fn die(conn: &mut SqliteConnection, deaths: &[NewlyDead]) -> StoreResult<()> {
    DIE.write_all(conn, deaths, |query, (key, epoch, crashes, failure, target, now)| {
        query
            .bind(bytes(*key))
            .bind(i64::from(*epoch))
            .bind(i64::from(*crashes))
            .bind(failure.reason.as_str())
            .bind(failure.code.clone())
            .bind(failure.message.clone())
            .bind(failure.fingerprint(target))
            .bind(now.0)
    })
    .await
}

/// Gives every running delivery of `partitions` back and records the lost attempts.
pub(super) async fn rescue(
    conn: &mut WriteConnection,
    killed_alone: Option<Death>,
    partitions: PartitionSet,
    now: Timestamp,
) -> StoreResult<Vec<Rescued>> {
    let mut lost = lost(conn, killed_alone.as_ref().map(|death| death.delivery)).await?;
    lost.retain(|row| partitions.is_all() || partitions.contains(row.lane.key().partition()));
    LOST_ATTEMPT
        .write_all(conn, &lost, |query, row| {
            let duration = i64::try_from(now.since(row.started_at).as_micros()).unwrap_or(i64::MAX);
            query.bind(bytes(row.key)).bind(i64::from(row.epoch)).bind(row.started_at.0).bind(duration)
        })
        .await?;
    let (dead, back): (Vec<_>, Vec<_>) = lost.iter().partition(|row| row.end == State::Dead);
    GIVE_BACK
        .write_all(conn, &back, |query, row| {
            query
                .bind(bytes(row.key))
                .bind(i64::from(row.epoch))
                .bind(i64::from(row.tries.saturating_sub(1)))
                .bind(i64::from(row.crashes))
                .bind(now.0)
        })
        .await?;
    if let Some(end) = &killed_alone {
        let deaths: Vec<NewlyDead> = dead
            .iter()
            .map(|row| (row.key, row.epoch, row.crashes, end.failure.clone(), row.lane.target.to_string(), now))
            .collect();
        die(conn, &deaths).await?;
        let told: Vec<&NewEvent> = end.told.iter().filter(|_| !dead.is_empty()).collect();
        accept::tell(conn, &told)?;
    }
    let left: Vec<order::Place> =
        dead.iter().filter_map(|row| row.ordering_key.clone().map(|key| (row.lane.key(), key))).collect();
    order::release(conn, &left)?;
    Ok(lost.into_iter().map(|row| Rescued { delivery: row.key, lane: row.lane, crashes: row.crashes }).collect())
}

// The first condition repeats that of the index, so that it is used.
pub(super) const RUNNING: &str = "select key, tenant, target, shard, epoch, tries, crashes, updated_at, ordering_key \
    from delivery where state in (0, 1, 2, 4) and state = 1 order by key";

async fn lost(conn: &mut SqliteConnection, killed_alone: Option<Key>) -> StoreResult<Vec<Lost>> {
    let rows = sqlx::query(RUNNING).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            let (key, lane) = (fields.key()?, fields.lane()?);
            let (epoch, tries, before) = (fields.number()?, fields.number()?, fields.number::<u32>()?);
            let crashes = before + u32::from(matches!(lane.target, Target::Plugin(_)));
            let killer = killed_alone == Some(key) && before >= SUSPECT_CRASHES;
            let end = transition(State::Running, if killer { Cause::Die } else { Cause::Rescue })
                .map_err(|error| StoreError::Inconsistent(error.to_string()))?;
            let (started_at, ordering_key) = (fields.time()?, fields.opt_text()?);
            Ok(Lost { key, lane, epoch, tries, crashes, started_at, ordering_key, end })
        })
        .collect()
}

pub(super) const LATE: &str = "select key from delivery \
    where expires_at is not null and state in (0, 2) and expires_at <= ? order by expires_at limit ?";

// Both branches walk an index of the lane's own deliveries.
pub(super) const HELD: &str = "select key from delivery \
    where lane = ?1 and state in (0, 2) and behind = 0 and created_at <= ?2 \
    union select key from delivery \
    where lane = ?1 and ordering_key is not null and state in (0, 1, 2) and state != 1 and created_at <= ?2 \
    limit ?3";

pub(super) static LIVE: Rows = Rows::new(
    "with wanted (key) as (values ",
    "(?)",
    concat!(
        ") select d.key, d.tenant, d.target, d.shard, d.epoch, d.state, d.crashes, ",
        event_columns!(),
        " from wanted w cross join delivery d on d.key = w.key \
         cross join event e on e.tenant = d.tenant and e.key = d.event where d.state in (0, 1, 2)"
    ),
);

/// Live deliveries by key, each with its crashes.
async fn live(conn: &mut SqliteConnection, keys: &[Key]) -> StoreResult<Vec<(LiveDelivery, State, u32)>> {
    let mut found = BTreeMap::new();
    for row in LIVE.read(conn, keys, |query, key| query.bind(bytes(*key))).await? {
        let mut fields = Fields::of(&row);
        let (delivery, lane, epoch) = (fields.key()?, fields.lane()?, fields.number()?);
        let (state, crashes) = (fields.state()?, fields.number()?);
        let one = LiveDelivery { delivery, epoch, lane, event: Arc::new(fields.event()?) };
        found.insert(delivery, (one, state, crashes));
    }
    Ok(found.into_values().collect())
}

/// The delivery, if it runs and its worker was lost too often before.
pub(super) async fn running_suspect(conn: &mut SqliteConnection, key: Key) -> StoreResult<Option<LiveDelivery>> {
    let found = live(conn, &[key]).await?.pop();
    let suspect = found.filter(|(_, state, crashes)| *state == State::Running && *crashes >= SUSPECT_CRASHES);
    Ok(suspect.map(|(delivery, ..)| delivery))
}

/// Deliveries that are too late: past their expiry, or held longer than they may be.
pub(super) async fn overdue(
    conn: &mut SqliteConnection,
    now: Timestamp,
    held_since: &[(LaneKey, Timestamp)],
    limit: u32,
) -> StoreResult<Vec<LiveDelivery>> {
    let mut rows = sqlx::query(LATE).bind(now.0).bind(limit).fetch_all(&mut *conn).await?;
    for (lane, since) in held_since {
        let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(rows.len());
        let made_before = now.0 - HELD_LIFE_MS;
        if room > 0 && since.0 <= made_before {
            let query = sqlx::query(HELD).bind(lane.0.to_vec()).bind(made_before);
            rows.extend(query.bind(i64::try_from(room).unwrap_or(i64::MAX)).fetch_all(&mut *conn).await?);
        }
    }
    let keys: BTreeSet<Key> = rows.iter().map(|row| Fields::of(row).key()).collect::<StoreResult<_>>()?;
    let keys: Vec<Key> = keys.into_iter().collect();
    let found = live(conn, &keys).await?;
    Ok(found.into_iter().filter(|(_, state, _)| *state != State::Running).map(|(delivery, ..)| delivery).collect())
}

pub(super) static WAITING: Rows = Rows::new(
    "with wanted (key, epoch) as (values ",
    "(?, ?)",
    ") select d.key, d.epoch, d.state, d.crashes, d.target, d.lane, d.ordering_key from wanted w \
     cross join delivery d on d.key = w.key and d.epoch = w.epoch where d.state in (0, 2)",
);

/// Ends what still waits as it was seen, lets the next of its order go, and stores what tells of it.
pub(super) async fn expire(conn: &mut WriteConnection, ends: Vec<Death>, now: Timestamp) -> StoreResult<Vec<Key>> {
    let rows =
        WAITING.read(conn, &ends, |query, end| query.bind(bytes(end.delivery)).bind(i64::from(end.epoch))).await?;
    let mut ends: BTreeMap<Key, Death> = ends.into_iter().map(|end| (end.delivery, end)).collect();
    let (mut deaths, mut left, mut told) = (Vec::new(), Vec::new(), Vec::new());
    for row in &rows {
        let mut fields = Fields::of(row);
        let (key, epoch) = (fields.key()?, fields.number()?);
        transition(fields.state()?, Cause::Die).map_err(|error| StoreError::Inconsistent(error.to_string()))?;
        let (crashes, target, lane): (_, _, LaneKey) = (fields.number()?, fields.text()?, fields.lane_key()?);
        let Some(end) = ends.remove(&key) else { continue };
        left.extend(fields.opt_text()?.map(|ordering_key| (lane, ordering_key)));
        deaths.push((key, epoch, crashes, end.failure, target, now));
        told.extend(end.told);
    }
    die(conn, &deaths).await?;
    order::release(conn, &left)?;
    accept::tell(conn, &told.iter().collect::<Vec<_>>())?;
    Ok(deaths.into_iter().map(|(key, ..)| key).collect())
}
