//! How often versions trapped in a row.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use crate::event::TenantId;

/// So many traps in a row break a version for a tenant.
pub const BROKEN_AFTER: u32 = 5;

/// So many are enough while the version traps at [`SEVERAL`] tenants and succeeds at none: then it is not their events.
pub const BROKEN_AFTER_AT_SEVERAL: u32 = 2;

/// How many tenants are several.
pub const SEVERAL: usize = 3;

/// A version, and which of its functions: polls that succeed do not make up for commands that trap.
type Function = (String, String, &'static str);

/// Counts of one process; a restart forgives.
#[derive(Default)]
pub struct Traps(Mutex<HashMap<Function, Streak>>);

/// The traps of a function since it last succeeded.
#[derive(Default)]
struct Streak {
    /// In a row, for each tenant.
    counts: HashMap<TenantId, u32>,
    /// Where it trapped since it last succeeded anywhere; at most [`SEVERAL`].
    at: HashSet<TenantId>,
}

impl Traps {
    /// Notes one call of a function; answers whether the version is broken for the tenant now.
    pub fn note(&self, tenant: &TenantId, plugin: &str, version: &str, function: &'static str, trapped: bool) -> bool {
        let mut streaks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (plugin.to_owned(), version.to_owned(), function);
        if !trapped {
            if let Some(streak) = streaks.get_mut(&key) {
                streak.counts.remove(tenant);
                streak.at.clear();
                if streak.counts.is_empty() {
                    streaks.remove(&key);
                }
            }
            return false;
        }
        let streak = streaks.entry(key).or_default();
        let count = streak.counts.entry(tenant.clone()).or_insert(0);
        *count += 1;
        if streak.at.len() < SEVERAL {
            streak.at.insert(tenant.clone());
        }
        let enough = if streak.at.len() < SEVERAL { BROKEN_AFTER } else { BROKEN_AFTER_AT_SEVERAL };
        *count >= enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    #[test]
    fn five_traps_in_a_row_break_a_version_for_a_tenant_and_a_success_begins_anew() {
        let traps = Traps::default();
        let note = |trapped| traps.note(&tenant("acme"), "p", "1.0.0", "handle", trapped);
        assert_eq!([true, true, true, true, false, true, true, true, true, true].map(note)[8..], [false, true]);
        assert!(!traps.note(&tenant("acme"), "p", "1.0.0", "poll", true), "another function counts for itself");
        assert!(!traps.note(&tenant("acme"), "p", "1.1.0", "handle", true), "another version counts for itself");
    }

    #[test]
    fn a_version_that_traps_at_several_tenants_and_succeeds_nowhere_is_broken_sooner() {
        let traps = Traps::default();
        let note = |name, trapped| traps.note(&tenant(name), "p", "1.0.0", "handle", trapped);
        assert_eq!([note("a", true), note("b", true), note("a", true), note("b", true)], [false; 4], "two tenants");
        assert!(!note("c", true), "its own first");
        assert!(note("c", true) && note("a", true));
        assert!(!note("d", false), "it works somewhere");
        assert!(!note("e", true) && !note("e", true), "so it may be the events");
    }
}
