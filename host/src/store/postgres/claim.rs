//! Claim: queued and waiting deliveries become running, under a new epoch.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::Arc,
};

use sqlx::PgConnection;

use super::{
    row::{Fields, event_columns},
    settle::Locked,
};
use crate::{
    clock::Timestamp,
    id::Key,
    queue::{
        lane::LaneKey,
        partition::{Partition, PartitionSet},
    },
    store::{
        StoreResult,
        group::{Call, Reply},
        ledger::{ClaimRequest, Claimed},
    },
};

// The rows are locked. The event is found through the delivery, so that each join goes by a key. `state + 0` keeps the
// planner from the indexes of what is ready: it would walk them for all lanes.
pub(super) const CLAIM: &str = concat!(
    "update delivery d set state = 1, epoch = d.epoch + 1, tries = d.tries + 1, updated_at = w.now \
     from unnest($1::bytea[], $2::int8[], $3::int8[]) as w (key, epoch, now), event e \
     where d.key = w.key and d.epoch = w.epoch and d.state + 0 in (0, 2) and not d.behind \
       and e.tenant = d.tenant and e.key = d.event \
     returning d.key, d.tenant, d.target, d.shard, d.epoch, d.tries, d.crashes, d.replayed, d.created_at, \
         exists (select 1 from journal j where j.delivery = d.key), ",
    event_columns!(),
);

/// Which partitions the claims of the group are of, as far as their deliveries are known.
pub(super) fn partitions<'l>(calls: &[Call], lane: impl Fn(Key) -> Option<LaneKey> + 'l) -> PartitionSet {
    wanted(calls).filter_map(|(request, _)| lane(request.delivery)).map(Partition::of).collect()
}

/// Every request of the group, with the time of its caller.
pub(super) fn wanted(calls: &[Call]) -> impl Iterator<Item = (&ClaimRequest, Timestamp)> {
    calls.iter().flat_map(|call| {
        let (requests, now) = match call {
            Call::Claim(requests, now) => (&requests[..], *now),
            Call::Accept(_) | Call::Intend(_) | Call::Settle(..) => (&[][..], Timestamp::default()),
        };
        requests.iter().map(move |request| (request, now))
    })
}

/// Claims for every caller of the group, in partitions that this node owns; the first of two that want the same delivery
/// gets it.
pub(super) async fn run(
    conn: &mut PgConnection,
    calls: &[Call],
    locked: &Locked,
    owned: PartitionSet,
    replies: &mut [Option<StoreResult<Reply>>],
) -> StoreResult<()> {
    let mut requested: BTreeMap<(Key, u32), Timestamp> = BTreeMap::new();
    for (request, now) in wanted(calls) {
        if locked.lane(request.delivery).is_some_and(|lane| owned.contains(Partition::of(lane))) {
            requested.entry((request.delivery, request.epoch)).or_insert(now);
        }
    }
    let mut claimed = write(conn, &requested).await?;
    for (call, reply) in calls.iter().zip(replies) {
        let Call::Claim(requests, _) = call else { continue };
        let mine = requests.iter().filter_map(|request| match claimed.entry(request.delivery) {
            Entry::Occupied(row) if row.get().epoch == request.epoch + 1 => Some(row.remove()),
            _ => None,
        });
        *reply = Some(Ok(Reply::Claimed(mine.collect())));
    }
    Ok(())
}

async fn write(
    conn: &mut PgConnection,
    requested: &BTreeMap<(Key, u32), Timestamp>,
) -> StoreResult<HashMap<Key, Claimed>> {
    if requested.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(CLAIM)
        .bind(requested.keys().map(|(key, _)| &key.0[..]).collect::<Vec<_>>())
        .bind(requested.keys().map(|(_, epoch)| i64::from(*epoch)).collect::<Vec<_>>())
        .bind(requested.values().map(|now| now.0).collect::<Vec<_>>())
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            let delivery = fields.key()?;
            let claimed = Claimed {
                delivery,
                lane: fields.lane()?,
                epoch: fields.number()?,
                tries: fields.number()?,
                crashes: fields.number()?,
                replayed: fields.flag()?,
                created_at: fields.time()?,
                journalled: fields.flag()?,
                event: Arc::new(fields.event()?),
            };
            Ok((delivery, claimed))
        })
        .collect()
}
