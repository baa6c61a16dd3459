//! The public keys with which a tenant's deliveries are signed, for whoever verifies them. Public by nature: whether a tenant
//! exists is not told by it, and which endpoint a key belongs to neither.

use std::collections::BTreeMap;

use axum::{
    Json as Out,
    extract::{Path, State},
    http::header::CACHE_CONTROL,
    response::IntoResponse,
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::{
    Api,
    routes::{Routes, open},
};
use crate::{clock::Timestamp, directory::view::TenantView};

/// The prefix of a public key as Standard Webhooks writes it.
const PUBLIC: &str = "whpk_";

pub(super) fn routes(routes: Routes) -> Routes {
    routes.get(
        "/.well-known/switchyard/{tenant}/keys.json",
        open("signing keys", "The public keys that sign the tenant's `v1a` deliveries, as a JSON Web Key Set")
            .answers::<KeySet>(200, "The keys; none for a tenant that is not there."),
        keys,
    )
}

/// A JSON Web Key Set.
#[derive(Serialize, ToSchema)]
struct KeySet {
    keys: Vec<PublicKey>,
}

/// An ed25519 key, as a JSON Web Key and as Standard Webhooks writes it.
#[derive(Serialize, ToSchema)]
struct PublicKey {
    /// The first half of the key's SHA-256.
    kid: String,
    /// `OKP`.
    kty: &'static str,
    /// `Ed25519`.
    crv: &'static str,
    /// `EdDSA`.
    alg: &'static str,
    /// `sig`.
    #[serde(rename = "use")]
    usage: &'static str,
    /// The key in base64url.
    x: String,
    /// `whpk_..`.
    whpk: String,
    /// When it stops signing; null of a current one.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// Every public key that signs now, with the time when it stops.
fn active(tenant: &TenantView, now: Timestamp) -> BTreeMap<String, Option<Timestamp>> {
    let mut keys = BTreeMap::new();
    let secrets = tenant.endpoints.values().flat_map(|endpoint| &endpoint.secrets);
    for (secret, until) in secrets.filter(|(_, until)| until.is_none_or(|until| until > now)) {
        let Some(text) = secret.public_text() else { continue };
        // The same key may sign for several endpoints; it stops with the last of them.
        let last = keys.entry(text).or_insert(*until);
        *last = last.and_then(|last| until.map(|until| last.max(until)));
    }
    keys
}

fn shown((whpk, expires_at): (String, Option<Timestamp>)) -> Option<PublicKey> {
    let bytes = STANDARD.decode(whpk.strip_prefix(PUBLIC)?).ok()?;
    Some(PublicKey {
        kid: hex::encode(&Sha256::digest(&bytes)[..16]),
        kty: "OKP",
        crv: "Ed25519",
        alg: "EdDSA",
        usage: "sig",
        x: URL_SAFE_NO_PAD.encode(&bytes),
        whpk,
        expires_at,
    })
}

async fn keys(State(api): State<Api>, Path(tenant): Path<String>) -> impl IntoResponse {
    let (view, now) = (api.hub.directory.view(), api.hub.clock.now());
    let found = tenant.parse().ok().and_then(|tenant| view.tenants.get(&tenant));
    let keys = found.map_or_else(BTreeMap::new, |tenant| active(tenant, now)).into_iter().filter_map(shown).collect();
    ([(CACHE_CONTROL, "public, max-age=60")], Out(KeySet { keys }))
}
