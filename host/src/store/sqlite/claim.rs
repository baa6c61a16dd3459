//! Claim: queued and waiting deliveries become running, under a new epoch.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use sqlx::SqliteConnection;

use super::{
    accept::bytes,
    group::{Call, Reply},
    row::{Fields, event_columns},
    sql::Rows,
};
use crate::{
    clock::Timestamp,
    id::Key,
    queue::state::{Cause, transition},
    store::{
        StoreError, StoreResult,
        ledger::{ClaimRequest, Claimed},
    },
};

pub(super) static CLAIMABLE: Rows = Rows::new(
    "with wanted (key, epoch) as (values ",
    "(?, ?)",
    concat!(
        ") select d.key, d.state, d.tenant, d.target, d.shard, d.epoch, d.tries, d.crashes, d.replayed, d.created_at, \
         exists (select 1 from journal j where j.delivery = d.key), ",
        event_columns!(),
        " from wanted w cross join delivery d on d.key = w.key and d.epoch = w.epoch \
         cross join event e on e.tenant = d.tenant and e.key = d.event \
         where d.state in (0, 2) and d.behind = 0"
    ),
);

pub(super) static CLAIM: Rows = Rows::new(
    "with won (key, epoch, now) as (values ",
    "(?, ?, ?)",
    ") update or rollback delivery set state = 1, epoch = delivery.epoch + 1, tries = tries + 1, updated_at = won.now from won \
     where delivery.key = won.key and delivery.epoch = won.epoch and state in (0, 2) and behind = 0",
);

/// Claims for every caller of the group; the first of two that want the same delivery gets it.
pub(super) async fn run(
    conn: &mut SqliteConnection,
    calls: &[Call],
    replies: &mut [Option<StoreResult<Reply>>],
) -> StoreResult<()> {
    let mut wanted: Vec<ClaimRequest> = Vec::new();
    for call in calls {
        if let Call::Claim(requests, _) = call {
            wanted.extend(requests);
        }
    }
    let mut claimable = read(conn, &wanted).await?;
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
    write(conn, &won).await
}

async fn read(conn: &mut SqliteConnection, wanted: &[ClaimRequest]) -> StoreResult<HashMap<Key, Claimed>> {
    let rows = CLAIMABLE
        .read(conn, wanted, |query, request| query.bind(bytes(request.delivery)).bind(i64::from(request.epoch)))
        .await?;
    let mut claimable = HashMap::with_capacity(rows.len());
    for row in &rows {
        let mut fields = Fields::of(row);
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
        claimable.insert(delivery, claimed);
    }
    Ok(claimable)
}

async fn write(conn: &mut SqliteConnection, won: &[(Key, u32, Timestamp)]) -> StoreResult<()> {
    CLAIM
        .write_all(conn, won, |query, (key, epoch, now)| query.bind(bytes(*key)).bind(i64::from(*epoch)).bind(now.0))
        .await
}
