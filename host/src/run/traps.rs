//! How often versions trapped in a row, for each tenant.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::event::TenantId;

/// So many traps in a row break a version for a tenant.
pub const BROKEN_AFTER: u32 = 5;

/// Tenant, plugin, version, and which of its functions: polls that succeed do not make up for commands that trap.
type Place = (TenantId, String, String, &'static str);

/// Counts of one process; a restart forgives.
#[derive(Default)]
pub struct Traps(Mutex<HashMap<Place, u32>>);

impl Traps {
    /// Notes one call of a function; answers how many of it in a row have trapped now.
    pub fn note(&self, tenant: &TenantId, plugin: &str, version: &str, function: &'static str, trapped: bool) -> u32 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant.clone(), plugin.to_owned(), version.to_owned(), function);
        if !trapped {
            counts.remove(&key);
            return 0;
        }
        let count = counts.entry(key).or_insert(0);
        *count += 1;
        *count
    }
}
