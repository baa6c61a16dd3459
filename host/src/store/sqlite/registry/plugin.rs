//! Plugins: immutable versions and their bytes.

use sqlx::SqliteConnection;

use super::{
    super::{row::Fields, sql::one_row},
    audit,
};
use crate::store::{
    StoreError, StoreResult,
    registry::{AuditEntry, PluginVersionRow},
};

/// Adds a version; the same bytes again change nothing.
pub(in super::super) async fn add(
    conn: &mut SqliteConnection,
    version: PluginVersionRow,
    wasm: Vec<u8>,
    entry: AuditEntry,
) -> StoreResult<bool> {
    const PUBLISHED: &str = "select sha256 from plugin_version where name = ? and version = ?";
    const ADD: &str =
        "insert into plugin_version (name, version, sha256, manifest, size, created_at) values (?, ?, ?, ?, ?, ?)";
    const BYTES: &str = "insert into plugin_wasm (name, version, wasm) values (?, ?, ?)";
    let named = |sql| sqlx::query(sql).bind(version.name.clone()).bind(version.version.clone());
    if let Some(row) = named(PUBLISHED).fetch_optional(&mut *conn).await? {
        return if Fields::of(&row).array::<32>()? == version.sha256 {
            Ok(false)
        } else {
            Err(StoreError::Conflict(format!(
                "{} {} is published with other bytes; give the new ones a new version",
                version.name, version.version
            )))
        };
    }
    let query = named(ADD)
        .bind(version.sha256.to_vec())
        .bind(version.manifest.clone())
        .bind(i64::try_from(version.size).unwrap_or(i64::MAX))
        .bind(version.created_at.0);
    one_row(conn, query).await?;
    one_row(conn, named(BYTES).bind(wasm)).await?;
    audit::write(conn, entry).await?;
    Ok(true)
}

/// All versions, without bytes.
pub(in super::super) async fn list(conn: &mut SqliteConnection) -> StoreResult<Vec<PluginVersionRow>> {
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
pub(in super::super) async fn wasm(conn: &mut SqliteConnection, name: &str, version: &str) -> StoreResult<Vec<u8>> {
    const WASM: &str = "select wasm from plugin_wasm where name = ? and version = ?";
    let row = sqlx::query(WASM).bind(name.to_owned()).bind(version.to_owned()).fetch_one(conn).await?;
    Fields::of(&row).bytes()
}

/// Removes a version that nothing needs any more.
pub(in super::super) async fn delete(
    conn: &mut SqliteConnection,
    name: String,
    version: String,
    entry: AuditEntry,
) -> StoreResult<()> {
    const PINNED: &str =
        "select 1 from installation where plugin = ?1 and ?2 in (version, in_force, shadow_version) limit 1";
    // An attempt that was lost or given back does not say which version it ran on; if it left a journal, it may be this one.
    const NEEDED: &str = "select 1 from delivery d left join attempt a on a.delivery = d.key \
        where d.state in (0, 1, 2, 4) and d.target = 'plugin:' || ?1 and (a.plugin_version = ?2 \
        or a.plugin_version is null and exists (select 1 from journal j where j.delivery = d.key)) limit 1";
    const RUNNING: &str = "select 1 from delivery where state in (0, 1, 2, 4) and state = 1 \
        and target = 'plugin:' || ?1 and ?2 is not null limit 1";
    const DELETE: &str = "delete from plugin_version where name = ? and version = ?";
    let named = |sql| sqlx::query(sql).bind(name.clone()).bind(version.clone());
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
