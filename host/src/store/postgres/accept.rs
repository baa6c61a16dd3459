//! Accept: events with their names, deliveries, person index and raw requests, for a whole group at once.

use std::collections::{BTreeSet, HashSet};

use sqlx::PgConnection;

use super::{
    duplicate::Names,
    intake,
    order::{self, all_touched},
    policy, polls,
    row::Fields,
    settle::small,
};
pub(super) use crate::store::group::NewRow;
use crate::{
    clock::Timestamp,
    event::{TenantId, Urgency},
    id::Key,
    queue::{
        partition::{Partition, PartitionSet},
        state::State,
    },
    store::{
        StoreError, StoreResult,
        group::{Call, Part, Prepared, rows_of, with_told},
        ledger::{Accepted, EventOutcome, NewEvent, RawRequest, Start},
    },
};

/// What a group's accepts are decided by.
pub(super) struct Ground<'a> {
    /// The tenants that are there, and stay until the commit.
    pub(super) tenants: &'a HashSet<TenantId>,
    /// The lane partitions in which this node may start deliveries.
    pub(super) owned: PartitionSet,
    /// The time of what brings none.
    pub(super) now: Timestamp,
    /// Whether ids that the hub made are looked up too.
    pub(super) careful: bool,
}

/// What callers bring to be accepted, the emits of settles included.
pub(super) fn prepared(calls: &[Call]) -> impl Iterator<Item = &Prepared> + Clone {
    calls.iter().filter_map(|call| match call {
        Call::Accept(prepared) | Call::Settle(_, prepared) => Some(prepared),
        Call::Claim(..) | Call::Intend(_) => None,
    })
}

/// The deliveries that they bring.
pub(super) fn rows(calls: &[Call]) -> impl Iterator<Item = &NewRow> {
    prepared(calls).flat_map(|prepared| prepared.rows.iter().flatten())
}

/// The keys whose days must be there before the group begins.
pub(super) fn keys(calls: &[Call]) -> impl Iterator<Item = Key> {
    let events = |prepared: &Prepared| {
        let requests = prepared.accept.request.iter().map(|request| request.key).collect::<Vec<_>>();
        prepared.accept.events.iter().flat_map(with_told).map(|new| new.event.key).chain(requests).collect::<Vec<_>>()
    };
    prepared(calls).flat_map(events).chain(rows(calls).map(|row| row.key))
}

/// The partitions in which a delivery of the group is to start at once.
pub(super) fn partitions(calls: &[Call]) -> PartitionSet {
    rows(calls).filter(|row| matches!(row.start, Start::Claimed)).map(|row| Partition::of(row.lane)).collect()
}

/// Which of the group's tenants are there. They stay until the end of the transaction: routes are cached, and a tenant may
/// be going.
pub(super) async fn lock_tenants(conn: &mut PgConnection, calls: &[Call]) -> StoreResult<HashSet<TenantId>> {
    const LOCK: &str = "select id from tenant where id = any ($1) order by id for key share";
    let accepting = prepared(calls).flat_map(|prepared| &prepared.accept.events).map(|new| new.event.tenant.as_str());
    // What a settle counts refers to its tenant too.
    let counting = calls.iter().filter_map(|call| match call {
        Call::Settle(settle, _) if settle.counted.is_some() => Some(settle.tenant.as_str()),
        Call::Accept(_) | Call::Claim(..) | Call::Intend(_) | Call::Settle(..) => None,
    });
    let wanted: BTreeSet<&str> = accepting.chain(counting).collect();
    if wanted.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = sqlx::query(LOCK).bind(wanted.into_iter().collect::<Vec<_>>()).fetch_all(conn).await?;
    rows.iter().map(|row| Fields::of(row).parsed()).collect()
}

/// Stores events by which the host tells of what the same transaction does. Their ids are new and they have no dedupe key.
pub(super) async fn tell(conn: &mut PgConnection, told: &[&NewEvent]) -> StoreResult<()> {
    let rows: Vec<NewRow> = told.iter().flat_map(|new| rows_of(new)).collect();
    let inserts = Inserts { events: told.to_vec(), rows: rows.iter().collect(), requests: Vec::new() };
    order::lock(conn, &order::places(&rows).collect::<Vec<_>>()).await?;
    inserts.write(conn, PartitionSet::none()).await?;
    Ok(())
}

