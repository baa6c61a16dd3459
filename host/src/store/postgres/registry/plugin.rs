//! Plugins: immutable versions and their bytes.

use sqlx::PgConnection;

use super::{super::row::Fields, audit, write::one_row};
use crate::store::{
    StoreError, StoreResult,
    registry::{AuditEntry, PluginVersionRow},
};

/// Adds a version; the same bytes again change nothing, also when several nodes bring them at the same moment.
pub(in super::super) async fn add(
    conn: &mut PgConnection,
    version: &PluginVersionRow,
    wasm: &[u8],
    entry: &AuditEntry,
) -> StoreResult<bool> {
    const ADD: &str = "insert into plugin_version (name, version, sha256, manifest, size, created_at) \
        values ($1, $2, $3, $4, $5, $6) on conflict do nothing";
    const PUBLISHED: &str = "select sha256 from plugin_version where name = $1 and version = $2";
    const BYTES: &str = "insert into plugin_wasm (name, version, wasm) values ($1, $2, $3)";
    let named = |sql| sqlx::query(sql).bind(&version.name).bind(&version.version);
    let query = named(ADD)
        .bind(&version.sha256[..])
        .bind(&version.manifest)
        .bind(i64::try_from(version.size).unwrap_or(i64::MAX))
        .bind(version.created_at.0);
    if query.execute(&mut *conn).await?.rows_affected() == 0 {
        // Whoever was first has committed, else this would still wait.
        let row = named(PUBLISHED).fetch_one(&mut *conn).await?;
        return if Fields::of(&row).array::<32>()? == version.sha256 {
            Ok(false)
        } else {
            Err(StoreError::Conflict(format!(
                "{} {} is published with other bytes; give the new ones a new version",
                version.name, version.version
            )))
        };
    }
    one_row(conn, named(BYTES).bind(wasm)).await?;
    audit::write(conn, entry).await?;
    Ok(true)
}

/// All versions, without bytes.
pub(in super::super) async fn list(conn: &mut PgConnection) -> StoreResult<Vec<PluginVersionRow>> {
    const LIST: &str = "select name, version, sha256, manifest, size, created_at from plugin_version order by name, created_at, version";
    let rows = sqlx::query(LIST).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok(PluginVersionRow {
                name: fields.text()?,
                version: fields.text()?,
                sha256: fields.array()?,
                manifest: fields.text()?,
                size: fields.number()?,
                created_at: fields.time()?,
            })
        })
        .collect()
}

/// The bytes of a version.
pub(in super::super) async fn wasm(conn: &mut PgConnection, name: &str, version: &str) -> StoreResult<Vec<u8>> {
    const WASM: &str = "select wasm from plugin_wasm where name = $1 and version = $2";
    let row = sqlx::query(WASM).bind(name).bind(version).fetch_one(conn).await?;
    Fields::of(&row).bytes()
}

/// Keeps versions of a plugin from being removed until this transaction ends; one that is not there is no matter here.
pub(super) async fn keep_versions(conn: &mut PgConnection, name: &str, versions: &[&str]) -> StoreResult<()> {
    const KEEP: &str =
        "select 1 from plugin_version where name = $1 and version = any($2) order by version for key share";
    if !versions.is_empty() {
        sqlx::query(KEEP).bind(name).bind(versions).fetch_all(conn).await?;
    }
    Ok(())
}

/// Removes a version that nothing needs any more.
pub(in super::super) async fn delete(
    conn: &mut PgConnection,
    name: &str,
    version: &str,
    entry: &AuditEntry,
) -> StoreResult<()> {
    // Who pins it at the same time waits, and finds it gone; who was first is seen below.
    const LOCK: &str = "select 1 from plugin_version where name = $1 and version = $2 for update";
    const PINNED: &str =
        "select 1 from installation where plugin = $1 and $2 in (version, in_force, shadow_version) limit 1";
    // An attempt that was lost or given back does not say which version it ran on; if it left a journal, it may be this one.
    const NEEDED: &str = "select 1 from delivery d left join attempt a on a.delivery = d.key \
        where d.state in (0, 1, 2, 4) and d.target = 'plugin:' || $1::text and (a.plugin_version = $2 \
        or a.plugin_version is null and exists (select 1 from journal j where j.delivery = d.key)) limit 1";
    const RUNNING: &str = "select 1 from delivery where state in (0, 1, 2, 4) and state = 1 \
        and target = 'plugin:' || $1::text and $2::text is not null limit 1";
    const DELETE: &str = "delete from plugin_version where name = $1 and version = $2";
    let named = |sql| sqlx::query(sql).bind(name).bind(version);
    named(LOCK).fetch_optional(&mut *conn).await?;
    if named(PINNED).fetch_optional(&mut *conn).await?.is_some() {
        return Err(StoreError::Conflict("an installation pins or runs this version".to_owned()));
    }
    if named(NEEDED).fetch_optional(&mut *conn).await?.is_some() {
        return Err(StoreError::Conflict("live or dead deliveries ran on this version".to_owned()));
    }
    if named(RUNNING).fetch_optional(&mut *conn).await?.is_some() {
        return Err(StoreError::Conflict("the plugin is running, perhaps on this version; try again".to_owned()));
    }
    one_row(conn, named(DELETE)).await?;
    audit::write(conn, entry).await
}
