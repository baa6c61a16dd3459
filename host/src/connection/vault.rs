//! Secrets at rest. Each tenant has one data key; the database keeps it wrapped by a master key, so that changing the master
//! key re-wraps one row per tenant, and deleting that row destroys everything sealed under it.
//!
//! Sealed bytes, format 1: `1`, length of the key id, key id, nonce (24), ciphertext with tag (XChaCha20-Poly1305). The
//! associated data is the place (tenant, table, row, column) and the key id, so a value that is copied to another row, column
//! or tenant does not open there.

use std::fmt;

use chacha20poly1305::{
    Key, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    id::Ids,
    secret::keyring::{KeyringError, MasterKeys, is_key_id, keyed},
};

const FORMAT: u8 = 1;
const NONCE_LEN: usize = 24;

/// Where a sealed value lives. Opening needs the same place.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The tenant; empty for what belongs to the operator (apps).
    pub tenant: &'a str,
    /// The table.
    pub table: &'a str,
    /// The row's key.
    pub row: &'a [u8],
    /// The column.
    pub column: &'a str,
}

/// Why sealed bytes do not open.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The master key that is needed is not there.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The bytes are not of a format that this version knows.
    #[error("the sealed value is damaged or was written by a newer version")]
    Malformed,
    /// The value was sealed under another tenant key.
    #[error(
        "the value is sealed with data key `{needed}`, not with `{given}`: it belongs to another tenant or to a deleted key"
    )]
    OtherKey {
        /// The key that the value names.
        needed: String,
        /// The key that was given.
        given: String,
    },
    /// The key has the right name, but the value does not open: it was changed, moved from another row, or the key differs.
    #[error(
        "the value in {table}.{column} does not open with key `{key}`: it was changed, moved from another row, or the key is not the one it was sealed with"
    )]
    DoesNotOpen {
        /// The key's name.
        key: String,
        /// The table of the place.
        table: String,
        /// The column of the place.
        column: String,
    },
    /// The value is too large for the cipher.
    #[error("the value is too large to be sealed")]
    TooLarge,
}

/// A tenant's data key, unwrapped. Keep it in memory only; it is wiped when dropped.
#[derive(Clone)]
pub struct TenantKey {
    id: String,
    cipher: XChaCha20Poly1305,
    persons: Hmac<Sha256>,
    contents: Hmac<Sha256>,
}

impl fmt::Debug for TenantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl TenantKey {
    fn new(bytes: &[u8; 32]) -> Self {
        let mut name = keyed(bytes);
        name.update(b"switchyard tenant key id v1");
        let mut persons = keyed(bytes);
        persons.update(b"switchyard person index v1");
        let persons: Zeroizing<[u8; 32]> = Zeroizing::new(persons.finalize().into_bytes().into());
        let mut contents = keyed(bytes);
        contents.update(b"switchyard erased contents v1");
        let contents: Zeroizing<[u8; 32]> = Zeroizing::new(contents.finalize().into_bytes().into());
        Self {
            id: hex::encode(&name.finalize().into_bytes()[..8]),
            cipher: XChaCha20Poly1305::new(<&Key>::from(bytes)),
            persons: keyed(&persons),
            contents: keyed(&contents),
        }
    }

    /// The keyed hash of contents that are erased: it shows that something was these bytes to whoever has them, and tells
    /// nothing to others, however few they could have been.
    #[must_use]
    pub fn content_hash(&self, contents: &[u8]) -> [u8; 32] {
        let mut mac = self.contents.clone();
        mac.update(contents);
        mac.finalize().into_bytes().into()
    }

    /// A name that follows from the key, written into everything it seals.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The keyed hash under which a person's rows are found, or none if nothing of the value remains after normalising.
    /// Equal for all usual writings of one phone number or address; another tenant's hash of the same person differs.
    #[must_use]
    pub fn person_hash(&self, kind: PersonKind, value: &str) -> Option<[u8; 32]> {
        let normal = Zeroizing::new(kind.normalise(value)?);
        let mut mac = self.persons.clone();
        mac.update(kind.label());
        mac.update(normal.as_bytes());
        Some(mac.finalize().into_bytes().into())
    }
}