/// What the group will insert.
#[derive(Default)]
struct Inserts<'a> {
    events: Vec<&'a NewEvent>,
    rows: Vec<&'a NewRow>,
    requests: Vec<&'a RawRequest>,
}

/// Why an accept is refused, whatever is stored: a tenant that is not there, or an event that goes to a target twice. No
/// index over all days could see the latter.
fn refusal(prepared: &Prepared, ground: &Ground<'_>) -> Option<StoreError> {
    if prepared.accept.events.iter().any(|new| !ground.tenants.contains(&new.event.tenant)) {
        return Some(StoreError::NotFound);
    }
    let mut seen = HashSet::new();
    let twice =
        prepared.rows.iter().filter(|rows| rows.len() > 1).flatten().find(|row| !seen.insert((row.event, &row.target)));
    twice.map(|row| StoreError::Conflict(format!("an event has two deliveries to {}", row.target)))
}

/// Decides all parts and writes what is new. An `Err` inside the answer is that caller's alone. The orders and tenants of
/// the group are locked.
pub(super) async fn run(
    conn: &mut PgConnection,
    parts: &[Part<'_>],
    ground: &Ground<'_>,
) -> StoreResult<Vec<StoreResult<Accepted>>> {
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let refusals: Vec<Option<StoreError>> = parts.iter().map(|part| refusal(part.prepared, ground)).collect();
    polls::lock(conn, parts.iter().map(|part| &part.prepared.accept)).await?;
    let sound = parts.iter().zip(&refusals).filter(|(_, refusal)| refusal.is_none());
    let events = sound.flat_map(|(part, _)| &part.prepared.accept.events);
    let names = Names::claim(conn, events, ground.careful).await?;
    let mut group =
        Deciding { names, polls: polls::Polls::default(), first_ones: Vec::new(), inserts: Inserts::default() };
    let mut answers = Vec::with_capacity(parts.len());
    for (part, refusal) in parts.iter().zip(refusals) {
        answers.push(match refusal {
            Some(refusal) => Err(refusal),
            None => group.decide(conn, part.prepared, ground.now).await?,
        });
    }
    group.names.keep_for(conn, &group.first_ones).await?;
    let not_started = group.inserts.write(conn, ground.owned).await?;
    for (part, answer) in parts.iter().zip(&mut answers) {
        let own = part.prepared.rows.iter().flatten().map(|row| row.key).filter(|key| not_started.contains(key));
        if let Ok(accepted) = answer {
            accepted.not_started.extend(own);
        }
    }
    Ok(answers)
}

/// A group's accepts while they are decided, one after the other.
struct Deciding<'a> {
    names: Names<'a>,
    polls: polls::Polls,
    /// The events that are stored and that callers brought.
    first_ones: Vec<&'a NewEvent>,
    inserts: Inserts<'a>,
}

impl<'a> Deciding<'a> {
    async fn decide(
        &mut self,
        conn: &mut PgConnection,
        prepared: &'a Prepared,
        now: Timestamp,
    ) -> StoreResult<StoreResult<Accepted>> {
        let accept = &prepared.accept;
        // Two may judge a parked request at once, a person and the hub: what it becomes is stored once.
        if let Some((tenant, key)) = &accept.parked
            && !intake::forget(conn, tenant, *key).await?
        {
            return Ok(Err(StoreError::NotFound));
        }
        let live_polls = self.polls.live(conn, &accept.polls_started).await?;
        let stored_before = self.inserts.events.len();
        let mut outcomes = Vec::with_capacity(accept.events.len());
        for (place, new) in accept.events.iter().enumerate() {
            let outcome = match live_polls.get(place) {
                Some(Some(first_id)) => {
                    EventOutcome::Duplicate { first_id: first_id.clone(), correlation_id: None, same: false }
                }
                _ => self.names.decide(new),
            };
            if outcome == EventOutcome::Stored {
                self.first_ones.push(new);
                self.inserts.events.extend(with_told(new));
                self.inserts.rows.extend(&prepared.rows[place]);
                if let Some(poll) = accept.polls_started.get(place) {
                    self.polls.start(conn, poll, &new.event).await?;
                }
            }
            outcomes.push(outcome);
        }
        if self.inserts.events.len() > stored_before {
            self.inserts.requests.extend(&accept.request);
        }
        for poll in &accept.polls_now {
            polls::make_due(conn, poll, now).await?;
        }
        Ok(Ok(Accepted { events: outcomes, not_started: Vec::new() }))
    }
}

