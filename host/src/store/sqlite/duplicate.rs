//! Which events were there before: by dedupe key, by public id, and within the group itself.

use std::{collections::HashMap, sync::Arc};

use sqlx::SqliteConnection;

use super::{row::Fields, sql::Rows};
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

pub(super) static DEDUPES: Rows = Rows::new(
    "with wanted (nth, tenant, scope, key) as (values ",
    "(?, ?, ?, ?)",
    ") select w.nth, d.event_id, d.hash, e.correlation_id from wanted w \
     cross join dedupe d on d.tenant = w.tenant and d.scope = w.scope and d.key = w.key \
     left join event e on e.tenant = d.tenant and e.id = d.event_id",
);

pub(super) static IDS: Rows = Rows::new(
    "with wanted (nth, tenant, id) as (values ",
    "(?, ?, ?)",
    ") select w.nth, e.correlation_id, e.type, e.data from wanted w \
     cross join event e on e.tenant = w.tenant and e.id = w.id",
);

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
    pub(super) async fn read(
        conn: &mut SqliteConnection,
        events: impl Iterator<Item = &'a NewEvent> + Clone,
        own_ids: bool,
    ) -> StoreResult<Self> {
        let mut by_name = HashMap::new();
        let keyed: Vec<_> = (0_i64..).zip(events.clone().filter_map(by_key)).collect();
        let rows = DEDUPES
            .read(conn, &keyed, |query, (nth, (tenant, scope, key))| {
                query.bind(*nth).bind((*tenant).to_owned()).bind((*scope).to_owned()).bind((*key).to_owned())
            })
            .await?;
        for row in &rows {
            let mut fields = Fields::of(row);
            let nth: usize = fields.number()?;
            let (id, print) = (fields.shared()?, Print::Hash(fields.array()?));
            let first = First { id, correlation_id: fields.opt_shared()?, print };
            by_name.extend(keyed.get(nth).map(|(_, name)| (*name, first)));
        }
        let named: Vec<_> = (0_i64..).zip(events.filter(|new| own_ids || !is_own(new))).collect();
        let rows = IDS
            .read(conn, &named, |query, (nth, new)| {
                query.bind(*nth).bind(new.event.tenant.as_str().to_owned()).bind(new.event.id.clone())
            })
            .await?;
        for row in &rows {
            let mut fields = Fields::of(row);
            let nth: usize = fields.number()?;
            let Some((_, new)) = named.get(nth) else { continue };
            let correlation_id = fields.opt_shared()?;
            let print = Print::Whole(fields.shared()?, fields.shared()?);
            by_name.insert(by_id(new), First { id: new.event.id.clone(), correlation_id, print });
        }
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
