//! Master keys: what each still wraps, and the move of all data keys to the one that seals. The keys themselves are set
//! where the hub is started and never pass through here.

use axum::{Json as Out, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{
    Api, Changing as _,
    auth::{May, Need as _, Operate},
    body::Json,
    paging::Paged,
    problem::{Answer, Problem, internal},
    routes::{Routes, doc},
};
use crate::connection::master_keys::{self, KeyUse, MasterKeyError};

const TAG: &str = "keys";

/// Data keys that one call moves: few enough that nobody else waits long for the database.
const USUAL: u32 = 200;
const MOST: u32 = 1000;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .get(
            "/v1/master-keys",
            doc(TAG, Operate::SCOPE, "Say which master key wraps how many data keys")
                .lists::<MasterKey>("All of them, the one that seals first."),
            list,
        )
        .post(
            "/v1/master-keys/rotate",
            doc(TAG, Operate::SCOPE, "Wrap data keys anew with the master key that seals; call it until none remains")
                .body::<MasterKeyStep>()
                .answers::<MasterKeyProgress>(200, "How far it is."),
            rotate,
        )
}

/// A master key, without the key.
#[derive(Serialize, ToSchema)]
struct MasterKey {
    id: String,
    /// Whether it wraps what is new.
    sealing: bool,
    /// Tenants whose data key it wraps.
    tenants: usize,
    /// Whether it wraps the hub's own data key.
    hub: bool,
    /// Whether nothing needs it: it may be taken from `SWITCHYARD_MASTER_KEYS`.
    removable: bool,
}

fn shown(key: KeyUse) -> MasterKey {
    MasterKey {
        sealing: key.sealing,
        tenants: key.tenants.len(),
        hub: key.hub,
        removable: key.is_free() && !key.sealing,
        id: key.id,
    }
}

/// One step of a rotation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct MasterKeyStep {
    /// At most so many data keys, 1 to 1000; 200 without it.
    limit: Option<u32>,
}

/// How far a rotation is.
#[derive(Serialize, ToSchema)]
struct MasterKeyProgress {
    /// The master key that seals.
    sealing: String,
    /// Data keys that this call moved to it.
    rewrapped: u64,
    /// Data keys that are not under it yet.
    remaining: u64,
}

impl From<MasterKeyError> for Problem {
    fn from(error: MasterKeyError) -> Self {
        match error {
            MasterKeyError::Store(error) => error.into(),
            MasterKeyError::Needed { .. } | MasterKeyError::Unopened { .. } => internal(&error),
        }
    }
}

async fn list(State(api): State<Api>, _may: May<Operate>) -> Answer<Out<Paged<MasterKey>>> {
    let wrapped = api.hub.store.wrapped_keys().await?;
    let uses = master_keys::uses(api.hub.vault.master_keys(), &wrapped)?;
    Ok(Out(Paged { data: uses.into_iter().map(shown).collect(), next: None }))
}

async fn rotate(
    State(api): State<Api>,
    may: May<Operate>,
    Json(rotation): Json<MasterKeyStep>,
) -> Answer<Out<MasterKeyProgress>> {
    let limit = match rotation.limit.unwrap_or(USUAL) {
        limit @ 1..=MOST => limit as usize,
        _ => return Err(Problem::field("limit", format!("must be 1 to {MOST}"))),
    };
    let sealing = api.hub.vault.master_keys().primary().id().to_owned();
    let audit = api.audit(&may.caller, None, "master_key.rotated", sealing.clone());
    let audit = audit.showing(None, Some(&json!({"sealing": sealing, "at_most": limit})));
    let done = master_keys::rotate(&api.hub.store, &api.hub.vault, limit, audit).await?;
    Ok(Out(MasterKeyProgress { sealing, rewrapped: done.rewrapped, remaining: done.remaining }))
}