/// How a person is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PersonKind {
    /// A phone number.
    Phone,
    /// An e-mail address.
    Email,
}

impl PersonKind {
    /// What a text without a label names: an address if it has an `@`, else a phone number.
    #[must_use]
    pub fn of(value: &str) -> Self {
        if value.contains('@') { Self::Email } else { Self::Phone }
    }

    /// The word in the database and the interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Email => "email",
        }
    }

    const fn label(self) -> &'static [u8] {
        match self {
            Self::Phone => b"phone:",
            Self::Email => b"email:",
        }
    }

    /// Phone: the digits, without the international prefix (`+` or `00`). A number written without its country stays apart
    /// from the one written with it, since nothing here knows the country. E-mail: trimmed, lower case.
    fn normalise(self, value: &str) -> Option<String> {
        let normal: String = match self {
            Self::Phone => {
                let digits: String = value.chars().filter(char::is_ascii_digit).collect();
                let international = value.trim_start().starts_with("00");
                if international { digits[2..].to_owned() } else { digits }
            }
            Self::Email => value.trim().to_lowercase(),
        };
        (!normal.is_empty()).then_some(normal)
    }
}

/// The text is neither `phone` nor `email`.
#[derive(Debug, thiserror::Error)]
#[error("expected `phone` or `email`")]
pub struct UnknownPersonKind;

impl std::str::FromStr for PersonKind {
    type Err = UnknownPersonKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "phone" => Ok(Self::Phone),
            "email" => Ok(Self::Email),
            _ => Err(UnknownPersonKind),
        }
    }
}

/// Makes, wraps and unwraps tenant keys, and seals under them.
#[derive(Debug)]
pub struct Vault {
    keys: MasterKeys,
    ids: VaultIds,
}

struct VaultIds(Ids);

impl fmt::Debug for VaultIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ids")
    }
}

impl Vault {
    /// A vault under these master keys; `ids` gives keys and nonces.
    #[must_use]
    pub fn new(keys: MasterKeys, ids: Ids) -> Self {
        Self { keys, ids: VaultIds(ids) }
    }

    /// The master keys, for the check against the database's meta row.
    #[must_use]
    pub fn master_keys(&self) -> &MasterKeys {
        &self.keys
    }

    /// A fresh data key for a tenant, wrapped by the first master key. Store it in the tenant's row.
    pub fn new_tenant_key(&self, tenant: &str) -> Result<Vec<u8>, VaultError> {
        self.wrap(tenant, &Zeroizing::new(self.ids.0.random::<32>()))
    }

    /// Unwraps a tenant's data key.
    pub fn open_tenant_key(&self, tenant: &str, wrapped: &[u8]) -> Result<TenantKey, VaultError> {
        self.unwrap_key(tenant, wrapped).map(|bytes| TenantKey::new(&bytes))
    }

    /// The same data key under the first master key, or none if it is there already. Everything sealed stays as it is.
    pub fn rewrap(&self, tenant: &str, wrapped: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        if Sealed::read(wrapped)?.key_id == self.keys.primary().id() {
            return Ok(None);
        }
        let bytes = self.unwrap_key(tenant, wrapped)?;
        self.wrap(tenant, &bytes).map(Some)
    }

    /// The master key that wraps this data key, to count what still needs an old one.
    pub fn wrapped_by(wrapped: &[u8]) -> Result<&str, VaultError> {
        Sealed::read(wrapped).map(|sealed| sealed.key_id)
    }

    /// Seals a value for one place.
    pub fn seal(&self, key: &TenantKey, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        seal(&key.cipher, &key.id, &self.ids.0.random(), place, plain)
    }

