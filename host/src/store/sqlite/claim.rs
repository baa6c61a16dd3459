//! Claim: queued and waiting deliveries become running, under a new epoch.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use super::{
    direct::{Each, WriteConnection},
    row::event_columns,
};
use crate::{
    clock::Timestamp,
    id::Key,
    queue::state::{Cause, transition},
    store::{
        StoreError, StoreResult,
        group::{Call, Reply},
        ledger::{ClaimRequest, Claimed},
    },
};

pub(super) static CLAIMABLE: Each = Each(concat!(
    "select d.key, d.state, d.tenant, d.target, d.shard, d.epoch, d.tries, d.crashes, d.replayed, d.created_at, \
         exists (select 1 from journal j where j.delivery = d.key), ",
    event_columns!(),
    " from delivery d cross join event e on e.tenant = d.tenant and e.key = d.event \
         where d.key = ? and d.epoch = ? and d.state in (0, 2) and d.behind = 0"
));

pub(super) static CLAIM: Each = Each(
    "update or rollback delivery set state = 1, epoch = epoch + 1, tries = tries + 1, updated_at = ?3 \
     where key = ?1 and epoch = ?2 and state in (0, 2) and behind = 0",
);

/// Claims for every caller of the group; the first of two that want the same delivery gets it.
pub(super) fn run(
    conn: &mut WriteConnection,
    calls: &[Call],
    replies: &mut [Option<StoreResult<Reply>>],
) -> StoreResult<()> {
    let mut wanted: Vec<ClaimRequest> = Vec::new();
    for call in calls {
        if let Call::Claim(requests, _) = call {
            wanted.extend(requests);
        }
    }
    let mut claimable = read(conn, &wanted)?;
    let mut won = Vec::new();
    for (call, reply) in calls.iter().zip(replies) {
        let Call::Claim(requests, now) = call else { continue };
        let claimed: Vec<Claimed> = requests
            .iter()
            .filter_map(|request| match claimable.entry(request.delivery) {
                Entry::Occupied(row) if row.get().epoch == request.epoch + 1 => Some(row.remove()),
                _ => None,
            })
            .collect();
        won.extend(claimed.iter().map(|claimed| (claimed.delivery, claimed.epoch - 1, *now)));
        *reply = Some(Ok(Reply::Claimed(claimed)));
    }
    write(conn, &won)
}

fn read(conn: &mut WriteConnection, wanted: &[ClaimRequest]) -> StoreResult<HashMap<Key, Claimed>> {
    let claimable = CLAIMABLE.read(
        conn,
        wanted,
        |query, request| query.bind(&request.delivery.0[..]).bind(request.epoch),
        |_, fields| {
            let delivery = fields.key()?;
            transition(fields.state()?, Cause::Claim).map_err(|error| StoreError::Inconsistent(error.to_string()))?;
            let claimed = Claimed {
                delivery,
                lane: fields.lane()?,
                epoch: fields.number::<u32>()? + 1,
                tries: fields.number::<u32>()? + 1,
                crashes: fields.number()?,
                replayed: fields.flag()?,
                created_at: fields.time()?,
                journalled: fields.flag()?,
                event: Arc::new(fields.event()?),
            };
            Ok((delivery, claimed))
        },
    )?;
    Ok(claimable.into_iter().collect())
}

fn write(conn: &mut WriteConnection, won: &[(Key, u32, Timestamp)]) -> StoreResult<()> {
    CLAIM.write_all(conn, won, |query, (key, epoch, now)| query.bind(&key.0[..]).bind(*epoch).bind(now.0))
}
