//! Which events were there before: by dedupe key, by public id, and within the group itself.

use std::{collections::HashMap, sync::Arc};

use sqlx::SqliteConnection;

use super::{row::Fields, sql::Rows};
use crate::store::{
    StoreResult,
    ledger::{EventOutcome, NewEvent},
};

/// (tenant, scope, key) of a dedupe key, or (tenant, "", id) of an event; a scope is never empty.
type Name = (Arc<str>, Arc<str>, Arc<str>);

/// The first event under a name.
#[derive(Clone)]
struct First {
    id: Arc<str>,
    correlation_id: Option<Arc<str>>,
    print: Print,
}

/// What tells a repeat from a reused id.
#[derive(Clone)]
enum Print {
    /// SHA-256 of type and data, from the dedupe key.
    Hash([u8; 32]),
    /// Type and data themselves.
    Whole(Arc<str>, Arc<str>),
}

/// The first events under the names that a group brings.
pub(super) struct Firsts {
    by_name: HashMap<Name, First>,
}

static DEDUPES: Rows = Rows::new(
    "with wanted (tenant, scope, key) as (values ",
    "(?, ?, ?)",
    ") select d.tenant, d.scope, d.key, d.event_id, d.hash, e.correlation_id from wanted w \
     cross join dedupe d on d.tenant = w.tenant and d.scope = w.scope and d.key = w.key \
     left join event e on e.tenant = d.tenant and e.id = d.event_id",
);

static IDS: Rows = Rows::new(
    "with wanted (tenant, id) as (values ",
    "(?, ?)",
    ") select e.tenant, e.id, e.correlation_id, e.type, e.data from wanted w \
     cross join event e on e.tenant = w.tenant and e.id = w.id",
);

impl Firsts {
    /// Reads what is stored under the names of `events`.
    pub(super) async fn read<'a>(
        conn: &mut SqliteConnection,
        events: impl Iterator<Item = &'a NewEvent> + Clone,
    ) -> StoreResult<Self> {
        let mut by_name = HashMap::new();
        let keyed: Vec<_> = events.clone().filter_map(|new| new.dedupe.as_ref().map(|dedupe| (new, dedupe))).collect();
        let rows = DEDUPES
            .read(conn, &keyed, |query, (new, dedupe)| {
                query.bind(new.event.tenant.as_str().to_owned()).bind(dedupe.scope.clone()).bind(dedupe.key.clone())
            })
            .await?;
        for row in &rows {
            let mut fields = Fields::of(row);
            let name = (fields.shared()?, fields.shared()?, fields.shared()?);
            let (id, print) = (fields.shared()?, Print::Hash(fields.array()?));
            by_name.insert(name, First { id, correlation_id: fields.opt_shared()?, print });
        }
        let all: Vec<_> = events.collect();
        let rows = IDS
            .read(conn, &all, |query, new| query.bind(new.event.tenant.as_str().to_owned()).bind(new.event.id.clone()))
            .await?;
        for row in &rows {
            let mut fields = Fields::of(row);
            let (tenant, id) = (fields.shared()?, fields.shared()?);
            let correlation_id = fields.opt_shared()?;
            let print = Print::Whole(fields.shared()?, fields.shared()?);
            by_name.insert((tenant, "".into(), id.clone()), First { id, correlation_id, print });
        }
        Ok(Self { by_name })
    }

    /// Whether `new` is the first of its names; if so, later ones of the group are its duplicates.
    pub(super) fn decide(&mut self, new: &NewEvent) -> EventOutcome {
        let event = &new.event;
        let tenant: Arc<str> = event.tenant.as_str().into();
        let by_id = (tenant.clone(), Arc::from(""), event.id.clone());
        let by_key = new
            .dedupe
            .as_ref()
            .map(|dedupe| (tenant, Arc::from(dedupe.scope.as_str()), Arc::from(dedupe.key.as_str())));
        let known = by_key.as_ref().and_then(|name| self.by_name.get(name)).or_else(|| self.by_name.get(&by_id));
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
