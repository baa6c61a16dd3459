//! The schema's steps: which there are, which a file has, and the way up and down between them.

use std::{collections::BTreeMap, path::Path};

use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, SqliteConnection,
    migrate::{Migrate as _, Migration, Migrator},
};

use super::{
    open::{self, Options, path_of},
    row::Fields,
};
use crate::{
    failpoint::{self, Point},
    store::{StoreError, StoreResult},
};

/// The steps of this version, each with its way back.
pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// Where a file keeps which steps it has.
const TABLE: &str = "_sqlx_migrations";

/// One step of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaStep {
    /// Its number; steps are made in this order.
    pub number: i64,
    /// What it is about.
    pub name: String,
    /// Whether the file has it.
    pub applied: bool,
    /// Whether this version of switchyard knows it.
    pub known: bool,
}

/// What going down undid, or would undo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// The steps, the newest first.
    pub steps: Vec<String>,
    /// Tables that go, with the rows that are in them.
    pub lost: Vec<(String, u64)>,
}

fn label(migration: &Migration) -> String {
    format!("{:04} {}", migration.version, migration.description)
}

fn ups() -> impl Iterator<Item = &'static Migration> {
    MIGRATIONS.iter().filter(|migration| !migration.migration_type.is_down_migration())
}

/// The highest step that this version knows.
fn latest() -> i64 {
    ups().map(|migration| migration.version).max().unwrap_or(0)
}

/// The steps that a file has, with their names. Without the table it has none.
async fn applied(conn: &mut SqliteConnection) -> StoreResult<BTreeMap<i64, String>> {
    const KNOWS: &str = "select 1 from sqlite_schema where name = '_sqlx_migrations'";
    const APPLIED: &str = "select version, description from _sqlx_migrations where success order by version";
    if sqlx::query(KNOWS).fetch_optional(&mut *conn).await?.is_none() {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query(APPLIED).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut fields = Fields::of(row);
            Ok((fields.int()?, fields.text()?))
        })
        .collect()
}

/// All steps that this version or the file knows.
pub(super) async fn steps(conn: &mut SqliteConnection) -> StoreResult<Vec<SchemaStep>> {
    let mut applied = applied(conn).await?;
    let known = ups().map(|migration| SchemaStep {
        number: migration.version,
        name: migration.description.to_string(),
        applied: applied.remove(&migration.version).is_some(),
        known: true,
    });
    let mut steps: Vec<_> = known.collect();
    steps.extend(applied.into_iter().map(|(number, name)| SchemaStep { number, name, applied: true, known: false }));
    steps.sort_by_key(|step| step.number);
    Ok(steps)
}

/// A file with a step that this version does not know is left alone.
async fn refuse_newer(conn: &mut SqliteConnection) -> StoreResult<()> {
    let (found, known) = (applied(conn).await?.into_keys().max().unwrap_or(0), latest());
    if found <= known {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "the database has schema {found}, this version of switchyard knows {known}; start the newer version, or restore \
         the backup from before its update"
    )))
}

/// Makes the steps that are missing, up to `to`. Each is one transaction, so a crash leaves whole steps, and the next
/// call goes on.
pub(super) async fn up(conn: &mut SqliteConnection, to: Option<i64>) -> StoreResult<()> {
    refuse_newer(conn).await?;
    failpoint::pass(Point::MigrationBefore).await?;
    MIGRATIONS
        // The direct call, since the general one is not `Send` for every lifetime.
        .run_direct(to, conn, false)
        .await
        .map_err(|error| StoreError::Refused(format!("the schema could not be brought up to date: {error}")))?;
    failpoint::pass(Point::MigrationAfter).await
}

/// The steps that this version and the file have. A file that is not there has none, and is not made by asking.
///
/// # Errors
/// The file cannot be read.
pub async fn schema_steps(url: &str) -> StoreResult<Vec<SchemaStep>> {
    let path = path_of(url)?;
    if !path.exists() {
        let none = ups().map(|migration| (migration.version, migration.description.to_string()));
        return Ok(none.map(|(number, name)| SchemaStep { number, name, applied: false, known: true }).collect());
    }
    let mut conn = reading(&path).await?;
    let steps = steps(&mut conn).await?;
    conn.close().await?;
    Ok(steps)
}