impl Inserts<'_> {
    /// Answers which deliveries were to start and are queued.
    async fn write(&self, conn: &mut PgConnection, owned: PartitionSet) -> StoreResult<HashSet<Key>> {
        keep_requests(conn, &self.requests).await?;
        self.insert_events(conn).await?;
        self.insert_persons(conn).await?;
        let queued = insert_deliveries(conn, &self.rows, owned).await?;
        policy::apply(conn, &self.events).await?;
        Ok(queued)
    }

    async fn insert_events(&self, conn: &mut PgConnection) -> StoreResult<()> {
        const INSERT: &str = "insert into event (key, tenant, id, type, source, subject, time, accepted_at, ordering_key, \
            correlation_id, traceparent, cause, request, hop, urgency, expires_at, private_to, extensions, data, persons) \
            select * from unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int8[], \
                $8::int8[], $9::text[], $10::text[], $11::text[], $12::bytea[], $13::bytea[], $14::int2[], $15::int2[], \
                $16::int8[], $17::text[], $18::text[], $19::text[], $20::bytea[])";
        if self.events.is_empty() {
            return Ok(());
        }
        let events: Vec<_> = self.events.iter().map(|new| &*new.event).collect();
        let named = |new: &&NewEvent| (!new.persons.is_empty()).then(|| new.persons.as_flattened().to_vec());
        sqlx::query(INSERT)
            .bind(events.iter().map(|event| &event.key.0[..]).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.tenant.as_str()).collect::<Vec<_>>())
            .bind(events.iter().map(|event| &*event.id).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.event_type.as_str()).collect::<Vec<_>>())
            .bind(events.iter().map(|event| &*event.source).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.subject.as_deref()).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.time.0).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.accepted_at.0).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.ordering_key.as_deref()).collect::<Vec<_>>())
            .bind(events.iter().map(|event| &*event.correlation_id).collect::<Vec<_>>())
            .bind(events.iter().map(|event| &*event.traceparent).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.cause.as_ref().map(|key| &key.0[..])).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.request.as_ref().map(|key| &key.0[..])).collect::<Vec<_>>())
            .bind(events.iter().map(|event| i16::from(event.hop)).collect::<Vec<_>>())
            .bind(events.iter().map(|event| i16::from(event.urgency == Urgency::Emergency)).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.expires_at.map(|at| at.0)).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.private_to.as_deref()).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.extensions.as_deref()).collect::<Vec<_>>())
            .bind(events.iter().map(|event| &*event.data).collect::<Vec<_>>())
            .bind(self.events.iter().map(named).collect::<Vec<_>>())
            .execute(conn)
            .await?;
        Ok(())
    }

    async fn insert_persons(&self, conn: &mut PgConnection) -> StoreResult<()> {
        const INSERT: &str = "insert into person_index (tenant, hash, event) \
            select * from unnest($1::text[], $2::bytea[], $3::bytea[]) on conflict do nothing";
        let persons: Vec<_> =
            self.events.iter().flat_map(|new| new.persons.iter().map(move |person| (&new.event, person))).collect();
        if persons.is_empty() {
            return Ok(());
        }
        sqlx::query(INSERT)
            .bind(persons.iter().map(|(event, _)| event.tenant.as_str()).collect::<Vec<_>>())
            .bind(persons.iter().map(|(_, person)| &person[..]).collect::<Vec<_>>())
            .bind(persons.iter().map(|(event, _)| &event.key.0[..]).collect::<Vec<_>>())
            .execute(conn)
            .await?;
        Ok(())
    }
}

