//! Which events were there before: by dedupe key, by public id, and within the group itself.

use std::{collections::HashMap, sync::Arc};

use crate::{
    id::Key,
    store::ledger::{EventOutcome, NewEvent},
};

/// (tenant, scope, key) of a dedupe key, or (tenant, "", id) of an event; a scope is never empty.
pub(in crate::store) type Name<'a> = (&'a str, &'a str, &'a str);

/// The first event under a name.
#[derive(Clone, Debug)]
pub(in crate::store) struct First {
    pub(in crate::store) id: Arc<str>,
    pub(in crate::store) correlation_id: Option<Arc<str>>,
    pub(in crate::store) print: Print,
}

/// What tells a repeat from a reused id.
#[derive(Clone, Debug)]
pub(in crate::store) enum Print {
    /// SHA-256 of type and data, from the dedupe key.
    Hash([u8; 32]),
    /// Type and data themselves.
    Whole(Arc<str>, Arc<str>),
}

/// The first events under the names that a group brings.
pub(in crate::store) struct Firsts<'a> {
    pub(in crate::store) by_name: HashMap<Name<'a>, First>,
}

/// An id that the hub made from the event's own key.
pub(in crate::store) fn is_own(new: &NewEvent) -> bool {
    Key::parse("evt", &new.event.id) == Some(new.event.key)
}

/// An event by its public id.
pub(in crate::store) fn by_id(new: &NewEvent) -> Name<'_> {
    (new.event.tenant.as_str(), "", &new.event.id)
}

/// An event by its dedupe key.
pub(in crate::store) fn by_key(new: &NewEvent) -> Option<Name<'_>> {
    new.dedupe.as_ref().map(|dedupe| (new.event.tenant.as_str(), dedupe.scope.as_str(), dedupe.key.as_str()))
}

impl<'a> Firsts<'a> {
    /// Whether `new` is the first of its names; if so, later ones of the group are its duplicates.
    pub(in crate::store) fn decide(&mut self, new: &'a NewEvent) -> EventOutcome {
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
