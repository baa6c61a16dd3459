//! Secrets by `<slot>.<field>`, for `crypto` and for templates: bound like connections, never given to a guest.

use std::time::Duration;

use secrecy::SecretString;

use crate::{
    clock::Timestamp,
    connection::{
        jwt::{Expected, LEEWAY},
        key_sets::JwtError,
        verify::{self, KeyEncoding, MacAlgorithm},
    },
    directory::view::{ConnectionView, InstallationView, TenantView},
    hub::Hub,
    plugin::model::{CryptoError, KeyEncoding as SpecEncoding, Mac, Manifest, SecretKind},
};

/// The connection bound to a slot. For a request to a source the binding `<slot>@<source name>` comes first.
#[must_use]
pub fn bound<'a>(
    tenant: &'a TenantView,
    installation: &InstallationView,
    source: Option<&str>,
    slot: &str,
) -> Option<&'a ConnectionView> {
    let bindings = &installation.row.connections;
    let of_source = source.and_then(|source| bindings.get(&format!("{slot}@{source}")));
    let key = of_source.or_else(|| bindings.get(slot))?;
    tenant.connections.get(key).map(AsRef::as_ref)
}

/// Every value of `<slot>.<field>` that is valid now, newest first.
#[must_use]
pub fn values(
    tenant: &TenantView,
    installation: &InstallationView,
    source: Option<&str>,
    name: &str,
    now: Timestamp,
) -> Vec<SecretString> {
    let Some((slot, field)) = name.split_once('.') else { return Vec::new() };
    let Some(connection) = bound(tenant, installation, source, slot) else { return Vec::new() };
    connection
        .secrets
        .iter()
        .filter(|(_, until)| until.is_none_or(|until| until > now))
        .filter_map(|(credential, _)| credential.field(field).cloned())
        .collect()
}

/// `crypto.verify-mac`.
///
/// # Errors
/// `NoSuchSecret` where the manifest has no such slot or nothing usable is bound.
#[expect(clippy::too_many_arguments, reason = "the arguments of the import, and where its secret is looked up")]
pub fn verify_mac(
    tenant: &TenantView,
    installation: &InstallationView,
    source: Option<&str>,
    name: &str,
    algorithm: Mac,
    data: &[u8],
    tag: &[u8],
    now: Timestamp,
) -> Result<bool, CryptoError> {
    let encoding = encoding(installation, name)?;
    let texts = values(tenant, installation, source, name, now);
    let keys: Vec<_> = texts.iter().filter_map(|text| verify::decode_key(encoding, text)).collect();
    if keys.is_empty() {
        return Err(CryptoError::NoSuchSecret);
    }
    Ok(verify::verify_mac(self::algorithm(algorithm), &keys, data, tag))
}

/// `crypto.verify-token`.
///
/// # Errors
/// As [`verify_mac`].
pub fn verify_token(
    tenant: &TenantView,
    installation: &InstallationView,
    source: Option<&str>,
    name: &str,
    token: &str,
    now: Timestamp,
) -> Result<bool, CryptoError> {
    encoding(installation, name)?;
    let texts = values(tenant, installation, source, name, now);
    if texts.is_empty() {
        return Err(CryptoError::NoSuchSecret);
    }
    Ok(verify::verify_token(&texts, token))
}

/// The contract's algorithm as the check knows it.
pub(crate) const fn algorithm(mac: Mac) -> MacAlgorithm {
    match mac {
        Mac::HmacSha1 => MacAlgorithm::HmacSha1,
        Mac::HmacSha256 => MacAlgorithm::HmacSha256,
        Mac::HmacSha512 => MacAlgorithm::HmacSha512,
    }
}

/// Whose tokens a slot believes: accepted issuers, and where their key set lies. A field behind a dot in `name` says
/// nothing, since such a slot has no fields.
///
/// # Errors
/// The manifest has no such slot, or it is of another kind.
pub(crate) fn issuer_in<'a>(manifest: &'a Manifest, name: &str) -> Result<(&'a [String], &'a str), CryptoError> {
    let slot = name.split_once('.').map_or(name, |(slot, _)| slot);
    match manifest.secrets.iter().find(|spec| spec.name == slot).map(|spec| &spec.kind) {
        Some(SecretKind::Jwt { issuers, jwks_url }) => Ok((issuers, jwks_url)),
        Some(_) => Err(CryptoError::WrongKind),
        None if manifest.connections.iter().any(|spec| spec.name == slot) => Err(CryptoError::WrongKind),
        None => Err(CryptoError::NoSuchSecret),
    }
}

/// `crypto.verify-jwt`. The token must be valid `at` that moment; `patience` bounds the wait for a key set.
///
/// # Errors
/// `Invalid` with the reason, `Unavailable`, or as [`issuer_in`].
pub async fn verify_jwt(
    hub: &Hub,
    manifest: &Manifest,
    name: &str,
    token: &str,
    audience: &str,
    at: Timestamp,
    patience: Duration,
) -> Result<String, CryptoError> {
    let (issuers, url) = issuer_in(manifest, name)?;
    let expected = Expected { issuers, audience: named(audience)?, at, leeway: LEEWAY };
    let url = hub.settings.provider_origins.replace(url);
    hub.key_sets.claims(&url, token, &expected, patience).await.map_err(|error| match error {
        JwtError::Invalid(why) => CryptoError::Invalid(why.to_string()),
        JwtError::Unavailable => CryptoError::Unavailable,
    })
}

/// Refuses to look for no audience at all: a token for nobody would then be one for everybody.
pub(crate) fn named(audience: &str) -> Result<&str, CryptoError> {
    if audience.is_empty() {
        return Err(CryptoError::Other("name the audience that the token must be meant for".to_owned()));
    }
    Ok(audience)
}

fn encoding(installation: &InstallationView, name: &str) -> Result<KeyEncoding, CryptoError> {
    encoding_in(&installation.version.as_ref().ok_or(CryptoError::NoSuchSecret)?.manifest, name)
}

/// How the text of a secret becomes bytes: as its slot says; a connection's fields are text.
pub(crate) fn encoding_in(manifest: &Manifest, name: &str) -> Result<KeyEncoding, CryptoError> {
    let slot = name.split_once('.').map(|(slot, _)| slot).ok_or(CryptoError::NoSuchSecret)?;
    if let Some(spec) = manifest.secrets.iter().find(|spec| spec.name == slot) {
        return match &spec.kind {
            SecretKind::MacKey(SpecEncoding::Hex) => Ok(KeyEncoding::Hex),
            SecretKind::MacKey(SpecEncoding::Base64) => Ok(KeyEncoding::Base64),
            SecretKind::MacKey(SpecEncoding::Text) | SecretKind::Token | SecretKind::Generated => Ok(KeyEncoding::Text),
            SecretKind::Jwt { .. } | SecretKind::Other(_) => Err(CryptoError::WrongKind),
        };
    }
    let named = manifest.connections.iter().any(|spec| spec.name == slot);
    if named { Ok(KeyEncoding::Text) } else { Err(CryptoError::NoSuchSecret) }
}