/// Keeps the requests that events came from.
async fn keep_requests(conn: &mut PgConnection, requests: &[&RawRequest]) -> StoreResult<()> {
    const KEEP: &str = "insert into raw_request (key, tenant, source_id, method, url, headers, body, received_at, \
        remote_addr, correlation_id) \
        select * from unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bytea[], \
            $8::int8[], $9::text[], $10::text[])";
    if requests.is_empty() {
        return Ok(());
    }
    sqlx::query(KEEP)
        .bind(requests.iter().map(|request| &request.key.0[..]).collect::<Vec<_>>())
        .bind(requests.iter().map(|request| request.tenant.as_str()).collect::<Vec<_>>())
        .bind(requests.iter().map(|request| &*request.source_id).collect::<Vec<_>>())
        .bind(requests.iter().map(|request| &*request.method).collect::<Vec<_>>())
        .bind(requests.iter().map(|request| &*request.url).collect::<Vec<_>>())
        .bind(requests.iter().map(|request| intake::write_headers(&request.headers)).collect::<Vec<_>>())
        .bind(requests.iter().map(|request| &request.body[..]).collect::<Vec<_>>())
        .bind(requests.iter().map(|request| request.received_at.0).collect::<Vec<_>>())
        .bind(requests.iter().map(|request| request.remote_addr.as_deref()).collect::<Vec<_>>())
        .bind(requests.iter().map(|request| &*request.correlation_id).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}

/// Inserts deliveries, putting each behind a live one with its ordering key. None of them starts at once.
pub(super) async fn insert_rows(conn: &mut PgConnection, rows: &[&NewRow]) -> StoreResult<()> {
    order::lock(conn, &order::places(rows.iter().copied()).collect::<Vec<_>>()).await?;
    insert_deliveries(conn, rows, PartitionSet::none()).await.map(drop)
}

/// Inserts deliveries, whose orders are locked; those that would start in a partition that is not `owned` are queued, and answered.
async fn insert_deliveries(
    conn: &mut PgConnection,
    rows: &[&NewRow],
    owned: PartitionSet,
) -> StoreResult<HashSet<Key>> {
    const INSERT: &str = "insert into delivery (key, tenant, event, target, shard, lane, state, due_at, epoch, tries, \
            crashes, behind, ordering_key, reason, code, message, fingerprint, replayed, created_at, updated_at, \
            expires_at) \
        select w.key, w.tenant, w.event, w.target, w.shard, w.lane, w.state, w.due_at, w.attempts, w.attempts, 0, w.behind, \
            w.ordering_key, w.reason, w.code, w.message, w.fingerprint, false, w.at, w.at, w.expires_at \
        from unnest($1::bytea[], $2::text[], $3::bytea[], $4::text[], $5::int2[], $6::bytea[], $7::int2[], $8::int8[], \
            $9::int8[], $10::bool[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::int8[], \
            $17::int8[]) \
            as w (key, tenant, event, target, shard, lane, state, due_at, attempts, behind, ordering_key, reason, code, \
                message, fingerprint, at, expires_at)";
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let behind = behind(conn, rows).await?;
    let starts = |row: &NewRow| matches!(row.start, Start::Claimed) && owned.contains(Partition::of(row.lane));
    let state = |row: &NewRow| match row.start {
        Start::Claimed if !starts(row) => State::Queued,
        _ => row.state(),
    };
    let failures: Vec<_> = rows
        .iter()
        .map(|row| match &row.start {
            Start::Dead(failure) => Some(failure),
            Start::Queued | Start::Claimed => None,
        })
        .collect();
    let written = sqlx::query(INSERT)
        .bind(rows.iter().map(|row| &row.key.0[..]).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.tenant.as_str()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| &row.event.0[..]).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| &*row.target).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| small(row.shard)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| &row.lane.0[..]).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| small(state(row).code())).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.due_at.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| i64::from(starts(row))).collect::<Vec<_>>())
        .bind(behind)
        .bind(rows.iter().map(|row| row.ordering_key.as_deref()).collect::<Vec<_>>())
        .bind(failures.iter().map(|failure| failure.map(|failure| failure.reason.as_str())).collect::<Vec<_>>())
        .bind(failures.iter().map(|failure| failure.map(|failure| &*failure.code)).collect::<Vec<_>>())
        .bind(failures.iter().map(|failure| failure.map(|failure| &*failure.message)).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.fingerprint.as_deref()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.at.0).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.expires_at.map(|at| at.0)).collect::<Vec<_>>())
        .execute(conn)
        .await?
        .rows_affected();
    all_touched(rows.len(), written)?;
    let late = rows.iter().filter(|row| matches!(row.start, Start::Claimed) && !starts(row));
    Ok(late.map(|row| row.key).collect())
}

/// Which rows go behind one with their ordering key: a live one that is stored, or one before them.
async fn behind(conn: &mut PgConnection, rows: &[&NewRow]) -> StoreResult<Vec<bool>> {
    let mut heads = order::occupied_now(conn, order::places(rows.iter().copied()).collect()).await?;
    Ok(rows
        .iter()
        .map(|row| {
            let ordered = row.ordering_key.as_deref().filter(|_| row.state().is_live());
            ordered.is_some_and(|key| !heads.insert((row.lane, key.to_owned())))
        })
        .collect())
}
