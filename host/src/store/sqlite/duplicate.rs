//! Which events were there before: by dedupe key, by public id, and within the group itself.

use std::{collections::HashMap, sync::Arc};

use super::{
    direct::{Each, WriteConnection},
    row::given_id,
};
use crate::{
    id::Key,
    store::{
        StoreResult,
        ledger::{EventOutcome, NewEvent},
    },
};

/// (tenant, scope, key) of a dedupe key, or (tenant, "", id) of an event; a scope is never empty.
type Name<'a> = (&'a str, &'a str, &'a str);

/// The first event under a name.
#[derive(Clone, Debug)]
struct First {
    id: Arc<str>,
    correlation_id: Option<Arc<str>>,
    print: Print,
}

/// What tells a repeat from a reused id.
#[derive(Clone, Debug)]
enum Print {
    /// SHA-256 of type and data, from the dedupe key.
    Hash([u8; 32]),
    /// Type and data themselves.
    Whole(Arc<str>, Arc<str>),
}

/// The first events under the names that a group brings.
pub(super) struct Firsts<'a> {
    by_name: HashMap<Name<'a>, First>,
}

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

/// An id that the hub made from the event's own key.
fn is_own(new: &NewEvent) -> bool {
    Key::parse("evt", &new.event.id) == Some(new.event.key)
}

fn by_id(new: &NewEvent) -> Name<'_> {
    (new.event.tenant.as_str(), "", &new.event.id)
}

fn by_key(new: &NewEvent) -> Option<Name<'_>> {
    new.dedupe.as_ref().map(|dedupe| (new.event.tenant.as_str(), dedupe.scope.as_str(), dedupe.key.as_str()))
}

impl<'a> Firsts<'a> {
    /// Reads what is stored under the names of `events`. Ids that the hub made are new, so they are looked up only if
    /// `own_ids` says so.
    pub(super) fn read(
        conn: &mut WriteConnection,
        events: impl Iterator<Item = &'a NewEvent> + Clone,
        own_ids: bool,
    ) -> StoreResult<Self> {
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
        Ok(Self { by_name })
    }

    /// Whether `new` is the first of its names; if so, later ones of the group are its duplicates.
    pub(super) fn decide(&mut self, new: &'a NewEvent) -> EventOutcome {
        let event = &new.event;
        let (by_id, by_key) = (by_id(new), by_key(new));
        let known = by_key.and_then(|name| self.by_name.get(&name)).or_else(|| self.by_name.get(&by_id));
        if let Some(first) = known {
            let same = match &first.print {
                Print::Hash(hash) => new.dedupe.as_ref().is_some_and(|dedupe| dedupe.hash == *hash),
                Print::Whole(event_type, data) => **event_type == *event.event_type.as_str() && **data == *event.data,
            };
            return EventOutcome::Duplicate {
                first_id: first.id.clone(),
                correlation_id: first.correlation_id.clone(),
                same,
            };
        }
        let correlation_id = Some(event.correlation_id.clone());
        if let (Some(name), Some(dedupe)) = (by_key, &new.dedupe) {
            let print = Print::Hash(dedupe.hash);
            let first = First { id: event.id.clone(), correlation_id: correlation_id.clone(), print };
            self.by_name.insert(name, first);
        }
        let print = Print::Whole(event.event_type.as_str().into(), event.data.clone());
        self.by_name.insert(by_id, First { id: event.id.clone(), correlation_id, print });
        EventOutcome::Stored
    }
}
