//! The schema's steps of whichever database the setting names.

use secrecy::ExposeSecret as _;

use crate::{
    app::Place,
    store::{
        StoreError, StoreResult, postgres,
        schema::{SchemaStep, Undone},
        sqlite,
    },
};

pub(super) async fn steps(place: &Place) -> StoreResult<Vec<SchemaStep>> {
    match place {
        Place::File(path) => sqlite::schema_steps(&path.to_string_lossy()).await,
        Place::Server { url, .. } => postgres::schema_steps(url.expose_secret()).await,
    }
}

pub(super) async fn up(place: &Place, to: Option<i64>) -> StoreResult<Vec<String>> {
    match place {
        Place::File(path) => sqlite::migrate_up(&path.to_string_lossy(), to).await,
        Place::Server { url, .. } => postgres::migrate_up(url.expose_secret(), to).await,
    }
}

/// A file that a hub has open is locked. On a server the hubs have leases, which say that they are there.
pub(super) async fn down(place: &Place, to: i64, only_look: bool) -> StoreResult<Undone> {
    match place {
        Place::File(path) => sqlite::migrate_down(&path.to_string_lossy(), to, only_look).await,
        Place::Server { url, label } => {
            if !only_look {
                refuse_in_use(url.expose_secret(), label).await?;
            }
            postgres::migrate_down(url.expose_secret(), to, only_look).await
        }
    }
}

async fn refuse_in_use(url: &str, label: &str) -> StoreResult<()> {
    let nodes = postgres::examine(url).await?.nodes;
    if nodes.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = nodes.into_iter().map(|(name, _)| name).collect();
    Err(StoreError::Refused(format!("{label} is used by {}; stop them first", names.join(", "))))
}

/// How to write a copy first.
pub(super) const fn copy_first(place: &Place) -> &'static str {
    match place {
        Place::File(_) => "`switchyard backup FILE`",
        Place::Server { .. } => "`pg_dump`",
    }
}
