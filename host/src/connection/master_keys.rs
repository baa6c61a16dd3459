//! Master keys over the life of a database: which of them wrap which data keys, and the move of all data keys to the one
//! that seals.
//!
//! A key is replaced in three steps: the new one is put before the old one in `SWITCHYARD_MASTER_KEYS`, every data key is
//! wrapped anew, and the old one is taken away. Between the steps both open, in any order and on every node.

use super::vault::{Vault, VaultError};
use crate::{
    directory::places,
    secret::keyring::MasterKeys,
    store::{
        SharedStore, StoreError,
        registry::{AuditEntry, KeyHolder, Rewrapped, WrappedKey},
    },
};

/// How many tenants a message names.
const NAMED: usize = 5;

/// What a master key is needed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Its name.
    pub id: String,
    /// Whether this process has it.
    pub given: bool,
    /// Whether it is the one that seals.
    pub sealing: bool,
    /// Whose data keys it wraps, of tenants.
    pub tenants: Vec<String>,
    /// Whether it wraps the hub's own data key.
    pub hub: bool,
}

impl KeyUse {
    /// Whether nothing needs it any more.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.tenants.is_empty() && !self.hub
    }
}

/// Why the keys do not fit the data, or could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// A key that wraps data keys is not there.
    #[error(
        "master key `{id}` wraps {what} and is not among the given ones ({given}); add it to SWITCHYARD_MASTER_KEYS, \
         after the others, and take it away when `switchyard keys status` shows nothing under it"
    )]
    Needed {
        /// The key.
        id: String,
        /// What it wraps.
        what: String,
        /// The keys that are there.
        given: String,
    },
    /// A data key does not open.
    #[error("the data key of {holder}: {source}")]
    Unopened {
        /// Whose it is.
        holder: String,
        /// Why.
        source: VaultError,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far a rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// Data keys that this call moved.
    pub rewrapped: u64,
    /// Data keys that are still under another key than the sealing one.
    pub remaining: u64,
}

/// The name under which a data key is wrapped.
fn owner(holder: &KeyHolder) -> &str {
    match holder {
        KeyHolder::Hub => places::HUB,
        KeyHolder::Tenant(tenant) => tenant.as_str(),
    }
}

fn shown(holder: &KeyHolder) -> String {
    match holder {
        KeyHolder::Hub => "the hub itself".to_owned(),
        KeyHolder::Tenant(tenant) => format!("tenant {tenant}"),
    }
}

fn wrapped_by(key: &WrappedKey) -> Result<&str, MasterKeyError> {
    Vault::wrapped_by(&key.wrapped).map_err(|source| MasterKeyError::Unopened { holder: shown(&key.holder), source })
}

/// What each master key wraps: the given ones first, in their order, then those that are missing.
///
/// # Errors
/// A data key does not say which master key wraps it.
pub fn uses(keys: &MasterKeys, wrapped: &[WrappedKey]) -> Result<Vec<KeyUse>, MasterKeyError> {
    let unused = |id: &str, given| KeyUse { id: id.to_owned(), given, sealing: false, tenants: Vec::new(), hub: false };
    let mut uses: Vec<KeyUse> = keys.iter().map(|key| unused(key.id(), true)).collect();
    uses[0].sealing = true;
    for key in wrapped {
        let id = wrapped_by(key)?;
        let place = uses.iter().position(|known| known.id == id).unwrap_or_else(|| {
            uses.push(unused(id, false));
            uses.len() - 1
        });
        match &key.holder {
            KeyHolder::Hub => uses[place].hub = true,
            KeyHolder::Tenant(tenant) => uses[place].tenants.push(tenant.to_string()),
        }
    }
    Ok(uses)
}

/// Refuses a keyring that lacks a key which wraps a data key.
///
/// # Errors
/// See [`MasterKeyError`]; the message names the key and what it wraps.
pub fn require(keys: &MasterKeys, wrapped: &[WrappedKey]) -> Result<(), MasterKeyError> {
    let Some(missing) = uses(keys, wrapped)?.into_iter().find(|key| !key.given) else { return Ok(()) };
    let given = keys.iter().map(|key| key.id()).collect::<Vec<_>>().join(", ");
    Err(MasterKeyError::Needed { what: described(&missing), id: missing.id, given })
}