    /// Opens what [`Vault::seal`] made for the same place under the same key.
    pub fn open(&self, key: &TenantKey, place: Place<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let sealed = Sealed::read(sealed)?;
        if sealed.key_id != key.id {
            return Err(VaultError::OtherKey { needed: sealed.key_id.to_owned(), given: key.id.clone() });
        }
        sealed.open(&key.cipher, place)
    }

    fn wrap(&self, tenant: &str, bytes: &[u8; 32]) -> Result<Vec<u8>, VaultError> {
        let master = self.keys.primary();
        let cipher = XChaCha20Poly1305::new(<&Key>::from(master.bytes()));
        seal(&cipher, master.id(), &self.ids.0.random(), tenant_key_place(tenant), bytes)
    }

    fn unwrap_key(&self, tenant: &str, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, VaultError> {
        let sealed = Sealed::read(wrapped)?;
        let master = self.keys.get(sealed.key_id)?;
        let cipher = XChaCha20Poly1305::new(<&Key>::from(master.bytes()));
        let plain = sealed.open(&cipher, tenant_key_place(tenant))?;
        <[u8; 32]>::try_from(plain.as_slice()).map(Zeroizing::new).map_err(|_| VaultError::Malformed)
    }
}

fn tenant_key_place(tenant: &str) -> Place<'_> {
    Place { tenant, table: "tenant", row: tenant.as_bytes(), column: "data_key" }
}

/// The parts of sealed bytes.
struct Sealed<'a> {
    key_id: &'a str,
    nonce: &'a [u8; NONCE_LEN],
    ciphertext: &'a [u8],
}

impl<'a> Sealed<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, VaultError> {
        let read = || {
            let (format, rest) = bytes.split_first()?;
            let (id_len, rest) = rest.split_first()?;
            let (key_id, rest) = rest.split_at_checked(usize::from(*id_len))?;
            let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>()?;
            let key_id = std::str::from_utf8(key_id).ok().filter(|id| is_key_id(id))?;
            (*format == FORMAT).then_some(Sealed { key_id, nonce, ciphertext })
        };
        read().ok_or(VaultError::Malformed)
    }

    fn open(&self, cipher: &XChaCha20Poly1305, place: Place<'_>) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let aad = associated_data(place, self.key_id);
        let payload = Payload { msg: self.ciphertext, aad: &aad };
        cipher.decrypt(<&XNonce>::from(self.nonce), payload).map(Zeroizing::new).map_err(|_| VaultError::DoesNotOpen {
            key: self.key_id.to_owned(),
            table: place.table.to_owned(),
            column: place.column.to_owned(),
        })
    }
}

fn seal(
    cipher: &XChaCha20Poly1305,
    key_id: &str,
    nonce: &[u8; NONCE_LEN],
    place: Place<'_>,
    plain: &[u8],
) -> Result<Vec<u8>, VaultError> {
    let aad = associated_data(place, key_id);
    let ciphertext = cipher.encrypt(<&XNonce>::from(nonce), Payload { msg: plain, aad: &aad });
    let ciphertext = ciphertext.map_err(|_| VaultError::TooLarge)?;
    let id_len = u8::try_from(key_id.len()).map_err(|_| VaultError::Malformed)?;
    let mut sealed = Vec::with_capacity(2 + key_id.len() + NONCE_LEN + ciphertext.len());
    sealed.extend([FORMAT, id_len]);
    sealed.extend(key_id.as_bytes());
    sealed.extend(nonce);
    sealed.extend(ciphertext);
    Ok(sealed)
}

/// Every part with its length before it, so that no two places give the same bytes.
fn associated_data(place: Place<'_>, key_id: &str) -> Vec<u8> {
    let parts =
        [place.tenant.as_bytes(), place.table.as_bytes(), place.row, place.column.as_bytes(), key_id.as_bytes()];
    let mut data = vec![FORMAT];
    for part in parts {
        data.extend((part.len() as u64).to_le_bytes());
        data.extend(part);
    }
    data
}

#[cfg(test)]
#[path = "vault_tests.rs"]
mod tests;
