//! Whom a request is about, and what of theirs is sealed.

use crate::{
    connection::vault::{PersonKind, Place, TenantKey, Vault},
    event::TenantId,
    id::Key,
    run::{journal::Record, run::journal_place},
    store::privacy::PrivacyRow,
};

/// The person of a request, with the tenant's key by which hashes and seals are judged.
pub(super) struct Wanted<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) key: &'a TenantKey,
    pub(super) vault: &'a Vault,
    kind: PersonKind,
    person: [u8; 32],
}

impl<'a> Wanted<'a> {
    pub(super) const fn of(request: &'a PrivacyRow, key: &'a TenantKey, vault: &'a Vault) -> Self {
        Self { tenant: &request.tenant, key, vault, kind: request.kind, person: request.person }
    }

    /// Whether a text is the person.
    pub(super) fn is(&self, kind: PersonKind, text: &str) -> bool {
        kind == self.kind && self.key.person_hash(kind, text) == Some(self.person)
    }

    /// Whether one of these hashes, 32 bytes each, is the person's.
    pub(super) fn is_among(&self, persons: &[u8]) -> bool {
        persons.chunks_exact(32).any(|hash| hash == self.person)
    }

    /// A stored journal. One that does not open any more holds nothing that anybody could read.
    pub(super) fn journal(&self, delivery: Key, sealed: &[u8]) -> Option<Record> {
        let row = delivery.to_string();
        let opened = self.vault.open(self.key, journal_place(self.tenant.as_str(), &row), sealed);
        let plain = opened.inspect_err(|error| {
            tracing::warn!(%error, delivery.id = %delivery.with_prefix("dlv"), "a journal does not open");
        });
        serde_json::from_slice(&plain.ok()?).ok()
    }

    /// The journal as it is stored again.
    pub(super) fn sealed(&self, delivery: Key, record: &Record) -> Option<Vec<u8>> {
        let row = delivery.to_string();
        let plain = serde_json::to_vec(record).ok()?;
        self.vault.seal(self.key, journal_place(self.tenant.as_str(), &row), &plain).ok()
    }
}

/// Where the parts of an export are sealed.
#[must_use]
pub fn place_of_piece<'a>(tenant: &'a TenantId, request: &'a Key) -> Place<'a> {
    Place { tenant: tenant.as_str(), table: "privacy_piece", row: &request.0, column: "sealed" }
}
