//! Reads which events were there before.

use std::collections::HashMap;

use super::{
    direct::{Each, WriteConnection},
    row::given_id,
};
use crate::store::{
    StoreResult,
    group::{First, Firsts, Name, Print, by_id, by_key, is_own},
    ledger::NewEvent,
};

pub(super) static DEDUPE: Each = Each(concat!(
    "select d.event_id, d.hash, coalesce(own.correlation_id, e.correlation_id) from dedupe d \
     left join event own on own.tenant = d.tenant and own.key = unhex(substr(d.event_id, 5)) and own.id = d.event_id \
     left join event e on e.tenant = d.tenant and e.id = d.event_id and ",
    given_id!(),
    " where d.tenant = ? and d.scope = ? and d.key = ?"
));

pub(super) static ID: Each = Each(concat!(
    "select e.correlation_id, e.type, e.data from event e where e.tenant = ?1 and e.id = ?2 and ",
    given_id!(),
    " union all select correlation_id, type, data from event where tenant = ?1 and key = unhex(substr(?2, 5)) and id = ?2"
));

/// Reads what is stored under the names of `events`. Ids that the hub made are new, so they are looked up only if
/// `own_ids` says so.
pub(super) fn read<'a>(
    conn: &mut WriteConnection,
    events: impl Iterator<Item = &'a NewEvent> + Clone,
    own_ids: bool,
) -> StoreResult<Firsts<'a>> {
    let keyed: Vec<Name<'a>> = events.clone().filter_map(by_key).collect();
    let mut by_name: HashMap<_, _> = DEDUPE
        .read(
            conn,
            &keyed,
            |query, (tenant, scope, key)| query.bind(tenant).bind(scope).bind(key),
            |name, fields| {
                let (id, print) = (fields.shared()?, Print::Hash(fields.array()?));
                Ok((*name, First { id, correlation_id: fields.opt_shared()?, print }))
            },
        )?
        .into_iter()
        .collect();
    let named: Vec<&'a NewEvent> = events.filter(|new| own_ids || !is_own(new)).collect();
    by_name.extend(ID.read(
        conn,
        &named,
        |query, new| query.bind(new.event.tenant.as_str()).bind(&*new.event.id),
        |new, fields| {
            let correlation_id = fields.opt_shared()?;
            let print = Print::Whole(fields.shared()?, fields.shared()?);
            Ok((by_id(new), First { id: new.event.id.clone(), correlation_id, print }))
        },
    )?);
    Ok(Firsts { by_name })
}