/// What a key wraps, in words.
fn described(key: &KeyUse) -> String {
    let mut named = key.tenants.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if key.tenants.len() > NAMED {
        named.push_str(", ..");
    }
    match (key.tenants.len(), key.hub) {
        (0, _) => "the data key of the hub itself".to_owned(),
        (1, _) => format!("the data key of tenant {named}"),
        (count, _) => format!("the data keys of {count} tenants ({named})"),
    }
}

/// Moves at most `limit` data keys to the key that seals. Calling it until nothing remains ends a rotation, also one
/// that a crash cut short: each key is moved in one step, and what is moved is not touched again.
///
/// # Errors
/// A data key does not open, or the database failed.
pub async fn rotate(
    store: &SharedStore,
    vault: &Vault,
    limit: usize,
    audit: AuditEntry,
) -> Result<Rotated, MasterKeyError> {
    let sealing = vault.master_keys().primary().id();
    let (mut moves, mut remaining) = (Vec::new(), 0);
    for key in store.wrapped_keys().await? {
        if wrapped_by(&key)? == sealing {
            continue;
        }
        if moves.len() >= limit {
            remaining += 1;
            continue;
        }
        let rewrapped = vault.rewrap(owner(&key.holder), &key.wrapped);
        let unopened = |source| MasterKeyError::Unopened { holder: shown(&key.holder), source };
        if let Some(to) = rewrapped.map_err(unopened)? {
            moves.push(Rewrapped { from: key, to });
        }
    }
    let rewrapped = if moves.is_empty() { 0 } else { store.rewrap(moves, audit).await? };
    Ok(Rotated { rewrapped, remaining })
}

/// Opens every data key, and answers the first that does not.
///
/// # Errors
/// See [`MasterKeyError`].
pub fn open_all(vault: &Vault, wrapped: &[WrappedKey]) -> Result<(), MasterKeyError> {
    for key in wrapped {
        let opened = vault.open_tenant_key(owner(&key.holder), &key.wrapped);
        opened.map_err(|source| MasterKeyError::Unopened { holder: shown(&key.holder), source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{ManualClock, Timestamp},
        id::Ids,
    };

    const OLD: &str = "old:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const NEW: &str = "new:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn vault(keys: &str) -> Vault {
        Vault::new(MasterKeys::parse(keys).unwrap(), Ids::seeded(ManualClock::starting_at(Timestamp(0)), [7; 32]))
    }

    fn wrapped(keys: &str, tenant: &str) -> WrappedKey {
        let holder = KeyHolder::Tenant(tenant.parse().unwrap());
        WrappedKey { holder, wrapped: vault(keys).new_tenant_key(tenant).unwrap() }
    }

    #[test]
    fn every_key_says_what_it_wraps_and_a_missing_one_is_shown() {
        let data = [wrapped(OLD, "acme"), wrapped(NEW, "beta"), wrapped(OLD, "gamma")];
        let uses = uses(&MasterKeys::parse(NEW).unwrap(), &data).unwrap();
        let short: Vec<_> = uses.iter().map(|key| (&*key.id, key.given, key.sealing, key.tenants.len())).collect();
        assert_eq!(short, [("new", true, true, 1), ("old", false, false, 2)]);
    }

    #[test]
    fn a_ring_that_lacks_a_needed_key_is_refused_and_one_that_is_free_may_go() {
        let data = [wrapped(OLD, "acme"), wrapped(NEW, "beta")];
        let said = require(&MasterKeys::parse(NEW).unwrap(), &data).unwrap_err().to_string();
        assert!(said.contains("`old` wraps the data key of tenant acme") && said.contains("(new)"), "{said}");
        assert!(require(&MasterKeys::parse(&format!("{NEW},{OLD}")).unwrap(), &data).is_ok());
        assert!(require(&MasterKeys::parse(NEW).unwrap(), &data[1..]).is_ok());
    }

    #[test]
    fn a_key_of_another_tenant_does_not_open() {
        let moved = WrappedKey { holder: KeyHolder::Tenant("beta".parse().unwrap()), ..wrapped(OLD, "acme") };
        let said = open_all(&vault(OLD), &[moved]).unwrap_err().to_string();
        assert!(said.contains("tenant beta") && said.contains("does not open"), "{said}");
    }
}