/// A connection that cannot write.
pub(super) async fn reading(path: &Path) -> StoreResult<SqliteConnection> {
    Ok(SqliteConnection::connect_with(&open::base(path).read_only(true)).await?)
}

/// Brings the file up to step `to`, by default the latest, and answers which steps it made.
///
/// # Errors
/// As for [`SqliteStore::open`](super::SqliteStore::open).
pub async fn migrate_up(url: &str, to: Option<i64>) -> StoreResult<Vec<String>> {
    let path = path_of(url)?;
    let (lock, mut conn) = open::alone(&path, &Options::default()).await?;
    let before = applied(&mut conn).await?;
    up(&mut conn, to).await?;
    let after = applied(&mut conn).await?;
    conn.close().await?;
    drop(lock);
    Ok(ups()
        .filter(|step| after.contains_key(&step.version) && !before.contains_key(&step.version))
        .map(label)
        .collect())
}

/// Undoes every step above `to`, the newest first; or only finds out what that would lose.
///
/// # Errors
/// `Refused` if a hub has the file open, the file was written by a newer version, or a step has no way back; `NotFound`
/// if there is no file. A step that fails changes nothing; the ones before it stay undone.
pub async fn migrate_down(url: &str, to: i64, only_look: bool) -> StoreResult<Undone> {
    let path = path_of(url)?;
    if !path.exists() {
        return Err(StoreError::NotFound);
    }
    let (lock, mut conn) = open::alone(&path, &Options::default()).await?;
    refuse_newer(&mut conn).await?;
    let applied = applied(&mut conn).await?;
    let mut downs = Vec::new();
    for (number, name) in applied.iter().rev().filter(|(number, _)| **number > to) {
        let down = MIGRATIONS.iter().find(|step| step.version == *number && step.migration_type.is_down_migration());
        let missing = || StoreError::Refused(format!("step {number:04} {name} has no way back; restore a backup"));
        downs.push(down.ok_or_else(missing)?);
    }
    let lost = rehearse(&mut conn, &downs).await?;
    if !only_look {
        for down in &downs {
            conn.revert(TABLE, down)
                .await
                .map_err(|error| StoreError::Refused(format!("step {} could not be undone: {error}", label(down))))?;
        }
    }
    conn.close().await?;
    drop(lock);
    Ok(Undone { steps: downs.into_iter().map(label).collect(), lost })
}

/// Undoes the steps in a transaction that is given up, and answers which tables went with how many rows.
async fn rehearse(conn: &mut SqliteConnection, downs: &[&Migration]) -> StoreResult<Vec<(String, u64)>> {
    let mut attempt = conn.begin().await?;
    let before = tables(&mut attempt).await?;
    for down in downs {
        attempt.execute(down.sql.clone()).await?;
    }
    let after = tables(&mut attempt).await?;
    attempt.rollback().await?;
    Ok(before.into_iter().filter(|(table, _)| !after.contains_key(table)).collect())
}

/// The tables with their number of rows.
async fn tables(conn: &mut SqliteConnection) -> StoreResult<BTreeMap<String, u64>> {
    const NAMES: &str = "select name from sqlite_schema where type = 'table' \
        and name not like 'sqlite\\_%' escape '\\' and name != '_sqlx_migrations'";
    let mut tables = BTreeMap::new();
    for row in sqlx::query(NAMES).fetch_all(&mut *conn).await? {
        let name = Fields::of(&row).text()?;
        // The name is the database's own, from its schema.
        let count = AssertSqlSafe(format!("select count(*) from \"{}\"", name.replace('"', "\"\"")));
        let row = sqlx::query(count).fetch_one(&mut *conn).await?;
        tables.insert(name, Fields::of(&row).number()?);
    }
    Ok(tables)
}
