//! Accept: events with their dedupe keys, deliveries, person index and raw requests, for a whole group at once.

use std::collections::HashSet;

use super::{
    direct::{Each, WriteConnection},
    duplicate, intake, order, policy, schedule,
    writer::Memory,
};
pub(super) use crate::store::group::NewRow;
use crate::{
    event::Urgency,
    id::Key,
    store::{
        StoreError, StoreResult,
        group::{Part, rows_of, with_told},
        ledger::{Accepted, EventOutcome, NewEvent, Start},
    },
};

/// Stores events by which the host tells of what the same transaction does. Their ids are new and they have no dedupe key.
pub(super) fn tell(conn: &mut WriteConnection, told: &[&NewEvent]) -> StoreResult<()> {
    let rows: Vec<NewRow> = told.iter().flat_map(|new| rows_of(new)).collect();
    Inserts { events: told.to_vec(), rows: rows.iter().collect(), requests: Vec::new() }.write(conn)
}

/// What the group will insert.
#[derive(Default)]
struct Inserts<'a> {
    events: Vec<&'a NewEvent>,
    rows: Vec<&'a NewRow>,
    requests: Vec<&'a crate::store::ledger::RawRequest>,
}

/// Decides all parts and writes what is new. An `Err` inside the answer is that caller's alone.
pub(super) async fn run(
    conn: &mut WriteConnection,
    parts: &[Part<'_>],
    memory: &mut Memory,
) -> StoreResult<Vec<StoreResult<Accepted>>> {
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    learn_tenants(conn, parts, memory)?;
    let all = || parts.iter().flat_map(|part| &part.prepared.accept.events);
    // A group that breaks on a key that was used before is run caller by caller, and then every id is looked up.
    let mut firsts = duplicate::read(conn, all(), parts.len() == 1)?;
    let mut inserts = Inserts::default();
    let mut answers = Vec::with_capacity(parts.len());
    let now = memory.now();
    let mut polls = schedule::Polls::default();
    for part in parts {
        let accept = &part.prepared.accept;
        if accept.events.iter().any(|new| !memory.tenants.contains(&new.event.tenant)) {
            answers.push(Err(StoreError::NotFound));
            continue;
        }
        // Two may judge a parked request at once, a person and the hub: what it becomes is stored once.
        if let Some((tenant, key)) = &accept.parked
            && !intake::forget(conn, tenant, *key).await?
        {
            answers.push(Err(StoreError::NotFound));
            continue;
        }
        let live_polls = polls.live(conn, &accept.polls_started).await?;
        let stored_before = inserts.events.len();
        let mut outcomes = Vec::with_capacity(accept.events.len());
        for (place, new) in accept.events.iter().enumerate() {
            let outcome = match live_polls.get(place) {
                Some(Some(first_id)) => {
                    EventOutcome::Duplicate { first_id: first_id.clone(), correlation_id: None, same: false }
                }
                _ => firsts.decide(new),
            };
            if outcome == EventOutcome::Stored {
                inserts.events.extend(with_told(new));
                inserts.rows.extend(&part.prepared.rows[place]);
                if let Some(poll) = accept.polls_started.get(place) {
                    polls.start(conn, poll, &new.event).await?;
                }
            }
            outcomes.push(outcome);
        }
        if inserts.events.len() > stored_before {
            inserts.requests.extend(&accept.request);
        }
        for poll in &accept.polls_now {
            schedule::make_due(conn, poll, now).await?;
        }
        answers.push(Ok(Accepted { events: outcomes, not_started: Vec::new() }));
    }
    inserts.write(conn)?;
    Ok(answers)
}

/// Makes sure that the tenants of the group's events are there: routes are cached, and a tenant may be gone.
fn learn_tenants(conn: &mut WriteConnection, parts: &[Part<'_>], memory: &mut Memory) -> StoreResult<()> {
    static TENANT: Each = Each("select id from tenant where id = ?");
    let mut unknown = HashSet::new();
    for new in parts.iter().flat_map(|part| &part.prepared.accept.events) {
        if !memory.tenants.contains(&new.event.tenant) {
            unknown.insert(&new.event.tenant);
        }
    }
    let unknown: Vec<_> = unknown.into_iter().collect();
    let known =
        TENANT.read(conn, &unknown, |query, tenant| query.bind(tenant.as_str()), |_, fields| fields.parsed())?;
    memory.tenants.extend(known);
    Ok(())
}

// `or rollback`: a broken constraint fails the whole group anyway, and SQLite then keeps no undo log of the statement.
static INSERT_EVENT: Each = Each(
    "insert or rollback into event (key, tenant, id, type, source, subject, time, accepted_at, ordering_key, correlation_id, \
     traceparent, cause, request, hop, urgency, expires_at, private_to, extensions, data, persons) \
     values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
);

static INSERT_DEDUPE: Each =
    Each("insert or rollback into dedupe (tenant, scope, key, event_id, hash, at) values (?, ?, ?, ?, ?, ?)");

static INSERT_PERSON: Each = Each("insert or ignore into person_index (tenant, hash, event) values (?, ?, ?)");

static INSERT_DELIVERY: Each = Each(
    "insert or rollback into delivery (key, tenant, event, target, shard, lane, state, due_at, epoch, tries, crashes, behind, \
     ordering_key, reason, code, message, fingerprint, replayed, created_at, updated_at, expires_at) \
     values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?)",
);

impl Inserts<'_> {
    fn write(&self, conn: &mut WriteConnection) -> StoreResult<()> {
        intake::keep(conn, &self.requests)?;
        INSERT_EVENT.write(conn, &self.events, |query, new| {
            let event = &new.event;
            query
                .bind(&event.key.0[..])
                .bind(event.tenant.as_str())
                .bind(&*event.id)
                .bind(event.event_type.as_str())
                .bind(&*event.source)
                .bind(event.subject.as_deref())
                .bind(event.time.0)
                .bind(event.accepted_at.0)
                .bind(event.ordering_key.as_deref())
                .bind(&*event.correlation_id)
                .bind(&*event.traceparent)
                .bind(event.cause.as_ref().map(|key| &key.0[..]))
                .bind(event.request.as_ref().map(|key| &key.0[..]))
                .bind(i64::from(event.hop))
                .bind(i64::from(event.urgency == Urgency::Emergency))
                .bind(event.expires_at.map(|at| at.0))
                .bind(event.private_to.as_deref())
                .bind(event.extensions.as_deref())
                .bind(&*event.data)
                .bind((!new.persons.is_empty()).then(|| new.persons.as_flattened()))
        })?;
        let dedupes: Vec<_> =
            self.events.iter().filter_map(|new| new.dedupe.as_ref().map(|dedupe| (&new.event, dedupe))).collect();
        INSERT_DEDUPE.write(conn, &dedupes, |query, (event, dedupe)| {
            query
                .bind(event.tenant.as_str())
                .bind(&*dedupe.scope)
                .bind(&*dedupe.key)
                .bind(&*event.id)
                .bind(&dedupe.hash[..])
                .bind(event.accepted_at.0)
        })?;
        let persons: Vec<_> =
            self.events.iter().flat_map(|new| new.persons.iter().map(move |person| (&new.event, person))).collect();
        INSERT_PERSON.write(conn, &persons, |query, (event, person)| {
            query.bind(event.tenant.as_str()).bind(&person[..]).bind(&event.key.0[..])
        })?;
        insert_rows(conn, &self.rows)?;
        policy::apply(conn, &self.events)
    }
}

/// Inserts deliveries, putting each behind a live one with its ordering key.
pub(super) fn insert_rows(conn: &mut WriteConnection, rows: &[&NewRow]) -> StoreResult<()> {
    let mut heads = order::heads(conn, rows)?;
    let placed: Vec<(&NewRow, bool)> = rows
        .iter()
        .map(|row| {
            let ordered = row.ordering_key.as_deref().filter(|_| row.state().is_live());
            (*row, ordered.is_some_and(|key| !heads.insert((row.lane, key.to_owned()))))
        })
        .collect();
    INSERT_DELIVERY.write(conn, &placed, |query, (row, behind)| {
        let attempts = i64::from(matches!(row.start, Start::Claimed));
        let failure = match &row.start {
            Start::Dead(failure) => Some(failure),
            Start::Queued | Start::Claimed => None,
        };
        query
            .bind(&row.key.0[..])
            .bind(row.tenant.as_str())
            .bind(&row.event.0[..])
            .bind(&*row.target)
            .bind(row.shard)
            .bind(&row.lane.0[..])
            .bind(row.state().code())
            .bind(row.due_at.0)
            .bind(attempts)
            .bind(attempts)
            .bind(i64::from(*behind))
            .bind(row.ordering_key.as_deref())
            .bind(failure.map(|failure| failure.reason.as_str()))
            .bind(failure.map(|failure| &*failure.code))
            .bind(failure.map(|failure| &*failure.message))
            .bind(row.fingerprint.as_deref())
            .bind(row.at.0)
            .bind(row.at.0)
            .bind(row.expires_at.map(|at| at.0))
    })?;
    Ok(())
}

/// A key as it is bound.
pub(super) fn bytes(key: Key) -> Vec<u8> {
    key.0.to_vec()
}
